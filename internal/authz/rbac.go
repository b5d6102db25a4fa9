package authz

// RBACPermission is a permission of the RBAC service that MAAS knows. Source: MAAS, rbac.py.
type RBACPermission string

// The permissions: the first is asked of the resource type maas, the others of resource-pool.
const (
	RBACAdmin          RBACPermission = "admin"
	RBACView           RBACPermission = "view"
	RBACViewAll        RBACPermission = "view-all"
	RBACDeployMachines RBACPermission = "deploy-machines"
	RBACAdminMachines  RBACPermission = "admin-machines"
	RBACEdit           RBACPermission = "edit"
)

// RBACPoolPermissions are those on pools.
var RBACPoolPermissions = []RBACPermission{RBACView, RBACViewAll, RBACDeployMachines, RBACAdminMachines, RBACEdit}

// rbacRoles are what the service's permissions amount to here. They are granted by the service's word only: a colon is in
// the name of no role that people make. On all pools they give no more of the instance than on one, as in MAAS: settings,
// users and networks are the administrators'.
var rbacRoles = map[string]Set{
	RBACView.Role():           NewSet(ViewAvailable, ViewGlobalEntities, ViewBootEntities),
	RBACViewAll.Role():        NewSet(ViewMachines, ViewGlobalEntities, ViewBootEntities),
	RBACDeployMachines.Role(): NewSet(DeployMachines, ViewGlobalEntities, ViewBootEntities),
	RBACAdminMachines.Role():  NewSet(AdministerMachines, ReadSecrets, ViewGlobalEntities, ViewBootEntities),
	RBACEdit.Role():           NewSet(EditPools),
}

// Role is the name of the role that a grant of the permission carries.
func (p RBACPermission) Role() string {
	if p == RBACAdmin {
		return Administrator
	}
	return "rbac:" + string(p)
}

// FindRBACRole returns what a role of a service's permission amounts to.
func FindRBACRole(name string) (Set, bool) {
	s, ok := rbacRoles[name]
	return s, ok
}
