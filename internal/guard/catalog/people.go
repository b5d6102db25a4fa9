package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// people are a host's accounts, looked up by number.
type people struct {
	names  map[uint32]string // of users; the first of a number
	groups map[uint32]string
	in     map[uint32][]guard.User // who is in a group, by the group's line or as his own
	err    error
	host   guard.Host
}

func peopleOf(h guard.Host) people {
	a, err := h.Accounts()
	if err == nil && (len(a.Users) == 0 || len(a.Groups) == 0) { // a copy without them: nobody is to be taken for a stranger
		err = errors.New("there is no /etc/passwd or no /etc/group")
	}
	p := people{map[uint32]string{}, map[uint32]string{}, map[uint32][]guard.User{}, err, h}
	byName := map[string]guard.User{}
	for _, u := range a.Users {
		if _, ok := p.names[u.UID]; !ok {
			p.names[u.UID] = u.Name
		}
		byName[u.Name] = u
		p.in[u.GID] = append(p.in[u.GID], u)
	}
	for _, g := range a.Groups {
		if _, ok := p.groups[g.GID]; !ok {
			p.groups[g.GID] = g.Name
		}
		for _, name := range g.Members {
			u, ok := byName[name]
			if !ok {
				u = guard.User{Name: name, UID: ^uint32(0), GID: ^uint32(0)} // of a directory, or none yet
			}
			if !slices.Contains(p.in[g.GID], u) {
				p.in[g.GID] = append(p.in[g.GID], u)
			}
		}
	}
	return p
}

func named(id uint32, names map[uint32]string) string {
	if name := names[id]; name != "" {
		return fmt.Sprintf("%s (%d)", guard.Show(name), id)
	}
	return fmt.Sprintf("%d (which the host has no name for)", id)
}

func (p people) user(id uint32) string  { return named(id, p.names) }
func (p people) group(id uint32) string { return named(id, p.groups) }

// has reports whether the host knows a user.
func (p people) has(user string) bool {
	for _, name := range p.names {
		if name == user {
			return true
		}
	}
	return false
}

// first is the first of groups that the host has, else root's.
func (p people) first(groups []string) string {
	for _, g := range groups {
		for _, name := range p.groups {
			if name == g {
				return guard.Quote(g)
			}
		}
	}
	return "root"
}

// members says who is in a group.
func (p people) members(gid uint32) string {
	var list []string
	for _, u := range p.in[gid] {
		list = append(list, guard.Show(u.Name))
	}
	const most = 10 // names that are shown
	switch n := len(list); {
	case n == 0:
		return "nobody that /etc/passwd and /etc/group name is in it"
	case n > most:
		return fmt.Sprintf("%s and %d more are in it", strings.Join(list[:most], ", "), n-most)
	default:
		return "in it: " + strings.Join(list, ", ")
	}
}

// passing names those who may pass through a folder that not everybody may, but for root and who is allowed to.
func (p people) passing(d guard.File, allowed func(string) bool) (names []string) {
	add := func(name string) {
		if !allowed(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	group := func(gid uint32) {
		if p.err != nil {
			add("the group " + p.group(gid))
		}
		for _, u := range p.in[gid] {
			if u.UID != 0 {
				add(u.Name)
			}
		}
	}
	if d.UID != 0 {
		if name := p.names[d.UID]; name != "" {
			add(name)
		} else {
			add(p.user(d.UID))
		}
	}
	f, err := p.host.File(d.Path) // for its access list
	if err == nil {
		err = f.ACLErr
	}
	if err != nil {
		add("somebody whom its access list names, which could not be read")
		f = d
	}
	if f.Group&1 != 0 {
		group(f.GID)
	}
	for _, e := range f.ACL {
		switch {
		case e.Perm&1 == 0:
		case e.Group:
			group(e.ID)
		case e.ID != 0 && p.names[e.ID] != "":
			add(p.names[e.ID])
		case e.ID != 0:
			add(p.user(e.ID))
		}
	}
	return names
}
