package ui

import (
	"slices"
	"strconv"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/web"
	"github.com/metalward/metalward/internal/secret"
)

// accountData is the page of one's own things.
type accountData struct {
	Keys     []metal.APIKey
	SSHKeys  []metal.SSHKey
	Pools    []metal.ResourcePool
	Factors  []metal.Factor
	Codes    int  // recovery codes left
	Passkeys bool // this site can use them
	Sessions []metal.Session
	// Identities are those at identity providers, and Providers where others could be linked. HasPassword is false for who
	// came by one.
	Identities  []metal.ExternalIdentity
	Providers   []metal.Provider
	HasPassword bool
	Current     string // id of this browser's session
	NewKey      string // a key just made, the only time that it is shown
}

func (q *request) accountData() (d accountData, err error) {
	if d.Keys, err = q.ui.Identity.Keys(q.http.Context()); err != nil {
		return d, err
	}
	err = q.ui.Gate.View(q.http.Context(), authz.PoolView, func(v *gate.Viewing) (err error) {
		d.Pools, err = v.PoolsIn(authz.Pools(v.Principal()))
		return err
	})
	if err != nil && !fault.Is(err, fault.Forbidden) { // who sees no pools has keys all the same
		return d, err
	}
	if d.Factors, d.Codes, err = q.ui.Identity.Factors(q.http.Context()); err != nil {
		return d, err
	}
	d.Passkeys = q.ui.Identity.HasPasskeys()
	if d.Sessions, err = q.ui.Identity.Sessions(q.http.Context()); err != nil {
		return d, err
	}
	if d.Identities, d.HasPassword, err = q.ui.Identity.Identities(q.http.Context()); err != nil {
		return d, err
	}
	if d.Providers, err = q.ui.Providers.Buttons(q.http.Context()); err != nil {
		return d, err
	}
	d.Providers = slices.DeleteFunc(d.Providers, func(p metal.Provider) bool { return !p.Kind.Links() })
	d.Current = metal.Session{Hash: q.cookie().Hash()}.ID()
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

// PoolName is the name of a pool of a key; its number when the reader cannot see it any more.
func (d accountData) PoolName(id int64) string {
	for _, p := range d.Pools {
		if p.ID == id {
			return p.Name
		}
	}
	return strconv.FormatInt(id, 10)
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
	n := identity.NewKey{Name: q.get("name"), ReadOnly: q.form.Has("read_only")}
	var err error
	if days := q.get("days"); days != "" {
		if n.Days, err = strconv.Atoi(days); err != nil {
			return q.accountDone(fault.Field("days", "Enter a whole number."), "")
		}
	}
	for _, text := range q.form["pools"] {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return q.accountDone(fault.Field("pools", "Choose pools of the list."), "")
		}
		n.Pools = append(n.Pools, id)
	}
	if n.Networks, err = identity.ParseNetworks(q.form.Get("networks")); err != nil {
		return q.accountDone(err, "")
	}
	k, err := q.ui.Identity.CreateKey(q.http.Context(), n)
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

// changePassword gives this browser's session a new cookie; all others end.
func (q *request) changePassword() error {
	if q.form.Get("new_password") != q.form.Get("again") {
		return q.accountDone(fault.Field("again", "The two passwords differ."), "")
	}
	fresh, err := q.ui.Identity.ChangePassword(q.http.Context(), secret.FromString(q.form.Get("old_password")), secret.FromString(q.form.Get("new_password")), q.cookie())
	if err != nil {
		return q.accountDone(err, "")
	}
	web.SetCookie(q.w, fresh)
	return q.redirect("/account", "password")
}

// cookie is the secret of this browser's session; empty when it has none.
func (q *request) cookie() secret.Value {
	c, err := q.http.Cookie(web.CookieName)
	if err != nil {
		return secret.Value{}
	}
	return secret.FromString(c.Value)
}

func (q *request) endSession() error {
	return q.accountDone(q.ui.Identity.EndSession(q.http.Context(), q.http.PathValue("id")), "ended")
}

func (q *request) endOtherSessions() error {
	return q.accountDone(q.ui.Identity.EndOtherSessions(q.http.Context(), q.cookie()), "ended")
}
