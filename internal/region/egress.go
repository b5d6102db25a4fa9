package region

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/gate"
)

// egress is the way out for requests that people make the server send: past this host and the networks that machines
// boot in.
func (r *Region) egress(cfg *config.Region) (c egress.Config, err error) {
	if c.Allowed, err = cfg.EgressAllowed(); err != nil {
		return c, err
	}
	c.Denied = r.inside
	if cfg.EgressCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(cfg.EgressCA)
	if err != nil {
		return c, fmt.Errorf("cannot read the authorities for outgoing requests: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return c, fault.Field("egress-ca", "%s holds no certificate in PEM form.", cfg.EgressCA)
	}
	c.Roots = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	return c, nil
}

// inside reports whether an address is this host's, or in a network in which racks serve machines. What cannot be
// found out is inside.
func (r *Region) inside(a netip.Addr) bool {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, o := range own {
		if n, ok := o.(*net.IPNet); ok && n.IP.Equal(a.AsSlice()) {
			return true
		}
	}
	ctx, cancel := context.WithTimeout(authz.AsSystem(context.Background(), "egress"), 5*time.Second)
	defer cancel()
	found := false
	err = r.Gate.View(ctx, authz.NetworkView, func(v *gate.Viewing) error {
		vlans, err := v.VLANs()
		if err != nil {
			return err
		}
		var booting []int64
		for _, x := range vlans {
			if x.DHCPOn {
				booting = append(booting, x.ID)
			}
		}
		subnets, err := v.Subnets()
		for _, x := range subnets {
			found = found || slices.Contains(booting, x.VLANID) && x.CIDR.Contains(a)
		}
		return err
	})
	return found || err != nil
}
