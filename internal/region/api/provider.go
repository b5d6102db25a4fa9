package api

import (
	"maps"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/secret"
)

// bindProviders binds the collections of identity providers, one for each kind: others of another kind are not there.
func (a *API) bindProviders() map[string]handler {
	all := map[string]handler{}
	for _, t := range metal.ProviderTypes {
		for id, h := range a.bindProviderKind(t) {
			all[string(t.Kind)+"_"+id] = h
		}
	}
	all["oidc_providers.get_active"] = func(r *request) (any, error) {
		list, err := a.Providers.Providers(r.ctx, metal.ProviderOIDC)
		for _, p := range list {
			if p.Enabled {
				return a.providerJSON(p), err
			}
		}
		return nil, orElse(err, authz.NotFound(authz.NounProvider))
	}
	return all
}

func (a *API) bindProviderKind(t metal.ProviderType) map[string]handler {
	on := func(fn func(r *request, id int64) (any, error)) handler {
		return func(r *request) (any, error) {
			id, err := r.id("id", authz.NounProvider)
			if err != nil {
				return nil, err
			}
			return fn(r, id)
		}
	}
	// done answers with a provider that was written: it has a secret if it was given one, or had one.
	done := func(r *request, p metal.Provider, err error) (any, error) {
		if err != nil {
			return nil, err
		}
		e, err := a.Providers.Written(r.ctx, p)
		return a.providerJSON(e), err
	}
	return map[string]handler{
		"providers.list": func(r *request) (any, error) {
			list, err := a.Providers.Providers(r.ctx, t.Kind)
			return each(list, a.providerJSON), err
		},
		"providers.create": func(r *request) (any, error) {
			e, err := a.providerEdit(r, t)
			if err != nil {
				return nil, err
			}
			p, err := a.Providers.Create(r.ctx, t.Kind, e)
			return done(r, p, err)
		},
		"provider.read": on(func(r *request, id int64) (any, error) {
			p, err := a.Providers.Provider(r.ctx, t.Kind, id)
			return a.providerJSON(p), err
		}),
		"provider.update": on(func(r *request, id int64) (any, error) {
			e, err := a.providerEdit(r, t)
			if err != nil {
				return nil, err
			}
			p, err := a.Providers.Update(r.ctx, t.Kind, id, e)
			return done(r, p, err)
		}),
		"provider.delete": on(func(r *request, id int64) (any, error) { return nil, a.Providers.Delete(r.ctx, t.Kind, id) }),
		"provider.test": on(func(r *request, id int64) (any, error) {
			report, err := a.Providers.Test(r.ctx, t.Kind, id, r.form.Get("username"))
			out := map[string]any{"ok": report.OK, "message": report.Message}
			if t.Kind == metal.ProviderOIDC {
				maps.Copy(out, map[string]any{"keys": report.Keys, "end_session": report.EndSession, "backchannel_logout": report.BackChannel})
			}
			return out, err
		}),
	}
}

// providerEdit reads the fields of a provider. Kinds: Invalid.
func (a *API) providerEdit(r *request, t metal.ProviderType) (e providers.Edit, err error) {
	e = providers.Edit{Name: r.get("name"), Fields: map[string]string{}}
	for _, f := range append([]metal.ProviderField{t.Address}, t.Fields...) {
		if s := r.get(f.Name); s != nil && f.Name != "" {
			e.Fields[f.Name] = *s
		}
	}
	if s := r.get(t.Secret.Name); s != nil && t.Secret.Name != "" {
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

func (a *API) providerJSON(p providers.Entry) map[string]any {
	t := p.Type()
	out := map[string]any{"id": p.ID, "name": p.Name, "enabled": p.Enabled, "create_users": p.CreateUsers, "resource_uri": uri("/"+string(p.Kind)+"-providers/%d/", p.ID),
		"groups": each(p.Groups, func(g metal.ProviderGroup) providerGroupJSON { return providerGroupJSON{g.Value, g.Group} })}
	for _, f := range t.Fields {
		out[f.Name] = p.Options[f.Name]
	}
	if t.Address.Name != "" {
		out[t.Address.Name] = p.Issuer
	}
	if t.Secret.Name != "" {
		out[t.Secret.Name] = setJSON{p.HasSecret} // MAAS returns it
	}
	if p.Kind == metal.ProviderOIDC {
		out["token_type"], out["redirect_uri"], out["backchannel_logout_uri"] = "JWT", a.Providers.RedirectURI(), a.Providers.LogoutURI(p.ID)
	}
	if r := p.RBAC; r != nil {
		out["sync"] = rbacSyncJSON{orNull(stamp(r.Synced)), r.Pools, r.Waiting, r.Error, orNull(stamp(r.RetryAt))}
	}
	return out
}

// rbacSyncJSON is how an RBAC service is told of pools.
type rbacSyncJSON struct {
	Last    any    `json:"last"` // null: never
	Pools   int64  `json:"pools"`
	Waiting int    `json:"waiting"`
	Error   string `json:"error"`
	RetryAt any    `json:"retry_at"`
}
