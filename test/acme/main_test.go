package acme

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// The tests do not run side by side: all DNS servers of challtestsrv in a process answer with the last one's records.
//
// TestMain is the DNS hook, too: the region starts this program again by a script.
func TestMain(m *testing.M) {
	if len(os.Args) == 7 && os.Args[1] == "dns-hook" {
		resp, err := http.Post(os.Args[2]+"/"+os.Args[3]+"/"+os.Args[5]+"/"+os.Args[6], "", nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			fmt.Fprintln(os.Stderr, "no DNS server", err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	_ = os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	_ = os.Setenv("PEBBLE_AUTHZREUSE", "0") // a name that is proved is to be proved again
	os.Exit(m.Run())
}

// directory is an ACME server, on an address that stays while authorities come and go.
type directory struct {
	*httptest.Server
	dns               *challtestsrv.ChallSrv
	resolver          string
	httpPort, tlsPort int
	eab               map[string]string

	mu   sync.Mutex // guards what follows
	down bool
	next http.Handler
}

// newDirectory starts one that looks for proofs on these ports of this host.
func newDirectory(t *testing.T, httpPort, tlsPort int, life time.Duration) *directory {
	t.Helper()
	d := &directory{resolver: "127.0.0.1:" + strconv.Itoa(freePort(t)), httpPort: httpPort, tlsPort: tlsPort}
	var err error
	if d.dns, err = challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{d.resolver}, Log: log.New(io.Discard, "", 0)}); err != nil {
		t.Fatal(err)
	}
	d.dns.SetDefaultDNSIPv4("127.0.0.1")
	d.dns.SetDefaultDNSIPv6("")
	go d.dns.Run()
	t.Cleanup(d.dns.Shutdown)
	d.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		next := d.next
		if d.down {
			next = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
		}
		d.mu.Unlock()
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(d.Server.Close)
	d.found(life)
	return d
}

// found sets up a new authority, which knows no account and has a root of its own.
func (d *directory) found(life time.Duration) {
	quiet := log.New(io.Discard, "", 0)
	mem := db.NewMemoryStore()
	for id, key := range d.eab {
		if err := mem.AddExternalAccountKeyByID(id, key); err != nil {
			panic(err)
		}
	}
	authority := ca.New(quiet, mem, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "the only one", ValidityPeriod: uint64(life / time.Second)}})
	front := wfe.New(quiet, mem, va.New(quiet, d.httpPort, d.tlsPort, false, d.resolver, mem), authority, []string{"pebble.letsencrypt.org"}, false, len(d.eab) > 0, 1, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = front.Handler()
}

func (d *directory) setDown(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

func (d *directory) address() string { return d.URL + "/dir" }

// hook writes a DNS hook for the server.
func (d *directory) hook(t *testing.T) string {
	t.Helper()
	records := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
		if part[0] == "present" {
			d.dns.AddDNSTXTRecord(part[1]+".", part[2])
		} else {
			d.dns.DeleteDNSTXTRecord(part[1] + ".")
		}
		w.WriteHeader(http.StatusOK)
	}))
	t.Cleanup(records.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nexec "+self+" dns-hook "+records.URL+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// ports are given out once: below those that connections are made from, which could take one between two looks.
var ports = struct {
	sync.Mutex
	next int // guarded by the mutex
}{next: 20000 + os.Getpid()%10000}

// freePort is a port that nothing listens on, by TCP or UDP, and that no other test is given.
func freePort(t *testing.T) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 1000 {
		ports.next++
		addr := "127.0.0.1:" + strconv.Itoa(ports.next)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		_ = l.Close()
		if err != nil {
			continue
		}
		_ = u.Close()
		return ports.next
	}
	t.Fatal("there is no free port")
	return 0
}

// region is the program, running.
type region struct {
	t       *testing.T
	program string
	dir     string // state
	https   int
	plain   int
}

// newRegion builds and starts a region and a directory that finds it.
func newRegion(t *testing.T, life time.Duration) (*region, *directory) {
	t.Helper()
	tmp := t.TempDir()
	r := &region{t: t, program: filepath.Join(tmp, "metalward"), dir: filepath.Join(tmp, "state"), https: freePort(t), plain: freePort(t)}
	d := newDirectory(t, r.plain, r.https, life)
	trust := filepath.Join(tmp, "directory.pem")
	if err := os.WriteFile(trust, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", r.program, "./cmd/metalward")
	build.Dir = filepath.Join("..", "..")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	said, err := os.Create(filepath.Join(tmp, "log"))
	if err != nil {
		t.Fatal(err)
	}
	serve := exec.Command(r.program, "up", "--no-rack", "--state-dir", r.dir, "--listen-https", fmt.Sprintf("127.0.0.1:%d", r.https), "--listen-plain", fmt.Sprintf("127.0.0.1:%d", r.plain),
		"--listen-rpc", "127.0.0.1:0", "--public-host", "localhost", "--egress-allow", "127.0.0.0/8", "--egress-ca", trust)
	serve.Stderr = said
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
		_ = said.Close()
		text, _ := os.ReadFile(said.Name())
		if bytes.Contains(text, []byte("PRIVATE KEY")) {
			t.Error("the region's log has a private key")
		}
		if t.Failed() {
			t.Logf("the region's log:\n%s", text)
		}
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.Contains(lines.Text(), "Metalward is at") {
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }() // ends with the region
	return r, d
}

// host runs a command on the region's host.
func (r *region) host(args ...string) (string, error) {
	cmd := exec.Command(r.program, append([]string{"config-tls", args[0], "--state-dir", r.dir}, args[1:]...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r *region) must(args ...string) string {
	r.t.Helper()
	out, err := r.host(args...)
	if err != nil {
		r.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

// shows is the certificate that people see.
func (r *region) shows() *x509.Certificate {
	r.t.Helper()
	c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.https), &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}) //nolint:gosec // looks only
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0]
}

func ofDirectory(c *x509.Certificate) bool { return strings.HasPrefix(c.Issuer.CommonName, "Pebble ") }

// eventually waits for what happens beside the test, in its own time.
func (r *region) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(100 * time.Second); !ok(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			out, _ := r.host("status")
			r.t.Fatalf("not %s\n%s", what, out)
		}
	}
}
