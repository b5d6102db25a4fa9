package region

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// onPostgres is a region whose state folder has the URL of a PostgreSQL that asks for passwords.
func onPostgres(t *testing.T) (p *regiontest.TLSPostgres, c config.Region, file string) {
	t.Helper()
	p = regiontest.NewTLSPostgres(t, false, "localhost")
	c = config.Region{StateDir: t.TempDir()}
	file = filepath.Join(c.StateDir, config.DatabaseFile)
	text := p.URL("metalward", p.Password, "localhost", "&sslmode=verify-full&sslrootcert="+p.CAFile) + "\n"
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return p, c, file
}

// passwordOf is the password in a file.
func passwordOf(t *testing.T, path string) string {
	t.Helper()
	d, err := readDatabaseFile(path)
	must(t, err)
	p, _ := d.password()
	return p
}

func reaches(t *testing.T, p *regiontest.TLSPostgres, password string) error {
	t.Helper()
	return store.Reach(t.Context(), store.Database{DSN: p.URL("metalward", password, "localhost", "&sslmode=verify-full&sslrootcert="+p.CAFile)})
}

// answers has the region read over a connection that it has to make anew.
func answers(t *testing.T, p *regiontest.TLSPostgres, r *Region) {
	t.Helper()
	p.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'metalward'")
	var err error
	for range 40 { // each of the pool's connections finds out once
		if err = r.reader.View(t.Context(), func(v *store.View) error { _, err := v.Controllers(); return err }); err == nil {
			return
		}
	}
	t.Errorf("the region does not come back: %v", err)
}

// TestRotateDatabase replaces the password under a region that is at work, which notices nothing.
func TestRotateDatabase(t *testing.T) {
	p, c, file := onPostgres(t)
	running, err := opens(t, c)
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var failed, calls atomic.Int64
	ended := make(chan struct{})
	go func() { // somebody uses it all the time
		defer close(ended)
		for ctx.Err() == nil {
			if err := running.reader.View(ctx, func(v *store.View) error { _, err := v.Controllers(); return err }); err != nil && ctx.Err() == nil {
				failed.Add(1)
			}
			calls.Add(1)
		}
	}()
	host, err := opens(t, c)
	must(t, err)
	first := passwordOf(t, file)
	for range 2 {
		was := passwordOf(t, file)
		done, err := host.RotateDatabase(t.Context(), false)
		if err != nil || !done {
			t.Fatalf("got %v, %v", done, err)
		}
		is := passwordOf(t, file)
		if is == was || len(is) != 32 || reaches(t, p, is) != nil || !fault.Is(reaches(t, p, was), fault.Unauthenticated) {
			t.Errorf("the file has not what the server wants: %v, %v", reaches(t, p, is), reaches(t, p, was))
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("got %v, %v", info, err)
		}
		if _, err := os.Stat(file + store.NextSuffix); err == nil {
			t.Error("the next password's file is there still")
		}
	}
	stop()
	<-ended
	if failed.Load() > 0 || calls.Load() < 10 {
		t.Errorf("%d of %d calls failed during the rotation", failed.Load(), calls.Load())
	}
	answers(t, p, running) // with connections made before, when the password was another
	again, err := opens(t, c)
	must(t, err)
	events := 0
	must(t, again.reader.View(t.Context(), func(v *store.View) error {
		rows, err := v.AuditEvents(store.AuditQuery{Limit: 1000})
		for _, row := range rows {
			if row.Detail["change"] == "database password replaced" {
				events++
			}
			if text := fmt.Sprint(row); strings.Contains(text, passwordOf(t, file)) || strings.Contains(text, url.QueryEscape(first)) {
				t.Error("the trail has a password")
			}
		}
		return err
	}))
	if events != 2 {
		t.Errorf("got %d events, want 2", events)
	}
}

// TestRotateDatabaseBrokenOff finds a region that starts after every step, and a second run that ends it.
func TestRotateDatabaseBrokenOff(t *testing.T) {
	regiontest.Slow(t)
	for _, at := range []string{"written down", "set", "half a file"} {
		t.Run(at, func(t *testing.T) {
			p, c, file := onPostgres(t)
			running, err := opens(t, c)
			must(t, err)
			d, err := readDatabaseFile(file)
			must(t, err)
			next := d.with("the-next-password-of-this-role-x")
			must(t, next.writeAs(file+store.NextSuffix))
			switch at {
			case "set":
				verifier, err := store.Verifier(secret.FromString("the-next-password-of-this-role-x"), []byte("0123456789abcdef"))
				must(t, err)
				must(t, running.writer.SetPassword(t.Context(), verifier))
			case "half a file": // what a crash leaves of a file that is being written has another name
				must(t, os.Remove(file+store.NextSuffix))
				must(t, os.WriteFile(file+store.NextSuffix+".1.tmp", []byte("postgres://metal"), 0o600))
			}
			answers(t, p, running)
			r, err := opens(t, c)
			must(t, err)
			if done, err := r.RotateDatabase(t.Context(), false); err != nil || !done {
				t.Fatalf("got %v, %v", done, err)
			}
			if err := reaches(t, p, passwordOf(t, file)); err != nil {
				t.Error(err)
			}
			if at != "half a file" && passwordOf(t, file) != "the-next-password-of-this-role-x" {
				t.Error("another password was made although this one may be set")
			}
			answers(t, p, running)
		})
	}
}

// TestRotateDatabaseWithOthers waits until other regions have the next password, and then disturbs none.
func TestRotateDatabaseWithOthers(t *testing.T) {
	p, c, file := onPostgres(t)
	here, err := opens(t, c)
	must(t, err)
	elsewhere := config.Region{StateDir: t.TempDir()}
	for _, name := range []string{config.DatabaseFile, rootKeyFile} {
		b, err := os.ReadFile(filepath.Join(c.StateDir, name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(elsewhere.StateDir, name), b, 0o600))
	}
	other, err := opens(t, elsewhere)
	must(t, err)
	for _, r := range []*Region{here, other} {
		must(t, r.Controllers.RegisterRegion(authz.AsSystem(t.Context(), "test"), metal.Controller{SystemID: r.ID, Hostname: "region", Type: metal.NodeRegionController}))
	}
	was := passwordOf(t, file)
	if done, err := here.RotateDatabase(t.Context(), false); err != nil || done {
		t.Fatalf("got %v, %v", done, err)
	}
	if err := reaches(t, p, was); err != nil || passwordOf(t, file) != was {
		t.Errorf("it is set already: %v", err)
	}
	b, err := os.ReadFile(file + store.NextSuffix)
	must(t, err)
	there := filepath.Join(elsewhere.StateDir, config.DatabaseFile)
	must(t, os.WriteFile(there+store.NextSuffix, b, 0o600))
	if done, err := here.RotateDatabase(t.Context(), true); err != nil || !done {
		t.Fatalf("got %v, %v", done, err)
	}
	answers(t, p, other)
	must(t, os.Rename(there+store.NextSuffix, there))
	answers(t, p, other)
}

// TestRotateDatabaseRefused changes nothing where there is no password of ours to change.
func TestRotateDatabaseRefused(t *testing.T) {
	sqlite, err := opens(t, config.Region{StateDir: t.TempDir()})
	must(t, err)
	p, c, _ := onPostgres(t)
	named, err := opens(t, config.Region{StateDir: t.TempDir(), Database: p.URL("metalward", p.Password, "localhost", "&sslmode=verify-full&sslrootcert="+p.CAFile)})
	must(t, err)
	trusted := config.Region{StateDir: t.TempDir()}
	u, err := url.Parse(p.Admin)
	must(t, err)
	u.User = url.UserPassword("metalward", "whatever")
	u.Path = "/clientcert"
	p.Exec("GRANT ALL ON DATABASE clientcert TO metalward")
	p.Exec("ALTER DATABASE clientcert OWNER TO metalward")
	must(t, os.WriteFile(filepath.Join(trusted.StateDir, config.DatabaseFile), []byte(u.String()+"\n"), 0o600))
	trust, err := opens(t, trusted)
	must(t, err)
	for name, tt := range map[string]struct {
		r    *Region
		says string
	}{"SQLite": {sqlite, "SQLite"}, "named by an option": {named, "--database"}, "lets anybody in": {trust, "pg_hba.conf"}} {
		if done, err := tt.r.RotateDatabase(t.Context(), true); !fault.Is(err, fault.Conflict) || done || !strings.Contains(fault.Message(err), tt.says) {
			t.Errorf("%s: got %v, %v", name, done, err)
		}
	}
	if err := reaches(t, p, p.Password); err != nil {
		t.Errorf("the password is another: %v", err)
	}
	_ = c
}
