package providers

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/metal"
)

func TestReadGroups(t *testing.T) {
	many, err := json.Marshal(strings.Split(strings.Repeat("g ", metal.MaxClaims), " "))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  string
		want []string
		bad  bool
	}{
		"no claim": {raw: ""},
		"null":     {raw: "null"},
		"list":     {raw: `["a","b c"]`, want: []string{"a", "b c"}},
		"none":     {raw: `[]`, want: []string{}},
		"one":      {raw: `"a,b"`, want: []string{"a,b"}}, // a name with a comma is not two
		"object":   {raw: `{"a":true}`, bad: true},
		"numbers":  {raw: `[1]`, bad: true},
		"too many": {raw: string(many), bad: true},
	} {
		got, err := readGroups(json.RawMessage(c.raw))
		if (err != nil) != c.bad || !c.bad && !cmp.Equal(got, c.want) {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, c.want)
		}
	}
}

// TestDerive holds that what the address bar and the provider see of a login are different values.
func TestDerive(t *testing.T) {
	f := flow{Secret: "x"}
	seen := map[string]bool{f.Secret: true}
	for _, what := range []string{"state", "nonce", "verifier"} {
		v := f.derive(what)
		if seen[v] || len(v) != 43 {
			t.Errorf("%s is %q", what, v)
		}
		seen[v] = true
	}
}

// TestRealm holds that macaroons of a provider are worth nothing in another state of it.
func TestRealm(t *testing.T) {
	p := metal.Provider{ID: 1, Kind: metal.ProviderCandid, Issuer: "https://candid.example"}
	moved, other, rbac := p, p, p
	moved.Issuer, other.ID, rbac.Kind = "https://candid2.example", 2, metal.ProviderRBAC
	realms := map[string]bool{}
	for _, d := range []macaroons.Discharger{discharger(p, 0), discharger(p, 1), discharger(moved, 0), discharger(other, 0), discharger(rbac, 0)} {
		realms[d.Realm] = true
	}
	if len(realms) != 5 {
		t.Errorf("got %v", realms)
	}
}
