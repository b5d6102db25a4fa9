// Package manual is the power driver for machines that people turn on and off by hand.
package manual

import (
	"context"
	"log/slog"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/power"
)

// Driver does nothing and says so.
type Driver struct{ log *slog.Logger }

// New makes the driver.
func New(log *slog.Logger) *Driver { return &Driver{log: log} }

// Name returns "manual".
func (d *Driver) Name() string { return "manual" }

// Do logs what a person has to do. The state is always unknown. Kinds: Invalid for an unknown action.
func (d *Driver) Do(ctx context.Context, req power.Request) (metal.PowerState, error) {
	if err := ctx.Err(); err != nil {
		return metal.PowerUnknown, err
	}
	switch req.Action {
	case metal.ActionQuery:
	case metal.ActionOn, metal.ActionOff, metal.ActionCycle:
		d.log.InfoContext(ctx, "power type manual: a person has to do it", "action", string(req.Action), "boot", string(req.Boot))
	default:
		return metal.PowerError, fault.New(fault.Invalid, "%q is not a power action.", req.Action)
	}
	return metal.PowerUnknown, nil
}
