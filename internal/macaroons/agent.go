package macaroons

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// Limits of what is read from files and forms.
const (
	MaxAgentFile = 64 << 10 // bytes
	maxUsername  = 256      // bytes
)

// Key is a key pair of an agent or of a site: X25519, as NaCl's box uses it. The zero Key is none.
type Key struct {
	private secret.Value // 32 bytes
	public  string
}

// NewKey makes a key pair.
func NewKey() Key {
	b := make([]byte, bakery.KeyLen)
	_, _ = rand.Read(b)
	return keyOf(b)
}

// keyOf makes a key pair of its private half, 32 bytes.
func keyOf(private []byte) Key {
	var k bakery.PrivateKey
	copy(k.Key[:], private)
	public := k.Public()
	return Key{secret.NewValue(private), public.String()}
}

// ParseKey reads a private key, base64. Kinds: Invalid.
func ParseKey(private secret.Value) (Key, error) {
	var k bakery.PrivateKey
	if err := k.UnmarshalText(private.Reveal()); err != nil || k.Key == (bakery.Key{}) {
		return Key{}, fault.New(fault.Invalid, "The private key is not a base64 text of %d bytes.", bakery.KeyLen)
	}
	return keyOf(k.Key[:]), nil
}

// Public is the public half, base64.
func (k Key) Public() string { return k.public }

// Private is the private half, base64: for sealing.
func (k Key) Private() secret.Value { return secret.FromString(k.pair().Private.String()) }

// Empty reports whether there is no key.
func (k Key) Empty() bool { return k.private.Empty() }

func (k Key) pair() *bakery.KeyPair {
	var p bakery.KeyPair
	copy(p.Private.Key[:], k.private.Reveal())
	p.Public = p.Private.Public()
	return &p
}

// Agent is an account of a program at a discharger, which it proves with its key.
type Agent struct {
	URL      string // of the discharger: an agent logs in nowhere else
	Username string
	Key      Key
}

// ParseAgentFile reads an agent file, as `candid create-agent` and MAAS's `configauth` have it: JSON
// {"key":{"public","private"},"agents":[{"url","username"}]}. Of several agents the first counts. Kinds: Invalid.
func ParseAgentFile(data []byte) (a Agent, err error) {
	var f struct {
		Key struct {
			Public  string `json:"public"`
			Private string `json:"private"`
		} `json:"key"`
		Agents []struct {
			URL      string `json:"url"`
			Username string `json:"username"`
		} `json:"agents"`
	}
	if len(data) > MaxAgentFile {
		return a, fault.New(fault.Invalid, "The agent file is larger than %d bytes.", MaxAgentFile)
	}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&f); err != nil {
		return a, fault.New(fault.Invalid, "The agent file is not JSON with key and agents.")
	}
	if len(f.Agents) == 0 {
		return a, fault.New(fault.Invalid, "The agent file names no agent.")
	}
	if a.Key, err = ParseKey(secret.FromString(f.Key.Private)); err != nil {
		return a, err
	}
	if f.Key.Public != "" && f.Key.Public != a.Key.public {
		return a, fault.New(fault.Invalid, "The agent file's public key does not belong to its private key.")
	}
	a.URL, a.Username = strings.TrimSuffix(f.Agents[0].URL, "/"), f.Agents[0].Username
	return a, a.Validate()
}

// Validate checks an agent. Kinds: Invalid.
func (a Agent) Validate() error {
	if u, err := url.Parse(a.URL); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(a.URL) > 512 {
		return fault.New(fault.Invalid, "The agent's URL has to begin with https:// and to have neither user nor query.")
	}
	if a.Username == "" || len(a.Username) > maxUsername || strings.ContainsFunc(a.Username, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fault.New(fault.Invalid, "The agent's username has 1 to %d characters and no blanks.", maxUsername)
	}
	if a.Key.Empty() {
		return fault.New(fault.Invalid, "The agent has no key.")
	}
	return nil
}
