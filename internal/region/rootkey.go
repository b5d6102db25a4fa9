package region

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/tpm"
)

// rootSealedFile is the root key in a state folder as the TPM has sealed it.
const rootSealedFile = "root.key.tpm"

// Where a root key is.
const (
	RootInFile       = "file"
	RootInTPM        = "TPM"
	RootInCredential = "credential of systemd"
)

const (
	rootKeyBytes = 32
	maxRootFile  = 8 << 10
)

// rootSource is where a region has its root key from: what systemd hands over, else root.key in the state folder, else what
// the TPM has sealed of that, else what Vault has encrypted. While both of these are there, which is only in the middle of moving it, root.key is used.
type rootSource struct{ dir, credential, device string }

func (s rootSource) plain() string  { return filepath.Join(s.dir, rootKeyFile) }
func (s rootSource) sealed() string { return filepath.Join(s.dir, rootSealedFile) }

func (s rootSource) open() (*secret.KeyRoot, error) {
	key, _, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("cannot open root key: %w", err)
	}
	return secret.NewKeyRoot(key)
}

// read reads the root key, and makes one at the first start.
func (s rootSource) read() (key []byte, kind string, err error) {
	_, plain := os.Stat(s.plain())
	if s.credential != "" {
		if key, err = readKeyFile(s.credential, 0o007); err != nil { // systemd keeps the folder from others, and may let its group in
			return nil, "", err
		}
		if plain == nil {
			if is, err := readKeyFile(s.plain(), 0o077); err != nil || !bytes.Equal(is, key) {
				return nil, "", errors.Join(err, fault.New(fault.Conflict, "There are two root keys: the credential of systemd and %s differ. Move away the one that is not the instance's.", s.plain()))
			}
		}
		return key, RootInCredential, nil
	}
	if errors.Is(plain, fs.ErrNotExist) {
		x, err := readBounded(s.sealed())
		switch {
		case err == nil:
			key, err := s.unseal(x)
			return key, RootInTPM, err
		case !errors.Is(err, fs.ErrNotExist):
			return nil, "", err
		}
		if key, err = s.readWrapped(); !errors.Is(err, fs.ErrNotExist) {
			return key, RootInVault, err
		}
		if _, err := os.Stat(filepath.Join(s.dir, trailKeyFile)); err == nil { // it has started before: a new key would open nothing
			return nil, "", fault.New(fault.Conflict, "There is no root key: neither %s, nor one that the TPM or Vault has sealed, nor a credential of systemd. Put it back (metalward secrets root import).", s.plain())
		}
	}
	key, err = secret.LoadOrCreateKey(s.plain())
	return key, RootInFile, err
}

func (s rootSource) unseal(file []byte) ([]byte, error) {
	x, err := tpm.Parse(file)
	if err != nil {
		return nil, err
	}
	v, err := tpm.Unseal(s.device, x)
	if err != nil {
		return nil, err
	}
	if len(v.Reveal()) != rootKeyBytes {
		return nil, fault.New(fault.Invalid, "The TPM has sealed something else than a root key.")
	}
	return bytes.Clone(v.Reveal()), nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxRootFile))
}

// readKeyFile reads a root key of a file whose mode has none of the bits.
func readKeyFile(path string, not fs.FileMode) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&not != 0 {
		return nil, fmt.Errorf("cannot trust %s: its mode is %04o", path, mode)
	}
	text, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	return parseRoot(text)
}

func parseRoot(text []byte) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != rootKeyBytes {
		return nil, fault.New(fault.Invalid, "This is no root key: it has %d bytes, in base64.", rootKeyBytes)
	}
	return key, nil
}

// rootText is a root key as its file has it.
func rootText(key []byte) secret.Value {
	return secret.FromString(base64.StdEncoding.EncodeToString(key) + "\n")
}

// RootStatus is where the root key is.
type RootStatus struct {
	Kind string
	ID   string // as the database knows it; no secret
	PCRs []uint // that have to be as they were, in the TPM
	Both bool   // root.key is there besides: moving it was broken off
}

// RootStatus tells where the root key is. The region has been opened with it.
func (r *Region) RootStatus() (s RootStatus, err error) {
	key, kind, err := r.root.read()
	if err != nil {
		return s, err
	}
	root, err := secret.NewKeyRoot(key)
	if err != nil {
		return s, err
	}
	s.Kind, s.ID = kind, root.ID()
	_, plain := os.Stat(r.root.plain())
	if file, err := readBounded(r.root.sealed()); err == nil {
		s.Both = plain == nil
		if x, err := tpm.Parse(file); err == nil {
			s.PCRs = x.PCRs
		}
	}
	_, wrapped := os.Stat(r.root.wrapped())
	s.Both = s.Both || plain == nil && (kind == RootInCredential || wrapped == nil)
	return s, nil
}

// SealRoot has the TPM seal the root key, and removes root.key once what it sealed has been read back. With PCRs it opens only while
// they are as they are now. It may be repeated, also with other PCRs. Kinds: Conflict, and those of tpm.Seal.
func (r *Region) SealRoot(ctx context.Context, pcrs []uint) error {
	key, kind, err := r.root.read()
	if err != nil {
		return err
	}
	if kind == RootInCredential {
		return fault.New(fault.Conflict, "The root key is a credential of systemd, which can have the TPM seal it itself: systemd-creds encrypt --with-key=tpm2.")
	}
	if kind == RootInVault {
		return fault.New(fault.Conflict, "The root key is in the %s: put it into a file first (metalward secrets root unseal).", kind)
	}
	if _, err := os.Stat(filepath.Join(r.dir, rootKeyNext)); err == nil {
		return fault.New(fault.Conflict, "The root key is being rotated: finish that first (metalward secrets rotate root).")
	}
	x, err := tpm.Seal(r.root.device, secret.NewValue(key), pcrs)
	if err != nil {
		return err
	}
	fresh := r.root.sealed() + ".new"
	if err := secret.WriteFile(fresh, x.Bytes()); err != nil {
		return err
	}
	file, err := readBounded(fresh)
	if err != nil {
		return err
	}
	if got, err := r.root.unseal(file); err != nil || !bytes.Equal(got, key) {
		return errors.Join(fault.New(fault.Unavailable, "What the TPM sealed does not open: nothing was changed."), err, os.Remove(fresh))
	}
	if err := r.noteRoot(ctx, "sealed by the TPM"); err != nil {
		return err
	}
	if err := secret.Replace(fresh, r.root.sealed()); err != nil {
		return err
	}
	return r.root.only(r.root.sealed())
}

// only removes every other form of the root key than the one at a path, and what a crash left of writing them. root.key goes last, because
// until then it is what counts; another form may be of before a rotation.
func (s rootSource) only(path string) error {
	list, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if n := e.Name(); strings.HasPrefix(n, rootKeyFile+".") && strings.HasSuffix(n, ".tmp") {
			err = errors.Join(err, removeDurably(filepath.Join(s.dir, n)))
		}
	}
	for _, other := range []string{s.sealed(), s.wrapped()} {
		if other != path {
			err = errors.Join(err, removeDurably(other))
		}
	}
	if err != nil {
		return err
	}
	return removeDurably(s.plain())
}

// UnsealRoot puts the root key into root.key again, and removes what the TPM sealed or Vault encrypted. Kinds: Conflict.
func (r *Region) UnsealRoot(ctx context.Context) error {
	key, kind, err := r.root.read()
	if err != nil {
		return err
	}
	if kind == RootInCredential {
		return fault.New(fault.Conflict, "The root key is a credential of systemd: take that out of the unit instead, with root.key in its place (metalward secrets root import).")
	}
	if err := r.noteRoot(ctx, "put into a file"); err != nil {
		return err
	}
	if err := secret.WriteFile(r.root.plain(), rootText(key).Reveal()); err != nil {
		return err
	}
	if got, err := readKeyFile(r.root.plain(), 0o077); err != nil || !bytes.Equal(got, key) {
		return errors.Join(fmt.Errorf("cannot read %s back; what the TPM sealed stays", r.root.plain()), err)
	}
	return errors.Join(removeDurably(r.root.sealed()), removeDurably(r.root.wrapped()))
}

// noteRoot leaves an event in the trail.
func (r *Region) noteRoot(ctx context.Context, what string) error {
	return r.Gate.Do(authz.AsSystem(ctx, "host"), authz.SecretsEdit, func(c *gate.Call) error {
		c.Note("change", "root key "+what)
		return c.Require(siteTarget)
	})
}

// removeDurably removes a file, if it is there, for good.
func removeDurably(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync()
}

// ExportRoot writes the root key for the day on which this host is gone: encrypted for an age recipient, or with a passphrase. It
// leaves an event. Kinds: Invalid on "recipient" and "passphrase".
func (r *Region) ExportRoot(ctx context.Context, out io.Writer, recipient string, passphrase secret.Value) error {
	key, _, err := r.root.read()
	if err != nil {
		return err
	}
	to, err := recipientOf(recipient, passphrase)
	if err != nil {
		return err
	}
	if err := r.noteRoot(ctx, "exported"); err != nil {
		return err
	}
	return encrypt(out, to, rootText(key))
}

// recipientOf is who opens a file that is kept elsewhere: an age recipient, or who knows a passphrase. Kinds: Invalid.
func recipientOf(recipient string, passphrase secret.Value) (age.Recipient, error) {
	if recipient != "" {
		to, err := age.ParseX25519Recipient(recipient)
		if err != nil {
			return nil, fault.Field("recipient", "This is no age recipient: it begins with age1.")
		}
		return to, nil
	}
	if len(passphrase.Reveal()) < minPassphrase {
		return nil, fault.Field("passphrase", "Use at least %d characters: whoever has the file can guess as long as he likes.", minPassphrase)
	}
	return age.NewScryptRecipient(passphrase.RevealString())
}

func encrypt(out io.Writer, to age.Recipient, text secret.Value) error {
	w, err := age.Encrypt(out, to)
	if err != nil {
		return err
	}
	_, err = w.Write(text.Reveal())
	return errors.Join(err, w.Close())
}

// decrypt opens what encrypt wrote. Kinds: Invalid.
func decrypt(in io.Reader, identity, passphrase secret.Value) ([]byte, error) {
	var ids []age.Identity
	if !identity.Empty() {
		list, err := age.ParseIdentities(bytes.NewReader(identity.Reveal()))
		if err != nil {
			return nil, fault.Field("identity", "There is no age identity, which begins with AGE-SECRET-KEY-1, in the file.")
		}
		ids = list
	} else {
		id, err := age.NewScryptIdentity(passphrase.RevealString())
		if err != nil {
			return nil, fault.Field("passphrase", "Enter the passphrase of the recovery file.")
		}
		ids = []age.Identity{id}
	}
	r, err := age.Decrypt(io.LimitReader(in, maxRootFile), ids...)
	if err != nil {
		return nil, fault.New(fault.Invalid, "The recovery file does not open: the wrong passphrase or identity, or it is damaged.")
	}
	text, err := io.ReadAll(io.LimitReader(r, maxRootFile))
	if err != nil {
		return nil, fault.New(fault.Invalid, "The recovery file is damaged.")
	}
	return text, nil
}

// minPassphrase bounds passphrases of recovery files from below.
const minPassphrase = 12

// ImportRoot puts a root key that ExportRoot wrote into a state folder as root.key. Kinds: Conflict when there is one; Invalid.
func ImportRoot(in io.Reader, stateDir string, identity, passphrase secret.Value) error {
	s := rootSource{dir: stateDir}
	if _, err := os.Stat(s.plain()); err == nil {
		return fault.New(fault.Conflict, "There is a root key already: %s. Move it away if it is not the instance's.", s.plain())
	}
	text, err := decrypt(in, identity, passphrase)
	if err != nil {
		return err
	}
	key, err := parseRoot(text)
	if err != nil {
		return err
	}
	return secret.WriteFile(s.plain(), rootText(key).Reveal())
}
