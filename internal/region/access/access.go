// Package access keeps groups, roles and grants, and explains what they amount to.
//
// Nobody gives what he does not hold, nor takes from one who holds more, and the last administrator stays.
package access

import (
	"context"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// Limits of what a site keeps.
const (
	MaxGroups = 2000
	MaxRoles  = 200
)

// Service keeps groups, roles and grants. Safe for concurrent use.
type Service struct{ gate *gate.Gate }

// New makes the service.
func New(g *gate.Gate) *Service { return &Service{g} }

// mayHandle refuses to give or take what the caller does not hold himself.
func mayHandle(c *gate.Call, grants ...store.GrantRow) error {
	if c.Principal().Kind != authz.User {
		return nil
	}
	for _, g := range grants {
		if !c.Principal().Rights.Covers(g.Grant()) {
			return fault.New(fault.Forbidden, "You can give and take only what you hold yourself: %s.", Describe(g))
		}
	}
	return nil
}

// Describe names what a grant gives, for people and the trail.
func Describe(g store.GrantRow) string {
	what := g.Role
	if what == "" {
		what = g.Entitlement.String()
	}
	if g.Pool == authz.AllPools {
		return what + " on all pools"
	}
	return what + " on pool " + g.PoolName
}

func describeAll(grants []store.GrantRow) string {
	texts := make([]string, len(grants))
	for i, g := range grants {
		texts[i] = Describe(g)
	}
	return strings.Join(texts, ", ")
}

// decidedHere refuses to give to a user or take from him what an RBAC service alone decides. Kinds: Conflict.
func decidedHere(c *gate.Call, name string, provider int64) error {
	if provider == 0 {
		return nil
	}
	p, err := c.Tx().Provider(provider)
	if err != nil {
		return err
	}
	return fault.New(fault.Conflict, "What %s may do is decided by the RBAC service %s alone: change it there.", name, p.Name)
}

// keepAdministrator refuses to take what these grants gave if nobody of this site's own could administer it then. Of a
// site that is an RBAC service's from the start, that is no matter of grants that make no administrator.
func keepAdministrator(c *gate.Call, taken ...store.GrantRow) error {
	if !slices.ContainsFunc(taken, func(g store.GrantRow) bool { return g.Role == authz.Administrator && g.Pool == authz.AllPools }) {
		return nil
	}
	n, err := c.Tx().CountAdministrators()
	if err == nil && n == 0 {
		err = fault.New(fault.Conflict, "This would leave the site without an administrator; make another one first.")
	}
	return err
}

// Groups lists all groups by name.
func (s *Service) Groups(ctx context.Context) (list []metal.Group, err error) {
	err = s.gate.View(ctx, authz.AccessView, func(v *gate.Viewing) error { list, err = v.Groups(); return err })
	return list, err
}

// Group is a group with its members and what they hold by it.
type Group struct {
	metal.Group
	Members []metal.User
	Grants  []store.GrantRow
}

// Group returns a group. Kinds: NotFound.
func (s *Service) Group(ctx context.Context, id int64) (g Group, err error) {
	err = s.gate.View(ctx, authz.AccessView, func(v *gate.Viewing) error {
		if g.Group, err = v.Group(id); err != nil {
			return err
		}
		rows, err := v.Members(id)
		if err != nil {
			return err
		}
		for _, r := range rows {
			g.Members = append(g.Members, r.User)
		}
		g.Grants, err = v.Grants(store.GrantQuery{GroupID: id})
		return err
	})
	return g, err
}

// CreateGroup adds a group without members or rights. Kinds: Invalid, Forbidden, Exhausted.
func (s *Service) CreateGroup(ctx context.Context, name, description string) (g metal.Group, err error) {
	if err := metal.ValidateDescribed(name, description); err != nil {
		return g, err
	}
	err = s.gate.Do(ctx, authz.GroupEdit, func(c *gate.Call) error {
		if err := c.Require(store.GroupTarget(0)); err != nil {
			return err
		}
		groups, err := c.Tx().Groups()
		if err != nil {
			return err
		}
		if len(groups) >= MaxGroups {
			return fault.New(fault.Exhausted, "There are %d groups; delete some first.", len(groups))
		}
		if slices.ContainsFunc(groups, func(o metal.Group) bool { return o.Name == name }) {
			return fault.Field("name", "A group with that name already exists.")
		}
		g = metal.Group{Name: name, Description: description}
		c.Note("name", name)
		return c.Tx().AddGroup(&g)
	})
	return g, err
}

// onGroup runs a change of one group.
func (s *Service) onGroup(ctx context.Context, action authz.Action, id int64, fn func(*gate.Call, *metal.Group) error) (g metal.Group, err error) {
	err = s.gate.Do(ctx, action, func(c *gate.Call) error {
		if err := c.Require(store.GroupTarget(id)); err != nil {
			return err
		}
		if g, err = c.Tx().Group(id); err != nil {
			return err
		}
		c.Note("group", g.Name)
		return fn(c, &g)
	})
	return g, err
}

// UpdateGroup changes a group's name or description; nil leaves one alone. Kinds: NotFound, Invalid, Forbidden.
func (s *Service) UpdateGroup(ctx context.Context, id int64, name, description *string) (metal.Group, error) {
	return s.onGroup(ctx, authz.GroupEdit, id, func(c *gate.Call, g *metal.Group) error {
		c.Note("before", g.Name+": "+g.Description)
		// The names of the first two groups decide whom new users join: renaming one is as good as filling it.
		if err := s.handles(c, g.ID); err != nil {
			return err
		}
		if name != nil {
			g.Name = *name
		}
		if description != nil {
			g.Description = *description
		}
		if err := metal.ValidateDescribed(g.Name, g.Description); err != nil {
			return err
		}
		if o, err := c.Tx().GroupByName(g.Name); err == nil && o.ID != g.ID {
			return fault.Field("name", "A group with that name already exists.")
		}
		c.Note("after", g.Name+": "+g.Description)
		return c.Tx().PutGroup(*g)
	})
}

// handles refuses to touch a group that gives more than the caller holds.
func (s *Service) handles(c *gate.Call, groupID int64) error {
	grants, err := c.Tx().Grants(store.GrantQuery{GroupID: groupID})
	if err != nil {
		return err
	}
	return mayHandle(c, grants...)
}

// DeleteGroup deletes a group: its members lose what they had by it. Kinds: NotFound, Forbidden, Conflict for
// the last administrators' group.
func (s *Service) DeleteGroup(ctx context.Context, id int64) error {
	_, err := s.onGroup(ctx, authz.GroupEdit, id, func(c *gate.Call, g *metal.Group) error {
		grants, err := c.Tx().Grants(store.GrantQuery{GroupID: id})
		if err != nil {
			return err
		}
		if err := mayHandle(c, grants...); err != nil {
			return err
		}
		members, err := c.Tx().Members(id)
		if err != nil {
			return err
		}
		c.Note("before", describeAll(grants))
		c.Note("members", names(members))
		if err := c.Tx().DeleteGroup(id); err != nil {
			return err
		}
		return keepAdministrator(c, grants...)
	})
	return err
}

// maxNames bounds the names that one audit event lists.
const maxNames = 20

func names(users []store.UserRow) string {
	var list []string
	for i, u := range users {
		if i == maxNames {
			return strings.Join(list, " ") + " …"
		}
		list = append(list, u.Name)
	}
	return strings.Join(list, " ")
}

// member finds a user whom a form names. Kinds: Invalid on "username".
func member(c *gate.Call, name string) (store.UserRow, error) {
	u, err := c.Tx().UserByName(name)
	if fault.Is(err, fault.NotFound) {
		return u, fault.Field("username", "There is no user of this name.")
	}
	return u, err
}

// AddMember puts a user into a group. Kinds: NotFound, Invalid, Forbidden.
func (s *Service) AddMember(ctx context.Context, id int64, username string) error {
	_, err := s.onGroup(ctx, authz.GroupEdit, id, func(c *gate.Call, g *metal.Group) error {
		u, err := member(c, username)
		if err != nil {
			return err
		}
		if err := s.handles(c, id); err != nil {
			return err
		}
		if err := decidedHere(c, u.Name, u.RightsFrom); err != nil {
			return err
		}
		c.Note("added", u.Name)
		return c.Tx().AddMember(id, u.ID)
	})
	return err
}

// RemoveMember takes a user out of a group. Kinds: NotFound, Invalid, Forbidden, Conflict for the last
// administrator.
func (s *Service) RemoveMember(ctx context.Context, id int64, username string) error {
	_, err := s.onGroup(ctx, authz.GroupEdit, id, func(c *gate.Call, g *metal.Group) error {
		u, err := member(c, username)
		if err != nil {
			return err
		}
		if err := s.handles(c, id); err != nil {
			return err
		}
		ok, err := c.Tx().RemoveMember(id, u.ID)
		if err != nil {
			return err
		}
		if !ok {
			return fault.Field("username", "He is not a member of this group.")
		}
		c.Note("removed", u.Name)
		grants, err := c.Tx().Grants(store.GrantQuery{GroupID: id})
		if err != nil {
			return err
		}
		return keepAdministrator(c, grants...)
	})
	return err
}
