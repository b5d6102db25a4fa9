package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/secret"
)

// The regular expression is MAAS's own rule for names, kept here to hold resourceName against.
var word = regexp.MustCompile(`[A-Z]*[a-z0-9]+|[A-Z]+`)

func TestNames(t *testing.T) {
	for _, o := range maasapi.Operations {
		want := strings.ToLower(strings.Join(word.FindAllString(strings.TrimSuffix(o.Handler, "Handler"), -1), "-"))
		if got := resourceName(o.Handler); got != want {
			t.Errorf("resourceName(%s): got %s, want %s", o.Handler, got, want)
		}
	}
	for handler, want := range map[string]string{"RackControllersHandler": "rack-controllers", "SSHKeysHandler": "sshkeys", "DNSResourceRecordHandler": "dnsresource-record",
		"IPRangesHandler": "ipranges", "MaasHandler": "maas", "NodeScriptResultsHandler": "node-script-results"} {
		if got := resourceName(handler); got != want {
			t.Errorf("resourceName(%s): got %s, want %s", handler, got, want)
		}
	}
}

// env is a program with a profile directory of its own.
type env struct {
	Env
	stdin string
}

func newEnv(t *testing.T) *env {
	return &env{Env: Env{Dir: filepath.Join(t.TempDir(), "profiles"), Version: "test"}}
}

func (e *env) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = Run(ctx, args, strings.NewReader(e.stdin), &out, &errs, e.Env)
	return code, out.String(), errs.String()
}

const testKey = "consumer:token:the/sec&ret"

// serve starts a server with an authority of its own and logs in to it as "admin".
func serve(t *testing.T, e *env, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	var ready atomic.Bool
	s := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if ready.Load() && h != nil {
			h(w, r)
			return
		}
		whoami(w, r)
	})
	code, _, stderr := e.run(t, "login", "--ca-fingerprint", fingerprint(s), "admin", s.URL+"/MAAS/", testKey)
	if code != 0 {
		t.Fatalf("login: exit code %d: %s", code, stderr)
	}
	ready.Store(true)
	return s
}

func fingerprint(s *httptest.Server) string {
	chain := s.TLS.Certificates[0].Certificate
	return pki.Fingerprint(chain[len(chain)-1])
}

// Every row of the table is a command that sends the row's method, path and op, signed.
func TestEveryOperation(t *testing.T) {
	var got *http.Request
	var form url.Values
	e := newEnv(t)
	serve(t, e, func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		got, form = r, r.PostForm
		if r.Method == http.MethodGet || r.Method == http.MethodDelete {
			form = r.URL.Query()
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{}`))
	})
	for _, o := range maasapi.Operations {
		if o.RawBody {
			continue
		}
		args := []string{"admin", resourceName(o.Handler), strings.ReplaceAll(o.Name(), "_", "-")}
		path := maasapi.Root + o.Path
		for _, p := range o.PathParams() {
			args = append(args, "a b/c")
			path = strings.Replace(path, "{"+p+"}", "a%20b%2Fc", 1)
		}
		want := url.Values{}
		for _, p := range o.Params {
			args = append(args, p.Name+"=v=1")
			want.Add(p.Name, "v=1")
		}
		got = nil
		code, stdout, stderr := e.run(t, args...)
		if code != 0 || got == nil {
			t.Errorf("%s: exit code %d: %s", o.ID, code, stderr)
			continue
		}
		if got.Method != o.Method || got.URL.EscapedPath() != path || got.URL.Query().Get("op") != o.Op {
			t.Errorf("%s: got %s %s, want %s %s op %s", o.ID, got.Method, got.URL, o.Method, path, o.Op)
		}
		form.Del("op")
		if !maps.EqualFunc(form, want, func(a, b []string) bool { return strings.Join(a, ";") == strings.Join(b, ";") }) {
			t.Errorf("%s: got form %v, want %v", o.ID, form, want)
		}
		if auth := got.Header.Get("Authorization"); !strings.Contains(auth, `oauth_consumer_key="consumer"`) || !strings.Contains(auth, `oauth_signature="%26the%252Fsec%26ret"`) {
			t.Errorf("%s: got Authorization %s", o.ID, auth)
		}
		if stdout != "{}\n" {
			t.Errorf("%s: got output %q", o.ID, stdout)
		}
	}
}

// Help at every level mentions everything that the level has.
func TestHelp(t *testing.T) {
	e := newEnv(t)
	serve(t, e, nil)
	_, top, _ := e.run(t, "admin", "--help")
	for _, o := range maasapi.Operations {
		if o.RawBody {
			continue
		}
		res, act := resourceName(o.Handler), strings.ReplaceAll(o.Name(), "_", "-")
		if !strings.Contains(top, "  "+res+" ") {
			t.Errorf("the profile's help has no %s", res)
		}
		if _, text, _ := e.run(t, "admin", res, "-h"); !strings.Contains(text, "  "+act+" ") {
			t.Errorf("%s --help has no %s", res, act)
		}
		code, text, _ := e.run(t, "admin", res, act, "-h")
		if code != 0 || !strings.Contains(text, "usage: metalward admin "+res+" "+act) {
			t.Errorf("%s %s --help: exit code %d, %s", res, act, code, text)
		}
		for _, p := range append(o.PathParams(), o.Compat...) {
			if !strings.Contains(text, p) && !strings.Contains(text, strings.ToUpper(p)) {
				t.Errorf("%s %s --help has no %s", res, act, p)
			}
		}
		for _, p := range o.Params {
			if !strings.Contains(text, "  "+p.Name+" ") {
				t.Errorf("%s %s --help has no %s", res, act, p.Name)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	e := newEnv(t)
	serve(t, e, nil)
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"nothing":             {nil, "Give a command"},
		"no such profile":     {[]string{"nobody", "machines", "read"}, "no command or profile nobody"},
		"path as profile":     {[]string{"../x", "machines", "read"}, "no command or profile"},
		"no resource":         {[]string{"admin"}, "Give a resource"},
		"unknown resource":    {[]string{"admin", "pods", "read"}, "no resource of this name"},
		"no action":           {[]string{"admin", "machines"}, "Give an action"},
		"unknown action":      {[]string{"admin", "machines", "explode"}, "no action of this name"},
		"argument missing":    {[]string{"admin", "machine", "read"}, "SYSTEM_ID"},
		"argument too many":   {[]string{"admin", "machines", "read", "abc"}, "no argument"},
		"unknown parameter":   {[]string{"admin", "pools", "x"}, "no resource"},
		"wrong parameter":     {[]string{"admin", "zones", "create", "nom=x"}, "nom is not a parameter"},
		"parameter missing":   {[]string{"admin", "zones", "create"}, "name is missing"},
		"unknown option":      {[]string{"admin", "machine", "deploy", "x", "--now"}, "Unknown option --now"},
		"wait for nothing":    {[]string{"admin", "machine", "read", "x", "--wait"}, "nothing to wait for"},
		"timeout alone":       {[]string{"admin", "machine", "deploy", "x", "--timeout", "1s"}, "--timeout is for --wait"},
		"bad timeout":         {[]string{"admin", "machine", "deploy", "x", "--wait", "--timeout=soon"}, "--timeout takes"},
		"unquoted value":      {[]string{"admin", "users", "create", "password=correct", "horse"}, "Quote values"},
		"login without url":   {[]string{"login", "x"}, "URL of the instance"},
		"login over http":     {[]string{"login", "x", "http://h:5240/MAAS", "a:b:c"}, "https://"},
		"login bad key":       {[]string{"login", "x", "https://h/", "swordfish"}, "three parts"},
		"login bad name":      {[]string{"login", "a/b", "https://h/", "a:b:c"}, "profile's name"},
		"login as command":    {[]string{"login", "list", "https://h/", "a:b:c"}, "is a command"},
		"login bad print":     {[]string{"login", "--ca-fingerprint", "00", "x", "https://h/", "a:b:c"}, "64 hex"},
		"login without a key": {[]string{"login", "x", "https://h/"}, "Give the API key"},
		"login key twice":     {[]string{"login", "--api-key-file", "f", "x", "https://h/", "a:b:c"}, "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := e.run(t, tt.args...)
			if code != 2 || !strings.Contains(stderr, tt.want) || stdout != "" {
				t.Errorf("got exit code %d, stdout %q, stderr %q; want 2 and %q", code, stdout, stderr, tt.want)
			}
			for _, hidden := range []string{"horse", "correct", "swordfish"} {
				if strings.Contains(stderr, hidden) {
					t.Errorf("the complaint repeats a secret: %q", stderr)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	e := newEnv(t)
	tries, answer := 0, http.HandlerFunc(nil)
	serve(t, e, func(w http.ResponseWriter, r *http.Request) { tries++; answer(w, r) })
	reply := func(status int, mime, body string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mime)
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
		tries  int
	}{
		"fields":        {reply(400, "application/json", `{"name":["Taken.","Too short."],"__all__":["Odd."]}`), "400 Bad Request\n  Odd.\n  name: Taken.\n  name: Too short.\n", 1},
		"text":          {reply(409, "text/plain", "No machine available."), "409 Conflict\n  No machine available.\n", 1},
		"html":          {reply(502, "text/html", "<h1>proxy</h1>"), "502 Bad Gateway\n", 1},
		"empty":         {reply(403, "text/plain", ""), "403 Forbidden\n", 1},
		"control":       {reply(403, "text/plain", "a\x1b[2Jb\u202ec"), "a[2Jbc\n", 1},
		"secret":        {reply(400, "text/plain", "bad password hunter2"), "bad password [redacted]\n", 1},
		"redirect":      {reply(301, "text/plain", "", "Location", "https://elsewhere/"), "not followed", 1},
		"unavailable":   {reply(503, "text/plain", "No rack.", "Retry-After", "0"), "503 Service Unavailable\n  No rack.\n", maxTries},
		"no retry":      {reply(503, "text/plain", "No rack."), "503 Service Unavailable\n  No rack.\n", 1},
		"broken answer": {reply(200, "application/json", `{"username": "x`), "broke off", 1},
	} {
		t.Run(name, func(t *testing.T) {
			tries, answer = 0, tt.answer
			code, _, stderr := e.run(t, "admin", "users", "create", "username=x", "password=hunter2")
			if code != 1 || !strings.HasSuffix(strings.TrimSpace(stderr), strings.TrimSpace(tt.want)) && !strings.Contains(stderr, tt.want) {
				t.Errorf("got exit code %d, %q, want 1 and %q", code, stderr, tt.want)
			}
			if tries != tt.tries {
				t.Errorf("got %d tries, want %d", tries, tt.tries)
			}
			if strings.Contains(stderr, "hunter2") {
				t.Errorf("the complaint repeats a secret: %q", stderr)
			}
		})
	}
}

func TestSecretParameters(t *testing.T) {
	e := newEnv(t)
	var form url.Values
	serve(t, e, func(_ http.ResponseWriter, r *http.Request) { _ = r.ParseForm(); form = r.PostForm })
	e.stdin = "from stdin\n"
	if code, _, stderr := e.run(t, "admin", "users", "create", "username=-", "password=-"); code != 0 || form.Get("password") != "from stdin" || form.Get("username") != "-" {
		t.Errorf("got exit code %d, %v, %s", code, form, stderr)
	}
	e.StdinTerminal = true
	e.Prompt = func(q string) (secret.Value, error) { return secret.FromString("typed after " + q), nil }
	if code, _, stderr := e.run(t, "admin", "machine", "update", "x", "power_parameters_power_pass=-"); code != 0 ||
		form.Get("power_parameters_power_pass") != "typed after power_parameters_power_pass: " {
		t.Errorf("got exit code %d, %v, %s", code, form, stderr)
	}
}

func TestProfileFile(t *testing.T) {
	e := newEnv(t)
	serve(t, e, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	file := filepath.Join(e.Dir, "admin.json")
	for path, want := range map[string]os.FileMode{e.Dir: 0o700, file: 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got mode %v, %v, want %v", path, info.Mode().Perm(), err, want)
		}
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := e.run(t, "admin", "machines", "read"); code != 1 || !strings.Contains(stderr, "other users have access") {
		t.Errorf("a profile that the group can read: got exit code %d, %s", code, stderr)
	}
}

func TestTrust(t *testing.T) {
	e := newEnv(t)
	a, b := newServer(t, nil), newServer(t, nil)
	chain := a.TLS.Certificates[0].Certificate
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"system":            {[]string{"x", a.URL, testKey}, "--ca-fingerprint"},
		"other authority":   {[]string{"--ca-fingerprint", fingerprint(b), "x", a.URL, testKey}, "given fingerprint"},
		"leaf, not the CA":  {[]string{"--ca-fingerprint", pki.Fingerprint(chain[0]), "x", a.URL, testKey}, "given fingerprint"},
		"other name":        {[]string{"--ca-fingerprint", fingerprint(a), "x", strings.Replace(a.URL, "127.0.0.1", "localhost", 1), testKey}, "localhost"},
		"key not known":     {[]string{"--ca-fingerprint", fingerprint(a), "x", a.URL, "a:b:wrong"}, "does not know this API key"},
		"no CA in the file": {[]string{"--ca-file", os.DevNull, "x", a.URL, testKey}, "--ca-fingerprint"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := e.run(t, append([]string{"login"}, tt.args...)...)
			if code != 1 || !strings.Contains(stderr, tt.want) || strings.Contains(stderr, "sec&ret") {
				t.Errorf("got exit code %d, %q, want 1 and %q", code, stderr, tt.want)
			}
			if _, err := os.Stat(filepath.Join(e.Dir, "x.json")); err == nil {
				t.Error("a profile was saved")
			}
		})
	}
}

func TestURL(t *testing.T) {
	for in, want := range map[string]string{"https://h:5443": "https://h:5443", "https://h:5443/": "https://h:5443", "https://h/MAAS": "https://h",
		"https://h/MAAS/api/2.0/": "https://h", "https://h/cloud/MAAS/": "https://h/cloud", "https://[::1]:5443/MAAS/": "https://[::1]:5443"} {
		if got, _, err := parseURL(in); err != nil || got != want {
			t.Errorf("parseURL(%s): got %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "h:5443", "http://h/", "https://", "https://user:pw@h/", "https://h/?x=1"} {
		if got, _, err := parseURL(in); err == nil {
			t.Errorf("parseURL(%s): got %s, want an error", in, got)
		}
	}
}

var jsonSamples = []string{`{}`, `[]`, `null`, `"a"`, `-1.5e3`, `[[],{}]`, `{"a":[1,2,{"b":"c, {\"d\"} \\"}],"e":{"f":null}}`, `[1]`, ` { "a" : [ ] } `, `["é","\u001b"]`}

func TestWriteJSON(t *testing.T) {
	for _, in := range jsonSamples {
		var want, got bytes.Buffer
		_ = json.Indent(&want, []byte(strings.TrimSpace(in)), "", "    ")
		if err := writeJSON(&got, strings.NewReader(in), false); err != nil || got.String() != want.String()+"\n" {
			t.Errorf("writeJSON(%s): got %s, %v, want %s", in, got.String(), err, want.String())
		}
	}
	var got bytes.Buffer
	_ = writeJSON(&got, strings.NewReader("[\"a\x7f\u009b\u202e\U000e0001z\"]"), true)
	if want := "[\n    \"a\\u007f\\u009b\\u202e\\udb40\\udc01z\"\n]\n"; got.String() != want {
		t.Errorf("for a terminal: got %q, want %q", got.String(), want)
	}
	for _, in := range []string{`{"a"`, `[1,`, `"a`} {
		if err := writeJSON(&got, strings.NewReader(in), false); err == nil {
			t.Errorf("writeJSON(%s): got no error", in)
		}
	}
}

// Whatever a server sends, a terminal gets no control character, and valid JSON keeps its meaning.
func FuzzWriteJSON(f *testing.F) {
	for _, s := range jsonSamples {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var got bytes.Buffer
		err := writeJSON(&got, strings.NewReader(in), true)
		if clean(got.String()) != got.String() {
			t.Errorf("control characters in %q", got.String())
		}
		var want, have any
		if json.Unmarshal([]byte(in), &want) != nil {
			return
		}
		if err != nil || json.Unmarshal(got.Bytes(), &have) != nil {
			t.Fatalf("%q became %q, %v", in, got.String(), err)
		}
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(have)
		if !bytes.Equal(a, b) {
			t.Errorf("got %s, want %s", b, a)
		}
	})
}
