package metal

import (
	"net/mail"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/metalward/metalward/internal/fault"
)

// ResourcePool is a set of machines that people are granted rights on.
type ResourcePool struct {
	ID                int64
	Name, Description string
}

// Zone is an availability grouping of machines.
type Zone struct {
	ID                int64
	Name, Description string
}

// The pool and zone that exist from the start and cannot be deleted. Source: MAAS API 2.0.
const (
	DefaultPoolID int64 = 0
	DefaultZoneID int64 = 1
)

// ValidateNamed checks the name of a pool, zone or fabric. Kinds: Invalid on "name".
func ValidateNamed(name string) error {
	if name == "" {
		return fault.Field("name", "This field is required.")
	}
	if !ValidName(name) {
		return fault.Field("name", "Use letters, digits, blanks, '.', '_' and '-', at most 256.")
	}
	return nil
}

// User is a person who may log in.
type User struct {
	ID       int64
	Name     string
	Email    string
	Admin    bool
	Disabled bool
	External bool // brought by an identity provider, without a password
	// RightsFrom is the provider of the kind rbac whose service alone decides what he may do; 0 when people here do.
	RightsFrom int64
	Epoch      int64 // raised to end every session and key check at once
	Created    time.Time
}

var userRE = regexp.MustCompile(`^[a-z0-9A-Z][a-z0-9A-Z@.+_-]{0,149}$`)

// MinPasswordLength is the shortest password accepted, in characters. Source: NIST SP 800-63B section 5.1.1.2
// asks for at least 8; the hardening requirements ask for 12.
const MinPasswordLength = 12

// MaxPasswordLength bounds the work of hashing, in bytes.
const MaxPasswordLength = 1024

// ValidateUser checks a user's name and e-mail address.
func ValidateUser(name, email string) fault.Fields {
	bad := fault.Fields{}
	if name == "" {
		bad.Add("username", "This field is required.")
	} else if !userRE.MatchString(name) {
		bad.Add("username", "Use letters, digits and @ . + - _ only, at most 150 characters.")
	}
	if email != "" {
		if a, err := mail.ParseAddress(email); err != nil || a.Address != email || len(email) > 254 {
			bad.Add("email", "Enter a valid email address.")
		}
	}
	return bad
}

// ValidatePassword checks a new password's length. Kinds: Invalid without a field.
func ValidatePassword(p string) error {
	if len([]rune(p)) < MinPasswordLength {
		return fault.New(fault.Invalid, "Use at least %d characters.", MinPasswordLength)
	}
	if len(p) > MaxPasswordLength {
		return fault.New(fault.Invalid, "Use at most %d bytes.", MaxPasswordLength)
	}
	return nil
}

// APIKey is a user's three-part key: the secret exists only as a hash.
type APIKey struct {
	ID          int64
	UserID      int64
	Name        string
	ConsumerKey string
	TokenKey    string
	SecretHash  string // SHA-256 of the token secret, hex
	Created     time.Time
	LastUsed    time.Time // to the minute
	LastAddress string    // where it was used last
	Expires     time.Time // zero: never
	ReadOnly    bool
	Pools       []int64        // it works in these resource pools only; none given: in all of the user's
	Networks    []netip.Prefix // it works from these networks only; none given: from everywhere
}

// From reports whether the key works from an address.
func (k APIKey) From(address string) bool {
	if len(k.Networks) == 0 {
		return true
	}
	a, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(k.Networks, func(p netip.Prefix) bool { return p.Contains(a.Unmap().WithZone("")) })
}

// Session is a browser's login. Only the hash of its cookie is stored.
type Session struct {
	Hash     string
	UserID   int64
	Epoch    int64 // the user's epoch at login
	Address  string
	Agent    string // what the browser says of itself
	Factor   string // kind of the second factor that was shown at login, or FactorProvider; empty for none
	Created  time.Time
	LastSeen time.Time // to the minute
	Expires  time.Time
	// ProviderID is the identity provider that the login was by, and ProviderSession its id of its session; 0 for none.
	ProviderID      int64
	ProviderSession string
}

// ID names a session to its user. It is no secret: the cookie does not follow from its hash.
func (s Session) ID() string { return s.Hash[:min(len(s.Hash), 16)] }

// The kinds of second factors.
const (
	FactorTOTP     = "totp"     // codes of an authenticator app
	FactorPasskey  = "passkey"  // WebAuthn
	FactorRecovery = "recovery" // one of the codes kept for an emergency
	FactorProvider = "provider" // an identity provider, which has rules of its own
)

// Factor is something besides the password that a user shows at login.
type Factor struct {
	ID         int64
	UserID     int64
	Kind       string
	Name       string
	Credential string // passkeys: the credential's id, base64url; unique
	Data       string // passkeys: the public key and its state, JSON
	LastStep   int64  // TOTP: the time step of the last code, none of which is taken twice
	Created    time.Time
	LastUsed   time.Time
}

// SSHKey is a user's public key, placed on machines that he deploys.
type SSHKey struct {
	ID     int64
	UserID int64
	Key    string // one line, authorized_keys format without options
}

// ParseSSHKey checks and normalizes a public key: one line, no options, no second key behind it.
// Kinds: Invalid on "key".
func ParseSSHKey(text string) (string, error) {
	text = strings.TrimSpace(text)
	if len(text) > 16<<10 || strings.ContainsAny(text, "\r\n\x00") {
		return "", fault.Field("key", "Enter one public key on a single line.")
	}
	key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil || len(options) > 0 {
		return "", fault.Field("key", "Invalid SSH public key; paste the content of a file such as ~/.ssh/id_ed25519.pub.")
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	if comment = Printable(comment, 1024); comment != "" {
		line += " " + comment
	}
	return line, nil
}
