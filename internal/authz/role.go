package authz

// Role is a named set of permissions.
type Role struct {
	Name        string
	Description string
	Permissions Set
	BuiltIn     bool
}

// The names of the built-in roles.
const (
	Administrator = "Administrator"
	Operator      = "Operator"
	RoleUser      = "User"
	Auditor       = "Auditor"
)

// Roles are the built-in roles. They are fixed; an operator who wants others makes roles of his own.
var Roles = []Role{
	{Administrator, "Everything. Granted on all pools only.", all, true},
	{Operator, "Everything with the machines of his pools. No settings.",
		NewSet(EditMachines, ReadSecrets, ViewGlobalEntities, ViewBootEntities, ViewDevices, ViewIPAddresses, ViewDNSRecords), true},
	{RoleUser, "Sees free machines and his own in his pools; allocates, deploys and releases his own. No settings.",
		NewSet(DeployMachines, ViewGlobalEntities, ViewBootEntities), true},
	{Auditor, "Reads everything in his pools, changes nothing, reads no secret. On all pools: users, settings, controllers and the trail too.", viewing, true},
}

// FindRole returns a built-in role.
func FindRole(name string) (Role, bool) {
	for _, r := range Roles {
		if r.Name == name {
			return r, true
		}
	}
	return Role{}, false
}
