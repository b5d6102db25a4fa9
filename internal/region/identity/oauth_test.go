package identity_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// header writes an Authorization header, fields in alphabetical order.
func header(v url.Values) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		parts = append(parts, name+`="`+url.PathEscape(strings.ReplaceAll(v.Get(name), "&", "%26"))+`"`)
	}
	// PathEscape leaves & alone and escapes our own escape once more: undo that.
	return "OAuth " + strings.ReplaceAll(strings.Join(parts, ","), "%2526", "%26")
}

// TestOAuthForms accepts a signature in the forms that MAAS's clients write it.
func TestOAuthForms(t *testing.T) {
	c, _ := newCore(t)
	k, err := c.Identity.CreateKey(c.User(t, "alice", false), identity.NewKey{Name: "k"})
	if err != nil {
		t.Fatal(err)
	}
	fresh := func() url.Values { return values(k, nil) }
	reversed := func(h string) string {
		parts := strings.Split(strings.TrimPrefix(h, "OAuth "), ",")
		slices.Reverse(parts)
		return "OAuth " + strings.Join(parts, ",")
	}
	h := func() string { return header(fresh()) }
	for name, text := range map[string]string{
		"plain":             h(),
		"reversed":          reversed(h()),
		"realm first":       strings.Replace(h(), "OAuth ", `OAuth realm="",`, 1),
		"realm last":        h() + `, realm="MAAS API"`,
		"spaces":            strings.ReplaceAll(h(), ",", ",  "),
		"scheme lower case": strings.Replace(h(), "OAuth", "oauth", 1),
		"unquoted":          strings.ReplaceAll(h(), `"`, ""),
		"raw ampersand":     strings.ReplaceAll(h(), "%26", "&"),
		"unknown field":     h() + `,oauth_other="x"`,
	} {
		p, ok, err := c.Identity.VerifyOAuth(from("192.0.2.1"), text, nil)
		if !ok || err != nil || p.Name != "alice" || p.Rights.Administrator() {
			t.Errorf("%s: got %+v, %v, %v, want alice", name, p, ok, err)
		}
	}
	if p, ok, err := c.Identity.VerifyOAuth(from("192.0.2.1"), "", fresh()); !ok || err != nil || p.Name != "alice" {
		t.Errorf("in a query or form: got %+v, %v, %v, want alice", p, ok, err)
	}
	for name, text := range map[string]string{"none": "", "basic": "Basic YTpi", "bearer": "Bearer x"} {
		if p, ok, err := c.Identity.VerifyOAuth(from("192.0.2.1"), text, url.Values{"op": {"x"}}); ok || err != nil || p.Name != "" {
			t.Errorf("%s: got %+v, %v, %v, want no credentials", name, p, ok, err)
		}
	}
	for text, want := range map[string]bool{"OAuth x": true, "oauth x": true, "Basic x": false, "": false} {
		r := &http.Request{Header: http.Header{"Authorization": {text}}, URL: &url.URL{}}
		if got := identity.HasCredentials(r); got != want {
			t.Errorf("%q has credentials: got %v, want %v", text, got, want)
		}
	}
}

// TestOAuthRefused says why, in the words that clients know.
func TestOAuthRefused(t *testing.T) {
	c, clock := newCore(t)
	k, err := c.Identity.CreateKey(c.User(t, "alice", false), identity.NewKey{Name: "k"})
	if err != nil {
		t.Fatal(err)
	}
	const invalid = "Authorization Error: Invalid API key."
	at := func(ago time.Duration) string { return fmt.Sprint(clock.Now().Add(-ago).Unix()) }
	for name, test := range map[string]struct {
		change map[string]string
		kind   fault.Kind
		text   string // prefix; the whole when it ends in a full stop
	}{
		"wrong secret":         {map[string]string{"oauth_signature": "&wrong"}, fault.Unauthenticated, invalid},
		"hash for a secret":    {map[string]string{"oauth_signature": "&" + k.SecretHash}, fault.Unauthenticated, invalid},
		"empty secret":         {map[string]string{"oauth_signature": "&"}, fault.Unauthenticated, invalid},
		"unknown token":        {map[string]string{"oauth_token": "unknown"}, fault.Unauthenticated, invalid},
		"wrong consumer":       {map[string]string{"oauth_consumer_key": "unknown"}, fault.Unauthenticated, invalid},
		"consumer secret":      {map[string]string{"oauth_signature": "x&" + k.Secret.RevealString()}, fault.Unauthenticated, "Authorization Error: Invalid signature."},
		"no ampersand":         {map[string]string{"oauth_signature": k.Secret.RevealString()}, fault.Unauthenticated, "Authorization Error: Invalid signature."},
		"301 s old":            {map[string]string{"oauth_timestamp": at(301 * time.Second)}, fault.Unauthenticated, "Authorization Error: Expired timestamp: given " + at(301*time.Second) + " and now " + at(0) + " has a greater difference than threshold 300"},
		"HMAC-SHA1":            {map[string]string{"oauth_signature_method": "HMAC-SHA1"}, fault.Unauthenticated, "Authorization Error: only the signature method PLAINTEXT"},
		"lower case method":    {map[string]string{"oauth_signature_method": "plaintext"}, fault.Unauthenticated, "Authorization Error: only the signature method PLAINTEXT"},
		"version 2":            {map[string]string{"oauth_version": "2.0"}, fault.Unauthenticated, "Authorization Error: OAuth version"},
		"timestamp a word":     {map[string]string{"oauth_timestamp": "now"}, fault.Invalid, "Bad Request:"},
		"timestamp a fraction": {map[string]string{"oauth_timestamp": "1.5"}, fault.Invalid, "Bad Request:"},
		"timestamp too large":  {map[string]string{"oauth_timestamp": "99999999999999999999"}, fault.Invalid, "Bad Request:"},
		"timestamp negative":   {map[string]string{"oauth_timestamp": "-9223372036854775808"}, fault.Unauthenticated, "Authorization Error: Expired timestamp"},
		"no nonce":             {map[string]string{"oauth_nonce": ""}, fault.Unauthenticated, "Authorization Error: missing oauth_nonce."},
		"long nonce":           {map[string]string{"oauth_nonce": strings.Repeat("n", 129)}, fault.Unauthenticated, "Authorization Error: the nonce is too long."},
		"long header":          {map[string]string{"oauth_other": strings.Repeat("n", 5000)}, fault.Unauthenticated, "Authorization Error: the header is too long."},
	} {
		p, ok, err := verify(c, k, test.change)
		text := fault.Message(err)
		if !ok || !fault.Is(err, test.kind) || p.Name != "" || !strings.HasPrefix(text, test.text) || strings.HasSuffix(test.text, ".") && text != test.text {
			t.Errorf("%s: got %+v, %v, %q, want %q", name, p, ok, text, test.text)
		}
	}
	_, _, err = c.Identity.VerifyOAuth(from("192.0.2.1"), header(values(k, nil))+`,oauth_token="x"`, nil)
	wantKind(t, err, fault.Unauthenticated) // a field twice
	if _, _, err := verify(c, k, map[string]string{"oauth_timestamp": at(300 * time.Second)}); err != nil {
		t.Errorf("300 s old: got %v", err)
	}
	edit(t, c, "alice", func(u *store.UserRow) { u.Disabled = true })
	_, _, err = verify(c, k, nil)
	wantKind(t, err, fault.Forbidden)
}

// TestOAuthReplay takes a nonce once, for as long as its timestamp is good. One that failed is not spent.
func TestOAuthReplay(t *testing.T) {
	c, clock := newCore(t)
	var keys []identity.KeySecret
	for _, name := range []string{"alice", "bob"} {
		k, err := c.Identity.CreateKey(c.User(t, name, false), identity.NewKey{Name: "k"})
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	once := map[string]string{"oauth_nonce": "once"}
	if _, _, err := verify(c, keys[0], map[string]string{"oauth_nonce": "once", "oauth_signature": "&wrong"}); err == nil {
		t.Fatal("a wrong secret works")
	}
	if _, _, err := verify(c, keys[0], once); err != nil {
		t.Fatal(err)
	}
	if _, _, err := verify(c, keys[1], once); err != nil {
		t.Errorf("another key's nonce: %v", err)
	}
	for range 10 {
		_, _, err := verify(c, keys[0], once)
		if !fault.Is(err, fault.Unauthenticated) || !strings.Contains(fault.Message(err), "Nonce already used") {
			t.Errorf("%v after its first use: got %v", clock.Now().Sub(regiontest.Start), err)
		}
		clock.Advance(30 * time.Second)
		if _, _, err := verify(c, keys[0], nil); err != nil {
			t.Error(err)
		}
	}
}
