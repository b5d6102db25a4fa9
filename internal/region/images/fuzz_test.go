package images_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/regiontest"
)

// FuzzUpload sends an image in pieces whose announced and real lengths the fuzzer chooses. Whatever comes, an image is
// complete only with the announced bytes, and no answer is an internal error.
func FuzzUpload(f *testing.F) {
	f.Add([]byte{19, 19}, false)
	f.Add([]byte{5, 5, 14, 14}, false)
	f.Add([]byte{5, 4, 0, 3, 30, 30, 19, 19}, true)
	// One core for all inputs: an upload starts anew with each.
	core := regiontest.New(f, regiontest.NewClock().Now)
	admin := core.Admin(f)
	f.Fuzz(func(t *testing.T, lengths []byte, damage bool) {
		content := []byte(text)
		if len(lengths) > 16 {
			lengths = lengths[:16]
		}
		b, err := core.Images.Announce(admin, announced("custom/fuzz", text))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(lengths); i += 2 {
			said, real := int64(lengths[i]%40), int(lengths[i+1]%40)
			piece := make([]byte, real)
			if b.Received < int64(len(content)) {
				copy(piece, content[b.Received:])
			}
			if damage && real > 0 {
				piece[0] ^= 1
			}
			next, err := core.Images.Append(admin, b.ID, bytes.NewReader(piece), said)
			if err != nil && fault.KindOf(err) == fault.Internal {
				t.Fatalf("said %d, sent %d: %v", said, real, err)
			}
			if err == nil {
				b = next
			} else if b, err = core.Images.Get(admin, b.ID); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(core.Dir + "/images/" + digest(text))
		if b.Complete && (err != nil || string(got) != text) {
			t.Fatalf("complete with %q, %v", got, err)
		}
		if !b.Complete && err == nil || err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("not complete, but the bytes are there (%v)", err)
		}
		if err := core.Images.Delete(admin, b.ID); err != nil {
			t.Fatal(err)
		}
	})
}
