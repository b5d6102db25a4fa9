package identity

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/throttle"
	"github.com/metalward/metalward/internal/secret"
)

// Limits of API keys.
const (
	MaxAPIKeys     = 1000        // of a user
	maxKeyLife     = 100 * 366   // days
	maxKeyNetworks = 100         // of a key
	maxKeyPools    = 1000        // of a key
	cacheLife      = time.Second // how long a key that was ended by another region still works
	maxKnown       = 10_000      // keys remembered at once
	useEvery       = time.Minute // a key's use is written at most so often
)

type cached struct {
	metal.APIKey
	principal authz.Principal // with the limits of the key
	disabled  bool
	stale     error       // why the user's provider has to be waited for
	outdated  *metal.User // whose rights are too old to act by; not remembered
	until     time.Time
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

// NewKey describes an API key to make.
type NewKey struct {
	Name     string
	Days     int // until it expires; 0: never
	ReadOnly bool
	Pools    []int64        // it works in these only; none: in all of the user's
	Networks []netip.Prefix // it works from these only; none: from everywhere
}

func (n NewKey) check() error {
	bad := fault.Fields{}
	if len(n.Name) > 255 || metal.Printable(n.Name, 255) != n.Name {
		bad.Add("name", "Use at most 255 printable characters.")
	}
	if n.Days < 0 || n.Days > maxKeyLife {
		bad.Add("days", "Enter a number of days up to %d; 0 for a key that does not expire.", maxKeyLife)
	}
	if len(n.Networks) > maxKeyNetworks {
		bad.Add("networks", "Name at most %d networks.", maxKeyNetworks)
	}
	if len(n.Pools) > maxKeyPools {
		bad.Add("pools", "Name at most %d pools.", maxKeyPools)
	}
	return bad.Err()
}

// ParseNetworks reads networks or addresses, separated by commas or blanks. Kinds: Invalid on "networks".
func ParseNetworks(text string) (list []netip.Prefix, err error) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		p, err := netip.ParsePrefix(word)
		if a, aErr := netip.ParseAddr(word); err != nil && aErr == nil {
			p, err = netip.PrefixFrom(a.Unmap().WithZone(""), a.Unmap().BitLen()), nil
		}
		if err != nil {
			return nil, fault.Field("networks", "%.64q is not a network such as 10.0.0.0/24.", word)
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// CreateKey makes an API key for the calling user. Kinds: Exhausted, Invalid.
func (s *Service) CreateKey(ctx context.Context, n NewKey) (KeySecret, error) {
	if n.Name == "" {
		n.Name = "API key"
	}
	if err := n.check(); err != nil {
		return KeySecret{}, err
	}
	k := KeySecret{Secret: secret.Random(24)}
	k.APIKey = metal.APIKey{Name: n.Name, ConsumerKey: secret.Random(14).RevealString()[:18], TokenKey: secret.Random(14).RevealString()[:18], SecretHash: k.Secret.Hash(),
		ReadOnly: n.ReadOnly, Pools: n.Pools, Networks: n.Networks}
	err := s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		keys, err := c.Tx().APIKeys(u.ID)
		if err != nil {
			return err
		}
		if len(keys) >= MaxAPIKeys {
			return fault.New(fault.Exhausted, "You have %d API keys; delete some first.", len(keys))
		}
		for _, id := range n.Pools {
			// A pool that one may not see is none.
			if _, err := c.Tx().Pool(id); err != nil || authz.Decide(c.Principal(), authz.PoolView, store.PoolTarget(id)) != authz.Allow {
				return fault.Field("pools", "There is no resource pool %d.", id)
			}
		}
		k.UserID, k.Created = u.ID, c.Now()
		if n.Days > 0 {
			k.Expires = c.Now().AddDate(0, 0, n.Days)
		}
		c.Note("change", "key created")
		c.Note("key", k.TokenKey)
		return c.Tx().AddAPIKey(u, &k.APIKey)
	})
	return k, err
}

// Authenticate trades a name and password for a new API key. Kinds: as Login; Forbidden for a user with a second
// factor, who makes keys in the pages.
func (s *Service) Authenticate(ctx context.Context, name string, password secret.Value, keyName string) (KeySecret, error) {
	u, err := s.checkPassword(ctx, name, password)
	if err != nil {
		return KeySecret{}, err
	}
	if u.by != nil {
		if err := s.arrive(ctx, *u.by, func(_ context.Context, _ *gate.Call, who metal.User) error { u.User = who; return nil }); err != nil {
			return KeySecret{}, err
		}
	}
	must, err := s.wantsFactor(ctx, u.User)
	if err != nil {
		return KeySecret{}, err
	}
	if must {
		return KeySecret{}, s.gate.Do(asUser(ctx, u.User), authz.UserLogin, func(c *gate.Call) error {
			c.Note("step", "API key for a password alone")
			return fault.New(fault.Forbidden, "This account needs a second factor, which cannot be shown here. Log in to the pages and make an API key under Account.")
		})
	}
	return s.CreateKey(asUser(ctx, u.User), NewKey{Name: keyName})
}

// wantsFactor reports whether a user has a second factor, or a role that demands one.
func (s *Service) wantsFactor(ctx context.Context, u metal.User) (must bool, err error) {
	err = s.gate.View(authz.AsSystem(ctx, "login"), authz.UserView, func(v *gate.Viewing) error {
		factors, err := v.Factors(u.ID)
		if must = len(factors) > 0; err != nil || must {
			return err
		}
		must, err = demanded(v.View, u)
		return err
	})
	return must, err
}

// KeyFor makes an API key for a named user, for the command line on the controller's host.
func (s *Service) KeyFor(ctx context.Context, user, keyName string) (k KeySecret, err error) {
	u, err := s.User(ctx, user)
	if err != nil {
		return k, err
	}
	return s.CreateKey(asUser(ctx, u), NewKey{Name: keyName})
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
	return s.withKey(ctx, token, "key renamed", func(c *gate.Call, u metal.User, k metal.APIKey) error { return c.Tx().RenameAPIKey(u, k.ID, name) })
}

// DeleteKey deletes one of the calling user's keys by its token part. Kinds: NotFound.
func (s *Service) DeleteKey(ctx context.Context, token string) error {
	return s.withKey(ctx, token, "key deleted", func(c *gate.Call, u metal.User, k metal.APIKey) error { return c.Tx().DeleteAPIKey(u, k.ID) })
}

func (s *Service) withKey(ctx context.Context, token, change string, fn func(*gate.Call, metal.User, metal.APIKey) error) error {
	return s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		keys, err := c.Tx().APIKeys(u.ID)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if k.TokenKey == token {
				c.Note("change", change)
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

// VerifyOAuth returns the principal of an API key's signature, in the header or else in the query or form; false
// when there is none. Kinds: Unauthenticated, Forbidden for a disabled user or from another network than the key's,
// Invalid, Exhausted with RetryAfter.
func (s *Service) VerifyOAuth(ctx context.Context, header string, values ...url.Values) (authz.Principal, bool, error) {
	o, ok, err := parseOAuth(header, values...)
	if !ok || err != nil {
		return authz.Principal{}, ok, err
	}
	p, err := s.verify(ctx, o)
	return p, true, err
}

func (s *Service) verify(ctx context.Context, o oauth) (none authz.Principal, err error) {
	now := s.now()
	if now.Sub(o.at) > pastWindow {
		return none, fault.New(fault.Unauthenticated, "Authorization Error: Expired timestamp: given %d and now %d has a greater difference than threshold %d",
			o.at.Unix(), now.Unix(), int(pastWindow.Seconds()))
	}
	if o.at.Sub(now) > futureWindow {
		return none, fault.New(fault.Unauthenticated, "Authorization Error: the timestamp %d is too far ahead of %d; set your clock.", o.at.Unix(), now.Unix())
	}
	if err := s.mayTryToken(ctx, o.token); err != nil {
		return none, err
	}
	k, err := s.lookup(ctx, o.token, now)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return none, err
	}
	same := subtle.ConstantTimeCompare([]byte(k.SecretHash), []byte(secret.FromString(o.secret).Hash())) & subtle.ConstantTimeCompare([]byte(k.ConsumerKey), []byte(o.consumer))
	if err != nil || same != 1 {
		s.wrongToken(ctx, o.token)
		return none, fault.New(fault.Unauthenticated, "Authorization Error: Invalid API key.")
	}
	// Whoever gets here knows the secret.
	source := authz.OriginFrom(ctx).Source
	switch {
	case k.disabled:
		return none, errNotAllowed
	case k.stale != nil:
		return none, k.stale
	case !k.Expires.IsZero() && now.After(k.Expires):
		return none, fault.New(fault.Unauthenticated, "Authorization Error: this API key expired at %s.", k.Expires.Format(time.RFC3339))
	case !k.From(source):
		s.gate.Security(authz.AsSystem(ctx, "api-keys"), "authz_fail_network", map[string]string{"key": k.TokenKey, "username": k.principal.Name})
		return none, fault.New(fault.Forbidden, "This API key may not be used from %s.", metal.Printable(source, 64))
	}
	if err := s.nonces.use(o.token, o.nonce, now); err != nil {
		return none, err
	}
	// Who does not know the secret has nobody ask the service anything.
	err = s.upToDate(ctx, k.outdated, func() (*metal.User, error) {
		k, err = s.lookup(ctx, o.token, s.now())
		return k.outdated, err
	})
	switch {
	case err != nil:
		return none, err
	case k.disabled || k.stale != nil:
		return none, errors2(k.stale, errNotAllowed)
	}
	return k.principal, s.noteUse(ctx, k, source, now)
}

var errNotAllowed = fault.New(fault.Forbidden, "User is not allowed access to this API.")

// use is a key used from a network.
type use struct {
	key     int64
	network netip.Prefix
}

// noteUse writes that a key was used, at most once a minute and network. A network that the key was never used from
// before is an event.
func (s *Service) noteUse(ctx context.Context, k cached, source string, now time.Time) error {
	this := use{k.ID, throttle.Network(source)}
	s.mu.Lock()
	due := now.Sub(s.noted[this]) >= useEvery
	if due {
		if len(s.noted) >= maxKnown {
			clear(s.noted)
		}
		s.noted[this] = now
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	ctx = authz.AsSystem(ctx, "api-keys")
	strange := false
	err := s.gate.Observe(ctx, gate.SeenSession, func(tx *store.Tx, now time.Time) (err error) {
		strange, err = tx.SeeAPIKey(k.ID, source, this.network.String(), now)
		return err
	})
	if err == nil && strange {
		s.gate.Security(ctx, "authn_key_new_network", map[string]string{"key": k.TokenKey, "username": k.principal.Name, "network": this.network.String()})
	}
	return err
}

// lookup finds a key by its token, remembering it for a moment. Kinds: NotFound.
func (s *Service) lookup(ctx context.Context, token string, now time.Time) (cached, error) {
	s.mu.Lock()
	k, ok := s.known[token]
	s.mu.Unlock()
	if ok && now.Before(k.until) {
		return k, nil
	}
	k, due, err := s.readKey(ctx, token, now)
	if err == nil && due != nil {
		switch err = s.recheck(ctx, *due); {
		case err == nil:
			k, _, err = s.readKey(ctx, token, now) // with what the provider says now
		case fault.Is(err, fault.Unauthenticated):
			k.disabled, err = true, nil
		default: // to whoever knows the secret
			k.stale, err = err, nil
		}
	}
	if err != nil {
		return cached{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	if k.outdated == nil {
		s.known[token] = k
	}
	return k, nil
}

// readKey reads a key, and whether a provider has to be asked about its user. Kinds: NotFound.
func (s *Service) readKey(ctx context.Context, token string, now time.Time) (k cached, due *metal.ExternalIdentity, err error) {
	err = s.gate.View(authz.AsSystem(ctx, "keys"), authz.UserView, func(v *gate.Viewing) error {
		row, err := v.APIKeyByToken(token)
		if err != nil {
			return err
		}
		u, err := v.User(row.UserID)
		if err != nil {
			return err
		}
		p, err := Principal(v.View, u.User)
		dormant, missing := v.Dormant(u)
		if missing != nil {
			return missing
		}
		k = cached{APIKey: row, principal: p.Limited(row.ReadOnly, row.Pools), disabled: u.Disabled || dormant, until: now.Add(cacheLife)}
		if err == nil && !k.disabled {
			due, err = s.due(v.View, u.User)
		}
		if err == nil && !k.disabled && u.RightsFrom != 0 {
			k.until = now // how old his rights are is looked at for each call
			k.outdated, err = s.outdated(v.View, u.User)
		}
		return err
	})
	return k, due, err
}
