package vault

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

const (
	maxWrap = 64 << 10 // bytes that the transit engine is asked to encrypt
	// transitUse is authenticated with what is encrypted: other uses of the same key in Vault cannot be passed off as ours.
	transitUse = "metalward root"
)

var (
	errTransit = fault.New(fault.Invalid, "Vault does not take this for its transit engine: check the mount, the name of the key, and that its type is aes256-gcm96.")
	errWrapped = fault.New(fault.Invalid, "Vault's transit key does not open this: it was encrypted under another key, or a version of it that is not allowed any more.")
)

// TransitRoot encrypts under a key of Vault's transit engine that never leaves Vault: who has the database, the configuration and
// the host's disks has nothing without Vault's consent, which can be withdrawn. Safe for concurrent use.
//
// Source: https://developer.hashicorp.com/vault/api-docs/secret/transit
type TransitRoot struct {
	client     *Client
	mount, key string
}

// Transit returns the root under a key of a transit engine. It connects to nothing. The role's policy needs the right "update" on
// MOUNT/encrypt/KEY and MOUNT/decrypt/KEY; the key is made in Vault. Kinds: Invalid on "vault_transit_mount", "vault_transit_key".
func (c *Client) Transit(mount, key string) (*TransitRoot, error) {
	bad := fault.Fields{}
	if checkPath(mount) != nil {
		bad.Add("vault_transit_mount", "Use the mount of a transit engine, without slashes around it.")
	}
	if checkPath(key) != nil || strings.Contains(key, "/") {
		bad.Add("vault_transit_key", "Use the name of a key of the transit engine: vault write -f transit/keys/NAME")
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	return &TransitRoot{c, mount, key}, nil
}

// RootFile is the file in a region's state folder that has what a TransitRoot wrapped.
const RootFile = "root.key.vault"

const rootFormat = "metalward transit 1"

// Seal wraps something for a file, which says by which key: see OpenSealed. Kinds: as Wrap.
func (r *TransitRoot) Seal(ctx context.Context, v secret.Value) ([]byte, error) {
	wrapped, err := r.Wrap(ctx, v.Reveal())
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%s\n%s\n%s\n%s\n", rootFormat, r.mount, r.key, wrapped), nil
}

// OpenSealed opens what Seal made. Kinds: Invalid for anything else; Forbidden, Unavailable.
func (c *Client) OpenSealed(ctx context.Context, file []byte) (secret.Value, error) {
	lines := strings.Split(strings.TrimSuffix(string(file), "\n"), "\n")
	if len(lines) != 4 || lines[0] != rootFormat {
		return secret.Value{}, fault.New(fault.Invalid, "This is nothing that Vault's transit engine has encrypted for a region.")
	}
	r, err := c.Transit(lines[1], lines[2])
	if err != nil {
		return secret.Value{}, err
	}
	plain, err := r.Unwrap(ctx, []byte(lines[3]))
	return secret.NewValue(plain), err
}

// ID names the root; it is no secret.
func (r *TransitRoot) ID() string { return "vault-transit:" + r.mount + "/" + r.key }

// Wrap encrypts up to 64 KiB under the newest version of the key. Kinds: Invalid, TooLarge, Forbidden.
func (r *TransitRoot) Wrap(ctx context.Context, plain []byte) ([]byte, error) {
	if len(plain) > maxWrap {
		return nil, fault.New(fault.TooLarge, "Vault's transit engine is asked for %d KiB at most.", maxWrap>>10)
	}
	text, err := r.ask(ctx, "encrypt", map[string]string{"plaintext": base64.StdEncoding.EncodeToString(plain)}, "ciphertext")
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(text.RevealString(), "vault:v") || strings.ContainsAny(text.RevealString(), "\r\n") {
		return nil, errTransit
	}
	return text.Reveal(), nil
}

// Unwrap decrypts what Wrap made, under any version of the key that Vault still allows. Kinds: Invalid for anything else, Forbidden.
func (r *TransitRoot) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	if len(wrapped) > 2*maxWrap || !strings.HasPrefix(string(wrapped), "vault:v") {
		return nil, errWrapped
	}
	text, err := r.ask(ctx, "decrypt", map[string]string{"ciphertext": string(wrapped)}, "plaintext")
	if fault.Is(err, fault.Invalid) {
		return nil, fmt.Errorf("%w (%w)", errWrapped, err)
	}
	if err != nil {
		return nil, err
	}
	plain, err := base64.StdEncoding.DecodeString(text.RevealString())
	if err != nil {
		return nil, errRead
	}
	return plain, nil
}

func (r *TransitRoot) ask(ctx context.Context, what string, in map[string]string, field string) (secret.Value, error) {
	in["associated_data"] = base64.StdEncoding.EncodeToString([]byte(transitUse))
	var got struct{ Data map[string]any }
	err := r.client.do(ctx, call{method: http.MethodPost, path: escape(r.mount) + "/" + what + "/" + escape(r.key), in: in, again: true}, &got)
	switch {
	case fault.Is(err, fault.Invalid), fault.Is(err, fault.NotFound):
		return secret.Value{}, fmt.Errorf("%w (%v)", errTransit, err)
	case fault.Is(err, fault.Forbidden) && !errors.Is(err, ErrLogin):
		return secret.Value{}, fmt.Errorf("%w (%w)", fault.New(fault.Forbidden, "The site's policy in Vault lacks the right \"update\" on \"%s/%s/%s\", or there is no such key.", r.mount, what, r.key), err)
	case err != nil:
		return secret.Value{}, err
	}
	text, ok := got.Data[field].(string)
	if !ok {
		return secret.Value{}, errTransit
	}
	return secret.FromString(text), nil
}
