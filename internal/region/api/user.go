package api

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/secret"
)

// bindUsers gives the rows about users their handlers.
func (a *API) bindUsers() map[string]handler {
	// change runs one on the user of the path; with answer it answers with the user.
	change := func(answer bool, fn func(r *request, name string) error) handler {
		return a.administers(func(r *request) (any, error) {
			name := r.path["username"]
			if err := fn(r, name); err != nil || !answer {
				return nil, err
			}
			u, err := a.Identity.User(r.ctx, name)
			return userJSON(u), err
		})
	}
	return map[string]handler{
		"users.list": func(r *request) (any, error) {
			users, err := a.Identity.Users(r.ctx)
			return each(users, userJSON), err
		},
		"users.security": func(r *request) (any, error) {
			list, err := a.Identity.Overview(r.ctx)
			return each(list, standingJSON), err
		},
		"users.create": a.administers(a.createUser),
		"users.invite": a.administers(a.inviteUser),
		"users.whoami": func(r *request) (any, error) {
			u, err := a.Identity.User(r.ctx, authz.From(r.ctx).Name)
			return userJSON(u), err
		},
		"user.read": func(r *request) (any, error) {
			u, err := a.Identity.User(r.ctx, r.path["username"])
			return userJSON(u), err
		},
		"user.update": change(true, func(r *request, name string) error {
			if r.get("email") == nil {
				return nil
			}
			return a.Identity.EditUser(r.ctx, name, r.form.Get("email"))
		}),
		"user.delete": change(false, func(r *request, name string) error {
			return a.Identity.DeleteUser(r.ctx, name, r.form.Get("transfer_resources_to"))
		}),
		"user.set_password": change(false, func(r *request, name string) error {
			return a.Identity.SetPassword(r.ctx, name, secret.FromString(r.form.Get("password")))
		}),
		"user.recovery_link": a.administers(func(r *request) (any, error) {
			link, err := a.Identity.RecoveryLink(r.ctx, r.path["username"])
			r.w.Header().Set("Cache-Control", "no-store")
			return map[string]string{"link": a.link(link)}, err
		}),
		"user.reset_factors": change(false, func(r *request, name string) error { return a.Identity.ResetFactors(r.ctx, name) }),
		"user.deactivate":    change(true, func(r *request, name string) error { return a.Identity.SetActive(r.ctx, name, false) }),
		"user.reactivate":    change(true, func(r *request, name string) error { return a.Identity.SetActive(r.ctx, name, true) }),
		"user.end_sessions":  change(false, func(r *request, name string) error { return a.Identity.EndSessions(r.ctx, name) }),
	}
}

// administers refuses the administration of users where it is kept to the pages: the setting user_admin_ui_only.
func (a *API) administers(fn handler) handler {
	return func(r *request) (any, error) {
		var only bool
		err := a.Gate.View(authz.AsSystem(r.ctx, "api"), authz.SettingView, func(v *gate.Viewing) (err error) {
			only, err = v.SettingBool("user_admin_ui_only")
			return err
		})
		if err != nil {
			return nil, err
		}
		if only {
			err := fault.New(fault.Forbidden, "Users are administered in the pages only on this site: the setting user_admin_ui_only says so.")
			a.Gate.Denied(r.ctx, r.op.Action, err)
			return nil, err
		}
		return fn(r)
	}
}

// link is the address of a one-use link.
func (a *API) link(v secret.Value) string { return a.BaseURL + "/link/" + v.RevealString() }

func newUser(r *request) (n identity.NewUser, err error) {
	super := r.form.Get("is_superuser")
	if super != "" && super != "0" && super != "1" {
		return n, fault.Field("is_superuser", "Send 0 or 1.")
	}
	return identity.NewUser{Name: r.form.Get("username"), Email: r.form.Get("email"), Password: secret.FromString(r.form.Get("password")), Admin: super == "1"}, nil
}

func (a *API) createUser(r *request) (any, error) {
	n, err := newUser(r)
	if err != nil {
		return nil, err
	}
	u, err := a.Identity.CreateUser(r.ctx, n)
	return userJSON(u), err
}

func (a *API) inviteUser(r *request) (any, error) {
	n, err := newUser(r)
	if err != nil {
		return nil, err
	}
	u, link, err := a.Identity.Invite(r.ctx, n)
	r.w.Header().Set("Cache-Control", "no-store")
	return struct {
		userObject
		Link string `json:"link"`
	}{userJSON(u), a.link(link)}, err
}

// userObject is MAAS's, with whether the user is active.
type userObject struct {
	Username    string `json:"username"`
	Email       string `json:"email"`
	IsLocal     bool   `json:"is_local"`
	IsSuperuser bool   `json:"is_superuser"`
	IsActive    bool   `json:"is_active"`
	URI         string `json:"resource_uri"`
	// RightsFrom is the RBAC service that alone decides what the user may do; null: people here do. It is Metalward's own.
	RightsFrom *string `json:"rights_from"`
}

func userJSON(u metal.User) userObject {
	o := userObject{Username: u.Name, Email: u.Email, IsLocal: !u.External, IsSuperuser: u.Admin, IsActive: !u.Disabled, URI: maasapi.Root + "/users/" + u.Name + "/"}
	if u.RightsFrom != 0 {
		from := uri("/rbac-providers/%d/", u.RightsFrom)
		o.RightsFrom = &from
	}
	return o
}

// standingObject is how a user gets in. It is Metalward's own.
type standingObject struct {
	Username    string `json:"username"`
	IsSuperuser bool   `json:"is_superuser"`
	IsActive    bool   `json:"is_active"`
	IsLocal     bool   `json:"is_local"`
	HasPassword bool   `json:"has_password"`
	Created     string `json:"created"`
	Factors     int    `json:"second_factors"`
	Sessions    int    `json:"sessions"`
	Keys        int    `json:"keys"`
	// OldestKey is when the oldest key without an end was made; null where each has one.
	EndlessKeys int     `json:"keys_without_end"`
	OldestKey   *string `json:"oldest_key_without_end"`
}

func standingJSON(s identity.Standing) standingObject {
	u := s.User
	return standingObject{u.Name, u.Admin, !u.Disabled, !u.External, s.HasPassword, stamp(u.Created), s.Factors, s.Sessions, s.Keys, s.EndlessKeys, timeOrNull(s.OldestKey)}
}
