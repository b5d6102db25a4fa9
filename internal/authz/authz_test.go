package authz

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestMatrix compares every decision with the reviewed file: a change of policy is a diff that people read.
func TestMatrix(t *testing.T) {
	principals := []Principal{{Kind: Anonymous}, {Kind: User, Name: "alice"}, {Kind: User, Name: "root", Admin: true},
		{Kind: Rack, Name: "rack1"}, {Kind: Machine, Name: "m1"}, {Kind: System, Name: "jobs"}}
	targets := map[string]Target{
		"machine unowned": {Noun: NounMachine, ID: "m1", Rack: "rack1"},
		"machine alice's": {Noun: NounMachine, ID: "m2", Owner: "alice", Rack: "rack1"},
		"machine bob's":   {Noun: NounMachine, ID: "m3", Owner: "bob", Rack: "rack2"},
		"user alice":      {Noun: NounUser, ID: "1", Owner: "alice"},
		"user bob":        {Noun: NounUser, ID: "2", Owner: "bob"},
		"controller self": {Noun: NounController, ID: "rack1"},
		"anything else":   {Noun: NounSetting, ID: "x"},
	}
	order := []string{"machine unowned", "machine alice's", "machine bob's", "user alice", "user bob", "controller self", "anything else"}
	var b strings.Builder
	b.WriteString("# action | target: anonymous, user alice, administrator, rack1, agent of m1, system\n")
	for _, a := range Actions() {
		for _, name := range order {
			fmt.Fprintf(&b, "%-30s %-16s", a, name)
			for _, p := range principals {
				fmt.Fprintf(&b, " %-6s", [...]string{"deny", "hide", "ALLOW"}[Decide(p, a, targets[name])])
			}
			b.WriteString("\n")
		}
	}
	got := strings.ReplaceAll(b.String(), " \n", "\n")
	const file = "testdata/matrix.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("decisions differ from %s (-want +got); run with -update and have the diff reviewed:\n%s", file, d)
	}
}

// TestFilterEqualsDecision holds the list filter to the object check: what a list shows is what a read allows.
func TestFilterEqualsDecision(t *testing.T) {
	for _, p := range []Principal{{Kind: Anonymous}, {Kind: User, Name: "alice"}, {Kind: User, Name: "root", Admin: true}, {Kind: Rack, Name: "r"},
		{Kind: System, Name: "x"}} {
		for _, owner := range []string{"", "alice", "bob"} {
			f, any := Machines(p)
			listed := any && (f.All || owner == "" || owner == f.Owner)
			got := Decide(p, MachineView, Target{Noun: NounMachine, ID: "m", Owner: owner}) == Allow
			if got != listed {
				t.Errorf("%s, machine of %q: read allowed %v, listed %v", p, owner, got, listed)
			}
		}
	}
}

func TestUnknownActionIsDenied(t *testing.T) {
	if got := Decide(Principal{Kind: System}, "machine.explode", Target{}); got != Deny {
		t.Errorf("got %v, want Deny", got)
	}
}
