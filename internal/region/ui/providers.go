package ui

import (
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/secret"
)

// providersData is the page of all identity providers, with the form to add one.
type providersData struct {
	Providers   []metal.Provider
	Provider    metal.Provider // what the form begins with
	Vendors     []string
	RedirectURI string
}

// Mapping is empty: a new provider has no groups.
func (providersData) Mapping() string { return "" }

func (q *request) providersAgain(cause error) error {
	list, err := q.ui.Providers.Providers(q.http.Context())
	if err != nil {
		return err
	}
	d := providersData{list, metal.Provider{Vendor: metal.ProviderVendors[0], Scopes: metal.DefaultScopes}, metal.ProviderVendors, q.ui.Providers.RedirectURI()}
	if cause != nil {
		return q.again(cause, "providers", "Identity providers", d)
	}
	return q.show("providers", "Identity providers", d)
}

func (q *request) providers() error { return q.providersAgain(nil) }

// providerEdit reads the form. An empty secret leaves the one that is there alone.
func (q *request) providerEdit() providers.Edit {
	text := func(name string) *string {
		s := q.get(name)
		return &s
	}
	yes := func(name string) *bool {
		b := q.form.Has(name)
		return &b
	}
	e := providers.Edit{Name: text("name"), Vendor: text("vendor"), Issuer: text("issuer_url"), ClientID: text("client_id"), Scopes: text("scopes"), GroupClaim: text("group_claim"),
		CreateUsers: yes("create_users"), Enabled: yes("enabled"), Groups: text("groups")}
	if s := q.get("client_secret"); s != "" {
		v := secret.FromString(s)
		e.Secret = &v
	}
	return e
}

func (q *request) createProvider() error {
	p, err := q.ui.Providers.Create(q.http.Context(), q.providerEdit())
	if err != nil {
		return q.providersAgain(err)
	}
	return q.redirect("/providers/"+authz.ID(p.ID), "added")
}

// providerData is the page of one identity provider.
type providerData struct {
	Provider               metal.Provider
	Vendors                []string
	RedirectURI, LogoutURI string
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
	p, err := q.ui.Providers.Provider(q.http.Context(), q.pathID("id"))
	if err != nil {
		return err
	}
	d := providerData{p, metal.ProviderVendors, q.ui.Providers.RedirectURI(), q.ui.Providers.LogoutURI(p.ID), report}
	if cause != nil {
		return q.again(cause, "provider", "Identity provider "+p.Name, d)
	}
	return q.show("provider", "Identity provider "+p.Name, d)
}

func (q *request) provider() error { return q.providerAgain(nil, nil) }

func (q *request) saveProvider() error {
	if _, err := q.ui.Providers.Update(q.http.Context(), q.pathID("id"), q.providerEdit()); err != nil {
		return q.providerAgain(err, nil)
	}
	return q.redirect("/providers/"+q.http.PathValue("id"), "saved")
}

// testProvider answers with what was found instead of a redirect: it is worth nothing a minute later.
func (q *request) testProvider() error {
	r, err := q.ui.Providers.Test(q.http.Context(), q.pathID("id"))
	if err != nil {
		return q.providerAgain(err, nil)
	}
	return q.providerAgain(nil, &r)
}

func (q *request) deleteProvider() error {
	if err := q.ui.Providers.Delete(q.http.Context(), q.pathID("id")); err != nil {
		return q.providerAgain(err, nil)
	}
	return q.redirect("/providers", "deleted")
}
