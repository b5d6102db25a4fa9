package gate

import (
	"context"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/store"
)

// Observation is a kind of write that leaves no audit event, because it comes by the thousand and decides
// nothing. What changes a machine's life cycle is never one. Adding a kind is reviewed like the role table.
type Observation string

// The observations, and who may make them.
const (
	SeenController Observation = "controller seen"       // rack
	SeenLeases     Observation = "leases"                // rack
	SeenPower      Observation = "power state"           // system, on a rack's word
	SeenOutput     Observation = "script output"         // an agent, for its own machine
	SeenSession    Observation = "session used"          // system
	SeenText       Observation = "machine text rendered" // system: derived from what is stored
	SeenAge        Observation = "old boots dropped"     // system
	SeenDelivery   Observation = "notification sent"     // system
	SeenSync       Observation = "RBAC service told"     // system: of pools, which changed through the gate
	SeenRights     Observation = "rights confirmed"      // system: an RBAC service said again what is granted already
	SeenACME       Observation = "certificate asked for" // system: progress and proofs; the certificate comes through the gate
	SeenVault      Observation = "Vault asked"           // system: how a region's Vault is
	SeenHost       Observation = "host checked"          // rack: what the checks of its own host found; decides nothing
	SeenOwnHost    Observation = "own host checked"      // system: likewise a region, and which administrators were told
	SeenAlerts     Observation = "alerts"                // system: what detections found in security events, and which administrators were told
	SeenHostAlerts Observation = "alerts of a host"      // rack: what detections found in logs that it reads; decides nothing
	SeenBlocks     Observation = "blocks"                // system: whose time is over, who would have been blocked, what controllers did with the list
)

var observers = map[Observation]authz.Kind{
	SeenController: authz.Rack, SeenLeases: authz.Rack, SeenPower: authz.System, SeenOutput: authz.Machine, SeenSession: authz.System,
	SeenText: authz.System, SeenAge: authz.System, SeenDelivery: authz.System, SeenSync: authz.System, SeenRights: authz.System, SeenACME: authz.System, SeenVault: authz.System, SeenHost: authz.Rack, SeenOwnHost: authz.System, SeenAlerts: authz.System, SeenHostAlerts: authz.Rack, SeenBlocks: authz.System,
}

// Observe writes an observation. The methods of Tx that observations use touch nothing; a transaction that
// touches an object is refused, so this door does not lead around the other.
func (g *Gate) Observe(ctx context.Context, kind Observation, fn func(tx *store.Tx, now time.Time) error) error {
	if want, ok := observers[kind]; !ok || authz.From(ctx).Kind != want {
		return fault.New(fault.Forbidden, "You are not allowed to report this.")
	}
	now := g.now().UTC().Truncate(time.Microsecond)
	return g.settle(ctx, func() error {
		return g.w.Do(ctx, func(tx *store.Tx) error { return fn(tx, now) }, func(tx *store.Tx) error {
			if n := len(tx.Touches()); n > 0 {
				return fault.New(fault.Internal, "An observation must not change objects.")
			}
			return nil
		})
	})
}
