package agent

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

func TestPin(t *testing.T) {
	day := 24 * time.Hour
	for name, tc := range map[string]struct {
		serve func(t *testing.T, r *fakeRack) tls.Certificate
		want  string // in the error; empty for success
	}{
		"our CA": {func(t *testing.T, r *fakeRack) tls.Certificate { return r.ca.server(t, nil) }, ""},
		"leaf alone": {func(t *testing.T, r *fakeRack) tls.Certificate {
			c := r.ca.server(t, nil)
			c.Certificate = c.Certificate[:1]
			return c
		}, "no certificate has the digest"},
		"another CA": {func(t *testing.T, r *fakeRack) tls.Certificate {
			return newAuthority(t, time.Now().Add(-day), nil).server(t, nil)
		}, "no certificate has the digest"},
		"another CA's leaf with our CA beside it": {func(t *testing.T, r *fakeRack) tls.Certificate {
			c := newAuthority(t, time.Now().Add(-day), nil).server(t, nil)
			c.Certificate[1] = r.ca.cert.Raw
			return c
		}, "is not the rack"},
		"another address": {func(t *testing.T, r *fakeRack) tls.Certificate {
			return r.ca.server(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} })
		}, "127.0.0.1"},
		"outside the name constraints": {func(t *testing.T, r *fakeRack) tls.Certificate {
			return r.ca.server(t, func(c *x509.Certificate) { c.IPAddresses = append(c.IPAddresses, net.IPv4(10, 0, 0, 1)) })
		}, "not permitted"},
		"not for servers": {func(t *testing.T, r *fakeRack) tls.Certificate {
			return r.ca.server(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
		}, "incompatible key usage"},
		"expired, without a clock": {func(t *testing.T, r *fakeRack) tls.Certificate {
			return r.ca.server(t, func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(time.Hour) })
		}, "cannot fetch the task"}, // the claim works, from then on time is known
		"digest of a leaf": {func(t *testing.T, r *fakeRack) tls.Certificate {
			c := r.ca.server(t, nil)
			leaf, _ := x509.ParseCertificate(c.Certificate[0])
			r.ca.cert = leaf // what args takes the digest of
			return c
		}, "is not a CA"},
	} {
		t.Run(name, func(t *testing.T) {
			rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeEnlist})
			rack.TLS.Certificates[0] = tc.serve(t, rack)
			root, host := machineTree(t, nil)
			_, err := runAgent(t, rack, root, host)
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, errUntrusted) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want errUntrusted with %q", err, tc.want)
			}
			if strings.HasPrefix(tc.want, "cannot") != (rack.claims > 0) {
				t.Errorf("got %d claims: the token must only go to the rack", rack.claims)
			}
		})
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeEnlist})
	rack.TLS.MinVersion, rack.TLS.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	rack.StartTLS()
	c := newClient(rack.args(), NewConsole(io.Discard))
	c.retryFor, c.backoff = 0, 0
	if _, err := c.claim(t.Context()); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("got %v, want a TLS version error", err)
	}
	if rack.claims != 0 {
		t.Errorf("got %d claims", rack.claims)
	}
}

func TestParseCommandLine(t *testing.T) {
	ca := strings.Repeat("ab", sha256.Size)
	good := "BOOT_IMAGE=vmlinuz metalward.rack=https://10.0.0.2:5246 metalward.ca=" + ca + " metalward.token=AAAAAAAAAAAAAAAA_- BOOTIF=01-52-54-00-0A-00-01 quiet"
	a, err := ParseCommandLine(good)
	if err != nil || a.Rack.String() != "10.0.0.2:5246" || a.MAC != "52:54:00:0a:00:01" || a.Token.RevealString() != "AAAAAAAAAAAAAAAA_-" || a.CA[0] != 0xab {
		t.Fatalf("got %+v, %v", a, err)
	}
	if a, err := ParseCommandLine(strings.Replace(good, "10.0.0.2:5246", "[fd77::1]:5246/", 1)); err != nil || a.Rack.String() != "[fd77::1]:5246" {
		t.Errorf("IPv6: got %+v, %v", a, err)
	}
	for name, line := range map[string]string{
		"empty":       "",
		"no token":    strings.Replace(good, "metalward.token", "x", 1),
		"twice":       good + " metalward.token=BBBBBBBBBBBBBBBBBB",
		"twice empty": good + " BOOTIF",
		"http":        strings.Replace(good, "https", "http", 1),
		"a name":      strings.Replace(good, "10.0.0.2", "rack.example", 1),
		"no port":     strings.Replace(good, ":5246", "", 1),
		"a user":      strings.Replace(good, "10.0.0.2", "u@10.0.0.2", 1),
		"a path":      strings.Replace(good, ":5246", ":5246/x", 1),
		"unspecified": strings.Replace(good, "10.0.0.2", "0.0.0.0", 1),
		"short ca":    strings.Replace(good, ca, ca[2:], 1),
		"short token": strings.Replace(good, "AAAAAAAAAAAAAAAA", "A", 1),
		"odd token":   strings.Replace(good, "_-", "!", 1),
		"no 01":       strings.Replace(good, "01-52", "52", 1),
		"group MAC":   strings.Replace(good, "01-52", "01-53", 1),
		"too long":    good + strings.Repeat(" x", maxCommandLine),
	} {
		if a, err := ParseCommandLine(line); err == nil {
			t.Errorf("%s: got %+v, want an error", name, a)
		}
	}
}

func FuzzParseCommandLine(f *testing.F) {
	f.Add("metalward.rack=https://10.0.0.2:5246 metalward.ca=" + strings.Repeat("ab", 32) + " metalward.token=AAAAAAAAAAAAAAAA BOOTIF=01-52-54-00-00-00-01")
	f.Add("metalward.rack=https://[fe80::1%25eth0]:1 BOOTIF=")
	f.Fuzz(func(t *testing.T, line string) {
		a, err := ParseCommandLine(line)
		if err == nil && (!a.Rack.IsValid() || a.Token.Empty() || a.MAC == "") {
			t.Errorf("accepted %q as %+v", line, a)
		}
	})
}
