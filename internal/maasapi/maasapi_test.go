package maasapi

import (
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/authz"
)

// TestOperations holds each row to what is derived from it: an action that exists and fits the method, a unique
// place, documentation of every parameter and of its resource.
func TestOperations(t *testing.T) {
	ids, places := map[string]bool{}, map[string]bool{}
	for i := range Operations {
		o := &Operations[i]
		place := o.Method + " " + o.Path + " " + o.Op
		switch {
		case ids[o.ID]:
			t.Errorf("%s is there twice", o.ID)
		case places[place]:
			t.Errorf("%s: another row has %s", o.ID, place)
		case !authz.Known(o.Action):
			t.Errorf("%s: action %q does not exist", o.ID, o.Action)
		case o.Method == "GET" && authz.Mutates(o.Action):
			t.Errorf("%s reads with the action %s, which changes things", o.ID, o.Action)
		case o.Method != "GET" && !o.Audited && !authz.Mutates(o.Action):
			t.Errorf("%s changes things with the action %s, which may not", o.ID, o.Action)
		case o.Op != "" && o.Method != "GET" && o.Method != "POST":
			t.Errorf("%s: only GET and POST carry an op", o.ID)
		case o.Doc == "" || HandlerInfo[o.Handler] == "":
			t.Errorf("%s: it or its resource %s has no documentation", o.ID, o.Handler)
		}
		ids[o.ID], places[place] = true, true
		doc := o.Documentation()
		for _, p := range o.Params {
			if p.Doc == "" || !strings.Contains(doc, ":param "+p.Name+":") {
				t.Errorf("%s: parameter %s is not documented", o.ID, p.Name)
			}
		}
	}
}

func TestDescribe(t *testing.T) {
	d := Describe("https://region.example:5443")
	if len(d.Hash) != 40 || len(d.Resources) < 20 {
		t.Fatalf("got hash %q and %d resources", d.Hash, len(d.Resources))
	}
	for _, r := range d.Resources {
		if r.Auth == nil && r.Anon == nil {
			t.Errorf("%s has no handler", r.Name)
		}
	}
	for _, h := range d.Handlers {
		if !strings.HasPrefix(h.URI, "https://region.example:5443/MAAS/api/2.0/") || h.Params == nil || len(h.Actions) == 0 {
			t.Errorf("%s: got %+v", h.Name, h)
		}
	}
}
