package store_test

import (
	"database/sql"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
)

// TestProviderOptionsMigrate holds that a provider of before 0016 keeps its fields, whatever is in them.
func TestProviderOptionsMigrate(t *testing.T) {
	file, err := os.ReadFile("migrations/0016_provider_options.sql")
	if err != nil {
		t.Fatal(err)
	}
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		d := open(t, dsn)
		driver := "sqlite"
		if strings.Contains(dsn, "postgres") {
			driver = "pgx"
		}
		raw, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = raw.Close() }()
		// Back to what it was, and forth again.
		for stmt := range strings.SplitSeq(`ALTER TABLE providers DROP COLUMN options;
ALTER TABLE external_identities DROP COLUMN checked;
ALTER TABLE external_identities DROP COLUMN gone;
ALTER TABLE providers ADD COLUMN vendor TEXT NOT NULL DEFAULT '';
ALTER TABLE providers ADD COLUMN client_id TEXT NOT NULL DEFAULT '';
ALTER TABLE providers ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
ALTER TABLE providers ADD COLUMN group_claim TEXT NOT NULL DEFAULT '';
INSERT INTO providers (name, issuer, create_users, enabled, created, vendor, client_id, scopes, group_claim)
  VALUES ('p', 'https://p.example', 1, 1, 0, 'Generic', 'a"b\c''d\"', 'openid é', 'https://example.org/groups');
`+string(file), ";\n") {
			if strings.TrimSpace(stmt) == "" {
				continue
			}
			if _, err := raw.Exec(stmt); err != nil {
				t.Fatalf("%s: %v", stmt, err)
			}
		}
		list := read(d, func(v *store.View) ([]metal.Provider, error) { return v.Providers() })
		want := map[string]string{"vendor": "Generic", "client_id": `a"b\c'd\"`, "scopes": "openid é", "group_claim": "https://example.org/groups"}
		if len(list) != 1 || list[0].Kind != metal.ProviderOIDC || !cmp.Equal(list[0].Options, want) {
			t.Errorf("got %+v", list)
		}
	})
}
