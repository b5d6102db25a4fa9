// Package site holds what makes an instance itself: its id and its certificate authorities, made at first
// start and kept sealed in the store.
package site

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/secret"
)

// Site is an instance's identity. Safe for concurrent use.
type Site struct {
	ID       string  // names the trust domain: spiffe://ID/…
	Web      *pki.CA // signs the region's own servers; below the root, but for instances that are older than that
	Racks    *pki.CA // signs racks' client certificates
	Machines *pki.CA // signs boots' client certificates

	gate *gate.Gate
	keys *secret.Safe
}

var target = authz.Target{Noun: authz.NounSite, ID: "site"}

// Load reads the instance's identity, or makes it at first start.
func Load(ctx context.Context, g *gate.Gate, keys *secret.Safe, now time.Time) (*Site, error) {
	ctx = authz.AsSystem(ctx, "site")
	s := &Site{gate: g, keys: keys}
	id, err := s.secretOr(ctx, "site/id", func() (secret.Value, error) { return secret.FromString(strings.ToLower(newID())), nil })
	if err != nil {
		return nil, err
	}
	s.ID = id.RevealString()
	for _, a := range []struct {
		name string
		into **pki.CA
	}{{"racks", &s.Racks}, {"machines", &s.Machines}} {
		if *a.into, err = s.authority(ctx, a.name, "Metalward "+a.name+" "+s.ID[:8], nil, now); err != nil {
			return nil, err
		}
	}
	s.Web, err = s.issuer(ctx, now)
	return s, err
}

func newID() string {
	sum := sha256.Sum256(secret.Random(32).Reveal())
	return hex.EncodeToString(sum[:8])
}

// Metadata returns the authority whose certificates a rack shows to machines: constrained to the rack's boot
// addresses, so that what deployed machines trust can vouch for nothing else. It is made when needed.
func (s *Site) Metadata(ctx context.Context, rackID string, permitted []netip.Prefix, now time.Time) (*pki.CA, error) {
	slices.SortFunc(permitted, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	sum := sha256.Sum256(fmt.Append(nil, permitted))
	name := "metadata/" + rackID + "/" + hex.EncodeToString(sum[:8])
	return s.authority(authz.AsSystem(ctx, "site"), name, "Metalward metadata "+rackID, permitted, now)
}

func (s *Site) authority(ctx context.Context, name, cn string, permitted []netip.Prefix, now time.Time) (*pki.CA, error) {
	v, err := s.secretOr(ctx, secret.Ref("site/ca/"+name), func() (secret.Value, error) {
		ca, err := pki.NewCA(cn, permitted, now)
		if err != nil {
			return secret.Value{}, err
		}
		return ca.Marshal()
	})
	if err != nil {
		return nil, fmt.Errorf("cannot load authority %s: %w", name, err)
	}
	return pki.ParseCA(v)
}

// secretOr reads a secret of the site, or makes and stores it. Of two regions that make one at the same
// moment the first wins and the other reads it.
func (s *Site) secretOr(ctx context.Context, ref secret.Ref, make func() (secret.Value, error)) (secret.Value, error) {
	var sealed []byte
	var found bool
	if err := s.gate.View(ctx, authz.PublicView, func(v *gate.Viewing) (err error) {
		sealed, found, err = v.Secret(ref)
		return err
	}); err != nil {
		return secret.Value{}, err
	}
	if found {
		return s.keys.OpenNow(ctx, ref, sealed)
	}
	fresh, err := make()
	if err != nil {
		return secret.Value{}, err
	}
	if sealed, err = s.keys.SealNow(ctx, ref, fresh); err != nil {
		return secret.Value{}, err
	}
	err = s.gate.Do(ctx, authz.SiteKeys, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		if there, found, err := c.Tx().Secret(ref); err != nil || found {
			sealed = there
			return err
		}
		c.Note("made", string(ref))
		return c.Tx().PutSecret(target, ref, sealed, c.Now())
	})
	if err != nil {
		return secret.Value{}, err
	}
	return s.keys.OpenNow(ctx, ref, sealed)
}
