package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// A check in steps reads so many rows at a time and rests between them, so that it takes a small part of the database however long the trail is.
const (
	stepRows = 500
	stepRest = 20 * time.Millisecond
	stepRuns = 3 // times that a chain is begun anew because its oldest part was pruned meanwhile
)

// VerifySteps checks every region's chain as Verify does, up to where each ended at the beginning, in short reads with rests between them. A chain that does not
// fit is a *Broken.
func VerifySteps(ctx context.Context, r *store.Reader, public ed25519.PublicKey) (n int64, err error) {
	var regions []string
	if err := r.View(ctx, func(v *store.View) (err error) { regions, err = v.AuditRegions(); return err }); err != nil {
		return 0, err
	}
	for _, region := range regions {
		for run := 1; ; run++ {
			rows, pruned, err := steps(ctx, r, region, public)
			if pruned && run < stepRuns {
				continue
			}
			if n += rows; err != nil {
				return n, err
			}
			break
		}
	}
	return n, nil
}

// steps checks one chain; pruned says that its beginning was taken away meanwhile, so that what was found means nothing.
func steps(ctx context.Context, r *store.Reader, region string, public ed25519.PublicKey) (rows int64, pruned bool, err error) {
	k := &checker{region: region, public: public}
	var points []store.Checkpoint
	var anchor store.Checkpoint
	// Rows and the checkpoint that covers them come in one transaction: what this read finds fits, and what comes later is the next check's.
	if err := r.View(ctx, func(v *store.View) (err error) {
		if points, err = v.Checkpoints(region); err != nil {
			return err
		}
		head, _, err := v.AuditHead(region)
		if err != nil {
			return err
		}
		a, ok, err := v.AuditAnchor(region)
		if err == nil && ok {
			anchor = a
			err = k.anchor(a)
		}
		last := anchor.Sequence
		if len(points) > 0 {
			last = max(last, points[len(points)-1].Sequence)
		}
		if err == nil && head > last {
			err = &Broken{region, last + 1, "no checkpoint covers it and what follows"}
		}
		return err
	}); err != nil || len(points) == 0 {
		return 0, false, err
	}
	end := points[len(points)-1].Sequence
	last := store.AuditRow{AuditEvent: metal.AuditEvent{Sequence: math.MinInt64}}
	for done := false; !done; {
		var page []store.AuditRow
		var now store.Checkpoint
		if err := r.View(ctx, func(v *store.View) (err error) {
			if now, _, err = v.AuditAnchor(region); err == nil {
				page, err = v.AuditChain(region, last.Sequence, last.ID, stepRows)
			}
			return err
		}); err != nil {
			return k.rows, false, err
		}
		if now != anchor {
			return 0, true, fmt.Errorf("cannot check the trail of region %s: it is pruned all the time", region)
		}
		done = len(page) < stepRows
		for _, row := range page {
			if row.Sequence > end {
				done = true
				break
			}
			if err := k.event(row.AuditEvent); err != nil {
				return k.rows, false, err
			}
			for len(points) > 0 && points[0].Sequence == row.Sequence {
				if err := k.checkpoint(points[0]); err != nil {
					return k.rows, false, err
				}
				points = points[1:]
			}
			last = row
		}
		if done {
			break
		}
		select {
		case <-ctx.Done():
			return k.rows, false, ctx.Err()
		case <-time.After(stepRest):
		}
	}
	for _, p := range points { // of rows that are not there
		if err := k.checkpoint(p); err != nil {
			return k.rows, false, err
		}
	}
	return k.rows, false, k.end()
}

// When a region checks the trail.
const (
	checkSettle = time.Minute // after the start
	checkEvery  = 24 * time.Hour
	checkAgain  = time.Hour // after a check that could not be made
)

// CheckLoop checks the trail after the start and daily until the context ends, says how that went, and tells of a trail that does not prove itself.
func CheckLoop(ctx context.Context, check func(context.Context) (int64, error), say func(rows int64, err error)) {
	for wait := checkSettle; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		rows, err := check(ctx)
		if ctx.Err() != nil {
			return
		}
		say(rows, err)
		wait = checkEvery
		if _, broken := errors.AsType[*Broken](err); err != nil && !broken {
			wait = checkAgain
		}
	}
}
