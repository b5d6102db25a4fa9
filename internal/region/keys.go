package region

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// Files of a state folder.
const (
	rootKeyFile  = "root.key"      // the root key
	rootKeyNext  = "root.key.next" // the one that replaces it, while that is under way
	trailKeyFile = "trail.pub"     // what the trail's signatures are checked with; no secret
)

// openSafe opens the instance's keyset with the root key, or makes one: at the first start, and at the first start of an instance that
// began before there were keysets.
func (r *Region) openSafe(ctx context.Context, now func() time.Time) (*secret.Safe, error) {
	root, err := r.root.open()
	if err != nil {
		return nil, err
	}
	set, found, err := readKeyset(ctx, r.reader, root)
	if err != nil {
		return nil, err
	}
	if !found {
		if set, err = r.firstKeyset(ctx, root, now()); err != nil {
			return nil, err
		}
	}
	return secret.NewSafe(set.Keyring(), now, func(ctx context.Context) (set secret.Keyset, err error) {
		root, err := r.root.open() // it may have been rotated
		if err == nil {
			set, _, err = readKeyset(ctx, r.reader, root)
		}
		return set, err
	}), nil
}

// readKeyset reads the keyset that a root wraps; false when the database has none at all.
func readKeyset(ctx context.Context, from *store.Reader, root secret.Root) (set secret.Keyset, found bool, err error) {
	var all []store.Keyset
	if err := from.View(ctx, func(v *store.View) (err error) { all, err = v.Keysets(); return err }); err != nil {
		return set, false, err
	}
	for _, k := range all {
		if k.Root == root.ID() {
			set, err = secret.UnwrapKeyset(ctx, root, k.Wrapped)
			return set, true, err
		}
	}
	if len(all) > 0 {
		return set, false, fmt.Errorf("cannot open the database: its keys are wrapped by another root key (%s) than this one (%s); put the right one in place, which a backup of the state folder or another region has", all[0].Root, root.ID())
	}
	return set, false, nil
}

// firstKeyset stores a keyset. Of two regions that do so at the same moment the first wins. Kinds: Conflict when the secrets that there are
// were sealed by another root key.
func (r *Region) firstKeyset(ctx context.Context, root *secret.KeyRoot, now time.Time) (set secret.Keyset, err error) {
	err = r.writer.Do(ctx, func(tx *store.Tx) error {
		some, err := tx.Secrets("", 1)
		if err != nil {
			return err
		}
		if set = secret.NewKeyset(now); len(some) > 0 {
			set = root.First()
			if _, err := set.Keyring().Open(some[0].Ref, some[0].Sealed); err != nil {
				return fmt.Errorf("%w (%w)", fault.New(fault.Conflict, "This root key (%s) is not the one that sealed the database's secrets: put that in place, which a backup of the state folder or another region has.", root.ID()), err)
			}
		}
		wrapped, err := set.Wrap(ctx, root)
		if err != nil {
			return err
		}
		return tx.AddFirstKeyset(store.Keyset{Root: root.ID(), Wrapped: wrapped, Oldest: set.Oldest(), Made: now})
	}, func(*store.Tx) error { return nil })
	if err != nil {
		return set, fmt.Errorf("cannot store the keyset: %w", err)
	}
	set, _, err = readKeyset(ctx, r.reader, root)
	return set, err
}

// writeTrailKey keeps the trail's public key in the state folder, so that an export can be verified without the database.
func writeTrailKey(dir string, key ed25519.PublicKey) error {
	path, text := filepath.Join(dir, trailKeyFile), base64.StdEncoding.EncodeToString(key)+"\n"
	if was, err := os.ReadFile(path); err == nil && string(was) == text {
		return nil
	}
	return secret.WriteFile(path, []byte(text))
}

// TrailKey returns the public key that the instance's trail is signed with.
func TrailKey(stateDir string) (ed25519.PublicKey, error) {
	text, err := os.ReadFile(filepath.Join(stateDir, trailKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot find the trail's key: %s is no region's state folder, or the region was not started since its upgrade", stateDir)
	}
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("cannot use %s: it holds no key", trailKeyFile)
	}
	return key, nil
}

// RotateRoot replaces the root key: a new one wraps the keyset, too, then takes the old one's place in the state folder, and then the old
// one's wrapping goes. Broken off anywhere, the region starts, with one or the other, and running this again finishes it. Where other
// regions share the database, the old wrapping stays until each of them has the new root.key: finish says that they have. Kinds: Conflict.
func (r *Region) RotateRoot(ctx context.Context, finish bool) (done bool, err error) {
	ctx = authz.AsSystem(ctx, "host")
	now, next := filepath.Join(r.dir, rootKeyFile), filepath.Join(r.dir, rootKeyNext)
	if _, kind, err := r.root.read(); err != nil {
		return false, err
	} else if kind != RootInFile {
		return false, fault.New(fault.Conflict, "The root key is not in %s: put it there first (metalward secrets root unseal), and elsewhere again afterwards.", now)
	}
	root, err := r.root.open()
	if err != nil {
		return false, err
	}
	var all []store.Keyset
	regions := 0
	if err := r.Gate.View(ctx, authz.SecretsView, func(v *gate.Viewing) (err error) {
		if all, err = v.Keysets(); err != nil {
			return err
		}
		list, err := v.Controllers()
		for _, c := range list {
			if c.Type == metal.NodeRegionController {
				regions++
			}
		}
		return err
	}); err != nil {
		return false, err
	}
	if len(all) < 2 && finish {
		return false, fault.New(fault.Conflict, "No rotation of the root key is under way.")
	}
	if len(all) > 1 && root.ID() != all[len(all)-1].Root {
		if _, err := os.Stat(next); err != nil {
			return false, fault.New(fault.Conflict, "Another region replaced the root key: copy its %s to %s first.", rootKeyFile, now)
		}
	}
	_, err = os.Stat(next)
	if begun := err == nil; len(all) < 2 || begun {
		if root, err = r.replaceRoot(ctx, root, now, next); err != nil {
			return false, err
		}
	}
	if regions > 1 && !finish {
		return false, nil
	}
	return true, r.Gate.Do(ctx, authz.SecretsEdit, func(c *gate.Call) error {
		if err := c.Require(siteTarget); err != nil {
			return err
		}
		c.Note("change", "old root key dropped")
		all, err := c.Tx().Keysets()
		if err != nil {
			return err
		}
		for _, k := range all {
			if k.Root != root.ID() {
				err = errors.Join(err, c.Tx().DropKeyset(siteTarget, k.Root))
			}
		}
		return err
	})
}

// siteTarget is what the keyset belongs to.
var siteTarget = authz.Target{Noun: authz.NounSite, ID: "site"}

// replaceRoot has a new root key wrap the keyset and take the place of the old one.
func (r *Region) replaceRoot(ctx context.Context, root *secret.KeyRoot, now, next string) (*secret.KeyRoot, error) {
	key, err := secret.LoadOrCreateKey(next) // that of an attempt that was broken off, perhaps
	if err != nil {
		return nil, err
	}
	fresh, err := secret.NewKeyRoot(key)
	if err != nil {
		return nil, err
	}
	err = r.Gate.Do(ctx, authz.SecretsEdit, func(c *gate.Call) error {
		if err := c.Require(siteTarget); err != nil {
			return err
		}
		c.Note("change", "root key added")
		c.Note("root", fresh.ID())
		all, err := c.Tx().Keysets()
		if err != nil {
			return err
		}
		for _, k := range all {
			if k.Root != root.ID() {
				continue
			}
			set, err := secret.UnwrapKeyset(ctx, root, k.Wrapped)
			if err != nil {
				return err
			}
			if k.Wrapped, err = set.Wrap(ctx, fresh); err != nil {
				return err
			}
			k.Root, k.Made = fresh.ID(), c.Now()
			if last := all[len(all)-1].Made; !k.Made.After(last) { // it has to be the newest, whatever the clock says
				k.Made = last.Add(time.Microsecond)
			}
			return c.Tx().PutKeyset(siteTarget, k)
		}
		return fault.New(fault.Conflict, "The root key in %s is not the one that opens the database.", now)
	})
	if err != nil {
		return nil, err
	}
	return fresh, secret.Replace(next, now)
}
