package rack

import (
	"context"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/wire"
)

// foundEvery is how often the region is told what was found in logs, at most: it takes a report a second.
const foundEvery = 2 * time.Second

// foundLoop tells the region what detections found in logs, until the context ends: of each alert how it is now, however long the region was away. What the
// region refuses is lost, and said.
func (r *Rack) foundLoop(ctx context.Context, send func(context.Context, detect.HostReport) error) {
	tick := time.NewTicker(foundEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		from := &r.found
		report, lost, ok := from.Take()
		if !ok {
			from = &r.heard
			report, lost, ok = from.Take()
		}
		if !ok {
			continue
		}
		if lost > 0 {
			r.Log.WarnContext(ctx, "logs show more than the region could be told", "alerts_left_out", lost)
		}
		err := send(ctx, report)
		switch {
		case err == nil:
		case ctx.Err() != nil, fault.Is(err, fault.Unavailable), fault.Is(err, fault.Exhausted):
			from.Return(report)
		default:
			r.Log.ErrorContext(ctx, "the region refused what was found in logs", "error", err, "alerts", len(report.Alerts))
		}
	}
}

func (r *Rack) sendFound(ctx context.Context, report detect.HostReport) error {
	return r.Call(ctx, wire.HostAlerts, wire.HostAlertsRequest{Report: report}, nil)
}
