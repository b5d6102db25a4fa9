package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // what authenticator apps speak; HMAC-SHA1 is sound
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"time"

	"github.com/metalward/metalward/internal/secret"
)

// Codes of authenticator apps, with the parameters that all apps know. Source: RFC 6238, RFC 4226.
const (
	totpPeriod = 30 * time.Second
	totpDrift  = 1  // steps to either side: clocks differ, and people take their time
	totpBytes  = 20 // of the secret
)

var base32Text = base32.StdEncoding.WithPadding(base32.NoPadding)

func newTOTPSecret() secret.Value {
	b := make([]byte, totpBytes)
	_, _ = rand.Read(b)
	return secret.NewValue(b)
}

// totpCode is the code of a time step.
func totpCode(key secret.Value, step int64) string {
	m := hmac.New(sha1.New, key.Reveal())
	_ = binary.Write(m, binary.BigEndian, step) // to a hash
	sum := m.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:at+4])&0x7fffffff%1_000_000)
}

// totpMatch returns the time step whose code was entered: now's or one beside it, but none up to the last one used.
func totpMatch(key secret.Value, code string, now time.Time, last int64) (step int64, ok bool) {
	current := now.Unix() / int64(totpPeriod/time.Second)
	for s := current - totpDrift; s <= current+totpDrift; s++ {
		if same := subtle.ConstantTimeCompare([]byte(totpCode(key, s)), []byte(code)) == 1; same && s > last {
			step, ok = s, true
		}
	}
	return step, ok
}

// totpURI is what the QR code says. Source: the Key URI format of Google Authenticator.
func totpURI(site, user string, key secret.Value) string {
	v := url.Values{"secret": {base32Text.EncodeToString(key.Reveal())}, "issuer": {site}}
	return "otpauth://totp/" + url.PathEscape(site+":"+user) + "?" + v.Encode()
}
