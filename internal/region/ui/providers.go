package ui

import (
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/secret"
)

// providersData is the page of all identity providers, with the form to add one of a kind.
type providersData struct {
	Providers   []providers.Entry
	Types       []metal.ProviderType
	Provider    providers.Entry // what the form begins with
	RedirectURI string
}

// Mapping is empty: a new provider has no groups.
func (providersData) Mapping() string { return "" }

func (q *request) providersAgain(cause error) error {
	list, err := q.ui.Providers.Providers(q.http.Context(), providers.Any)
	if err != nil {
		return err
	}
	kind := metal.ProviderKind(q.http.URL.Query().Get("kind"))
	if cause != nil {
		kind = metal.ProviderKind(q.get("kind"))
	}
	if _, known := metal.ProviderTypeOf(kind); !known {
		kind = metal.ProviderTypes[0].Kind
	}
	p := metal.Provider{Kind: kind}
	if err := p.Set(nil); err != nil {
		return err
	}
	d := providersData{list, metal.ProviderTypes, providers.Entry{Provider: p}, q.ui.Providers.RedirectURI()}
	if cause != nil {
		return q.again(cause, "providers", "Identity providers", d)
	}
	return q.show("providers", "Identity providers", d)
}

func (q *request) providers() error { return q.providersAgain(nil) }

// providerEdit reads the form. An empty secret leaves the one that is there alone.
func (q *request) providerEdit(t metal.ProviderType) providers.Edit {
	text := func(name string) *string {
		s := q.get(name)
		return &s
	}
	yes := func(name string) *bool {
		b := q.form.Has(name)
		return &b
	}
	e := providers.Edit{Name: text("name"), Fields: map[string]string{}, CreateUsers: yes("create_users"), Enabled: yes("enabled"), Groups: text("groups")}
	for _, f := range append([]metal.ProviderField{t.Address}, t.Fields...) {
		if f.Name != "" {
			e.Fields[f.Name] = q.get(f.Name)
		}
	}
	if s := q.get(t.Secret.Name); s != "" {
		v := secret.FromString(s)
		e.Secret = &v
	}
	return e
}

func (q *request) createProvider() error {
	kind := metal.ProviderKind(q.get("kind"))
	t, _ := metal.ProviderTypeOf(kind)
	p, err := q.ui.Providers.Create(q.http.Context(), kind, q.providerEdit(t))
	if err != nil {
		return q.providersAgain(err)
	}
	return q.redirect("/providers/"+authz.ID(p.ID), "added")
}

// providerData is the page of one identity provider.
type providerData struct {
	Provider               providers.Entry
	RedirectURI, LogoutURI string            // where a provider sends browsers; LogoutURI of an OpenID provider
	Report                 *providers.Report // of a test just made
}

// Mapping is the groups as the form has them.
func (d providerData) Mapping() string {
	var b strings.Builder
	for _, g := range d.Provider.Groups {
		b.WriteString(g.Value + " = " + g.Group + "\n")
	}
	return b.String()
}

func (q *request) providerAgain(cause error, report *providers.Report) error {
	p, err := q.ui.Providers.Provider(q.http.Context(), providers.Any, q.pathID("id"))
	if err != nil {
		return err
	}
	d := providerData{Provider: p, Report: report}
	switch {
	case p.Kind == metal.ProviderOIDC:
		d.RedirectURI, d.LogoutURI = q.ui.Providers.RedirectURI(), q.ui.Providers.LogoutURI(p.ID)
	case p.Kind.Macaroons():
		d.RedirectURI = q.ui.Providers.MacaroonRedirectURI()
	}
	if cause != nil {
		return q.again(cause, "provider", "Identity provider "+p.Name, d)
	}
	return q.show("provider", "Identity provider "+p.Name, d)
}

func (q *request) provider() error { return q.providerAgain(nil, nil) }

func (q *request) saveProvider() error {
	p, err := q.ui.Providers.Provider(q.http.Context(), providers.Any, q.pathID("id"))
	if err != nil {
		return err
	}
	if _, err := q.ui.Providers.Update(q.http.Context(), p.Kind, p.ID, q.providerEdit(p.Type())); err != nil {
		return q.providerAgain(err, nil)
	}
	return q.redirect("/providers/"+q.http.PathValue("id"), "saved")
}

// testProvider answers with what was found instead of a redirect: it is worth nothing a minute later.
func (q *request) testProvider() error {
	r, err := q.ui.Providers.Test(q.http.Context(), providers.Any, q.pathID("id"), q.get("username"))
	if err != nil {
		return q.providerAgain(err, nil)
	}
	return q.providerAgain(nil, &r)
}

func (q *request) deleteProvider() error {
	if err := q.ui.Providers.Delete(q.http.Context(), providers.Any, q.pathID("id")); err != nil {
		return q.providerAgain(err, nil)
	}
	return q.redirect("/providers", "deleted")
}
