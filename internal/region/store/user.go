package store

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

// UserRow is a user with the hash of his password.
type UserRow struct {
	metal.User
	Password string // encoded hash; empty for one who cannot log in with a password
}

// userCols are read from users u. Whether one is an administrator follows from grants.
const userCols = "u.id, u.name, u.email, u.password, " + isAdmin + ", u.disabled, u.is_external, u.rights_from, u.epoch, u.created"

func scanUser(scan func(...any) error) (u UserRow, err error) {
	var created int64
	err = scan(&u.ID, &u.Name, &u.Email, &u.Password, &u.Admin, &u.Disabled, &u.External, &u.RightsFrom, &u.Epoch, &created)
	u.Created = fromMicros(created)
	return u, err
}

// Users lists all users by name.
func (v *View) Users() ([]UserRow, error) {
	return all(v, scanUser, "SELECT "+userCols+" FROM users u ORDER BY u.name")
}

// User returns a user. Kinds: NotFound.
func (v *View) User(id int64) (UserRow, error) {
	return one(v, authz.NounUser, scanUser, "SELECT "+userCols+" FROM users u WHERE u.id = ?", id)
}

// UserByName returns a user. Kinds: NotFound.
func (v *View) UserByName(name string) (UserRow, error) {
	return one(v, authz.NounUser, scanUser, "SELECT "+userCols+" FROM users u WHERE u.name = ?", name)
}

// UserTarget is a user, with his keys and sessions, as the object of an action.
func UserTarget(u metal.User) authz.Target {
	return authz.Target{Noun: authz.NounUser, ID: authz.ID(u.ID), Owner: u.Name}
}

// AddUser inserts a user and sets his ID; what he may do comes by groups and grants. Kinds: Conflict when the name is taken.
func (t *Tx) AddUser(u *UserRow) (err error) {
	u.ID, err = t.insert("INSERT INTO users (name, email, password, disabled, is_external, rights_from, epoch, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		u.Name, u.Email, u.Password, bit(u.Disabled), bit(u.External), u.RightsFrom, u.Epoch, micros(u.Created))
	t.touch(UserTarget(u.User), true)
	return err
}

// PutUser updates a user; where his rights come from stays.
func (t *Tx) PutUser(u UserRow) error {
	t.touch(UserTarget(u.User), false)
	_, err := t.exec("UPDATE users SET name = ?, email = ?, password = ?, disabled = ?, is_external = ?, epoch = ? WHERE id = ?",
		u.Name, u.Email, u.Password, bit(u.Disabled), bit(u.External), u.Epoch, u.ID)
	return err
}

// DeleteUser deletes a user with his keys and sessions.
func (t *Tx) DeleteUser(u metal.User) error {
	t.touch(UserTarget(u), false)
	_, err := t.exec("DELETE FROM users WHERE id = ?", u.ID)
	return err
}

// CountOwned counts the machines that a user owns.
func (v *View) CountOwned(name string) (n int, err error) {
	err = v.row("SELECT COUNT(*) FROM machines WHERE owner = ?", name).Scan(&n)
	return n, err
}

func scanSSHKey(scan func(...any) error) (k metal.SSHKey, err error) {
	err = scan(&k.ID, &k.UserID, &k.Key)
	return k, err
}

// SSHKeys lists a user's SSH keys.
func (v *View) SSHKeys(userID int64) ([]metal.SSHKey, error) {
	return all(v, scanSSHKey, "SELECT id, user_id, key FROM ssh_keys WHERE user_id = ? ORDER BY id", userID)
}

// SSHKeysOf lists the SSH keys of a user by name; none for an unknown user.
func (v *View) SSHKeysOf(user string) ([]metal.SSHKey, error) {
	return all(v, scanSSHKey, "SELECT k.id, k.user_id, k.key FROM ssh_keys k JOIN users u ON u.id = k.user_id WHERE u.name = ? ORDER BY k.id", user)
}

// AddSSHKey inserts a key of a user and sets its ID. Kinds: Conflict when he has it already.
func (t *Tx) AddSSHKey(u metal.User, k *metal.SSHKey) (err error) {
	t.touch(UserTarget(u), false)
	k.ID, err = t.insert("INSERT INTO ssh_keys (user_id, key) VALUES (?, ?)", u.ID, k.Key)
	return err
}

// DeleteSSHKey deletes a user's key; false when he has none of this id.
func (t *Tx) DeleteSSHKey(u metal.User, id int64) (bool, error) {
	t.touch(UserTarget(u), false)
	n, err := t.exec("DELETE FROM ssh_keys WHERE id = ? AND user_id = ?", id, u.ID)
	return n > 0, err
}

// NewUserTarget is what Require is asked when a user is about to be created.
var NewUserTarget = authz.Target{Noun: authz.NounUser}
