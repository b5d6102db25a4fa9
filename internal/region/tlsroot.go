package region

import (
	"context"
	"io"
	"time"

	"github.com/metalward/metalward/internal/secret"
)

// HasTLSRoot reports whether the key of the site's root is in the instance.
func (r *Region) HasTLSRoot(ctx context.Context) (bool, error) { return r.site.HasRoot(ctx) }

// ExportTLSRoot writes the site's root, key included, encrypted for a recipient or with a passphrase. Kinds: Invalid, Conflict when the
// key is not here.
func (r *Region) ExportTLSRoot(ctx context.Context, out io.Writer, recipient string, passphrase secret.Value) error {
	to, err := recipientOf(recipient, passphrase)
	if err != nil {
		return err
	}
	v, err := r.site.ExportRoot(ctx)
	if err != nil {
		return err
	}
	return encrypt(out, to, v)
}

// RemoveTLSRoot takes the root's key out of the instance, once the file that ExportTLSRoot wrote has been opened. Kinds: Invalid, Conflict.
func (r *Region) RemoveTLSRoot(ctx context.Context, in io.Reader, identity, passphrase secret.Value) error {
	text, err := decrypt(in, identity, passphrase)
	if err != nil {
		return err
	}
	return r.site.RemoveRoot(ctx, secret.NewValue(text))
}

// ImportTLSRoot brings it back. Kinds: Invalid, Conflict.
func (r *Region) ImportTLSRoot(ctx context.Context, in io.Reader, identity, passphrase secret.Value) error {
	text, err := decrypt(in, identity, passphrase)
	if err != nil {
		return err
	}
	return r.site.ImportRoot(ctx, secret.NewValue(text))
}

// RenewTLSIssuer makes a new issuer below the root and returns when it ends. Kinds: Conflict when the root's key is not here.
func (r *Region) RenewTLSIssuer(ctx context.Context) (until time.Time, err error) {
	return r.site.RenewIssuer(ctx, r.now())
}
