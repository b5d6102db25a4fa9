// Package secrettest is the suite that every back end of secrets passes.
package secrettest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/metalward/metalward/internal/secret"
)

const canary = "canary-3c1d-hunter2"

// Suite runs against one back end, and another one of the same kind that belongs to another site.
func Suite(t *testing.T, b, stranger secret.Backend) {
	ctx := t.Context()
	seal := func(t *testing.T, ref secret.Ref, v secret.Value) []byte {
		t.Helper()
		sealed, err := b.Seal(ctx, ref, v)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	t.Run("values", func(t *testing.T) {
		long := bytes.Repeat([]byte(canary), 3<<20/len(canary)) // larger than user data in base64
		for name, v := range map[string][]byte{"empty": {}, "a byte": {0}, "text": []byte(canary), "bytes": {0xff, 0, '\n', 0x80}, "128 KiB": long[:128<<10], "a byte more": long[:128<<10+1], "3 MiB": long} {
			sealed := seal(t, "site/"+secret.Ref(name), secret.NewValue(v))
			if len(v) > 8 && bytes.Contains(sealed, v[:8]) {
				t.Errorf("%s: the sealed form shows the secret", name)
			}
			for range 2 {
				if got, err := b.Open(ctx, "site/"+secret.Ref(name), sealed); err != nil || !got.Equal(secret.NewValue(v)) {
					t.Errorf("%s: got %d bytes, %v", name, len(got.Reveal()), err)
				}
			}
		}
	})
	t.Run("twice", func(t *testing.T) {
		one, two := seal(t, "a", secret.FromString(canary)), seal(t, "a", secret.FromString("other"))
		if again := seal(t, "a", secret.FromString(canary)); bytes.Equal(one, again) {
			t.Error("sealing twice gives the same bytes")
		}
		for _, c := range []struct {
			sealed []byte
			want   string
		}{{one, canary}, {two, "other"}, {one, canary}} {
			if got, err := b.Open(ctx, "a", c.sealed); err != nil || got.RevealString() != c.want {
				t.Errorf("got %v, want what was sealed", err)
			}
		}
	})
	t.Run("changed", func(t *testing.T) {
		for name, v := range map[string]string{"short": canary, "long": strings.Repeat(canary, 10000)} {
			sealed := seal(t, "machine/a/power", secret.FromString(v))
			refuse := func(what string, ref secret.Ref, bad []byte) {
				t.Helper()
				if got, err := b.Open(ctx, ref, bad); err == nil {
					t.Errorf("%s: opened with %d bytes", what, len(got.Reveal()))
				} else if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), canary) {
					t.Errorf("%s: the error shows the secret", what)
				}
			}
			for i := range min(len(sealed), 200) {
				for _, bit := range []byte{1, 0x80} {
					bad := bytes.Clone(sealed)
					bad[i] ^= bit
					refuse(fmt.Sprintf("%s with byte %d changed", name, i), "machine/a/power", bad)
				}
			}
			last := bytes.Clone(sealed)
			last[len(last)-1] ^= 1
			refuse(name+" with its last byte changed", "machine/a/power", last)
			for n := range min(len(sealed), 200) {
				refuse(fmt.Sprintf("%s cut to %d bytes", name, n), "machine/a/power", sealed[:n])
			}
			refuse(name+" cut by one", "machine/a/power", sealed[:len(sealed)-1])
			refuse(name+" with a byte more", "machine/a/power", append(bytes.Clone(sealed), 0))
			for _, ref := range []secret.Ref{"machine/b/power", "machine/a/powe", "machine/a/power ", ""} {
				refuse(fmt.Sprintf("%s moved to %q", name, ref), ref, sealed)
			}
			if _, err := stranger.Open(ctx, "machine/a/power", sealed); err == nil {
				t.Errorf("%s: another site opened it", name)
			}
			if got, err := b.Open(ctx, "machine/a/power", sealed); err != nil || got.RevealString() != v {
				t.Errorf("%s: after all that got %v", name, err)
			}
		}
		refuse := []byte(nil)
		if _, err := b.Open(ctx, "a", refuse); err == nil {
			t.Error("opened nothing")
		}
	})
	t.Run("together", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				v := secret.FromString(fmt.Sprint(canary, i))
				ref := secret.Ref(fmt.Sprint("machine/", i))
				sealed, err := b.Seal(ctx, ref, v)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := b.Open(ctx, ref, sealed); err != nil || !got.Equal(v) {
					t.Errorf("%d: got %v", i, err)
				}
			})
		}
		wg.Wait()
	})
}
