package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/maasapi"
)

const chunkSize = 4 << 20 // bytes, as MAAS's clients send them

// takeContent takes the parameter content@=file out of the fields of "boot-resources create".
func takeContent(fields []field) (content *field, rest []field) {
	for _, f := range fields {
		if f.name == "content" && f.file {
			content = &f
			continue
		}
		rest = append(rest, f)
	}
	return content, rest
}

// bootResource is what an upload needs of the answer.
type bootResource struct {
	URI  string `json:"resource_uri"`
	Sets map[string]struct {
		Files map[string]struct {
			Complete  bool   `json:"complete"`
			UploadURI string `json:"upload_uri"`
		} `json:"files"`
	} `json:"sets"`
}

// target is where the newest set's file is to be sent; empty when the instance has it already.
func (b *bootResource) target() (string, error) {
	versions := slices.Sorted(maps.Keys(b.Sets))
	if len(versions) == 0 || len(b.Sets[versions[len(versions)-1]].Files) != 1 {
		return "", errors.New("cannot upload: the answer does not name exactly one file")
	}
	for _, f := range b.Sets[versions[len(versions)-1]].Files {
		switch {
		case f.Complete:
			return "", nil
		case !strings.HasPrefix(f.UploadURI, maasapi.Root+"/"):
			return "", errors.New("cannot upload: the answer has no address to upload to")
		default:
			return f.UploadURI, nil
		}
	}
	return "", nil
}

// upload announces an image with its size and digest, sends it in chunks, and shows the finished resource.
func (a *app) upload(ctx context.Context, c *client, o *maasapi.Operation, content field, fields []field, help string) error {
	f, err := os.Open(content.value)
	if err != nil {
		return fmt.Errorf("cannot upload: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot upload: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return errors.New("cannot upload: the file is empty, or not a regular file")
	}
	line := &status{w: a.stderr, terminal: a.StderrTerminal}
	defer line.end()
	digest := sha256.New()
	size, err := a.copyWithBar(ctx, line, "Reading", info.Size(), f, func(b []byte) error {
		_, err := digest.Write(b)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot upload: %w", err)
	}
	fields = append(fields, field{name: "sha256", value: hex.EncodeToString(digest.Sum(nil))}, field{name: "size", value: strconv.FormatInt(size, 10)})
	form, _, err := a.form(o, fields, help)
	if err != nil {
		return err
	}
	resp, err := c.form(ctx, o, maasapi.Root+o.Path, form)
	if err != nil {
		return fmt.Errorf("cannot announce the image: %w", err)
	}
	var b bootResource
	if err := decode(resp, &b); err != nil {
		return err
	}
	to, err := b.target()
	if err != nil {
		return err
	}
	if to != "" {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("cannot upload: %w", err)
		}
		_, err = a.copyWithBar(ctx, line, "Uploading", size, io.LimitReader(f, size), func(chunk []byte) error {
			return c.put(ctx, to, chunk)
		})
		if err != nil {
			return fmt.Errorf("cannot upload: %w", err)
		}
	}
	if !strings.HasPrefix(b.URI, maasapi.Root+"/") {
		return errors.New("cannot show the image: the answer does not say where it is")
	}
	if resp, err = c.do(ctx, http.MethodGet, b.URI, nil, nil, ""); err != nil {
		return fmt.Errorf("cannot show the image: %w", err)
	}
	line.end()
	line.last = ""
	return a.show(resp)
}

// put sends a chunk. Anything but exactly 200 is a failure.
func (c *client) put(ctx context.Context, path string, chunk []byte) error {
	resp, err := c.do(ctx, http.MethodPut, path, nil, chunk, "application/octet-stream")
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return &apiError{status: resp.StatusCode}
	}
	return nil
}

// copyWithBar reads in chunks and shows how far it is, on a terminal only.
func (a *app) copyWithBar(ctx context.Context, line *status, what string, total int64, r io.Reader, use func([]byte) error) (done int64, err error) {
	buf := make([]byte, chunkSize)
	for {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if err := use(buf[:n]); err != nil {
				return done, err
			}
			done += int64(n)
			if a.StderrTerminal {
				line.show(fmt.Sprintf("%-9s %s %d of %d MiB", what, bar(min(done, total), total), done>>20, total>>20))
			}
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return done, nil
		case err != nil:
			return done, err
		}
	}
}
