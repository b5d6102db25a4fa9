package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// EnrolPath is where a rack spends its enrolment token, on the region's HTTPS port. It is the one call of a
// rack without a certificate.
const EnrolPath = "/rack/enrol"

// EnrolToken is what an operator carries from the region to a rack: short-lived, single-use, for one rack.
// Its key never crosses the network; the rack proves that it has it.
type EnrolToken struct {
	ID       string    `json:"id"`
	RackName string    `json:"rack"`
	CA       string    `json:"ca"` // SHA-256 of the region's CA certificate (DER), hex
	Expires  time.Time `json:"expires"`
	Key      []byte    `json:"key"`
}

const tokenPrefix = "mwrack1_"

// Text is the token as an operator handles it.
func (t EnrolToken) Text() secret.Value {
	b, _ := json.Marshal(t) // plain fields only
	return secret.FromString(tokenPrefix + base64.RawURLEncoding.EncodeToString(b))
}

// ParseEnrolToken reads a token's text. Kinds: Invalid.
func ParseEnrolToken(v secret.Value) (t EnrolToken, err error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(v.RevealString()), tokenPrefix)
	bad := fault.New(fault.Invalid, "This is not an enrolment token; it starts with %s.", tokenPrefix)
	if !ok || len(text) > 4<<10 {
		return t, bad
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || Decode(b, &t) != nil || len(t.Key) != sha256.Size || t.ID == "" || len(t.CA) != 64 {
		return EnrolToken{}, bad
	}
	return t, nil
}

// EnrolRequest spends a token. Proof binds it to this TLS connection and this key.
type EnrolRequest struct {
	ID       string    `json:"id"`
	RackName string    `json:"rack"`
	Expires  time.Time `json:"expires"`
	CSR      []byte    `json:"csr"` // DER; only the public key is used
	Proof    []byte    `json:"proof"`
}

// EnrolResponse makes a rack a member.
type EnrolResponse struct {
	SystemID    string    `json:"system_id"`
	Site        string    `json:"site"`
	Certificate []byte    `json:"certificate"` // PEM
	CA          []byte    `json:"ca"`          // PEM of the region's CA
	Expires     time.Time `json:"expires"`
	RPCPort     int       `json:"rpc_port"` // of the region's host, for sessions
}

// TokenKey derives a token's key from the instance's shared secret.
func TokenKey(shared []byte, id, rackName string, expires time.Time) []byte {
	m := hmac.New(sha256.New, shared)
	fmt.Fprintf(m, "metalward enrol v1\n%s\n%s\n%d", id, rackName, expires.Unix())
	return m.Sum(nil)
}

// EnrolProof shows knowledge of a token's key without sending it: a MAC over keying material that only the
// two ends of this TLS connection have (RFC 5705) and over the signing request.
func EnrolProof(key []byte, state tls.ConnectionState, csr []byte) ([]byte, error) {
	ekm, err := state.ExportKeyingMaterial("EXPORTER-metalward-enrol", nil, 32)
	if err != nil {
		return nil, fmt.Errorf("cannot bind to the connection: %w", err)
	}
	m := hmac.New(sha256.New, key)
	m.Write(ekm)
	m.Write(csr)
	return m.Sum(nil), nil
}
