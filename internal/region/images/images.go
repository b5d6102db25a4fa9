// Package images keeps uploaded images: their records in the store, their bytes in a folder by digest.
//
// An upload is announced with size and digest, arrives in chunks, and is complete only when both fit. Bytes
// that do not fit are dropped. Until then deployments get the version before it, and one that is under way keeps the
// version that it began with.
package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// MaxChunk is the largest piece of an upload in one request, bytes. MAAS's client sends 4 MiB.
const MaxChunk = 64 << 20

// Service keeps images. Safe for concurrent use.
type Service struct {
	gate *gate.Gate
	dir  string
	mu   sync.Mutex // one chunk at a time: order matters, and the disk is one
}

// New makes the service over a folder, which it creates with mode 0700.
func New(g *gate.Gate, dir string) (*Service, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make image folder: %w", err)
	}
	return &Service{gate: g, dir: dir}, nil
}

const partialPrefix = "upload-"

func (s *Service) partial(id int64) string {
	return filepath.Join(s.dir, partialPrefix+strconv.FormatInt(id, 10))
}

func (s *Service) blob(sha256 string) string { return filepath.Join(s.dir, sha256) }

// List lists images.
func (s *Service) List(ctx context.Context) (list []metal.BootResource, err error) {
	err = s.gate.View(ctx, authz.ImageView, func(v *gate.Viewing) (err error) {
		list, err = v.BootResources()
		return err
	})
	return list, err
}

// Get returns an image. Kinds: NotFound.
func (s *Service) Get(ctx context.Context, id int64) (b metal.BootResource, err error) {
	err = s.gate.View(ctx, authz.ImageView, func(v *gate.Viewing) (err error) {
		b, err = v.BootResource(id)
		return err
	})
	return b, err
}

// Announce begins an upload. Of a name that exists it replaces the old version once it is complete. Bytes that are
// here already need not be sent again. Kinds: Invalid.
func (s *Service) Announce(ctx context.Context, b metal.BootResource) (metal.BootResource, error) {
	if err := b.Validate(); err != nil {
		return b, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(s.blob(b.SHA256))
	have := err == nil && info.Size() == b.SizeBytes
	err = s.gate.Do(ctx, authz.ImageEdit, func(c *gate.Call) (err error) {
		old, err := c.Tx().BootResourceByName(b.Name, b.Architecture)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		b.ID, b.Created, b.LastDeployed, b.Received, b.Complete = old.ID, c.Now(), old.LastDeployed, 0, false
		b.Serving, _ = old.Deployable()
		if have {
			b.Received, b.Complete, b.Serving = b.SizeBytes, true, metal.ImageVersion{}
		}
		c.Note("name", b.Name)
		c.Note("sha256", b.SHA256)
		if b.ID == 0 {
			if err := c.Require(authz.Target{Noun: authz.NounImage}); err != nil {
				return err
			}
			return c.Tx().AddBootResource(&b)
		}
		if err := c.Require(store.ImageTarget(b.ID)); err != nil {
			return err
		}
		return c.Tx().PutBootResource(b)
	})
	if err != nil {
		return b, err
	}
	s.drop(s.partial(b.ID))
	s.collect(ctx)
	return b, nil
}

func (s *Service) drop(path string) { _ = os.Remove(path) }

// collect deletes the bytes that nobody needs any more: those of this change, and of changes before it that a
// deployment still needed then. What cannot be looked at now is looked at the next time.
func (s *Service) collect(ctx context.Context) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	_ = s.gate.View(authz.AsSystem(ctx, "images"), authz.ImageView, func(v *gate.Viewing) error {
		for _, f := range files {
			if strings.HasPrefix(f.Name(), partialPrefix) {
				continue
			}
			if needed, err := v.ImageNeeded(f.Name()); err != nil {
				return err
			} else if !needed {
				s.drop(s.blob(f.Name()))
			}
		}
		return nil
	})
}

// Append adds the next chunk of an upload. length is what the request announced. Kinds: NotFound, Invalid for
// a chunk of another length, past the end, of a complete image, or when the digest does not fit at the end:
// then the upload starts again from nothing.
func (s *Service) Append(ctx context.Context, id int64, chunk io.Reader, length int64) (metal.BootResource, error) {
	b, err := s.uploading(ctx, id)
	if err != nil {
		return b, err
	}
	if length <= 0 || length > MaxChunk {
		return b, fault.New(fault.Invalid, "Send Content-Length with a chunk of 1 to %d bytes.", MaxChunk)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, err = s.uploading(ctx, id); err != nil { // again, now that nobody else appends
		return b, err
	}
	if b.Complete {
		return b, fault.New(fault.Invalid, "Cannot upload to a complete file.")
	}
	if b.Received+length > b.SizeBytes {
		return b, fault.New(fault.Invalid, "Too much data received: the image has %d bytes, %d were sent.", b.SizeBytes, b.Received+length)
	}
	if err := s.write(b, chunk, length); err != nil {
		return b, err
	}
	b.Received += length
	if b.Received == b.SizeBytes {
		if err := s.finish(&b); err != nil {
			return b, s.reset(ctx, b, err)
		}
	}
	err = s.put(ctx, &b, "received", strconv.FormatInt(b.Received, 10))
	if err == nil && b.Complete {
		s.collect(ctx)
	}
	return b, err
}

// put records how far an upload is. The rest of the record is not ours: a deployment may have noted itself meanwhile.
func (s *Service) put(ctx context.Context, b *metal.BootResource, note, text string) error {
	return s.gate.Do(ctx, authz.ImageEdit, func(c *gate.Call) error {
		if err := c.Require(store.ImageTarget(b.ID)); err != nil {
			return err
		}
		now, err := c.Tx().BootResource(b.ID)
		if err != nil {
			return err
		}
		b.LastDeployed = now.LastDeployed
		c.Note(note, text)
		return c.Tx().PutBootResource(*b)
	})
}

// uploading returns the image if the caller may upload to it.
func (s *Service) uploading(ctx context.Context, id int64) (b metal.BootResource, err error) {
	if err := authz.Decide(authz.From(ctx), authz.ImageEdit, store.ImageTarget(id)).Err(store.ImageTarget(id)); err != nil {
		return b, err
	}
	return s.Get(ctx, id)
}

func (s *Service) write(b metal.BootResource, chunk io.Reader, length int64) error {
	f, err := os.OpenFile(s.partial(b.ID), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open upload: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < b.Received {
		return fmt.Errorf("cannot continue upload %d: %d bytes are on disk, %d are recorded", b.ID, info.Size(), b.Received)
	}
	if _, err := f.Seek(b.Received, io.SeekStart); err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(chunk, length+1))
	if err != nil || n != length {
		return fault.New(fault.Invalid, "Data does not match Content-Length: %d bytes came, %d were announced. Send the chunk again.", n, length)
	}
	if err := f.Truncate(b.Received + length); err != nil {
		return err
	}
	return f.Sync()
}

func (s *Service) finish(b *metal.BootResource) error {
	f, err := os.Open(s.partial(b.ID))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != b.SHA256 {
		return fault.Field("sha256", "The uploaded bytes have the SHA-256 %s, announced was %s. Upload again.", got, b.SHA256)
	}
	if err := os.Rename(s.partial(b.ID), s.blob(b.SHA256)); err != nil {
		return err
	}
	b.Complete, b.Serving = true, metal.ImageVersion{}
	return nil
}

// reset forgets the bytes of an upload that did not fit and returns the cause.
func (s *Service) reset(ctx context.Context, b metal.BootResource, cause error) error {
	s.drop(s.partial(b.ID))
	b.Received, b.Complete = 0, false
	return errors.Join(cause, s.put(ctx, &b, "rejected", fault.Message(cause)))
}

// Delete deletes an image. Kinds: NotFound.
func (s *Service) Delete(ctx context.Context, id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.gate.Do(ctx, authz.ImageEdit, func(c *gate.Call) (err error) {
		if err := c.Require(store.ImageTarget(id)); err != nil {
			return err
		}
		b, err := c.Tx().BootResource(id)
		if err != nil {
			return err
		}
		c.Note("name", b.Name)
		return c.Tx().DeleteBootResource(id)
	})
	if err == nil {
		s.drop(s.partial(id))
		s.collect(ctx)
	}
	return err
}

// Open opens bytes that deployments need by their digest, for a rack. Kinds: NotFound.
func (s *Service) Open(ctx context.Context, digest string) (*os.File, error) {
	var needed bool
	err := s.gate.View(ctx, authz.ImageView, func(v *gate.Viewing) (err error) {
		needed, err = v.ImageNeeded(digest)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !needed {
		return nil, authz.NotFound(authz.NounImage)
	}
	f, err := os.Open(s.blob(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "The bytes of this image are missing; upload it again.")
	}
	return f, err
}
