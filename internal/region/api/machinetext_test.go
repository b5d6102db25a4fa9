package api

import (
	"bytes"
	"testing"

	"github.com/metalward/metalward/internal/metal"
)

// TestSlotsCannotBeForged renders a text that tries to look like a slot: it comes out as it went in.
func TestSlotsCannotBeForged(t *testing.T) {
	p := machineParts{m: &metal.Machine{SystemID: "x", Description: "\x01P0\x02 slot-00-P0", OwnerData: map[string]string{"k": "\x01Z1\x02"}}}
	body, err := marshal(p.json())
	if err != nil {
		t.Fatal(err)
	}
	text := toSlots(body)
	if n := bytes.Count(text, []byte{slotStart}); n != 3 { // zone, pool, power
		t.Errorf("got %d slots, want 3", n)
	}
	out, err := fillers{"P0": []byte(`"P"`), "Z0": []byte(`"Z"`)}.splice(nil, text, metal.PowerOn)
	if err != nil || bytes.IndexByte(out, slotStart) >= 0 || !bytes.Contains(out, []byte(`\u0001P0\u0002 slot-00-P0`)) || !bytes.Contains(out, []byte(`"power_state":"on"`)) {
		t.Errorf("got %s, %v", out, err)
	}
}
