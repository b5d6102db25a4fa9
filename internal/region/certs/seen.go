package certs

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/metal"
)

// Seen keeps the certificates that other servers showed when the site talked to them: identity providers, Vault. It looks at what
// goes by and asks nobody. Safe for concurrent use.
type Seen struct {
	now func() time.Time
	mu  sync.Mutex
	by  map[string]sighting // by what the server is; guarded by mu
}

type sighting struct {
	leaf *x509.Certificate
	at   time.Time
}

// Limits of what is kept: the one that was not seen for longest goes first.
const (
	maxSeen    = 64
	maxSeenFor = 30 * day
	maxWhat    = 120 // bytes of a name
)

// NewSeen makes an empty one.
func NewSeen(now func() time.Time) *Seen { return &Seen{now: now, by: map[string]sighting{}} }

// Saw keeps the certificate of a server, such as "the Vault server": verified, or refused because it has ended.
func (s *Seen) Saw(what string, leaf *x509.Certificate) {
	if leaf == nil {
		return
	}
	what = metal.Printable(what, maxWhat)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by[what] = sighting{leaf, s.now()}
	for len(s.by) > maxSeen {
		oldest := ""
		for w, x := range s.by {
			if oldest == "" || x.at.Before(s.by[oldest].at) {
				oldest = w
			}
		}
		delete(s.by, oldest)
	}
}

// Connection is a tls.Config's VerifyConnection that keeps what one server shows and refuses nothing.
func (s *Seen) Connection(what string) func(tls.ConnectionState) error {
	return func(c tls.ConnectionState) error {
		s.Saw(what, c.PeerCertificates[0])
		return nil
	}
}

// list returns what is known of the servers, by name. A certificate that has ended since it was seen is left out: it may have been
// replaced, and the next connection tells.
func (s *Seen) list() (list []Known) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for what, x := range s.by {
		switch end := x.leaf.NotAfter; {
		case now.Sub(x.at) > maxSeenFor:
			delete(s.by, what)
		case now.Before(end) || !x.at.Before(end):
			sum := sha256.Sum256([]byte(what))
			list = append(list, Known{What: what, Described: describe(x.leaf), ident: "cert-seen-" + hex.EncodeToString(sum[:6])})
		}
	}
	slices.SortFunc(list, func(a, b Known) int { return cmp.Compare(a.What, b.What) })
	return list
}

// maxRacks bounds the racks whose certificates are listed: those that end first.
const maxRacks = 100

// racks are the certificates by which racks are known here. They renew themselves.
func racks(list []metal.Controller, life time.Duration) (known []Known) {
	list = slices.DeleteFunc(slices.Clone(list), func(c metal.Controller) bool { return c.CertExpires.IsZero() || c.CertSerial == "" })
	slices.SortFunc(list, func(a, b metal.Controller) int {
		return cmp.Or(a.CertExpires.Compare(b.CertExpires), strings.Compare(a.SystemID, b.SystemID))
	})
	for _, c := range list[:min(len(list), maxRacks)] {
		known = append(known, Known{What: "rack controller " + c.Hostname, Renews: true, ident: "cert-rack",
			Described: Described{Subject: "rack/" + c.SystemID, Issuer: "racks", NotBefore: c.CertExpires.Add(-life), NotAfter: c.CertExpires, Key: "ECDSA P-256"}})
	}
	return known
}
