package ui

import (
	"slices"
	"strconv"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/secret"
)

// accountData is the page of one's own things.
type accountData struct {
	Keys     []metal.APIKey
	SSHKeys  []metal.SSHKey
	NewKey   string // a key just made, the only time that it is shown
	Password bool   // may change the password here
}

func (q *request) accountData() (d accountData, err error) {
	if d.Keys, err = q.ui.Identity.Keys(q.http.Context()); err != nil {
		return d, err
	}
	d.Password = authz.May(q.who, authz.UserEdit)
	d.SSHKeys, err = q.ui.Identity.SSHKeys(q.http.Context())
	return d, err
}

func (q *request) account() error {
	d, err := q.accountData()
	if err != nil {
		return err
	}
	return q.show("account", "Account", d)
}

// accountDone ends a change of one's own things.
func (q *request) accountDone(err error, notice string) error {
	if err == nil {
		return q.redirect("/account", notice)
	}
	d, missing := q.accountData()
	if missing != nil {
		return missing
	}
	return q.again(err, "account", "Account", d)
}

// createKey answers with the key itself instead of a redirect: it is nowhere to be read again.
func (q *request) createKey() error {
	k, err := q.ui.Identity.CreateKey(q.http.Context(), q.get("name"))
	if err != nil {
		return q.accountDone(err, "")
	}
	d, err := q.accountData()
	if err != nil {
		return err
	}
	d.NewKey = k.Text().RevealString()
	return q.show("account", "Account", d)
}

func (q *request) deleteKey() error {
	return q.accountDone(q.ui.Identity.DeleteKey(q.http.Context(), q.http.PathValue("token")), "deleted")
}

func (q *request) addSSHKey() error {
	_, err := q.ui.Identity.AddSSHKey(q.http.Context(), q.form.Get("key"))
	return q.accountDone(err, "added")
}

func (q *request) deleteSSHKey() error {
	id, _ := strconv.ParseInt(q.http.PathValue("id"), 10, 64)
	return q.accountDone(q.ui.Identity.DeleteSSHKey(q.http.Context(), id), "deleted")
}

// changePassword asks for the current password, so that an unattended browser does not give the account away.
// All sessions end; this browser gets a new one.
func (q *request) changePassword() error {
	ctx, fresh := q.http.Context(), secret.FromString(q.form.Get("password"))
	if q.form.Get("password") != q.form.Get("again") {
		return q.accountDone(fault.Field("again", "The two passwords differ."), "")
	}
	if _, err := q.ui.Identity.Login(ctx, q.who.Name, secret.FromString(q.form.Get("current"))); err != nil {
		if fault.Is(err, fault.Unauthenticated) {
			err = fault.Field("current", "This is not your current password.")
		}
		return q.accountDone(err, "")
	}
	if err := q.ui.Identity.SetPassword(ctx, q.who.Name, fresh); err != nil {
		return q.accountDone(err, "")
	}
	return q.enter(q.who.Name, fresh, "/account?notice=password")
}

// usersData is the page of all users, or of one.
type usersData struct {
	Users []metal.User
	User  metal.User
	Self  bool
}

func (q *request) usersAgain(cause error) error {
	list, err := q.ui.Identity.Users(q.http.Context())
	if err != nil {
		return err
	}
	if cause != nil {
		return q.again(cause, "users", "Users", usersData{Users: list})
	}
	return q.show("users", "Users", usersData{Users: list})
}

func (q *request) users() error { return q.usersAgain(nil) }

func (q *request) createUser() error {
	n := identity.NewUser{Name: q.get("username"), Email: q.get("email"), Password: secret.FromString(q.form.Get("password")), Admin: q.form.Has("admin")}
	if _, err := q.ui.Identity.CreateUser(q.http.Context(), n); err != nil {
		return q.usersAgain(err)
	}
	return q.redirect("/users", "added")
}

func (q *request) userAgain(cause error) error {
	list, err := q.ui.Identity.Users(q.http.Context())
	if err != nil {
		return err
	}
	name := q.http.PathValue("name")
	i := slices.IndexFunc(list, func(u metal.User) bool { return u.Name == name })
	if i < 0 {
		return authz.NotFound(authz.NounUser)
	}
	d := usersData{User: list[i], Self: name == q.who.Name}
	if cause != nil {
		return q.again(cause, "user", "User "+name, d)
	}
	return q.show("user", "User "+name, d)
}

func (q *request) user() error { return q.userAgain(nil) }

func (q *request) setPassword() error {
	name := q.http.PathValue("name")
	if name == q.who.Name {
		return q.userAgain(fault.New(fault.Invalid, "Change your own password under Account."))
	}
	if err := q.ui.Identity.SetPassword(q.http.Context(), name, secret.FromString(q.form.Get("password"))); err != nil {
		return q.userAgain(err)
	}
	return q.redirect("/users", "saved")
}

func (q *request) deleteUser() error {
	if err := q.ui.Identity.DeleteUser(q.http.Context(), q.http.PathValue("name")); err != nil {
		return q.userAgain(err)
	}
	return q.redirect("/users", "deleted")
}
