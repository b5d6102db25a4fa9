package region

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/tpm/tpmtest"
)

// opens opens a region's state as a command on the host does.
func opens(t *testing.T, c config.Region) (*Region, error) {
	t.Helper()
	r, err := New(context.Background(), Options{Config: c, Version: "test", Log: regiontest.Silent, Offline: true})
	if err == nil {
		t.Cleanup(r.Close)
	}
	return r, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func there(t *testing.T, dir string) (names string) {
	t.Helper()
	for _, name := range []string{rootKeyFile, rootSealedFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			names += name + " "
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", name, info.Mode())
			}
		}
	}
	return strings.TrimSpace(names)
}

// TestRootInTPM moves the root key into the TPM and back, with every state in between that a crash can leave.
func TestRootInTPM(t *testing.T) {
	dev, other := tpmtest.Start(t), tpmtest.Start(t)
	c := config.Region{StateDir: t.TempDir(), TPM: dev.Device}
	r, err := opens(t, c)
	must(t, err)
	id := r.ID
	key, err := os.ReadFile(filepath.Join(c.StateDir, rootKeyFile))
	must(t, err)
	must(t, r.SealRoot(t.Context(), []uint{7}))
	if got := there(t, c.StateDir); got != rootSealedFile {
		t.Fatalf("got %q, want the sealed file alone", got)
	}
	dev.Restart()
	r, err = opens(t, c)
	must(t, err)
	s, err := r.RootStatus()
	if err != nil || s.Kind != RootInTPM || len(s.PCRs) != 1 || s.PCRs[0] != 7 || s.Both || r.ID != id {
		t.Errorf("got %+v, %v", s, err)
	}
	must(t, r.SealRoot(t.Context(), nil)) // again, without a condition
	var backup bytes.Buffer
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, r.Backup(t.Context(), &backup, "test", identity.Recipient().String(), false))
	if _, err := r.RotateRoot(t.Context(), false); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), "unseal") {
		t.Errorf("rotating a key in the TPM: got %v", err)
	}
	// Broken off between the sealed file and the removal of the plain one.
	must(t, os.WriteFile(filepath.Join(c.StateDir, rootKeyFile), key, 0o600))
	r, err = opens(t, c)
	must(t, err)
	if s, err := r.RootStatus(); err != nil || !s.Both || s.Kind != RootInFile {
		t.Errorf("got %+v, %v", s, err)
	}
	must(t, os.WriteFile(r.root.wrapped(), []byte("of long ago"), 0o600))
	must(t, r.SealRoot(t.Context(), nil))
	if _, err := os.Stat(r.root.wrapped()); err == nil || there(t, c.StateDir) != rootSealedFile {
		t.Errorf("got %q, and what Vault encrypted: %v", there(t, c.StateDir), err)
	}
	wrong := c
	wrong.TPM = other.Device
	if _, err := opens(t, wrong); !fault.Is(err, fault.Conflict) {
		t.Errorf("another TPM: got %v", err)
	}
	wrong.TPM = filepath.Join(t.TempDir(), "none")
	if _, err := opens(t, wrong); !fault.Is(err, fault.Unavailable) {
		t.Errorf("no TPM: got %v", err)
	}
	if got := there(t, c.StateDir); got != rootSealedFile {
		t.Errorf("a failed start made %q", got)
	}
	must(t, r.UnsealRoot(t.Context()))
	if again, err := os.ReadFile(filepath.Join(c.StateDir, rootKeyFile)); err != nil || !bytes.Equal(again, key) || there(t, c.StateDir) != rootKeyFile {
		t.Errorf("got another key, or %q: %v", there(t, c.StateDir), err)
	}
	r, err = opens(t, c)
	must(t, err)
	if _, err := r.RotateRoot(t.Context(), false); err != nil {
		t.Errorf("rotating after unsealing: %v", err)
	}
	// The backup of when the key was in the TPM has it.
	to := config.Region{StateDir: t.TempDir()}
	must(t, Restore(t.Context(), &backup, to, secret.FromString(identity.String()), "", func(string, int64) {}))
	if restored, err := opens(t, to); err != nil || restored.ID != id {
		t.Errorf("restored: %v", err)
	}
}

// TestSealFails changes nothing when the TPM does not do it.
func TestSealFails(t *testing.T) {
	c := config.Region{StateDir: t.TempDir(), TPM: filepath.Join(t.TempDir(), "none")}
	r, err := opens(t, c)
	must(t, err)
	if err := r.SealRoot(t.Context(), nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	if got := there(t, c.StateDir); got != rootKeyFile {
		t.Errorf("got %q", got)
	}
}

// TestRootInCredential takes the root key from where systemd puts it, and refuses to guess between two.
func TestRootInCredential(t *testing.T) {
	c := config.Region{StateDir: t.TempDir()}
	r, err := opens(t, c)
	must(t, err)
	id, plain := r.ID, filepath.Join(c.StateDir, rootKeyFile)
	c.RootCredential = filepath.Join(t.TempDir(), "root.key")
	must(t, os.Rename(plain, c.RootCredential))
	must(t, os.Chmod(c.RootCredential, 0o440)) // as systemd does
	r, err = opens(t, c)
	must(t, err)
	if s, err := r.RootStatus(); err != nil || s.Kind != RootInCredential || r.ID != id {
		t.Errorf("got %+v, %v", s, err)
	}
	for name, err := range map[string]error{"seal": r.SealRoot(t.Context(), nil), "unseal": r.UnsealRoot(t.Context())} {
		if !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	none := c
	none.RootCredential = ""
	if _, err := opens(t, none); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), "no root key") || there(t, c.StateDir) != "" {
		t.Errorf("without the credential: got %v, and %q in the folder", err, there(t, c.StateDir))
	}
	_, err = secret.LoadOrCreateKey(plain)
	must(t, err)
	if _, err := opens(t, c); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), "two root keys") {
		t.Errorf("two keys: got %v", err)
	}
	must(t, os.Remove(plain))
	must(t, os.Chmod(c.RootCredential, 0o444))
	if _, err := opens(t, c); err == nil {
		t.Error("a credential that everybody may read is taken")
	}
}

// TestRecoveryFile brings a root key back by a passphrase and by an age identity, and not otherwise.
func TestRecoveryFile(t *testing.T) {
	regiontest.Slow(t)
	c := config.Region{StateDir: t.TempDir()}
	r, err := opens(t, c)
	must(t, err)
	want, err := os.ReadFile(filepath.Join(c.StateDir, rootKeyFile))
	must(t, err)
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	stranger, err := age.GenerateX25519Identity()
	must(t, err)
	const phrase = "correct horse battery"
	export := func(recipient, passphrase string) []byte {
		t.Helper()
		var b bytes.Buffer
		must(t, r.ExportRoot(t.Context(), &b, recipient, secret.FromString(passphrase)))
		return b.Bytes()
	}
	forKey, forPhrase := export(identity.Recipient().String(), ""), export("", phrase)
	if err := r.ExportRoot(t.Context(), &bytes.Buffer{}, "", secret.FromString("short")); !fault.Is(err, fault.Invalid) {
		t.Errorf("a short passphrase: got %v", err)
	}
	if err := r.ExportRoot(t.Context(), &bytes.Buffer{}, "age1nonsense", secret.Value{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("nonsense: got %v", err)
	}
	for name, tt := range map[string]struct {
		file             []byte
		identity, phrase string
		works            bool
	}{
		"identity":       {forKey, identity.String(), "", true},
		"passphrase":     {forPhrase, "", phrase, true},
		"other identity": {forKey, stranger.String(), "", false},
		"other phrase":   {forPhrase, "", phrase + "x", false},
		"no identity":    {forKey, "nonsense", "", false},
		"cut off":        {forKey[:len(forKey)-1], identity.String(), "", false},
		"empty":          {nil, identity.String(), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			err := ImportRoot(bytes.NewReader(tt.file), dir, secret.FromString(tt.identity), secret.FromString(tt.phrase))
			got, _ := os.ReadFile(filepath.Join(dir, rootKeyFile))
			if tt.works != (err == nil) || tt.works && !bytes.Equal(got, want) || !tt.works && (len(got) > 0 || !fault.Is(err, fault.Invalid)) {
				t.Errorf("got %v and a key of %d bytes", err, len(got))
			}
		})
	}
	if err := ImportRoot(bytes.NewReader(forPhrase), c.StateDir, secret.Value{}, secret.FromString(phrase)); !fault.Is(err, fault.Conflict) {
		t.Errorf("over another: got %v", err)
	}
}
