package identity

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// Logins by an identity provider. Who somebody is follows from issuer and subject alone: names and addresses are what a
// provider lets people say of themselves, and never lead to an account that is there.

// maxIdentities bounds the identities linked to a user.
const maxIdentities = 10

var (
	errSpent    = fault.New(fault.Unauthenticated, "This login was finished already. Begin again.")
	errInactive = fault.New(fault.Unauthenticated, "This account is deactivated; ask an administrator.")
)

// SignOn starts a session of somebody whom a provider has verified: of the user whose identity it is, or else of a new
// one, where the provider may bring new users. His memberships in the groups that the provider is mapped to become what
// it says. Kinds: Unauthenticated, Conflict when his name is that of an account of this site, Forbidden when he is
// unknown and the provider brings no new users.
func (s *Service) SignOn(ctx context.Context, l metal.ExternalLogin) (cookie secret.Value, err error) {
	err = s.arrive(ctx, l, func(ctx context.Context, c *gate.Call, u metal.User) error {
		if fresh, err := c.Tx().Spend(u, l.State, l.StateEnds, c.Now()); err != nil || !fresh {
			return errors2(err, errSpent)
		}
		cookie = secret.Random(32)
		return s.addSessionBy(ctx, c, u, cookie, metal.FactorProvider, l)
	})
	return cookie, err
}

// arrive takes over what a provider says of somebody, making him if need be, and goes on with then.
func (s *Service) arrive(ctx context.Context, l metal.ExternalLogin, then func(context.Context, *gate.Call, metal.User) error) error {
	err := s.gate.View(authz.AsSystem(ctx, "login"), authz.UserView, func(v *gate.Viewing) error {
		u, _, err := identified(v.View, l)
		if err == nil { // the trail names him
			ctx = asUser(ctx, u.User)
		}
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.gate.Do(ctx, authz.UserSignOn, func(c *gate.Call) error {
		p, err := provider(c, l)
		if err != nil {
			return err
		}
		u, id, err := identified(&c.Tx().View, l)
		if fault.Is(err, fault.NotFound) {
			u, id, err = s.bring(c, p, l)
		}
		if err != nil {
			return err
		}
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		if u.Disabled {
			return errInactive
		}
		if err := ended(&c.Tx().View, u.User, l); err != nil {
			return err
		}
		if u.External && l.Email != "" && l.Email != u.Email {
			c.Note("email", l.Email)
			u.Email = l.Email
			if err := c.Tx().PutUser(u); err != nil {
				return err
			}
		}
		id.LastUsed, id.Checked, id.Gone = c.Now(), c.Now(), false
		if err := c.Tx().PutIdentity(u.User, id); err != nil {
			return err
		}
		if err := joinGroups(c, p, u.User, l.Groups); err != nil {
			return err
		}
		return then(ctx, c, u.User)
	})
}

// identified finds the user of an identity. Kinds: NotFound.
func identified(v *store.View, l metal.ExternalLogin) (u store.UserRow, id metal.ExternalIdentity, err error) {
	if id, err = v.ExternalIdentity(l.Issuer, l.Subject); err != nil {
		return u, id, err
	}
	u, err = v.User(id.UserID)
	return u, id, err
}

// provider reads the provider of a login, which may have been changed since the login began.
func provider(c *gate.Call, l metal.ExternalLogin) (metal.Provider, error) {
	p, err := c.Tx().Provider(l.ProviderID)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return p, err
	}
	if err != nil || !p.Enabled || p.Issuer != l.Issuer {
		return p, fault.New(fault.Unauthenticated, "This identity provider is not in use any more.")
	}
	c.Note("provider", p.Name)
	c.Note("subject", l.Subject)
	return p, nil
}

// bring makes the user of an identity that is not known yet.
func (s *Service) bring(c *gate.Call, p metal.Provider, l metal.ExternalLogin) (u store.UserRow, id metal.ExternalIdentity, err error) {
	if err := c.Require(store.NewUserTarget); err != nil {
		return u, id, err
	}
	if !p.CreateUsers && !p.Kind.Links() {
		return u, id, fault.New(fault.Forbidden, "%s knows you, but this site does not. Ask an administrator.", p.Name)
	}
	if !p.CreateUsers {
		return u, id, fault.New(fault.Forbidden, "%s knows you, but this site does not. If you have an account here, log in to it and link your identity under Account; else ask an administrator.", p.Name)
	}
	name, err := freeName(&c.Tx().View, l, p.Kind.Links())
	if err != nil {
		return u, id, err
	}
	c.Note("username", name)
	c.Note("change", "created")
	u = store.UserRow{User: metal.User{Name: name, Email: l.Email, External: true, Created: c.Now()}}
	if p.Kind == metal.ProviderRBAC {
		u.RightsFrom = p.ID
	}
	if err := c.Tx().AddUser(&u); err != nil {
		return u, id, err
	}
	id = metal.ExternalIdentity{Issuer: l.Issuer, Subject: l.Subject, ProviderID: p.ID, Created: c.Now()}
	if u.RightsFrom != 0 { // groups give him nothing
		return u, id, nil
	}
	return u, id, join(c, u.User)
}

// freeName is the name of a new user: the one that the provider wishes, if it will do, made different from those of
// others whom providers brought. Kinds: Conflict when an account of this site has it, in whatever case.
func freeName(v *store.View, l metal.ExternalLogin, links bool) (string, error) {
	name := l.Name
	if name == "" {
		name = l.Email
	}
	if len(name) > 140 || len(metal.ValidateUser(name, "")) > 0 { // room for a number
		name = "user-" + secret.FromString(l.Issuer + " " + l.Subject).Hash()[:12]
	}
	for n := 1; n < 1000; n++ {
		try := name
		if n > 1 {
			try += "-" + strconv.Itoa(n)
		}
		taken, local, err := v.NameTaken(try)
		switch {
		case err != nil:
			return "", err
		case local && n == 1 && !links:
			return "", fault.New(fault.Conflict, "There is an account %.150s of this site already. Ask an administrator.", name)
		case local && n == 1:
			return "", fault.New(fault.Conflict, "There is an account %.150s of this site already. If it is yours, log in to it and link your identity under Account; else ask an administrator.", name)
		case !taken:
			return try, nil
		}
	}
	return "", fault.New(fault.Conflict, "There are too many users of the name %.150s.", name)
}

// joinGroups makes a user's memberships in the groups that a provider is mapped to what the provider says. Other groups
// are not its business. The last administrator stays one.
func joinGroups(c *gate.Call, p metal.Provider, u metal.User, says []string) error {
	if !p.SyncsGroups() {
		return nil
	}
	in, err := c.Tx().GroupsOf(u.ID)
	if err != nil {
		return err
	}
	member := func(id int64) bool { return slices.ContainsFunc(in, func(g metal.Group) bool { return g.ID == id }) }
	wanted, names := map[int64]bool{}, map[int64]string{}
	for _, m := range p.Groups {
		names[m.GroupID] = m.Group
		wanted[m.GroupID] = wanted[m.GroupID] || slices.Contains(says, m.Value)
	}
	var joined, left []string
	for id, name := range names {
		if wanted[id] == member(id) {
			continue
		}
		if err := c.Require(store.GroupTarget(id)); err != nil {
			return err
		}
		if wanted[id] {
			joined = append(joined, name)
			if err := c.Tx().AddMember(id, u.ID); err != nil {
				return err
			}
			continue
		}
		if _, err := c.Tx().RemoveMember(id, u.ID); err != nil {
			return err
		}
		n, err := c.Tx().CountAdministrators()
		if err != nil {
			return err
		}
		if n > 0 {
			left = append(left, name)
			continue
		}
		c.Note("kept", name+": the last administrator")
		if err := c.Tx().AddMember(id, u.ID); err != nil {
			return err
		}
	}
	note(c, "joined", joined)
	note(c, "left", left)
	return nil
}

func note(c *gate.Call, key string, names []string) {
	if len(names) > 0 {
		slices.Sort(names)
		c.Note(key, strings.Join(names, ", "))
	}
}

// LinkIdentity gives the calling user a further way in: an identity that a provider has verified, by a login that he
// began after he said his password again. Kinds: Conflict when the identity is somebody's already, Unauthenticated,
// Exhausted.
func (s *Service) LinkIdentity(ctx context.Context, l metal.ExternalLogin) error {
	return s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		c.Note("change", "identity linked")
		p, err := provider(c, l)
		if err != nil {
			return err
		}
		if p.Kind == metal.ProviderRBAC {
			return fault.New(fault.Conflict, "%s decides alone what its people may do: log in there as somebody of his own.", p.Name)
		}
		if fresh, err := c.Tx().Spend(u, l.State, l.StateEnds, c.Now()); err != nil || !fresh {
			return errors2(err, errSpent)
		}
		owner, _, err := identified(&c.Tx().View, l)
		switch {
		case err == nil && owner.ID == u.ID:
			return fault.New(fault.Conflict, "This identity is linked to your account already.")
		case err == nil:
			return fault.New(fault.Conflict, "This identity belongs to another account.")
		case !fault.Is(err, fault.NotFound):
			return err
		}
		list, err := c.Tx().ExternalIdentities(u.ID)
		if err != nil {
			return err
		}
		if len(list) >= maxIdentities {
			return fault.New(fault.Exhausted, "%d identities are linked to your account; unlink some first.", len(list))
		}
		return c.Tx().PutIdentity(u, metal.ExternalIdentity{Issuer: l.Issuer, Subject: l.Subject, ProviderID: p.ID, Created: c.Now()})
	})
}

// UnlinkIdentity takes a way in from the calling user, and ends his sessions by it. Kinds: NotFound, Conflict for a user
// whom a provider brought: he has no other.
func (s *Service) UnlinkIdentity(ctx context.Context, issuer, subject string) error {
	return s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		c.Note("change", "identity unlinked")
		row, err := c.Tx().User(u.ID)
		if err != nil {
			return err
		}
		if row.Password == "" {
			return fault.New(fault.Conflict, "Your account has no password: without this identity you could not log in.")
		}
		id, err := c.Tx().ExternalIdentity(issuer, subject)
		if err == nil {
			c.Note("provider", id.Provider)
			var ok bool
			if ok, err = c.Tx().DeleteIdentity(u, id); err != nil || ok {
				return err
			}
		}
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		return fault.New(fault.NotFound, "No such identity is linked to your account.")
	})
}

// Identities lists the calling user's identities at providers, and whether he has a password besides.
func (s *Service) Identities(ctx context.Context) (list []metal.ExternalIdentity, password bool, err error) {
	err = s.gate.View(ctx, authz.KeyView, func(v *gate.Viewing) error {
		u, err := v.User(v.Principal().UserID)
		if err != nil {
			return err
		}
		password = u.Password != ""
		list, err = v.ExternalIdentities(u.ID)
		return err
	})
	return list, password, err
}

// SessionProvider returns the provider at which a session began; 0 for none.
func (s *Service) SessionProvider(ctx context.Context, cookie secret.Value) (id int64) {
	_ = s.gate.View(authz.AsSystem(ctx, "sessions"), authz.UserView, func(v *gate.Viewing) error {
		sess, err := v.Session(cookie.Hash())
		id = sess.ProviderID
		return err
	})
	return id
}

// SignOff ends the sessions of somebody of whom a provider says, verified, that he has logged out there: all that began
// there, or where it names no one but its own session, that one. It is no error if there is nobody. Kinds:
// Unauthenticated when the provider has said so before.
func (s *Service) SignOff(ctx context.Context, l metal.ExternalLogin) error {
	var u metal.User
	err := s.gate.View(authz.AsSystem(ctx, "login"), authz.UserView, func(v *gate.Viewing) error {
		if l.Subject != "" {
			row, _, err := identified(v.View, l)
			u = row.User
			return err
		}
		id, err := v.ProviderSessionUser(l.ProviderID, l.Session)
		if err != nil || id == 0 {
			return err
		}
		row, err := v.User(id)
		u = row.User
		return err
	})
	if fault.Is(err, fault.NotFound) || err == nil && u.ID == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return s.gate.Do(asUser(ctx, u), authz.UserLogout, func(c *gate.Call) error {
		if err := c.Require(store.UserTarget(u)); err != nil {
			return err
		}
		c.Note("change", "logged out at the identity provider")
		if fresh, err := c.Tx().Spend(u, l.State, l.StateEnds.Add(time.Minute), c.Now()); err != nil || !fresh {
			return errors2(err, errSpent)
		}
		session := l.Session
		if l.Subject != "" {
			session = ""
		}
		return c.Tx().DeleteProviderSessions(u, l.ProviderID, session)
	})
}

// ofProvider refuses a password to a user whom a provider brought, for as long as it vouches for him: it would be a way
// in that the provider does not know of. Kinds: Conflict.
func ofProvider(c *gate.Call, u store.UserRow) error {
	list, err := c.Tx().ExternalIdentities(u.ID)
	if err == nil && u.External && len(list) > 0 {
		err = fault.New(fault.Conflict, "%s logs in by the identity provider %s and has no password here.", u.Name, list[0].Provider)
	}
	return err
}
