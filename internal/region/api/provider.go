package api

import (
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/secret"
)

// bindProviders binds identity providers.
func (a *API) bindProviders() map[string]handler {
	on := func(fn func(r *request, id int64) (any, error)) handler {
		return func(r *request) (any, error) {
			id, err := r.id("id", authz.NounProvider)
			if err != nil {
				return nil, err
			}
			return fn(r, id)
		}
	}
	return map[string]handler{
		"oidc_providers.list": func(r *request) (any, error) {
			list, err := a.Providers.Providers(r.ctx)
			return each(list, a.providerJSON), err
		},
		"oidc_providers.get_active": func(r *request) (any, error) {
			list, err := a.Providers.Providers(r.ctx)
			for _, p := range list {
				if p.Enabled {
					return a.providerJSON(p), err
				}
			}
			if err == nil {
				err = authz.NotFound(authz.NounProvider)
			}
			return nil, err
		},
		"oidc_providers.create": func(r *request) (any, error) {
			e, err := a.providerEdit(r)
			if err != nil {
				return nil, err
			}
			p, err := a.Providers.Create(r.ctx, e)
			return a.providerJSON(p), err
		},
		"oidc_provider.read": on(func(r *request, id int64) (any, error) {
			p, err := a.Providers.Provider(r.ctx, id)
			return a.providerJSON(p), err
		}),
		"oidc_provider.update": on(func(r *request, id int64) (any, error) {
			e, err := a.providerEdit(r)
			if err != nil {
				return nil, err
			}
			p, err := a.Providers.Update(r.ctx, id, e)
			return a.providerJSON(p), err
		}),
		"oidc_provider.delete": on(func(r *request, id int64) (any, error) { return nil, a.Providers.Delete(r.ctx, id) }),
		"oidc_provider.test": on(func(r *request, id int64) (any, error) {
			t, err := a.Providers.Test(r.ctx, id)
			return map[string]any{"ok": t.OK, "message": t.Message, "keys": t.Keys, "end_session": t.EndSession, "backchannel_logout": t.BackChannel}, err
		}),
	}
}

// providerEdit reads the fields of a provider. Kinds: Invalid.
func (a *API) providerEdit(r *request) (e providers.Edit, err error) {
	e = providers.Edit{Name: r.get("name"), Vendor: r.get("vendor"), Issuer: r.get("issuer_url"), ClientID: r.get("client_id"), Scopes: r.get("scopes"),
		GroupClaim: r.get("group_claim")}
	if s := r.get("client_secret"); s != nil {
		v := secret.FromString(*s)
		e.Secret = &v
	}
	if r.get("groups") != nil {
		joined := strings.Join(r.form["groups"], "\n")
		e.Groups = &joined
	}
	bad := fault.Fields{}
	for name, to := range map[string]**bool{"enabled": &e.Enabled, "create_users": &e.CreateUsers} {
		if text := r.get(name); text != nil {
			b, err := metal.ParseBool(*text)
			bad.AddErr(name, err)
			*to = &b
		}
	}
	if uri := r.get("redirect_uri"); uri != nil && *uri != "" && *uri != a.Providers.RedirectURI() {
		bad.Add("redirect_uri", "Register %s at the provider, and leave this field out.", a.Providers.RedirectURI())
	}
	return e, bad.Err()
}

type setJSON struct {
	Set bool `json:"set"`
}

type providerGroupJSON struct {
	Value string `json:"value"`
	Group string `json:"group"`
}

type providerObject struct {
	ID           int64               `json:"id"`
	Name         string              `json:"name"`
	IssuerURL    string              `json:"issuer_url"`
	ClientID     string              `json:"client_id"`
	ClientSecret setJSON             `json:"client_secret"` // MAAS returns it
	Enabled      bool                `json:"enabled"`
	TokenType    string              `json:"token_type"`
	Vendor       string              `json:"vendor"`
	RedirectURI  string              `json:"redirect_uri"`
	Scopes       string              `json:"scopes"`
	GroupClaim   string              `json:"group_claim"`
	Groups       []providerGroupJSON `json:"groups"`
	CreateUsers  bool                `json:"create_users"`
	LogoutURI    string              `json:"backchannel_logout_uri"`
	URI          string              `json:"resource_uri"`
}

func (a *API) providerJSON(p metal.Provider) providerObject {
	return providerObject{p.ID, p.Name, p.Issuer, p.ClientID, setJSON{true}, p.Enabled, "JWT", p.Vendor, a.Providers.RedirectURI(), p.Scopes, p.GroupClaim,
		each(p.Groups, func(g metal.ProviderGroup) providerGroupJSON { return providerGroupJSON{g.Value, g.Group} }), p.CreateUsers, a.Providers.LogoutURI(p.ID),
		uri("/oidc-providers/%d/", p.ID)}
}
