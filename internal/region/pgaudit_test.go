package region

import (
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/region/regiontest"
)

// TestPgaudit runs a region on a server whose own audit is on, as docs/howto/postgresql.md says: it has what was written, and no value.
func TestPgaudit(t *testing.T) {
	if !regiontest.Library("pgaudit") {
		t.Skip("pgaudit is not here, so what it writes down of a region is not looked at; install the package postgresql-15-pgaudit")
	}
	p := regiontest.NewOwnPostgres(t, "-c", "shared_preload_libraries=pgaudit", "-c", "pgaudit.log=write,ddl,role", "-c", "pgaudit.log_parameter=off", "-c", "log_min_messages=warning",
		"-c", "log_parameter_max_length=0", "-c", "log_parameter_max_length_on_error=0")
	s := newSurfaceOn(t, p.DSN)
	const canary = "52:54:00:ca:4a:a1" // of what only a parameter carries
	s.must("admin", "POST", "/machines/", "architecture", "amd64", "mac_addresses", canary, "hostname", "canaryhost", "power_type", "manual")
	eventually(t, "the audit of PostgreSQL has the insert", func() bool {
		return strings.Contains(p.Log(), "AUDIT: SESSION") && strings.Contains(p.Log(), "INSERT INTO machines")
	})
	for _, value := range []string{canary, "canaryhost"} {
		if strings.Contains(p.Log(), value) {
			t.Errorf("the log has the value %s", value)
		}
	}
	if !strings.Contains(p.Log(), "CREATE TABLE") {
		t.Error("the log has no change of the schema")
	}
}
