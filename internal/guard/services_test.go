package guard

import (
	"fmt"
	"slices"
	"testing"
)

// Lists that name each other many times are looked at once each; such as name themselves are an error.
func TestStrangerOfManyLists(t *testing.T) {
	d := DNS{ACLs: map[string][]string{"list0": {"any"}, "self": {"self"}}}
	for i := range 9 {
		d.ACLs[fmt.Sprint("list", i+1)] = slices.Repeat([]string{fmt.Sprint("list", i)}, 100)
	}
	if open, err := d.Stranger([]string{"list9"}); !open || err != nil {
		t.Errorf("got %v, %v", open, err)
	}
	if _, err := d.Stranger([]string{"self"}); err == nil {
		t.Error("a list that names itself: no error")
	}
}
