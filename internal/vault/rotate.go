package vault

import (
	"context"
	"net/http"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// NewSecretID has Vault make another secret id of the client's own role. The policy needs the right "update" on
// auth/approle/role/ROLE/secret-id. Kinds: Forbidden, Invalid.
func (c *Client) NewSecretID(ctx context.Context, role string) (SecretID, error) {
	if err := checkPath(role); err != nil {
		return SecretID{}, err
	}
	var got struct {
		Data struct {
			ID       string `json:"secret_id"`
			Accessor string `json:"secret_id_accessor"`
			TTL      int64  `json:"secret_id_ttl"` // seconds
		}
	}
	if err := c.do(ctx, call{method: http.MethodPost, path: "auth/approle/role/" + escape(role) + "/secret-id", in: map[string]any{}}, &got); err != nil {
		return SecretID{}, err
	}
	id := SecretID{Value: secret.FromString(got.Data.ID), Accessor: printable(got.Data.Accessor), TTL: seconds(got.Data.TTL), Role: role}
	if !usable(id.Value) {
		return SecretID{}, errRead
	}
	return id, nil
}

// DestroySecretID destroys a secret id of the client's own role; one that is gone is destroyed already. Tokens that it gave live on.
// The policy needs the right "update" on auth/approle/role/ROLE/secret-id-accessor/destroy. Kinds: Forbidden, Invalid.
func (c *Client) DestroySecretID(ctx context.Context, role, accessor string) error {
	if err := checkPath(role); err != nil {
		return err
	}
	err := c.do(ctx, call{method: http.MethodPost, path: "auth/approle/role/" + escape(role) + "/secret-id-accessor/destroy", in: map[string]any{"secret_id_accessor": accessor}}, nil)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// Logout ends the client's token. It needs no right.
func (c *Client) Logout(ctx context.Context) error {
	return c.do(ctx, call{method: http.MethodPost, path: "auth/token/revoke-self", in: map[string]any{}, again: true}, nil)
}
