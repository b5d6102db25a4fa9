//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/test/e2e/lab"
)

// site is an instance under test: a region and a rack in namespaces of their own, and a client.
type site struct {
	t         *testing.T
	net       *lab.Network
	bin       string
	ephemeral string
	tiny      string
	stateDir  string
	rackDir   string
	key       string // API key of whoever acts
	keys      map[string]string
	client    *http.Client
	region    *lab.Process
	rack      *lab.Process
	rackID    string
	elsewhere *elsewhere // nil: the region has all itself
	captures  []*lab.Capture
	dsn       string // of the region's database, from here
	starts    int    // of region and rack: each start has a log of its own
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

const apiRoot = "https://" + lab.RegionAddr + ":5443/MAAS/api/2.0"

// buildTime bounds the building of binaries and images, which may start from nothing.
const buildTime = 20 * time.Minute

// building is held by who builds: the stories run side by side.
var building sync.Mutex

// artefacts builds what the stories need, once a run; the builders keep what did not change.
func artefacts(t *testing.T) (bin, ephemeral, tiny string) {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	if reason := lab.Missing(); reason != "" {
		t.Skip("no laboratory here: " + reason)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("METALWARD_LAB_CACHE")
	if dir == "" {
		dir = filepath.Join(root, "build", "e2e")
	}
	bin, ephemeral, tiny = filepath.Join(dir, "metalward"), filepath.Join(dir, "ephemeral"), filepath.Join(dir, "images", "tiny.raw")
	for _, c := range [][]string{
		{"go", "build", "-trimpath", "-o", bin, "./cmd/metalward"},
		{"sh", "deploy/ephemeral/build.sh", ephemeral},
		{"bash", "test/e2e/images/build.sh", "tiny", tiny},
	} {
		cmd := exec.CommandContext(ctx, c[0], c[1:]...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cannot run %v: %v\n%s", c, err, out)
		}
	}
	return bin, ephemeral, tiny
}

// start brings up region and rack, enrols the rack, and turns DHCP on for the boot VLAN. With recorded
// every network is captured from the first packet on. With away the region's database is a
// PostgreSQL on another host, and its secrets are in a Vault there.
func start(ctx context.Context, t *testing.T, recorded, away bool) *site {
	t.Helper()
	s := &site{t: t}
	s.bin, s.ephemeral, s.tiny = artefacts(t)
	dir := t.TempDir()
	n, err := lab.NewNetwork(ctx, dir)
	s.must(err)
	s.net = n
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(dir, "r*-[0-9].log"))
			for _, name := range logs {
				if b, err := os.ReadFile(name); err == nil {
					t.Logf("--- %s\n%s", filepath.Base(name), tail(b, 20_000))
				}
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	if recorded {
		s.captures = s.capture(ctx)
	}
	s.stateDir, s.rackDir = filepath.Join(dir, "region-state"), filepath.Join(dir, "rack-state")
	s.dsn = filepath.Join(s.stateDir, "metalward.db")
	if away {
		s.elsewhere = s.beside(ctx)
		s.initElsewhere(ctx)
	}
	s.startRegion(ctx)
	if away {
		s.moveSecrets(ctx)
	}
	_, err = s.metalward(ctx, lab.Region, "a long enough password\n", "createadmin", "--state-dir", s.stateDir, "--username", "admin", "--email", "admin@example.com")
	s.must(err)
	key, err := s.metalward(ctx, lab.Region, "", "apikey", "--state-dir", s.stateDir, "--username", "admin")
	s.must(err)
	s.key = strings.TrimSpace(key)
	ca, err := os.ReadFile(filepath.Join(s.stateDir, "ca.pem"))
	s.must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	s.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: n.Dialer(lab.Region), TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 4}}

	token, err := s.metalward(ctx, lab.Region, "", "rack", "token", "--state-dir", s.stateDir, "--name", "rack1")
	s.must(err)
	_, err = s.metalward(ctx, lab.Rack, token, "rack", "enrol", "--region", "https://"+lab.RegionAddr+":5443", "--state-dir", s.rackDir)
	s.must(err)
	s.startRack(ctx)
	s.rackID = s.waitRack(ctx)

	sub := s.findSubnet(ctx, lab.BootNet)
	s.api(ctx, "POST", "/ipranges/", "type", "dynamic", "start_ip", "10.77.0.100", "end_ip", "10.77.0.200", "subnet", strconv.Itoa(sub.int("id")))
	s.api(ctx, "PUT", fmt.Sprintf("/vlans/%d/", object(sub["vlan"].(map[string]any)).int("id")), "dhcp_on", "true", "primary_rack", s.rackID)
	return s
}

func (s *site) startRegion(ctx context.Context) {
	s.starts++
	p, err := s.net.Start(lab.Region, fmt.Sprintf("region-%d", s.starts), nil, s.bin, "region", "--state-dir", s.stateDir, "--public-host", lab.RegionAddr, "--listen-https", lab.RegionAddr+":5443",
		"--listen-plain", lab.RegionAddr+":5240", "--listen-rpc", lab.RegionAddr+":5250")
	s.must(err)
	s.region = p
	s.must(p.WaitLog(ctx, "CA fingerprint"))
}

func (s *site) startRack(ctx context.Context) {
	s.starts++
	p, err := s.net.Start(lab.Rack, fmt.Sprintf("rack-%d", s.starts), nil, s.bin, "rack", "--state-dir", s.rackDir, "--boot-files", s.ephemeral)
	s.must(err)
	s.rack = p
}

// metalward runs the binary in a namespace with some standard input.
func (s *site) metalward(ctx context.Context, node lab.Node, stdin string, args ...string) (string, error) {
	cmd := s.net.Command(ctx, node, append([]string{s.bin}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("cannot run metalward %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), nil
}

// object is decoded JSON.
type object map[string]any

func (o object) str(key string) string  { v, _ := o[key].(string); return v }
func (o object) num(key string) float64 { v, _ := o[key].(float64); return v }
func (o object) int(key string) int     { return int(o.num(key)) }
func (o object) list(key string) []any  { v, _ := o[key].([]any); return v }

// call makes an API call with form fields and returns status and body.
func (s *site) call(ctx context.Context, method, path string, fields ...string) (int, []byte) {
	s.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	var body io.Reader
	if method != "GET" && method != "DELETE" {
		body = strings.NewReader(form.Encode())
	}
	return s.send(ctx, method, path, "application/x-www-form-urlencoded", body)
}

func (s *site) send(ctx context.Context, method, path, mime string, body io.Reader) (int, []byte) {
	s.t.Helper()
	target := apiRoot + path
	if strings.HasPrefix(path, "/MAAS/") {
		target = "https://" + lab.RegionAddr + ":5443" + path
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	s.must(err)
	if body != nil {
		req.Header.Set("Content-Type", mime)
	}
	part := strings.Split(s.key, ":")
	req.Header.Set("Authorization", fmt.Sprintf(`OAuth oauth_version="1.0", oauth_signature_method="PLAINTEXT", oauth_consumer_key="%s", oauth_token="%s", oauth_signature="%%26%s", oauth_timestamp="%d", oauth_nonce="%d"`,
		part[0], part[1], part[2], time.Now().Unix(), rand.Uint64()))
	res, err := s.client.Do(req)
	s.must(err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	s.must(err)
	return res.StatusCode, data
}

// api makes an API call that must succeed.
func (s *site) api(ctx context.Context, method, path string, fields ...string) []byte {
	s.t.Helper()
	status, body := s.call(ctx, method, path, fields...)
	if status/100 != 2 {
		s.t.Fatalf("%s %s: got status %d: %s", method, path, status, body)
	}
	return body
}

func (s *site) object(ctx context.Context, path string) object {
	s.t.Helper()
	var o object
	s.must(json.Unmarshal(s.api(ctx, "GET", path), &o))
	return o
}

func (s *site) objects(ctx context.Context, path string) []object {
	s.t.Helper()
	var o []object
	s.must(json.Unmarshal(s.api(ctx, "GET", path), &o))
	return o
}

// poll asks until ok; the context ends the wait.
func (s *site) poll(ctx context.Context, what string, ok func() bool) {
	s.t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			s.t.Fatalf("timed out waiting for %s", what)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (s *site) waitRack(ctx context.Context) (id string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s.poll(ctx, "the rack to connect", func() bool {
		for _, r := range s.objects(ctx, "/rackcontrollers/") {
			id = r.str("system_id")
		}
		return id != "" && len(s.objects(ctx, "/subnets/")) >= 3
	})
	return id
}

func (s *site) findSubnet(ctx context.Context, cidr string) object {
	s.t.Helper()
	for _, o := range s.objects(ctx, "/subnets/") {
		if o.str("cidr") == cidr {
			return o
		}
	}
	s.t.Fatalf("no subnet %s", cidr)
	return nil
}

func (s *site) newMachine(ctx context.Context, name string, fw lab.Firmware, size int64) *lab.Machine {
	s.t.Helper()
	m, err := s.net.NewMachine(ctx, lab.MachineConfig{Name: name, Firmware: fw, MemoryMiB: 1024, Disks: []lab.Disk{{Serial: "DISK-" + name, Size: size, Bus: "virtio"}},
		BMC: &lab.BMCConfig{User: "admin", Password: bmcPassword}})
	s.must(err)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			if b, err := os.ReadFile(m.SerialPath()); err == nil {
				s.t.Logf("--- serial of %s\n%s", name, tail(b, 20_000))
			}
		}
	})
	return m
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}

func (s *site) waitNew(ctx context.Context, mac string) (id string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	s.poll(ctx, "the machine to enlist", func() bool {
		for _, m := range s.objects(ctx, "/machines/?mac_address="+url.QueryEscape(mac)) {
			if m.str("status_name") == "New" {
				id = m.str("system_id")
			}
		}
		return id != ""
	})
	return id
}

func (s *site) waitStatus(ctx context.Context, id, want string) (m object) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute)
	defer cancel()
	s.poll(ctx, "status "+want, func() bool {
		m = s.object(ctx, "/machines/"+id+"/")
		got := m.str("status_name")
		if got != want && strings.Contains(strings.ToLower(got), "failed") {
			s.t.Fatalf("got status %s (%s), want %s", got, m.str("error_description"), want)
		}
		return got == want
	})
	return m
}

func (s *site) waitOff(ctx context.Context, m *lab.Machine) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	s.poll(ctx, "the machine to power off", func() bool { return !m.IsOn() })
}

// upload sends an image as the maas command line does: announced, then in chunks.
func (s *site) upload(ctx context.Context, name, path, kind string) object {
	s.t.Helper()
	data, err := os.ReadFile(path)
	s.must(err)
	sum := sha256.Sum256(data)
	var o object
	s.must(json.Unmarshal(s.api(ctx, "POST", "/boot-resources/", "name", name, "architecture", "amd64/generic", "sha256", hex.EncodeToString(sum[:]),
		"size", strconv.Itoa(len(data)), "filetype", kind), &o))
	for _, set := range o["sets"].(map[string]any) {
		for _, f := range set.(map[string]any)["files"].(map[string]any) {
			uri := object(f.(map[string]any)).str("upload_uri")
			for chunk := range chunks(data, 4<<20) {
				if status, body := s.send(ctx, "PUT", uri, "application/octet-stream", bytes.NewReader(chunk)); status != 200 {
					s.t.Fatalf("got status %d for a chunk: %s", status, body)
				}
			}
		}
	}
	return o
}

func chunks(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			c := b[:min(n, len(b))]
			if b = b[len(c):]; !yield(c) {
				return
			}
		}
	}
}

// capture records every network of the story.
func (s *site) capture(ctx context.Context) []*lab.Capture {
	s.t.Helper()
	var out []*lab.Capture
	for _, c := range []struct {
		node  lab.Node
		iface string
	}{{lab.Region, lab.ControlIface}, {lab.Rack, lab.BootIface}, {lab.Rack, lab.BMCIface}} {
		x, err := s.net.Capture(ctx, c.node, c.iface, c.iface)
		s.must(err)
		out = append(out, x)
	}
	return out
}

// searchCaptures looks for secrets outside TLS. IPMI's own exchange never shows a password, only proofs of it.
func (s *site) searchCaptures(ctx context.Context) {
	s.t.Helper()
	shared, err := os.ReadFile(filepath.Join(s.stateDir, "shared-secret"))
	s.must(err)
	needles := [][]byte{[]byte(bmcPassword), []byte(userCanary), bytes.TrimSpace(shared), []byte("phone-home/")}
	if s.elsewhere != nil {
		more, err := s.elsewhere.hidden(s.stateDir)
		s.must(err)
		needles = append(needles, more...)
	}
	for _, key := range s.keys {
		needles = append(needles, []byte(strings.Split(key, ":")[2]))
	}
	for _, c := range s.captures {
		s.must(c.Stop(ctx))
		found, err := c.Search(needles...)
		s.must(err)
		for _, f := range found {
			s.t.Errorf("%s: secret %d in clear on %s", c.Path(), f.Needle, f.Flow)
		}
		flows, err := c.Flows()
		s.must(err)
		encrypted := 0
		for _, f := range flows {
			switch {
			case f.Encrypted():
				encrypted++
			case !plain(f):
				s.t.Errorf("%s: %s is not encrypted; it begins %q", c.Path(), f, f.Begin)
			}
		}
		s.t.Logf("%s: %d flows, %d of them TLS", filepath.Base(c.Path()), len(flows), encrypted)
	}
}

// plain reports whether a flow may be in clear: DHCP, first-stage boot, DNS, NTP, IPMI, and what people and machines encrypt otherwise.
func plain(f lab.Flow) bool {
	port := f.Port
	switch {
	case f.UDP:
		// 69 and what answers it, 67 and 68, 546 and 547, 53, 123, 623; 5353 and 5355 are a deployed Debian looking for names.
		return f.TFTP || slices.Contains([]uint16{67, 68, 69, 546, 547, 53, 123, 623, 5353, 5355}, port)
	case strconv.Itoa(int(port)) == lab.InBandPort: // inside a real machine
		return true
	default:
		return port == 22 && bytes.HasPrefix(f.Begin, []byte("SSH-")) || port == 5248 && bytes.HasPrefix(f.Begin, []byte("GET /")) || port == 53
	}
}

// debianImage builds the deployable Debian image, or finds the one built before.
func debianImage(t *testing.T, tiny string) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	out := filepath.Join(filepath.Dir(tiny), "debian.raw")
	if msg, err := exec.CommandContext(ctx, "bash", "images/build.sh", "debian", out).CombinedOutput(); err != nil {
		t.Fatalf("cannot build the Debian image: %v\n%s", err, msg)
	}
	return out
}

func (s *site) sshKeyFile() string { return filepath.Join(s.net.Dir(), "owner-key") }

// addSSHKey gives the user a fresh SSH key.
func (s *site) addSSHKey(ctx context.Context) {
	s.t.Helper()
	out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "owner", "-f", s.sshKeyFile()).CombinedOutput()
	if err != nil {
		s.t.Fatalf("cannot make an SSH key: %v\n%s", err, out)
	}
	public, err := os.ReadFile(s.sshKeyFile() + ".pub")
	s.must(err)
	s.api(ctx, "POST", "/account/prefs/sshkeys/", "key", string(public))
}

// ssh runs a command on a deployed machine with the owner's key, trying until its sshd answers.
func (s *site) ssh(ctx context.Context, ip, command string) (out string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	s.poll(ctx, "SSH to "+ip, func() bool {
		cmd := s.net.Command(ctx, lab.Rack, "ssh", "-i", s.sshKeyFile(), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
			"-o", "ConnectTimeout=5", "-o", "BatchMode=yes", "debian@"+ip, command)
		b, err := cmd.Output()
		out = string(b)
		return err == nil
	})
	return out
}

// trail counts the audit events with a detail "event" of this kind, or of this action.
func (s *site) trail(ctx context.Context, kind string) (n int) {
	s.t.Helper()
	r, w, err := store.Open(ctx, s.dsn)
	s.must(err)
	defer r.Close()
	defer w.Close()
	s.must(r.View(ctx, func(v *store.View) error {
		rows, err := v.AuditEvents(store.AuditQuery{Limit: 10000})
		for _, row := range rows {
			if row.Detail["event"] == kind || row.Action == kind {
				n++
			}
		}
		return err
	}))
	return n
}

// readStore hands over the leases that the region knows.
func (s *site) readStore(fn func([]metal.Lease)) {
	s.t.Helper()
	ctx := context.Background()
	r, w, err := store.Open(ctx, s.dsn)
	s.must(err)
	defer r.Close()
	defer w.Close()
	s.must(r.View(ctx, func(v *store.View) error {
		leases, err := v.Leases("", time.Now())
		fn(leases)
		return err
	}))
}
