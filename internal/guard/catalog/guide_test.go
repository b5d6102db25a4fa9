package catalog

import (
	"slices"
	"testing"

	"github.com/metalward/metalward/internal/guard"
)

// Each sentence of the guide has checks that there are, or detections, or says why there are none. That the detections are there, cmd/gen-reference tests.
func TestGuide(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range Guide {
		if a.Section == "" || a.Text == "" || seen[a.Text] {
			t.Errorf("%q: it has no section or text, or is there twice", a.Text)
		}
		if seen[a.Text] = true; (len(a.Checks)+len(a.Detections) == 0) == (a.ByHand == "") {
			t.Errorf("%q: want checks that cover it, or a reason why there are none, and not both", a.Text)
		}
		for _, id := range a.Checks {
			if !slices.ContainsFunc(Checks(), func(c *guard.Check) bool { return c.ID == id }) {
				t.Errorf("%q: there is no check %s", a.Text, id)
			}
		}
	}
}

// What is said never to have been seen live is about checks that there are.
func TestNeverLive(t *testing.T) {
	seen := map[string]bool{}
	for _, u := range NeverLive {
		if u.What == "" || u.Why == "" || len(u.Checks) == 0 {
			t.Errorf("%q: it says too little", u.What)
		}
		for _, id := range u.Checks {
			if seen[id] || !slices.ContainsFunc(Checks(), func(c *guard.Check) bool { return c.ID == id }) {
				t.Errorf("%s: there is no such check, or it is there twice", id)
			}
			if seen[id] = true; WhyUnseen(id) == "" {
				t.Errorf("%s: its page does not say so", id)
			}
		}
	}
	if WhyUnseen("ports-firewall") != "" {
		t.Error("got a check that was seen live among those that were not")
	}
}
