package region

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
)

// TestDatabaseFile starts a region on the database that init wrote down: over TLS, with the server's certificate among
// those that the site depends on.
func TestDatabaseFile(t *testing.T) {
	p := regiontest.NewTLSPostgres(t, false, "localhost")
	url := p.URL("metalward", p.Password, "localhost", "&sslmode=verify-full&sslrootcert="+p.CAFile)
	s := newSurfaceWith(t, func(o *Options) {
		if err := os.WriteFile(filepath.Join(o.Config.StateDir, config.DatabaseFile), []byte(url+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := os.Stat(filepath.Join(s.dir, "metalward.db")); err == nil {
		t.Error("it made a database of its own")
	}
	if got := s.call("admin", "GET", "/tls/").Body.String(); !strings.Contains(got, "database's server") {
		t.Errorf("the server's certificate is not among those known: %s", got)
	}
	if strings.Contains(s.log.String(), p.Password) {
		t.Error("the log has the password")
	}
	for text, want := range map[string]store.Database{"": {}, "no url\n": {}, "postgres://a@b/c\n": {DSN: "postgres://a@b/c"}, "postgres://a@b/c\nweak-tls\n": {DSN: "postgres://a@b/c", WeakTLS: true}} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, config.DatabaseFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := database(&config.Region{StateDir: dir})
		if err == nil && got.File != filepath.Join(dir, config.DatabaseFile) {
			t.Errorf("%q: got file %q", text, got.File)
		}
		got.File = ""
		if (err != nil) != (want == store.Database{}) || err == nil && got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}
