package oidc

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// region is the program, running.
type region struct {
	t       *testing.T
	program string
	dir     string // state
	url     string
	home    string // of the command line's profiles
}

// newRegion builds and starts a region that trusts a provider on this host, with an administrator whose profile is "admin".
func newRegion(t *testing.T, p *provider) *region {
	t.Helper()
	tmp := t.TempDir()
	r := &region{t: t, program: filepath.Join(tmp, "metalward"), dir: filepath.Join(tmp, "state"), home: filepath.Join(tmp, "home")}
	build := exec.Command("go", "build", "-o", r.program, "./cmd/metalward")
	build.Dir = filepath.Join("..", "..")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	log, err := os.Create(filepath.Join(tmp, "log"))
	if err != nil {
		t.Fatal(err)
	}
	serve := exec.Command(r.program, "up", "--no-rack", "--state-dir", r.dir, "--listen-https", "127.0.0.1:0", "--listen-plain", "off", "--listen-rpc", "127.0.0.1:0",
		"--public-host", "localhost", "--egress-allow", "127.0.0.0/8", "--egress-ca", p.ca)
	serve.Stderr = log
	stdout, err := serve.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = serve.Process.Signal(syscall.SIGTERM)
		_ = serve.Wait()
		_ = log.Close()
		said, _ := os.ReadFile(log.Name())
		for _, canary := range []string{clientSecret, password} {
			if bytes.Contains(said, []byte(canary)) {
				t.Errorf("the region's log has %s", canary)
			}
		}
		if t.Failed() {
			t.Logf("the region's log:\n%s", said)
		}
	})
	lines := bufio.NewScanner(stdout)
	for r.url == "" && lines.Scan() {
		if _, address, ok := strings.Cut(lines.Text(), "Metalward is at"); ok {
			r.url = strings.TrimSpace(address)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }() // ends with the region
	r.run("correct horse battery staple\n", "createadmin", "--state-dir", r.dir, "--username", "admin", "--email", "admin@example.com")
	key := r.run("", "apikey", "--state-dir", r.dir, "--username", "admin")
	r.run(key, "login", "admin", r.url, "-", "--ca-file", r.authority())
	return r
}

func (r *region) authority() string { return filepath.Join(r.dir, "ca.pem") }

func (r *region) command(args ...string) *exec.Cmd {
	c := exec.Command(r.program, args...)
	c.Env = append(os.Environ(), "HOME="+r.home, "XDG_CONFIG_HOME="+r.home)
	return c
}

// run runs the program, which has to succeed, and returns what it writes.
func (r *region) run(stdin string, args ...string) string {
	r.t.Helper()
	c := r.command(args...)
	var out, complaints bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &complaints
	if err := c.Run(); err != nil {
		r.t.Fatalf("%v: %v\n%s", args, err, complaints.String())
	}
	return out.String()
}

// object is run with a JSON object for an answer.
func (r *region) object(args ...string) (o map[string]any) {
	r.t.Helper()
	text := r.run("", args...)
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		r.t.Fatalf("%v: %v in %s", args, err, text)
	}
	return o
}

// browser keeps cookies and follows redirects. It trusts the region and the provider.
func (r *region) browser(p *provider) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(p.srv.Certificate())
	pem, err := os.ReadFile(r.authority())
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		r.t.Fatal("the region has no authority", err)
	}
	jar, _ := cookiejar.New(nil)
	return &http.Client{Jar: jar, Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
}

// open fetches a page, and returns where it ended and its text.
func open(t *testing.T, b *http.Client, address string, form url.Values) (at *url.URL, text string) {
	t.Helper()
	var resp *http.Response
	var err error
	if form == nil {
		resp, err = b.Get(address)
	} else {
		resp, err = b.PostForm(address, form)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Request.URL, string(body)
}

var (
	requestID = regexp.MustCompile(`name="id" value="([^"]+)"`)
	linkOut   = regexp.MustCompile(`href="(https://[^"]+/end_session[^"]*)"`)
	codeLine  = regexp.MustCompile(`(?m)^  ([A-Z]{4}-[A-Z]{4})$`)
)

// TestProvider goes through what a provider is for, at a real one, as people do: the button of the login page, another key, a
// logout that ends there, and the command line.
func TestProvider(t *testing.T) {
	p := newProvider(t)
	r := newRegion(t, p)
	p.connect(r.url+"/login/oidc/callback", r.url+"/login")
	r.object("admin", "user-groups", "create", "name=Lab operators")
	r.run("", "admin", "grants", "create", "group=Lab operators", "role=Operator", "pool=default")
	made := r.run(clientSecret, "admin", "oidc-providers", "create", "name=Real", "issuer_url="+p.srv.URL, "client_id="+clientID, "client_secret=-", "enabled=true", "create_users=true",
		"scopes=openid profile email", "group_claim=groups", "groups="+group+" = Lab operators", "device_login=yes")
	var o struct {
		ID json.Number `json:"id"`
	}
	if err := json.Unmarshal([]byte(made), &o); err != nil || strings.Contains(made, clientSecret) {
		t.Fatalf("%v in %s", err, made)
	}
	id := o.ID.String()
	if test := r.object("admin", "oidc-provider", "test", id); test["ok"] != true || test["end_session"] != true {
		t.Fatalf("got %v", test)
	}

	login := func() *http.Client {
		t.Helper()
		b := r.browser(p)
		at, page := open(t, b, r.url+"/login/oidc/"+id, nil)
		m := requestID.FindStringSubmatch(page)
		if m == nil || !strings.HasPrefix(at.String(), p.srv.URL) {
			t.Fatalf("got %s: %s", at, page)
		}
		if at, page = open(t, b, p.srv.URL+"/login/username", url.Values{"id": {html.UnescapeString(m[1])}, "username": {person}, "password": {password}}); at.Path != "/machines" {
			t.Fatalf("got %s: %s", at, page)
		}
		return b
	}
	b := login()
	if _, page := open(t, b, r.url+"/account", nil); !strings.Contains(page, person) || !strings.Contains(page, "Real") {
		t.Errorf("got %s", page)
	}
	// Name, address and groups were in UserInfo alone.
	if u := r.object("admin", "user", "read", person); u["email"] != kim.Email || u["is_local"] != false {
		t.Errorf("got %v", u)
	}
	member := func() bool {
		return strings.Contains(r.run("", "admin", "grants", "read", "user="+person), "Lab operators")
	}
	if !member() {
		t.Error("the group of UserInfo gives nothing")
	}
	p.mu.Lock()
	if p.info != 1 {
		t.Errorf("UserInfo was asked %d times", p.info)
	}
	p.mu.Unlock()

	p.rotate(t, "second")
	login()

	// The region's logout leads to the provider's, and that back.
	_, page := open(t, b, r.url+"/logout", url.Values{})
	m := linkOut.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no way to log out at the provider: %s", page)
	}
	if at, page := open(t, b, html.UnescapeString(m[1]), nil); at.String() != r.url+"/login" {
		t.Errorf("got %s: %s", at, page)
	}
	if at, _ := open(t, b, r.url+"/account", nil); at.Path != "/login" {
		t.Errorf("the session goes on: got %s", at)
	}

	t.Run("the command line", func(t *testing.T) {
		if err := r.enter(p, "kim", "allowed"); err != nil {
			t.Fatal(err)
		}
		if who := r.object("kim", "users", "whoami"); who["username"] != person {
			t.Errorf("got %v", who)
		}
	})
	t.Run("the command line, denied", func(t *testing.T) {
		err := r.enter(p, "denied", "denied")
		var failed *exec.ExitError
		if !errors.As(err, &failed) || !strings.Contains(string(failed.Stderr), "did not confirm") {
			t.Errorf("got %v", err)
		}
		if said, err := r.command("denied", "users", "whoami").CombinedOutput(); err == nil {
			t.Errorf("there is a profile: %s", said)
		}
	})
}

// enter logs the command line in, and has its code entered at the provider, where the person allows or denies it.
func (r *region) enter(p *provider, profile, decision string) error {
	r.t.Helper()
	c := r.command("login", profile, r.url, "--ca-file", r.authority(), "--oidc")
	var complaints bytes.Buffer
	c.Stderr = &complaints
	out, err := c.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	said, code := "", []string(nil)
	for lines := bufio.NewScanner(out); code == nil && lines.Scan(); code = codeLine.FindStringSubmatch(said) {
		said += lines.Text() + "\n"
	}
	rest := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, out); close(rest) }()
	if code != nil {
		b := r.browser(p)
		open(r.t, b, p.srv.URL+"/device/login", url.Values{"user_code": {code[1]}, "username": {person}, "password": {password}})
		if _, page := open(r.t, b, p.srv.URL+"/device/confirm?action="+decision, nil); !strings.Contains(page, decision) {
			r.t.Errorf("got %s", page)
		}
	}
	<-rest
	err = c.Wait()
	if code == nil {
		r.t.Fatalf("no code was shown: %s%s", said, complaints.String())
	}
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		failed.Stderr = complaints.Bytes()
	}
	return err
}
