package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/secret"
)

// Racks and clients know the site by its root, whose certificate signs nothing but an issuer's, which signs the regions'. The root's key is
// needed once in some years, when a new issuer is made: until then it may be kept elsewhere. An instance whose authority was made before
// there were issuers says in that certificate that none is below it; it goes on signing the regions' itself.

const (
	rootRef   secret.Ref = "site/ca/site-root"
	issuerRef secret.Ref = "site/ca/site"
)

// issuer reads what signs the regions' servers, made at first start, and renewed when two thirds of its life are over and the root's key
// is here.
func (s *Site) issuer(ctx context.Context, now time.Time) (*pki.CA, error) {
	read := func() (*pki.CA, error) {
		v, found, err := s.read(ctx, issuerRef)
		if err != nil || !found {
			return nil, err
		}
		return pki.ParseCA(v)
	}
	ca, err := read()
	if err != nil {
		return nil, fmt.Errorf("cannot load authority site: %w", err)
	}
	if ca == nil {
		v, err := s.secretOr(ctx, rootRef, func() (secret.Value, error) {
			root, err := pki.NewRoot(metal.SiteAuthority+s.ID[:8], now)
			if err != nil {
				return secret.Value{}, err
			}
			return root.Marshal()
		})
		if err != nil {
			return nil, fmt.Errorf("cannot make the root: %w", err)
		}
		if v, err = s.secretOr(ctx, issuerRef, func() (secret.Value, error) { return s.below(v, now) }); err != nil {
			return nil, fmt.Errorf("cannot make authority site: %w", err)
		}
		return pki.ParseCA(v)
	}
	if len(ca.Above) == 0 || now.Before(pki.RenewAt(ca.Cert)) {
		return ca, nil
	}
	switch _, err := s.RenewIssuer(ctx, now); {
	case fault.Is(err, fault.Conflict): // the root's key is elsewhere; its end is told like every certificate's
		return ca, nil
	case err != nil:
		return nil, err
	}
	return read()
}

// below makes an issuer below a root.
func (s *Site) below(root secret.Value, now time.Time) (secret.Value, error) {
	ca, err := pki.ParseCA(root)
	if err != nil {
		return secret.Value{}, err
	}
	issuer, err := ca.Below(metal.SiteAuthority+s.ID[:8]+" issuer", pki.IssuerLife, now)
	if err != nil {
		return secret.Value{}, err
	}
	return issuer.Marshal()
}

// read reads a secret of the site.
func (s *Site) read(ctx context.Context, ref secret.Ref) (v secret.Value, found bool, err error) {
	var sealed []byte
	if err := s.gate.View(authz.AsSystem(ctx, "site"), authz.PublicView, func(v *gate.Viewing) (err error) {
		sealed, found, err = v.Secret(ref)
		return err
	}); err != nil || !found {
		return v, false, err
	}
	v, err = s.keys.OpenNow(ctx, ref, sealed)
	return v, true, err
}

// write puts or, without a value, deletes a secret of the site, with a word for the trail.
func (s *Site) write(ctx context.Context, ref secret.Ref, v secret.Value, change string) error {
	return s.noted(ctx, change, func(c *gate.Call) error {
		if v.Empty() {
			return c.Tx().DeleteSecret(target, ref)
		}
		sealed, err := s.keys.Seal(ref, v)
		if err != nil {
			return err
		}
		return c.Tx().PutSecret(target, ref, sealed, c.Now())
	})
}

// noted runs fn, with a word for the trail.
func (s *Site) noted(ctx context.Context, change string, fn func(*gate.Call) error) error {
	return s.gate.Do(ctx, authz.SiteKeys, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		c.Note("root", change)
		return fn(c)
	})
}

// HasRoot reports whether the root's key is in the instance: in the way of an issuer, or, of an older instance, as the authority itself.
func (s *Site) HasRoot(ctx context.Context) (bool, error) {
	if len(s.Web.Above) == 0 {
		return true, nil
	}
	_, found, err := s.read(ctx, rootRef)
	return found, err
}

// errTied is of an instance that is older than issuers.
var errTied = fault.New(fault.Conflict, "This site's authority was made before there were roots apart from it, and says in its certificate that nothing is below it: its key has to stay.")

// ExportRoot returns the root, key included, for a file elsewhere. Kinds: Conflict when the key is not here, or has to stay.
func (s *Site) ExportRoot(ctx context.Context) (v secret.Value, err error) {
	if len(s.Web.Above) == 0 {
		return v, errTied
	}
	v, found, err := s.read(ctx, rootRef)
	if err == nil && !found {
		err = fault.New(fault.Conflict, "The root's key is not in this instance: it was taken out.")
	}
	if err != nil {
		return v, err
	}
	return v, s.noted(ctx, "exported", func(*gate.Call) error { return nil })
}

// RemoveRoot takes the root's key out of the instance; kept is what a file elsewhere has of it. Kinds: Invalid when that is not it;
// Conflict as ExportRoot.
func (s *Site) RemoveRoot(ctx context.Context, kept secret.Value) error {
	if len(s.Web.Above) == 0 {
		return errTied
	}
	if _, err := s.root(kept); err != nil {
		return err
	}
	if here, err := s.HasRoot(ctx); err != nil || !here {
		return errors.Join(err, fault.New(fault.Conflict, "The root's key is not in this instance: it was taken out."))
	}
	return s.write(ctx, rootRef, secret.Value{}, "removed")
}

// ImportRoot brings the root's key back. Kinds: Invalid when it is another's; Conflict for an instance that is older than issuers.
func (s *Site) ImportRoot(ctx context.Context, v secret.Value) error {
	if len(s.Web.Above) == 0 {
		return errTied
	}
	if _, err := s.root(v); err != nil {
		return err
	}
	return s.write(ctx, rootRef, v, "imported")
}

// root reads a root and holds it against the one that racks and clients know.
func (s *Site) root(v secret.Value) (*pki.CA, error) {
	ca, err := pki.ParseCA(v)
	if err != nil || !bytes.Equal(ca.Cert.Raw, s.Web.Anchor().Raw) {
		return nil, fault.New(fault.Invalid, "This is not the root of this site, with its key.")
	}
	return ca, nil
}

// RenewIssuer makes a new issuer below the root. Each region uses it from its next start; what the one before signed stays good.
// Kinds: Conflict when the root's key is not here.
func (s *Site) RenewIssuer(ctx context.Context, now time.Time) (until time.Time, err error) {
	if s.Web != nil && len(s.Web.Above) == 0 {
		return until, errTied
	}
	root, found, err := s.read(ctx, rootRef)
	if err != nil {
		return until, err
	}
	if !found {
		return until, fault.New(fault.Conflict, "The root's key is not in this instance: bring it back first.")
	}
	v, err := s.below(root, now)
	if err != nil {
		return until, err
	}
	ca, err := pki.ParseCA(v)
	if err != nil {
		return until, err
	}
	return ca.Cert.NotAfter, s.write(ctx, issuerRef, v, "issuer renewed")
}
