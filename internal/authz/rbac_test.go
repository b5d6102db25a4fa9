package authz

import "testing"

// TestRBACFormulas holds what the RBAC service's permissions amount to here to the formulas that MAAS decides by, for every
// combination of permissions on a pool. Source: MAAS, permissions of nodes and pools with RBAC; lists are decided as objects.
func TestRBACFormulas(t *testing.T) {
	for bits := range 1 << len(RBACPoolPermissions) {
		has := map[RBACPermission]bool{}
		var grants, everywhere []Grant
		for i, p := range RBACPoolPermissions {
			if bits&(1<<i) == 0 {
				continue
			}
			has[p] = true
			set, ok := FindRBACRole(p.Role())
			if !ok {
				t.Fatalf("%s amounts to nothing", p)
			}
			grants, everywhere = append(grants, Grant{set, 1}), append(everywhere, Grant{set, AllPools})
		}
		alice := Principal{Kind: User, Name: "alice", Rights: NewRights(grants...)}
		sees := has[RBACView] || has[RBACViewAll] || has[RBACDeployMachines] || has[RBACAdminMachines]
		for _, owner := range []string{"", "alice", "bob"} {
			m := Target{Noun: NounMachine, ID: "m", Pool: 1, Owner: owner}
			view := has[RBACViewAll] || has[RBACAdminMachines] || owner != "bob" && sees
			edit := has[RBACAdminMachines] || owner != "bob" && has[RBACDeployMachines]
			for a, want := range map[Action]bool{
				MachineView: view, MachineDeploy: edit, MachineAllocate: edit, MachineRelease: edit && (owner != "" || has[RBACAdminMachines]),
				MachineUpdate: has[RBACAdminMachines], MachineCommission: has[RBACAdminMachines], MachineReadPower: has[RBACAdminMachines],
			} {
				if got := Decide(alice, a, m) == Allow; got != want {
					t.Errorf("%v: %s on a machine of %q: got %v, want %v", has, a, owner, got, want)
				}
				m2 := m
				if m2.Pool = 2; Decide(alice, a, m2) == Allow {
					t.Errorf("%v: %s in another pool", has, a)
				}
			}
		}
		for a, want := range map[Action]bool{PoolView: sees, PoolEdit: has[RBACEdit], PoolCreate: false, PoolDelete: false} {
			if got := Decide(alice, a, Target{Noun: NounPool, ID: "1"}) == Allow; got != want {
				t.Errorf("%v: %s: got %v, want %v", has, a, got, want)
			}
		}
		all := Principal{Kind: User, Name: "alice", Rights: NewRights(everywhere...)}
		if got := Decide(all, PoolCreate, Target{Noun: NounPool}) == Allow; got != has[RBACEdit] {
			t.Errorf("%v on all pools: adding one: got %v", has, got)
		}
		for _, a := range []Action{SettingView, TrailView, UserView, ControllerView, NetworkEdit, ZoneEdit, ImageEdit, GrantEdit} {
			if May(all, a) && a != UserView || Decide(all, a, Target{Noun: NounSetting, ID: "x"}) == Allow {
				t.Errorf("%v on all pools gives %s, which is the administrators'", has, a)
			}
		}
	}
	if RBACAdmin.Role() != Administrator {
		t.Error("admin on maas is the administrator")
	}
	for name := range rbacRoles {
		if _, ok := FindRole(name); ok {
			t.Errorf("people could grant %s", name)
		}
	}
}
