package acme

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestChallenges gets a certificate by each of the challenges, one directly after the other, with none left behind.
func TestChallenges(t *testing.T) {
	r, d := newRegion(t, 90*24*time.Hour)
	if ofDirectory(r.shows()) {
		t.Fatal("it shows a directory's certificate before it was told to")
	}
	var last *x509.Certificate
	for _, args := range [][]string{
		{"--challenge", "http-01"},
		{"--challenge", "tls-alpn-01", "localhost", "region.example.com"},
		{"--challenge", "dns-01", "--dns-hook", d.hook(t), "localhost", "*.example.com"},
	} {
		r.must(append([]string{"acme", "--directory", d.address(), "--email", "ops@example.com", "--agree-tos", "--yes"}, args...)...)
		r.eventually("shown by "+args[1], func() bool {
			c := r.shows()
			return ofDirectory(c) && (last == nil || c.SerialNumber.Cmp(last.SerialNumber) != 0)
		})
		last = r.shows()
		for _, name := range args[2:] {
			if name = strings.Replace(name, "*", "any", 1); strings.Contains(name, "example.com") && last.VerifyHostname(name) != nil {
				t.Errorf("by %s: the certificate is for %v", args[1], last.DNSNames)
			}
		}
		if out := r.must("status"); !strings.Contains(out, d.address()) || !strings.Contains(out, "renews ") || strings.Contains(out, "failed") {
			t.Errorf("by %s: status says\n%s", args[1], out)
		}
	}
	if answers := d.dns.GetDNSTXTRecords("_acme-challenge.localhost."); len(answers) != 0 {
		t.Errorf("the hook left %v", answers)
	}
	for _, port := range []string{fmt.Sprintf("http://127.0.0.1:%d", r.plain)} {
		resp, err := http.Get(port + "/.well-known/acme-challenge/aaaaaaaaaaaaaaaaaaaaaaaa")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("a token of nobody's: got %s", resp.Status)
		}
	}
	r.must("disable", "--yes")
	r.eventually("back to its own", func() bool { return !ofDirectory(r.shows()) })
	if out := r.must("status"); strings.Contains(out, d.address()) {
		t.Errorf("after disable status says\n%s", out)
	}
}

// TestRenewsByItself lets a certificate grow old: two thirds of its 30 seconds.
func TestRenewsByItself(t *testing.T) {
	r, d := newRegion(t, 30*time.Second)
	r.must("acme", "--directory", d.address(), "--agree-tos", "--yes")
	r.eventually("shown", func() bool { return ofDirectory(r.shows()) })
	first := r.shows()
	r.eventually("renewed", func() bool { return r.shows().SerialNumber.Cmp(first.SerialNumber) != 0 })
	if second := r.shows(); !ofDirectory(second) || second.NotBefore.Sub(first.NotBefore) < 19*time.Second || first.NotAfter.Before(second.NotBefore) {
		t.Errorf("renewed at %s what was for %s to %s", second.NotBefore, first.NotBefore, first.NotAfter)
	}
}

// TestFailures has each thing go wrong that does: the certificate in use stays, the reason is told, and it goes on by itself.
func TestFailures(t *testing.T) {
	r, d := newRegion(t, 90*24*time.Hour)
	r.must("acme", "--directory", d.address(), "--agree-tos", "--yes")
	r.eventually("shown", func() bool { return ofDirectory(r.shows()) })
	first := r.shows()
	says := func(text string) {
		t.Helper()
		r.eventually("said: "+text, func() bool { return strings.Contains(r.must("status"), text) })
		if r.shows().SerialNumber.Cmp(first.SerialNumber) != 0 {
			t.Errorf("%s: it shows another certificate", text)
		}
	}
	// The proof for a name is looked for where another server answers.
	d.dns.AddDNSARecord("elsewhere.example.com", []string{"127.0.0.2"})
	r.must("acme", "--directory", d.address(), "--agree-tos", "--yes", "localhost", "elsewhere.example.com")
	says("failed ")
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("#!/bin/sh\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.must("acme", "--directory", d.address(), "--agree-tos", "--yes", "--challenge", "dns-01", "--dns-hook", bad)
	says("exit status 7")
	d.setDown(true)
	r.must("acme", "--directory", d.address(), "--agree-tos", "--yes")
	says("tries again")
	d.setDown(false)
	r.must("renew") // by itself it tries a minute later: certs, TestSchedule
	r.eventually("tried again", func() bool { return r.shows().SerialNumber.Cmp(first.SerialNumber) != 0 })
}

// TestIssuerChanges has the authority set up anew at its address, which forgets the account and has another root, and then
// another directory take its place.
func TestIssuerChanges(t *testing.T) {
	r, d := newRegion(t, 30*time.Second)
	r.must("acme", "--directory", d.address(), "--agree-tos", "--yes")
	r.eventually("shown", func() bool { return ofDirectory(r.shows()) })
	first := r.shows()
	d.found(30 * time.Second)
	r.eventually("renewed by the new authority", func() bool { return r.shows().Issuer.CommonName != first.Issuer.CommonName })
	if c := r.shows(); !ofDirectory(c) {
		t.Fatalf("it shows a certificate of %s", c.Issuer)
	}
	other := newDirectory(t, r.plain, r.https, 90*24*time.Hour)
	second := r.shows()
	r.must("acme", "--directory", other.address(), "--agree-tos", "--yes")
	r.eventually("of the other directory", func() bool {
		c := r.shows()
		return ofDirectory(c) && c.Issuer.CommonName != second.Issuer.CommonName && time.Until(c.NotAfter) > time.Hour
	})
	before := r.shows()
	r.must("renew")
	r.eventually("renewed at once", func() bool { return r.shows().SerialNumber.Cmp(before.SerialNumber) != 0 })
}

// TestCustomersKey gets a certificate of an authority that knows its customers, and is told so without their key.
func TestCustomersKey(t *testing.T) {
	r, d := newRegion(t, 90*24*time.Hour)
	d.eab = map[string]string{"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
	d.found(90 * 24 * time.Hour)
	r.must("acme", "--directory", d.address(), "--agree-tos", "--yes")
	r.eventually("refused without the key", func() bool { return strings.Contains(r.must("status"), "externalAccountRequired") })
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(d.eab["kid-1"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.must("acme", "--directory", d.address(), "--agree-tos", "--yes", "--eab-kid", "kid-1", "--eab-key-file", file)
	r.eventually("shown", func() bool { return ofDirectory(r.shows()) })
}
