package api

import (
	"strconv"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/secrets"
)

// bindSecrets binds how the secrets are kept.
func (a *API) bindSecrets() map[string]handler {
	return map[string]handler{
		"secrets.read": func(r *request) (any, error) {
			limit := secrets.MaxList
			if text := r.form.Get("limit"); text != "" {
				var err error
				if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > secrets.MaxList {
					return nil, fault.Field("limit", "Enter a number from 1 to %d.", secrets.MaxList)
				}
			}
			l, err := a.Secrets.List(r.ctx, r.form.Get("after"), limit)
			return secretsJSON(l), err
		},
		"vault.read": func(r *request) (any, error) {
			st, err := a.Secrets.VaultStatus(r.ctx)
			return vaultJSON(st), err
		},
	}
}

type keptJSON struct {
	Name    string `json:"name"`
	Where   string `json:"where"`
	Key     uint32 `json:"key"`
	Made    string `json:"made"`
	Set     string `json:"set"`
	Current bool   `json:"current"`
}

func secretsJSON(l secrets.Listing) any {
	made := ""
	if !l.Keys.Made.IsZero() {
		made = l.Keys.Made.UTC().Format(time.RFC3339)
	}
	return struct {
		Root    string     `json:"root"`
		Key     uint32     `json:"key"`
		KeyMade string     `json:"key_made"`
		OldKeys int        `json:"old_keys"`
		Secrets []keptJSON `json:"secrets"`
		More    bool       `json:"more"`
	}{l.Keys.Root, l.Keys.Newest, made, l.Keys.Old, each(l.Secrets, func(k secrets.Kept) keptJSON {
		return keptJSON{k.Name, k.Where, k.Key, k.Made.UTC().Format(time.RFC3339), k.Set.UTC().Format(time.RFC3339), k.Current}
	}), l.More}
}

type vaultRegionJSON struct {
	Region     string `json:"system_id"`
	Hostname   string `json:"hostname"`
	Configured bool   `json:"configured"`
	Place      string `json:"place"`
	Health     string `json:"health"`
	Message    string `json:"message"`
	Since      string `json:"since"`
	Seen       string `json:"seen"`
}

func vaultJSON(st secrets.VaultStatus) any {
	status := "disabled"
	if st.Backend == secrets.InVault {
		status = "enabled"
	}
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	return struct {
		Status       string            `json:"status"`
		Since        string            `json:"since"`
		InVault      int               `json:"secrets_in_vault"`
		InDatabase   int               `json:"secrets_in_database"`
		Unconfigured []string          `json:"unconfigured_regions"`
		Regions      []vaultRegionJSON `json:"regions"`
	}{status, at(st.Since), st.InVault, st.InDatabase, append([]string{}, st.Unconfigured...), each(st.Regions, func(r secrets.VaultRegion) vaultRegionJSON {
		return vaultRegionJSON{r.Region, r.Hostname, r.Configured, r.Place, r.State, r.Message, at(r.Since), at(r.Seen)}
	})}
}
