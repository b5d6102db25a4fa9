package vault

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// SettingsFile is the file in a region's state folder that says which Vault it has, and as whom.
const SettingsFile = "vault.json"

const (
	maxSettings = 2 * maxCA // bytes
	maxRetired  = 64        // accessors that wait for being destroyed
)

// Settings are a region's Vault: where it is, and as which role the region comes there. Each region has a role of its own, or at
// least a secret id, so that one can be cut off without the others.
type Settings struct {
	URL       string
	Namespace string
	CA        []byte // PEM; empty: the host's authorities
	RoleID    string
	RoleName  string // as Vault's paths have it; empty when nobody told
	Mount     string // of the KV engine
	Path      string // below the mount: MAAS's SECRETS_PATH
	Current   Credential
	// Next was got and is not proven yet: a command that was cut short goes on with it.
	Next Credential
	// Retired are accessors of secret ids that are not used any more and still stand in Vault.
	Retired []string
	// Saw is Config's; it is not kept.
	Saw func(tls.ConnectionState) error
}

// Credential is a secret id as it is kept.
type Credential struct {
	SecretID secret.Value
	Accessor string
	Since    time.Time
	Token    string // hash of the wrapping token that it came in: whoever gives it again is not told that somebody stole it
}

// Retire notes that a secret id is not used any more and is to be destroyed in Vault.
func (s *Settings) Retire(c Credential) {
	if c.Accessor != "" && !slices.Contains(s.Retired, c.Accessor) && len(s.Retired) < maxRetired {
		s.Retired = append(slices.Clone(s.Retired), c.Accessor)
	}
}

// Role is who the settings say that the region is, by one of their credentials.
func (s Settings) Role(c Credential) Role {
	return Role{ID: s.RoleID, SecretID: c.SecretID, Mount: s.Mount, Prefix: s.Path}
}

// Place names where secrets go, to compare regions by: all of a site have to mean the same. It holds no secret.
func (s Settings) Place() string {
	return strings.TrimRight(s.URL, "/") + " " + s.Namespace + " " + s.Mount + "/" + s.Path
}

// Client makes a client of the settings, by one of their credentials. now and wait may be nil. Kinds: Invalid.
func (s Settings) Client(c Credential, now func() time.Time) (*Client, error) {
	srv, err := s.Server(now)
	if err != nil {
		return nil, err
	}
	return srv.NewClient(s.Role(c))
}

// Server makes the server of the settings. Kinds: Invalid.
func (s Settings) Server(now func() time.Time) (*Server, error) {
	return NewServer(Config{URL: s.URL, Namespace: s.Namespace, CA: s.CA, Saw: s.Saw, Now: now})
}

// settingsText is how settings are written: the one place where secret ids are plain, in a file of mode 0600.
type settingsText struct {
	URL       string         `json:"url"`
	Namespace string         `json:"namespace,omitempty"`
	CA        string         `json:"ca,omitempty"`
	RoleID    string         `json:"role_id"`
	RoleName  string         `json:"role,omitempty"`
	Mount     string         `json:"mount"`
	Path      string         `json:"path"`
	Current   credentialText `json:"current"`
	Next      credentialText `json:"next,omitzero"`
	Retired   []string       `json:"retired,omitempty"`
}

type credentialText struct {
	SecretID string    `json:"secret_id"`
	Accessor string    `json:"accessor,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Token    string    `json:"token_sha256,omitempty"`
}

func (c Credential) text() credentialText {
	return credentialText{c.SecretID.RevealString(), c.Accessor, c.Since, c.Token}
}

func (c credentialText) credential() Credential {
	if c == (credentialText{}) {
		return Credential{}
	}
	return Credential{secret.FromString(c.SecretID), c.Accessor, c.Since, c.Token}
}

// ParseSettings reads settings; what it does not know is an error. Its errors quote nothing. Kinds: Invalid.
func ParseSettings(data []byte) (s Settings, err error) {
	if len(data) > maxSettings {
		return s, fault.New(fault.Invalid, "The file of Vault's settings has more than %d KiB.", maxSettings>>10)
	}
	var t settingsText
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if d.Decode(&t) != nil {
		return s, fault.New(fault.Invalid, "The file of Vault's settings cannot be read: configure Vault again.")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return s, fault.New(fault.Invalid, "The file of Vault's settings goes on after its end: configure Vault again.")
	}
	s = Settings{URL: t.URL, Namespace: t.Namespace, CA: []byte(t.CA), RoleID: t.RoleID, RoleName: t.RoleName, Mount: t.Mount, Path: t.Path, Current: t.Current.credential(), Next: t.Next.credential(),
		Retired: t.Retired}
	return s, s.check()
}

// check reports whether settings can be used. Kinds: Invalid.
func (s Settings) check() error {
	use := s.Current
	if use.SecretID.Empty() {
		use = s.Next
	}
	if _, err := s.Client(use, nil); err != nil {
		return err
	}
	if !s.Next.SecretID.Empty() && !usable(s.Next.SecretID) {
		return fault.Field("vault_secret_id", "The secret id that is to be used next cannot be one: configure Vault again.")
	}
	if s.RoleName != "" && (checkPath(s.RoleName) != nil || strings.Contains(s.RoleName, "/")) {
		return fault.Field("vault_role", "Use the name of an AppRole.")
	}
	for _, a := range append([]string{s.Current.Accessor, s.Next.Accessor, s.Current.Token, s.Next.Token}, s.Retired...) {
		if len(a) > maxText || printable(a) != a {
			return fault.New(fault.Invalid, "The file of Vault's settings has an accessor that cannot be one: configure Vault again.")
		}
	}
	if len(s.Retired) > maxRetired {
		return fault.New(fault.Invalid, "The file of Vault's settings has more than %d accessors to destroy.", maxRetired)
	}
	return nil
}

// LoadSettings reads a settings file; false when there is none. A file that others may read is refused.
func LoadSettings(path string) (Settings, bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Settings{}, false, nil
	}
	if err != nil {
		return Settings{}, false, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return Settings{}, false, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Settings{}, false, fmt.Errorf("cannot trust %s: mode is %04o, want 0600; run: chmod 600 %s", path, mode, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSettings+1))
	if err != nil {
		return Settings{}, false, err
	}
	s, err := ParseSettings(data)
	return s, err == nil, err
}

// Save writes settings to a file of mode 0600, whole or not at all. Kinds: Invalid.
func (s Settings) Save(path string) error {
	if err := s.check(); err != nil {
		return err
	}
	t := settingsText{URL: s.URL, Namespace: s.Namespace, CA: string(s.CA), RoleID: s.RoleID, RoleName: s.RoleName, Mount: s.Mount, Path: s.Path, Current: s.Current.text(), Next: s.Next.text(), Retired: slices.Clone(s.Retired)}
	data, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return secret.WriteFile(path, append(data, '\n'))
}
