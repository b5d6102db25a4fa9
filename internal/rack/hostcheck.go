package rack

import (
	"context"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/wire"
)

// When the rack's host is checked.
const (
	hostSettle = 10 * time.Second // after the start, which the check is not to delay
	hostEvery  = 24 * time.Hour
	hostAgain  = time.Hour   // after a check that could not be made
	hostResend = time.Minute // what the region has not taken
)

// hostLoop checks the rack's own host after the start, daily and when somebody wants it, and tells the region, until the context ends. What the
// region cannot take now it is sent later, and when an hour has gone by that way the host is looked at anew: the region takes a report for one of
// now. What it refuses it is not sent again.
func (r *Rack) hostLoop(ctx context.Context, send func(context.Context, guard.HostReport) error) {
	if r.CheckHost == nil {
		return
	}
	wait := hostSettle
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-r.recheck:
		}
		wait = r.checkHost(ctx, send)
	}
}

// checkHost checks the host and tells the region. It returns in how long to do that again.
func (r *Rack) checkHost(ctx context.Context, send func(context.Context, guard.HostReport) error) time.Duration {
	report := r.CheckHost(ctx)
	if report.Problem != "" && ctx.Err() == nil {
		r.Log.WarnContext(ctx, "this host could not be checked", "error", report.Problem)
	}
	for began := r.Now(); ; {
		err := send(ctx, report)
		switch {
		case err == nil && report.Problem == "":
			return hostEvery
		case err == nil:
			return hostAgain
		case !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Exhausted):
			r.Log.WarnContext(ctx, "the region did not take what the check of this host found", "error", err)
			return hostEvery
		case r.Now().Sub(began) > hostAgain:
			return 0
		}
		select {
		case <-ctx.Done():
			return hostEvery
		case <-time.After(hostResend):
		}
	}
}

// sendHost tells the region what the check of this host found.
func (r *Rack) sendHost(ctx context.Context, report guard.HostReport) error {
	return r.Call(ctx, wire.HostChecks, wire.HostChecksRequest{Report: report}, nil)
}
