package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

const (
	// maxTries of one request that the directory cannot answer now; after that the whole attempt is made again later.
	maxTries     = 3
	maxTryWait   = 10 * time.Second
	maxARIBytes  = 64 << 10
	maxErrorText = 300
)

// proof is what a directory finds here that shows that a name is ours. It is stored for the while that it is looked for, so
// that every region can show it: which one the directory's request reaches is not ours to say.
type proof struct {
	Name   string
	Token  string
	Answer string // of HTTP01
	Cert   []byte // of TLSALPN01: DER, and its key
	Key    []byte
}

func (s *Service) client(a account) (*acme.Client, error) {
	k, err := x509.ParsePKCS8PrivateKey(a.Key)
	if err != nil {
		return nil, err
	}
	key, ok := k.(crypto.Signer)
	if !ok {
		return nil, errors.New("cannot use the ACME account's key: it does not sign")
	}
	return &acme.Client{Key: key, HTTPClient: s.Client, DirectoryURL: a.Directory, UserAgent: "metalward", RetryBackoff: func(n int, _ *http.Request, _ *http.Response) time.Duration {
		if n > maxTries {
			return -1
		}
		return min(time.Second<<n, maxTryWait)
	}}, nil
}

// obtain gets a certificate with a new key.
func (s *Service) obtain(ctx context.Context, a account) (b pki.Bundle, err error) {
	c, err := s.client(a)
	if err != nil {
		return b, err
	}
	if err := register(ctx, c, a); err != nil {
		return b, err
	}
	order, err := c.AuthorizeOrder(ctx, acme.DomainIDs(a.Names...))
	if err != nil {
		return b, err
	}
	for _, at := range order.AuthzURLs {
		if err := s.prove(ctx, c, a, at); err != nil {
			return b, err
		}
	}
	at := order.URI
	if order, err = c.WaitOrder(ctx, at); err != nil {
		return b, err
	}
	order.URI = at // only the first answer says it
	key, err := pki.NewKey()
	if err != nil {
		return b, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: a.Names}, key)
	if err != nil {
		return b, err
	}
	chain, _, err := c.CreateCertFromOrder(ctx, order, csr, true)
	if err != nil {
		return b, err
	}
	return bundle(key, chain)
}

// register makes the directory know the account. It is asked each time, because an authority that was set up anew has
// forgotten it, and renewal must not end there.
func register(ctx context.Context, c *acme.Client, a account) error {
	_, err := c.GetReg(ctx, "")
	if !errors.Is(err, acme.ErrNoAccount) {
		return err
	}
	who := &acme.Account{}
	if a.Email != "" {
		who.Contact = []string{"mailto:" + a.Email}
	}
	if a.EABKid != "" {
		who.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: a.EABKid, Key: a.EABKey}
	}
	_, err = c.Register(ctx, who, acme.AcceptTOS)
	return err
}

// bundle takes what the directory issued as if somebody had brought it, with the same checks.
func bundle(key *ecdsa.PrivateKey, chain [][]byte) (b pki.Bundle, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return b, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, c := range chain {
		text = append(text, pki.EncodeCert(c)...)
	}
	return pki.ParseBundle(pki.Part{Name: "cert", Data: text})
}

// prove has the directory look at the proof for one name.
func (s *Service) prove(ctx context.Context, c *acme.Client, a account, at string) error {
	z, err := c.GetAuthorization(ctx, at)
	if err != nil || z.Status == acme.StatusValid {
		return err
	}
	var chal *acme.Challenge
	for _, x := range z.Challenges {
		if x.Type == a.Challenge {
			chal = x
		}
	}
	if chal == nil {
		return fault.New(fault.Invalid, "The directory does not offer the challenge %s for %s.", a.Challenge, metal.Printable(z.Identifier.Value, 253))
	}
	if !tokenForm.MatchString(chal.Token) {
		return fault.New(fault.Invalid, "The directory sent a token that is none.")
	}
	undo, err := s.present(ctx, c, a, proof{Name: z.Identifier.Value, Token: chal.Token})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTime)
		defer cancel()
		if err := undo(ctx); err != nil {
			s.Log.WarnContext(ctx, "cannot take back the proof for an ACME directory", "name", z.Identifier.Value, "error", err)
		}
	}()
	if _, err := c.Accept(ctx, chal); err != nil {
		return err
	}
	_, err = c.WaitAuthorization(ctx, z.URI)
	return err
}

// present puts a proof where the directory looks, and returns what takes it back.
func (s *Service) present(ctx context.Context, c *acme.Client, a account, p proof) (undo func(context.Context) error, err error) {
	switch a.Challenge {
	case DNS01:
		value, err := c.DNS01ChallengeRecord(p.Token)
		if err != nil {
			return nil, err
		}
		at := "_acme-challenge." + p.Name
		return func(ctx context.Context) error { return s.hook(ctx, a.Hook, "cleanup", p.Name, at, value) }, s.hook(ctx, a.Hook, "present", p.Name, at, value)
	case TLSALPN01:
		cert, err := c.TLSALPN01ChallengeCert(p.Token, p.Name)
		if err != nil {
			return nil, err
		}
		if p.Key, err = x509.MarshalPKCS8PrivateKey(cert.PrivateKey); err != nil {
			return nil, err
		}
		p.Cert = cert.Certificate[0]
	default:
		if p.Answer, err = c.HTTP01ChallengeResponse(p.Token); err != nil {
			return nil, err
		}
	}
	sealed, err := s.seal(challengeRef, p)
	if err != nil {
		return nil, err
	}
	undo = func(ctx context.Context) error {
		return s.Gate.Observe(ctx, gate.SeenACME, func(tx *store.Tx, _ time.Time) error { return tx.DropNote(challengeRef) })
	}
	return undo, s.Gate.Observe(ctx, gate.SeenACME, func(tx *store.Tx, now time.Time) error { return tx.PutNote(challengeRef, sealed, now) })
}

// tokenForm is RFC 8555 section 8.3's: base64url of at least 128 bits.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9_-]{22,128}$`)

// proof reads the proof that there is now. Strangers make it be read; that is one row, and only while ACME is set.
func (s *Service) proof(ctx context.Context) (p proof, found bool) {
	if s.acme.Load() == nil {
		return p, false
	}
	err := s.Gate.View(authz.AsSystem(ctx, "acme"), authz.TLSView, func(v *gate.Viewing) (err error) {
		found, err = s.open(v, challengeRef, &p)
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, "cannot read the proof for an ACME directory", "error", err)
	}
	return p, found && err == nil
}

// ACMEAnswer is what a directory that asks for a token by HTTP is told; empty for one that is not ours.
func (s *Service) ACMEAnswer(ctx context.Context, token string) string {
	if !tokenForm.MatchString(token) {
		return ""
	}
	if p, found := s.proof(ctx); found && p.Token == token {
		return p.Answer
	}
	return ""
}

// ACMECertificate is what a directory that asks by TLS is shown for a name; nil for one that it does not ask for now.
func (s *Service) ACMECertificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	p, found := s.proof(hello.Context())
	if !found || p.Cert == nil || !strings.EqualFold(strings.TrimSuffix(hello.ServerName, "."), p.Name) {
		return nil
	}
	key, err := x509.ParsePKCS8PrivateKey(p.Key)
	if err != nil {
		return nil
	}
	return &tls.Certificate{Certificate: [][]byte{p.Cert}, PrivateKey: key}
}

// explain says in words why an attempt failed: what the directory said, else what Explain makes of it.
func (s *Service) explain(err error) string {
	var denied *acme.AuthorizationError
	if errors.As(err, &denied) {
		for _, e := range denied.Errors {
			err = e
		}
	}
	var said *acme.Error
	var order *acme.OrderError
	switch {
	case errors.As(err, &said):
		return "The directory said: " + metal.Printable(strings.TrimPrefix(said.ProblemType, "urn:ietf:params:acme:error:")+": "+said.Detail, maxErrorText)
	case errors.As(err, &denied):
		return fmt.Sprintf("The directory refused the proof for %s.", metal.Printable(denied.Identifier, 253))
	case errors.As(err, &order):
		return "The directory gave up the order; it is " + metal.Printable(order.Status, 20) + "."
	case s.Explain != nil:
		return metal.Printable(s.Explain(err), maxErrorText)
	}
	return fault.Message(err)
}

// ask asks the directory now and then whether it wants the certificate renewed earlier, as when it has to revoke it. A
// directory that does not say so is no failure. Source: RFC 9773.
func (s *Service) ask(ctx context.Context, a account, p Progress) error {
	now, g := s.Now(), s.given.Load()
	if p.Done != a.ID || now.Before(p.AskAt) || g == nil {
		return nil
	}
	leaf := g.bundle.Chain[0]
	at, err := s.window(ctx, a, leaf)
	if err != nil {
		s.Log.DebugContext(ctx, "the ACME directory does not say when to renew", "error", err)
	}
	return s.Gate.Observe(ctx, gate.SeenACME, func(tx *store.Tx, now time.Time) error {
		var p Progress
		if _, err := s.open(tx, progressRef, &p); err != nil || p.Done != a.ID {
			return err
		}
		p.AskAt = now.Add(askEvery)
		if !at.IsZero() && at.Before(p.RenewAt) {
			p.RenewAt = at
		}
		return s.putProgress(tx, p, now)
	})
}

// window returns a moment within the time in which the directory wants a certificate renewed; zero if it does not say.
func (s *Service) window(ctx context.Context, a account, leaf *x509.Certificate) (at time.Time, err error) {
	var dir struct {
		RenewalInfo string `json:"renewalInfo"`
	}
	if err := s.fetch(ctx, a.Directory, &dir); err != nil || dir.RenewalInfo == "" || len(leaf.AuthorityKeyId) == 0 {
		return at, err
	}
	var info struct {
		Window struct {
			Start time.Time `json:"start"`
			End   time.Time `json:"end"`
		} `json:"suggestedWindow"`
	}
	if err := s.fetch(ctx, strings.TrimSuffix(dir.RenewalInfo, "/")+"/"+certID(leaf), &info); err != nil {
		return at, err
	}
	length := info.Window.End.Sub(info.Window.Start)
	if length <= 0 {
		return at, errors.New("cannot use a window that ends before it begins")
	}
	return info.Window.Start.Add(time.Duration(mathrand.Int64N(int64(length)))), nil // spreads the load: RFC 9773 section 4.2
}

// certID names a certificate to its directory: key identifier of its authority, and the bytes of its serial number in DER.
// Source: RFC 9773 section 4.1.
func certID(leaf *x509.Certificate) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc(leaf.AuthorityKeyId) + "." + enc(derInteger(leaf.SerialNumber))
}

// derInteger is the content of an ASN.1 INTEGER that is positive: a leading zero keeps it so.
func derInteger(n *big.Int) []byte {
	b := n.Bytes()
	if len(b) == 0 || b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	return b
}

func (s *Service) fetch(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot read %s: %s", address, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, maxARIBytes)).Decode(into)
}
