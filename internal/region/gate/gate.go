// Package gate is the one door for change. A mutating call names its action and hands over a function; the
// gate authorizes, opens the write transaction, and writes exactly one audit event: success inside the same
// transaction, a denial or failure in one of its own.
//
// Nothing else holds the store's Writer, so there is no way around. Inside, a call must Require the action on
// each object that it changes; the store records what was touched, before and after, and Do refuses to commit
// unless everything touched is covered by what was required.
package gate

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/audit"
	"github.com/metalward/metalward/internal/region/store"
)

// Gate is the door. Safe for concurrent use.
type Gate struct {
	region string
	r      *store.Reader
	w      *store.Writer
	log    *slog.Logger
	now    func() time.Time
	key    ed25519.PrivateKey
	noise  *noise
	// changed is told, after commit, which objects a call touched.
	changed   func([]authz.Target)
	told      func(authz.Principal, authz.Origin, metal.AuditEvent)
	unwritten func(authz.Principal, authz.Origin, metal.AuditEvent)
	settle    func(ctx context.Context, run func() error) error
}

// Config is what a gate is made of.
type Config struct {
	Region string // system id of this region controller: whose chain its events join
	Reader *store.Reader
	Writer *store.Writer
	Log    *slog.Logger
	Now    func() time.Time
	// Key signs the trail's checkpoints.
	Key ed25519.PrivateKey
	// Changed is called after every commit with the objects that were touched; it must not block.
	Changed func([]authz.Target)
	// Told is called with every event once it is in the trail; it must not block.
	Told func(authz.Principal, authz.Origin, metal.AuditEvent)
	// Noise is called with every event of strangers that is counted and not written, so that who counts guesses sees each when it happens; it must not block.
	Noise func(authz.Principal, authz.Origin, metal.AuditEvent)
	// Settle runs a transaction again when it needs a secret that has to be fetched or written elsewhere first, once that is done:
	// secret.Safe.Settle. Without it transactions run once.
	Settle func(ctx context.Context, run func() error) error
}

// New makes a gate. It is the only user of the Writer.
func New(c Config) *Gate {
	g := &Gate{region: c.Region, r: c.Reader, w: c.Writer, log: c.Log, now: c.Now, key: c.Key, noise: newNoise(), changed: c.Changed, told: c.Told, unwritten: c.Noise, settle: c.Settle}
	if g.now == nil {
		g.now = time.Now
	}
	if g.settle == nil {
		g.settle = func(_ context.Context, run func() error) error { return run() }
	}
	if g.changed == nil {
		g.changed = func([]authz.Target) {}
	}
	if g.unwritten == nil {
		g.unwritten = func(authz.Principal, authz.Origin, metal.AuditEvent) {}
	}
	if g.told == nil {
		g.told = func(authz.Principal, authz.Origin, metal.AuditEvent) {}
	}
	return g
}

// Call is a mutating call under way.
type Call struct {
	ctx       context.Context
	principal authz.Principal
	action    authz.Action
	now       time.Time
	tx        *store.Tx
	passed    []authz.Target
	target    authz.Target // first required: what the trail names
	note      map[string]string
	after     []func()
}

// Tx is the write transaction.
func (c *Call) Tx() *store.Tx { return c.tx }

// Now is the time of the call, the same throughout, with the store's precision.
func (c *Call) Now() time.Time { return c.now }

// Principal is who calls.
func (c *Call) Principal() authz.Principal { return c.principal }

// Require checks the call's action on an object. Kinds: Forbidden, or NotFound where existence is private.
func (c *Call) Require(t authz.Target) error {
	if c.target.Noun == "" {
		c.target = t
	}
	if err := authz.Decide(c.principal, c.action, t).Err(t); err != nil {
		return &denied{err}
	}
	c.passed = append(c.passed, t)
	return nil
}

// Can reports whether the principal may take the call's action on an object, without covering it.
func (c *Call) Can(t authz.Target) bool { return authz.Decide(c.principal, c.action, t) == authz.Allow }

// Note adds a detail to the audit event. Never a secret.
func (c *Call) Note(key, value string) { c.note[key] = value }

// After runs fn once the call has committed: waking a worker, telling a rack. It must not block.
func (c *Call) After(fn func()) { c.after = append(c.after, fn) }

// denied marks a refusal by policy, so that the trail tells it from other failures.
type denied struct{ error }

func (d *denied) Unwrap() error { return d.error }

// Do runs fn as a mutating call. fn may run more than once and has no side effects but through the Call.
// Errors are those of fn; Forbidden or NotFound from Require; Internal if fn touched what it did not require.
func (g *Gate) Do(ctx context.Context, action authz.Action, fn func(*Call) error) error {
	var c *Call
	var done metal.AuditEvent
	ended := false
	defer func() { // a panic in fn rolled back; it leaves its event and goes on up
		if !ended && c != nil {
			g.record(ctx, c, errors.New("panic"))
		}
	}()
	first := g.call(ctx, action) // the time of the call is the same however often it runs: what is sealed may have it in it
	err := g.settle(ctx, func() error {
		return g.w.Do(ctx, func(tx *store.Tx) error {
			c = g.call(ctx, action)
			c.tx, c.now = tx, first.now
			return fn(c)
		}, func(tx *store.Tx) error {
			if err := c.covered(); err != nil {
				return err
			}
			done = g.event(c, authz.OriginFrom(ctx), metal.OutcomeSuccess, nil)
			return tx.AppendAudit(done)
		})
	})
	ended = true
	if c == nil { // the transaction did not even start
		c = first
	}
	if err != nil {
		g.record(ctx, c, err)
		return err
	}
	touched := make([]authz.Target, 0, len(c.tx.Touches()))
	for _, t := range c.tx.Touches() {
		touched = append(touched, t.Target)
	}
	g.changed(touched)
	g.told(c.principal, authz.OriginFrom(ctx), done)
	for _, fn := range c.after {
		fn()
	}
	return nil
}

func (g *Gate) call(ctx context.Context, action authz.Action) *Call {
	return &Call{ctx: ctx, principal: authz.From(ctx), action: action, now: g.now().UTC().Truncate(time.Microsecond), note: map[string]string{}}
}

// covered holds what was touched against what was required.
func (c *Call) covered() error {
	if len(c.passed) == 0 {
		return fmt.Errorf("cannot commit %s: it required nothing", c.action)
	}
	created := map[authz.Target]bool{} // allowed creations: the call may go on changing what it made
	for _, t := range c.tx.Touches() {
		if !authz.MayTouch(c.action, t.Noun) {
			return fmt.Errorf("cannot commit %s: it changed %s, a noun that its action does not declare", c.action, t.Target)
		}
		key := authz.Target{Noun: t.Noun, ID: t.ID, Pool: t.Pool}
		switch {
		case created[key]:
		case !covers(c.passed, t):
			return fmt.Errorf("cannot commit %s: it changed %s in pool %d, which it did not require", c.action, t.Target, t.Pool)
		case t.Created:
			created[key] = true
		}
	}
	return nil
}

// covers reports whether one of the required objects is the touched one: same noun, id and pool. A required
// object without an id stands for those that the call creates in that pool.
func covers(passed []authz.Target, t store.Touch) bool {
	for _, p := range passed {
		if p.Noun == t.Noun && p.Pool == t.Pool && (p.ID == t.ID || p.ID == "" && t.Created) {
			return true
		}
	}
	return false
}

func (g *Gate) event(c *Call, o authz.Origin, outcome string, err error) metal.AuditEvent {
	e := metal.AuditEvent{Region: g.region, Time: c.now, Principal: c.principal.String(), Action: string(c.action), Target: c.target.String(),
		Outcome: outcome, Source: o.Source, RequestID: o.RequestID, Detail: c.note}
	if err != nil {
		e.Detail = map[string]string{"error": fault.Message(err)}
		for k, v := range c.note {
			e.Detail[k] = v
		}
	}
	return audit.Clean(e)
}

// record writes the audit event of a call that did not commit. The noise of strangers is bounded.
func (g *Gate) record(ctx context.Context, c *Call, cause error) {
	if errors.Is(cause, context.Canceled) && ctx.Err() != nil {
		cause = fault.New(fault.Unavailable, "The caller went away.")
	}
	outcome := metal.OutcomeFailed
	var d *denied
	if errors.As(cause, &d) || fault.Is(cause, fault.Unauthenticated) || fault.Is(cause, fault.Forbidden) {
		outcome = metal.OutcomeDenied
	}
	e := g.event(c, authz.OriginFrom(ctx), outcome, cause)
	if c.principal.Kind == authz.Anonymous || c.principal.Kind == "" {
		if !g.heard(ctx, e) {
			return
		}
	}
	g.append(ctx, e)
}

// heard decides whether an event of somebody who is bounded is written; who counts hears of it anyway.
func (g *Gate) heard(ctx context.Context, e metal.AuditEvent) bool {
	if g.noise.filter(e) {
		return true
	}
	g.unwritten(authz.From(ctx), authz.OriginFrom(ctx), e)
	return false
}

// append writes events in a transaction of their own, even if the caller is gone.
func (g *Gate) append(ctx context.Context, events ...metal.AuditEvent) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := g.w.Do(ctx, func(tx *store.Tx) error {
		for _, e := range events {
			if err := tx.AppendAudit(e); err != nil {
				return err
			}
		}
		return nil
	}, func(*store.Tx) error { return nil })
	if err != nil {
		g.log.ErrorContext(ctx, "cannot write audit event", "error", err, "events", len(events))
	}
	for _, e := range events { // those who watch should know even then
		g.told(authz.From(ctx), authz.OriginFrom(ctx), e)
	}
}

// Security records an event that changes nothing but that an operator should see, such as a key sent in
// clear. Kind is a constant; detail must hold no secret. Events of anonymous sources are bounded, and so are those of racks: somebody may have taken one over.
func (g *Gate) Security(ctx context.Context, kind string, detail map[string]string) {
	c := g.call(ctx, authz.SecurityEvent)
	c.Note("event", kind)
	for k, v := range detail {
		c.Note(k, v)
	}
	e := g.event(c, authz.OriginFrom(ctx), metal.OutcomeDenied, nil)
	if k := c.principal.Kind; k == authz.Anonymous || k == "" || k == authz.Rack {
		if !g.heard(ctx, e) {
			return
		}
	}
	g.append(ctx, e)
	g.log.WarnContext(ctx, "security event", "kind", kind, "source", e.Source, "target", e.Target)
}

// Run seals and prunes the trail and writes due summaries of noise until the context ends.
func (g *Gate) Run(ctx context.Context) {
	var prune time.Time
	audit.Loop(ctx, g.log, func(work context.Context) (int, error) {
		if now := g.now(); now.After(prune) {
			prune = now.Add(pruneEvery)
			if err := g.Prune(work); err != nil && work.Err() == nil {
				g.log.ErrorContext(work, "cannot prune the trail", "error", err)
			}
		}
		// The last time, what was counted in the hour that has not ended is written, too.
		if due := g.noise.due(g.now(), ctx.Err() != nil); len(due) > 0 {
			g.append(work, due...)
		}
		return g.Seal(work)
	})
}

// Seal chains what is not chained yet and returns how many events that were.
func (g *Gate) Seal(ctx context.Context) (n int, err error) {
	// Looking first costs a reader nothing; an empty write transaction would cost the writer.
	var waiting []store.AuditRow
	if err := g.r.View(ctx, func(v *store.View) (err error) { waiting, err = v.UnsealedAudit(g.region, 1); return err }); err != nil || len(waiting) == 0 {
		return 0, err
	}
	err = g.w.Do(ctx, func(tx *store.Tx) (err error) {
		n, err = audit.Seal(tx, g.region, g.key, g.now())
		return err
	}, func(*store.Tx) error { return nil })
	return n, err
}

// Viewing is a read under way.
type Viewing struct {
	*store.View
	principal authz.Principal
	action    authz.Action
	now       time.Time
}

// Principal is who reads.
func (v *Viewing) Principal() authz.Principal { return v.principal }

// Now is the time of the read.
func (v *Viewing) Now() time.Time { return v.now }

// Require checks the read's action on an object. Kinds: Forbidden, or NotFound where existence is private.
func (v *Viewing) Require(t authz.Target) error {
	return authz.Decide(v.principal, v.action, t).Err(t)
}

// View runs fn as a read. A read of lists of objects that are everybody's to see requires nothing of its own
// inside, so the action is checked here against the noun alone; reads of machines use Require or
// authz.Machines. fn may run more than once, as that of Do.
func (g *Gate) View(ctx context.Context, action authz.Action, fn func(*Viewing) error) error {
	p := authz.From(ctx)
	if !authz.May(p, action) {
		return authz.Deny.Err(authz.Target{})
	}
	return g.settle(ctx, func() error {
		return g.r.View(ctx, func(v *store.View) error {
			return fn(&Viewing{View: v, principal: p, action: action, now: g.now().UTC().Truncate(time.Microsecond)})
		})
	})
}

// Reveal runs fn as a read that leaves an event: of secrets, of power parameters, of the trail as a whole. The
// event is written before fn runs, so that nothing is revealed without one.
func (g *Gate) Reveal(ctx context.Context, action authz.Action, t authz.Target, note map[string]string, fn func(*Viewing) error) error {
	c := g.call(ctx, action)
	c.target = t
	for k, v := range note {
		c.Note(k, v)
	}
	if err := authz.Decide(c.principal, action, t).Err(t); err != nil {
		g.record(ctx, c, &denied{err})
		return err
	}
	e := g.event(c, authz.OriginFrom(ctx), metal.OutcomeSuccess, nil)
	if err := g.w.Do(ctx, func(tx *store.Tx) error { return tx.AppendAudit(e) }, func(*store.Tx) error { return nil }); err != nil {
		return err
	}
	g.told(c.principal, authz.OriginFrom(ctx), e)
	return g.View(ctx, action, fn)
}

// pruneEvery is how often the trail is looked at for events that were kept long enough.
const pruneEvery = time.Hour

// Prune deletes this region's events that are older than the site keeps them. What is left proves itself still: a
// signed statement takes the place of what went.
func (g *Gate) Prune(ctx context.Context) error {
	due := func(v *store.View, now time.Time) (a store.Checkpoint, ok bool, err error) {
		days, err := v.SettingInt("metalward_audit_retention_days")
		if err != nil || days == 0 {
			return a, false, err
		}
		return audit.Anchor(v, g.region, g.key, now.AddDate(0, 0, -days), now)
	}
	found := false
	if err := g.r.View(ctx, func(v *store.View) (err error) { _, found, err = due(v, g.now()); return err }); err != nil || !found {
		return err
	}
	return g.Do(authz.AsSystem(ctx, "trail"), authz.TrailPrune, func(c *Call) error {
		if err := c.Require(store.TrailTarget(g.region)); err != nil {
			return err
		}
		anchor, ok, err := due(&c.Tx().View, c.Now())
		if err != nil || !ok {
			return err
		}
		n, err := c.Tx().PruneAudit(anchor)
		c.Note("events", strconv.FormatInt(n, 10))
		c.Note("up_to", strconv.FormatInt(anchor.Sequence, 10))
		return err
	})
}

// CheckTrail checks all regions' chains after the start and daily, until the context ends. One that does not prove itself is a security event, each day anew.
func (g *Gate) CheckTrail(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "trail")
	public := g.key.Public().(ed25519.PublicKey)
	audit.CheckLoop(ctx, func(ctx context.Context) (int64, error) { return audit.VerifySteps(ctx, g.r, public) }, func(rows int64, err error) {
		broken, ok := errors.AsType[*audit.Broken](err)
		switch {
		case err == nil:
			g.log.InfoContext(ctx, "the trail proves itself", "rows", rows)
		case ok:
			g.log.ErrorContext(ctx, "the trail is broken", "error", err)
			g.Security(ctx, "trail_broken", map[string]string{"region": broken.Region, "row": strconv.FormatInt(broken.Row, 10), "reason": broken.Reason})
		default:
			g.log.WarnContext(ctx, "the trail could not be checked", "error", err)
		}
	})
}

// Denied records a call that was refused before it reached a service, for want of credentials or rights. Refused
// reads are bounded as strangers' noise is: a program may repeat one by the thousand.
func (g *Gate) Denied(ctx context.Context, action authz.Action, cause error) {
	c := g.call(ctx, action)
	if c.principal.Kind != authz.Anonymous && !authz.Mutates(action) {
		if e := g.event(c, authz.OriginFrom(ctx), metal.OutcomeDenied, cause); g.heard(ctx, e) {
			g.append(ctx, e)
		}
		return
	}
	g.record(ctx, c, &denied{cause})
}
