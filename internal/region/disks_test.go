package region

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/region/regiontest"
)

// TestDisks asks the API what the state folder and a PostgreSQL's data are kept on: of one on this host that says so, of one whose user
// is not told, and of none.
func TestDisks(t *testing.T) {
	type disk struct {
		What, Path, Encrypted, Why string
		Stack                      []string
	}
	disks := func(s *surface) (list []disk) {
		t.Helper()
		var o struct{ Disks []disk }
		if err := json.Unmarshal(s.call("admin", "GET", "/health/").Body.Bytes(), &o); err != nil {
			t.Fatal(err)
		}
		return o.Disks
	}
	s := newSurface(t)
	if got := disks(s); len(got) != 1 || got[0].Path != s.dir || got[0].Why == "" {
		t.Errorf("SQLite: got %+v", got)
	}
	own := regiontest.NewOwnPostgres(t)
	if got := disks(newSurfaceOn(t, own.DSN)); len(got) != 3 || got[1].What != "database" || got[1].Path != own.Data || len(got[1].Stack) == 0 {
		t.Errorf("PostgreSQL: got %+v", got)
	}
	p := regiontest.NewTLSPostgres(t, false, "localhost")
	url := p.URL("metalward", p.Password, "localhost", "&sslmode=verify-full&sslrootcert="+p.CAFile)
	other := newSurfaceOn(t, url)
	if got := disks(other); len(got) != 2 || got[1].Encrypted != "unknown" || !strings.Contains(got[1].Why, "pg_read_all_settings") {
		t.Errorf("a user who is not told: got %+v", got)
	}
	p.Exec("GRANT pg_read_all_settings TO metalward")
	if got := disks(other); len(got) != 3 || got[1].Path == "" {
		t.Errorf("after the grant: got %+v", got)
	}
}
