package ui

import (
	"testing"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

// TestAccessPages goes the way of an administrator: a pool, a group in it, a role of his own, a grant, and why.
func TestAccessPages(t *testing.T) {
	e := newEnv(t)
	e.want(e.get("/pools", e.user), 200, ">default<", "!Add pool")
	e.want(e.post("/pools", e.admin, "name", "no/slash"), 400, "Use letters")
	e.goes(e.post("/pools", e.admin, "name", "workshop", "description", "Where we try things"), "/pools/1?notice=added")
	e.want(e.get("/pools/1", e.user), 404, "!workshop")
	e.want(e.get("/pools/1", e.admin), 200, "Where we try things", "Who can do what here", "can_deploy_machines", "Administrator on all pools by Administrators", "!alice")

	e.want(e.post("/groups", e.admin, "name", ""), 400, "This field is required.")
	e.goes(e.post("/groups", e.admin, "name", "ops"), "/groups/3?notice=added")
	e.want(e.post("/groups/3/members", e.admin, "username", "nobody"), 400, "There is no user of this name.", `value="nobody"`)
	e.goes(e.post("/groups/3/members", e.admin, "username", "alice"), "/groups/3?notice=added")
	e.want(e.get("/groups/3", e.admin), 200, "alice", "Nothing yet.")

	e.want(e.post("/roles", e.admin, "name", "Keeper"), 400, "Name at least one permission.")
	e.goes(e.post("/roles", e.admin, "name", "Keeper", "permission", "can_edit_dns", "permission", "can_view_trail"), "/roles?notice=added")
	e.want(e.get("/roles/Keeper", e.admin), 200, `value="can_edit_dns" checked`, `value="can_view_dns" checked`, "Granted 0 times")
	e.goes(e.post("/roles/Keeper", e.admin, "description", "Keeps DNS", "permission", "can_edit_dns"), "/roles?notice=saved")
	e.want(e.get("/roles/Operator", e.admin), 200, "Built in", "can_edit_machines", "!Delete role")
	e.want(e.post("/roles/Operator/delete", e.admin), 400, "built in")

	e.want(e.post("/access", e.admin, "role", "Operator"), 400, "Name a user or a group.")
	e.want(e.post("/access", e.admin, "group", "ops", "role", "Operator"), 400, "Name one or more pools")
	e.goes(e.post("/access", e.admin, "group", "ops", "role", "Operator", "pool", "workshop"), "/access?group=ops&notice=added")
	e.want(e.get("/access?user=alice", e.admin), 200, "ops", "Operator", ">workshop<", "!Administrators</a>")
	e.want(e.get("/access?user=nobody", e.admin), 400, "There is no user of this name.")
	e.want(e.get("/pools/1", e.user), 200, "workshop", "!Who can do what here", "Save")
	e.want(e.get("/pools/1", e.admin), 200, "alice", "Operator on pool workshop by ops")

	id := e.machine(metal.Machine{Hostname: "node", PoolID: 1, Owner: "root", Status: metal.Deployed})
	e.want(e.get("/users/alice", e.admin), 200, `href="/access?user=alice"`)
	e.want(e.get("/access/why", e.admin), 200, "machine.deploy", "!rack.hello")
	e.want(e.get("/access/why?user=alice&action=machine.release&machine=node", e.admin), 200, ">Yes<", "can_administer_machines comes with Operator on pool workshop")
	e.want(e.get("/access/why?user=alice&action=setting.edit", e.admin), 200, ">No<", "nothing gives can_edit_configurations there")
	e.want(e.get("/access/why?user=alice&action=machine.release", e.admin), 400, "Name the machine.")
	e.want(e.get("/machines/"+id, e.user), 200, "node", "/release")
	e.goes(e.post("/access/3/revoke", e.admin), "/access?notice=deleted")
	e.want(e.get("/machines/"+id, e.user), 404, "!node")
	e.want(e.get("/access/why?user=alice&action=machine.release&machine=node", e.admin), 200, "No, and hidden", "does not see it at all", "alice holds nothing there")

	e.want(e.post("/pools/1/delete", e.admin), 409, "1 machines are in it")
	e.want(e.post("/pools/nonsense/delete", e.admin), 404)
	e.want(e.post("/access/1/revoke", e.admin), 409, "without an administrator")
	e.goes(e.post("/groups/3/members/remove", e.admin, "username", "alice"), "/groups/3?notice=deleted")
	e.goes(e.post("/groups/3/delete", e.admin), "/groups?notice=deleted")
	e.goes(e.post("/roles/Keeper/delete", e.admin), "/roles?notice=deleted")
	e.goes(e.post("/pools/0", e.admin, "name", "base", "description", ""), "/pools/0?notice=saved")
	for _, path := range []string{"/access", "/access/why", "/groups", "/groups/1", "/roles", "/roles/User"} {
		e.want(e.get(path, e.user), 403)
	}
}

// TestTold shows people what they are told, until they dismiss it.
func TestTold(t *testing.T) {
	e := newEnv(t)
	ctx := authz.AsSystem(t.Context(), "test")
	for _, n := range []metal.Notification{{Message: "Disks <are> full", Admins: true, Dismissable: true, Category: "error"}, {Message: "Maintenance tonight", Users: true}} {
		if _, err := e.notify.Create(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	e.want(e.get("/pools", e.admin), 200, "Disks &lt;are&gt; full", "/notifications/1/dismiss", "!Maintenance")
	e.want(e.get("/pools", e.user), 200, "Maintenance tonight", "!/dismiss", "!Disks")
	e.goes(e.post("/notifications/1/dismiss", e.admin), "/machines")
	e.want(e.get("/pools", e.admin), 200, "!Disks")
	e.want(e.post("/notifications/2/dismiss", e.user), 403, "cannot be dismissed")
	e.want(e.post("/notifications/2/dismiss", e.admin), 404)

	e.want(e.post("/settings/webhook", e.admin, "url", "http://hooks.example/canary"), 400, "begins with https://", "!canary")
	e.goes(e.post("/settings/webhook", e.admin, "url", ""), "/settings?notice=saved")
	e.want(e.post("/settings/mail-login", e.admin, "mail_username", "", "mail_password", "canary"), 400, "Enter the account", "!canary")
	e.want(e.post("/settings/mail-login", e.admin, "mail_username", "x", "mail_password", "canary"), 409, "Set metalward_smtp_server first", "!canary")
	e.goes(e.post("/settings/mail-login", e.admin, "mail_password", ""), "/settings?notice=saved")
	e.want(e.post("/settings/notify-test", e.admin), 200, "Webhook: is not set up. E-mail: is not set up.")
	e.want(e.post("/settings/notify-test", e.user), 403)
}
