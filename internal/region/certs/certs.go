// Package certs knows the certificates of the site that people see: which one the pages and the API show, brought by
// somebody, of an ACME directory (acme.go, obtain.go) or of the site's own authority, and when each that the site depends on ends.
package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/secret"
)

// Service keeps the certificate of the pages and the API. Safe for concurrent use.
type Service struct {
	Config
	given    atomic.Pointer[given]   // nil: the site's own
	acme     atomic.Pointer[account] // nil: without ACME
	progress atomic.Pointer[Progress]
	hsts     atomic.Pointer[string]
	reminds  sync.Mutex      // held by Remind; guards told
	told     map[string]bool // what Remind looked at last, by ident
}

// given is a certificate that somebody brought, and the sealed form that it was read from.
type given struct {
	sealed []byte
	bundle pki.Bundle
	tls    *tls.Certificate
}

// Config is what the service is made of. Own and Tell may be nil in a command that only changes things.
type Config struct {
	Gate *gate.Gate
	Keys *secret.Safe
	Now  func() time.Time
	Log  *slog.Logger
	// Host is the name or address that people reach the site by.
	Host string
	// Roots are the authorities that clients know anyway: this host's.
	Roots *x509.CertPool
	// Own makes the server's certificate of the site's own authority anew if asked to, and returns it.
	Own func(again bool) (*tls.Certificate, error)
	// Authorities are the site's own, by what they are for.
	Authorities map[string]*x509.Certificate
	// Database is the certificate that the database's server shows; nil without TLS.
	Database func() *x509.Certificate
	// Seen has what other servers showed; nil in a command.
	Seen *Seen
	Tell Teller
	// Region is this one's id. Client reaches ACME directories, by the way out; nil in a command. Explain says in words,
	// safe to show, why a request failed.
	Region  string
	Client  *http.Client
	Explain func(error) string
}

// Issuer is what the authority below the site's own is for, which signs the regions' certificates.
const Issuer = "site's servers"

// Teller tells administrators something, for as long as it is so.
type Teller interface {
	// Keep tells it, or says it differently without telling those again who have dismissed it; again: tells all of them.
	Keep(ctx context.Context, n metal.Notification, again bool) error
	// Drop takes it back. It is no error if there is none of the ident.
	Drop(ctx context.Context, ident string) error
}

const (
	bundleRef secret.Ref = "site/tls"
	// renewalRef changes when the site's own certificate is to be made anew.
	renewalRef secret.Ref = "site/tls-renewal"
	// watchEvery is how long another region, or a command on the host, waits for its change to be in use here.
	watchEvery = 2 * time.Second
)

var target = authz.Target{Noun: authz.NounSite, ID: "site"}

// Part is one of the files that somebody brings.
type Part = pki.Part

// New makes the service.
func New(c Config) *Service { return &Service{Config: c} }

// Given returns the certificate that somebody brought; nil while the site shows its own.
func (s *Service) Given() *tls.Certificate {
	if g := s.given.Load(); g != nil {
		return g.tls
	}
	return nil
}

// Enable has the pages and the API show a certificate from now on: key, certificates and perhaps the authority's, in any
// order. Connections that are open stay. Kinds: Invalid, naming the file and what is wrong with it.
func (s *Service) Enable(ctx context.Context, parts ...Part) (st Status, err error) {
	b, err := pki.ParseBundle(parts...)
	if err != nil {
		return st, err
	}
	if err := b.Check(s.Host, s.Roots, s.Now()); err != nil {
		return st, err
	}
	plain, err := b.Marshal()
	if err != nil {
		return st, err
	}
	sealed, err := s.Keys.SealNow(ctx, bundleRef, plain)
	if err != nil {
		return st, err
	}
	err = s.Gate.Do(ctx, authz.TLSEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		c.Note("change", "certificate enabled")
		c.Note("fingerprint", pki.Fingerprint(b.Chain[0].Raw))
		c.Note("expires", b.Chain[0].NotAfter.UTC().Format(time.RFC3339))
		if err := c.Tx().DeleteSecret(target, accountRef); err != nil { // else a directory's would replace it
			return err
		}
		return c.Tx().PutSecret(target, bundleRef, sealed, c.Now())
	})
	if err != nil {
		return st, err
	}
	s.acme.Store(nil)
	s.given.Store(&given{sealed, b, b.TLS()})
	return s.status(ctx), nil
}

// Disable goes back to a certificate of the site's own authority, and ends ACME. TLS itself stays on. Kinds: Conflict when
// that is what it shows.
func (s *Service) Disable(ctx context.Context) error {
	err := s.Gate.Do(ctx, authz.TLSEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		c.Note("change", "certificate disabled")
		_, found, err := c.Tx().Secret(bundleRef)
		if err != nil {
			return err
		}
		_, acme, err := c.Tx().Secret(accountRef)
		if err == nil && !found && !acme {
			err = fault.New(fault.Conflict, "This site shows a certificate of its own authority already.")
		}
		if err != nil {
			return err
		}
		return errors.Join(c.Tx().DeleteSecret(target, bundleRef), c.Tx().DeleteSecret(target, accountRef))
	})
	if err == nil {
		s.acme.Store(nil)
		s.given.Store(nil)
	}
	return err
}

// Renew makes the site's own certificate anew, on every region, or has one get that of a directory at once. Kinds: Conflict
// for one that somebody brought.
func (s *Service) Renew(ctx context.Context) error {
	id := newID()
	return s.Gate.Do(ctx, authz.TLSEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		c.Note("change", "certificate renewed")
		if a, err := s.account(c.Tx()); err != nil {
			return err
		} else if a != nil {
			a.ID = id
			return s.putAccount(c, *a)
		}
		_, found, err := c.Tx().Secret(bundleRef)
		if err == nil && found {
			err = fault.New(fault.Conflict, "This certificate was brought here: enable the new one that its authority issues.")
		}
		if err != nil {
			return err
		}
		sealed, err := s.Keys.SealLocal(renewalRef, secret.Random(16))
		if err != nil {
			return err
		}
		return c.Tx().PutSecret(target, renewalRef, sealed, c.Now())
	})
}

// Load reads which certificate to show; it is done before the first connection, and by Run whenever it changes.
func (s *Service) Load(ctx context.Context) error {
	_, err := s.load(ctx, nil)
	return err
}

// load does so, and returns the mark of the last renewal. A certificate that cannot be read leaves the one in use alone.
func (s *Service) load(ctx context.Context, mark []byte) ([]byte, error) {
	var sealed, renewal []byte
	var found bool
	err := s.Gate.View(authz.AsSystem(ctx, "certs"), authz.TLSView, func(v *gate.Viewing) (err error) {
		if sealed, found, err = v.Secret(bundleRef); err == nil {
			var marked []byte
			var is bool
			if marked, is, err = v.Secret(renewalRef); err == nil && is { // its value: it may be sealed anew
				var v secret.Value
				v, err = s.Keys.Open(renewalRef, marked)
				renewal = v.Reveal()
			}
		}
		if err == nil {
			err = s.loadACME(v)
		}
		if err == nil {
			err = s.loadHSTS(v)
		}
		return err
	})
	if err != nil {
		return mark, err
	}
	if mark != nil && !bytes.Equal(mark, renewal) && s.Own != nil {
		if _, err := s.Own(true); err != nil {
			return mark, err
		}
	}
	was := s.given.Load()
	switch {
	case !found:
		s.given.Store(nil)
	case was == nil || !bytes.Equal(was.sealed, sealed):
		plain, err := s.Keys.OpenNow(ctx, bundleRef, sealed)
		if err != nil {
			return renewal, err
		}
		b, err := pki.ParseBundle(pki.Part{Name: "stored", Data: plain.Reveal()})
		if err != nil {
			return renewal, err
		}
		s.given.Store(&given{sealed, b, b.TLS()})
	}
	return append([]byte{}, renewal...), nil
}

// Run follows what other regions and commands on the host change, and tells administrators of certificates that end.
func (s *Service) Run(ctx context.Context) {
	mark, err := s.load(ctx, nil)
	var next time.Time
	for {
		if err != nil && ctx.Err() == nil {
			s.Log.Error("cannot read the certificate of pages and API", "error", err)
		}
		was := s.Given()
		if now := s.Now(); !now.Before(next) {
			if next, err = s.Remind(ctx, now); err != nil && ctx.Err() == nil {
				s.Log.Error("cannot tell of certificates that end", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(watchEvery):
		}
		if mark, err = s.load(ctx, mark); s.Given() != was {
			next = time.Time{} // a change is checked at once
		}
	}
}

// Status is what there is to say of the certificate that the pages and the API show.
type Status struct {
	Given     bool // somebody brought it, or a directory issued it
	Host      string
	Chain     []Described
	PEM       []byte // the chain, without the key
	Authority string // fingerprint of the site's own authority
	Warnings  []string
	Known     []Known
	ACME      *ACMEStatus // nil without
	// Challenges are the ways to prove a name, to choose from.
	Challenges []string
}

// Described is a certificate in words.
type Described struct {
	Subject, Issuer     string
	Names               []string
	NotBefore, NotAfter time.Time
	Fingerprint         string // SHA-256, hex
	Key                 string // such as "RSA 2048"
}

func describe(c *x509.Certificate) Described {
	d := Described{Subject: c.Subject.CommonName, Issuer: c.Issuer.CommonName, Names: pki.SANs(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter, Fingerprint: pki.Fingerprint(c.Raw), Key: "other"}
	if d.Issuer == "" {
		d.Issuer = c.Issuer.String()
	}
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		d.Key = fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		d.Key = "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		d.Key = "Ed25519"
	}
	return d
}

// Status tells which certificate is shown, and of all that the site depends on when they end.
func (s *Service) Status(ctx context.Context) (st Status, err error) {
	if err := s.Gate.View(ctx, authz.TLSView, func(*gate.Viewing) error { return nil }); err != nil {
		return st, err
	}
	err = s.Load(ctx)
	return s.status(ctx), err
}

func (s *Service) status(ctx context.Context) (st Status) {
	st.Host, st.Known, st.ACME = s.Host, s.known(ctx), s.acmeStatus()
	st.Challenges = []string{HTTP01, TLSALPN01, DNS01}
	if a := s.Authorities["site"]; a != nil {
		st.Authority = pki.Fingerprint(a.Raw)
	}
	now := s.Now()
	var chain []*x509.Certificate
	if g := s.given.Load(); g != nil {
		st.Given, chain = true, g.bundle.Chain
		if err := g.bundle.Check(s.Host, s.Roots, now); err != nil {
			st.Warnings = append(st.Warnings, fault.Message(err))
		}
		if g.bundle.Root == chain[0] {
			st.Warnings = append(st.Warnings, "It is its own authority: each client has to be told to trust it.")
		}
	} else if own := s.own(); own != nil {
		if chain = []*x509.Certificate{own}; s.Authorities[Issuer] != nil {
			chain = append(chain, s.Authorities[Issuer])
		}
		chain = append(chain, s.Authorities["site"])
		st.Warnings = append(st.Warnings, "It is of this site's own authority: browsers trust it where ca.pem was imported, the command line by --ca-fingerprint.")
	}
	if chain == nil && s.Authorities["site"] != nil { // a command on the host knows the authority alone
		chain = []*x509.Certificate{s.Authorities["site"]}
	}
	for _, c := range chain {
		st.Chain = append(st.Chain, describe(c))
		st.PEM = append(st.PEM, pki.EncodeCert(c.Raw)...)
	}
	return st
}

func (s *Service) own() *x509.Certificate {
	if s.Own == nil {
		return nil
	}
	c, err := s.Own(false)
	if err != nil {
		return nil
	}
	return c.Leaf
}
