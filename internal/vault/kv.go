package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// Limits of secrets.
const (
	// MaxSecret bounds the names and values of a secret together, in bytes. Consul as Vault's storage takes entries of 512 KiB.
	MaxSecret = 256 << 10
	maxFields = 256
	maxDepth  = 16 // folders below the prefix
)

var (
	errConflict = fault.New(fault.Conflict, "The secret in Vault has another version than the one that was to be replaced.")
	errForeign  = fault.New(fault.Unavailable, "The secret in Vault was not written by this site: its fields are not text.")
)

// Fields are what a secret consists of: names, and values that are UTF-8 text.
type Fields map[string]secret.Value

// Secret is a version of a secret.
type Secret struct {
	Fields  Fields
	Version int // from 1
	Created time.Time
}

func (c *Client) path(kind, path string) string {
	p := escape(c.role.Mount) + "/" + kind + "/" + escape(c.role.Prefix)
	if path != "" {
		p += "/" + escape(path)
	}
	return p
}

// Put writes a secret's next version, if the last one is cas; 0 means that there must be none yet. It returns the new version.
// After an error of kind Unavailable it may have been written all the same: read it to know. Kinds: Conflict (another version),
// Invalid, TooLarge, Forbidden.
func (c *Client) Put(ctx context.Context, path string, f Fields, cas int) (int, error) {
	if err := checkPath(path); err != nil {
		return 0, err
	}
	if cas < 0 {
		return 0, fault.Field("version", "Use 0 or the number of a version.")
	}
	data, size := make(map[string]string, len(f)), 0
	for name, v := range f {
		if name == "" || !utf8.ValidString(name) || !utf8.Valid(v.Reveal()) {
			return 0, fault.Field("fields", "Use names and values of valid UTF-8, and no empty name.")
		}
		size += len(name) + len(v.Reveal())
		data[name] = v.RevealString()
	}
	if len(f) == 0 || len(f) > maxFields {
		return 0, fault.Field("fields", "Use 1 to %d fields.", maxFields)
	}
	if size > MaxSecret {
		return 0, fault.New(fault.TooLarge, "A secret in Vault may have %d KiB.", MaxSecret>>10)
	}
	var got struct{ Data struct{ Version int } }
	if err := c.do(ctx, call{method: http.MethodPost, path: c.path("data", path), in: map[string]any{"options": map[string]int{"cas": cas}, "data": data}}, &got); err != nil {
		return 0, err
	}
	if got.Data.Version != cas+1 {
		return 0, errInvalid // the first version of the engine takes anything, and says nothing
	}
	return got.Data.Version, nil
}

// Get reads a version of a secret; 0 means the last. Kinds: NotFound, also of a version that was deleted; Invalid, Forbidden.
func (c *Client) Get(ctx context.Context, path string, version int) (Secret, error) {
	if err := checkPath(path); err != nil {
		return Secret{}, err
	}
	if version < 0 {
		return Secret{}, fault.Field("version", "Use 0 or the number of a version.")
	}
	var q url.Values
	if version > 0 {
		q = url.Values{"version": {strconv.Itoa(version)}}
	}
	var got struct {
		Data struct {
			Data     map[string]json.RawMessage
			Metadata struct {
				Version int
				Created time.Time `json:"created_time"`
			}
		}
	}
	if err := c.do(ctx, call{method: http.MethodGet, path: c.path("data", path), query: q, again: true}, &got); err != nil {
		return Secret{}, err
	}
	m := got.Data.Metadata
	if m.Version < 1 || version > 0 && m.Version != version {
		return Secret{}, errInvalid
	}
	s := Secret{Fields: Fields{}, Version: m.Version, Created: m.Created}
	for name, raw := range got.Data.Data {
		var text *string
		if json.Unmarshal(raw, &text) != nil || text == nil {
			return Secret{}, errForeign
		}
		s.Fields[name] = secret.FromString(*text)
	}
	return s, nil
}

// Delete removes a secret with all its versions and its name; one that is absent is removed already. Kinds: Invalid, Forbidden.
func (c *Client) Delete(ctx context.Context, path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: c.path("metadata", path), again: true}, nil)
}

// List goes through the names of all secrets below a path, or below the prefix if it is empty, in Vault's order. It asks for one
// folder at a time, as far as the caller goes on. A secret that comes or goes meanwhile may be seen or not. After an error it ends.
// Kinds: Invalid, Forbidden.
func (c *Client) List(ctx context.Context, below string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if below != "" {
			if err := checkPath(below); err != nil {
				yield("", err)
				return
			}
		}
		c.list(ctx, below, maxDepth, yield)
	}
}

func (c *Client) list(ctx context.Context, folder string, depth int, yield func(string, error) bool) bool {
	if depth == 0 {
		yield("", fmt.Errorf("%w (more than %d folders deep)", errRead, maxDepth))
		return false
	}
	keys, err := c.keys(ctx, folder)
	if err != nil {
		yield("", err)
		return false
	}
	for _, key := range keys {
		name, deeper := strings.CutSuffix(key, "/")
		path := strings.TrimPrefix(folder+"/"+name, "/")
		if strings.Contains(name, "/") || checkPath(path) != nil {
			continue // somebody else's: nothing that Put takes
		}
		if deeper && !c.list(ctx, path, depth-1, yield) || !deeper && !yield(path, nil) {
			return false
		}
	}
	return true
}

// keys returns the names in a folder; those of folders end in a slash. Vault answers with all of them at once.
func (c *Client) keys(ctx context.Context, folder string) ([]string, error) {
	var got struct{ Data struct{ Keys []string } }
	err := c.do(ctx, call{method: http.MethodGet, path: c.path("metadata", folder), query: url.Values{"list": {"true"}}, again: true}, &got)
	if fault.Is(err, fault.NotFound) {
		return nil, nil // Vault's word for an empty folder
	}
	return got.Data.Keys, err
}

// Prove does everything that the site needs rights for, on a secret of its own named test-<role id>, as MAAS's config-vault does,
// and leaves nothing behind. Kinds: Forbidden, with the right that is lacking; Invalid.
func (c *Client) Prove(ctx context.Context) error {
	path, want := "test-"+c.role.ID, secret.Random(16)
	data, meta := c.role.Mount+"/data/"+c.role.Prefix+"/*", c.role.Mount+"/metadata/"+c.role.Prefix+"/*"
	put := func(cas int) func() error {
		return func() error { _, err := c.Put(ctx, path, Fields{"secret": want}, cas); return err }
	}
	for _, step := range []struct {
		right, of string
		do        func() error
	}{
		{"delete", meta, func() error { return c.Delete(ctx, path) }}, // what an earlier proof left when it was cut short
		{"create", data, put(0)},
		{"update", data, put(1)},
		{"read", data, func() error {
			got, err := c.Get(ctx, path, 0)
			if err == nil && !got.Fields["secret"].Equal(want) {
				return errConflict
			}
			return err
		}},
		{"list", strings.TrimSuffix(meta, "/*"), func() error {
			keys, err := c.keys(ctx, "")
			if err == nil && !slices.Contains(keys, path) {
				return fmt.Errorf("%w (a secret is not listed)", errRead)
			}
			return err
		}},
		{"delete", meta, func() error { return c.Delete(ctx, path) }},
		{"read", data, func() error {
			_, err := c.Get(ctx, path, 0)
			if fault.Is(err, fault.NotFound) {
				return nil
			} else if err == nil {
				return errConflict
			}
			return err
		}},
	} {
		err := step.do()
		if err != nil && fault.Is(err, fault.Forbidden) && !errors.Is(err, ErrLogin) {
			return fmt.Errorf("%w (%w)", fault.New(fault.Forbidden, "The site's policy in Vault lacks the right %q on %q.", step.right, step.of), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
