package store_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
)

// TestDatabaseURL holds what is refused before anything is sent: to another host, whatever does not verify it.
func TestDatabaseURL(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	for _, c := range []struct {
		url     string
		weak    bool
		refused bool
	}{
		{"postgres://u:hidden@db.invalid/x?sslmode=disable", false, true},
		{"postgres://u:hidden@db.invalid/x?sslmode=allow", false, true},
		{"postgres://u:hidden@db.invalid/x?sslmode=prefer", false, true},
		{"postgres://u:hidden@db.invalid/x?sslmode=require", false, true},
		{"postgres://u:hidden@db.invalid/x?sslmode=verify-ca", false, true},
		{"postgres://u:hidden@127.0.0.1,db.invalid/x?sslmode=require", false, true},
		{"postgres://u:hidden@/x?host=db.invalid&sslmode=require", false, true},
		{"postgres://u:hidden@db.invalid/x?sslmode=require", true, false},
		{"postgres://u:hidden@db.invalid/x?sslmode=verify-full", false, false},
		{"postgres://u:hidden@db.invalid/x", false, false},
		{"postgres://u:hidden@127.0.0.1:1/x", false, false},
		{"postgres://u:hidden@[::1]:1/x", false, false},
		{"postgres://u:hidden@/x?host=/nowhere", false, false},
		{"postgres://u:hidden@db.invalid/x?sslmode=hidden", false, true},
		{"postgres://u:hidden@db.invalid:port/x", false, true},
	} {
		_, _, err := store.OpenWith(t.Context(), store.Database{DSN: c.url, WeakTLS: c.weak})
		if err == nil {
			t.Fatalf("%s: opened", c.url)
		}
		if f, ok := fault.As(err); c.refused != (ok && len(f.Fields["database"]) > 0) {
			t.Errorf("%s: got %v, want refused: %v", c.url, err, c.refused)
		}
		if strings.Contains(err.Error(), "u:hidden") || strings.Contains(err.Error(), "password=hidden") {
			t.Errorf("%s: the message has the password: %v", c.url, err)
		}
	}
}

// TestPostgresOverTLS speaks to a real server over TLS, and is not fooled by one that is another's.
func TestPostgresOverTLS(t *testing.T) {
	p := regiontest.NewTLSPostgres(t, false, "localhost")
	other, err := pki.NewCA("Another root", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	otherCA := p.File("other.pem", other.PEM())
	full := "&sslmode=verify-full&sslrootcert=" + p.CAFile
	for _, c := range []struct {
		name, url, refused string
	}{
		{"password", p.URL("metalward", p.Password, "localhost", full), ""},
		{"bound to the channel", p.URL("metalward", p.Password, "localhost", full+"&channel_binding=require&require_auth=scram-sha-256"), ""},
		{"client certificate", p.URL("clientcert", "", "localhost", full+p.Client("clientcert", time.Hour)), ""},
		{"wrong password", p.URL("metalward", "wrong", "localhost", full), "password authentication failed"},
		{"wrong authority", p.URL("metalward", p.Password, "localhost", "&sslmode=verify-full&sslrootcert="+otherCA), "unknown authority"},
		{"wrong host name", p.URL("metalward", p.Password, "127.0.0.1", full), "cannot validate certificate for 127.0.0.1"},
		{"client certificate that has expired", p.URL("clientcert", "", "localhost", full+p.Client("clientcert", -time.Hour)), "expired"},
		{"somebody else's client certificate", p.URL("clientcert", "", "localhost", full+p.Client("metalward", time.Hour)), "certificate authentication failed"},
		{"no client certificate", p.URL("clientcert", "", "localhost", full), "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, w, err := store.Open(t.Context(), c.url)
			// A server that refuses a client's certificate says so when the client is done already, and hangs up: the client may find that first.
			for tries := 0; tries < 100 && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)); tries++ {
				r, w, err = store.Open(t.Context(), c.url)
			}
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), p.Password) {
					t.Fatalf("got %v, want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = r.Close(), w.Close() }()
			if got := r.ServerCertificate(); got == nil || got.Subject.CommonName != "database" {
				t.Errorf("got the server's certificate %v", got)
			}
			if err := r.View(t.Context(), func(v *store.View) error { _, err := v.Zones(); return err }); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPlainPostgres refuses a server without TLS where it was to be verified.
func TestPlainPostgres(t *testing.T) {
	p := regiontest.NewTLSPostgres(t, true, "localhost")
	_, _, err := store.Open(t.Context(), p.URL("metalward", p.Password, "localhost", "&sslmode=verify-full&sslrootcert="+p.CAFile))
	if err == nil || !strings.Contains(err.Error(), "refused TLS") {
		t.Errorf("got %v", err)
	}
}
