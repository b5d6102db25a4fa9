// Package images is the rack's cache of images, a directory of files named by their SHA-256.
//
// Invariant: nothing is served whose bytes this process has not hashed itself. A download is hashed before it
// gets its name; a file found at start is hashed before it is first served, so a flipped bit on the rack's disk
// is noticed, reported and fetched anew.
package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/wire"
)

// Limits.
const (
	// DefaultMaxBytes is what the cache may take of the disk when Config says nothing: a dozen packed images.
	DefaultMaxBytes = 20 << 30
	// maxImage bounds one image, whatever the region says of its size.
	maxImage = 64 << 30
	// A download is resumed at most maxResumes times without a byte of progress, after resumePause each.
	maxResumes  = 5
	resumePause = 2 * time.Second
	// stallAfter is how long the region may send nothing before the connection counts as broken.
	stallAfter = time.Minute
	// maxDownload ends a download however slow.
	maxDownload = 2 * time.Hour
	// openWait is how long Open waits for an image; who asked is then told to ask again. It is below the time in which
	// agents expect an answer.
	openWait, askAgain = 30 * time.Second, time.Second
	// linger is how long a download goes on that nobody waits for: those told to ask again come back.
	linger = 2 * time.Minute
	// maxParallel bounds downloads at the same time; further ones wait.
	maxParallel = 4
	partSuffix  = ".part"
	// keepPart is how old a partial download may be to be resumed after a restart.
	keepPart = 24 * time.Hour
)

// Fetch opens an image at the region from an offset on. total is the size of the whole image in bytes.
type Fetch func(ctx context.Context, sha256 string, offset int64) (body io.ReadCloser, total int64, err error)

// Config is what a Cache needs.
type Config struct {
	Log *slog.Logger
	// Dir holds the images; it is made, with mode 0700, if it does not exist. Nothing else may be in it.
	Dir   string
	Fetch Fetch
	// MaxBytes bounds the files in Dir; 0 means DefaultMaxBytes. Files in use are never removed.
	MaxBytes int64
	// Security is told of a file that changed on disk: kind "image_cache_corrupt". Must return soon. May be nil.
	Security func(wire.SecurityRequest)
}

// Cache is the store. Safe for concurrent use.
type Cache struct {
	cfg      Config
	parallel chan struct{}

	mu     sync.Mutex // guards all below
	files  map[string]*entry
	flight map[string]*flight
}

// entry is a file in the directory.
type entry struct {
	size     int64
	used     time.Time
	readers  int
	verified bool
}

// flight is a preparation, download or verification, that several requests wait for.
type flight struct {
	done    chan struct{}
	err     error
	abandon *time.Timer // ends it; runs while there are no users
	users   int
}

// New opens the cache. Images found in it are verified when they are first asked for, partial downloads resumed.
func New(cfg Config) (*Cache, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the image cache: %w", err)
	}
	list, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the image cache: %w", err)
	}
	c := &Cache{cfg: cfg, parallel: make(chan struct{}, maxParallel), files: map[string]*entry{}, flight: map[string]*flight{}}
	for _, e := range list {
		name := e.Name()
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !validDigest(strings.TrimSuffix(name, partSuffix)) {
			continue
		}
		if !strings.HasSuffix(name, partSuffix) {
			c.files[name] = &entry{size: info.Size(), used: info.ModTime()}
		} else if time.Since(info.ModTime()) > keepPart {
			_ = os.Remove(filepath.Join(cfg.Dir, name)) // tried again at the next start
		}
	}
	return c, nil
}

func validDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && s == strings.ToLower(s)
}

// Open returns an image and its size in bytes. It waits until the image is on this rack and verified, which for
// a miss is a download; the download goes on for others if ctx ends. Kinds: NotFound for what is not a digest
// or not at the region, Unavailable when it cannot be fetched, or with RetryAfter when that takes longer than a
// request should, Internal when the disk fails.
func (c *Cache) Open(ctx context.Context, digest string) (io.ReadSeekCloser, int64, error) {
	if !validDigest(digest) {
		return nil, 0, fault.New(fault.NotFound, "There is no such image.")
	}
	for range 3 { // an image may be evicted or found changed between being prepared and being opened
		if f, size, err := c.open(digest); err == nil {
			return f, size, nil
		} else if !errors.Is(err, errNotReady) {
			return nil, 0, err
		}
		if err := c.prepare(ctx, digest); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, fault.New(fault.Unavailable, "The image does not stay in the rack's cache: it is too small.")
}

var errNotReady = errors.New("not in the cache")

// open opens a verified file.
func (c *Cache) open(digest string) (io.ReadSeekCloser, int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.files[digest]
	if e == nil || !e.verified {
		return nil, 0, errNotReady
	}
	f, err := os.Open(c.path(digest))
	if err != nil {
		delete(c.files, digest) // somebody removed it
		return nil, 0, errNotReady
	}
	e.readers++
	e.used = time.Now()
	return &reader{File: f, release: sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		e.readers--
	})}, e.size, nil
}

// reader is an open image; it keeps its file from being evicted.
type reader struct {
	*os.File
	release func()
}

// Close closes the image.
func (r *reader) Close() error {
	r.release()
	return r.File.Close()
}

func (c *Cache) path(digest string) string { return filepath.Join(c.cfg.Dir, digest) }

// prepare gets an image onto the disk and verified, together with everybody who asks for it meanwhile. The work
// ends some time after the last of them has gone.
func (c *Cache) prepare(ctx context.Context, digest string) error {
	c.mu.Lock()
	f := c.flight[digest]
	if f == nil {
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxDownload)
		f = &flight{done: make(chan struct{}), abandon: time.AfterFunc(linger, cancel)}
		c.flight[digest] = f
		go func() {
			err := c.work(work, digest)
			if errors.Is(err, context.DeadlineExceeded) {
				err = errors.Join(fault.New(fault.Unavailable, "The image could not be fetched in time."), err)
			}
			cancel()
			c.mu.Lock()
			f.err = err
			f.abandon.Stop()
			delete(c.flight, digest)
			c.mu.Unlock()
			close(f.done)
		}()
	}
	f.users++
	f.abandon.Stop()
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if f.users--; f.users == 0 && c.flight[digest] == f {
			f.abandon.Reset(linger)
		}
	}()
	timer := time.NewTimer(openWait)
	defer timer.Stop()
	select {
	case <-f.done:
		if errors.Is(f.err, context.Canceled) && ctx.Err() == nil {
			return nil // it was abandoned just as we came: Open tries again
		}
		return f.err
	case <-timer.C:
		e := fault.New(fault.Unavailable, "The image is on its way to the rack.")
		e.RetryAfter = askAgain
		return e
	case <-ctx.Done():
		return fault.New(fault.Unavailable, "The image is not on the rack yet.")
	}
}

func (c *Cache) work(ctx context.Context, digest string) error {
	select {
	case c.parallel <- struct{}{}:
		defer func() { <-c.parallel }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mu.Lock()
	e := c.files[digest]
	c.mu.Unlock()
	if e != nil {
		sum, size, err := hashFile(ctx, c.path(digest))
		if err == nil && sum == digest {
			c.mu.Lock()
			e.verified, e.size = true, size
			c.mu.Unlock()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			c.cfg.Log.ErrorContext(ctx, "cached image is corrupt", "sha256", digest)
			if c.cfg.Security != nil {
				c.cfg.Security(wire.SecurityRequest{Kind: "image_cache_corrupt", Detail: "cached image " + digest + " had changed on disk"})
			}
		}
		c.mu.Lock()
		delete(c.files, digest)
		c.mu.Unlock()
		if err := os.Remove(c.path(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove a corrupt image: %w", err)
		}
	}
	size, err := c.download(ctx, digest)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.files[digest] = &entry{size: size, used: time.Now(), verified: true}
	c.evict(digest)
	c.mu.Unlock()
	return nil
}

func hashFile(ctx context.Context, path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, &ctxReader{ctx, f})
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// ctxReader ends a copy when ctx does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// download fetches an image into a partial file, resuming what is there, and names it when its digest is right.
func (c *Cache) download(ctx context.Context, digest string) (int64, error) {
	part := c.path(digest) + partSuffix
	f, err := os.OpenFile(part, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fmt.Errorf("cannot write an image: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	have, err := io.Copy(h, &ctxReader{ctx, f}) // what an earlier try left
	if err != nil {
		return 0, err
	}
	for idle := 0; ; {
		n, err := c.fetchRest(ctx, digest, have, io.MultiWriter(f, h))
		have += n
		if err == nil {
			break
		}
		if n > 0 {
			idle = 0
		}
		permanent := fault.Is(err, fault.NotFound) || fault.Is(err, fault.Forbidden) || fault.Is(err, fault.Invalid) ||
			errors.Is(err, errTooLarge) || errors.Is(err, errOther)
		if idle++; permanent || ctx.Err() != nil || idle > maxResumes {
			if permanent || have == 0 {
				_ = os.Remove(part) // what the region does not have, or not so, leaves nothing behind
			}
			if _, ok := fault.As(err); !ok {
				err = errors.Join(fault.New(fault.Unavailable, "The image could not be fetched from the region."), err)
			}
			return 0, err
		}
		c.cfg.Log.WarnContext(ctx, "image download interrupted", "sha256", digest, "offset", have, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(resumePause):
		}
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != digest {
		c.cfg.Log.ErrorContext(ctx, "fetched image has another digest", "sha256", digest, "got", sum)
		return 0, errors.Join(fault.New(fault.Unavailable, "The image that arrived has another SHA-256 than it should."), os.Remove(part))
	}
	if err := errors.Join(f.Sync(), os.Rename(part, c.path(digest))); err != nil {
		return 0, fmt.Errorf("cannot store an image: %w", err)
	}
	dir, err := os.Open(c.cfg.Dir)
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return 0, fmt.Errorf("cannot store an image: %w", err)
	}
	c.cfg.Log.InfoContext(ctx, "image cached", "sha256", digest, "bytes", have)
	return have, nil
}

// Why what the region has is not taken.
var (
	errTooLarge = fault.New(fault.Exhausted, "The image is larger than the rack's image cache.")
	errOther    = fault.New(fault.Unavailable, "The image could not be resumed.")
)

// fetchRest copies an image from the byte at have on, and returns how much came. Errors: errTooLarge, errOther if the
// partial file is not its beginning, and those of Fetch.
func (c *Cache) fetchRest(outer context.Context, digest string, have int64, w io.Writer) (n int64, err error) {
	ctx, cancel := context.WithCancel(outer)
	defer cancel()
	stalled := time.AfterFunc(stallAfter, cancel)
	defer stalled.Stop()
	body, total, err := c.cfg.Fetch(ctx, digest, have)
	if err == nil {
		defer body.Close()
		switch {
		case total < 0:
			return 0, fault.New(fault.Unavailable, "The region controller does not say how large the image is.")
		case total > min(maxImage, c.cfg.MaxBytes):
			return 0, errTooLarge
		case total < have:
			return 0, errOther
		}
		n, err = io.Copy(w, io.LimitReader(&ctxReader{ctx, &moving{body, stalled}}, total-have))
		if err == nil && have+n < total {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil && ctx.Err() != nil && outer.Err() == nil {
		err = fmt.Errorf("nothing came for %v", stallAfter)
	}
	return n, err
}

// moving puts off a timer whenever bytes come.
type moving struct {
	r     io.Reader
	timer *time.Timer
}

func (m *moving) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if n > 0 {
		m.timer.Reset(stallAfter)
	}
	return n, err
}

// evict removes the files used longest ago, but not keep and none in use, until the rest fits. Needs mu.
func (c *Cache) evict(keep string) {
	for {
		var total int64
		oldest := ""
		for name, e := range c.files {
			total += e.size
			if name != keep && e.readers == 0 && c.flight[name] == nil && (oldest == "" || e.used.Before(c.files[oldest].used)) {
				oldest = name
			}
		}
		if total <= c.cfg.MaxBytes || oldest == "" {
			return
		}
		if err := os.Remove(c.path(oldest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.cfg.Log.Warn("cannot evict an image", "sha256", oldest, "error", err)
		}
		delete(c.files, oldest)
	}
}
