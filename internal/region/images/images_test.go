package images_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/images"
	"github.com/metalward/metalward/internal/region/regiontest"
)

const text = "the bytes of a disk"

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func announced(name, content string) metal.BootResource {
	return metal.BootResource{Name: name, Architecture: "amd64", FileType: "ddraw", SizeBytes: int64(len(content)), SHA256: digest(content)}
}

type lab struct {
	*testing.T
	*regiontest.Core
	admin context.Context
}

func newLab(t *testing.T) *lab {
	c := regiontest.New(t, regiontest.NewClock().Now)
	return &lab{t, c, c.Admin(t)}
}

func (l *lab) announce(name, content string) metal.BootResource {
	l.Helper()
	b, err := l.Images.Announce(l.admin, announced(name, content))
	if err != nil {
		l.Fatal(err)
	}
	return b
}

func (l *lab) send(id int64, chunk string) (metal.BootResource, error) {
	return l.Images.Append(l.admin, id, strings.NewReader(chunk), int64(len(chunk)))
}

func (l *lab) want(err error, kind fault.Kind) {
	l.Helper()
	if !fault.Is(err, kind) {
		l.Errorf("got %v (kind %s), want kind %s", err, fault.KindOf(err), kind)
	}
}

func (l *lab) files() (names []string) {
	l.Helper()
	list, err := os.ReadDir(filepath.Join(l.Dir, "images"))
	if err != nil {
		l.Fatal(err)
	}
	for _, f := range list {
		names = append(names, f.Name())
	}
	return names
}

// TestUpload completes an image only when size and digest fit (security requirement 31).
func TestUpload(t *testing.T) {
	l := newLab(t)
	b := l.announce("tiny", text)
	if b.Name != "custom/tiny" || b.Complete {
		t.Errorf("got %+v", b)
	}
	_, err := l.Images.Open(l.admin, b.SHA256)
	l.want(err, fault.NotFound)
	if b, err = l.send(b.ID, text[:7]); err != nil || b.Received != 7 || b.Complete {
		t.Fatalf("got %+v, %v", b, err)
	}
	for name, c := range map[string]struct {
		chunk  io.Reader
		length int64
	}{
		"shorter than announced": {strings.NewReader("x"), 5}, "longer than announced": {strings.NewReader("xxxxxx"), 5}, "past the end": {strings.NewReader(text), int64(len(text))},
		"no length": {strings.NewReader("x"), 0}, "negative": {strings.NewReader("x"), -1}, "too large": {strings.NewReader("x"), images.MaxChunk + 1},
		"broken off": {io.MultiReader(strings.NewReader("xx"), failing{}), 5},
	} {
		if _, err := l.Images.Append(l.admin, b.ID, c.chunk, c.length); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
		if b, err = l.Images.Get(l.admin, b.ID); err != nil || b.Received != 7 {
			t.Errorf("%s: got %d bytes received, %v", name, b.Received, err)
		}
	}
	if b, err = l.send(b.ID, text[7:]); err != nil || !b.Complete {
		t.Fatalf("got %+v, %v", b, err)
	}
	f, err := l.Images.Open(regiontest.RackCtx("r"), b.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if got, err := io.ReadAll(f); err != nil || string(got) != text {
		t.Errorf("got %q, %v", got, err)
	}
	_, err = l.send(b.ID, "x")
	l.want(err, fault.Invalid)
	_, err = l.send(999, "x")
	l.want(err, fault.NotFound)
	alice := l.User(t, "alice", false)
	_, err = l.Images.Append(alice, b.ID, strings.NewReader("x"), 1)
	l.want(err, fault.Forbidden)
	_, err = l.Images.Announce(alice, announced("a", "x"))
	l.want(err, fault.Forbidden)
	l.want(l.Images.Delete(alice, b.ID), fault.Forbidden)
	info, err := os.Stat(filepath.Join(l.Dir, "images"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection lost") }

// TestWrongDigest drops bytes that do not fit; the upload starts again.
func TestWrongDigest(t *testing.T) {
	l := newLab(t)
	b := l.announce("tiny", text)
	_, err := l.send(b.ID, strings.Replace(text, "t", "T", 1))
	l.want(err, fault.Invalid)
	if f, ok := fault.As(err); !ok || !strings.Contains(strings.Join(f.Fields["sha256"], ""), "announced was "+b.SHA256) {
		t.Errorf("got %v", err)
	}
	if b, err = l.Images.Get(l.admin, b.ID); err != nil || b.Received != 0 || b.Complete {
		t.Errorf("got %+v, %v", b, err)
	}
	if got := l.files(); len(got) != 0 {
		t.Errorf("got %v left", got)
	}
	if b, err = l.send(b.ID, text); err != nil || !b.Complete {
		t.Errorf("the second try: got %+v, %v", b, err)
	}
}

// TestReplace keeps bytes as long as an image has them, and no longer.
func TestReplace(t *testing.T) {
	l := newLab(t)
	a := l.announce("a", text)
	if _, err := l.send(a.ID, text); err != nil {
		t.Fatal(err)
	}
	b := l.announce("b", text) // the same bytes need not be sent again
	if !b.Complete || b.ID == a.ID {
		t.Errorf("got %+v", b)
	}
	if err := l.Images.Delete(l.admin, a.ID); err != nil {
		t.Fatal(err)
	}
	if got := l.files(); len(got) != 1 {
		t.Errorf("got %v, want the bytes that b still has", got)
	}
	next := l.announce("b", text+"!")
	if next.ID != b.ID || next.Complete {
		t.Errorf("got %+v", next)
	}
	// Until the next version is complete, deployments get the one before it.
	serves := func(want string) {
		t.Helper()
		now, err := l.Images.Get(l.admin, b.ID)
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := now.Deployable(); !ok || v.SHA256 != digest(want) || v.SizeBytes != int64(len(want)) {
			t.Errorf("got %+v, want that of %q", v, want)
		}
		f, err := l.Images.Open(l.admin, digest(want))
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	serves(text)
	_, err := l.send(next.ID, strings.Repeat("x", len(text)+1)) // it does not fit
	l.want(err, fault.Invalid)
	serves(text)
	l.announce("b", text+"?") // changed their mind
	serves(text)
	l.announce("b", text+"!")
	if done, err := l.send(next.ID, text+"!"); err != nil || !done.Complete {
		t.Fatalf("got %+v, %v", done, err)
	}
	serves(text + "!")
	_, err = l.Images.Open(l.admin, digest(text))
	l.want(err, fault.NotFound)
	if got := l.files(); !slices.Equal(got, []string{digest(text + "!")}) {
		t.Errorf("got %v, want the bytes of the next version", got)
	}
	l.want(l.Images.Delete(l.admin, a.ID), fault.NotFound)
	list, err := l.Images.List(l.admin)
	if err != nil || len(list) != 1 {
		t.Errorf("got %v, %v", list, err)
	}
}

// TestAnnounceRefused names every field that is wrong.
func TestAnnounceRefused(t *testing.T) {
	l := newLab(t)
	for field, change := range map[string]func(*metal.BootResource){
		"name": func(b *metal.BootResource) { b.Name = "../x" }, "architecture": func(b *metal.BootResource) { b.Architecture = "z80" }, "filetype": func(b *metal.BootResource) { b.FileType = "tgz" },
		"sha256": func(b *metal.BootResource) { b.SHA256 = "../../root.key" }, "size": func(b *metal.BootResource) { b.SizeBytes = metal.MaxImageBytes + 1 },
	} {
		b := announced("a", text)
		change(&b)
		_, err := l.Images.Announce(l.admin, b)
		if f, ok := fault.As(err); !ok || len(f.Fields) != 1 || f.Fields[field] == nil {
			t.Errorf("%s: got %v", field, err)
		}
	}
	_, err := l.Images.Open(context.Background(), digest(text))
	l.want(err, fault.Forbidden)
	_, err = l.Images.Open(authz.AsSystem(context.Background(), "x"), "../root.key")
	l.want(err, fault.NotFound)
}
