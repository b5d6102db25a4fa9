package certs

import (
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

var t0 = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// TestSchedule follows an account through tries, failures and renewal on a clock of its own.
func TestSchedule(t *testing.T) {
	a := account{ID: "one"}
	leaf := &x509.Certificate{NotBefore: t0, NotAfter: t0.Add(90 * 24 * time.Hour)}
	got := Progress{}.got(a, leaf, t0)
	failing := got.failed(a, "down", got.RenewAt)
	held := Progress{Leader: "other", Lease: t0.Add(attemptHold)}
	for name, c := range map[string]struct {
		p    Progress
		a    account
		at   time.Time
		want bool
	}{
		"just set":                         {Progress{}, a, t0, true},
		"another region tries":             {held, a, t0, false},
		"another region has gone":          {held, a, t0.Add(attemptHold), true},
		"this region tried when it died":   {Progress{Leader: "here", Lease: t0.Add(attemptHold)}, a, t0, true},
		"a second before two thirds":       {got, a, t0.Add(60*24*time.Hour - time.Second), false},
		"at two thirds":                    {got, a, t0.Add(60 * 24 * time.Hour), true},
		"asked for":                        {got, account{ID: "two"}, t0.Add(time.Hour), true},
		"a second before the next attempt": {failing, a, failing.RetryAt.Add(-time.Second), false},
		"at the next attempt":              {failing, a, failing.RetryAt, true},
		"asked for after a failure":        {failing, account{ID: "two"}, failing.At, true},
	} {
		if due := c.p.due(c.a, "here", c.at); due != c.want {
			t.Errorf("%s: got %v", name, due)
		}
	}
	if failing.Error != "down" || failing.RenewAt != got.RenewAt || failing.RetryAt != got.RenewAt.Add(firstRetry) {
		t.Errorf("got %+v", failing)
	}
	if p := failing.failed(account{ID: "two"}, "down", t0); p.Failures != 1 {
		t.Errorf("what failed before counts: %d", p.Failures)
	}
}

func TestBackOff(t *testing.T) {
	var inHour int
	var at time.Duration
	for n := 1; n < 200; n++ {
		wait := backOff(n)
		if wait < firstRetry || wait > lastRetry || n > 1 && wait < backOff(n-1) {
			t.Fatalf("after %d failures: %s", n, wait)
		}
		if at < time.Hour {
			inHour++
		}
		at += wait
	}
	if inHour > 5 || backOff(199) != lastRetry {
		t.Errorf("%d attempts in the first hour, %s in the end", inHour, backOff(199))
	}
}

func TestACMESettings(t *testing.T) {
	good := func() ACME {
		return ACME{Directory: "https://ca.example/dir", Email: "ops@example.com", AgreeTOS: true, Names: []string{"Region.example.com", "other.example.com"}}
	}
	for name, c := range map[string]struct {
		change func(*ACME)
		want   string // begins the message; empty: none
	}{
		"good":             {func(*ACME) {}, ""},
		"no names":         {func(a *ACME) { a.Names = nil }, ""},
		"wildcard":         {func(a *ACME) { a.Challenge, a.Names = DNS01, []string{"*.example.com"} }, ""},
		"customer":         {func(a *ACME) { a.EABKid, a.EABKey = "id", secret.FromString("c2VjcmV0") }, ""},
		"plain text":       {func(a *ACME) { a.Directory = "http://ca.example/dir" }, "directory:"},
		"password in it":   {func(a *ACME) { a.Directory = "https://u:p@ca.example/dir" }, "directory:"},
		"name and address": {func(a *ACME) { a.Email = "Ops <ops@example.com>" }, "email:"},
		"no agreement":     {func(a *ACME) { a.AgreeTOS = false }, "agree_tos:"},
		"unknown proof":    {func(a *ACME) { a.Challenge = "tls-sni-01" }, "challenge:"},
		"wildcard by HTTP": {func(a *ACME) { a.Names = []string{"*.example.com"} }, "names:"},
		"an address":       {func(a *ACME) { a.Names = []string{"192.168.0.1"} }, "names:"},
		"another's":        {func(a *ACME) { a.Names = []string{"other.example.com"} }, "names:"},
		"shell":            {func(a *ACME) { a.Names = []string{"region.example.com;reboot"} }, "names:"},
		"id without key":   {func(a *ACME) { a.EABKid = "id" }, "eab_kid:"},
		"key of no form":   {func(a *ACME) { a.EABKid, a.EABKey = "id", secret.FromString("not base64!") }, "eab_key:"},
	} {
		a := good()
		c.change(&a)
		err := a.check("region.example.com")
		if (err == nil) != (c.want == "") || err != nil && (!fault.Is(err, fault.Invalid) || !strings.HasPrefix(fault.Message(err), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestCertID is the example of RFC 9773 section 4.1.
func TestCertID(t *testing.T) {
	leaf := &x509.Certificate{SerialNumber: big.NewInt(0x8765_4321), AuthorityKeyId: []byte{0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0, 0xae, 0x2c, 0xde, 0x01, 0xc8, 0xd4}}
	if got := certID(leaf); got != "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE" {
		t.Errorf("got %s", got)
	}
}

func TestHookFile(t *testing.T) {
	for name, c := range map[string]struct {
		mode os.FileMode
		ok   bool
	}{"program": {0o755, true}, "not executable": {0o644, false}, "others may change it": {0o777, false}, "the group may": {0o775, false}} {
		file := filepath.Join(t.TempDir(), "hook")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, c.mode); err != nil {
			t.Fatal(err)
		}
		if err := checkHook(file); (err == nil) != c.ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
