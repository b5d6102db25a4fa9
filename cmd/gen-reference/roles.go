package main

import (
	"fmt"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/maasapi"
)

// columns are the people of the matrix: all but the first and the last hold their role on pool 1 only.
var columns = []struct {
	title, role string
	pool        int64
}{
	{"Administrator", authz.Administrator, authz.AllPools}, {"Operator", authz.Operator, 1}, {"User", authz.RoleUser, 1}, {"Auditor", authz.Auditor, 1},
	{"Auditor, all pools", authz.Auditor, authz.AllPools},
}

// objects are what an operation on machines may meet.
var objects = []struct {
	title string
	t     authz.Target
}{
	{"free", authz.Target{Noun: authz.NounMachine, ID: "m", Pool: 1}},
	{"own", authz.Target{Noun: authz.NounMachine, ID: "m", Pool: 1, Owner: "me"}},
	{"other's", authz.Target{Noun: authz.NounMachine, ID: "m", Pool: 1, Owner: "you"}},
	{"**other pool**", authz.Target{Noun: authz.NounMachine, ID: "m", Pool: 2}},
}

func rolesPage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s# Roles and what they allow\n\n", generated)
	b.WriteString("A grant gives a role to a user or a group, on one pool, on several, or on all. Rights add up; there is no deny. " +
		"Permissions that concern the whole site take effect with a grant on all pools; seeing networks, zones, DNS and images comes with any grant.\n\n")
	for _, r := range authz.Roles {
		fmt.Fprintf(&b, "- **%s**: %s\n", r.Name, r.Description)
	}
	b.WriteString("\n## Permissions\n\n| Permission | Held on | In MAAS | Meaning |")
	for _, r := range authz.Roles {
		fmt.Fprintf(&b, " %s |", r.Name)
	}
	b.WriteString("\n|---|---|---|---|" + strings.Repeat("---|", len(authz.Roles)) + "\n")
	for _, p := range authz.Permissions() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |", p, pick(p.OfPool(), "pool", "site"), pick(p.Entitlement(), "yes", ""), cell(p.Doc()))
		for _, r := range authz.Roles {
			fmt.Fprintf(&b, " %s |", pick(r.Permissions.Has(p), "yes", ""))
		}
		b.WriteString("\n")
	}
	b.WriteString("\n## Operations\n\nWhat each role may do in a pool where it is granted: with *free* machines, one's *own*, *other's*, and machines of an **other pool**. " +
		"Whom an operation shows a machine that he may not see, it answers as if there were none. A list shows what may be read.\n\n| Operation | Action |")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.title)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for i := range maasapi.Operations {
		o := &maasapi.Operations[i]
		fmt.Fprintf(&b, "| `%s` | `%s` |", o.ID, o.Action)
		for _, c := range columns {
			fmt.Fprintf(&b, " %s |", allowed(o, c.role, c.pool))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// allowed says in words what a role may do by an operation.
func allowed(o *maasapi.Operation, role string, pool int64) string {
	r, _ := authz.FindRole(role)
	p := authz.Principal{Kind: authz.User, Name: "me", Rights: authz.NewRights(authz.Grant{Permissions: r.Permissions, Pool: pool})}
	ok := func(t authz.Target) bool { return authz.Decide(p, o.Action, t) == authz.Allow }
	switch {
	case authz.OnMachines(o.Action):
		var list []string
		for _, x := range objects {
			if ok(x.t) {
				list = append(list, x.title)
			}
		}
		return strings.Join(list, ", ")
	case authz.OnPools(o.Action):
		return pick(ok(authz.Target{Noun: authz.NounPool, ID: "2"}), "yes", pick(ok(authz.Target{Noun: authz.NounPool, ID: "1"}), "in the pool", ""))
	case ok(authz.Target{Noun: authz.NounUser, ID: "2", Owner: "you"}):
		return "yes"
	}
	return pick(ok(authz.Target{Noun: authz.NounUser, ID: "1", Owner: "me"}), "own", "")
}

func pick(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}
