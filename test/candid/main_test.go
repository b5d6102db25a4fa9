package candid

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/canonical/candid"
	"github.com/canonical/candid/idp"
	"github.com/canonical/candid/idp/static"
	"github.com/canonical/candid/store"
	"github.com/canonical/candid/store/memstore"
	"github.com/juju/aclstore/v2"
	"github.com/juju/simplekv/memsimplekv"
	"gopkg.in/macaroon-bakery.v3/bakery"
)

// site is the region, and the Candid server that it asks. Tests use people of their own and run one after another.
var site struct {
	url   string // without /MAAS
	exe   string
	dir   string // of everything
	key   string // an administrator's API key
	roots *x509.CertPool
	*server
}

// server is a Candid server.
type server struct {
	*httptest.Server
	mu    sync.Mutex // guards what follows
	users map[string]static.UserInfo
	down  bool
	agent *bakery.KeyPair // of maas@candid
	store store.Store
	next  http.Handler
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot start:", err)
		code = 1
	}
	os.Exit(code)
}

// newServer listens; Candid itself needs the site's address and comes later.
func newServer() *server {
	s := &server{users: map[string]static.UserInfo{}, agent: bakery.MustGenerateKey(), store: memstore.NewStore()}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		next := s.next
		if s.down {
			next = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		}
		s.mu.Unlock()
		next.ServeHTTP(w, r)
	}))
	return s
}

// serve makes the Candid server. Browsers may be sent back to the given address.
func (s *server) serve(returnTo string) error {
	templates, err := fs.Sub(candid.ResourceFS, "templates")
	if err != nil {
		return err
	}
	pages, err := template.New("").ParseFS(templates, "*")
	if err != nil {
		return err
	}
	h, err := candid.NewServer(candid.ServerParams{Store: s.store, ProviderDataStore: memstore.NewProviderDataStore(), MeetingStore: memstore.NewMeetingStore(),
		RootKeyStore: bakery.NewMemRootKeyStore(), ACLStore: aclstore.NewACLStore(memsimplekv.NewStore()), Key: bakery.MustGenerateKey(), Location: s.URL, PrivateAddr: "127.0.0.1", Template: pages,
		StaticFileSystem: http.FS(candid.ResourceFS), RedirectLoginTrustedURLs: []string{returnTo},
		IdentityProviders: []idp.IdentityProvider{
			static.NewIdentityProvider(static.Params{Name: "static", Domain: "site", Users: s.users}),
			static.NewIdentityProvider(static.Params{Name: "elsewhere", Domain: "elsewhere", Users: s.users})},
		APIMacaroonTimeout: time.Hour, DischargeMacaroonTimeout: time.Hour, DischargeTokenTimeout: time.Hour, RendezvousTimeout: time.Minute,
	}, candid.V1, candid.Discharger)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = h
	return nil
}

// set makes a person, or changes his groups. His password is his name backwards, so to say.
func (s *server) set(name string, groups ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[name] = static.UserInfo{Password: "of " + name, Name: name, Email: name + "@example.com", Groups: groups}
}

func (s *server) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// add makes an account of a program.
func (s *server) add(username string, key *bakery.KeyPair, groups ...string) error {
	id := &store.Identity{ProviderID: store.MakeProviderIdentity("idm", username), Username: username, Groups: groups, PublicKeys: []bakery.PublicKey{key.Public}}
	return s.store.UpdateIdentity(context.Background(), id, store.Update{store.Username: store.Set, store.Groups: store.Set, store.PublicKeys: store.Set})
}

// program makes an account of a program and its agent file.
func (s *server) program(t testing.TB, username string, key *bakery.KeyPair, groups ...string) (file string) {
	t.Helper()
	if err := s.add(username, key, groups...); err != nil {
		t.Fatal(err)
	}
	return s.file(t, username, key)
}

// file writes an agent file, as Candid's own command does.
func (s *server) file(t testing.TB, username string, key *bakery.KeyPair) string {
	data, err := agentFile(s.URL, username, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "agent.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func agentFile(url, username string, key *bakery.KeyPair) ([]byte, error) {
	return json.Marshal(map[string]any{"key": key, "agents": []map[string]string{{"url": url, "username": username}}})
}

func run(m *testing.M) (int, error) {
	tmp, err := os.MkdirTemp("", "metalward-candid-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	site.dir, site.exe, site.server = tmp, filepath.Join(tmp, "metalward"), newServer()
	defer site.server.Close()
	ca := filepath.Join(tmp, "candid.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: site.Certificate().Raw}), 0o600); err != nil {
		return 0, err
	}
	build := exec.Command("go", "build", "-o", site.exe, "./cmd/metalward")
	build.Dir, build.Stderr = filepath.Join("..", ".."), os.Stderr
	if err := build.Run(); err != nil {
		return 0, err
	}
	state := filepath.Join(tmp, "state")
	region := exec.Command(site.exe, "up", "--no-rack", "--state-dir", state, "--listen-https", "127.0.0.1:0", "--listen-plain", "off", "--listen-rpc", "127.0.0.1:0",
		"--egress-allow", "127.0.0.0/8", "--egress-ca", ca)
	log, err := os.Create(filepath.Join(tmp, "log"))
	if err != nil {
		return 0, err
	}
	defer log.Close()
	region.Stderr = log
	stdout, err := region.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := region.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = region.Process.Signal(syscall.SIGTERM)
		_ = region.Wait()
	}()
	code := 1
	if err = prepare(stdout, state); err == nil {
		code = m.Run()
	}
	if code != 0 {
		text, _ := os.ReadFile(log.Name())
		fmt.Fprintf(os.Stderr, "the region's log:\n%s", text)
	}
	return code, err
}

// command runs the program on the region's host, or as the API's command line.
func command(in string, args ...string) (string, error) {
	cmd := prepared(args...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", args[0], err, out)
	}
	return string(out), err
}

// prepared is the program with a configuration of its own, on a computer that trusts Candid's certificate.
func prepared(args ...string) *exec.Cmd {
	cmd := exec.Command(site.exe, args...)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(site.dir, "config"), "SSL_CERT_FILE="+filepath.Join(site.dir, "candid.pem"))
	return cmd
}

func state() string { return filepath.Join(site.dir, "state") }

// prepare waits for the address, makes an administrator, and sets the external authentication, as an operator would.
func prepare(stdout io.Reader, state string) error {
	lines := bufio.NewScanner(stdout)
	for site.url == "" && lines.Scan() {
		if _, address, ok := strings.Cut(lines.Text(), "Metalward is at"); ok {
			site.url = strings.TrimSpace(address)
		}
	}
	if site.url == "" {
		return errors.New("it ended before it served")
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }() // ends with the region
	if err := site.serve(site.url + "/login/macaroon/callback"); err != nil {
		return err
	}
	if _, err := command("correct horse battery staple\n", "createadmin", "--state-dir", state, "--username", "admin", "--email", "admin@example.com"); err != nil {
		return err
	}
	key, err := command("", "apikey", "--state-dir", state, "--username", "admin")
	if err != nil {
		return err
	}
	site.key = strings.TrimSpace(key)
	// An agent that may read about people is in this group of Candid's.
	if err := site.add("maas@candid", site.agent, "userinfo@candid"); err != nil {
		return err
	}
	data, err := agentFile(site.URL, "maas@candid", site.agent)
	if err != nil {
		return err
	}
	file := filepath.Join(site.dir, "maas.agent")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	out, err := command("", "configauth", "--state-dir", state, "--candid-agent-file", file, "--candid-domain", "site", "--candid-admin-group", "admins@site", "--json")
	if err != nil {
		return err
	}
	private, _ := site.agent.Private.MarshalText()
	if !strings.Contains(out, `"external_auth_url":"`+site.URL+`"`) || strings.Contains(out, string(private)) {
		return fmt.Errorf("configauth says %s", out)
	}
	text, err := os.ReadFile(filepath.Join(state, "ca.pem"))
	if err != nil {
		return err
	}
	site.roots = x509.NewCertPool()
	site.roots.AppendCertsFromPEM(text)
	site.roots.AddCert(site.Certificate())
	return nil
}

// newClient makes a client of region and Candid that follows no redirect of the region's.
func newClient(jar http.CookieJar) *http.Client {
	return &http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: site.roots, MinVersion: tls.VersionTLS12}}}
}
