package api

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// bindAccount gives the rows about one's own account their handlers.
func (a *API) bindAccount() map[string]handler {
	return map[string]handler{
		"account.create_token": a.createToken,
		"account.delete_token": func(r *request) (any, error) { return nil, a.Identity.DeleteKey(r.ctx, r.form.Get("token_key")) },
		"account.list_tokens":  a.listTokens,
		"account.update_token": a.updateToken,
		"account.change_password": func(r *request) (any, error) {
			_, err := a.Identity.ChangePassword(r.ctx, secret.FromString(r.form.Get("old_password")), secret.FromString(r.form.Get("new_password")), secret.Value{})
			return nil, err
		},
		"account.list_sessions": a.listSessions,
		"account.end_session":   func(r *request) (any, error) { return nil, a.Identity.EndSession(r.ctx, r.form.Get("id")) },
		"account.end_sessions":  func(r *request) (any, error) { return nil, a.Identity.EndOtherSessions(r.ctx, secret.Value{}) },
	}
}

// createToken makes an API key. Its first four fields are MAAS's.
func (a *API) createToken(r *request) (any, error) {
	n := identity.NewKey{Name: r.form.Get("name")}
	var err error
	if n.Days, err = r.number("days"); err != nil {
		return nil, err
	}
	if n.ReadOnly, err = metal.ParseBool(r.form.Get("read_only")); err != nil {
		return nil, fault.Field("read_only", "%s", fault.Message(err))
	}
	if n.Networks, err = identity.ParseNetworks(r.form.Get("networks")); err != nil {
		return nil, err
	}
	if n.Pools, err = a.poolIDs(r); err != nil {
		return nil, err
	}
	k, err := a.Identity.CreateKey(r.ctx, n)
	if err != nil {
		return nil, err
	}
	r.w.Header().Set("Cache-Control", "no-store")
	return map[string]string{"consumer_key": k.ConsumerKey, "token_key": k.TokenKey, "token_secret": k.Secret.RevealString(), "name": k.Name}, nil
}

// poolIDs reads the names of resource pools, which may have blanks. Kinds: Invalid on "pools", also for a pool that
// the caller may not see.
func (a *API) poolIDs(r *request) (ids []int64, err error) {
	text := r.form.Get("pools")
	if text == "" {
		return nil, nil
	}
	return ids, a.Gate.View(r.ctx, authz.PoolView, func(v *gate.Viewing) error {
		for name := range strings.SplitSeq(text, ",") {
			p, err := v.PoolByName(strings.TrimSpace(name))
			if err == nil {
				err = v.Require(store.PoolTarget(p.ID))
			}
			if err != nil {
				return fault.Field("pools", "There is no resource pool %.64q.", strings.TrimSpace(name))
			}
			ids = append(ids, p.ID)
		}
		return nil
	})
}

type tokenJSON struct {
	Name        string         `json:"name"`
	Token       string         `json:"token"` // as MAAS's, with the secret left out
	Created     string         `json:"created"`
	LastUsed    *string        `json:"last_used"`
	LastAddress string         `json:"last_address"`
	Expires     *string        `json:"expires"`
	ReadOnly    bool           `json:"read_only"`
	Pools       []int64        `json:"pools"`
	Networks    []netip.Prefix `json:"networks"`
}

// timeOrNull is a time that may never have been.
func timeOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := stamp(t)
	return &s
}

func (a *API) listTokens(r *request) (any, error) {
	keys, err := a.Identity.Keys(r.ctx)
	return each(keys, func(k metal.APIKey) tokenJSON {
		return tokenJSON{k.Name, k.ConsumerKey + ":" + k.TokenKey + ":", stamp(k.Created), timeOrNull(k.LastUsed), k.LastAddress, timeOrNull(k.Expires), k.ReadOnly,
			append([]int64{}, k.Pools...), append([]netip.Prefix{}, k.Networks...)}
	}), err
}

func (a *API) updateToken(r *request) (any, error) {
	token := r.form.Get("token")
	if parts := strings.Split(token, ":"); len(parts) > 1 {
		token = parts[1]
	}
	if err := a.Identity.RenameKey(r.ctx, token, r.form.Get("name")); err != nil {
		return nil, err
	}
	return text{http.StatusAccepted, "Accepted"}, nil
}

type sessionJSON struct {
	ID       string `json:"id"`
	Agent    string `json:"user_agent"`
	Address  string `json:"address"`
	Created  string `json:"created"`
	LastSeen string `json:"last_seen"`
	Expires  string `json:"expires"`
}

func (a *API) listSessions(r *request) (any, error) {
	list, err := a.Identity.Sessions(r.ctx)
	return each(list, func(s metal.Session) sessionJSON {
		return sessionJSON{s.ID(), s.Agent, s.Address, stamp(s.Created), stamp(s.LastSeen), stamp(s.Expires)}
	}), err
}
