package authz

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// alice is a user with a built-in role on pools; none given, no rights at all.
func alice(role string, pools ...int64) Principal {
	r, _ := FindRole(role)
	var grants []Grant
	for _, id := range pools {
		grants = append(grants, Grant{r.Permissions, id})
	}
	return Principal{Kind: User, Name: "alice", Rights: NewRights(grants...)}
}

var matrixPrincipals = []struct {
	name string
	p    Principal
}{
	{"anon", Principal{Kind: Anonymous}},
	{"admin", Principal{Kind: User, Name: "alice", Rights: Everything()}},
	{"oper", alice(Operator, 1)},
	{"user", alice(RoleUser, 1)},
	{"audit", alice(Auditor, 1)},
	{"aud-all", alice(Auditor, AllPools)},
	{"none", alice("")},
	{"rack1", Principal{Kind: Rack, Name: "rack1"}},
	{"agent", Principal{Kind: Machine, Name: "m1"}},
	{"system", Principal{Kind: System, Name: "jobs"}},
}

var matrixTargets = []struct {
	name string
	t    Target
}{
	{"free", Target{Noun: NounMachine, ID: "m1", Pool: 1, Rack: "rack1"}},
	{"own", Target{Noun: NounMachine, ID: "m2", Pool: 1, Owner: "alice", Rack: "rack1"}},
	{"other's", Target{Noun: NounMachine, ID: "m3", Pool: 1, Owner: "bob", Rack: "rack2"}},
	{"free, pool 2", Target{Noun: NounMachine, ID: "m4", Pool: 2, Rack: "rack1"}},
	{"own, pool 2", Target{Noun: NounMachine, ID: "m5", Pool: 2, Owner: "alice", Rack: "rack1"}},
	{"other's, pool 2", Target{Noun: NounMachine, ID: "m6", Pool: 2, Owner: "bob", Rack: "rack1"}},
	{"pool 1", Target{Noun: NounPool, ID: "1"}},
	{"pool 2", Target{Noun: NounPool, ID: "2"}},
	{"user alice", Target{Noun: NounUser, ID: "1", Owner: "alice"}},
	{"user bob", Target{Noun: NounUser, ID: "2", Owner: "bob"}},
	{"controller self", Target{Noun: NounController, ID: "rack1"}},
	{"anything else", Target{Noun: NounSetting, ID: "x"}},
}

// TestMatrix compares every decision with the reviewed file: a change of policy is a diff that people read.
// alice is an administrator, has a role on pool 1 (aud-all: on all), or has none.
func TestMatrix(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-30s %-16s", "# action", "target")
	for _, p := range matrixPrincipals {
		fmt.Fprintf(&b, " %-7s", p.name)
	}
	b.WriteString("\n")
	for _, a := range Actions() {
		for _, target := range matrixTargets {
			fmt.Fprintf(&b, "%-30s %-16s", a, target.name)
			for _, p := range matrixPrincipals {
				fmt.Fprintf(&b, " %-7s", [...]string{"deny", "hide", "ALLOW"}[Decide(p.p, a, target.t)])
			}
			b.WriteString("\n")
		}
	}
	var lines []string
	for l := range strings.Lines(b.String()) {
		lines = append(lines, strings.TrimRight(l, " \n")+"\n")
	}
	got := strings.Join(lines, "")
	const file = "testdata/matrix.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("decisions differ from %s (-want +got); run with -update and have the diff reviewed:\n%s", file, d)
	}
}

// anyone is a user with random grants, sometimes by a key that does less.
func anyone(r *rand.Rand) Principal {
	var grants []Grant
	for range r.IntN(4) {
		g := Grant{Pool: r.Int64N(4) - 1}
		if r.IntN(3) == 0 {
			g.Permissions = NewSet(Permission(1 + r.IntN(int(permissions)-1)))
		} else {
			g.Permissions = Roles[r.IntN(len(Roles))].Permissions
		}
		grants = append(grants, g)
	}
	p := Principal{Kind: User, Name: "alice", Rights: NewRights(grants...)}
	switch r.IntN(6) {
	case 0:
		return p.Limited(true, nil)
	case 1:
		return p.Limited(false, []int64{r.Int64N(3)})
	}
	return p
}

func anyMachine(r *rand.Rand) Target {
	return Target{Noun: NounMachine, ID: "m", Pool: r.Int64N(3), Owner: []string{"", "alice", "bob"}[r.IntN(3)]}
}

// TestFilterEqualsDecision holds the list filter to the object check, for every action: what a list shows is
// what a read allows, and what a bulk call picks is what it may touch.
func TestFilterEqualsDecision(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	allowed := 0
	for range 3000 {
		p, m := anyone(r), anyMachine(r)
		for a, row := range table {
			if row.rule != ruleMachine {
				continue
			}
			listed, got := Machines(p, a).Match(m), Decide(p, a, m) == Allow
			if got != listed {
				t.Fatalf("%s on %+v by %v: allowed %v, listed %v", a, m, p.Rights, got, listed)
			}
			if got && Decide(p, MachineView, m) != Allow {
				t.Fatalf("%s on %+v by %v is allowed, but he does not see it", a, m, p.Rights)
			}
			if got && !May(p, a) {
				t.Fatalf("%s on %+v by %v is allowed, but May says no", a, m, p.Rights)
			}
			if got {
				allowed++
			}
		}
	}
	if allowed < 1000 {
		t.Errorf("only %d decisions allowed something: the test proves little", allowed)
	}
	for _, p := range matrixPrincipals {
		for _, m := range matrixTargets {
			if m.t.Noun == NounMachine && (p.p.Kind == User || p.p.Kind == System) && Machines(p.p, MachineView).Match(m.t) != (Decide(p.p, MachineView, m.t) == Allow) {
				t.Errorf("%s, %s: list and read differ", p.name, m.name)
			}
		}
	}
}

// TestOneRolePerPool has one person be Operator in a pool, Auditor in another and nothing in a third.
func TestOneRolePerPool(t *testing.T) {
	oper, _ := FindRole(Operator)
	audit, _ := FindRole(Auditor)
	p := Principal{Kind: User, Name: "alice", Rights: NewRights(Grant{oper.Permissions, 1}, Grant{audit.Permissions, 2})}
	for _, c := range []struct {
		action Action
		pool   int64
		want   Decision
	}{
		{MachineDelete, 1, Allow}, {MachineDelete, 2, Deny}, {MachineDelete, 3, Hide},
		{MachineView, 1, Allow}, {MachineView, 2, Allow}, {MachineView, 3, Hide},
		{MachineReadPower, 1, Allow}, {MachineReadPower, 2, Deny}, {MachineReadPower, 3, Hide},
	} {
		if got := Decide(p, c.action, Target{Noun: NounMachine, ID: "m", Pool: c.pool, Owner: "bob"}); got != c.want {
			t.Errorf("%s in pool %d: got %v, want %v", c.action, c.pool, got, c.want)
		}
	}
	if May(p, SettingView) || May(p, TrailView) || May(p, UserEdit) || !May(p, ImageView) || !May(p, NetworkView) {
		t.Error("roles on pools should give what is needed to work there, and nothing else of the instance")
	}
}

// TestLimited holds that a key never does more than its user, and never makes a wider one.
func TestLimited(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		p, m := anyone(r), anyMachine(r)
		for _, limited := range []Principal{p.Limited(true, nil), p.Limited(false, []int64{1}), p.Limited(true, []int64{0, 2})} {
			for _, a := range Actions() {
				for _, target := range []Target{m, {Noun: NounPool, ID: "1"}, {Noun: NounSetting, ID: "x"}, {Noun: NounUser, ID: "1", Owner: "alice"}} {
					got := Decide(limited, a, target) == Allow
					if got && Decide(p, a, target) != Allow {
						t.Fatalf("%s on %v is allowed by a limited key and not to its user", a, target)
					}
					if got && limited.readOnly && Mutates(a) {
						t.Fatalf("%s on %v is allowed by a key that only reads", a, target)
					}
				}
			}
		}
	}
	own := Target{Noun: NounUser, ID: "1", Owner: "alice"}
	for _, p := range []Principal{alice(RoleUser, 1).Limited(true, nil), alice(RoleUser, 1).Limited(false, []int64{1})} {
		if Decide(p, KeyEdit, own) == Allow || May(p, KeyEdit) {
			t.Error("a limited key can make others")
		}
	}
	if p := (Principal{Kind: User, Name: "alice", Rights: Everything()}).Limited(false, []int64{1}); Decide(p, MachineDelete, Target{Noun: NounMachine, ID: "m", Pool: 1}) != Allow ||
		Decide(p, MachineDelete, Target{Noun: NounMachine, ID: "m", Pool: 2}) != Hide || May(p, SettingEdit) {
		t.Error("an administrator's key for a pool should do everything there and nothing elsewhere")
	}
}

// TestCovers: one may give only what one holds.
func TestCovers(t *testing.T) {
	oper, _ := FindRole(Operator)
	user, _ := FindRole(RoleUser)
	one := NewRights(Grant{oper.Permissions, 1})
	for _, c := range []struct {
		name string
		g    Grant
		want bool
	}{
		{"the same role on the same pool", Grant{oper.Permissions, 1}, true}, {"a smaller role", Grant{user.Permissions, 1}, true},
		{"another pool", Grant{user.Permissions, 2}, false}, {"all pools", Grant{user.Permissions, AllPools}, false}, {"everything", Grant{all, AllPools}, false},
	} {
		if got := one.Covers(c.g); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if !Everything().Covers(c.g) || (*Rights)(nil).Covers(c.g) {
			t.Errorf("%s: an administrator may give everything, nobody nothing", c.name)
		}
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		a, b := anyone(r), anyone(r)
		if !a.Rights.CoversAll(b.Rights) {
			continue
		}
		for act := range table {
			for _, target := range []Target{anyMachine(r), {Noun: NounPool, ID: "1"}, {Noun: NounSetting, ID: "x"}} {
				if Decide(b, act, target) == Allow && Decide(Principal{Kind: User, Name: "alice", Rights: a.Rights}, act, target) != Allow {
					t.Fatalf("%s on %v: %v covers %v and may less", act, target, a.Rights, b.Rights)
				}
			}
		}
	}
}

func TestPermissions(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range all.List() {
		if p.String() == "" || p.Doc() == "" || seen[p.String()] {
			t.Errorf("permission %d has no name or text of its own: %q", p, p)
		}
		seen[p.String()] = true
		if got, ok := ParsePermission(p.String()); !ok || got != p {
			t.Errorf("%s reads back as %v", p, got)
		}
		if s := NewSet(p); p.OfPool() && s&^ofPool != 0 {
			t.Errorf("%s is held on a pool and implies one that is not: %s", p, s)
		}
	}
	for _, r := range Roles {
		if NewSet(r.Permissions.List()...) != r.Permissions {
			t.Errorf("role %s does not hold all that its permissions imply", r.Name)
		}
		if s, err := ParseSet(r.Permissions.String()); err != nil || s != r.Permissions {
			t.Errorf("role %s reads back as %s: %v", r.Name, s, err)
		}
	}
	audit, _ := FindRole(Auditor)
	if audit.Permissions.Has(ReadSecrets) || slices.ContainsFunc(audit.Permissions.List(), func(p Permission) bool { return !strings.HasPrefix(p.String(), "can_view_") }) {
		t.Errorf("an auditor changes nothing and reads no secret: %s", audit.Permissions)
	}
	if _, err := ParseSet("can_view_machines can_fly"); err == nil || !strings.Contains(err.Error(), "can_fly") {
		t.Errorf("got %v, want the unknown name", err)
	}
}

func TestUnknownActionIsDenied(t *testing.T) {
	if got := Decide(Principal{Kind: System}, "machine.explode", Target{}); got != Deny {
		t.Errorf("got %v, want Deny", got)
	}
}
