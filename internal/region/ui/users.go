package ui

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/secret"
)

// usersData is the page of all users. Link is one just made, the only time that it is shown; For is whose it is.
type usersData struct {
	Users     []metal.User
	Link, For string
}

func (q *request) usersData() (d usersData, err error) {
	d.Users, err = q.ui.Identity.Users(q.http.Context())
	return d, err
}

func (q *request) users() error {
	d, err := q.usersData()
	if err != nil {
		return err
	}
	return q.show("users", "Users", d)
}

// createUser adds a user with a password, or invites one: then it answers with the link, which is nowhere to be read again.
func (q *request) createUser() error {
	n := identity.NewUser{Name: q.get("username"), Email: q.get("email"), Password: secret.FromString(q.form.Get("password")), Admin: q.form.Has("admin")}
	var link secret.Value
	var err error
	if q.form.Has("invite") {
		_, link, err = q.ui.Identity.Invite(q.http.Context(), n)
	} else {
		_, err = q.ui.Identity.CreateUser(q.http.Context(), n)
	}
	if err == nil && link.Empty() {
		return q.redirect("/users", "added")
	}
	d, missing := q.usersData()
	switch {
	case missing != nil:
		return missing
	case err != nil:
		return q.again(err, "users", "Users", d)
	}
	d.Link, d.For = q.link(link), n.Name
	return q.show("users", "Users", d)
}

// link is the address of a one-use link.
func (q *request) link(v secret.Value) string { return q.ui.BaseURL + "/link/" + v.RevealString() }

// userData is the page of one user.
type userData struct {
	identity.UserDetail
	Self bool
	Link string // one just made, the only time that it is shown
}

func (q *request) userData() (d userData, err error) {
	d.UserDetail, err = q.ui.Identity.Detail(q.http.Context(), q.http.PathValue("name"))
	d.Self = d.User.Name == q.who.Name
	return d, err
}

func (q *request) user() error {
	d, err := q.userData()
	if err != nil {
		return err
	}
	return q.show("user", "User "+d.User.Name, d)
}

// userDone ends a change of a user.
func (q *request) userDone(err error, notice string) error {
	name := q.http.PathValue("name")
	if err == nil {
		return q.redirect("/users/"+name, notice)
	}
	d, missing := q.userData()
	if missing != nil {
		return missing
	}
	return q.again(err, "user", "User "+name, d)
}

func (q *request) editUser() error {
	return q.userDone(q.ui.Identity.EditUser(q.http.Context(), q.http.PathValue("name"), q.get("email")), "saved")
}

func (q *request) setPassword() error {
	name := q.http.PathValue("name")
	if name == q.who.Name {
		return q.userDone(fault.New(fault.Invalid, "Change your own password under Account."), "")
	}
	return q.userDone(q.ui.Identity.SetPassword(q.http.Context(), name, secret.FromString(q.form.Get("password"))), "saved")
}

func (q *request) recoveryLink() error {
	link, err := q.ui.Identity.RecoveryLink(q.http.Context(), q.http.PathValue("name"))
	if err != nil {
		return q.userDone(err, "")
	}
	d, err := q.userData()
	if err != nil {
		return err
	}
	d.Link = q.link(link)
	return q.show("user", "User "+d.User.Name, d)
}

func (q *request) deactivateUser() error {
	return q.userDone(q.ui.Identity.SetActive(q.http.Context(), q.http.PathValue("name"), false), "saved")
}

func (q *request) reactivateUser() error {
	return q.userDone(q.ui.Identity.SetActive(q.http.Context(), q.http.PathValue("name"), true), "saved")
}

func (q *request) endUserSessions() error {
	return q.userDone(q.ui.Identity.EndSessions(q.http.Context(), q.http.PathValue("name")), "ended")
}

func (q *request) deleteUser() error {
	if err := q.ui.Identity.DeleteUser(q.http.Context(), q.http.PathValue("name"), q.get("transfer_resources_to")); err != nil {
		return q.userDone(err, "")
	}
	return q.redirect("/users", "deleted")
}

// linkData is the page of a one-use link to choose a password.
type linkData struct{ Name, Token string }

// openLink shows whose password is chosen. Looking spends nothing: programs that look at mail open links, too.
func (q *request) openLink() error {
	d := linkData{Token: q.http.PathValue("token")}
	u, err := q.ui.Identity.LinkUser(q.http.Context(), secret.FromString(d.Token))
	if err != nil {
		return err
	}
	d.Name = u.Name
	q.who = authz.Principal{Kind: authz.Anonymous} // whoever is logged in here
	return q.show("link", "Choose a password", d)
}

func (q *request) spendLink() error {
	d := linkData{Token: q.http.PathValue("token")}
	link, password := secret.FromString(d.Token), secret.FromString(q.form.Get("password"))
	u, err := q.ui.Identity.LinkUser(q.http.Context(), link)
	d.Name = u.Name
	switch {
	case err != nil:
		return err
	case q.form.Get("password") != q.form.Get("again"):
		err = fault.Field("again", "The two passwords differ.")
	default:
		_, err = q.ui.Identity.SpendLink(q.http.Context(), link, password)
	}
	q.who = authz.Principal{Kind: authz.Anonymous}
	if err != nil {
		return q.again(err, "link", "Choose a password", d)
	}
	return q.redirect("/login", "chosen")
}
