// Package vaulttest is a Vault in memory, for tests, and the suite that holds it and a real one to the same behaviour.
package vaulttest

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Policy is what a role may do: path patterns, which may end in *, to capabilities.
type Policy map[string][]string

// SitePolicy is what a site needs, as MAAS documents it for config-vault.
func SitePolicy(mount, prefix string) Policy {
	return Policy{
		mount + "/metadata/" + prefix + "/":  {"list"},
		mount + "/metadata/" + prefix + "/*": {"read", "update", "delete", "list"},
		mount + "/data/" + prefix + "/*":     {"read", "create", "update", "delete"},
	}
}

// HCL is the policy as Vault takes it.
func (p Policy) HCL() string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(p)) {
		caps, _ := json.Marshal(p[path]) // never fails
		fmt.Fprintf(&b, "path %q { capabilities = %s }\n", path, caps)
	}
	return b.String()
}

// allows decides on a path. The path itself counts before patterns, and of those the longest that matches, as in Vault.
func (p Policy) allows(path, capability string) bool {
	if caps, ok := p[path]; ok {
		return slices.Contains(caps, capability)
	}
	best, caps := -1, []string(nil)
	for pattern, c := range p {
		start, glob := strings.CutSuffix(pattern, "*")
		if glob && strings.HasPrefix(path, start) && len(pattern) > best {
			best, caps = len(pattern), c
		}
	}
	return slices.Contains(caps, capability)
}

// With adds rights to a policy.
func (p Policy) With(more Policy) Policy {
	out := maps.Clone(p)
	maps.Copy(out, more)
	return out
}

// RotatePolicy is what a role needs to make and destroy secret ids of its own.
func RotatePolicy(role string) Policy {
	return Policy{"auth/approle/role/" + role + "/secret-id": {"update"}, "auth/approle/role/" + role + "/secret-id-accessor/destroy": {"update"}}
}

// TransitPolicy is what a role needs for a key of the transit engine at "transit".
func TransitPolicy(key string) Policy {
	return Policy{"transit/encrypt/" + key: {"update"}, "transit/decrypt/" + key: {"update"}}
}

// Fake is a Vault in memory: a KV engine of version 2 at "secret", a transit engine at "transit", AppRole, response wrapping and a seal.
type Fake struct {
	// Now is its clock; set it before the first request. nil means the real one.
	Now func() time.Time

	mu      sync.Mutex // guards what follows
	sealed  bool
	roles   map[string]*role // by name
	tokens  map[string]*token
	wrapped map[string]*wrapping
	secrets map[string]*entry        // by path below the mount
	transit map[string][]cipher.AEAD // by name, the versions of a key
}

type role struct {
	id        string
	policy    Policy
	ttl, max  time.Duration
	secretIDs map[string]string // to accessors
}

type token struct {
	role       *role
	made, ends time.Time
}

type wrapping struct {
	path string
	data map[string]any
}

type entry struct{ versions []version }

type version struct {
	data map[string]any
	made time.Time
}

// NewFake makes one that is unsealed.
func NewFake() *Fake {
	return &Fake{Now: time.Now, roles: map[string]*role{}, tokens: map[string]*token{}, wrapped: map[string]*wrapping{}, secrets: map[string]*entry{}, transit: map[string][]cipher.AEAD{}}
}

// SetRole makes a role, or changes it.
func (f *Fake) SetRole(_ testing.TB, name string, p Policy, ttl, most time.Duration) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.roles[name]
	if r == nil {
		r = &role{id: rand.Text(), secretIDs: map[string]string{}}
		f.roles[name] = r
	}
	r.policy, r.ttl, r.max = p, ttl, most
	return r.id
}

// Wrap makes a secret id of a role, wrapped.
func (f *Fake) Wrap(_ testing.TB, name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, accessor, w := rand.Text(), rand.Text(), "hvs."+rand.Text()
	f.roles[name].secretIDs[id] = accessor
	f.wrapped[w] = &wrapping{"auth/approle/role/" + name + "/secret-id", map[string]any{"secret_id": id, "secret_id_accessor": accessor, "secret_id_ttl": 0, "secret_id_num_uses": 0}}
	return w
}

// WrapOther wraps something else.
func (f *Fake) WrapOther(testing.TB) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := "hvs." + rand.Text()
	f.wrapped[w] = &wrapping{"sys/wrapping/wrap", map[string]any{"secret_id": "x"}}
	return w
}

// RevokeSecretID destroys a secret id; tokens that it gave go on.
func (f *Fake) RevokeSecretID(_ testing.TB, name, accessor string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.roles[name].secretIDs, func(_, a string) bool { return a == accessor })
}

// RevokeTokens ends all roles' tokens.
func (f *Fake) RevokeTokens(testing.TB) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.tokens)
}

// Seal seals it.
func (f *Fake) Seal(testing.TB) { f.seal(true) }

// Unseal unseals it.
func (f *Fake) Unseal(testing.TB) { f.seal(false) }

func (f *Fake) seal(is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sealed = is
}

// ServeHTTP answers as Vault does.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var in struct {
		Token    string
		Accessor string `json:"secret_id_accessor"`
		transitIn
		RoleID   string `json:"role_id"`
		SecretID string `json:"secret_id"`
		Data     map[string]any
		Options  struct{ CAS *int }
	}
	if r.Body != nil && r.Method == http.MethodPost && r.ContentLength != 0 && json.NewDecoder(r.Body).Decode(&in) != nil {
		answer(w, http.StatusBadRequest, nil, "failed to parse JSON input")
		return
	}
	path, now := strings.TrimPrefix(r.URL.Path, "/v1/"), f.Now()
	if path == "sys/health" {
		answer(w, http.StatusOK, map[string]any{"initialized": true, "sealed": f.sealed, "standby": false, "version": "1.14.1"})
		return
	}
	if f.sealed {
		answer(w, http.StatusServiceUnavailable, nil, "Vault is sealed")
		return
	}
	given := r.Header.Get("X-Vault-Token")
	switch path {
	case "sys/wrapping/lookup", "sys/wrapping/unwrap":
		key := in.Token
		if key == "" {
			key = given
		}
		wr := f.wrapped[key]
		switch {
		case wr == nil:
			answer(w, http.StatusBadRequest, nil, "wrapping token is not valid or does not exist")
		case path == "sys/wrapping/lookup":
			answer(w, http.StatusOK, map[string]any{"data": map[string]any{"creation_path": wr.path, "creation_ttl": 300}})
		default:
			delete(f.wrapped, key)
			answer(w, http.StatusOK, map[string]any{"data": wr.data})
		}
		return
	case "auth/approle/login":
		for _, ro := range f.roles {
			if _, ok := ro.secretIDs[in.SecretID]; ok && ro.id == in.RoleID {
				t := "hvs." + rand.Text()
				f.tokens[t] = &token{ro, now, now.Add(ro.ttl)}
				answer(w, http.StatusOK, auth(t, ro.ttl))
				return
			}
		}
		answer(w, http.StatusBadRequest, nil, "invalid role or secret ID")
		return
	}
	t := f.tokens[given]
	if t == nil || !now.Before(t.ends) {
		answer(w, http.StatusForbidden, nil, "permission denied")
		return
	}
	switch path {
	case "auth/token/lookup-self":
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"ttl": int(t.ends.Sub(now).Seconds())}})
	case "auth/token/renew-self":
		t.ends = now.Add(min(t.role.ttl, t.made.Add(t.role.max).Sub(now)))
		answer(w, http.StatusOK, auth(given, t.ends.Sub(now)))
	case "auth/token/revoke-self":
		delete(f.tokens, given)
		w.WriteHeader(http.StatusNoContent)
	default:
		if name, what, ok := f.ofRole(path); ok && r.Method == http.MethodPost {
			f.secretID(w, t.role.policy.allows(path, "update"), f.roles[name], what, in.Accessor)
			return
		}
		if rest, ok := strings.CutPrefix(path, "transit/"); ok {
			f.crypt(w, t.role.policy.allows(path, "update"), rest, in.transitIn)
			return
		}
		f.kv(w, r, path, t.role.policy, in.Data, in.Options.CAS)
	}
}

// ofRole takes a path of a role apart.
func (f *Fake) ofRole(path string) (name, what string, ok bool) {
	rest, ok := strings.CutPrefix(path, "auth/approle/role/")
	if !ok {
		return "", "", false
	}
	name, what, ok = strings.Cut(rest, "/")
	return name, what, ok && f.roles[name] != nil
}

// secretID makes or destroys a role's secret id. The caller holds the mutex.
func (f *Fake) secretID(w http.ResponseWriter, allowed bool, r *role, what, accessor string) {
	switch {
	case !allowed:
		answer(w, http.StatusForbidden, nil, "1 error occurred:\n\t* permission denied\n\n")
	case what == "secret-id":
		id, accessor := rand.Text(), rand.Text()
		r.secretIDs[id] = accessor
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"secret_id": id, "secret_id_accessor": accessor, "secret_id_ttl": 0}})
	case what == "secret-id-accessor/destroy":
		n := len(r.secretIDs)
		if maps.DeleteFunc(r.secretIDs, func(_, a string) bool { return a == accessor }); len(r.secretIDs) == n {
			answer(w, http.StatusInternalServerError, nil, "1 error occurred:\n\t* failed to find accessor entry for secret_id_accessor: \""+accessor+"\"\n\n")
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, http.StatusNotFound, nil, "unsupported path")
	}
}

// Accessors lists the secret ids that a role has, by their accessors.
func (f *Fake) Accessors(role string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Values(f.roles[role].secretIDs))
}

// Entries lists the paths of what the KV engine has.
func (f *Fake) Entries() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.secrets))
}

// Alter changes a field of what the KV engine has under a path, as somebody with the right to write there would.
func (f *Fake) Alter(path, field string, change func(string) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.secrets[path].versions
	v[len(v)-1].data[field] = change(v[len(v)-1].data[field].(string))
}

// kv serves the engine. The caller holds the mutex.
func (f *Fake) kv(w http.ResponseWriter, r *http.Request, path string, p Policy, data map[string]any, cas *int) {
	list := r.URL.Query().Get("list") == "true"
	if list {
		path = strings.TrimSuffix(path, "/") + "/"
	}
	name, isData := strings.CutPrefix(path, "secret/data/")
	metaName, isMeta := strings.CutPrefix(path, "secret/metadata/")
	e := f.secrets[name]
	capability := map[string]string{http.MethodGet: "read", http.MethodPost: "update", http.MethodDelete: "delete"}[r.Method]
	if list {
		capability = "list"
	} else if isData && r.Method == http.MethodPost && e == nil {
		capability = "create"
	}
	switch {
	case !p.allows(path, capability) && !(list && p.allows(strings.TrimSuffix(path, "/"), capability)):
		answer(w, http.StatusForbidden, nil, "1 error occurred:\n\t* permission denied\n\n")
	case isMeta && list:
		f.list(w, metaName)
	case isMeta && r.Method == http.MethodGet && f.secrets[metaName] == nil:
		answer(w, http.StatusNotFound, nil)
	case isMeta && r.Method == http.MethodGet:
		vs := f.secrets[metaName].versions
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"current_version": len(vs), "created_time": vs[0].made, "updated_time": vs[len(vs)-1].made}})
	case isMeta && r.Method == http.MethodDelete:
		delete(f.secrets, metaName)
		w.WriteHeader(http.StatusNoContent)
	case isData && r.Method == http.MethodGet:
		n := 0
		if q := r.URL.Query().Get("version"); q != "" {
			_, _ = fmt.Sscan(q, &n) // a test's own request
		}
		if e != nil && n == 0 {
			n = len(e.versions)
		}
		if e == nil || n > len(e.versions) {
			answer(w, http.StatusNotFound, nil)
			return
		}
		v := e.versions[n-1]
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"data": v.data, "metadata": map[string]any{"version": n, "created_time": v.made}}})
	case isData && r.Method == http.MethodPost:
		if e == nil {
			e = &entry{}
		}
		if cas != nil && *cas != len(e.versions) {
			answer(w, http.StatusBadRequest, nil, "check-and-set parameter did not match the current version")
			return
		}
		e.versions = append(e.versions, version{data, f.Now()})
		f.secrets[name] = e
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"version": len(e.versions), "created_time": f.Now()}})
	default:
		answer(w, http.StatusNotFound, nil, "no handler for route \""+path+"\". route entry not found.")
	}
}

func (f *Fake) list(w http.ResponseWriter, folder string) {
	keys := map[string]bool{}
	for name := range f.secrets {
		if rest, ok := strings.CutPrefix(name, folder); ok {
			if first, _, deeper := strings.Cut(rest, "/"); deeper {
				keys[first+"/"] = true
			} else {
				keys[rest] = true
			}
		}
	}
	if len(keys) == 0 {
		answer(w, http.StatusNotFound, nil)
		return
	}
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{"keys": slices.Sorted(maps.Keys(keys))}})
}

func auth(token string, ttl time.Duration) map[string]any {
	return map[string]any{"auth": map[string]any{"client_token": token, "lease_duration": int(ttl.Seconds()), "renewable": true}}
}

// answer writes what Vault would; a body of nil is an error with its reasons, of which there may be none.
func answer(w http.ResponseWriter, status int, body any, reasons ...string) {
	if body == nil {
		body = map[string]any{"errors": append([]string{}, reasons...)}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever hung up needs no answer
}
