// Package rbactest is an RBAC service in memory, for tests: with resources, people, their rights, services that sites
// register for, and a discharger of macaroons at /auth where agents log in with their keys. It follows the protocol's
// description to the letter and shares no type with the client: what the client gets wrong, it refuses.
//
// Start with New; AddPerson and Allow say who may do what, Break how the next answers go wrong.
//
// Source: MAAS, rbac.py and macaroon_client.py, for the protocol; httpbakery and its agent package for the macaroons.
package rbactest

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is the service. Safe for concurrent use.
type Server struct {
	URL  string // https
	CA   []byte // PEM: signs its certificate
	srv  *httptest.Server
	auth *auth

	mu        sync.Mutex
	pools     map[string]string // names by id, guarded by mu
	syncID    string            // guarded by mu
	syncs     int               // guarded by mu
	people    map[string]person // guarded by mu
	services  []*service        // guarded by mu
	broken    []Fault           // of the next requests below /api, guarded by mu
	down      Fault             // of all of them, guarded by mu
	log       []string          // method and path of each, guarded by mu
	noCreates bool              // guarded by mu
}

type person struct {
	name, email string
	rights      map[string][]string // ids by "type/permission"; "" for all
}

type service struct {
	id            int
	name          string
	key, username string // of the agent; empty while no site is registered
}

// Fault is a way to answer wrongly.
type Fault int

// The faults.
const (
	None      Fault = iota
	Error500        // status 500 with a message
	Truncated       // an answer that ends early
	Garbage         // HTML with status 200
	WrongType       // JSON of another shape
	Huge            // an answer of several megabytes
	Hang            // no answer while the request lives
	Away            // a redirect to another host
	Forgotten       // the request is carried out, the answer lost
)

// New starts a service without people, resources or sites.
func New(t testing.TB) *Server {
	s := &Server{pools: map[string]string{}, syncID: "sync-0", people: map[string]person{}}
	mux := http.NewServeMux()
	s.srv = httptest.NewTLSServer(mux)
	t.Cleanup(s.srv.Close)
	s.URL = s.srv.URL
	s.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.srv.Certificate().Raw})
	s.auth = newAuth(s.URL)
	s.auth.routes(mux)
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request, string){
		"GET /api/rbac/v1/product":                              s.products,
		"GET /api/rbac/v1/service/registerable":                 s.registerable,
		"POST /api/rbac/v1/service":                             s.createService,
		"POST /api/rbac/v1/service/{id}/credentials":            s.credentials,
		"GET /api/service/v1/resources/{type}":                  s.list,
		"POST /api/service/v1/resources/{type}":                 s.push,
		"GET /api/service/v1/resources/{type}/allowed-for-user": s.allowed,
		"GET /api/service/v1/user/{username}":                   s.user,
	} {
		mux.HandleFunc(pattern, s.guarded(strings.Contains(pattern, "/api/service/"), h))
	}
	return s
}

// Client trusts the service's certificate.
func (s *Server) Client() *http.Client { return s.srv.Client() }

// AddPerson adds somebody without rights, who proves who he is with a key, base64.
func (s *Server) AddPerson(username, publicKey string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.people[username] = person{name: strings.ToUpper(username), email: username + "@example.com", rights: map[string][]string{}}
	s.auth.add(username, publicKey)
}

// RemovePerson removes somebody.
func (s *Server) RemovePerson(username string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.people, username)
}

// Allow sets on which resources somebody has a permission of a type: ids, one empty string for all, none to take it away.
func (s *Server) Allow(username, kind, permission string, ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.people[username].rights[kind+"/"+permission] = ids
}

// Register adds a service with a site's agent and returns the name of the agent's account.
func (s *Server) Register(name, publicKey string) (username string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sv := s.add(name)
	return s.setKey(sv, publicKey)
}

// RotateKeys makes the service forget all agents' keys and what they logged in with.
func (s *Server) RotateKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sv := range s.services {
		sv.key = ""
	}
	s.auth.forget()
}

// RefuseServices has nobody create services from now on.
func (s *Server) RefuseServices() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noCreates = true
}

// Break sets how the next requests go wrong, one each.
func (s *Server) Break(list ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = append(s.broken, list...)
}

// Down has all requests go wrong, until it is None again.
func (s *Server) Down(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = f
}

// Pools are the resources of the type resource-pool that the service knows: names by id.
func (s *Server) Pools() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.pools)
}

// Forget has the service be in another state than any that was pushed: as one restored from a backup.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pools = map[string]string{"4711": "of another time"}
	s.nextSync()
}

// Know has the service know a pool that nobody pushed.
func (s *Server) Know(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pools[id] = name
}

// Count is how many requests of a method to paths with a prefix came with a right macaroon.
func (s *Server) Count(method, prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.log {
		if strings.HasPrefix(l, method+" "+prefix) {
			n++
		}
	}
	return n
}

func (s *Server) nextSync() {
	s.syncs++
	s.syncID = fmt.Sprintf("sync-%d", s.syncs)
}

// guarded authenticates a caller, an agent of a site or a person, and answers wrongly if that is due.
func (s *Server) guarded(agent bool, h func(http.ResponseWriter, *http.Request, string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, ok := s.auth.caller(w, r)
		if !ok {
			return
		}
		s.mu.Lock()
		_, isPerson := s.people[who]
		fault := s.down
		if fault == None && len(s.broken) > 0 {
			fault, s.broken = s.broken[0], s.broken[1:]
		}
		s.log = append(s.log, r.Method+" "+r.URL.RequestURI())
		s.mu.Unlock()
		if isPerson == agent {
			refuse(w, http.StatusForbidden, "not for you")
			return
		}
		s.answer(w, r, fault, func(w http.ResponseWriter) { h(w, r, who) })
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, f Fault, h func(http.ResponseWriter)) {
	switch f {
	case Error500:
		refuse(w, http.StatusInternalServerError, "database \x1b[31mis on fire")
	case Garbage:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html>Please log in</html>")
	case WrongType:
		reply(w, []any{map[string]any{"identifier": 7}, "x"})
	case Huge:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"view":["`, strings.Repeat("1", 3<<20), `"]}`)
	case Hang:
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
	case Away:
		http.Redirect(w, r, "https://elsewhere.example/", http.StatusTemporaryRedirect)
	case Truncated, Forgotten:
		rec := httptest.NewRecorder()
		h(rec)
		if f == Forgotten {
			panic(http.ErrAbortHandler) // the connection ends without an answer
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
	default:
		h(w)
	}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": fmt.Sprintf(format, args...)})
}

// read decodes a request's body, which has to be just what the protocol says.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		refuse(w, http.StatusBadRequest, "content type %q", kind)
		return false
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		refuse(w, http.StatusBadRequest, "no body")
		return false
	}
	d := json.NewDecoder(&body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil || d.More() {
		refuse(w, http.StatusBadRequest, "body: %v", err)
		return false
	}
	return true
}

type link struct {
	Ref string `json:"$ref"`
}

const productURI = "/api/rbac/v1/product/2"

func (s *Server) products(w http.ResponseWriter, _ *http.Request, _ string) {
	reply(w, []map[string]string{{"label": "other", "$uri": "/api/rbac/v1/product/1"}, {"label": "maas", "$uri": productURI}})
}

func (s *Server) registerable(w http.ResponseWriter, _ *http.Request, _ string) {
	type item struct {
		Name    string `json:"name"`
		URI     string `json:"$uri"`
		Pending bool   `json:"pending"`
		Product link   `json:"product"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []item{{"of another product", "/api/rbac/v1/service/999", true, link{"/api/rbac/v1/product/1"}}}
	for _, sv := range s.services {
		list = append(list, item{sv.name, fmt.Sprint("/api/rbac/v1/service/", sv.id), sv.key == "", link{productURI}})
	}
	reply(w, list)
}

func (s *Server) add(name string) *service {
	sv := &service{id: len(s.services) + 1, name: name}
	s.services = append(s.services, sv)
	return sv
}

func (s *Server) setKey(sv *service, key string) string {
	sv.key, sv.username = key, fmt.Sprintf("%s-agent-%d", strings.ToLower(sv.name), sv.id)
	s.auth.add(sv.username, key)
	return sv.username
}

func (s *Server) createService(w http.ResponseWriter, r *http.Request, _ string) {
	var in struct {
		Name    string `json:"name"`
		Product link   `json:"product"`
	}
	if !read(w, r, &in) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.Name == "" || in.Product.Ref != productURI {
		refuse(w, http.StatusBadRequest, "name and product are wanted")
		return
	}
	if s.noCreates || slices.ContainsFunc(s.services, func(o *service) bool { return o.name == in.Name }) {
		refuse(w, http.StatusConflict, "not allowed")
		return
	}
	reply(w, map[string]string{"$uri": fmt.Sprint("/api/rbac/v1/service/", s.add(in.Name).id)})
}

func (s *Server) credentials(w http.ResponseWriter, r *http.Request, _ string) {
	var in struct {
		Key string `json:"public-key"`
	}
	if !read(w, r, &in) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sv := range s.services {
		if strconv.Itoa(sv.id) == r.PathValue("id") && validKey(in.Key) {
			reply(w, map[string]string{"url": s.URL + "/auth", "username": s.setKey(sv, in.Key)})
			return
		}
	}
	refuse(w, http.StatusBadRequest, "no such service, or no key")
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, _ string) {
	if r.PathValue("type") != "resource-pool" {
		refuse(w, http.StatusNotFound, "no such type")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(s.pools)) {
		list = append(list, map[string]string{"identifier": id, "name": s.pools[id]})
	}
	reply(w, list)
}

func (s *Server) push(w http.ResponseWriter, r *http.Request, _ string) {
	if r.PathValue("type") != "resource-pool" {
		refuse(w, http.StatusNotFound, "no such type")
		return
	}
	var in map[string]json.RawMessage
	if !read(w, r, &in) {
		return
	}
	var last *string
	var updates []struct {
		ID   *string `json:"identifier"`
		Name *string `json:"name"`
	}
	var removals []string
	for name, into := range map[string]any{"last-sync-id": &last, "updates": &updates, "removals": &removals} {
		raw, ok := in[name]
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if !ok || d.Decode(into) != nil || name != "last-sync-id" && raw[0] != '[' {
			refuse(w, http.StatusBadRequest, "%s is wanted", name)
			return
		}
		delete(in, name)
	}
	if len(in) > 0 {
		refuse(w, http.StatusBadRequest, "there is more than is wanted")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if last != nil && *last != s.syncID {
		refuse(w, http.StatusConflict, "sync %s is stale", *last)
		return
	}
	pools := maps.Clone(s.pools)
	if last == nil {
		pools = map[string]string{}
	}
	for _, id := range removals {
		delete(pools, id)
	}
	for _, u := range updates {
		if u.ID == nil || u.Name == nil || *u.ID == "" || *u.Name == "" || slices.Contains(removals, *u.ID) {
			refuse(w, http.StatusBadRequest, "a resource without identifier or name, or one that is removed, too")
			return
		}
		pools[*u.ID] = *u.Name
	}
	s.pools = pools
	s.nextSync()
	reply(w, map[string]string{"sync-id": s.syncID})
}

// permissions are those of each type.
var permissions = map[string][]string{"maas": {"admin"}, "resource-pool": {"view", "view-all", "deploy-machines", "admin-machines", "edit"}}

func (s *Server) allowed(w http.ResponseWriter, r *http.Request, _ string) {
	kind, q := r.PathValue("type"), r.URL.Query()
	if permissions[kind] == nil {
		refuse(w, http.StatusNotFound, "no such type")
		return
	}
	if len(q["u"]) != 1 || q.Get("u") == "" || len(q["p"]) == 0 || len(q) != 2 {
		refuse(w, http.StatusBadRequest, "one u and some p are wanted")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]string{}
	for _, p := range q["p"] {
		if !slices.Contains(permissions[kind], p) {
			refuse(w, http.StatusBadRequest, "no permission %s", p)
			return
		}
		out[p] = append([]string{}, s.people[q.Get("u")].rights[kind+"/"+p]...)
	}
	reply(w, out)
}

func (s *Server) user(w http.ResponseWriter, r *http.Request, _ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("username")
	p, ok := s.people[name]
	if !ok {
		refuse(w, http.StatusNotFound, "no user %s", name)
		return
	}
	reply(w, map[string]string{"username": name, "name": p.name, "email": p.email})
}
