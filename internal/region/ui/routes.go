package ui

import (
	"net/http"

	"github.com/metalward/metalward/internal/authz"
)

// row is a route. Action is what the caller must be able to do at all; the service decides on the object.
type row struct {
	Method, Pattern string
	Action          authz.Action
	handle          func(*request) error
	raw             bool // reads the body itself
	reads           bool // posts, but changes nothing: what it reads leaves an event
	fragment        bool // part of a page, asked for in the background
}

// routes is every page.
var routes = []row{
	{Method: http.MethodGet, Pattern: "/{$}", Action: authz.PublicView, handle: (*request).home},
	{Method: http.MethodGet, Pattern: "/first/{token}", Action: authz.PublicView, handle: (*request).first},
	{Method: http.MethodPost, Pattern: "/first/{token}", Action: authz.FirstAdmin, handle: (*request).createFirst},
	{Method: http.MethodGet, Pattern: "/link/{token}", Action: authz.PublicView, handle: (*request).openLink},
	{Method: http.MethodPost, Pattern: "/link/{token}", Action: authz.UserLogin, handle: (*request).spendLink},
	{Method: http.MethodGet, Pattern: "/login", Action: authz.PublicView, handle: (*request).login},
	{Method: http.MethodPost, Pattern: "/login", Action: authz.UserLogin, handle: (*request).doLogin},
	{Method: http.MethodGet, Pattern: "/login/factor", Action: authz.PublicView, handle: (*request).factor},
	{Method: http.MethodPost, Pattern: "/login/factor", Action: authz.UserLogin, handle: (*request).finishLogin},
	{Method: http.MethodGet, Pattern: "/login/oidc/{id}", Action: authz.UserSignOn, handle: (*request).beginSignOn},
	{Method: http.MethodGet, Pattern: "/login/oidc/callback", Action: authz.UserSignOn, handle: (*request).endSignOn},
	{Method: http.MethodPost, Pattern: "/login/oidc/{id}/logout", Action: authz.UserSignOn, handle: (*request).signOff},
	{Method: http.MethodGet, Pattern: "/login/candid/{id}", Action: authz.UserSignOn, handle: (*request).beginVisit},
	{Method: http.MethodGet, Pattern: "/login/rbac/{id}", Action: authz.UserSignOn, handle: (*request).beginVisit},
	{Method: http.MethodGet, Pattern: "/login/macaroon/callback", Action: authz.UserSignOn, handle: (*request).endVisit},
	{Method: http.MethodPost, Pattern: "/login/macaroon/visited", Action: authz.UserSignOn, handle: (*request).endVisit},
	// Set-up of a second factor, with a session or in the middle of a login.
	{Method: http.MethodPost, Pattern: "/factors/totp", Action: authz.UserLogin, handle: (*request).beginTOTP},
	{Method: http.MethodPost, Pattern: "/factors/totp/confirm", Action: authz.UserLogin, handle: (*request).confirmTOTP},
	{Method: http.MethodPost, Pattern: "/factors/passkey", Action: authz.UserLogin, handle: (*request).beginPasskey},
	{Method: http.MethodPost, Pattern: "/factors/passkey/confirm", Action: authz.UserLogin, handle: (*request).confirmPasskey},
	{Method: http.MethodPost, Pattern: "/logout", Action: authz.UserLogout, handle: (*request).logout},
	{Method: http.MethodGet, Pattern: "/events", Action: authz.MachineView, handle: (*request).events, fragment: true},

	{Method: http.MethodGet, Pattern: "/machines", Action: authz.MachineView, handle: (*request).machines},
	{Method: http.MethodPost, Pattern: "/machines", Action: authz.MachineCreate, handle: (*request).createMachine},
	{Method: http.MethodGet, Pattern: "/machines/new", Action: authz.MachineCreate, handle: (*request).newMachine},
	{Method: http.MethodGet, Pattern: "/machines/{id}", Action: authz.MachineView, handle: (*request).machine},
	{Method: http.MethodGet, Pattern: "/machines/{id}/row", Action: authz.MachineView, handle: (*request).machineRow, fragment: true},
	{Method: http.MethodGet, Pattern: "/machines/{id}/live", Action: authz.MachineView, handle: (*request).machineLive, fragment: true},
	{Method: http.MethodGet, Pattern: "/machines/{id}/results/{result}", Action: authz.MachineView, handle: (*request).result},
	{Method: http.MethodGet, Pattern: "/machines/{id}/results/{result}/live", Action: authz.MachineView, handle: (*request).resultLive, fragment: true},
	{Method: http.MethodPost, Pattern: "/machines/{id}/commission", Action: authz.MachineCommission, handle: (*request).commission},
	{Method: http.MethodPost, Pattern: "/machines/{id}/allocate", Action: authz.MachineAllocate, handle: (*request).allocate},
	{Method: http.MethodGet, Pattern: "/machines/{id}/deploy", Action: authz.MachineDeploy, handle: (*request).deployForm},
	{Method: http.MethodPost, Pattern: "/machines/{id}/deploy", Action: authz.MachineDeploy, handle: (*request).deploy},
	{Method: http.MethodGet, Pattern: "/machines/{id}/release", Action: authz.MachineRelease, handle: (*request).releaseForm},
	{Method: http.MethodPost, Pattern: "/machines/{id}/release", Action: authz.MachineRelease, handle: (*request).release},
	{Method: http.MethodPost, Pattern: "/machines/{id}/abort", Action: authz.MachineAbort, handle: (*request).abort},
	{Method: http.MethodPost, Pattern: "/machines/{id}/power/{what}", Action: authz.MachinePower, handle: (*request).power},
	{Method: http.MethodPost, Pattern: "/machines/{id}/lock", Action: authz.MachineLock, handle: (*request).lock},
	{Method: http.MethodPost, Pattern: "/machines/{id}/unlock", Action: authz.MachineLock, handle: (*request).unlock},
	{Method: http.MethodGet, Pattern: "/machines/{id}/bmc", Action: authz.MachineView, handle: (*request).bmc},
	{Method: http.MethodPost, Pattern: "/machines/{id}/bmc/rotate", Action: authz.MachineRotateBMC, handle: (*request).rotateBMC},
	{Method: http.MethodPost, Pattern: "/machines/{id}/bmc/show", Action: authz.MachineShowBMC, handle: (*request).showBMC, reads: true},
	{Method: http.MethodGet, Pattern: "/machines/{id}/edit", Action: authz.MachineUpdate, handle: (*request).editMachine},
	{Method: http.MethodPost, Pattern: "/machines/{id}/edit", Action: authz.MachineUpdate, handle: (*request).saveMachine},
	{Method: http.MethodGet, Pattern: "/machines/{id}/delete", Action: authz.MachineDelete, handle: (*request).deleteMachineForm},
	{Method: http.MethodPost, Pattern: "/machines/{id}/delete", Action: authz.MachineDelete, handle: (*request).deleteMachine},

	{Method: http.MethodGet, Pattern: "/images", Action: authz.ImageView, handle: (*request).images},
	{Method: http.MethodPost, Pattern: "/images", Action: authz.ImageEdit, handle: (*request).announceImage},
	{Method: http.MethodPost, Pattern: "/images/upload", Action: authz.ImageEdit, handle: (*request).uploadImage, raw: true},
	{Method: http.MethodPut, Pattern: "/images/{id}/data", Action: authz.ImageEdit, handle: (*request).appendImage, raw: true},
	{Method: http.MethodGet, Pattern: "/images/{id}/delete", Action: authz.ImageEdit, handle: (*request).deleteImageForm},
	{Method: http.MethodPost, Pattern: "/images/{id}/delete", Action: authz.ImageEdit, handle: (*request).deleteImage},

	{Method: http.MethodGet, Pattern: "/subnets", Action: authz.NetworkView, handle: (*request).subnets},
	{Method: http.MethodGet, Pattern: "/subnets/new", Action: authz.NetworkEdit, handle: (*request).newSubnet},
	{Method: http.MethodPost, Pattern: "/subnets", Action: authz.NetworkEdit, handle: (*request).createSubnet},
	{Method: http.MethodGet, Pattern: "/subnets/{id}", Action: authz.NetworkView, handle: (*request).subnet},
	{Method: http.MethodPost, Pattern: "/subnets/{id}", Action: authz.NetworkEdit, handle: (*request).saveSubnet},
	{Method: http.MethodPost, Pattern: "/subnets/{id}/ranges", Action: authz.NetworkEdit, handle: (*request).createRange},
	{Method: http.MethodPost, Pattern: "/subnets/{id}/ranges/{range}/delete", Action: authz.NetworkEdit, handle: (*request).deleteRange},
	{Method: http.MethodGet, Pattern: "/subnets/{id}/delete", Action: authz.NetworkEdit, handle: (*request).deleteSubnetForm},
	{Method: http.MethodPost, Pattern: "/subnets/{id}/delete", Action: authz.NetworkEdit, handle: (*request).deleteSubnet},
	{Method: http.MethodGet, Pattern: "/vlans/{id}", Action: authz.NetworkView, handle: (*request).vlan},
	{Method: http.MethodPost, Pattern: "/vlans/{id}", Action: authz.NetworkEdit, handle: (*request).saveVLAN},

	{Method: http.MethodGet, Pattern: "/controllers", Action: authz.ControllerView, handle: (*request).controllers},
	{Method: http.MethodGet, Pattern: "/controllers/new", Action: authz.RackToken, handle: (*request).newRack},
	{Method: http.MethodPost, Pattern: "/controllers/new", Action: authz.RackToken, handle: (*request).mintToken},
	{Method: http.MethodPost, Pattern: "/controllers/new/secret", Action: authz.SharedSecretReveal, handle: (*request).showShared, reads: true},
	{Method: http.MethodPost, Pattern: "/controllers/new/secret/rotate", Action: authz.SharedSecretRotate, handle: (*request).rotateShared},
	{Method: http.MethodGet, Pattern: "/controllers/{id}/remove", Action: authz.ControllerEdit, handle: (*request).removeRackForm},
	{Method: http.MethodPost, Pattern: "/controllers/{id}/remove", Action: authz.ControllerEdit, handle: (*request).removeRack},

	{Method: http.MethodPost, Pattern: "/notifications/{id}/dismiss", Action: authz.NotificationDismiss, handle: (*request).dismiss},

	{Method: http.MethodGet, Pattern: "/pools", Action: authz.PoolView, handle: (*request).pools},
	{Method: http.MethodPost, Pattern: "/pools", Action: authz.PoolCreate, handle: (*request).createPool},
	{Method: http.MethodGet, Pattern: "/pools/{id}", Action: authz.PoolView, handle: (*request).pool},
	{Method: http.MethodPost, Pattern: "/pools/{id}", Action: authz.PoolEdit, handle: (*request).savePool},
	{Method: http.MethodPost, Pattern: "/pools/{id}/delete", Action: authz.PoolDelete, handle: (*request).deletePool},

	{Method: http.MethodGet, Pattern: "/access", Action: authz.AccessView, handle: (*request).access},
	{Method: http.MethodPost, Pattern: "/access", Action: authz.GrantEdit, handle: (*request).grant},
	{Method: http.MethodPost, Pattern: "/access/{id}/revoke", Action: authz.GrantEdit, handle: (*request).revoke},
	{Method: http.MethodGet, Pattern: "/access/why", Action: authz.AccessView, handle: (*request).explain},
	{Method: http.MethodGet, Pattern: "/groups", Action: authz.AccessView, handle: (*request).groups},
	{Method: http.MethodPost, Pattern: "/groups", Action: authz.GroupEdit, handle: (*request).createGroup},
	{Method: http.MethodGet, Pattern: "/groups/{id}", Action: authz.AccessView, handle: (*request).group},
	{Method: http.MethodPost, Pattern: "/groups/{id}", Action: authz.GroupEdit, handle: (*request).saveGroup},
	{Method: http.MethodPost, Pattern: "/groups/{id}/delete", Action: authz.GroupEdit, handle: (*request).deleteGroup},
	{Method: http.MethodPost, Pattern: "/groups/{id}/members", Action: authz.GroupEdit, handle: (*request).addMember},
	{Method: http.MethodPost, Pattern: "/groups/{id}/members/remove", Action: authz.GroupEdit, handle: (*request).removeMember},
	{Method: http.MethodGet, Pattern: "/roles", Action: authz.AccessView, handle: (*request).roles},
	{Method: http.MethodPost, Pattern: "/roles", Action: authz.RoleEdit, handle: (*request).createRole},
	{Method: http.MethodGet, Pattern: "/roles/{name}", Action: authz.AccessView, handle: (*request).role},
	{Method: http.MethodPost, Pattern: "/roles/{name}", Action: authz.RoleEdit, handle: (*request).saveRole},
	{Method: http.MethodPost, Pattern: "/roles/{name}/delete", Action: authz.RoleEdit, handle: (*request).deleteRole},

	{Method: http.MethodGet, Pattern: "/providers", Action: authz.ProviderView, handle: (*request).providers},
	{Method: http.MethodPost, Pattern: "/providers", Action: authz.ProviderEdit, handle: (*request).createProvider},
	{Method: http.MethodGet, Pattern: "/providers/{id}", Action: authz.ProviderView, handle: (*request).provider},
	{Method: http.MethodPost, Pattern: "/providers/{id}", Action: authz.ProviderEdit, handle: (*request).saveProvider},
	{Method: http.MethodPost, Pattern: "/providers/{id}/test", Action: authz.ProviderEdit, handle: (*request).testProvider},
	{Method: http.MethodPost, Pattern: "/providers/{id}/delete", Action: authz.ProviderEdit, handle: (*request).deleteProvider},

	{Method: http.MethodGet, Pattern: "/audit", Action: authz.TrailView, handle: (*request).audit},
	{Method: http.MethodPost, Pattern: "/audit/export", Action: authz.TrailExport, handle: (*request).exportAudit, reads: true},

	{Method: http.MethodGet, Pattern: "/account", Action: authz.KeyView, handle: (*request).account},
	{Method: http.MethodPost, Pattern: "/account/keys", Action: authz.KeyEdit, handle: (*request).createKey},
	{Method: http.MethodPost, Pattern: "/account/keys/{token}/delete", Action: authz.KeyEdit, handle: (*request).deleteKey},
	{Method: http.MethodPost, Pattern: "/account/sshkeys", Action: authz.KeyEdit, handle: (*request).addSSHKey},
	{Method: http.MethodPost, Pattern: "/account/sshkeys/{id}/delete", Action: authz.KeyEdit, handle: (*request).deleteSSHKey},
	{Method: http.MethodPost, Pattern: "/account/identities/{id}/link", Action: authz.KeyEdit, handle: (*request).beginLink},
	{Method: http.MethodPost, Pattern: "/account/identities/unlink", Action: authz.KeyEdit, handle: (*request).unlink},
	{Method: http.MethodPost, Pattern: "/account/password", Action: authz.KeyEdit, handle: (*request).changePassword},

	{Method: http.MethodPost, Pattern: "/account/sessions/{id}/end", Action: authz.KeyEdit, handle: (*request).endSession},
	{Method: http.MethodPost, Pattern: "/account/codes", Action: authz.KeyEdit, handle: (*request).newCodes},
	{Method: http.MethodPost, Pattern: "/account/factors/{id}/delete", Action: authz.KeyEdit, handle: (*request).removeFactor},
	{Method: http.MethodPost, Pattern: "/account/sessions/end", Action: authz.KeyEdit, handle: (*request).endOtherSessions},

	{Method: http.MethodGet, Pattern: "/users", Action: authz.UserEdit, handle: (*request).users},
	{Method: http.MethodPost, Pattern: "/users", Action: authz.UserEdit, handle: (*request).createUser},
	{Method: http.MethodGet, Pattern: "/users/{name}", Action: authz.UserEdit, handle: (*request).user},
	{Method: http.MethodPost, Pattern: "/users/{name}", Action: authz.UserEdit, handle: (*request).editUser},
	{Method: http.MethodPost, Pattern: "/users/{name}/password", Action: authz.UserEdit, handle: (*request).setPassword},
	{Method: http.MethodPost, Pattern: "/users/{name}/link", Action: authz.UserEdit, handle: (*request).recoveryLink},
	{Method: http.MethodPost, Pattern: "/users/{name}/deactivate", Action: authz.UserEdit, handle: (*request).deactivateUser},
	{Method: http.MethodPost, Pattern: "/users/{name}/reactivate", Action: authz.UserEdit, handle: (*request).reactivateUser},
	{Method: http.MethodPost, Pattern: "/users/{name}/factors/reset", Action: authz.UserEdit, handle: (*request).resetFactors},
	{Method: http.MethodPost, Pattern: "/users/{name}/sessions/end", Action: authz.UserEdit, handle: (*request).endUserSessions},
	{Method: http.MethodPost, Pattern: "/users/{name}/delete", Action: authz.UserEdit, handle: (*request).deleteUser},

	{Method: http.MethodGet, Pattern: "/settings", Action: authz.SettingEdit, handle: (*request).settings},
	{Method: http.MethodPost, Pattern: "/settings/webhook", Action: authz.SettingEdit, handle: (*request).setWebhook},
	{Method: http.MethodPost, Pattern: "/settings/mail-login", Action: authz.SettingEdit, handle: (*request).setMailLogin},
	{Method: http.MethodPost, Pattern: "/settings/notify-test", Action: authz.NotificationTest, handle: (*request).testNotify, reads: true},
	{Method: http.MethodGet, Pattern: "/settings/secrets", Action: authz.SecretsView, handle: (*request).secrets},
	{Method: http.MethodGet, Pattern: "/settings/security", Action: authz.TLSView, handle: (*request).security},
	{Method: http.MethodPost, Pattern: "/settings/security/enable", Action: authz.TLSEdit, handle: (*request).enableCertificate},
	{Method: http.MethodPost, Pattern: "/settings/security/acme", Action: authz.TLSEdit, handle: (*request).acmeCertificate},
	{Method: http.MethodPost, Pattern: "/settings/security/disable", Action: authz.TLSEdit, handle: (*request).disableCertificate},
	{Method: http.MethodPost, Pattern: "/settings/security/renew", Action: authz.TLSEdit, handle: (*request).renewCertificate},
	{Method: http.MethodPost, Pattern: "/settings", Action: authz.SettingEdit, handle: (*request).saveSettings},
}
