package rack

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/telemetry"
)

// serveObservation serves what operators' programs see of a rack: metrics on the loopback, if that is wanted, and the profiler on a socket in
// the state folder. A rack without a profiler is one all the same.
func (r *Rack) serveObservation(ctx context.Context, run func(name string, fn func() error)) (err error) {
	run("profiles", func() error {
		if err := telemetry.Profiler(ctx, filepath.Join(r.Config.StateDir, "profile.sock"), r.Log); err != nil {
			r.Log.WarnContext(ctx, "no profiler", "error", err)
		}
		return nil
	})
	if r.Config.Metrics == "" {
		return nil
	}
	var token secret.Value
	if r.Config.MetricsToken != "" {
		if token, err = telemetry.ReadToken(r.Config.MetricsToken); err != nil {
			return err
		}
	}
	if err := telemetry.Loopback(r.Config.Metrics); err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", r.Config.Metrics)
	if err != nil {
		return fmt.Errorf("cannot listen for metrics: %w", err)
	}
	m := r.metrics()
	run("metrics", func() error { return m.Serve(ctx, l, token, r.Log) })
	return nil
}

func (r *Rack) metrics() *telemetry.Metrics {
	m := &telemetry.Metrics{}
	m.Process("rack", r.Version, r.Now())
	m.Gauge("metalward_rack_region_connected", "Whether this rack has a session to a region.", nil, func(_ context.Context, set func(float64, ...string)) error {
		connected := 0.
		if r.session.Load() != nil {
			connected = 1
		}
		set(connected)
		return nil
	})
	m.Gauge("metalward_rack_snapshot_version", "The version of what this rack serves from; 0 for none.", nil, func(_ context.Context, set func(float64, ...string)) error {
		version := 0.
		if s := r.snapshot.Load(); s != nil {
			version = float64(s.Version)
		}
		set(version)
		return nil
	})
	m.Gauge("metalward_rack_waiting", "What waits to be told to the region, by kind.", []string{"kind"}, func(_ context.Context, set func(float64, ...string)) error {
		set(float64(len(r.leases)), "leases")
		set(float64(len(r.security)), "security")
		return nil
	})
	m.Gauge("metalward_certificate_end_timestamp_seconds", "When each certificate of this rack ends, in seconds since 1970.", []string{"certificate"}, func(_ context.Context, set func(float64, ...string)) error {
		r.mu.Lock()
		cert, err := r.id.certificate()
		r.mu.Unlock()
		if err != nil {
			return err
		}
		set(float64(cert.Leaf.NotAfter.Unix()), "rack")
		if s := r.server.Load(); s != nil && s.cert.Leaf != nil {
			set(float64(s.cert.Leaf.NotAfter.Unix()), "machines' server")
		}
		return nil
	})
	return m
}
