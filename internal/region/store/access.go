package store

import (
	"database/sql"
	"fmt"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

func scanGroup(scan func(...any) error) (g metal.Group, err error) {
	err = scan(&g.ID, &g.Name, &g.Description)
	return g, err
}

// Groups lists all groups by name.
func (v *View) Groups() ([]metal.Group, error) {
	return all(v, scanGroup, "SELECT id, name, description FROM user_groups ORDER BY name")
}

// Group returns a group. Kinds: NotFound.
func (v *View) Group(id int64) (metal.Group, error) {
	return one(v, authz.NounGroup, scanGroup, "SELECT id, name, description FROM user_groups WHERE id = ?", id)
}

// GroupByName returns a group. Kinds: NotFound.
func (v *View) GroupByName(name string) (metal.Group, error) {
	return one(v, authz.NounGroup, scanGroup, "SELECT id, name, description FROM user_groups WHERE name = ?", name)
}

// GroupsOf lists the groups that a user is in, by name.
func (v *View) GroupsOf(userID int64) ([]metal.Group, error) {
	return all(v, scanGroup, `SELECT g.id, g.name, g.description FROM user_groups g JOIN group_members m ON m.group_id = g.id
		WHERE m.user_id = ? ORDER BY g.name`, userID)
}

// GroupTarget is a group, with its members and grants, as the object of an action; with id 0 one about to be made.
func GroupTarget(id int64) authz.Target {
	if id == 0 {
		return authz.Target{Noun: authz.NounGroup}
	}
	return authz.Target{Noun: authz.NounGroup, ID: authz.ID(id)}
}

// AddGroup inserts a group and sets its ID. Kinds: Conflict when the name is taken.
func (t *Tx) AddGroup(g *metal.Group) (err error) {
	g.ID, err = t.insert("INSERT INTO user_groups (name, description) VALUES (?, ?)", g.Name, g.Description)
	t.touch(GroupTarget(g.ID), true)
	return err
}

// PutGroup updates a group. Kinds: Conflict when the name is taken.
func (t *Tx) PutGroup(g metal.Group) error {
	t.touch(GroupTarget(g.ID), false)
	_, err := t.exec("UPDATE user_groups SET name = ?, description = ? WHERE id = ?", g.Name, g.Description, g.ID)
	return err
}

// DeleteGroup deletes a group with its memberships and grants.
func (t *Tx) DeleteGroup(id int64) error {
	t.touch(GroupTarget(id), false)
	_, err := t.exec("DELETE FROM user_groups WHERE id = ?", id)
	return err
}

// Members lists the users in a group, by name.
func (v *View) Members(groupID int64) ([]UserRow, error) {
	return all(v, scanUser, "SELECT "+userCols+" FROM users u WHERE u.id IN (SELECT user_id FROM group_members WHERE group_id = ?) ORDER BY u.name", groupID)
}

// AddMember puts a user into a group; it is no error if he is in it.
func (t *Tx) AddMember(groupID, userID int64) error {
	t.touch(GroupTarget(groupID), false)
	_, err := t.exec("INSERT INTO group_members (group_id, user_id) VALUES (?, ?) ON CONFLICT DO NOTHING", groupID, userID)
	return err
}

// RemoveMember takes a user out of a group; false when he was not in it.
func (t *Tx) RemoveMember(groupID, userID int64) (bool, error) {
	t.touch(GroupTarget(groupID), false)
	n, err := t.exec("DELETE FROM group_members WHERE group_id = ? AND user_id = ?", groupID, userID)
	return n > 0, err
}

func scanRole(scan func(...any) error) (r authz.Role, err error) {
	var text string
	if err = scan(&r.Name, &r.Description, &text); err != nil {
		return r, err
	}
	r.Permissions, err = authz.ParseSet(text)
	return r, err
}

// Roles lists the built-in roles, then the site's own by name.
func (v *View) Roles() ([]authz.Role, error) {
	own, err := all(v, scanRole, "SELECT name, description, permissions FROM roles ORDER BY name")
	return append(append([]authz.Role{}, authz.Roles...), own...), err
}

// Role returns a role. Kinds: NotFound.
func (v *View) Role(name string) (authz.Role, error) {
	if r, ok := authz.FindRole(name); ok {
		return r, nil
	}
	return one(v, authz.NounRole, scanRole, "SELECT name, description, permissions FROM roles WHERE name = ?", name)
}

// RoleTarget is a role as the object of an action; without a name one about to be made.
func RoleTarget(name string) authz.Target { return authz.Target{Noun: authz.NounRole, ID: name} }

// AddRole inserts a role of the site. Kinds: Conflict when the name is taken.
func (t *Tx) AddRole(r authz.Role) error {
	_, err := t.insert("INSERT INTO roles (name, description, permissions) VALUES (?, ?, ?)", r.Name, r.Description, r.Permissions.String())
	t.touch(RoleTarget(r.Name), true)
	return err
}

// PutRole changes the description and permissions of a role of the site.
func (t *Tx) PutRole(r authz.Role) error {
	t.touch(RoleTarget(r.Name), false)
	_, err := t.exec("UPDATE roles SET description = ?, permissions = ? WHERE name = ?", r.Description, r.Permissions.String(), r.Name)
	return err
}

// DeleteRole deletes a role of the site.
func (t *Tx) DeleteRole(name string) error {
	t.touch(RoleTarget(name), false)
	_, err := t.exec("DELETE FROM roles WHERE name = ?", name)
	return err
}

// GrantRow is a grant: to a user or a group, of a role or a single entitlement, on a pool or on all.
type GrantRow struct {
	ID              int64
	UserID, GroupID int64 // one of them is 0
	Role            string
	Entitlement     authz.Permission // when there is no role
	Pool            int64            // or authz.AllPools
	Set             authz.Set        // what the role or entitlement amounts to
	Source          int64            // whose word it is: 0 for people's, else a provider of the kind rbac
	// Names of what the ids refer to; empty for the one that is 0 and for all pools.
	User, Group, PoolName string
}

// Grant is what the row gives.
func (g GrantRow) Grant() authz.Grant { return authz.Grant{Permissions: g.Set, Pool: g.Pool} }

const grantQuery = `SELECT g.id, COALESCE(g.user_id, 0), COALESCE(g.group_id, 0), g.role, g.entitlement, COALESCE(g.pool_id, -1), g.source,
	COALESCE(r.permissions, ''), COALESCE(u.name, ''), COALESCE(ug.name, ''), COALESCE(p.name, '')
	FROM grants g LEFT JOIN roles r ON r.name = g.role LEFT JOIN users u ON u.id = g.user_id LEFT JOIN user_groups ug ON ug.id = g.group_id
	LEFT JOIN pools p ON p.id = g.pool_id`

func scanGrant(scan func(...any) error) (g GrantRow, err error) {
	var entitlement, permissions string
	if err = scan(&g.ID, &g.UserID, &g.GroupID, &g.Role, &entitlement, &g.Pool, &g.Source, &permissions, &g.User, &g.Group, &g.PoolName); err != nil {
		return g, err
	}
	g.Set, g.Entitlement, err = granted(g.Role, entitlement, permissions)
	return g, err
}

// granted is what a grant's texts amount to.
func granted(role, entitlement, permissions string) (authz.Set, authz.Permission, error) {
	if entitlement != "" {
		p, ok := authz.ParsePermission(entitlement)
		if !ok {
			return 0, p, fmt.Errorf("cannot read grant: unknown entitlement %q", entitlement)
		}
		return authz.NewSet(p), p, nil
	}
	if r, ok := authz.FindRole(role); ok {
		return r.Permissions, 0, nil
	}
	if s, ok := authz.FindRBACRole(role); ok {
		return s, 0, nil
	}
	s, err := authz.ParseSet(permissions)
	return s, 0, err
}

// GrantQuery selects grants. Zero fields select all.
type GrantQuery struct {
	UserID  int64 // given to him, or to a group that he is in; only those that count
	GroupID int64
	Pool    *int64 // that reach this pool, those on all pools included
	Role    string
}

// grantOf is SQL for "grant g counts for a user", whose id it takes three times: it is his or a group's that he is in, and
// on the word of who decides what he may do.
const grantOf = `(g.user_id = ? OR g.group_id IN (SELECT group_id FROM group_members WHERE user_id = ?))
	AND g.source = (SELECT rights_from FROM users WHERE id = ?)`

// Grants lists grants in order of their making.
func (v *View) Grants(q GrantQuery) ([]GrantRow, error) {
	where, args := " WHERE 1 = 1", []any{}
	if q.UserID != 0 {
		where, args = where+" AND "+grantOf, append(args, q.UserID, q.UserID, q.UserID)
	}
	if q.GroupID != 0 {
		where, args = where+" AND g.group_id = ?", append(args, q.GroupID)
	}
	if q.Pool != nil {
		where, args = where+" AND (g.pool_id IS NULL OR g.pool_id = ?)", append(args, *q.Pool)
	}
	if q.Role != "" {
		where, args = where+" AND g.role = ?", append(args, q.Role)
	}
	return all(v, scanGrant, grantQuery+where+" ORDER BY g.id", args...)
}

// Grant returns a grant. Kinds: NotFound.
func (v *View) Grant(id int64) (GrantRow, error) {
	return one(v, "Grant", scanGrant, grantQuery+" WHERE g.id = ?", id)
}

// Rights adds up what a user is granted, himself and by his groups.
func (v *View) Rights(userID int64) (*authz.Rights, error) {
	grants, err := all(v, func(scan func(...any) error) (g authz.Grant, err error) {
		var role, entitlement, permissions string
		if err = scan(&role, &entitlement, &g.Pool, &permissions); err == nil {
			g.Permissions, _, err = granted(role, entitlement, permissions)
		}
		return g, err
	}, `SELECT g.role, g.entitlement, COALESCE(g.pool_id, -1), COALESCE(r.permissions, '') FROM grants g LEFT JOIN roles r ON r.name = g.role WHERE `+grantOf, userID, userID, userID)
	return authz.NewRights(grants...), err
}

// AddGrant inserts a grant and sets its ID. Kinds: Conflict when it is there already.
func (t *Tx) AddGrant(g *GrantRow) (err error) {
	t.touch(g.holder(), false)
	entitlement := ""
	if g.Role == "" {
		entitlement = g.Entitlement.String()
	}
	null := func(id, none int64) sql.NullInt64 { return sql.NullInt64{Int64: id, Valid: id != none} }
	g.ID, err = t.insert("INSERT INTO grants (user_id, group_id, role, entitlement, pool_id, source) VALUES (?, ?, ?, ?, ?, ?)",
		null(g.UserID, 0), null(g.GroupID, 0), g.Role, entitlement, null(g.Pool, authz.AllPools), g.Source)
	return err
}

// DeleteGrant deletes a grant.
func (t *Tx) DeleteGrant(g GrantRow) error {
	t.touch(g.holder(), false)
	_, err := t.exec("DELETE FROM grants WHERE id = ?", g.ID)
	return err
}

// holder is the user or group that a grant changes.
func (g GrantRow) holder() authz.Target {
	if g.GroupID != 0 {
		return GroupTarget(g.GroupID)
	}
	return UserTarget(metal.User{ID: g.UserID, Name: g.User})
}

// isAdmin is SQL for "user u is an administrator": he holds that role on all pools, himself or by a group.
const isAdmin = `EXISTS (SELECT 1 FROM grants g WHERE g.role = 'Administrator' AND g.pool_id IS NULL AND g.source = u.rights_from
	AND (g.user_id = u.id OR g.group_id IN (SELECT group_id FROM group_members WHERE user_id = u.id)))`

// CountAdministrators counts the administrators who are not disabled, without those of an RBAC service: the site must not
// be without one whenever it is.
func (v *View) CountAdministrators() (n int, err error) {
	err = v.row("SELECT COUNT(*) FROM users u WHERE u.disabled = 0 AND u.rights_from = 0 AND " + isAdmin).Scan(&n)
	return n, err
}
