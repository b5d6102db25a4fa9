// Package identity knows people: users, passwords, sessions, API keys and SSH keys, and turns credentials
// into the principal that a call acts as.
//
// Secrets are kept only as hashes: Argon2id for what people choose, SHA-256 for what we made at random.
package identity

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/throttle"
	"github.com/metalward/metalward/internal/secret"
)

// FirstLinkLife is how long the link to create the first administrator works.
const FirstLinkLife = 30 * time.Minute

// Service knows people. Safe for concurrent use.
type Service struct {
	gate   *gate.Gate
	now    func() time.Time
	hash   *hasher
	nonces nonces
	// guesses counts failures with what people choose or type, tokens those with what we made at random.
	guesses, tokens *throttle.Throttle

	mu    sync.Mutex
	known map[string]cached // API keys by token, guarded by mu
}

// cacheLife bounds how long an API key or session that was ended elsewhere still works.
const cacheLife = time.Second

type cached struct {
	consumer, secretHash string
	principal            authz.Principal
	until                time.Time
}

// New makes the service.
func New(g *gate.Gate, now func() time.Time) *Service {
	return &Service{gate: g, now: now, hash: newHasher(), guesses: throttle.New(throttle.Guessing), tokens: throttle.New(throttle.Tokens), known: map[string]cached{}}
}

// Changed is told which objects calls have changed: if rights may have, keys are looked up anew at once.
func (s *Service) Changed(touched []authz.Target) {
	for _, t := range touched {
		switch t.Noun {
		case authz.NounUser, authz.NounGroup, authz.NounRole, authz.NounPool:
			s.mu.Lock()
			clear(s.known)
			s.mu.Unlock()
			return
		}
	}
}

// NewUser describes a user to create.
type NewUser struct {
	Name, Email string
	Password    secret.Value
	Admin       bool
}

// CreateUser adds a local user. Kinds: Invalid, Forbidden.
func (s *Service) CreateUser(ctx context.Context, n NewUser) (metal.User, error) {
	return s.addUser(ctx, authz.UserEdit, n, func(*gate.Call) error { return nil })
}

func (s *Service) addUser(ctx context.Context, action authz.Action, n NewUser, first func(*gate.Call) error) (metal.User, error) {
	if err := metal.ValidateUser(n.Name, n.Email, n.Password.RevealString()); err != nil {
		return metal.User{}, err
	}
	hash, err := s.hash.hash(ctx, n.Password)
	if err != nil {
		return metal.User{}, err
	}
	var u store.UserRow
	err = s.gate.Do(ctx, action, func(c *gate.Call) error {
		if err := c.Require(store.NewUserTarget); err != nil {
			return err
		}
		if err := first(c); err != nil {
			return err
		}
		c.Note("username", n.Name)
		if _, err := c.Tx().UserByName(n.Name); err == nil {
			return fault.Field("username", "A user with that username already exists.")
		}
		u = store.UserRow{User: metal.User{Name: n.Name, Email: n.Email, Admin: n.Admin, Created: c.Now()}, Password: hash}
		if err := c.Tx().AddUser(&u); err != nil {
			return err
		}
		return join(c, u.User)
	})
	return u.User, err
}

// join puts a new user into the group for administrators or for all others. Where an operator has deleted that
// group, an administrator is granted the role himself, and another user starts without rights.
func join(c *gate.Call, u metal.User) error {
	name, grant := metal.GroupUsers, authz.Grant{}
	if u.Admin {
		role, _ := authz.FindRole(authz.Administrator)
		name, grant = metal.GroupAdministrators, authz.Grant{Permissions: role.Permissions, Pool: authz.AllPools}
	}
	if c.Principal().Kind == authz.User && !c.Principal().Rights.Covers(grant) {
		return fault.Field("is_superuser", "You can make administrators only if you are one.")
	}
	g, err := c.Tx().GroupByName(name)
	switch {
	case fault.Is(err, fault.NotFound) && u.Admin:
		return c.Tx().AddGrant(&store.GrantRow{UserID: u.ID, User: u.Name, Role: authz.Administrator, Pool: authz.AllPools})
	case fault.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return err
	}
	if err := c.Require(store.GroupTarget(g.ID)); err != nil {
		return err
	}
	c.Note("group", g.Name)
	return c.Tx().AddMember(g.ID, u.ID)
}

// FirstLink makes the one-use secret of the link that creates the first administrator; false when there is
// one already. Any earlier link ends.
func (s *Service) FirstLink(ctx context.Context) (secret.Value, bool, error) {
	token, needed := secret.Random(24), false
	err := s.gate.Do(authz.AsSystem(ctx, "first-admin"), authz.UserEdit, func(c *gate.Call) error {
		if err := c.Require(store.NewUserTarget); err != nil {
			return err
		}
		n, err := c.Tx().CountAdministrators()
		if needed = n == 0; err != nil || !needed {
			return err
		}
		return c.Tx().PutFirstLink(token.Hash(), c.Now().Add(FirstLinkLife))
	})
	return token, needed, err
}

// NeedsFirstAdmin reports whether no administrator exists yet.
func (s *Service) NeedsFirstAdmin(ctx context.Context) (needed bool, err error) {
	err = s.gate.View(authz.AsSystem(ctx, "first-admin"), authz.UserView, func(v *gate.Viewing) error {
		n, err := v.CountAdministrators()
		needed = n == 0
		return err
	})
	return needed, err
}

// CreateFirstAdmin spends the first-administrator link. Kinds: Forbidden for a link that is wrong, spent or
// expired, Invalid.
func (s *Service) CreateFirstAdmin(ctx context.Context, link secret.Value, n NewUser) (metal.User, error) {
	n.Admin = true
	const subject = "first administrator's link"
	if err := s.mayTryToken(ctx, subject); err != nil {
		return metal.User{}, err
	}
	wrong := false
	u, err := s.addUser(ctx, authz.FirstAdmin, n, func(c *gate.Call) error {
		admins, err := c.Tx().CountAdministrators()
		if err != nil {
			return err
		}
		expires, ok, err := c.Tx().FirstLink(link.Hash())
		if err != nil {
			return err
		}
		if wrong = admins > 0 || !ok || c.Now().After(expires); wrong {
			return fault.New(fault.Forbidden, "This link was used already or has expired. Run `metalward createadmin` on the controller, or restart it for a new link.")
		}
		return c.Tx().PutFirstLink("", time.Time{})
	})
	if wrong {
		s.wrongToken(ctx, subject)
	}
	return u, err
}

// Users lists the users that the caller may see: all, or himself.
func (s *Service) Users(ctx context.Context) (list []metal.User, err error) {
	err = s.gate.View(ctx, authz.UserView, func(v *gate.Viewing) error {
		rows, err := v.Users()
		for _, r := range rows {
			if v.Require(store.UserTarget(r.User)) == nil {
				list = append(list, r.User)
			}
		}
		return err
	})
	return list, err
}

// User returns a user. Kinds: NotFound, also for one that the caller may not see.
func (s *Service) User(ctx context.Context, name string) (u metal.User, err error) {
	err = s.gate.View(ctx, authz.UserView, func(v *gate.Viewing) error {
		row, err := v.UserByName(name)
		if err != nil {
			return err
		}
		u = row.User
		return v.Require(store.UserTarget(u))
	})
	return u, err
}

// DeleteUser removes a user who owns nothing. Kinds: NotFound, Conflict, Invalid.
func (s *Service) DeleteUser(ctx context.Context, name string) error {
	return s.gate.Do(ctx, authz.UserEdit, func(c *gate.Call) error {
		u, err := c.Tx().UserByName(name)
		if err != nil {
			return errors2(c.Require(store.NewUserTarget), err)
		}
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		if name == c.Principal().Name {
			return fault.New(fault.Invalid, "You cannot delete yourself.")
		}
		if n, err := c.Tx().CountOwned(name); err != nil || n > 0 {
			return errors2(err, fault.New(fault.Conflict, "User %s still owns %d machines; release them first.", name, n))
		}
		return c.Tx().DeleteUser(u.User)
	})
}

// errors2 returns the first error that is not nil.
func errors2(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// SetPassword replaces a user's password and ends his sessions and cached keys. Kinds: NotFound, Invalid.
func (s *Service) SetPassword(ctx context.Context, name string, password secret.Value) error {
	if err := metal.ValidatePassword(password.RevealString()); err != nil {
		return fault.Field("password", "%s", fault.Message(err))
	}
	hash, err := s.hash.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.gate.Do(ctx, authz.UserEdit, func(c *gate.Call) error {
		u, err := c.Tx().UserByName(name)
		if err != nil {
			return errors2(c.Require(store.NewUserTarget), err)
		}
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		u.Password = hash
		u.Epoch++
		return c.Tx().PutUser(u)
	})
}

var errLogin = fault.New(fault.Unauthenticated, "Please enter a correct username and password.")

// Login checks a password and starts a session. Kinds: Unauthenticated for a wrong name or password, the same
// for both and in the same time; Exhausted with RetryAfter after too many failures.
func (s *Service) Login(ctx context.Context, name string, password secret.Value) (cookie secret.Value, err error) {
	u, err := s.checkPassword(ctx, name, password)
	if err != nil {
		return secret.Value{}, err
	}
	cookie = secret.Random(32)
	err = s.gate.Do(asUser(ctx, u.User), authz.UserLogin, func(c *gate.Call) error {
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		length, err := c.Tx().SettingInt("session_length")
		if err != nil {
			return err
		}
		return c.Tx().AddSession(u.User, metal.Session{Hash: cookie.Hash(), UserID: u.ID, Epoch: u.Epoch, Address: authz.OriginFrom(ctx).Source,
			Created: c.Now(), LastSeen: c.Now(), Expires: c.Now().Add(time.Duration(length) * time.Second)})
	})
	return cookie, err
}

// asUser acts as a user with no rights but those over what is his own.
func asUser(ctx context.Context, u metal.User) context.Context {
	return authz.With(ctx, authz.Principal{Kind: authz.User, Name: u.Name, UserID: u.ID, Epoch: u.Epoch})
}

// Principal is a user with all his rights.
func Principal(v *store.View, u metal.User) (authz.Principal, error) {
	rights, err := v.Rights(u.ID)
	return authz.Principal{Kind: authz.User, Name: u.Name, UserID: u.ID, Rights: rights, Epoch: u.Epoch}, err
}

// Logout ends the session of a cookie.
func (s *Service) Logout(ctx context.Context, cookie secret.Value) error {
	return s.gate.Do(ctx, authz.UserLogout, func(c *gate.Call) error {
		u, err := c.Tx().User(c.Principal().UserID)
		if err != nil {
			return err
		}
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		return c.Tx().DeleteSession(u.User, cookie.Hash())
	})
}

// Session returns the principal of a session cookie. Kinds: Unauthenticated when it is unknown, ended, idle
// too long, or of a user whose rights changed since.
func (s *Service) Session(ctx context.Context, cookie secret.Value) (p authz.Principal, err error) {
	gone := fault.New(fault.Unauthenticated, "Your session has ended. Log in again.")
	hash, now := cookie.Hash(), s.now()
	var idle int
	var sess metal.Session
	err = s.gate.View(authz.AsSystem(ctx, "sessions"), authz.UserView, func(v *gate.Viewing) error {
		if sess, err = v.Session(hash); err != nil {
			return gone
		}
		u, err := v.User(sess.UserID)
		if err != nil || u.Disabled || u.Epoch != sess.Epoch {
			return gone
		}
		if idle, err = v.SettingInt("metalward_session_idle"); err != nil {
			return err
		}
		p, err = Principal(v.View, u.User)
		return err
	})
	if err != nil {
		return p, err
	}
	if now.After(sess.Expires) || now.Sub(sess.LastSeen) > time.Duration(idle)*time.Second {
		return authz.Principal{}, gone
	}
	// A write a minute is enough to know who is idle; of a short idle time, one in an eighth of it.
	if now.Sub(sess.LastSeen) > min(time.Minute, time.Duration(idle)*time.Second/8) {
		err = s.gate.Observe(authz.AsSystem(ctx, "sessions"), gate.SeenSession, func(tx *store.Tx, now time.Time) error { return tx.SeeSession(hash, now) })
	}
	return p, err
}

// KeySecret is a new API key, the only moment at which its secret is known.
type KeySecret struct {
	metal.APIKey
	Secret secret.Value
}

// String is the three-part form that clients take.
func (k KeySecret) Text() secret.Value {
	return secret.FromString(k.ConsumerKey + ":" + k.TokenKey + ":" + k.Secret.RevealString())
}

// MaxAPIKeys bounds the keys of a user.
const MaxAPIKeys = 1000

// CreateKey makes an API key for the calling user. Kinds: Exhausted, Invalid.
func (s *Service) CreateKey(ctx context.Context, name string) (KeySecret, error) {
	if name == "" {
		name = "API key"
	}
	if len(name) > 255 || metal.Printable(name, 255) != name {
		return KeySecret{}, fault.Field("name", "Use at most 255 printable characters.")
	}
	k := KeySecret{Secret: secret.Random(24)}
	k.APIKey = metal.APIKey{Name: name, ConsumerKey: secret.Random(14).RevealString()[:18], TokenKey: secret.Random(14).RevealString()[:18], SecretHash: k.Secret.Hash()}
	err := s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		keys, err := c.Tx().APIKeys(u.ID)
		if err != nil {
			return err
		}
		if len(keys) >= MaxAPIKeys {
			return fault.New(fault.Exhausted, "You have %d API keys; delete some first.", len(keys))
		}
		k.UserID, k.Created = u.ID, c.Now()
		c.Note("key", k.TokenKey)
		return c.Tx().AddAPIKey(u, &k.APIKey)
	})
	return k, err
}

// Authenticate trades a name and password for a new API key. Kinds: as Login.
func (s *Service) Authenticate(ctx context.Context, name string, password secret.Value, keyName string) (KeySecret, error) {
	u, err := s.checkPassword(ctx, name, password)
	if err != nil {
		return KeySecret{}, err
	}
	return s.CreateKey(asUser(ctx, u.User), keyName)
}

// KeyFor makes an API key for a named user, for the command line on the controller's host.
func (s *Service) KeyFor(ctx context.Context, user, keyName string) (k KeySecret, err error) {
	u, err := s.User(ctx, user)
	if err != nil {
		return k, err
	}
	return s.CreateKey(asUser(ctx, u), keyName)
}

// own runs a change of the calling user's own things.
func (s *Service) own(ctx context.Context, action authz.Action, fn func(*gate.Call, metal.User) error) error {
	return s.gate.Do(ctx, action, func(c *gate.Call) error {
		u, err := c.Tx().User(c.Principal().UserID)
		if err != nil {
			return authz.Deny.Err(authz.Target{})
		}
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		return fn(c, u.User)
	})
}

// Keys lists the calling user's API keys; there is no secret in them.
func (s *Service) Keys(ctx context.Context) (keys []metal.APIKey, err error) {
	err = s.gate.View(ctx, authz.KeyView, func(v *gate.Viewing) (err error) {
		keys, err = v.APIKeys(v.Principal().UserID)
		return err
	})
	return keys, err
}

// RenameKey changes the name of one of the calling user's keys. Kinds: NotFound, Invalid.
func (s *Service) RenameKey(ctx context.Context, token, name string) error {
	if name == "" || len(name) > 255 || metal.Printable(name, 255) != name {
		return fault.Field("name", "Enter a name of at most 255 printable characters.")
	}
	return s.withKey(ctx, token, func(c *gate.Call, u metal.User, k metal.APIKey) error { return c.Tx().RenameAPIKey(u, k.ID, name) })
}

// DeleteKey deletes one of the calling user's keys by its token part. Kinds: NotFound.
func (s *Service) DeleteKey(ctx context.Context, token string) error {
	return s.withKey(ctx, token, func(c *gate.Call, u metal.User, k metal.APIKey) error { return c.Tx().DeleteAPIKey(u, k.ID) })
}

func (s *Service) withKey(ctx context.Context, token string, fn func(*gate.Call, metal.User, metal.APIKey) error) error {
	return s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		keys, err := c.Tx().APIKeys(u.ID)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if k.TokenKey == token {
				c.Note("key", token)
				return fn(c, u, k)
			}
		}
		return fault.New(fault.NotFound, "No such API key.")
	})
}

// HasCredentials reports whether a request carries an API key, right or wrong.
func HasCredentials(r *http.Request) bool {
	if scheme, _, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "OAuth") {
		return true
	}
	return r.URL.Query().Has("oauth_token")
}

// VerifyOAuth returns the principal of an API key's signature; false when the request has none.
// Kinds: Unauthenticated, Forbidden for a disabled user, Invalid.
func (s *Service) VerifyOAuth(ctx context.Context, header string, values url.Values) (authz.Principal, bool, error) {
	o, ok, err := parseOAuth(header, values)
	if !ok || err != nil {
		return authz.Principal{}, ok, err
	}
	now := s.now()
	if now.Sub(o.at) > pastWindow {
		return authz.Principal{}, true, fault.New(fault.Unauthenticated, "Authorization Error: Expired timestamp: given %d and now %d has a greater difference than threshold %d",
			o.at.Unix(), now.Unix(), int(pastWindow.Seconds()))
	}
	if o.at.Sub(now) > futureWindow {
		return authz.Principal{}, true, fault.New(fault.Unauthenticated, "Authorization Error: the timestamp %d is too far ahead of %d; set your clock.", o.at.Unix(), now.Unix())
	}
	if err := s.mayTryToken(ctx, o.token); err != nil {
		return authz.Principal{}, true, err
	}
	k, err := s.lookup(ctx, o.token, now)
	invalid := fault.New(fault.Unauthenticated, "Authorization Error: Invalid API key.")
	if fault.Is(err, fault.NotFound) {
		s.wrongToken(ctx, o.token)
		return authz.Principal{}, true, invalid
	}
	if err != nil {
		return authz.Principal{}, true, err
	}
	same := subtle.ConstantTimeCompare([]byte(k.secretHash), []byte(secret.FromString(o.secret).Hash())) & subtle.ConstantTimeCompare([]byte(k.consumer), []byte(o.consumer))
	if same != 1 {
		s.wrongToken(ctx, o.token)
		return authz.Principal{}, true, invalid
	}
	return k.principal, true, s.nonces.use(o.token, o.nonce, now)
}

// lookup finds a key by its token, remembering it for a moment.
func (s *Service) lookup(ctx context.Context, token string, now time.Time) (cached, error) {
	s.mu.Lock()
	k, ok := s.known[token]
	s.mu.Unlock()
	if ok && now.Before(k.until) {
		return k, nil
	}
	err := s.gate.View(authz.AsSystem(ctx, "keys"), authz.UserView, func(v *gate.Viewing) error {
		row, err := v.APIKeyByToken(token)
		if err != nil {
			return err
		}
		u, err := v.User(row.UserID)
		if err != nil {
			return err
		}
		if u.Disabled {
			return fault.New(fault.Forbidden, "User is not allowed access to this API.")
		}
		p, err := Principal(v.View, u.User)
		k = cached{row.ConsumerKey, row.SecretHash, p, now.Add(cacheLife)}
		return err
	})
	if err != nil {
		return cached{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) > 10000 {
		clear(s.known)
	}
	s.known[token] = k
	return k, nil
}

// SSHKeys lists the calling user's SSH keys.
func (s *Service) SSHKeys(ctx context.Context) (keys []metal.SSHKey, err error) {
	err = s.gate.View(ctx, authz.KeyView, func(v *gate.Viewing) (err error) {
		keys, err = v.SSHKeys(v.Principal().UserID)
		return err
	})
	return keys, err
}

// AddSSHKey adds an SSH key for the calling user. Kinds: Invalid.
func (s *Service) AddSSHKey(ctx context.Context, text string) (k metal.SSHKey, err error) {
	if k.Key, err = metal.ParseSSHKey(text); err != nil {
		return k, err
	}
	err = s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		keys, err := c.Tx().SSHKeys(u.ID)
		if err != nil {
			return err
		}
		if len(keys) >= 100 {
			return fault.New(fault.Exhausted, "You have %d SSH keys; delete some first.", len(keys))
		}
		for _, old := range keys {
			if old.Key == k.Key {
				return fault.Field("key", "This key has already been added for this user.")
			}
		}
		k.UserID = u.ID
		return c.Tx().AddSSHKey(u, &k)
	})
	return k, err
}

// DeleteSSHKey deletes one of the calling user's SSH keys. Kinds: NotFound, also for another user's key.
func (s *Service) DeleteSSHKey(ctx context.Context, id int64) error {
	return s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		ok, err := c.Tx().DeleteSSHKey(u, id)
		if err == nil && !ok {
			err = fault.New(fault.NotFound, "No SSHKey matches the given query.")
		}
		return err
	})
}
