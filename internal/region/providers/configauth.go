package providers

import (
	"context"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// What `metalward configauth` does, as MAAS's does it: there is one external authentication, and setting it sets the
// whole of it.

// External is the provider whose people log in by macaroons; false when none is enabled.
func (s *Service) External(ctx context.Context) (p metal.Provider, ok bool, err error) {
	list, err := s.Providers(ctx, Any)
	for _, e := range list {
		if e.Enabled && e.Kind.Macaroons() {
			return e.Provider, true, err
		}
	}
	return p, false, err
}

// adminsGroup is the group that is there from the start and whose members are administrators.
const adminsGroup = "Administrators"

// AdminValue is what a provider calls the group whose members are administrators here; empty for none.
func AdminValue(p metal.Provider) string {
	for _, m := range p.Groups {
		if m.Group == adminsGroup {
			return m.Value
		}
	}
	return ""
}

// External authentication as it is to be. Domain and Admins are Candid's.
type External struct {
	Kind   metal.ProviderKind
	Fields map[string]string // of the kind, its address included
	Key    secret.Value      // of the agent
	Admins string            // what Candid calls the group of administrators; empty: it makes nobody one
}

// CandidExternal is external authentication by Candid.
func CandidExternal(a macaroons.Agent, domain, admins string) External {
	return External{Kind: metal.ProviderCandid, Key: a.Key.Private(), Admins: admins,
		Fields: map[string]string{"candid_url": a.URL, "agent_username": a.Username, "domain": domain}}
}

// SetExternal enables external authentication, alone of its sort. A provider that is there with this address is changed;
// its further groups stay mapped. All macaroons end, and what it said of people is asked again. Kinds: as Create and Update.
func (s *Service) SetExternal(ctx context.Context, x External) (p metal.Provider, err error) {
	t, known := metal.ProviderTypeOf(x.Kind)
	if !known || !x.Kind.Macaroons() {
		return p, fault.New(fault.Invalid, "This is no kind of external authentication.")
	}
	address := x.Fields[t.Address.Name]
	list, err := s.Providers(ctx, Any)
	if err != nil {
		return p, err
	}
	var was *Entry
	taken := false
	for i, e := range list {
		if taken = taken || e.Name == t.Title; e.Kind == x.Kind && e.Issuer == address {
			was = &list[i]
		}
	}
	if err := s.disable(ctx, list, was); err != nil {
		return p, err
	}
	yes := true
	e := Edit{Fields: x.Fields, Secret: &x.Key, Enabled: &yes, CreateUsers: &yes}
	if x.Kind == metal.ProviderCandid {
		groups := withAdmins(metal.Provider{}, x.Admins)
		if was != nil {
			groups = withAdmins(was.Provider, x.Admins)
		}
		e.Groups = &groups
	}
	if was != nil {
		p, err = s.Update(ctx, x.Kind, was.ID, e)
	} else {
		name := t.Title
		if taken {
			name += " " + strings.NewReplacer("https://", "", "/", " ", ":", " ", "[", "", "]", "").Replace(address)
		}
		e.Name = &name
		p, err = s.Create(ctx, x.Kind, e)
	}
	if err != nil {
		return p, err
	}
	return p, s.beginAnew(ctx, p.ID)
}

// ChangeCandid changes the domain and the group of administrators of external authentication by Candid. Macaroons end, and
// what it said of people is asked again. Kinds: as Update.
func (s *Service) ChangeCandid(ctx context.Context, p metal.Provider, change func(domain, admins *string)) error {
	domain, admins := p.Options["domain"], AdminValue(p)
	change(&domain, &admins)
	groups := withAdmins(p, admins)
	if _, err := s.Update(ctx, p.Kind, p.ID, Edit{Fields: map[string]string{"domain": domain}, Groups: &groups}); err != nil {
		return err
	}
	return s.beginAnew(ctx, p.ID)
}

// withAdmins is a provider's mapping of groups with another group of administrators; "" for none.
func withAdmins(p metal.Provider, admins string) (groups string) {
	for _, m := range p.Groups {
		if m.Group != adminsGroup {
			groups += m.Value + " = " + m.Group + "\n"
		}
	}
	if admins != "" {
		groups += admins + " = " + adminsGroup + "\n"
	}
	return groups
}

// ClearExternal disables external authentication of a kind, and ends its macaroons. It is no error if there is none.
// Kinds: Conflict when no administrator could log in any more.
func (s *Service) ClearExternal(ctx context.Context, kind metal.ProviderKind) error {
	list, err := s.Providers(ctx, kind)
	if err != nil {
		return err
	}
	return s.disable(ctx, list, nil)
}

// disable disables those of a list whose people log in by macaroons, but one.
func (s *Service) disable(ctx context.Context, list []Entry, but *Entry) error {
	no := false
	for _, e := range list {
		if !e.Enabled || !e.Kind.Macaroons() || but != nil && e.ID == but.ID {
			continue
		}
		if _, err := s.Update(ctx, e.Kind, e.ID, Edit{Enabled: &no}); err != nil {
			return err
		}
	}
	return nil
}

// beginAnew ends a provider's macaroons, and has it asked about whoever comes with an API key.
func (s *Service) beginAnew(ctx context.Context, id int64) error {
	return s.Gate.Do(ctx, authz.ProviderEdit, func(c *gate.Call) error {
		if err := c.Require(store.ProviderTarget(id)); err != nil {
			return err
		}
		c.Note("change", "macaroons ended")
		return errors2(c.Tx().EndMacaroons(id), c.Tx().AskAgain(id))
	})
}
