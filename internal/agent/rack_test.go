package agent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// authority is a CA for tests.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	from time.Time
}

// newAuthority makes a CA that may sign for the loopback network only.
func newAuthority(t testing.TB, from time.Time, change func(*x509.Certificate)) *authority {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test metadata CA"},
		NotBefore: from, NotAfter: from.AddDate(5, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true,
		PermittedIPRanges:           []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}},
	}
	if change != nil {
		change(tmpl)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, from}
}

func (a *authority) sign(t testing.TB, pub crypto.PublicKey, change func(*x509.Certificate)) []byte {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "leaf"},
		NotBefore: a.from, NotAfter: a.from.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (a *authority) server(t testing.TB, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := a.sign(t, key.Public(), func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		if change != nil {
			change(c)
		}
	})
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
}

const testToken = "test-token-0123456789"

// fakeRack is a working rack of one boot.
type fakeRack struct {
	*httptest.Server
	t     *testing.T
	ca    *authority
	task  wire.TaskResponse
	image []byte
	seed  wire.SeedResponse
	now   time.Time

	mu       sync.Mutex // guards what follows
	claims   int
	found    []metal.Inventory
	done     []wire.DoneRequest
	progress []string
	streams  map[string][]byte // script/stream to text
	ends     map[string]wire.OutputRequest
	pieces   int
	largest  int
	seeds    int
	// intercept, if set, may answer a request itself.
	intercept func(w http.ResponseWriter, req *http.Request) bool
	ranges    []string
}

func newFakeRack(t *testing.T, task wire.TaskResponse) *fakeRack {
	r := &fakeRack{t: t, ca: newAuthority(t, time.Now().Add(-24*time.Hour), nil), task: task, now: time.Now(),
		streams: map[string][]byte{}, ends: map[string]wire.OutputRequest{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.ClaimPath, r.claim)
	mux.HandleFunc("GET "+wire.TaskPath, r.member(func(w http.ResponseWriter, _ *http.Request) { r.answer(w, r.task) }))
	mux.HandleFunc("POST "+wire.FoundPath, r.member(func(w http.ResponseWriter, req *http.Request) {
		var m wire.FoundRequest
		if r.read(w, req, &m) {
			r.found = append(r.found, m.Inventory)
		}
	}))
	mux.HandleFunc("POST "+wire.ProgressPath, r.member(func(w http.ResponseWriter, req *http.Request) {
		var m wire.ProgressRequest
		if r.read(w, req, &m) {
			r.progress = append(r.progress, m.Stage)
		}
	}))
	mux.HandleFunc("POST "+wire.DonePath, r.member(func(w http.ResponseWriter, req *http.Request) {
		var m wire.DoneRequest
		if r.read(w, req, &m) {
			r.done = append(r.done, m)
		}
	}))
	mux.HandleFunc("GET "+wire.SeedPath, r.member(func(w http.ResponseWriter, _ *http.Request) {
		r.seeds++
		r.answer(w, r.seed)
	}))
	mux.HandleFunc("POST "+wire.OutputPath, r.member(r.output))
	mux.HandleFunc("GET "+wire.ImagePath+"{digest}", r.member(func(w http.ResponseWriter, req *http.Request) {
		r.ranges = append(r.ranges, req.Header.Get("Range"))
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(r.image))
	}))
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.intercept != nil && r.intercept(w, req) {
			return
		}
		mux.ServeHTTP(w, req)
	}))
	clients := x509.NewCertPool()
	clients.AddCert(r.ca.cert)
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{r.ca.server(t, nil)},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients}
	t.Cleanup(r.Close)
	return r
}

func (r *fakeRack) answer(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func (r *fakeRack) read(w http.ResponseWriter, req *http.Request, v any) bool {
	data, _ := io.ReadAll(req.Body)
	if err := wire.Decode(data, v); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func (r *fakeRack) member(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if len(req.TLS.PeerCertificates) == 0 {
			http.Error(w, "no certificate", http.StatusUnauthorized)
			return
		}
		h(w, req)
	}
}

func (r *fakeRack) claim(w http.ResponseWriter, req *http.Request) {
	var m wire.ClaimRequest
	if !r.read(w, req, &m) {
		return
	}
	r.claims++
	csr, err := x509.ParseCertificateRequest(m.CSR)
	if err != nil || csr.CheckSignature() != nil || m.Token != testToken || m.MAC != testMAC {
		http.Error(w, "no such boot", http.StatusForbidden)
		return
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.ca.sign(r.t, csr.PublicKey, nil)})
	r.answer(w, wire.ClaimResponse{BootID: "boot1", Purpose: r.task.Purpose, Certificate: cert, Now: r.now})
}

func (r *fakeRack) output(w http.ResponseWriter, req *http.Request) {
	var m wire.OutputRequest
	if !r.read(w, req, &m) {
		return
	}
	key := m.Script + "/" + m.Stream
	if int64(len(r.streams[key])) != m.Offset {
		http.Error(w, fmt.Sprintf("offset %d, have %d", m.Offset, len(r.streams[key])), http.StatusConflict)
		return
	}
	r.streams[key] = append(r.streams[key], m.Data...)
	r.pieces++
	r.largest = max(r.largest, len(m.Data))
	if m.Status.Final() {
		r.ends[m.Script] = m
	}
}

const testMAC = metal.MAC("52:54:00:00:00:01")

func (r *fakeRack) args() Arguments {
	u, _ := url.Parse(r.URL)
	return Arguments{Rack: netip.MustParseAddrPort(u.Host), CA: sha256.Sum256(r.ca.cert.Raw), Token: secret.FromString(testToken), MAC: testMAC}
}

// fakeHost keeps disks as files below a directory and remembers what was set.
type fakeHost struct {
	dir   string
	root  string // what MountRoot gives
	tweak func(*Disk)

	mu        sync.Mutex // guards what follows
	clock     time.Time
	rtc       time.Time
	esp       *Partition
	forgotten int
	mounted   int
}

func (h *fakeHost) SetClock(now time.Time) error { h.clock = now; return nil }
func (h *fakeHost) SetRTC(now time.Time) error   { h.rtc = now; return nil }
func (h *fakeHost) OpenDisk(name string) (*Disk, error) {
	d, err := OpenDisk(filepath.Join(h.dir, name))
	if err == nil && h.tweak != nil {
		h.tweak(d)
	}
	return d, err
}

func (h *fakeHost) MountRoot(context.Context, string) (string, func() error, error) {
	h.mounted++
	return h.root, func() error { h.mounted--; return nil }, nil
}

func (h *fakeHost) SetBootEntry(esp *Partition) (bool, error) {
	if h.esp = esp; esp == nil {
		h.forgotten++
	}
	return true, nil
}

func (h *fakeHost) BMC(context.Context) *metal.InventoryBMC {
	return &metal.InventoryBMC{PowerType: "ipmi", Address: "10.0.0.9", MAC: "52:54:00:00:00:99"}
}

// machineTree makes sysfs and procfs of a machine with the given disks, and the disks themselves, full of
// old data.
func machineTree(t *testing.T, disks map[string]int64) (root string, host *fakeHost) {
	t.Helper()
	root, dir := t.TempDir(), t.TempDir()
	files := map[string]string{
		"proc/cpuinfo":                         "processor\t: 0\nmodel name\t: Test CPU\ncpu MHz\t\t: 2000.5\n\nprocessor\t: 1\nmodel name\t: Test CPU\ncpu MHz\t\t: 2100.0\n",
		"proc/meminfo":                         "MemTotal:        2048000 kB\nMemFree: 1 kB\n",
		"sys/class/dmi/id/product_uuid":        "4C4C4544-0000-0000-0000-000000000001\n",
		"sys/class/dmi/id/sys_vendor":          "Metalward\n",
		"sys/class/net/lo/address":             "00:00:00:00:00:00\n",
		"sys/class/net/eth0/address":           testMAC.String() + "\n",
		"sys/class/net/eth0/carrier":           "1\n",
		"sys/class/net/eth0/speed":             "10000\n",
		"sys/class/net/eth0/mtu":               "1500\n",
		"sys/class/net/eth0/device/vendor":     "0x8086\n",
		"sys/class/net/eth0/device/device":     "0x1572\n",
		"sys/class/net/eth0/device/numa_node":  "-1\n",
		"sys/class/net/br0/address":            "52:54:00:00:00:77\n",
		"sys/class/tpm/tpm0/tpm_version_major": "2\n",
		"sys/block/loop0/size":                 "8\n",
		"sys/block/sr0/size":                   "8\n",
		"sys/block/sr0/device/model":           "DVD\n",
	}
	for name, size := range disks {
		files["sys/block/"+name+"/size"] = fmt.Sprint(size / 512)
		files["sys/block/"+name+"/device/model"] = "Model of " + name + "\n"
		files["sys/block/"+name+"/serial"] = "SN-" + name + "\n"
		old := bytes.Repeat([]byte("old data "), int(size)/9+1)[:size]
		if err := os.WriteFile(filepath.Join(dir, name), old, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeTree(t, root, files)
	if err := os.Symlink("../../../bus/pci/drivers/i40e", filepath.Join(root, "sys/class/net/eth0/device/driver")); err != nil {
		t.Fatal(err)
	}
	return root, &fakeHost{dir: dir, root: t.TempDir()}
}

func writeTree(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// runAgent runs a whole boot against the fake rack.
func runAgent(t *testing.T, rack *fakeRack, root string, host *fakeHost) (wire.EndAction, error) {
	t.Helper()
	if rack.URL == "" {
		rack.StartTLS()
	}
	c := Config{Args: rack.args(), Root: root, Host: host, Console: NewConsole(&testLog{t: t})}
	r := &run{Config: c, client: newClient(c.Args, c.Console)}
	r.client.backoff, r.client.retryFor = time.Millisecond, 2*time.Second
	return r.run(t.Context())
}

// testLog sends console lines to the test's log.
type testLog struct {
	t  *testing.T
	mu sync.Mutex
	b  strings.Builder
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Write(p)
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
