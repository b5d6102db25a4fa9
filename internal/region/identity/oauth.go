package identity

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// OAuth 1.0 as MAAS's clients speak it: zero-legged, PLAINTEXT, an empty consumer secret.
// Source: RFC 5849 sections 3.1 to 3.4.4; MAAS API 2.0, authentication.
type oauth struct {
	consumer, token, secret, nonce string
	at                             time.Time
}

// Limits of a signature.
const (
	maxOAuthHeader = 4 << 10
	pastWindow     = 300 * time.Second // how old a timestamp may be; as in MAAS
	futureWindow   = 300 * time.Second // how far ahead: MAAS does not check, but a nonce must outlive its timestamp
	maxNonces      = 1 << 20           // remembered at once; more in a window and further calls are refused
)

// complete are the fields of a signature, without which it is none.
var complete = []string{"oauth_consumer_key", "oauth_token", "oauth_signature", "oauth_signature_method", "oauth_timestamp", "oauth_nonce"}

// parseOAuth reads an Authorization header, or the same fields of a query or form: the first of them that has all
// fields, as MAAS does. It returns false when there are none. Kinds: Unauthenticated, or Invalid for a timestamp that
// is no number.
func parseOAuth(header string, values ...url.Values) (oauth, bool, error) {
	fields, err := headerFields(header)
	if err != nil {
		return oauth{}, true, err
	}
	for _, v := range values {
		if !slices.ContainsFunc(complete, func(key string) bool { return fields[key] == "" }) {
			break
		}
		sent := map[string]string{}
		for key, list := range v {
			if strings.HasPrefix(key, "oauth_") && len(list) == 1 {
				sent[key] = list[0]
			}
		}
		if len(fields) == 0 || !slices.ContainsFunc(complete, func(key string) bool { return sent[key] == "" }) {
			fields = sent
		}
	}
	if len(fields) == 0 {
		return oauth{}, false, nil
	}
	for _, key := range complete {
		if fields[key] == "" {
			return oauth{}, true, fault.New(fault.Unauthenticated, "Authorization Error: missing %s.", key)
		}
	}
	if fields["oauth_signature_method"] != "PLAINTEXT" {
		return oauth{}, true, fault.New(fault.Unauthenticated, "Authorization Error: only the signature method PLAINTEXT is supported, over TLS.")
	}
	if v := fields["oauth_version"]; v != "" && v != "1.0" {
		return oauth{}, true, fault.New(fault.Unauthenticated, "Authorization Error: OAuth version %.8q not supported.", v)
	}
	seconds, err := strconv.ParseInt(fields["oauth_timestamp"], 10, 64)
	if err != nil {
		return oauth{}, true, fault.New(fault.Invalid, "Bad Request: oauth_timestamp is not a whole number of seconds.")
	}
	consumerSecret, tokenSecret, ok := strings.Cut(fields["oauth_signature"], "&")
	if !ok || consumerSecret != "" {
		return oauth{}, true, fault.New(fault.Unauthenticated, "Authorization Error: Invalid signature.")
	}
	if tokenSecret, err = url.PathUnescape(tokenSecret); err != nil {
		return oauth{}, true, fault.New(fault.Unauthenticated, "Authorization Error: Invalid signature.")
	}
	if len(fields["oauth_nonce"]) > 128 {
		return oauth{}, true, fault.New(fault.Unauthenticated, "Authorization Error: the nonce is too long.")
	}
	return oauth{fields["oauth_consumer_key"], fields["oauth_token"], tokenSecret, fields["oauth_nonce"], time.Unix(seconds, 0)}, true, nil
}

// headerFields reads the fields of an Authorization header; none of one with another scheme.
func headerFields(header string) (map[string]string, error) {
	scheme, rest, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "OAuth") {
		return nil, nil
	}
	if len(header) > maxOAuthHeader {
		return nil, fault.New(fault.Unauthenticated, "Authorization Error: the header is too long.")
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		key, quoted, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			continue
		}
		value, err := url.PathUnescape(strings.Trim(quoted, `"`))
		if _, double := fields[key]; err != nil || double {
			return nil, fault.New(fault.Unauthenticated, "Authorization Error: malformed field %.40q.", key)
		}
		fields[key] = value
	}
	return fields, nil
}

// nonces remembers the nonces of a timestamp's whole life, futureWindow and pastWindow, per token, in three
// generations: the oldest is dropped whole. They are kept in memory: a replay after a restart would have to come from inside the TLS connection.
type nonces struct {
	mu              sync.Mutex
	now, old, older map[string]struct{} // guarded by mu
	turned          time.Time
}

func (n *nonces) use(token, nonce string, now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.now == nil || now.Sub(n.turned) > pastWindow {
		n.older, n.old, n.now, n.turned = n.old, n.now, map[string]struct{}{}, now
	}
	key := token + "\x00" + nonce
	for _, seen := range []map[string]struct{}{n.now, n.old, n.older} {
		if _, ok := seen[key]; ok {
			return fault.New(fault.Unauthenticated, "Authorization Error: Nonce already used: %s", nonce)
		}
	}
	if len(n.now) >= maxNonces {
		return &fault.Error{Kind: fault.Unavailable, Message: "Too many API calls at once.", RetryAfter: 10 * time.Second}
	}
	n.now[key] = struct{}{}
	return nil
}
