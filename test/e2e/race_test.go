//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/wire"
	"github.com/metalward/metalward/test/e2e/lab"
)

// race is a client on the boot VLAN that heard the machine's boot token, takes its MAC and IP address, and
// spends the token before the machine's agent can. It then asks for the seed. It returns what it got.
func (s *site) race(ctx context.Context, m *lab.Machine, cmdline string) string {
	s.t.Helper()
	token := regexp.MustCompile(`^([A-Za-z0-9_-]+)`).FindStringSubmatch(cmdline)
	if token == nil {
		s.t.Fatalf("no token in %q", cmdline)
	}
	ip := s.leaseOf(m.MAC())
	rackNS := s.net.Namespace(lab.Rack)
	ns := rackNS + "-race"
	run := func(argv ...string) {
		s.t.Helper()
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			s.t.Fatalf("cannot run %v: %v\n%s", argv, err, out)
		}
	}
	run("ip", "netns", "add", ns)
	defer func() { _ = exec.Command("ip", "netns", "del", ns).Run() }()
	run("ip", "-n", rackNS, "link", "add", "race0", "type", "veth", "peer", "name", "race1")
	run("ip", "-n", rackNS, "link", "set", "race1", "netns", ns)
	run("ip", "-n", rackNS, "link", "set", "race0", "master", lab.BootIface, "up")
	run("ip", "-n", ns, "link", "set", "race1", "address", m.MAC(), "up")
	run("ip", "-n", ns, "addr", "add", ip+"/24", "dev", "race1")
	exe, err := os.Executable()
	s.must(err)
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", ns, exe, "-test.run", "^TestRacingClient$", "-test.v")
	cmd.Env = append(os.Environ(), "METALWARD_RACE_TOKEN="+token[1], "METALWARD_RACE_MAC="+m.MAC())
	out, err := cmd.CombinedOutput()
	s.must(err)
	for line := range strings.SplitSeq(string(out), "\n") {
		if _, got, ok := strings.Cut(line, "RACE: "); ok {
			return got
		}
	}
	s.t.Fatalf("the racing client said nothing:\n%s", out)
	return ""
}

// leaseOf asks the region which address a machine has.
func (s *site) leaseOf(mac string) (ip string) {
	s.t.Helper()
	s.readStore(func(leases []metal.Lease) {
		for _, l := range leases {
			if string(l.MAC) == mac {
				ip = l.IP.String()
			}
		}
	})
	if ip == "" {
		s.t.Fatalf("no lease of %s", mac)
	}
	return ip
}

// TestRacingClient is not a test of its own: race runs it in the client's namespace.
func TestRacingClient(t *testing.T) {
	token := os.Getenv("METALWARD_RACE_TOKEN")
	if token == "" {
		t.Skip("runs as the racing client of TestFaults alone")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	var cert tls.Certificate
	call := func(method, path string, req any) (int, []byte) {
		body, _ := json.Marshal(req)
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }}}
		r, err := http.NewRequestWithContext(ctx, method, "https://"+lab.BootAddr+":5246"+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Transport: tr}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		data, _ := io.ReadAll(res.Body)
		return res.StatusCode, data
	}
	status, data := call("POST", wire.ClaimPath, wire.ClaimRequest{Token: token, MAC: metal.MAC(os.Getenv("METALWARD_RACE_MAC")), CSR: csr})
	if status != 200 {
		fmt.Printf("RACE: claim refused with %d %s\n", status, data)
		return
	}
	var claim wire.ClaimResponse
	if err := json.Unmarshal(data, &claim); err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCerts(claim.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	cert = tls.Certificate{PrivateKey: key, Certificate: [][]byte{certs[0].Raw}}
	status, _ = call("GET", wire.TaskPath, nil)
	fmt.Printf("RACE: won the claim; its task: %d\n", status)
}
