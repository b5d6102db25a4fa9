package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/mail"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// The ways to prove to a directory that a name is ours.
const (
	HTTP01    = "http-01"     // RFC 8555 section 8.3
	DNS01     = "dns-01"      // RFC 8555 section 8.4
	TLSALPN01 = "tls-alpn-01" // RFC 8737
)

// ACME says where the certificate of pages and API comes from, in place of one that somebody brings. Source: RFC 8555.
type ACME struct {
	Directory string
	Email     string // for the authority's letters; may be empty
	Challenge string
	Names     []string // the host's alone, if empty
	Hook      string   // the program of DNS01; only a command on the host sets it
	EABKid    string   // some authorities give customers a key and its id: RFC 8555 section 7.3.4
	EABKey    secret.Value
	AgreeTOS  bool
}

// ACMEStatus is what there is to say of it.
type ACMEStatus struct {
	Directory, Email, Challenge, Hook string
	Names                             []string
	Pending                           bool // set or asked for, and not got yet
	Progress
}

// account is what is sealed of ACME: the settings, and the key that the directory knows this site by.
type account struct {
	ID        string // another one whenever somebody sets it, or asks for renewal
	Directory string
	Email     string
	Challenge string
	Names     []string
	Hook      string
	EABKid    string
	EABKey    []byte
	Key       []byte // PKCS #8
}

// Progress is how far the regions are, which tell each other by it.
type Progress struct {
	Tried    string // the account's ID when a region last tried
	Done     string // and when it last got a certificate
	Failures int    // since then
	Error    string // the last one's, safe to show; empty when it went well
	At       time.Time
	RetryAt  time.Time
	RenewAt  time.Time
	AskAt    time.Time // the directory, whether it wants an earlier renewal
	Leader   string    // the region that tries now, until Lease ends
	Lease    time.Time
}

const (
	accountRef   secret.Ref = "site/acme"
	progressRef  secret.Ref = store.NotePrefix + "acme-progress"
	challengeRef secret.Ref = store.NotePrefix + "acme-challenge"

	maxACMENames = 100 // of one certificate. Source: Let's Encrypt, rate limits
	maxACMEText  = 2048

	// attemptTime is for a whole attempt, hooks included; a lease outlives it, so that two regions never try at once.
	attemptTime = 10 * time.Minute
	attemptHold = attemptTime + time.Minute
	// firstRetry grows threefold up to lastRetry: five in the first hour, which authorities allow. Source: Let's Encrypt,
	// rate limits, failed validations.
	firstRetry = time.Minute
	lastRetry  = 6 * time.Hour
	askEvery   = 6 * time.Hour // RFC 9773 section 4.3.3 recommends it
)

func (a *ACME) check(host string) error {
	u, err := url.Parse(a.Directory)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(a.Directory) > maxACMEText {
		return fault.Field("directory", "Give the https:// address of the directory, such as https://acme-v02.api.letsencrypt.org/directory.")
	}
	if m, err := mail.ParseAddress(a.Email); a.Email != "" && (err != nil || m.Address != a.Email || len(a.Email) > 254) {
		return fault.Field("email", "Give one e-mail address, or none.")
	}
	if !a.AgreeTOS {
		return fault.Field("agree_tos", "Authorities issue to those only who agree to their terms of service: read them, then say so.")
	}
	if a.Challenge == "" {
		a.Challenge = HTTP01
	}
	if a.Challenge != HTTP01 && a.Challenge != TLSALPN01 && a.Challenge != DNS01 {
		return fault.Field("challenge", "Choose http-01, tls-alpn-01 or dns-01.")
	}
	if (a.EABKid == "") != a.EABKey.Empty() {
		return fault.Field("eab_kid", "The id of the customer's key and the key go together.")
	}
	if _, err := a.eabKey(); err != nil || len(a.EABKid) > maxACMEText {
		return fault.Field("eab_key", "The customer's key is not in base64url form, as authorities give it.")
	}
	return a.checkNames(host)
}

func (a *ACME) checkNames(host string) error {
	if len(a.Names) == 0 {
		a.Names = []string{host}
	}
	if len(a.Names) > maxACMENames {
		return fault.Field("names", "There are %d names; a certificate has at most %d.", len(a.Names), maxACMENames)
	}
	for i, n := range a.Names {
		n = strings.ToLower(n)
		base, wild := strings.CutPrefix(n, "*.")
		switch {
		case wild && a.Challenge != DNS01:
			return fault.Field("names", "%.80q needs the challenge dns-01.", n)
		case !metal.ValidHostname(base) || strings.Trim(base, "0123456789.") == "":
			return fault.Field("names", "%.80q is no name that authorities issue to: give a full host name. If people reach the region by an address, start it with --public-host NAME.", n)
		}
		a.Names[i] = n
	}
	if (&x509.Certificate{DNSNames: a.Names}).VerifyHostname(host) != nil {
		return fault.Field("names", "%s, by which people reach this region, is not among the names.", host)
	}
	return nil
}

func (a *ACME) eabKey() ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(a.EABKey.RevealString()), "="))
}

// SetACME has the site get its certificate from a directory from now on, and renew it by itself. What is shown stays until
// the first is there. Kinds: Invalid, Forbidden for a hook that comes from elsewhere than the host.
func (s *Service) SetACME(ctx context.Context, a ACME) (st Status, err error) {
	if err := a.check(s.Host); err != nil {
		return st, err
	}
	if a.Hook != "" {
		// Who may change settings over the network is not thereby somebody who may run programs here.
		if authz.From(ctx).Kind != authz.System {
			return st, fault.New(fault.Forbidden, "The hook is set by metalward config-tls on the region's host.")
		}
		if !filepath.IsAbs(a.Hook) {
			return st, fault.Field("dns_hook", "Give the whole path of the program.")
		}
		if err := checkHook(a.Hook); err != nil {
			return st, err
		}
	}
	eab, err := a.eabKey()
	if err != nil {
		return st, err
	}
	// The closure may run again: what is random is made once.
	id := newID()
	k, err := pki.NewKey()
	if err != nil {
		return st, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return st, err
	}
	err = s.Gate.Do(ctx, authz.TLSEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		c.Note("change", "ACME enabled")
		c.Note("directory", a.Directory)
		c.Note("challenge", a.Challenge)
		c.Note("names", strings.Join(a.Names, " "))
		next := account{ID: id, Directory: a.Directory, Email: a.Email, Challenge: a.Challenge, Names: a.Names, Hook: a.Hook, EABKid: a.EABKid, EABKey: eab}
		was, err := s.account(c.Tx())
		if err != nil {
			return err
		}
		if was != nil && was.Directory == a.Directory {
			next.Key = was.Key
		}
		if was != nil && a.Hook == "" {
			next.Hook = was.Hook
		}
		if a.Challenge == DNS01 && next.Hook == "" {
			return fault.Field("challenge", "dns-01 needs a program that sets the records: run metalward config-tls acme --dns-hook PROGRAM on the region's host.")
		}
		if next.Key == nil {
			next.Key = key
		}
		return s.putAccount(c, next)
	})
	if err != nil {
		return st, err
	}
	return s.Status(ctx)
}

func newID() string { return base64.RawURLEncoding.EncodeToString(secret.Random(16).Reveal()) }

// secrets is what reads sealed secrets: both kinds of transaction.
type secrets interface {
	Secret(ref secret.Ref) ([]byte, bool, error)
}

// open reads a sealed JSON text; false when there is none.
func (s *Service) open(from secrets, ref secret.Ref, into any) (bool, error) {
	sealed, found, err := from.Secret(ref)
	if err != nil || !found {
		return false, err
	}
	plain, err := s.Keys.Open(ref, sealed)
	if err != nil {
		return false, err
	}
	return true, json.Unmarshal(plain.Reveal(), into)
}

// seal seals a JSON text that lives as long as an attempt.
func (s *Service) seal(ref secret.Ref, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return s.Keys.SealLocal(ref, secret.NewValue(text))
}

// account returns the settings; nil without ACME.
func (s *Service) account(from secrets) (*account, error) {
	var a account
	if found, err := s.open(from, accountRef, &a); err != nil || !found {
		return nil, err
	}
	return &a, nil
}

func (s *Service) putAccount(c *gate.Call, a account) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	sealed, err := s.Keys.Seal(accountRef, secret.NewValue(text))
	if err != nil {
		return err
	}
	return c.Tx().PutSecret(target, accountRef, sealed, c.Now())
}

func (s *Service) putProgress(tx *store.Tx, p Progress, now time.Time) error {
	sealed, err := s.seal(progressRef, p)
	if err != nil {
		return err
	}
	return tx.PutNote(progressRef, sealed, now)
}

// loadACME reads settings and progress into the service.
func (s *Service) loadACME(from secrets) error {
	a, err := s.account(from)
	if err != nil {
		return err
	}
	var p Progress
	if a != nil {
		if _, err := s.open(from, progressRef, &p); err != nil {
			return err
		}
	}
	s.acme.Store(a)
	s.progress.Store(&p)
	return nil
}

func (s *Service) acmeStatus() *ACMEStatus {
	a, p := s.acme.Load(), s.progress.Load()
	if a == nil || p == nil {
		return nil
	}
	st := &ACMEStatus{Directory: a.Directory, Email: a.Email, Challenge: a.Challenge, Hook: a.Hook, Names: slices.Clone(a.Names), Pending: p.Done != a.ID, Progress: *p}
	if p.Tried != a.ID { // what went before does not matter any more
		st.Error, st.RetryAt = "", time.Time{}
	}
	return st
}

// due tells whether a region has to try now.
func (p Progress) due(a account, region string, now time.Time) bool {
	switch {
	case p.Leader != "" && p.Leader != region && now.Before(p.Lease):
		return false
	case p.Tried != a.ID: // set or asked for since: no failure of before counts
		return true
	case now.Before(p.RetryAt):
		return false
	}
	return p.Done != a.ID || !now.Before(p.RenewAt)
}

// failed notes that an attempt failed.
func (p Progress) failed(a account, why string, now time.Time) Progress {
	if p.Tried != a.ID {
		p.Failures = 0
	}
	p.Failures++
	p.Tried, p.Error, p.At, p.RetryAt = a.ID, why, now, now.Add(backOff(p.Failures))
	return p.released()
}

// got notes that an attempt brought a certificate.
func (p Progress) got(a account, leaf *x509.Certificate, now time.Time) Progress {
	return Progress{Tried: a.ID, Done: a.ID, At: now, RenewAt: renewAt(leaf), AskAt: now.Add(askEvery)}
}

// renewAt is two thirds of a certificate's life, as its authority dates it.
func renewAt(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)
}

func (p Progress) released() Progress {
	p.Leader, p.Lease = "", time.Time{}
	return p
}

// backOff is how long to wait after so many failures in a row, at least one.
func backOff(failures int) time.Duration {
	wait := firstRetry
	for ; failures > 1 && wait < lastRetry; failures-- {
		wait *= 3
	}
	return min(wait, lastRetry)
}

// RunACME gets and renews the certificate until the context ends. Every region runs it; one at a time tries.
func (s *Service) RunACME(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "acme")
	for {
		if err := s.Turn(ctx); err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "cannot keep the certificate of an ACME directory", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(watchEvery):
		}
	}
}

// Turn tries if it is time. That the directory fails is noted where people see it and no error.
func (s *Service) Turn(ctx context.Context) error {
	ctx = authz.AsSystem(ctx, "acme")
	if err := s.Gate.View(ctx, authz.TLSView, func(v *gate.Viewing) error { return s.loadACME(v) }); err != nil {
		return err
	}
	a, p := s.acme.Load(), s.progress.Load()
	if a == nil || s.Client == nil {
		return nil
	}
	if !p.due(*a, s.Region, s.Now()) {
		return s.ask(ctx, *a, *p)
	}
	mine := false
	err := s.Gate.Observe(ctx, gate.SeenACME, func(tx *store.Tx, now time.Time) error {
		mine = false
		if err := s.loadACME(tx); err != nil {
			return err
		}
		if a, p = s.acme.Load(), s.progress.Load(); a == nil || !p.due(*a, s.Region, now) {
			return nil
		}
		mine = true
		held := *p
		held.Leader, held.Lease = s.Region, now.Add(attemptHold)
		return s.putProgress(tx, held, now)
	})
	if err != nil || !mine {
		return err
	}
	within, cancel := context.WithTimeout(ctx, attemptTime)
	b, err := s.obtain(within, *a)
	cancel()
	if err == nil {
		err = b.Check(s.Host, s.rootsFor(b), s.Now())
	}
	stopped := ctx.Err() != nil // this region ends
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err != nil {
		return s.note(ctx, *a, err, stopped)
	}
	return s.install(ctx, *a, b)
}

// rootsFor are the authorities by which a certificate of a directory is checked: the operator chose the directory, so where
// its chain ends is taken for an authority, known or not. Status warns of one that is not.
func (s *Service) rootsFor(b pki.Bundle) *x509.CertPool {
	pool := x509.NewCertPool()
	if s.Roots != nil {
		pool = s.Roots.Clone()
	}
	if last := b.Chain[len(b.Chain)-1]; last.IsCA {
		pool.AddCert(last)
	}
	return pool
}

// note writes down that an attempt failed, or that it was broken off because this region stops.
func (s *Service) note(ctx context.Context, a account, failure error, stopped bool) error {
	why := s.explain(failure)
	if !stopped {
		s.Log.WarnContext(ctx, "cannot get a certificate of an ACME directory", "directory", a.Directory, "error", failure)
	}
	return s.Gate.Observe(ctx, gate.SeenACME, func(tx *store.Tx, now time.Time) error {
		var p Progress
		if _, err := s.open(tx, progressRef, &p); err != nil || p.Leader != s.Region {
			return err
		}
		if p = p.released(); !stopped {
			p = p.failed(a, why, now)
		}
		return s.putProgress(tx, p, now)
	})
}

// install has every region show a certificate, unless somebody decided otherwise meanwhile.
func (s *Service) install(ctx context.Context, a account, b pki.Bundle) error {
	plain, err := b.Marshal()
	if err != nil {
		return err
	}
	sealed, err := s.Keys.SealNow(ctx, bundleRef, plain)
	if err != nil {
		return err
	}
	leaf := b.Chain[0]
	err = s.Gate.Do(ctx, authz.TLSEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		is, err := s.account(c.Tx())
		if err != nil {
			return err
		}
		var p Progress
		if _, err := s.open(c.Tx(), progressRef, &p); err != nil {
			return err
		}
		if is == nil || is.ID != a.ID || p.Leader != s.Region {
			return fault.New(fault.Conflict, "Somebody changed where the certificate comes from while the directory issued one, which is not used.")
		}
		c.Note("change", "certificate of ACME directory")
		c.Note("directory", a.Directory)
		c.Note("fingerprint", pki.Fingerprint(leaf.Raw))
		c.Note("expires", leaf.NotAfter.UTC().Format(time.RFC3339))
		if err := s.putProgress(c.Tx(), p.got(a, leaf, c.Now()), c.Now()); err != nil {
			return err
		}
		return c.Tx().PutSecret(target, bundleRef, sealed, c.Now())
	})
	if err != nil {
		// The lease must not outlive the attempt: what somebody set meanwhile is tried at once.
		return s.note(ctx, a, err, fault.Is(err, fault.Conflict))
	}
	s.given.Store(&given{bytes.Clone(sealed), b, b.TLS()})
	return nil
}
