package controllers_test

import (
	"context"
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/controllers"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/wire"
)

var stranger = authz.WithOrigin(context.Background(), authz.Origin{Source: "203.0.113.9"})

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("got %v (kind %s), want kind %s", err, fault.KindOf(err), kind)
	}
}

// TestEnrol joins a rack once, and leaves the trail of it.
func TestEnrol(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	client, server := c.TLSPair(t)
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	token := c.Mint(t, " Rack-One ")
	if token.RackName != "rack-one" || token.CA != c.Site.Web.Fingerprint() || !token.Expires.Equal(regiontest.Start.Add(controllers.TokenLife)) {
		t.Errorf("got token %+v", token)
	}
	req := regiontest.EnrolRequest(t, token, client, key)
	resp, err := c.Controllers.Enrol(stranger, req, server.ConnectionState())
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCerts(resp.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := c.Controllers.VerifyPeer(stranger, certs)
	if err != nil || peer.RackID != resp.SystemID || peer.Expired {
		t.Errorf("got peer %+v, %v", peer, err)
	}
	if !certs[0].NotAfter.Equal(regiontest.Start.Add(pki.RackLife)) || !resp.Expires.Equal(certs[0].NotAfter) || resp.Site != c.Site.ID {
		t.Errorf("got a certificate until %s, %+v", certs[0].NotAfter, resp)
	}
	_, err = c.Controllers.Enrol(stranger, req, server.ConnectionState())
	wantKind(t, err, fault.Unauthenticated) // used twice
	list, err := c.Controllers.List(c.Admin(t))
	if err != nil || len(list) != 1 || list[0].Hostname != "rack-one" || list[0].Type != metal.NodeRackController {
		t.Errorf("got controllers %+v, %v", list, err)
	}
	var outcomes []string
	for _, e := range c.Trail(t) {
		if e.Action == string(authz.RackEnrol) {
			outcomes = append(outcomes, e.Outcome+" "+e.Detail["reason"])
		}
	}
	if !slices.Equal(outcomes, []string{"success ", "denied token was used already"}) {
		t.Errorf("got trail %q", outcomes)
	}
}

// TestEnrolRefused gives nothing for a token that is wrong in any way (security requirement 1). All look the
// same from outside.
func TestEnrolRefused(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	client, server := c.TLSPair(t)
	elsewhere, _ := c.TLSPair(t)
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*wire.EnrolToken, *wire.EnrolRequest){
		"expired":          func(_ *wire.EnrolToken, _ *wire.EnrolRequest) { clock.Advance(controllers.TokenLife + time.Second) },
		"for another rack": func(tok *wire.EnrolToken, r *wire.EnrolRequest) { r.RackName = "other" },
		"rack name and key": func(tok *wire.EnrolToken, r *wire.EnrolRequest) {
			tok.RackName = "other"
			*r = regiontest.EnrolRequest(t, *tok, client, key)
		},
		"longer life": func(tok *wire.EnrolToken, r *wire.EnrolRequest) { r.Expires = r.Expires.Add(time.Hour) },
		"unknown id":  func(tok *wire.EnrolToken, r *wire.EnrolRequest) { r.ID = metal.NewSystemID() },
		"no key":      func(tok *wire.EnrolToken, r *wire.EnrolRequest) { r.Proof = nil },
		"guessed key": func(tok *wire.EnrolToken, r *wire.EnrolRequest) {
			tok.Key = make([]byte, 32)
			*r = regiontest.EnrolRequest(t, *tok, client, key)
		},
		"of another conn": func(tok *wire.EnrolToken, r *wire.EnrolRequest) {
			*r = regiontest.EnrolRequest(t, *tok, elsewhere, key)
		},
		"of another request": func(tok *wire.EnrolToken, r *wire.EnrolRequest) {
			r.CSR = regiontest.EnrolRequest(t, *tok, client, other).CSR
		},
		"made with the shared": func(tok *wire.EnrolToken, r *wire.EnrolRequest) {
			id, exp := metal.NewSystemID(), clock.Now().Add(time.Minute).Truncate(time.Second) // minted by nobody
			forged := wire.EnrolToken{ID: id, RackName: "r", Expires: exp, Key: wire.TokenKey(c.Shared, id, "r", exp)}
			*r = regiontest.EnrolRequest(t, forged, client, key)
		},
	} {
		token := c.Mint(t, "r")
		req := regiontest.EnrolRequest(t, token, client, key)
		change(&token, &req)
		resp, err := c.Controllers.Enrol(stranger, req, server.ConnectionState())
		if !fault.Is(err, fault.Unauthenticated) || len(resp.Certificate) != 0 || !strings.Contains(fault.Message(err), "not valid, was used already, or has expired") {
			t.Errorf("%s: got %v and a certificate of %d bytes", name, err, len(resp.Certificate))
		}
	}
	_, err = c.Controllers.Enrol(stranger, wire.EnrolRequest{CSR: []byte("x")}, server.ConnectionState())
	wantKind(t, err, fault.Invalid)
	if list, err := c.Controllers.List(c.Admin(t)); err != nil || len(list) != 0 {
		t.Errorf("got controllers %+v, %v", list, err)
	}
	for _, name := range []string{"", "a b", "-", strings.Repeat("x", 300), "a\nb"} {
		_, err := c.Controllers.MintToken(c.Admin(t), name)
		wantKind(t, err, fault.Invalid)
	}
	_, err = c.Controllers.MintToken(c.User(t, "alice", false), "r")
	wantKind(t, err, fault.Forbidden)
	_, err = c.Controllers.MintToken(stranger, "r")
	wantKind(t, err, fault.Forbidden)
}

// TestEnrolGuessing slows wrong tokens down, and no rack in another network.
func TestEnrolGuessing(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	client, server := c.TLSPair(t)
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	token := c.Mint(t, "r")
	right := regiontest.EnrolRequest(t, token, client, key)
	wrong := right
	wrong.Proof = make([]byte, len(right.Proof))
	compared := 0
	for range 1000 {
		_, err := c.Controllers.Enrol(stranger, wrong, server.ConnectionState())
		f, ok := fault.As(err)
		switch {
		case ok && f.Kind == fault.Unauthenticated:
			compared++
		case !ok || f.Kind != fault.Exhausted || f.RetryAfter <= 0:
			t.Fatalf("got %v, want Unauthenticated, or Exhausted with the time to wait", err)
		}
	}
	if t.Logf("%d of 1,000 were compared", compared); compared != 5 {
		t.Errorf("%d of 1,000 wrong proofs were compared, want 5", compared)
	}
	elsewhere := authz.WithOrigin(context.Background(), authz.Origin{Source: "198.51.100.1"})
	if _, err := c.Controllers.Enrol(elsewhere, right, server.ConnectionState()); err != nil {
		t.Errorf("the rack itself: %v", err)
	}
}

// TestTokenAtItsEnd works to the second and not after.
func TestTokenAtItsEnd(t *testing.T) {
	for after, ok := range map[time.Duration]bool{0: true, time.Second: false} {
		clock := regiontest.NewClock()
		c := regiontest.New(t, clock.Now)
		client, server := c.TLSPair(t)
		key, err := pki.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		req := regiontest.EnrolRequest(t, c.Mint(t, "r"), client, key)
		clock.Advance(controllers.TokenLife + after)
		if _, err := c.Controllers.Enrol(stranger, req, server.ConnectionState()); (err == nil) != ok {
			t.Errorf("%s after its end: got %v, want accepted %v", after, err, ok)
		}
	}
}

// TestVerifyPeer accepts certificates of our racks, in their time or within the grace for renewal.
func TestVerifyPeer(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	id, cert := c.Enrol(t, "r")
	gone, goneCert := c.Enrol(t, "gone")
	if err := c.Controllers.Remove(c.Admin(t), gone); err != nil {
		t.Fatal(err)
	}
	foreign, err := pki.NewCA("Metalward racks", nil, clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	issue := func(ca *pki.CA, site, path string) *x509.Certificate {
		return regiontest.ClientCertificate(t, ca, site, path, pki.RackLife, clock.Now()).Leaf
	}
	for name, leaf := range map[string]*x509.Certificate{
		"of another authority": issue(foreign, c.Site.ID, "/rack/"+id),
		"of the machines' CA":  issue(c.Site.Machines, c.Site.ID, "/rack/"+id),
		"of the site's CA":     issue(c.Site.Web, c.Site.ID, "/rack/"+id),
		"of another site":      issue(c.Site.Racks, "othersite", "/rack/"+id),
		"for a boot":           issue(c.Site.Racks, c.Site.ID, "/boot/"+id),
		"for an unknown rack":  issue(c.Site.Racks, c.Site.ID, "/rack/"+metal.NewSystemID()),
		"for no rack":          issue(c.Site.Racks, c.Site.ID, "/rack/"),
		"for a path below":     issue(c.Site.Racks, c.Site.ID, "/rack/"+id+"/x"),
		"of a removed rack":    goneCert.Leaf,
		"the authority's own":  c.Site.Racks.Cert,
		"the region's own":     c.ServerCertificate(t).Leaf,
	} {
		if peer, err := c.Controllers.VerifyPeer(stranger, []*x509.Certificate{leaf}); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: got %+v, %v; want Unauthenticated", name, peer, err)
		}
	}
	_, err = c.Controllers.VerifyPeer(stranger, nil)
	wantKind(t, err, fault.Unauthenticated)
	chain := []*x509.Certificate{cert.Leaf}
	end := cert.Leaf.NotAfter
	for _, at := range []struct {
		when    time.Time
		ok, old bool
	}{
		{regiontest.Start, true, false}, {end, true, false}, {end.Add(time.Second), true, true}, {end.Add(72 * time.Hour), true, true}, {end.Add(30 * 24 * time.Hour), true, true},
		{end.Add(30*24*time.Hour + time.Second), false, false},
	} {
		clock.Advance(at.when.Sub(clock.Now()))
		peer, err := c.Controllers.VerifyPeer(stranger, chain)
		if (err == nil) != at.ok || err == nil && (peer.Expired != at.old || peer.RackID != id) {
			t.Errorf("at %s after its end: got %+v, %v", at.when.Sub(end), peer, err)
		}
	}
}

// TestRenew keeps the certificate that was renewed until the new one is used, since that may have been lost on its way,
// and refuses every other.
func TestRenew(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	_, first := c.Enrol(t, "r")
	chain := []*x509.Certificate{first.Leaf}
	verify := func(chain []*x509.Certificate) controllers.Peer {
		t.Helper()
		p, err := c.Controllers.VerifyPeer(stranger, chain)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	renew := func(p controllers.Peer) []*x509.Certificate {
		t.Helper()
		resp, err := c.Controllers.Renew(authz.With(stranger, authz.Principal{Kind: authz.Rack, Name: p.RackID}), p, regiontest.CSR(t))
		if err != nil {
			t.Fatal(err)
		}
		certs, err := pki.ParseCerts(resp.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		return certs
	}
	old := verify(chain)
	lost := renew(old)
	kept := renew(verify(chain))
	_, err := c.Controllers.VerifyPeer(stranger, lost)
	wantKind(t, err, fault.Unauthenticated)
	verify(chain)
	for range 2 {
		verify(kept)
	}
	_, err = c.Controllers.VerifyPeer(stranger, chain)
	wantKind(t, err, fault.Unauthenticated)
	_, err = c.Controllers.Renew(authz.With(stranger, authz.Principal{Kind: authz.Rack, Name: old.RackID}), old, regiontest.CSR(t)) // over a session still open
	wantKind(t, err, fault.Unauthenticated)
	verify(kept)
	verify(renew(verify(kept)))
	_, err = c.Controllers.VerifyPeer(stranger, kept)
	wantKind(t, err, fault.Unauthenticated)
}

// TestHello records changes in the trail, signs of life not.
func TestHello(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	id, _ := c.Enrol(t, "r")
	ctx := regiontest.RackCtx(id)
	req := wire.HelloRequest{Protocol: wire.Protocol, Version: "1\x1b", Interfaces: []metal.ControllerInterface{{Name: "eth0", MAC: "52:54:00:00:00:01", Up: true,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("10.0.0.3/24"), netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("10.3.3.3/32"), netip.MustParsePrefix("2001:db8::1/64")}}}}
	hello := func(r wire.HelloRequest) error { return c.Controllers.Hello(ctx, id, r) }
	if err := hello(req); err != nil {
		t.Fatal(err)
	}
	model, err := c.Networks.Model(c.Admin(t))
	if err != nil || len(model.Subnets) != 1 || model.Subnets[0].CIDR.String() != "10.0.0.0/24" || len(model.VLANs) != 1 || model.VLANs[0].DHCPOn {
		t.Errorf("got model %+v, %v", model, err)
	}
	before := len(c.Trail(t))
	clock.Advance(15 * time.Second)
	for range 3 {
		if err := hello(req); err != nil {
			t.Fatal(err)
		}
	}
	ctl, err := c.Controllers.Get(c.Admin(t), id)
	if err != nil || !ctl.LastSeen.Equal(clock.Now()) || !ctl.Connected(clock.Now()) || ctl.Version != "1" {
		t.Errorf("got %+v, %v", ctl, err)
	}
	if n := len(c.Trail(t)) - before; n != 0 {
		t.Errorf("signs of life left %d audit events", n)
	}
	other := req
	other.Protocol = wire.Protocol + 1
	wantKind(t, hello(other), fault.Conflict)
	other = req
	other.Interfaces = make([]metal.ControllerInterface, 300)
	wantKind(t, hello(other), fault.Invalid)
	another, _ := c.Enrol(t, "another")
	wantKind(t, c.Controllers.Hello(ctx, another, req), fault.Forbidden) // not for another rack
}

// TestRemove takes a rack out: its session ends, its VLANs lose DHCP, its certificates are refused.
func TestRemove(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	r := c.AddRack(t, "r", netip.MustParsePrefix("10.0.0.2/24"))
	wantKind(t, c.Controllers.Remove(c.User(t, "alice", false), r.ID), fault.Forbidden)
	if err := c.Controllers.Remove(c.Admin(t), r.ID); err != nil {
		t.Fatal(err)
	}
	if !r.Closed() || len(c.Controllers.Connected()) != 0 {
		t.Error("the session goes on")
	}
	wantKind(t, c.Controllers.Call(context.Background(), r.ID, wire.Power, wire.PowerRequest{}, nil), fault.Unavailable)
	model, err := c.Networks.Model(c.Admin(t))
	if err != nil || model.VLANs[0].DHCPOn || model.VLANs[0].PrimaryRack != "" {
		t.Errorf("got VLAN %+v, %v", model.VLANs[0], err)
	}
	wantKind(t, c.Controllers.Remove(c.Admin(t), r.ID), fault.NotFound)
	_, err = c.Controllers.Get(c.Admin(t), r.ID)
	wantKind(t, err, fault.NotFound)
	if err := c.Controllers.RegisterRegion(stranger, metal.Controller{SystemID: regiontest.RegionID, Type: metal.NodeRegionController}); err != nil {
		t.Fatal(err)
	}
	wantKind(t, c.Controllers.Remove(c.Admin(t), regiontest.RegionID), fault.Invalid)
}

// TestRemovedElsewhere ends the session that a rack has with one region when it is removed on another, and no other rack's.
func TestRemovedElsewhere(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	gone, stays := c.AddRack(t, "gone", netip.MustParsePrefix("10.0.0.2/24")), c.AddRack(t, "stays", netip.MustParsePrefix("10.0.1.2/24"))
	other := controllers.New(controllers.Config{Gate: c.Gate, Site: c.Site, Network: c.Networks, Now: clock.Now, Log: regiontest.Silent})
	there := map[string]*closing{gone.ID: {}, stays.ID: {}}
	for id, l := range there {
		other.Attach(id, l)
	}
	for range 2 {
		if err := other.DropRemoved(t.Context()); err != nil || len(other.Connected()) != 2 {
			t.Fatalf("got %v, %v", other.Connected(), err)
		}
	}
	if err := c.Controllers.Remove(c.Admin(t), gone.ID); err != nil {
		t.Fatal(err)
	}
	if err := other.DropRemoved(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := other.Connected(); len(got) != 1 || got[0] != stays.ID || !there[gone.ID].closed || there[stays.ID].closed {
		t.Errorf("got %v, closed: %v and %v", got, there[gone.ID].closed, there[stays.ID].closed)
	}
}

// closing is a session that is only closed.
type closing struct{ closed bool }

func (*closing) Call(context.Context, wire.Message, any, any) error { return nil }
func (l *closing) Close() error                                     { l.closed = true; return nil }

// TestServeCertificate is for the addresses that the region knows, whatever is asked for.
func TestServeCertificate(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	r := c.AddRack(t, "r", netip.MustParsePrefix("10.0.0.2/24"))
	idle, _ := c.Enrol(t, "idle")
	resp, err := c.Controllers.ServeCertificate(r.Ctx(), r.ID, regiontest.CSR(t))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCerts(resp.Certificate)
	if err != nil || len(certs[0].IPAddresses) != 1 || certs[0].IPAddresses[0].String() != "10.0.0.2" || len(certs[0].DNSNames) != 0 {
		t.Fatalf("got %+v, %v", certs[0].IPAddresses, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(resp.CA)
	if _, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: "10.0.0.2", CurrentTime: clock.Now()}); err != nil {
		t.Error(err)
	}
	again, err := c.Controllers.MetadataCA(r.Ctx(), r.ID)
	if err != nil || string(again) != string(resp.CA) {
		t.Errorf("got another authority the second time: %v", err)
	}
	_, err = c.Controllers.ServeCertificate(regiontest.RackCtx(idle), idle, regiontest.CSR(t))
	wantKind(t, err, fault.Conflict)
	_, err = c.Controllers.MetadataCA(regiontest.RackCtx(idle), idle)
	wantKind(t, err, fault.Conflict)
}
