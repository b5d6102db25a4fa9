package region

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
)

// RootInVault is where a root key is that Vault's transit engine has encrypted.
const RootInVault = "transit engine of Vault"

func (s rootSource) wrapped() string { return filepath.Join(s.dir, vault.RootFile) }

// client is a client of the region's Vault.
func (s rootSource) client() (*vault.Client, error) {
	set, ok, err := vault.LoadSettings(filepath.Join(s.dir, vault.SettingsFile))
	if err != nil {
		return nil, err
	}
	if !ok || set.Current.SecretID.Empty() {
		return nil, fault.New(fault.Conflict, "This region has no Vault: run metalward config-vault configure first.")
	}
	return set.Client(set.Current, nil)
}

// unwrap has Vault decrypt the root key. It asks each time: Vault can take its consent back, and sees in its log who asks.
func (s rootSource) unwrap(ctx context.Context, file []byte) ([]byte, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	v, err := client.OpenSealed(ctx, file)
	if err != nil {
		return nil, err
	}
	if len(v.Reveal()) != rootKeyBytes {
		return nil, fault.New(fault.Invalid, "Vault has encrypted something else than a root key.")
	}
	return bytes.Clone(v.Reveal()), nil
}

// SealRootVault has the transit engine of this region's Vault encrypt the root key, and removes root.key once that was read back and
// decrypted. The engine's key never leaves Vault, so from then on the region starts with Vault's consent alone. It may be repeated: with
// another key, or when the engine's was rotated. Kinds: Conflict, and those of vault.TransitRoot.
func (r *Region) SealRootVault(ctx context.Context, mount, name string) error {
	key, kind, err := r.root.read()
	if err != nil {
		return err
	}
	if kind != RootInFile && kind != RootInVault {
		return fault.New(fault.Conflict, "The root key is in the %s: put it into a file first (metalward secrets root unseal).", kind)
	}
	if _, err := os.Stat(filepath.Join(r.dir, rootKeyNext)); err == nil {
		return fault.New(fault.Conflict, "The root key is being rotated: finish that first (metalward secrets rotate root).")
	}
	client, err := r.root.client()
	if err != nil {
		return err
	}
	root, err := client.Transit(mount, name)
	if err != nil {
		return err
	}
	x, err := root.Seal(ctx, secret.NewValue(key))
	if err != nil {
		return err
	}
	fresh := r.root.wrapped() + ".new"
	if err := secret.WriteFile(fresh, x); err != nil {
		return err
	}
	file, err := readBounded(fresh)
	if err != nil {
		return err
	}
	if got, err := r.root.unwrap(ctx, file); err != nil || !bytes.Equal(got, key) {
		return errors.Join(fault.New(fault.Unavailable, "What Vault encrypted does not open: nothing was changed."), err, os.Remove(fresh))
	}
	if err := r.noteRoot(ctx, "encrypted by "+root.ID()); err != nil {
		return err
	}
	if err := secret.Replace(fresh, r.root.wrapped()); err != nil {
		return err
	}
	return r.root.only(r.root.wrapped())
}

// readWrapped reads the root key that Vault has encrypted; fs.ErrNotExist without one.
func (s rootSource) readWrapped() ([]byte, error) {
	file, err := readBounded(s.wrapped())
	if err != nil {
		return nil, err
	}
	key, err := s.unwrap(context.Background(), file)
	if errors.Is(err, fs.ErrNotExist) { // of anything else than that file
		err = fault.New(fault.Unavailable, "The root key cannot be decrypted: %v.", err)
	}
	return key, err
}
