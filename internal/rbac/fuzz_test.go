package rbac_test

import (
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/rbac"
)

// FuzzAnswer holds that an answer either fits the protocol or is an error of kind Unavailable, whatever it is, and that "all"
// follows from the list of one empty string alone.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"view":[""]}`, `{"view":["1"]}`, `{"view":[]}`, `{"view":null}`, `{`, `[]`, `{"view":["",""]}`, `{"sync-id":"x"}`, `{"username":"u"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := client(t, text)
		got, err := c.Allowed(t.Context(), rbac.TypePool, "u", "view")
		switch set := got["view"]; {
		case err != nil && !fault.Is(err, fault.Unavailable):
			t.Errorf("got %v", err)
		case err != nil && !set.Empty():
			t.Error("an error and rights")
		case set.All && (len(set.IDs) > 0 || !strings.Contains(text, `""`)):
			t.Errorf("all of %q", text)
		}
		if id, err := c.Push(t.Context(), rbac.TypePool, rbac.Change{}); err == nil && id == "" || err != nil && !fault.Is(err, fault.Unavailable) {
			t.Errorf("got %q, %v", id, err)
		}
		if p, err := c.Person(t.Context(), "u"); err == nil && p.Username != "u" || err != nil && !fault.Is(err, fault.Unavailable) {
			t.Errorf("got %v, %v", p, err)
		}
	})
}
