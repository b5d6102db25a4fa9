package compat

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/juju/gomaasapi/v2"
)

// site is the region that all tests share. Tests use names of their own and run one after another.
var site struct {
	url  string // with /MAAS
	key  string
	root string      // the program
	dir  string      // the state folder
	tls  *tls.Config // cloned for each client: a transport changes its own
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot start a region:", err)
		code = 1
	}
	os.Exit(code)
}

// A site that somebody else runs, for the tests of machine_test.go: nothing is built or started then.
const (
	envURL = "METALWARD_COMPAT_URL" // with /MAAS
	envCA  = "METALWARD_COMPAT_CA"  // file with its certificate authority
	envKey = "METALWARD_COMPAT_KEY" // file with an administrator's API key, so that no list of processes shows it
)

// outside takes the site from the environment.
func outside() error {
	site.url = os.Getenv(envURL)
	key, err := os.ReadFile(os.Getenv(envKey))
	if err != nil {
		return fmt.Errorf("%s: %w", envKey, err)
	}
	site.key = strings.TrimSpace(string(key))
	return trust(os.Getenv(envCA))
}

func run(m *testing.M) (int, error) {
	if os.Getenv(envURL) != "" {
		if err := outside(); err != nil {
			return 0, err
		}
		return m.Run(), nil
	}
	tmp, err := os.MkdirTemp("", "metalward-compat-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	site.root, site.dir = filepath.Join(tmp, "metalward"), filepath.Join(tmp, "state")
	build := exec.Command("go", "build", "-o", site.root, "./cmd/metalward")
	build.Dir = filepath.Join("..", "..")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return 0, err
	}
	region := exec.Command(site.root, "up", "--no-rack", "--state-dir", site.dir, "--listen-https", "127.0.0.1:0", "--listen-plain", "off", "--listen-rpc", "127.0.0.1:0", "--request-rules", "block")
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
	if err := prepare(stdout); err != nil {
		text, _ := os.ReadFile(log.Name())
		return 0, fmt.Errorf("%w\n%s", err, text)
	}
	code := m.Run()
	if code != 0 {
		text, _ := os.ReadFile(log.Name())
		fmt.Fprintf(os.Stderr, "the region's log:\n%s", text)
	}
	return code, nil
}

// prepare waits for the address, and makes an administrator with an API key, as an operator would.
func prepare(stdout io.Reader) error {
	lines := bufio.NewScanner(stdout)
	for site.url == "" && lines.Scan() {
		if _, address, ok := strings.Cut(lines.Text(), "Metalward is at"); ok {
			site.url = strings.TrimSpace(address) + "/MAAS"
		}
	}
	if site.url == "" {
		return errors.New("it ended before it served")
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }() // ends with the region
	create := exec.Command(site.root, "createadmin", "--state-dir", site.dir, "--username", "admin", "--email", "admin@example.com")
	create.Stdin, create.Stderr = strings.NewReader("correct horse battery staple\n"), os.Stderr
	if err := create.Run(); err != nil {
		return fmt.Errorf("createadmin: %w", err)
	}
	key, err := exec.Command(site.root, "apikey", "--state-dir", site.dir, "--username", "admin").Output()
	if err != nil {
		return fmt.Errorf("apikey: %w", err)
	}
	site.key = strings.TrimSpace(string(key))
	if err := trust(filepath.Join(site.dir, "ca.pem")); err != nil {
		return err
	}
	for range 600 { // it may listen a moment after it says so
		resp, err := httpClient().Get(site.url + "/api/2.0/version/")
		if err == nil {
			return resp.Body.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("it does not answer")
}

// trust makes clients accept the site's certificate authority alone.
func trust(file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", file)
	}
	site.tls = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return nil
}

func httpClient() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: site.tls.Clone()}, Timeout: 30 * time.Second}
}

// ok ends the test on an error; what says what was tried.
func ok(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// fails checks the status that a client was refused with.
func fails(t *testing.T, what string, err error, status int) {
	t.Helper()
	if server, found := gomaasapi.GetServerError(err); !found || server.StatusCode != status {
		t.Errorf("%s: got %v, want status %d", what, err, status)
	}
}

// same compares two values.
func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
