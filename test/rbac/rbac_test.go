// Package rbac moves an estate, as its operator would: two regions of the program on one database, an RBAC service, and
// `metalward configauth` with a person at a browser.
package rbac

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/rbac/rbactest"
	"github.com/metalward/metalward/internal/region/regiontest"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

// estate is two regions on one database, and the service.
type estate struct {
	t       *testing.T
	exe, ca string
	dsn     string
	server  *rbactest.Server
	state   [2]string // folders of state
	url     [2]string
	roots   *x509.CertPool
}

// visit is the address that configauth prints for a person.
var visit = regexp.MustCompile(`https://\S+/auth/login\?did=\w+`)

// common are the flags of what runs on a region's host.
func (e *estate) common(n int) []string {
	return []string{"--state-dir", e.state[n], "--database", e.dsn}
}

// run runs the program on the first region's host, with a person who logs in as who when it asks for one.
func (e *estate) run(who, in string, args ...string) (string, error) {
	e.t.Helper()
	cmd := exec.Command(e.exe, append(args, e.common(0)...)...)
	cmd.Stdin = strings.NewReader(in)
	var out, said bytes.Buffer
	cmd.Stdout = &out
	errs, err := cmd.StderrPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	for lines := bufio.NewScanner(errs); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if to := visit.FindString(lines.Text()); to != "" {
			resp, err := e.server.Client().Get(to + "&username=" + who)
			if err != nil || resp.StatusCode != http.StatusOK {
				e.t.Errorf("the person's browser: got %v, %v", resp, err)
				continue
			}
			_ = resp.Body.Close()
		}
	}
	err = cmd.Wait()
	return out.String() + said.String(), err
}

// start starts a region and waits for its address.
func (e *estate) start(n int) {
	e.t.Helper()
	cmd := exec.Command(e.exe, append([]string{"up", "--no-rack", "--listen-https", "127.0.0.1:0", "--listen-plain", "off", "--listen-rpc", "127.0.0.1:0", "--egress-allow", "127.0.0.0/8", "--egress-ca", e.ca}, e.common(n)...)...)
	log := &bytes.Buffer{}
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if e.t.Failed() {
			e.t.Logf("region %d:\n%s", n, log)
		}
	})
	lines := bufio.NewScanner(stdout)
	for e.url[n] == "" && lines.Scan() {
		if _, address, ok := strings.Cut(lines.Text(), "Metalward is at"); ok {
			e.url[n] = strings.TrimSpace(address)
		}
	}
	if e.url[n] == "" {
		e.t.Fatalf("region %d ended before it served", n)
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }() // ends with the region
	pem, err := os.ReadFile(filepath.Join(e.state[n], "ca.pem"))
	if err != nil {
		e.t.Fatal(err)
	}
	e.roots.AppendCertsFromPEM(pem)
}

// call calls a region's API by a client, and returns status and body.
func (e *estate) call(n int, c interface {
	Do(*http.Request) (*http.Response, error)
}, path string) (int, string) {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), http.MethodGet, e.url[n]+path, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// person makes somebody at the service, and a client for him that both the service and the regions let prove who he is.
func (e *estate) person(name string) *macaroons.Client {
	e.t.Helper()
	key := macaroons.NewKey()
	e.server.AddPerson(name, key.Public())
	base := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: e.roots, MinVersion: tls.VersionTLS12}}}
	c, err := macaroons.NewClient(base, macaroons.Agent{URL: e.server.URL + "/auth", Username: name, Key: key})
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

func (e *estate) wait(what string, done func() bool) {
	e.t.Helper()
	for range 600 {
		if done() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	e.t.Fatalf("%s did not happen", what)
}

func TestEstate(t *testing.T) {
	dir := t.TempDir()
	e := &estate{t: t, dsn: regiontest.Postgres(t), server: rbactest.New(t), exe: filepath.Join(dir, "metalward"), ca: filepath.Join(dir, "rbac.pem"), roots: x509.NewCertPool(),
		state: [2]string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}}
	e.roots.AppendCertsFromPEM(e.server.CA)
	if err := os.WriteFile(e.ca, e.server.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", e.exe, "../../cmd/metalward").CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	e.start(0)
	if err := os.MkdirAll(e.state[1], 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"root.key", "shared-secret"} { // what regions of a site share
		b, err := os.ReadFile(filepath.Join(e.state[0], name))
		if err == nil {
			err = os.WriteFile(filepath.Join(e.state[1], name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	e.start(1)
	if out, err := e.run("", "correct horse battery staple\n", "createadmin", "--username", "admin", "--email", "admin@example.com"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	jane, joe := e.person("jane"), e.person("joe")
	e.person("boss")
	out, err := e.run("boss", "", "configauth", "--rbac-url", e.server.URL, "--rbac-service-name", "Metal", "--egress-allow", "127.0.0.0/8", "--egress-ca", e.ca)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const resources = "/api/service/v1/resources/resource-pool"
	e.wait("the first sync", func() bool { return len(e.server.Pools()) == 1 })
	time.Sleep(5 * time.Second) // both regions have looked again by now
	if n := e.server.Count("POST", resources); n != 1 {
		t.Errorf("two regions told the service %d times", n)
	}
	if out, err := e.run("", "", "configauth", "--json"); err != nil || !strings.Contains(out, `"rbac_url":"`+e.server.URL+`"`) || !strings.Contains(out, `"external_auth_key":"set"`) {
		t.Errorf("%v\n%s", err, out)
	}

	// People of the service work at both regions; what they lose counts at both.
	e.server.Allow("jane", "resource-pool", "view", "0")
	for n := range e.url {
		if code, body := e.call(n, jane, "/MAAS/api/2.0/resourcepools/"); code != http.StatusOK || !strings.Contains(body, `"default"`) {
			t.Errorf("jane at region %d: got %d %s", n, code, body)
		}
		if code, body := e.call(n, joe, "/MAAS/api/2.0/resourcepools/"); code != http.StatusForbidden {
			t.Errorf("joe at region %d: got %d %s", n, code, body)
		}
	}
	e.server.Down(rbactest.Error500)
	e.wait("the end of the answer's time", func() bool {
		var codes []string
		for n := range e.url {
			code, _ := e.call(n, jane, "/MAAS/api/2.0/resourcepools/")
			codes = append(codes, fmt.Sprint(code))
		}
		return strings.Join(codes, " ") == "503 503"
	})
	e.server.Down(rbactest.None)
	var wg sync.WaitGroup
	for n := range e.url { // both regions ask at once, and both write
		wg.Go(func() {
			if code, body := e.call(n, jane, "/MAAS/api/2.0/resourcepools/"); code != http.StatusOK {
				t.Errorf("jane again at region %d: got %d %s", n, code, body)
			}
		})
	}
	wg.Wait()
}
