package fault

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestShown holds what a user may see apart from what operators see.
func TestShown(t *testing.T) {
	inner := New(Conflict, "Machine %s is %s.", "m", "Ready")
	for name, c := range map[string]struct {
		err  error
		kind Kind
		text string
	}{
		"a fault":           {inner, Conflict, "Machine m is Ready."},
		"wrapped":           {fmt.Errorf("cannot allocate for token hunter2: %w", inner), Conflict, "Machine m is Ready."},
		"joined":            {errors.Join(errors.New("hunter2"), inner), Conflict, "Machine m is Ready."},
		"the cause beside":  {fmt.Errorf("%w (%v)", inner, errors.New("hunter2")), Conflict, "Machine m is Ready."},
		"not classified":    {errors.New("dial tcp: hunter2"), Internal, "Internal error."},
		"fields":            {&Error{Kind: Invalid, Fields: map[string][]string{"b": {"Two.", "Three."}, "a": {"One."}}}, Invalid, "a: One.; b: Two. Three."},
		"message and field": {&Error{Kind: Invalid, Message: "Bad.", Fields: map[string][]string{"a": {"One."}}}, Invalid, "Bad.; a: One."},
		"the zero fault":    {&Error{}, Internal, ""},
	} {
		if got := KindOf(c.err); got != c.kind || !Is(c.err, c.kind) {
			t.Errorf("%s: got kind %s, want %s", name, got, c.kind)
		}
		if got := Message(c.err); !strings.HasPrefix(got, c.text) || strings.Contains(got, "hunter2") {
			t.Errorf("%s: got %q, want %q", name, got, c.text)
		}
	}
	if Is(nil, Internal) {
		t.Error("no error is of a kind")
	}
	if _, ok := As(errors.New("x")); ok {
		t.Error("an unclassified error is a fault")
	}
}

func TestFields(t *testing.T) {
	f := Fields{}
	f.AddErr("a", nil)
	if err := f.Err(); err != nil {
		t.Errorf("got %v without complaints", err)
	}
	f.Add("a", "%d is too many.", 3)
	f.AddErr("a", New(Invalid, "So is this."))
	f.AddErr("b", errors.New("hunter2"))
	err := f.Err()
	e, ok := As(err)
	if !ok || e.Kind != Invalid || strings.Join(e.Fields["a"], " ") != "3 is too many. So is this." || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
	if e, _ := As(Field("x", "100%% %s", "sure")); e.Fields["x"][0] != "100% sure" {
		t.Errorf("got %v", e.Fields)
	}
}

func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for k := Internal; k <= TooLarge; k++ {
		if seen[k.String()] {
			t.Errorf("kind %d shares the name %s", k, k)
		}
		seen[k.String()] = true
	}
	for _, k := range []Kind{-1, TooLarge + 1} {
		if k.String() != "internal" {
			t.Errorf("got %q for kind %d", k, int(k))
		}
	}
}
