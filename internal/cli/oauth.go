package cli

import (
	"crypto/rand"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/secret"
)

// apiKey is consumer:token:secret, with which calls are signed.
type apiKey struct {
	consumer, token string
	secret          secret.Value
}

// parseKey takes an API key apart. An empty key is no key. The message never repeats what was given.
func parseKey(v secret.Value) (apiKey, error) {
	if v.Empty() {
		return apiKey{}, nil
	}
	parts := strings.Split(v.RevealString(), ":")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return apiKey{}, usage("login", "An API key has three parts with colons between them.")
	}
	return apiKey{parts[0], parts[1], secret.FromString(parts[2])}, nil
}

// sign makes the Authorization header of one request: OAuth 1.0 without a consumer secret, method PLAINTEXT,
// which is as safe as the TLS around it. The nonce is new each time, for the server takes each once.
// Source: RFC 5849 section 3.4.4.
func (k apiKey) sign(now time.Time) string {
	fields := [][2]string{
		{"oauth_version", "1.0"}, {"oauth_signature_method", "PLAINTEXT"}, {"oauth_consumer_key", k.consumer}, {"oauth_token", k.token},
		{"oauth_signature", "&" + url.PathEscape(k.secret.RevealString())}, {"oauth_timestamp", strconv.FormatInt(now.Unix(), 10)}, {"oauth_nonce", rand.Text()},
	}
	parts := make([]string, 0, len(fields))
	for _, f := range fields {
		parts = append(parts, f[0]+`="`+strings.ReplaceAll(url.QueryEscape(f[1]), "+", "%20")+`"`)
	}
	return "OAuth " + strings.Join(parts, ", ")
}
