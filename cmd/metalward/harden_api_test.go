package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/harden"
	"github.com/metalward/metalward/internal/region"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/secret"
)

// A real region tells of its users what the checks judge, to a key that may only read; the key is in no report, and a user's key opens nothing.
func TestHardenAsksARegion(t *testing.T) {
	dir := t.TempDir()
	r, err := region.New(t.Context(), region.Options{Config: config.Region{StateDir: dir, HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0", PublicHost: "localhost"}, Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	keys := map[string]string{}
	for _, name := range []string{"admin", "carol", "alice"} {
		u, err := r.Identity.CreateUser(authz.AsSystem(t.Context(), "test"), identity.NewUser{Name: name, Password: secret.FromString("a long enough phrase"), Admin: name != "alice"})
		if err != nil {
			t.Fatal(err)
		}
		k, err := r.Identity.CreateKey(authz.With(t.Context(), authz.Principal{Kind: authz.User, Name: name, UserID: u.ID}), identity.NewKey{Name: "test", ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = k.ConsumerKey + ":" + k.TokenKey + ":" + k.Secret.RevealString()
	}
	srv := httptest.NewUnstartedServer(r.Handler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	files := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		at := filepath.Join(files, name)
		if err := errors.Join(os.WriteFile(at, []byte(text), 0o600), os.Chmod(at, mode)); err != nil {
			t.Fatal(err)
		}
		return at
	}
	ca := write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})), 0o644)
	check := func(args ...string) (*harden.Report, error) {
		h := newHardenFlags("check")
		if err := h.parse(append([]string{"--state", dir, "--only", "users"}, args...)); err != nil {
			return nil, err
		}
		report, _, err := h.run()
		return report, err
	}
	states := func(r *harden.Report) map[string]guard.State {
		m := map[string]guard.State{}
		for _, f := range r.Findings { // the worst first
			if _, ok := m[f.Check]; !ok && f.Product == guard.Metalward {
				m[f.Check] = f.State
			}
		}
		return m
	}
	report, err := check("--api", srv.URL, "--credentials", write("key", keys["admin"]+"\n", 0o600), "--cacert", ca)
	if err != nil {
		t.Fatal(err)
	}
	got := states(report)
	for id, want := range map[string]guard.State{"users-administrators": guard.Pass, "users-names": guard.Fail, "users-keys": guard.Pass, "users-sessions": guard.Fail, "users-factors": guard.Fail} {
		if got[id] != want {
			t.Errorf("%s: got %q, want %q", id, got[id], want)
		}
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "carol is an administrator") || strings.Contains(string(text), strings.Split(keys["admin"], ":")[2]) {
		t.Errorf("the report does not name carol, or has the key in it: %s", text)
	}
	// What a person of fewer rights may not know, and what cannot be verified, is not known.
	for name, args := range map[string][]string{
		"a user's key":            {"--credentials", write("alice", keys["alice"], 0o600), "--cacert", ca},
		"another's certificate":   {"--credentials", write("key", keys["admin"], 0o600)},
		"a key that is not there": {"--credentials", write("wrong", "a:b:c", 0o600), "--cacert", ca},
	} {
		report, err := check(append(args, "--api", srv.URL)...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for id, state := range states(report) {
			if state != guard.Unchecked {
				t.Errorf("%s: %s: got %q, want could not check", name, id, state)
			}
		}
	}
	for name, args := range map[string][]string{
		"a file for all":         {"--api", srv.URL, "--credentials", write("open", keys["admin"], 0o640)},
		"no credentials":         {"--api", srv.URL},
		"no address":             {"--credentials", write("key", keys["admin"], 0o600)},
		"in clear":               {"--api", "http://maas.example:5240", "--credentials", write("key", keys["admin"], 0o600)},
		"the database as well":   {"--api", srv.URL, "--database", "--credentials", write("key", keys["admin"], 0o600)},
		"no certificate in file": {"--api", srv.URL, "--credentials", write("key", keys["admin"], 0o600), "--cacert", write("none", "x", 0o600)},
	} {
		if _, err := check(args...); err == nil || strings.Contains(err.Error(), strings.Split(keys["admin"], ":")[2]) {
			t.Errorf("%s: got %v, want an error without the key", name, err)
		}
	}
	if err := hardenCheck(context.Background(), []string{"--host", "ssh://x", "--api", srv.URL, "--credentials", write("key", keys["admin"], 0o600)}); err == nil || !strings.Contains(err.Error(), "api:") {
		t.Errorf("with other hosts: got %v, want a refusal", err)
	}
}
