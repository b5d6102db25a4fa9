package ui

import (
	"net/url"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/access"
	"github.com/metalward/metalward/internal/region/store"
)

// checked returns the values of the ticked boxes of a name, separated by blanks.
func (q *request) checked(name string) string { return strings.Join(q.form[name], " ") }

// accessData is who is granted what, and the form to grant more.
type accessData struct {
	Filter access.GrantFilter
	Grants []store.GrantRow
	Roles  []authz.Role
	Groups []metal.Group
	Pools  []metal.ResourcePool
}

func (q *request) accessAgain(cause error) (err error) {
	ctx, in := q.http.Context(), q.http.URL.Query()
	d := accessData{Filter: access.GrantFilter{User: in.Get("user"), Group: in.Get("group"), Pool: in.Get("pool"), Role: in.Get("role")}}
	if d.Grants, err = q.ui.Access.Grants(ctx, d.Filter); err != nil && cause == nil {
		cause = err // a filter that names nothing
	}
	if d.Roles, err = q.ui.Access.Roles(ctx); err != nil {
		return err
	}
	if d.Groups, err = q.ui.Access.Groups(ctx); err != nil {
		return err
	}
	if d.Pools, err = q.ui.Machines.Pools(ctx); err != nil {
		return err
	}
	if cause != nil {
		return q.again(cause, "access", "Access", d)
	}
	return q.show("access", "Access", d)
}

func (q *request) access() error { return q.accessAgain(nil) }

func (q *request) grant() error {
	n := access.NewGrant{User: q.get("user"), Group: q.get("group"), Role: q.get("role"), Pools: q.form["pool"], AllPools: q.form.Has("all_pools")}
	if _, err := q.ui.Access.Grant(q.http.Context(), n); err != nil {
		return q.accessAgain(err)
	}
	back := url.Values{"notice": {"added"}}
	if n.User != "" {
		back.Set("user", n.User)
	} else {
		back.Set("group", n.Group)
	}
	return q.redirect("/access?"+back.Encode(), "")
}

func (q *request) revoke() error {
	if err := q.ui.Access.Revoke(q.http.Context(), q.pathID("id")); err != nil {
		return q.accessAgain(err)
	}
	return q.redirect("/access", "deleted")
}

// explainData is a question and, once it was asked, the answer.
type explainData struct {
	Question access.Question
	Actions  []authz.Action
	Answer   *access.Answer
	Verdict  string // "Yes", "No", "No, and hidden"
	Text     string
}

// explain answers why somebody can or cannot do something.
func (q *request) explain() error {
	in := q.http.URL.Query()
	d := explainData{Question: access.Question{User: in.Get("user"), Action: in.Get("action"), Machine: in.Get("machine"), Pool: in.Get("pool")}}
	for _, a := range authz.Actions() {
		if authz.ForUsers(a) {
			d.Actions = append(d.Actions, a)
		}
	}
	if d.Question.User == "" {
		return q.show("explain", "Why", d)
	}
	a, err := q.ui.Access.Explain(q.http.Context(), d.Question)
	if err != nil {
		return q.again(err, "explain", "Why", d)
	}
	d.Answer, d.Text = &a, sentence(a)
	d.Verdict = map[authz.Decision]string{authz.Allow: "Yes", authz.Hide: "No, and hidden"}[a.Decision]
	if d.Verdict == "" {
		d.Verdict = "No"
	}
	return q.show("explain", "Why", d)
}

// sentence is the answer in words.
func sentence(a access.Answer) string {
	who, what := a.User.Name, string(a.Action)
	where := "on the site"
	switch {
	case a.Machine.SystemID != "":
		where = "on machine " + a.Machine.Hostname + " in pool " + a.Pool.Name
	case a.Pool.Name != "":
		where = "on pool " + a.Pool.Name
	}
	var because []string
	for _, g := range a.Because {
		because = append(because, access.Describe(g))
	}
	switch {
	case a.User.Disabled:
		return who + " cannot do " + what + ": the account is deactivated."
	case a.Decision == authz.Allow && len(because) == 0:
		return who + " can do " + what + " " + where + ": everybody can, with what is his own."
	case a.Decision == authz.Allow:
		return who + " can do " + what + " " + where + ", because " + a.Needs.String() + " comes with " + strings.Join(because, ", ") + "."
	case a.Decision == authz.Hide:
		return who + " cannot do " + what + " " + where + ", and does not see it at all: nothing gives " + a.Needs.String() + " there."
	}
	return who + " cannot do " + what + " " + where + ": nothing gives " + a.Needs.String() + " there."
}
