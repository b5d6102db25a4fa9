package secrets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
)

// Link is this region's connection to its Vault: it follows the settings file in the state folder, and tells the safe where secrets go.
// It is there before the gate, because what the gate's first calls need may be in Vault. nil is a link to nothing, for a command or test that needs none. Safe for concurrent use.
type Link struct {
	path string
	keys *secret.Safe
	now  func() time.Time
	saw  func(tls.ConnectionState) error

	mu       sync.Mutex // guards what follows
	text     [sha256.Size]byte
	settings vault.Settings
	keeper   *vault.Keeper // nil without a Vault
	into     bool          // the site keeps its secrets there
}

// NewLink makes a link over a state folder; Follow reads it. saw, if not nil, looks at each connection to Vault.
func NewLink(stateDir string, keys *secret.Safe, now func() time.Time, saw func(tls.ConnectionState) error) *Link {
	return &Link{path: filepath.Join(stateDir, vault.SettingsFile), keys: keys, now: now, saw: saw}
}

// Follow brings the safe to what the settings file and the database say now. The file is read again each time; another client replaces
// the one in use when it changed, and what is in memory stays unless the place changed.
func (l *Link) Follow(v *store.View) error {
	backend, _, err := v.SecretBackend()
	if err != nil {
		return err
	}
	return l.follow(backend == InVault)
}

func (l *Link) follow(into bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	data, err := os.ReadFile(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	was, wasInto := l.keeper, l.into
	if sum := sha256.Sum256(data); err != nil {
		l.keeper, l.settings, l.text = nil, vault.Settings{}, [sha256.Size]byte{}
	} else if sum != l.text || l.keeper == nil {
		if err := l.load(); err != nil {
			return err
		}
		l.text = sum
	}
	if l.into = into; l.keeper == was && into == wasInto {
		return nil
	}
	if l.keeper == nil {
		l.keys.Use(nil, false)
	} else {
		l.keys.Use(l.keeper, into)
	}
	return nil
}

// load reads the file; the caller holds mu.
func (l *Link) load() error {
	s, ok, err := vault.LoadSettings(l.path)
	if err != nil {
		return err
	}
	if !ok || s.Current.SecretID.Empty() { // being configured for the first time
		l.keeper, l.settings = nil, vault.Settings{}
		return nil
	}
	s.Saw = l.saw
	client, err := s.Client(s.Current, l.now)
	if err != nil {
		return err
	}
	if l.keeper != nil && l.settings.Place() == s.Place() && bytes.Equal(l.settings.CA, s.CA) {
		l.keeper.Use(client)
	} else if l.keeper, err = vault.NewKeeper(vault.KeeperConfig{Client: client, Site: hex.EncodeToString(l.keys.Derive("vault folder")[:8]), Key: l.keys.Derive("vault pointers"), Now: l.now}); err != nil {
		return err
	}
	l.settings = s
	return nil
}

// Keeper is the back end in Vault; nil without one.
func (l *Link) Keeper() *vault.Keeper {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keeper
}

// Settings are those in use; false without a Vault.
func (l *Link) Settings() (vault.Settings, bool) {
	if l == nil {
		return vault.Settings{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settings, l.keeper != nil
}

// Open reads settings and database for the first time.
func (l *Link) Open(ctx context.Context, from *store.Reader) error {
	return from.View(ctx, l.Follow)
}
