package region

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// surface is a region in process, spoken to as clients do.
type surface struct {
	t       *testing.T
	r       *Region
	dir     string
	handler http.Handler
	keys    map[string]identity.KeySecret
	nonce   int
	log     *kept
	now     func() time.Time // of what signs calls; time.Now when nil
}

func newSurface(t *testing.T) *surface {
	t.Helper()
	first.once.Do(func() {
		if first.dir, first.err = os.MkdirTemp("", "mwregion"); first.err != nil {
			return
		}
		var r *Region
		if r, first.err = New(context.Background(), options(first.dir, &kept{})); first.err == nil {
			first.keys, first.err = users(r)
			r.Close()
		}
	})
	if first.err != nil {
		t.Fatal(first.err)
	}
	s := &surface{t: t, dir: t.TempDir(), keys: maps.Clone(first.keys), log: &kept{}}
	if out, err := exec.Command("cp", "-a", first.dir+"/.", s.dir).CombinedOutput(); err != nil { // with their modes
		t.Fatalf("%v: %s", err, out)
	}
	s.start(options(s.dir, s.log))
	return s
}

// first is the state of a surface that was started once, from which others begin: to make the tables takes most of a test's time.
var first struct {
	once sync.Once
	dir  string
	keys map[string]identity.KeySecret
	err  error
}

// envRules has all regions of these tests ask the request rules: to see that the rules let everything through that the tests send.
const envRules = "METALWARD_TEST_REQUEST_RULES"

// options are those of a surface's region. All that is done to it is done, undone and done again: what each call leaves is as if it had run
// once.
func options(dir string, log *kept) Options {
	return Options{Rehearse: true, Config: config.Region{StateDir: dir, HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0", PublicHost: "localhost", RequestRules: os.Getenv(envRules)}, Version: "test",
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

// users makes an administrator and a user, with keys.
func users(r *Region) (map[string]identity.KeySecret, error) {
	keys, ctx := map[string]identity.KeySecret{}, context.Background()
	for _, name := range []string{"admin", "alice"} {
		u, err := r.Identity.CreateUser(authz.AsSystem(ctx, "test"), identity.NewUser{Name: name, Password: secret.FromString("a long enough password"), Admin: name == "admin"})
		if err != nil {
			return nil, err
		}
		if keys[name], err = r.Identity.CreateKey(authz.With(ctx, authz.Principal{Kind: authz.User, Name: name, UserID: u.ID}), identity.NewKey{Name: "test"}); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (s *surface) start(o Options) {
	s.t.Helper()
	r, err := New(context.Background(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(r.Close)
	s.r, s.handler = r, r.Handler()
}

// newSurfaceOn is a surface on a database of the test's choice; "" for SQLite.
func newSurfaceOn(t *testing.T, database string) *surface {
	t.Helper()
	return newSurfaceWith(t, func(o *Options) { o.Config.Database = database })
}

// newSurfaceWith is a surface with other options than usual.
func newSurfaceWith(t *testing.T, change func(*Options)) *surface {
	t.Helper()
	s := &surface{t: t, dir: t.TempDir(), log: &kept{}}
	o := options(s.dir, s.log)
	change(&o)
	s.start(o)
	var err error
	if s.keys, err = users(s.r); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *surface) sign(req *http.Request, user string) {
	k, ok := s.keys[user]
	if !ok {
		return
	}
	s.nonce++
	now := time.Now
	if s.now != nil {
		now = s.now
	}
	req.Header.Set("Authorization", fmt.Sprintf(`OAuth realm="", oauth_version="1.0", oauth_signature_method="PLAINTEXT", oauth_consumer_key="%s", oauth_token="%s", oauth_signature="%%26%s", oauth_timestamp="%d", oauth_nonce="n%d"`,
		k.ConsumerKey, k.TokenKey, k.Secret.RevealString(), now().Unix(), s.nonce))
}

// call makes an API call as a user, "" for none.
func (s *surface) call(user, method, path string, fields ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	var body io.Reader
	if method == "POST" || method == "PUT" {
		body = strings.NewReader(form.Encode())
	}
	req := httptest.NewRequest(method, "https://localhost"+maasapi.Root+path, body)
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	s.sign(req, user)
	if user == "mallory" { // comes from another network each time: wrong keys are slowed down
		req.RemoteAddr = fmt.Sprintf("10.%d.%d.7:1024", s.nonce>>8&255, s.nonce&255)
	}
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, req)
	return rec
}

func (s *surface) must(user, method, path string, fields ...string) map[string]any {
	s.t.Helper()
	rec := s.call(user, method, path, fields...)
	if rec.Code/100 != 2 {
		s.t.Fatalf("%s %s: got %d %s", method, path, rec.Code, rec.Body)
	}
	var o map[string]any
	_ = json.Unmarshal(rec.Body.Bytes(), &o) // some answers are not objects
	return o
}

func (s *surface) events() (n int) {
	s.t.Helper()
	err := s.r.reader.View(context.Background(), func(v *store.View) error {
		rows, err := v.AuditEvents(store.AuditQuery{Limit: 100000})
		n = len(rows)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func fillPath(path string) string {
	return strings.NewReplacer("{system_id}", "aaaaaaaaaaaaaaaa", "{username}", "nobody", "{name}", "nothing", "{fabric_id}", "999", "{vid}", "7", "{vlan_id}", "999",
		"{resource_id}", "999", "{id}", "999", "{address}", "198.51.100.9").Replace(path)
}

// TestNoOperationWithoutCredentials walks the whole table: without credentials, with a wrong key, nothing answers
// but what is declared anonymous.
func TestNoOperationWithoutCredentials(t *testing.T) {
	s := newSurface(t)
	k := s.keys["alice"]
	k.Secret = secret.FromString("wrong")
	s.keys["mallory"] = k
	for i := range maasapi.Operations {
		o := &maasapi.Operations[i]
		path := fillPath(o.Path)
		if o.Op != "" {
			path += "?op=" + o.Op
		}
		for _, user := range []string{"", "mallory"} {
			rec := s.call(user, o.Method, path)
			want := http.StatusUnauthorized
			if o.Anonymous {
				want = http.StatusOK
			}
			if rec.Code != want {
				t.Errorf("%s as %q: got %d %.80s, want %d", o.ID, user, rec.Code, rec.Body, want)
			}
		}
	}
}

// TestUsersCannotDoWhatAdministratorsMay walks the table as a user: what the policy gives to administrators alone is
// refused, and nothing changes.
func TestUsersCannotDoWhatAdministratorsMay(t *testing.T) {
	s := newSurface(t)
	role, _ := authz.FindRole(authz.RoleUser)
	alice := authz.Principal{Kind: authz.User, Name: "alice", Rights: authz.NewRights(authz.Grant{Permissions: role.Permissions, Pool: metal.DefaultPoolID})}
	for i := range maasapi.Operations {
		o := &maasapi.Operations[i]
		if o.Anonymous || authz.May(alice, o.Action) {
			continue
		}
		path, fields := fillPath(o.Path), []string{}
		if o.Op != "" {
			path += "?op=" + o.Op
		}
		for _, p := range o.Params {
			if p.Required {
				value := "x1"
				switch p.Name {
				case "name":
					if o.ID == "maas.get_config" || o.ID == "maas.set_config" {
						value = "maas_name"
					}
				case "size", "vid":
					value = "5"
				case "cidr":
					value = "10.0.0.0/24"
				case "sha256":
					value = strings.Repeat("a", 64)
				case "architecture":
					value = "amd64/generic"
				case "filetype":
					value = "ddraw"
				case "password":
					value = "a long enough password"
				}
				fields = append(fields, p.Name, value)
			}
		}
		if o.ID == "images.create" {
			fields = append(fields, "filetype", "ddraw")
		}
		if o.Method == http.MethodGet {
			for i := 0; i < len(fields); i += 2 {
				path += "&" + fields[i] + "=" + fields[i+1]
			}
			fields = nil
		}
		rec := s.call("alice", o.Method, path, fields...)
		if rec.Code != http.StatusForbidden && rec.Code != http.StatusNotFound && !(rec.Code == http.StatusBadRequest && o.ID == "ipranges.create") && !(rec.Code == http.StatusOK && rec.Body.String() == "[]") {
			t.Errorf("%s as a user: got %d %.100s, want 403", o.ID, rec.Code, rec.Body)
		}
	}
}

// TestOneAuditEventEach makes each kind of change once: each leaves exactly one event.
func TestOneAuditEventEach(t *testing.T) {
	s := newSurface(t)
	once := func(method, path string, fields ...string) map[string]any {
		t.Helper()
		before := s.events()
		o := s.must("admin", method, path, fields...)
		if n := s.events() - before; n != 1 {
			t.Errorf("%s %s: got %d audit events, want 1", method, path, n)
		}
		return o
	}
	once("POST", "/resourcepools/", "name", "gpu")
	once("PUT", "/resourcepool/gpu/", "description", "cards")
	once("DELETE", "/resourcepool/gpu/")
	once("POST", "/zones/", "name", "east")
	once("PUT", "/zones/east/", "name", "west")
	once("DELETE", "/zones/west/")
	f := once("POST", "/fabrics/", "name", "lab")
	id := fmt.Sprint(f["id"])
	once("PUT", "/fabrics/"+id+"/", "name", "lab2")
	v := once("POST", "/fabrics/"+id+"/vlans/", "vid", "100", "name", "boot")
	vid := fmt.Sprint(v["id"])
	once("PUT", "/vlans/"+vid+"/", "mtu", "9000")
	sub := once("POST", "/subnets/", "cidr", "10.1.0.0/24", "vlan", vid)
	once("PUT", "/subnets/"+fmt.Sprint(sub["id"])+"/", "gateway_ip", "10.1.0.1")
	r := once("POST", "/ipranges/", "type", "dynamic", "start_ip", "10.1.0.10", "end_ip", "10.1.0.20")
	once("PUT", "/ipranges/"+fmt.Sprint(r["id"])+"/", "end_ip", "10.1.0.30")
	once("DELETE", "/ipranges/"+fmt.Sprint(r["id"])+"/")
	once("DELETE", "/subnets/"+fmt.Sprint(sub["id"])+"/")
	once("DELETE", "/vlans/"+vid+"/")
	once("DELETE", "/fabrics/"+id+"/")
	once("POST", "/users/", "username", "bob", "password", "a long enough password", "is_superuser", "0")
	once("DELETE", "/users/bob/")
	once("POST", "/maas/?op=set_config", "name", "kernel_opts", "value", "quiet")
	tok := once("POST", "/account/?op=create_authorisation_token", "name", "ci")
	once("POST", "/account/?op=delete_authorisation_token", "token_key", tok["token_key"].(string))
	m := once("POST", "/machines/", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:09", "hostname", "n9")
	mid := m["system_id"].(string)
	once("PUT", "/machines/"+mid+"/", "description", "x")
	once("DELETE", "/machines/"+mid+"/")
	before := s.events()
	s.call("alice", "POST", "/resourcepools/", "name", "mine")
	s.call("admin", "POST", "/resourcepools/", "name", "")
	if n := s.events() - before; n != 1 {
		t.Errorf("a denial and a malformed form: got %d events, want 1 for the denial", n)
	}
}

// TestBadInput holds errors to their form: the status, the field, and nothing stored.
func TestBadInput(t *testing.T) {
	s := newSurface(t)
	s.must("admin", "POST", "/machines/", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:01", "hostname", "taken")
	s.must("admin", "POST", "/subnets/", "cidr", "10.1.0.0/24")
	s.must("admin", "POST", "/ipranges/", "type", "dynamic", "start_ip", "10.1.0.10", "end_ip", "10.1.0.20")
	image := []string{"name", "custom/x", "architecture", "amd64/generic", "filetype", "ddraw", "sha256", strings.Repeat("a", 64), "size", "10"}
	for _, c := range []struct {
		name, method, path string
		fields             []string
		status             int
		field              string
	}{
		{"unknown operation", "POST", "/machines/?op=explode", nil, 400, ""},
		{"unknown endpoint", "GET", "/nothing/", nil, 404, ""},
		{"unknown method", "PUT", "/machines/", nil, 405, ""},
		{"unknown field", "POST", "/resourcepools/", []string{"name", "a", "colour", "red"}, 400, "colour"},
		{"missing field", "POST", "/resourcepools/", nil, 400, "name"},
		{"bad MAC", "POST", "/machines/", []string{"architecture", "amd64", "mac_addresses", "52:54"}, 400, "mac_addresses"},
		{"MAC in use", "POST", "/machines/", []string{"architecture", "amd64", "mac_addresses", "52:54:00:00:00:01"}, 400, "mac_addresses"},
		{"host name taken", "POST", "/machines/", []string{"architecture", "amd64", "mac_addresses", "52:54:00:00:00:02", "hostname", "taken"}, 400, "hostname"},
		{"bad architecture", "POST", "/machines/", []string{"architecture", "vax", "mac_addresses", "52:54:00:00:00:02"}, 400, "architecture"},
		{"bad power type", "POST", "/machines/", []string{"architecture", "amd64", "mac_addresses", "52:54:00:00:00:02", "power_type", "wish"}, 400, "power_type"},
		{"IPMI without address", "POST", "/machines/", []string{"architecture", "amd64", "mac_addresses", "52:54:00:00:00:02", "power_type", "ipmi"}, 400, "power_parameters_power_address"},
		{"wrong type", "POST", "/machines/", []string{"architecture", "amd64", "mac_addresses", "52:54:00:00:00:02", "cpu_count", "many"}, 400, "cpu_count"},
		{"bad CIDR", "POST", "/subnets/", []string{"cidr", "10.1.0.0"}, 400, "cidr"},
		{"host bits", "POST", "/subnets/", []string{"cidr", "10.2.0.1/24"}, 400, "cidr"},
		{"overlapping subnet", "POST", "/subnets/", []string{"cidr", "10.1.0.0/25"}, 400, "cidr"},
		{"overlapping range", "POST", "/ipranges/", []string{"type", "dynamic", "start_ip", "10.1.0.15", "end_ip", "10.1.0.25"}, 400, "__all__"},
		{"range backwards", "POST", "/ipranges/", []string{"type", "dynamic", "start_ip", "10.1.0.60", "end_ip", "10.1.0.50"}, 400, "end_ip"},
		{"DHCP without rack", "PUT", "/vlans/1/", []string{"dhcp_on", "true"}, 400, "dhcp_on"},
		{"unknown setting", "POST", "/maas/?op=set_config", []string{"name", "gravity", "value", "1"}, 400, "name"},
		{"setting out of range", "POST", "/maas/?op=set_config", []string{"name", "node_timeout", "value", "-1"}, 400, "value"},
		{"short password", "POST", "/users/", []string{"username", "x", "password", "short", "is_superuser", "0"}, 400, "password"},
		{"unknown constraint", "POST", "/machines/?op=allocate", []string{"wings", "2"}, 400, "wings"},
		{"unknown zone", "POST", "/machines/?op=allocate", []string{"zone", "moon"}, 400, "zone"},
		{"nothing to allocate", "POST", "/machines/?op=allocate", nil, 409, ""},
		{"unknown filter", "GET", "/machines/?colour=red", nil, 400, "colour"},
		{"image digest malformed", "POST", "/boot-resources/", append(append([]string{}, image[:6]...), "sha256", "zz", "size", "10"), 400, "sha256"},
		{"image too large", "POST", "/boot-resources/", append(append([]string{}, image[:8]...), "size", "99999999999999"), 400, "size"},
		{"image kind", "POST", "/boot-resources/", []string{"name", "custom/x", "architecture", "amd64/generic", "sha256", strings.Repeat("a", 64), "size", "10"}, 400, "filetype"},
		{"bad SSH key", "POST", "/account/prefs/sshkeys/", []string{"key", "ssh-rsa nonsense"}, 400, "key"},
		{"unknown machine", "POST", "/machines/aaaaaaaaaaaaaaaa/?op=release", nil, 404, ""},
		{"events: both ends", "GET", "/events/?op=query&after=1&before=5", nil, 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := s.call("admin", c.method, c.path, c.fields...)
			if rec.Code != c.status {
				t.Fatalf("got %d %s, want %d", rec.Code, rec.Body, c.status)
			}
			if c.field == "" {
				return
			}
			var o map[string][]string
			if err := json.Unmarshal(rec.Body.Bytes(), &o); err != nil || len(o[c.field]) == 0 || len(o[c.field][0]) < 8 {
				t.Errorf("got %s, want a message for the field %s", rec.Body, c.field)
			}
		})
	}
	big := httptest.NewRequest("POST", "https://localhost"+maasapi.Root+"/resourcepools/", io.LimitReader(zeros{}, 8<<20))
	big.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.sign(big, "admin")
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, big)
	if rec.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("oversized body: got %d, want 413", rec.Code)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// TestSecretsAreWriteOnly seeds secrets and reads everything that can be read, as administrator and as user.
func TestSecretsAreWriteOnly(t *testing.T) {
	s := newSurface(t)
	const canary = "canary-Xq7Zp91"
	m := s.must("admin", "POST", "/machines/", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:01", "power_type", "ipmi", "power_parameters_power_address", "10.0.0.9",
		"power_parameters_power_user", "u", "power_parameters_power_pass", canary, "power_parameters_k_g", canary, "commission", "false")
	id := m["system_id"].(string)
	s.must("admin", "POST", "/users/", "username", "carol", "password", canary+"-password", "is_superuser", "0")
	needles := []string{canary, s.keys["admin"].Secret.RevealString(), s.keys["alice"].Secret.RevealString(), s.keys["admin"].SecretHash, "$argon2id"}
	for i := range maasapi.Operations {
		o := &maasapi.Operations[i]
		if o.Method != http.MethodGet || o.ID == "machine.query_power_state" {
			continue
		}
		path := strings.ReplaceAll(o.Path, "{system_id}", id)
		path = fillPath(path)
		if o.Op != "" {
			path += "?op=" + o.Op
		}
		for _, user := range []string{"admin", "alice"} {
			body := s.call(user, o.Method, path).Body.String()
			for _, n := range needles {
				if strings.Contains(body, n) {
					t.Errorf("%s as %s shows a secret", o.ID, user)
				}
			}
		}
	}
	// Nor does the trail, nor the database file.
	err := s.r.reader.View(context.Background(), func(v *store.View) error {
		rows, err := v.AuditEvents(store.AuditQuery{Limit: 1000})
		for _, r := range rows {
			if strings.Contains(fmt.Sprint(r), canary) {
				t.Errorf("the trail holds a secret: %v", r)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestWireDetails holds the ways in which MAAS's clients write to us.
func TestWireDetails(t *testing.T) {
	s := newSurface(t)
	rec := s.call("", "GET", "/describe/")
	if got := rec.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("describe: got Content-Type %q, want exactly application/json", got)
	}
	var d maasapi.Description
	if err := json.Unmarshal(rec.Body.Bytes(), &d); err != nil || d.Hash != rec.Header().Get("X-MAAS-API-Hash") || len(d.Hash) != 40 {
		t.Errorf("describe: got hash %q and header %q, %v", d.Hash, rec.Header().Get("X-MAAS-API-Hash"), err)
	}
	for _, path := range []string{"/users/?op=whoami", "/users?op=whoami", "/users/op-whoami", "//users//?op=whoami"} {
		if rec := s.call("admin", "GET", path); rec.Code != 200 || !strings.Contains(rec.Body.String(), `"admin"`) {
			t.Errorf("GET %s: got %d %s", path, rec.Code, rec.Body)
		}
	}
	if rec := s.call("admin", "POST", "/resourcepools/?op=", "name", "empty-op"); rec.Code != 200 {
		t.Errorf("empty op: got %d %s", rec.Code, rec.Body)
	}
	// A part in base64, as the maas command line sends each.
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreatePart(textproto.MIMEHeader{"Content-Disposition": {`form-data; name="name"`}, "Content-Transfer-Encoding": {"base64"}, "MIME-Version": {"1.0"}})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(part, base64.StdEncoding.EncodeToString([]byte("from-cli")))
	w.Close()
	req := httptest.NewRequest("POST", "https://localhost"+maasapi.Root+"/resourcepools/", &body)
	req.Header.Set("Content-Type", w.FormDataContentType())
	s.sign(req, "admin")
	rec = httptest.NewRecorder()
	s.handler.ServeHTTP(rec, req)
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), "from-cli") {
		t.Errorf("base64 part: got %d %s", rec.Code, rec.Body)
	}
}

// TestPlainPort holds what the port without TLS does: it redirects strangers, refuses credentials and says so in
// the trail, and serves a trusted proxy's clients who came by HTTPS.
func TestPlainPort(t *testing.T) {
	s := newSurface(t)
	plain := s.r.server.Plain(s.handler)
	do := func(req *http.Request) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		plain.ServeHTTP(rec, req)
		return rec
	}
	rec := do(httptest.NewRequest("GET", "http://localhost/machines?x=1", nil))
	if rec.Code != http.StatusMovedPermanently || rec.Header().Get("Location") != s.r.BaseURL+"/machines?x=1" {
		t.Errorf("without credentials: got %d to %q", rec.Code, rec.Header().Get("Location"))
	}
	before := s.events()
	req := httptest.NewRequest("GET", "http://localhost"+maasapi.Root+"/machines/", nil)
	s.sign(req, "admin")
	req.Header.Set("X-Forwarded-Proto", "https") // from a peer that nobody trusts
	rec = do(req)
	if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), s.r.BaseURL) {
		t.Errorf("with credentials: got %d %s, want 403 naming the HTTPS address", rec.Code, rec.Body)
	}
	if s.events() != before+1 {
		t.Error("an exposed key left no event in the trail")
	}
	if rec := do(httptest.NewRequest("POST", "http://localhost/login", strings.NewReader("password=x"))); rec.Code != http.StatusForbidden {
		t.Errorf("a form: got %d, want 403", rec.Code)
	}
	proxies, err := (&config.Region{TrustedProxies: []string{"192.0.2.0/24"}}).Proxies() // httptest's peer is 192.0.2.1
	if err != nil {
		t.Fatal(err)
	}
	s.r.server.Trusted = proxies
	req = httptest.NewRequest("GET", "http://localhost"+maasapi.Root+"/users/?op=whoami", nil)
	s.sign(req, "admin")
	req.Header.Set("X-Forwarded-Proto", "https")
	if rec := do(req); rec.Code != 200 {
		t.Errorf("behind a trusted proxy: got %d %s", rec.Code, rec.Body)
	}
}

// TestRestartLosesNothing closes and opens a region on the same state, and finds its trail intact.
func TestRestartLosesNothing(t *testing.T) {
	s := newSurface(t)
	s.must("admin", "POST", "/resourcepools/", "name", "kept")
	if _, err := s.r.Gate.Seal(context.Background()); err != nil {
		t.Fatal(err)
	}
	fingerprint := s.r.Fingerprint
	s.r.Close()
	r, err := New(context.Background(), Options{Config: config.Region{StateDir: s.dir, HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0"}, Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.r, s.handler = r, r.Handler()
	if rec := s.call("admin", "GET", "/resourcepool/kept/"); rec.Code != 200 {
		t.Errorf("got %d %s after a restart", rec.Code, rec.Body)
	}
	if r.Fingerprint != fingerprint {
		t.Error("the instance's CA changed at a restart")
	}
	if _, err := r.VerifyTrail(context.Background()); err != nil {
		t.Error(err)
	}
	if matches, _ := filepath.Glob(filepath.Join(s.dir, "*")); len(matches) < 5 {
		t.Errorf("got %v in the state folder", matches)
	}
}
