package images_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/rack/images"
	"github.com/metalward/metalward/internal/wire"
)

func digest(b []byte) string { sum := sha256.Sum256(b); return hex.EncodeToString(sum[:]) }

// region is a fake source of images.
type region struct {
	images  map[string][]byte
	fetches atomic.Int32
	offsets []int64
	cut     int           // bytes after which a fetch breaks off; 0 means never
	wait    time.Duration // before it answers
}

func (r *region) fetch(ctx context.Context, sum string, offset int64) (io.ReadCloser, int64, error) {
	r.fetches.Add(1)
	r.offsets = append(r.offsets, offset)
	select {
	case <-time.After(r.wait):
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	b, ok := r.images[sum]
	if !ok {
		return nil, 0, fault.New(fault.NotFound, "There is no such image.")
	}
	var body io.Reader = bytes.NewReader(b[offset:])
	if r.cut > 0 {
		body = io.MultiReader(io.LimitReader(body, int64(r.cut)), brokenReader{})
	}
	return io.NopCloser(body), int64(len(b)), nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func open(t *testing.T, r *region, dir string, max int64, events *[]wire.SecurityRequest) *images.Cache {
	t.Helper()
	c, err := images.New(images.Config{
		Log: slog.New(slog.DiscardHandler), Dir: dir, Fetch: r.fetch, MaxBytes: max,
		Security: func(e wire.SecurityRequest) { *events = append(*events, e) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, c *images.Cache, sum string) []byte {
	t.Helper()
	f, size, err := c.Open(t.Context(), sum)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil || int64(len(b)) != size {
		t.Fatalf("got %d bytes, %v; want %d", len(b), err, size)
	}
	return b
}

func TestDownloadOnceResumeAndVerify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := bytes.Repeat([]byte("image "), 1000)
		sum, dir := digest(image), t.TempDir()
		r := &region{images: map[string][]byte{sum: image}, cut: 2500}
		var events []wire.SecurityRequest
		c := open(t, r, dir, 0, &events)
		var wg sync.WaitGroup
		for range 8 { // all share one download
			wg.Go(func() {
				if !bytes.Equal(read(t, c, sum), image) {
					t.Error("other bytes than the image's")
				}
			})
		}
		wg.Wait()
		if want := []int64{0, 2500, 5000}; len(r.offsets) != 3 || r.offsets[1] != want[1] || r.offsets[2] != want[2] {
			t.Errorf("fetched from %v; want %v", r.offsets, want)
		}
		if info, err := os.Stat(filepath.Join(dir, sum)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("got %v, %v; want mode 0600", info, err)
		}

		// After a restart the file is served without a fetch; with a flipped bit it is dropped and fetched anew.
		r.cut = 0
		c = open(t, r, dir, 0, &events)
		if before := r.fetches.Load(); !bytes.Equal(read(t, c, sum), image) || r.fetches.Load() != before || len(events) != 0 {
			t.Errorf("a good file was fetched again, or reported: %v", events)
		}
		bad := bytes.Clone(image)
		bad[4000] ^= 1
		if err := os.WriteFile(filepath.Join(dir, sum), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		c = open(t, r, dir, 0, &events)
		if !bytes.Equal(read(t, c, sum), image) || len(events) != 1 || events[0].Kind != "image_cache_corrupt" {
			t.Errorf("a corrupt file was served, or not reported: %v", events)
		}
	})
}

func TestResumeAfterRestart(t *testing.T) {
	image := bytes.Repeat([]byte("x"), 5000)
	sum, dir := digest(image), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, sum+".part"), image[:1234], 0o600); err != nil {
		t.Fatal(err)
	}
	r := &region{images: map[string][]byte{sum: image}}
	if !bytes.Equal(read(t, open(t, r, dir, 0, new([]wire.SecurityRequest)), sum), image) || r.offsets[0] != 1234 {
		t.Errorf("fetched from %v; want 1234", r.offsets)
	}
}

// What the region does not have any more leaves no beginning of it behind.
func TestPartOfWhatIsGone(t *testing.T) {
	image, dir := []byte("gone"), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, digest(image)+".part"), image[:2], 0o600); err != nil {
		t.Fatal(err)
	}
	c := open(t, &region{}, dir, 0, new([]wire.SecurityRequest))
	if _, _, err := c.Open(t.Context(), digest(image)); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v, want NotFound", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// stuck sends nothing until its request is given up.
type stuck struct{ ctx context.Context }

func (s stuck) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, s.ctx.Err() }

// A region that stops in the middle, with the connection open, is asked again for the rest.
func TestStalledDownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := bytes.Repeat([]byte("image "), 1000)
		r := &region{images: map[string][]byte{digest(image): image}}
		stalls := 0
		c, err := images.New(images.Config{Log: slog.New(slog.DiscardHandler), Dir: t.TempDir(), Fetch: func(ctx context.Context, sum string, offset int64) (io.ReadCloser, int64, error) {
			body, size, err := r.fetch(ctx, sum, offset)
			if stalls++; stalls <= 2 {
				body = io.NopCloser(io.MultiReader(io.LimitReader(body, 1000), stuck{ctx}))
			}
			return body, size, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		for {
			_, _, err := c.Open(t.Context(), digest(image))
			if e, ok := fault.As(err); ok && e.RetryAfter > 0 {
				continue
			}
			if err != nil {
				t.Error(err)
			}
			break
		}
		if want := []int64{0, 1000, 2000}; !slices.Equal(r.offsets, want) {
			t.Errorf("fetched from %v; want %v", r.offsets, want)
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		lie := digest([]byte("promised"))
		big := bytes.Repeat([]byte("b"), 2000)
		r := &region{images: map[string][]byte{lie: []byte("delivered"), digest(big): big}}
		c := open(t, r, dir, 1000, new([]wire.SecurityRequest))
		for name, tt := range map[string]struct {
			sum  string
			kind fault.Kind
		}{
			"not a digest": {"../../etc/passwd", fault.NotFound},
			"upper case":   {"AB" + digest(nil)[2:], fault.NotFound},
			"unknown":      {digest([]byte("nothing")), fault.NotFound},
			"other bytes":  {lie, fault.Unavailable},
			"too large":    {digest(big), fault.Exhausted},
		} {
			if _, _, err := c.Open(t.Context(), tt.sum); !fault.Is(err, tt.kind) {
				t.Errorf("%s: got %v; want %v", name, err, tt.kind)
			}
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := []byte("slow")
		r := &region{images: map[string][]byte{digest(image): image}, wait: time.Hour}
		c := open(t, r, t.TempDir(), 0, new([]wire.SecurityRequest))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, _, err := c.Open(ctx, digest(image)); !fault.Is(err, fault.Unavailable) {
			t.Errorf("got %v; want Unavailable", err)
		}
		time.Sleep(5 * time.Minute) // by then the download that nobody waits for has ended, or the test does not
		synctest.Wait()
	})
}

// A download longer than a request lasts goes on while agents come back for it.
func TestSlowDownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		image := []byte("slow and long")
		r := &region{images: map[string][]byte{digest(image): image}, wait: 50 * time.Second, cut: 1}
		c := open(t, r, t.TempDir(), 0, new([]wire.SecurityRequest))
		for asked := 1; ; asked++ {
			f, _, err := c.Open(t.Context(), digest(image))
			if err == nil {
				_ = f.Close()
				if asked < 10 {
					t.Errorf("got the image at try %d: a request waited too long", asked)
				}
				break
			}
			if e, ok := fault.As(err); !ok || e.Kind != fault.Unavailable || e.RetryAfter <= 0 || asked > 100 {
				t.Fatalf("try %d: got %v, want to be told to come again", asked, err)
			}
			time.Sleep(time.Second)
		}
		if n := int(r.fetches.Load()); n != len(image) {
			t.Errorf("got %d fetches of a byte each, want %d: it began again", n, len(image))
		}
	})
}

func TestEvict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, d := bytes.Repeat([]byte("a"), 400), bytes.Repeat([]byte("b"), 400), bytes.Repeat([]byte("d"), 400)
		r := &region{images: map[string][]byte{digest(a): a, digest(b): b, digest(d): d}}
		dir := t.TempDir()
		c := open(t, r, dir, 1000, new([]wire.SecurityRequest))
		read(t, c, digest(a))
		time.Sleep(time.Second)
		read(t, c, digest(b))
		time.Sleep(time.Second)
		inUse, _, err := c.Open(t.Context(), digest(a))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		read(t, c, digest(d))
		_ = inUse.Close()
		for sum, want := range map[string]bool{digest(a): true, digest(b): false, digest(d): true} {
			if _, err := os.Stat(filepath.Join(dir, sum)); (err == nil) != want {
				t.Errorf("%.8s is in the cache: %v; want %v", sum, err == nil, want)
			}
		}
		if !bytes.Equal(read(t, c, digest(b)), b) {
			t.Error("an evicted image does not come back")
		}
	})
}
