package rack

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/wire"
)

// Timing of the session.
const (
	helloEvery = 15 * time.Second
	minBackoff = time.Second
	maxBackoff = 30 * time.Second
	dialTime   = 15 * time.Second
)

// connectLoop keeps a session to the region, coming back whenever it ends.
func (r *Rack) connectLoop(ctx context.Context) {
	wait := minBackoff
	for ctx.Err() == nil {
		began := r.Now()
		err := r.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if r.Now().Sub(began) > time.Minute {
			wait = minBackoff
		}
		r.Log.WarnContext(ctx, "no session to the region", "error", err, "retry_in", wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(wait*2, maxBackoff)
	}
}

// connect dials the region and serves one session to its end. With an expired certificate it renews that
// first, which is all the region then allows.
func (r *Rack) connect(ctx context.Context) error {
	r.mu.Lock()
	id := *r.id
	r.mu.Unlock()
	cfg, err := id.tls(wire.ALPN, r.Now)
	if err != nil {
		return err
	}
	dial, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(dial, "tcp", id.Region)
	if err != nil {
		return err
	}
	allow := func(m wire.Message) error {
		if m.From != wire.FromRegion {
			return fault.New(fault.Forbidden, "This message is not for a rack.")
		}
		return nil
	}
	s, err := wire.NewSession(conn, true, r.handlers(), allow, r.Log)
	if err != nil {
		_ = conn.Close()
		return err
	}
	defer func() { _ = s.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	leaf := cfg.Certificates[0].Leaf
	if r.Now().After(leaf.NotAfter) {
		return r.renew(ctx, s) // and connect again with the new one
	}
	if err := r.hello(ctx, s); err != nil {
		return err
	}
	if at, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		a := at.AddrPort().Addr().Unmap()
		r.regionAddr.Store(&a)
	}
	r.session.Store(s)
	defer r.session.CompareAndSwap(s, nil)
	r.Log.InfoContext(ctx, "connected to the region", "region", id.Region, "rack", id.SystemID)
	r.wantCert()
	tick := time.NewTicker(helloEvery)
	defer tick.Stop()
	renewAt := pki.RenewAt(leaf)
	for {
		select {
		case <-s.Done():
			return fault.New(fault.Unavailable, "The session ended.")
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := r.hello(ctx, s); err != nil {
			return err
		}
		if r.Now().After(renewAt) {
			if err := r.renew(ctx, s); err != nil {
				r.Log.WarnContext(ctx, "cannot renew the rack's certificate", "error", err)
				continue
			}
			r.mu.Lock()
			cert, err := r.id.certificate()
			r.mu.Unlock()
			if err != nil {
				return err
			}
			renewAt = pki.RenewAt(cert.Leaf)
		}
	}
}

func (r *Rack) hello(ctx context.Context, s *wire.Session) error {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	req := wire.HelloRequest{Protocol: wire.Protocol, Version: r.Version, Hostname: host, Interfaces: interfaces()}
	if snap := r.snapshot.Load(); snap != nil {
		req.SnapshotVersion = snap.Version
	}
	var resp wire.HelloResponse
	if err := s.Call(ctx, wire.Hello, req, &resp); err != nil {
		return err
	}
	if len(resp.Thresholds) <= detect.MaxThresholds {
		r.Tuning.Set(resp.Thresholds)
	}
	return nil
}

// renew gets a certificate for a fresh key and keeps both.
func (r *Rack) renew(ctx context.Context, s *wire.Session) error {
	key, der, err := newKey()
	if err != nil {
		return err
	}
	csr, err := pki.Request(key)
	if err != nil {
		return err
	}
	var resp wire.CertificateResponse
	if err := s.Call(ctx, wire.Renew, wire.CertificateRequest{CSR: csr}, &resp); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	next := *r.id
	next.Chain, next.CA, next.Key = resp.Certificate, resp.CA, der
	if _, err := next.certificate(); err != nil {
		return err
	}
	if err := next.save(r.Config.StateDir); err != nil {
		return err
	}
	r.id = &next
	r.Log.InfoContext(ctx, "rack certificate renewed", "expires", resp.Expires)
	return nil
}

// interfaces lists this host's interfaces with their global addresses.
func interfaces() []metal.ControllerInterface {
	list, err := net.Interfaces()
	if err != nil {
		return nil
	}
	out := []metal.ControllerInterface{}
	for _, n := range list {
		if n.Flags&net.FlagLoopback != 0 {
			continue
		}
		ci := metal.ControllerInterface{Name: n.Name, MAC: metal.MAC(n.HardwareAddr.String()), Up: n.Flags&net.FlagUp != 0, Addresses: []netip.Prefix{}}
		addrs, err := n.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			ipn, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(ipn.IP)
			if !ok || !ip.Unmap().IsGlobalUnicast() {
				continue
			}
			ones, _ := ipn.Mask.Size()
			ci.Addresses = append(ci.Addresses, netip.PrefixFrom(ip.Unmap(), ones))
		}
		out = append(out, ci)
	}
	return out
}
