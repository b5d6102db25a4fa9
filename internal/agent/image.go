package agent

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/metalward/metalward/internal/wire"
)

const (
	// maxWindow bounds what a decoder allocates: zstd --ultra -22 and xz -9 need 128 and 64 MiB.
	maxWindow = 128 << 20
	// stall is how long a download may stand still before the connection is given up.
	stall = time.Minute
)

// download reads an image of known size from the rack, and asks again for the rest when a connection breaks.
// It hashes what it hands out.
type download struct {
	ctx    context.Context
	client *client
	digest string
	size   int64
	off    int64
	sum    hash.Hash
	body   io.ReadCloser
	idle   *time.Timer // ends a request that stands still
	cancel context.CancelFunc
	failed error     // final: returned for ever
	moved  time.Time // when bytes last came, or the rack said that they will
	wait   time.Duration
}

func (c *client) download(ctx context.Context, digest string, size int64) *download {
	return &download{ctx: ctx, client: c, digest: digest, size: size, sum: sha256.New(), moved: time.Now(), wait: c.backoff}
}

// Read returns the next bytes of the image, io.EOF after exactly its size.
func (d *download) Read(p []byte) (int, error) {
	for {
		switch {
		case d.failed != nil:
			return 0, d.failed
		case d.off >= d.size:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		err := d.ctx.Err()
		if err == nil && d.body == nil {
			err = d.open()
		}
		if err == nil {
			var n int
			n, err = d.body.Read(p[:min(int64(len(p)), d.size-d.off)])
			if n > 0 {
				d.idle.Reset(stall)
				d.moved, d.wait = time.Now(), d.client.backoff
				d.off += int64(n)
				_, _ = d.sum.Write(p[:n])
				return n, nil
			}
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
		}
		d.Close()
		if err == nil {
			continue
		}
		// A rack that has to fetch a large image itself says so. How long the whole may take is the region's to decide:
		// it ends the boot.
		if errors.Is(err, errComing) {
			d.moved, d.wait = time.Now(), d.client.backoff
		}
		if isFinal(err) || d.ctx.Err() != nil || time.Since(d.moved) > d.client.retryFor {
			d.failed = fmt.Errorf("cannot fetch the image beyond byte %d of %d: %w", d.off, d.size, err)
			continue
		}
		d.client.console.Stage("retry", "image from byte %d of %d in %v: %v", d.off, d.size, d.wait, err)
		select {
		case <-d.ctx.Done():
		case <-time.After(d.wait):
		}
		d.wait = min(2*d.wait, maxBackoff)
	}
}

// open asks for the image from the current offset on.
func (d *download) open() error {
	ctx, cancel := context.WithCancel(d.ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.client.base+wire.ImagePath+d.digest, nil)
	if err != nil {
		cancel()
		return final{err}
	}
	if d.off > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.off))
	}
	idle := time.AfterFunc(stall+callTimeout, cancel)
	resp, err := d.client.http.Do(req)
	if err == nil {
		err = d.check(resp)
	}
	if err != nil {
		idle.Stop()
		cancel()
		return err
	}
	d.body, d.cancel, d.idle = resp.Body, cancel, idle
	return nil
}

// check makes sure that the answer is the part asked for. On error the body is closed.
func (d *download) check(resp *http.Response) error {
	err := checkStatus(resp)
	if err == nil && d.off > 0 {
		want := fmt.Sprintf("bytes %d-%d/%d", d.off, d.size-1, d.size)
		if got := resp.Header.Get("Content-Range"); resp.StatusCode != http.StatusPartialContent || got != want {
			err = final{fmt.Errorf("asked for the rest, want %q, got %d %q", want, resp.StatusCode, got)}
		}
	} else if err == nil && (resp.StatusCode != http.StatusOK || resp.ContentLength >= 0 && resp.ContentLength != d.size) {
		err = final{fmt.Errorf("want %d bytes, the rack has %d (status %d)", d.size, resp.ContentLength, resp.StatusCode)}
	}
	if err != nil {
		_ = resp.Body.Close()
	}
	return err
}

// Close ends the connection; Read opens another.
func (d *download) Close() {
	if d.body != nil {
		d.idle.Stop()
		d.cancel()
		_ = d.body.Close()
		d.body = nil
	}
}

// verify reads what the decoder left and compares the digest of everything.
func (d *download) verify() error {
	if _, err := io.Copy(io.Discard, d); err != nil {
		return err
	}
	if got := hex.EncodeToString(d.sum.Sum(nil)); got != d.digest {
		return fmt.Errorf("image digest is %s, want %s: what arrived is not the image that was asked for", got, d.digest)
	}
	return nil
}

// unpack returns the image inside a packed file. Close frees the decoder.
func unpack(packed io.Reader, compression string) (io.Reader, func(), error) {
	in := bufio.NewReaderSize(packed, mib)
	switch compression {
	case "":
		return in, func() {}, nil
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot unpack gzip: %w", err)
		}
		return z, func() { _ = z.Close() }, nil
	case "zstd":
		// Concurrency 1 means no goroutines, so that the download has one reader at a time.
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, fmt.Errorf("cannot unpack zstd: %w", err)
		}
		return z, z.Close, nil
	case "xz":
		if err := checkXZ(in); err != nil {
			return nil, nil, err
		}
		z, err := xz.ReaderConfig{DictCap: lzma.MinDictCap}.NewReader(in)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot unpack xz: %w", err)
		}
		return z, func() {}, nil
	}
	return nil, nil, fmt.Errorf("cannot unpack %q: this agent knows gzip, xz and zstd", compression)
}

// checkXZ refuses a dictionary larger than maxWindow, because the decoder allocates whatever the first block
// header says. Source: the .xz file format 1.1.0, sections 2.1.1, 3.1 and 5.3.1.
func checkXZ(in *bufio.Reader) error {
	const streamHeader = 12
	head, err := in.Peek(streamHeader + 1)
	if err != nil {
		return fmt.Errorf("cannot unpack xz: %w", err)
	}
	if head[streamHeader] == 0 { // no block at all
		return nil
	}
	head, err = in.Peek(streamHeader + 4*(int(head[streamHeader])+1))
	if err != nil {
		return fmt.Errorf("cannot unpack xz: %w", err)
	}
	flags, rest := head[streamHeader+1], head[streamHeader+2:]
	for _, present := range []byte{flags & 0x40, flags & 0x80} { // packed and unpacked size, of variable length
		for present != 0 && len(rest) > 0 {
			present = rest[0] & 0x80
			rest = rest[1:]
		}
	}
	if flags&3 != 0 || len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 {
		return errors.New("cannot unpack xz: it uses a filter other than LZMA2")
	}
	capacity, err := lzma.DecodeDictCap(rest[2])
	if err != nil || capacity > maxWindow {
		return fmt.Errorf("cannot unpack xz: its dictionary is larger than %d bytes", maxWindow)
	}
	return nil
}
