// Package controllers knows the region and rack controllers: how a rack joins, who it is, whether it is there,
// and the sessions through which the region reaches it.
package controllers

import (
	"context"
	"crypto/hmac"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/site"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/throttle"
	"github.com/metalward/metalward/internal/wire"
)

// TokenLife is how long an enrolment token works.
const TokenLife = 15 * time.Minute

// Link is a connected rack.
type Link interface {
	Call(ctx context.Context, m wire.Message, req, resp any) error
	Close() error
}

// Network follows what racks say of their interfaces, inside the call that records it.
type Network interface {
	Discover(c *gate.Call, rackID string, ifaces []metal.ControllerInterface) error
	// Holds is told which snapshot a rack has.
	Holds(rackID string, version int64)
}

// Service knows the controllers. Safe for concurrent use.
type Service struct {
	gate    *gate.Gate
	site    *site.Site
	network Network
	now     func() time.Time
	log     *slog.Logger
	tokens  *throttle.Throttle

	mu    sync.Mutex
	links map[string]Link // by system id, guarded by mu
	// joined is told of a rack that connected.
	joined func(rackID string)
}

// Config is what the service is made of.
type Config struct {
	Gate    *gate.Gate
	Site    *site.Site
	Network Network
	Now     func() time.Time
	Log     *slog.Logger
	Joined  func(rackID string)
}

// New makes the service.
func New(c Config) *Service {
	if c.Joined == nil {
		c.Joined = func(string) {}
	}
	return &Service{tokens: throttle.New(throttle.Tokens), gate: c.Gate, site: c.Site, network: c.Network, now: c.Now, log: c.Log, links: map[string]Link{}, joined: c.Joined}
}

// EnrolCommand is what to run on a rack, given its token on standard input.
func EnrolCommand(baseURL string) string {
	return "metalward rack enrol --region " + baseURL + " --token-file -"
}

// MintToken makes an enrolment token for one rack. Kinds: Invalid, Forbidden.
func (s *Service) MintToken(ctx context.Context, rackName string) (wire.EnrolToken, error) {
	rackName = strings.ToLower(strings.TrimSpace(rackName))
	if !metal.ValidHostname(rackName) {
		return wire.EnrolToken{}, fault.Field("name", "Enter the rack's host name: letters, digits and '-'.")
	}
	t := wire.EnrolToken{ID: metal.NewSystemID(), RackName: rackName, CA: s.site.Web.Fingerprint()}
	err := s.gate.Do(ctx, authz.RackToken, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounEnrolment, ID: t.ID}); err != nil {
			return err
		}
		t.Expires = c.Now().Add(TokenLife).Truncate(time.Second)
		shared, err := s.site.Shared(&c.Tx().View)
		if err != nil {
			return err
		}
		t.Key = wire.TokenKey(shared.Current.Reveal(), t.ID, rackName, t.Expires)
		c.Note("rack", rackName)
		return c.Tx().AddEnrolment(metal.EnrolmentToken{ID: t.ID, RackName: rackName, Created: c.Now(), Expires: t.Expires})
	})
	return t, err
}

// Enrol spends a token for a rack's first certificate. Kinds: Unauthenticated for a token that is wrong,
// expired or spent: which of them is only in the trail; Exhausted with RetryAfter after too many of them.
func (s *Service) Enrol(ctx context.Context, req wire.EnrolRequest, conn tls.ConnectionState) (wire.EnrolResponse, error) {
	source := authz.OriginFrom(ctx).Source
	if wait := s.tokens.Wait(req.ID, source, s.now()); wait > 0 {
		return wire.EnrolResponse{}, &fault.Error{Kind: fault.Exhausted, Message: "Too many enrolments were refused; wait a moment and try again.", RetryAfter: wait}
	}
	resp, err := s.enrol(ctx, req, conn)
	if fault.Is(err, fault.Unauthenticated) {
		s.tokens.Fail(req.ID, source, s.now())
	}
	return resp, err
}

func (s *Service) enrol(ctx context.Context, req wire.EnrolRequest, conn tls.ConnectionState) (wire.EnrolResponse, error) {
	refused := fault.New(fault.Unauthenticated, "This enrolment token is not valid, was used already, or has expired. Make a new one with Add rack controller.")
	public, err := pki.PublicKey(req.CSR)
	if err != nil {
		return wire.EnrolResponse{}, err
	}
	proved, err := s.proved(ctx, req, conn)
	if err != nil {
		return wire.EnrolResponse{}, err
	}
	if !proved {
		s.gate.Security(ctx, "enrolment_refused", map[string]string{"reason": "wrong proof", "token": metal.Printable(req.ID, 32)})
		return wire.EnrolResponse{}, refused
	}
	resp := wire.EnrolResponse{SystemID: metal.NewSystemID(), Site: s.site.ID, CA: s.site.Web.PEM()}
	err = s.gate.Do(authz.AsSystem(ctx, "enrol"), authz.RackEnrol, func(c *gate.Call) error {
		c.Note("rack", req.RackName)
		token := authz.Target{Noun: authz.NounEnrolment, ID: req.ID}
		if err := c.Require(token); err != nil {
			return err
		}
		if err := c.Require(authz.Target{Noun: authz.NounController, ID: resp.SystemID}); err != nil {
			return err
		}
		rec, err := c.Tx().Enrolment(req.ID)
		if err != nil || rec.RackName != req.RackName || !rec.Expires.Equal(req.Expires) || c.Now().After(rec.Expires) {
			c.Note("reason", "unknown or expired token")
			return refused
		}
		if fresh, err := c.Tx().SpendEnrolment(req.ID); err != nil || !fresh {
			c.Note("reason", "token was used already")
			return orElse(err, refused)
		}
		now := c.Now()
		if resp.Certificate, err = s.site.Racks.Client(public, s.site.ID, "/rack/"+resp.SystemID, pki.RackLife, now); err != nil {
			return err
		}
		ctl := metal.Controller{SystemID: resp.SystemID, Hostname: req.RackName, Type: metal.NodeRackController, Created: now, LastSeen: now}
		if err := certInto(&ctl, resp.Certificate); err != nil {
			return err
		}
		resp.Expires = ctl.CertExpires
		return c.Tx().AddController(ctl)
	})
	return resp, err
}

// proved reports whether a request comes from who has the token: minted with the shared secret, or with the one that
// was rotated a short while ago.
func (s *Service) proved(ctx context.Context, req wire.EnrolRequest, conn tls.ConnectionState) (ok bool, err error) {
	var shared site.Shared
	err = s.gate.View(authz.AsSystem(ctx, "enrol"), authz.ControllerView, func(v *gate.Viewing) (err error) {
		shared, err = s.site.Shared(v.View)
		return err
	})
	if err != nil {
		return false, err
	}
	for _, key := range shared.Verifies(s.now()) {
		want, err := wire.EnrolProof(wire.TokenKey(key, req.ID, req.RackName, req.Expires), conn, req.CSR)
		if err != nil {
			return false, err
		}
		ok = ok || hmac.Equal(want, req.Proof)
	}
	return ok, nil
}

// RotateShared replaces the shared secret that tokens are minted with. With refuse, tokens that are out are worth
// nothing from now on; else they work until they expire, TokenLife at most. Kinds: Forbidden.
func (s *Service) RotateShared(ctx context.Context, refuse bool) (site.Shared, error) {
	overlap := TokenLife
	if refuse {
		overlap = 0
	}
	return s.site.RotateShared(ctx, s.now(), overlap)
}

// RevealShared shows the shared secret, which leaves an event. Kinds: Forbidden.
func (s *Service) RevealShared(ctx context.Context) (site.Shared, error) {
	return s.site.RevealShared(ctx)
}

func orElse(err, or error) error {
	if err != nil {
		return err
	}
	return or
}

func certInto(c *metal.Controller, chain []byte) error {
	certs, err := pki.ParseCerts(chain)
	if err != nil {
		return err
	}
	c.CertSerial, c.CertExpires = serialOf(certs[0]), certs[0].NotAfter
	return nil
}

func serialOf(cert *x509.Certificate) string { return cert.SerialNumber.Text(16) }

// Peer is who a client certificate of a rack proves.
type Peer struct {
	RackID  string
	Serial  string // of the certificate, hex
	Expired bool   // good for renewal alone
}

// VerifyPeer checks a rack's certificate: issued by our racks' authority, in its time or within the grace for
// renewal, of a rack that was not removed, and not replaced by a newer one that has been used. Kinds: Unauthenticated.
func (s *Service) VerifyPeer(ctx context.Context, chain []*x509.Certificate) (Peer, error) {
	no := func(format string, args ...any) (Peer, error) {
		return Peer{}, fault.New(fault.Unauthenticated, format, args...)
	}
	if len(chain) == 0 {
		return no("A client certificate is required.")
	}
	leaf, now := chain[0], s.now()
	at, expired := now, false
	if now.After(leaf.NotAfter) {
		at, expired = leaf.NotAfter, true
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: s.site.Racks.Pool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return no("The client certificate is not one of this instance's racks.")
	}
	path, ok := pki.Identity(leaf, s.site.ID)
	id, isRack := strings.CutPrefix(path, "/rack/")
	if !ok || !isRack {
		return no("The client certificate does not name a rack.")
	}
	var grace int
	var ctl metal.Controller
	err := s.gate.View(authz.AsSystem(ctx, "sessions"), authz.ControllerView, func(v *gate.Viewing) (err error) {
		if grace, err = v.SettingInt("metalward_rack_renewal_grace"); err != nil {
			return err
		}
		ctl, err = v.Controller(id)
		return err
	})
	switch {
	case fault.Is(err, fault.NotFound) || err == nil && ctl.Revoked:
		return no("The rack was removed.")
	case err != nil:
		return Peer{}, err
	case expired && now.Sub(leaf.NotAfter) > time.Duration(grace)*24*time.Hour:
		return no("The rack's certificate expired more than %d days ago; enrol it again.", grace)
	}
	p := Peer{id, serialOf(leaf), expired}
	if err := replaced(p, ctl); err != nil {
		return Peer{}, err
	}
	if p.Serial == ctl.CertSerial && ctl.PreviousSerial != "" {
		return p, s.retire(ctx, p)
	}
	return p, nil
}

// replaced refuses a certificate that the rack has a newer one for. Kinds: Unauthenticated.
func replaced(p Peer, ctl metal.Controller) error {
	if p.Serial == ctl.CertSerial || p.Serial == ctl.PreviousSerial {
		return nil
	}
	return fault.New(fault.Unauthenticated, "This certificate was replaced by a newer one. If the rack lost that, remove the rack and enrol it again.")
}

// retire makes the certificate before the newest worthless, now that the newest is in use.
func (s *Service) retire(ctx context.Context, p Peer) error {
	ctx = authz.With(ctx, authz.Principal{Kind: authz.Rack, Name: p.RackID})
	return s.gate.Do(ctx, authz.RackRenew, func(c *gate.Call) error {
		if err := c.Require(store.ControllerTarget(p.RackID)); err != nil {
			return err
		}
		ctl, err := c.Tx().Controller(p.RackID)
		if err != nil {
			return err
		}
		if ctl.CertSerial == p.Serial { // else it was renewed once more meanwhile
			c.Note("retired", ctl.PreviousSerial)
			ctl.PreviousSerial = ""
		}
		return c.Tx().PutController(ctl)
	})
}

// Renew issues a rack's next certificate for a fresh key. The one that the rack asks with stays good until the next
// is used. Kinds: Invalid, NotFound, Unauthenticated when that was replaced already.
func (s *Service) Renew(ctx context.Context, p Peer, csr []byte) (resp wire.CertificateResponse, err error) {
	public, err := pki.PublicKey(csr)
	if err != nil {
		return resp, err
	}
	err = s.gate.Do(ctx, authz.RackRenew, func(c *gate.Call) error {
		if err := c.Require(store.ControllerTarget(p.RackID)); err != nil {
			return err
		}
		ctl, err := c.Tx().Controller(p.RackID)
		if err != nil {
			return err
		}
		if err := replaced(p, ctl); err != nil {
			return err
		}
		if p.Expired {
			c.Note("event", "renewed_with_expired_certificate")
		}
		if resp.Certificate, err = s.site.Racks.Client(public, s.site.ID, "/rack/"+p.RackID, pki.RackLife, c.Now()); err != nil {
			return err
		}
		if err := certInto(&ctl, resp.Certificate); err != nil {
			return err
		}
		ctl.PreviousSerial = p.Serial
		resp.CA, resp.Expires = s.site.Web.PEM(), ctl.CertExpires
		return c.Tx().PutController(ctl)
	})
	return resp, err
}

// ServeCertificate issues the server certificate that a rack shows on its boot VLANs, for the addresses that
// the region knows it to have there, whatever the request asks for. Kinds: Conflict when it has none.
func (s *Service) ServeCertificate(ctx context.Context, rackID string, csr []byte) (resp wire.CertificateResponse, err error) {
	public, err := pki.PublicKey(csr)
	if err != nil {
		return resp, err
	}
	var ips []netip.Addr
	var nets []netip.Prefix
	err = s.gate.View(authz.AsSystem(ctx, "controllers"), authz.ControllerView, func(v *gate.Viewing) error {
		ips, nets, err = BootAddresses(v.View, rackID)
		return err
	})
	if err != nil {
		return resp, err
	}
	if len(ips) == 0 {
		return resp, fault.New(fault.Conflict, "No VLAN of this rack has DHCP turned on.")
	}
	now := s.now()
	ca, err := s.site.Metadata(ctx, rackID, nets, now)
	if err != nil {
		return resp, err
	}
	resp.Certificate, err = ca.Server(public, "metalward rack", nil, ips, pki.ServerLife, now)
	if err != nil {
		return resp, err
	}
	certs, err := pki.ParseCerts(resp.Certificate)
	if err != nil {
		return resp, err
	}
	resp.CA, resp.Expires = ca.PEM(), certs[0].NotAfter
	return resp, nil
}

// MetadataCA is the PEM of the authority that a rack's machines trust. Kinds: Conflict when it serves none.
func (s *Service) MetadataCA(ctx context.Context, rackID string) ([]byte, error) {
	var nets []netip.Prefix
	err := s.gate.View(authz.AsSystem(ctx, "controllers"), authz.ControllerView, func(v *gate.Viewing) (err error) {
		_, nets, err = BootAddresses(v.View, rackID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(nets) == 0 {
		return nil, fault.New(fault.Conflict, "No VLAN of this rack has DHCP turned on.")
	}
	ca, err := s.site.Metadata(ctx, rackID, nets, s.now())
	if err != nil {
		return nil, err
	}
	return ca.PEM(), nil
}

// BootAddresses returns a rack's addresses on the VLANs that it serves with DHCP, and their networks.
func BootAddresses(v *store.View, rackID string) (ips []netip.Addr, nets []netip.Prefix, err error) {
	ctl, err := v.Controller(rackID)
	if err != nil {
		return nil, nil, err
	}
	vlans, err := v.VLANs()
	if err != nil {
		return nil, nil, err
	}
	subnets, err := v.Subnets()
	if err != nil {
		return nil, nil, err
	}
	for _, sub := range subnets {
		i := slices.IndexFunc(vlans, func(v metal.VLAN) bool { return v.ID == sub.VLANID })
		if i < 0 || !vlans[i].DHCPOn || vlans[i].PrimaryRack != rackID {
			continue
		}
		for _, n := range ctl.Interfaces {
			for _, a := range n.Addresses {
				if sub.CIDR.Contains(a.Addr()) {
					ips = append(ips, a.Addr())
					nets = append(nets, sub.CIDR)
				}
			}
		}
	}
	return ips, nets, nil
}

// Hello records what a rack says of itself. The network model follows changed interfaces.
func (s *Service) Hello(ctx context.Context, rackID string, req wire.HelloRequest) error {
	if req.Protocol != wire.Protocol {
		return fault.New(fault.Conflict, "The rack speaks version %d of the protocol, the region %d: install the same release on both.", req.Protocol, wire.Protocol)
	}
	req.Hostname, req.Version = metal.Printable(req.Hostname, 253), metal.Printable(req.Version, 64)
	if len(req.Interfaces) > 256 {
		return fault.Field("interfaces", "A rack with more than 256 interfaces.")
	}
	s.network.Holds(rackID, req.SnapshotVersion)
	var same bool
	err := s.gate.View(authz.AsSystem(ctx, "controllers"), authz.ControllerView, func(v *gate.Viewing) error {
		ctl, err := v.Controller(rackID)
		same = ctl.Version == req.Version && slices.EqualFunc(ctl.Interfaces, req.Interfaces, sameInterface)
		return err
	})
	if err != nil {
		return err
	}
	if same {
		return s.gate.Observe(ctx, gate.SeenController, func(tx *store.Tx, now time.Time) error { return tx.SeeController(rackID, now) })
	}
	return s.gate.Do(ctx, authz.RackHello, func(c *gate.Call) error {
		if err := c.Require(store.ControllerTarget(rackID)); err != nil {
			return err
		}
		ctl, err := c.Tx().Controller(rackID)
		if err != nil {
			return err
		}
		ctl.Version, ctl.Interfaces, ctl.LastSeen = req.Version, req.Interfaces, c.Now()
		if err := c.Tx().PutController(ctl); err != nil {
			return err
		}
		return s.network.Discover(c, rackID, req.Interfaces)
	})
}

func sameInterface(a, b metal.ControllerInterface) bool {
	return a.Name == b.Name && a.MAC == b.MAC && a.Up == b.Up && slices.Equal(a.Addresses, b.Addresses)
}

// Attach makes a rack reachable through a session; an older session of the same rack is ended.
func (s *Service) Attach(rackID string, l Link) {
	s.mu.Lock()
	old := s.links[rackID]
	s.links[rackID] = l
	s.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	s.joined(rackID)
}

// Detach forgets a session that ended, unless a newer one took its place.
func (s *Service) Detach(rackID string, l Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links[rackID] == l {
		delete(s.links, rackID)
	}
}

// dropEvery is how long at most a rack that was removed on another region, or by a command on a host, keeps its session here. What it
// says is refused at once.
const dropEvery = 2 * time.Second

// Run ends sessions of racks that were removed elsewhere, until the context ends.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(dropEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.DropRemoved(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "cannot find out which racks were removed", "error", err)
		}
	}
}

// DropRemoved ends the sessions of racks that were removed.
func (s *Service) DropRemoved(ctx context.Context) error {
	connected := s.Connected()
	if len(connected) == 0 {
		return nil
	}
	var known []string
	if err := s.gate.View(authz.AsSystem(ctx, "sessions"), authz.ControllerView, func(v *gate.Viewing) (err error) {
		known, err = v.ControllerIDs()
		return err
	}); err != nil {
		return err
	}
	for _, id := range connected {
		if _, found := slices.BinarySearch(known, id); found {
			continue
		}
		s.mu.Lock()
		l := s.links[id]
		delete(s.links, id)
		s.mu.Unlock()
		if l != nil {
			_ = l.Close()
		}
	}
	return nil
}

// Connected lists the racks with a session, in order.
func (s *Service) Connected() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.links))
	for id := range s.links {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Call sends a message to a rack. Kinds: Unavailable when it is not connected, else the rack's.
func (s *Service) Call(ctx context.Context, rackID string, m wire.Message, req, resp any) error {
	s.mu.Lock()
	l := s.links[rackID]
	s.mu.Unlock()
	if l == nil {
		return fault.New(fault.Unavailable, "The rack controller is not connected.")
	}
	return l.Call(ctx, m, req, resp)
}

// List lists the controllers.
func (s *Service) List(ctx context.Context) (list []metal.Controller, err error) {
	err = s.gate.View(ctx, authz.ControllerView, func(v *gate.Viewing) (err error) {
		list, err = v.Controllers()
		return err
	})
	return list, err
}

// Get returns a controller that was not removed. Kinds: NotFound.
func (s *Service) Get(ctx context.Context, id string) (ctl metal.Controller, err error) {
	err = s.gate.View(ctx, authz.ControllerView, func(v *gate.Viewing) (err error) {
		if ctl, err = v.Controller(id); err == nil && ctl.Revoked {
			err = authz.NotFound(authz.NounController)
		}
		return err
	})
	return ctl, err
}

// Remove takes a rack out: its certificates are refused from now on and its session ends. VLANs that it
// served lose DHCP. Kinds: NotFound, Invalid.
func (s *Service) Remove(ctx context.Context, id string) error {
	return s.gate.Do(ctx, authz.ControllerEdit, func(c *gate.Call) error {
		if err := c.Require(store.ControllerTarget(id)); err != nil {
			return err
		}
		ctl, err := c.Tx().Controller(id)
		if err != nil || ctl.Revoked {
			return orElse(err, authz.NotFound(authz.NounController))
		}
		if ctl.Type != metal.NodeRackController {
			return fault.New(fault.Invalid, "A region controller cannot be removed.")
		}
		vlans, err := c.Tx().VLANs()
		if err != nil {
			return err
		}
		for _, v := range vlans {
			if v.PrimaryRack != id {
				continue
			}
			if err := c.Require(store.VLANTarget(v.ID)); err != nil {
				return err
			}
			v.PrimaryRack, v.DHCPOn = "", false
			if err := c.Tx().PutVLAN(v); err != nil {
				return err
			}
		}
		ctl.Revoked = true
		c.After(func() {
			s.mu.Lock()
			l := s.links[id]
			delete(s.links, id)
			s.mu.Unlock()
			if l != nil {
				_ = l.Close()
			}
		})
		return c.Tx().PutController(ctl)
	})
}

// RegisterRegion records the region controller itself.
func (s *Service) RegisterRegion(ctx context.Context, ctl metal.Controller) error {
	return s.gate.Do(authz.AsSystem(ctx, "region"), authz.ControllerEdit, func(c *gate.Call) error {
		if err := c.Require(store.ControllerTarget(ctl.SystemID)); err != nil {
			return err
		}
		old, err := c.Tx().Controller(ctl.SystemID)
		ctl.LastSeen = c.Now()
		if fault.Is(err, fault.NotFound) {
			ctl.Created = c.Now()
			return c.Tx().AddController(ctl)
		}
		if err != nil {
			return err
		}
		ctl.Created = old.Created
		return c.Tx().PutController(ctl)
	})
}
