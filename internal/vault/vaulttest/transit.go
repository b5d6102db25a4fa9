package vaulttest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
)

// transitIn is what requests to the transit engine say.
type transitIn struct {
	Plaintext  string
	Ciphertext string
	AAD        string `json:"associated_data"`
}

// MakeKey makes a key of the transit engine, or its next version.
func (f *Fake) MakeKey(_ testing.TB, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the length is a constant
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	f.transit[name] = append(f.transit[name], aead)
}

// crypt serves the transit engine. The caller holds the mutex.
func (f *Fake) crypt(w http.ResponseWriter, allowed bool, path string, in transitIn) {
	what, name, _ := strings.Cut(path, "/")
	versions := f.transit[name]
	aad, err := base64.StdEncoding.DecodeString(in.AAD)
	switch {
	case !allowed || what == "encrypt" && versions == nil: // to make the key it would take another right
		answer(w, http.StatusForbidden, nil, "1 error occurred:\n\t* permission denied\n\n")
	case versions == nil:
		answer(w, http.StatusBadRequest, nil, "encryption key not found")
	case err != nil:
		answer(w, http.StatusBadRequest, nil, "failed to base64-decode associated_data")
	case what == "encrypt":
		plain, err := base64.StdEncoding.DecodeString(in.Plaintext)
		if err != nil {
			answer(w, http.StatusBadRequest, nil, "failed to base64-decode plaintext")
			return
		}
		n := len(versions)
		nonce := make([]byte, versions[n-1].NonceSize())
		_, _ = rand.Read(nonce)
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"ciphertext": fmt.Sprintf("vault:v%d:%s", n, base64.StdEncoding.EncodeToString(versions[n-1].Seal(nonce, nonce, plain, aad))), "key_version": n}})
	case what == "decrypt":
		var n int
		var text string
		if _, err := fmt.Sscanf(in.Ciphertext, "vault:v%d:%s", &n, &text); err != nil || n < 0 || n > len(versions) {
			answer(w, http.StatusBadRequest, nil, "invalid ciphertext: no prefix")
			return
		}
		aead := versions[max(n, 1)-1]
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(raw) < aead.NonceSize() {
			answer(w, http.StatusBadRequest, nil, "invalid ciphertext: could not decode base64")
			return
		}
		plain, err := aead.Open(nil, raw[:aead.NonceSize()], raw[aead.NonceSize():], aad)
		if err != nil {
			answer(w, http.StatusBadRequest, nil, "invalid ciphertext: unable to decrypt")
			return
		}
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plain)}})
	default:
		answer(w, http.StatusNotFound, nil, "unsupported path")
	}
}

// TransitBackend is a Vault with a transit engine at "transit".
type TransitBackend interface {
	Backend
	// MakeKey makes a key, or its next version.
	MakeKey(t testing.TB, name string)
}

// TransitSuite runs what a vault.TransitRoot does against a Vault.
func TransitSuite(t *testing.T, b TransitBackend) {
	site := Serve(t, b)
	f := &fixture{T: t, Backend: b, site: site, server: site.Connect(t, nil), prefix: "transit", secrets: []string{mark}}
	b.MakeKey(t, "site")
	b.MakeKey(t, "other")
	c, ctx := f.client(TransitPolicy("site").With(TransitPolicy("other")).With(TransitPolicy("none")), time.Hour, time.Hour), t.Context()
	root := func(key string) *vault.TransitRoot {
		t.Helper()
		r, err := c.Transit("transit", key)
		f.ok(err)
		return r
	}
	site1, other := root("site"), root("other")
	if site1.ID() == other.ID() {
		t.Errorf("two keys are both %s", other.ID())
	}
	for _, plain := range [][]byte{{}, []byte(mark), {0, 0xff, '\n'}, bytes.Repeat([]byte{7}, 64<<10)} {
		wrapped, err := site1.Wrap(ctx, plain)
		f.ok(err)
		if len(plain) > 3 && bytes.Contains(wrapped, plain) {
			t.Error("what is wrapped shows")
		}
		got, err := site1.Unwrap(ctx, wrapped)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: got %d back, %v", len(plain), len(got), err)
		}
	}
	file, err := site1.Seal(ctx, secret.FromString(mark))
	f.ok(err)
	if v, err := c.OpenSealed(ctx, file); err != nil || v.RevealString() != mark || bytes.Contains(file, []byte(mark)) {
		t.Errorf("got %v of a sealed file", err)
	}
	for what, bad := range map[string]string{"nothing": "", "another format": "x\n" + string(file), "another key": strings.Replace(string(file), "\nsite\n", "\nother\n", 1), "a path": strings.Replace(string(file), "\nsite\n", "\n../x\n", 1),
		"a line more": string(file) + "x\n"} {
		_, err := c.OpenSealed(ctx, []byte(bad))
		f.want(err, fault.Invalid, what)
	}
	wrapped, err := site1.Wrap(ctx, []byte(mark))
	f.ok(err)
	_, err = other.Unwrap(ctx, wrapped)
	f.want(err, fault.Invalid, "another key")
	_, err = root("none").Unwrap(ctx, wrapped)
	f.want(err, fault.Invalid, "an absent key")
	_, err = root("none").Wrap(ctx, []byte(mark))
	f.want(err, fault.Forbidden, "to make a key by using it")
	for i := range wrapped {
		bad := bytes.Clone(wrapped)
		bad[i] ^= 1
		if strings.HasPrefix(string(bad), "vault:v0:") {
			continue // to Vault, the first version by another name
		}
		if got, err := site1.Unwrap(ctx, bad); err == nil && bytes.Equal(got, []byte(mark)) && i < len(wrapped)-3 { // the last bits of base64 may be padding
			t.Errorf("unwrapped with byte %d changed", i)
		}
	}
	for what, bad := range map[string]string{"nothing": "", "no ciphertext": mark, "a prefix": "vault:v1:", "cut": string(wrapped[:len(wrapped)/2]), "a later version": "vault:v9" + string(wrapped[8:])} {
		_, err := site1.Unwrap(ctx, []byte(bad))
		f.want(err, fault.Invalid, what)
	}
	_, err = site1.Wrap(ctx, make([]byte, 64<<10+1))
	f.want(err, fault.TooLarge, "a byte more")
	b.MakeKey(t, "site")
	if got, err := site1.Unwrap(ctx, wrapped); err != nil || string(got) != mark {
		t.Errorf("after the key was rotated: got %q, %v", got, err)
	}
	newer, err := site1.Wrap(ctx, []byte(mark))
	f.ok(err)
	if !strings.HasPrefix(string(newer), "vault:v2:") {
		t.Errorf("got %.9s with the rotated key", newer)
	}
	forbidden, err := f.client(TransitPolicy("other"), time.Hour, time.Hour).Transit("transit", "site")
	f.ok(err)
	_, err = forbidden.Wrap(ctx, []byte(mark))
	f.want(err, fault.Forbidden, "without the right")
	_, err = forbidden.Unwrap(ctx, wrapped)
	f.want(err, fault.Forbidden, "without the right")
	for _, bad := range []string{"", "a/b", "..", "a\n"} {
		_, err := c.Transit("transit", bad)
		f.want(err, fault.Invalid, "a key named "+bad)
	}
	b.Seal(t)
	_, err = site1.Unwrap(ctx, wrapped)
	f.want(err, fault.Unavailable, "sealed")
	b.Unseal(t)
	for _, text := range append(site.texts, site.seen...) {
		for _, s := range f.secrets {
			if strings.Contains(text, s) {
				t.Errorf("a secret is in %s", text)
			}
		}
	}
}
