// Package images keeps uploaded images: their records in the store, their bytes in a folder by digest.
//
// An upload is announced with size and digest, arrives in chunks, and is complete only when both fit. Bytes
// that do not fit are dropped.
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

func (s *Service) partial(id int64) string {
	return filepath.Join(s.dir, "upload-"+strconv.FormatInt(id, 10))
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

// Announce begins an upload. Of a name that exists it replaces the old version at once: until the new one is
// complete the image cannot be deployed. Bytes that are here already need not be sent again. Kinds: Invalid.
func (s *Service) Announce(ctx context.Context, b metal.BootResource) (metal.BootResource, error) {
	if err := b.Validate(); err != nil {
		return b, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(s.blob(b.SHA256))
	have := err == nil && info.Size() == b.SizeBytes
	var old metal.BootResource
	err = s.gate.Do(ctx, authz.ImageEdit, func(c *gate.Call) (err error) {
		old, err = c.Tx().BootResourceByName(b.Name, b.Architecture)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		b.ID, b.Created, b.Received, b.Complete = old.ID, c.Now(), 0, have
		if have {
			b.Received = b.SizeBytes
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
	if old.SHA256 != b.SHA256 {
		s.collect(ctx, old.SHA256)
	}
	return b, nil
}

func (s *Service) drop(path string) { _ = os.Remove(path) }

// collect deletes the bytes of a digest that no image has any more.
func (s *Service) collect(ctx context.Context, sha256 string) {
	if sha256 == "" {
		return
	}
	err := s.gate.View(authz.AsSystem(ctx, "images"), authz.ImageView, func(v *gate.Viewing) error {
		_, err := v.BootResourceByDigest(sha256)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		s.drop(s.blob(sha256))
	}
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
	return b, s.gate.Do(ctx, authz.ImageEdit, func(c *gate.Call) error {
		if err := c.Require(store.ImageTarget(id)); err != nil {
			return err
		}
		c.Note("received", strconv.FormatInt(b.Received, 10))
		return c.Tx().PutBootResource(b)
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
	b.Complete = true
	return nil
}

// reset forgets the bytes of an upload that did not fit and returns the cause.
func (s *Service) reset(ctx context.Context, b metal.BootResource, cause error) error {
	s.drop(s.partial(b.ID))
	b.Received, b.Complete = 0, false
	err := s.gate.Do(ctx, authz.ImageEdit, func(c *gate.Call) error {
		if err := c.Require(store.ImageTarget(b.ID)); err != nil {
			return err
		}
		c.Note("rejected", fault.Message(cause))
		return c.Tx().PutBootResource(b)
	})
	return errors.Join(cause, err)
}

// Delete deletes an image. Kinds: NotFound.
func (s *Service) Delete(ctx context.Context, id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b metal.BootResource
	err := s.gate.Do(ctx, authz.ImageEdit, func(c *gate.Call) (err error) {
		if err := c.Require(store.ImageTarget(id)); err != nil {
			return err
		}
		if b, err = c.Tx().BootResource(id); err != nil {
			return err
		}
		c.Note("name", b.Name)
		return c.Tx().DeleteBootResource(id)
	})
	if err == nil {
		s.drop(s.partial(id))
		s.collect(ctx, b.SHA256)
	}
	return err
}

// Open opens the bytes of a complete image by digest, for a rack. Kinds: NotFound.
func (s *Service) Open(ctx context.Context, digest string) (*os.File, error) {
	err := s.gate.View(ctx, authz.ImageView, func(v *gate.Viewing) error {
		_, err := v.BootResourceByDigest(digest)
		return err
	})
	if err != nil {
		return nil, err
	}
	f, err := os.Open(s.blob(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "The bytes of this image are missing; upload it again.")
	}
	return f, err
}
