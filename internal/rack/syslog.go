package rack

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/rack/syslog"
)

const (
	maxSyslog   = 16384       // lines that wait to be looked at
	syslogTells = time.Minute // how often the region is told that lines are left out
)

// serveSyslog receives machines' logs where that is configured, and has them looked at.
func (r *Rack) serveSyslog(ctx context.Context, run func(name string, fn func() error)) error {
	c := r.Config
	if r.ReadSyslog == nil || c.SyslogUDP == "" && c.SyslogTCP == "" && c.SyslogTLS == "" {
		return nil
	}
	from, err := c.SyslogNetworks()
	if err != nil {
		return err
	}
	lines := make(chan logs.Sent, maxSyslog)
	s := syslog.New(syslog.Config{Log: r.Log, Now: r.Now, Allowed: func(a netip.Addr) bool {
		return r.serves(a) || slices.ContainsFunc(from, func(n netip.Prefix) bool { return n.Contains(a) })
	},
		Take: func(line logs.Sent) bool {
			select {
			case lines <- line:
				return true
			default:
				return false
			}
		}})
	var names []string
	if c.SyslogUDP != "" {
		addr, err := net.ResolveUDPAddr("udp", c.SyslogUDP)
		if err != nil {
			return fmt.Errorf("cannot listen for syslog: %w", err)
		}
		conn, err := net.ListenUDP("udp", addr)
		if err != nil {
			return fmt.Errorf("cannot listen for syslog: %w", err)
		}
		names = append(names, "syslog udp "+conn.LocalAddr().String())
		run("syslog", func() error { return s.ServeUDP(ctx, conn) })
	}
	// The certificate is the one that machines know this rack by. TLS 1.2 is what RFC 5425's senders have at least.
	profile := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: r.certificate, SessionTicketsDisabled: true}
	for _, l := range []struct {
		name, address string
		tls           *tls.Config
	}{{"tcp", c.SyslogTCP, nil}, {"tls", c.SyslogTLS, profile}} {
		if l.address == "" {
			continue
		}
		var lc net.ListenConfig
		listener, err := lc.Listen(ctx, "tcp", l.address)
		if err != nil {
			return fmt.Errorf("cannot listen for syslog: %w", err)
		}
		names = append(names, "syslog "+l.name+" "+listener.Addr().String())
		run("syslog", func() error { return s.Serve(ctx, listener, l.tls) })
	}
	run("syslog", func() error {
		r.ReadSyslog(ctx, lines, func(x detect.HostReport) { r.heard.Put("syslog", x) })
		return nil
	})
	run("syslog", func() error { r.tellSyslog(ctx, names, s.Lost); return nil })
	return nil
}

// serves says whether an address is in a network that this rack serves.
func (r *Rack) serves(a netip.Addr) bool {
	s := r.snapshot.Load()
	if s == nil {
		return false
	}
	for _, v := range s.VLANs {
		for _, sub := range v.Subnets {
			if sub.CIDR.Contains(a) {
				return true
			}
		}
	}
	return false
}

// tellSyslog has the region know that syslog is received, and how many lines were left out, until the context ends.
func (r *Rack) tellSyslog(ctx context.Context, names []string, lost func() int64) {
	told := int64(-1)
	tick := time.NewTicker(syslogTells)
	defer tick.Stop()
	for {
		if n := lost(); n != told {
			told = n
			var states []detect.LogState
			for _, name := range names {
				s := detect.LogState{Name: name, State: detect.LogRead}
				if n > 0 {
					s.Note = fmt.Sprintf("%d lines left out since the start of the rack: too many at a time", n)
				}
				states = append(states, s)
			}
			r.found.Put("syslog", detect.HostReport{Logs: states})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
