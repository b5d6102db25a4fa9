// Package audit is the trail: every call that changes something, every denial and every failed login, chained
// by hashes so that a later change shows.
//
// An event is appended inside the transaction that it describes. A Sealer gives events their place in the
// chain of this region within a second, and signs a checkpoint for each batch. Verify walks the chain and
// names the first row that does not fit. What the chain cannot show by itself is the loss of its newest end
// together with the checkpoints: export it for that.
package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// MaxDetail bounds each text of an event's detail, in bytes: enough for a reason, too little to fill a disk.
const MaxDetail = 512

// Clean bounds an event's texts and drops control characters, so that it is safe on a terminal and in a log.
func Clean(e metal.AuditEvent) metal.AuditEvent {
	e.Principal, e.Target, e.Source = metal.Printable(e.Principal, 256), metal.Printable(e.Target, 256), metal.Printable(e.Source, 64)
	e.RequestID = metal.Printable(e.RequestID, 64)
	detail := make(map[string]string, len(e.Detail))
	for k, v := range e.Detail {
		detail[metal.Printable(k, 64)] = metal.Printable(v, MaxDetail)
	}
	e.Detail = detail
	e.Time = e.Time.UTC().Truncate(time.Microsecond) // as the store keeps it
	return e
}

// chain is the hash of an event after its predecessor's.
func chain(prev string, e metal.AuditEvent) string {
	e.Hash = ""
	body, err := json.Marshal(e) // field order is that of the struct, map keys are sorted
	if err != nil {
		panic("cannot encode an audit event: " + err.Error())
	}
	h := sha256.New()
	h.Write([]byte(prev + "\n"))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// statement is the text that a checkpoint's signature covers. It names the checkpoint before, so that none can
// be taken out of the middle.
func statement(c store.Checkpoint, previous int64) []byte {
	return fmt.Appendf(nil, "metalward trail v1\n%s\n%d\n%d\n%s\n%d\n", c.Region, previous, c.Sequence, c.Hash, c.Time.UnixMicro())
}

// sealBatch bounds one sealing transaction.
const sealBatch = 5000

// Seal chains the region's events that are not sealed yet and signs a checkpoint. It returns how many.
// Only the gate calls it, in a transaction of its own.
func Seal(t *store.Tx, region string, key ed25519.PrivateKey, now time.Time) (int, error) {
	rows, err := t.UnsealedAudit(region, sealBatch)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	seq, hash, err := t.AuditHead(region)
	if err != nil {
		return 0, err
	}
	previous := seq // every sealing ends with a checkpoint
	for _, r := range rows {
		seq++
		r.Sequence = seq
		hash = chain(hash, r.AuditEvent)
		if err := t.SealAudit(r.ID, seq, hash); err != nil {
			return 0, err
		}
	}
	c := store.Checkpoint{Region: region, Sequence: seq, Time: now.UTC().Truncate(time.Microsecond), Hash: hash}
	c.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, statement(c, previous)))
	return len(rows), t.AddCheckpoint(c)
}

// Broken is the error of a trail that was changed. Row is the number of the first row that does not fit.
type Broken struct {
	Region string
	Row    int64 // place in the chain
	Reason string
}

// Error says which row and why.
func (b *Broken) Error() string {
	return fmt.Sprintf("the trail of region %s is broken at row %d: %s", b.Region, b.Row, b.Reason)
}

// Verify checks every region's chain and checkpoints. It returns the number of sealed rows that fit; a chain
// that does not is a *Broken.
func Verify(ctx context.Context, r *store.Reader, public ed25519.PublicKey) (n int64, err error) {
	var regions []string
	if err := r.View(ctx, func(v *store.View) (err error) { regions, err = v.AuditRegions(); return err }); err != nil {
		return 0, err
	}
	for _, region := range regions {
		k := &checker{region: region, public: public}
		err := r.View(ctx, func(v *store.View) error { return walk(v, region, k) })
		if err == nil {
			err = k.end()
		}
		n += k.rows
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// visitor is told a region's chain in order: where it begins if it was pruned, each event, and after an event the
// checkpoint that was made there.
type visitor interface {
	anchor(store.Checkpoint) error
	event(metal.AuditEvent) error
	checkpoint(store.Checkpoint) error
}

// walk tells a region's chain to a visitor.
func walk(v *store.View, region string, to visitor) error {
	if a, ok, err := v.AuditAnchor(region); err != nil {
		return err
	} else if ok {
		if err := to.anchor(a); err != nil {
			return err
		}
	}
	points, err := v.Checkpoints(region)
	if err != nil {
		return err
	}
	last := store.AuditRow{AuditEvent: metal.AuditEvent{Sequence: math.MinInt64}} // numbers below 1 are found too
	for {
		rows, err := v.AuditChain(region, last.Sequence, last.ID, sealBatch)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			break
		}
		for _, row := range rows {
			if err := to.event(row.AuditEvent); err != nil {
				return err
			}
			for len(points) > 0 && points[0].Sequence == row.Sequence {
				if err := to.checkpoint(points[0]); err != nil {
					return err
				}
				points = points[1:]
			}
		}
		last = rows[len(rows)-1]
	}
	for _, p := range points { // of rows that are not there
		if err := to.checkpoint(p); err != nil {
			return err
		}
	}
	return nil
}

// checker holds a region's chain against its hashes and signatures.
type checker struct {
	region      string
	public      ed25519.PublicKey
	seq, signed int64  // the last row, and the last one that a checkpoint covers
	hash        string // of the last row
	rows        int64
}

func (k *checker) anchor(a store.Checkpoint) error {
	if k.seq != 0 || !k.verify(a, anchorStatement(a)) {
		return &Broken{k.region, 1, fmt.Sprintf("the statement that rows up to %d were pruned is not signed by this instance", a.Sequence)}
	}
	k.seq, k.signed, k.hash = a.Sequence, a.Sequence, a.Hash
	return nil
}

func (k *checker) verify(c store.Checkpoint, text []byte) bool {
	sig, err := base64.StdEncoding.DecodeString(c.Signature)
	return err == nil && c.Region == k.region && ed25519.Verify(k.public, text, sig)
}

func (k *checker) event(e metal.AuditEvent) error {
	if e.Sequence != k.seq+1 {
		return &Broken{k.region, k.seq + 1, fmt.Sprintf("the row is missing or doubled; the next one is %d", e.Sequence)}
	}
	if e.Region != k.region || chain(k.hash, e) != e.Hash {
		return &Broken{k.region, e.Sequence, "its content was changed"}
	}
	k.seq, k.hash = e.Sequence, e.Hash
	k.rows++
	return nil
}

func (k *checker) checkpoint(c store.Checkpoint) error {
	if c.Sequence > k.seq {
		return &Broken{k.region, k.seq + 1, fmt.Sprintf("a checkpoint says that the chain had %d rows", c.Sequence)}
	}
	if c.Sequence != k.seq || c.Hash != k.hash || !k.verify(c, statement(c, k.signed)) {
		return &Broken{k.region, k.signed + 1, fmt.Sprintf("the checkpoint at row %d does not fit, is not signed by this instance, or does not follow the one before", c.Sequence)}
	}
	k.signed = c.Sequence
	return nil
}

func (k *checker) end() error {
	if k.signed != k.seq { // whoever changes rows and chains them anew has no key to sign the result
		return &Broken{k.region, k.signed + 1, "no checkpoint covers it and what follows"}
	}
	return nil
}

// anchorStatement is the text that the signature of a pruned trail's beginning covers.
func anchorStatement(a store.Checkpoint) []byte {
	return fmt.Appendf(nil, "metalward trail pruned v1\n%s\n%d\n%s\n%d\n", a.Region, a.Sequence, a.Hash, a.Time.UnixMicro())
}

// Anchor makes the signed beginning of a region's chain after all events before a time are pruned, at the newest
// checkpoint before it; false when there is nothing to prune. Only the gate calls it.
func Anchor(v *store.View, region string, key ed25519.PrivateKey, before, now time.Time) (a store.Checkpoint, ok bool, err error) {
	c, ok, err := v.LastCheckpointBefore(region, before)
	if err != nil || !ok {
		return a, false, err
	}
	a = store.Checkpoint{Region: region, Sequence: c.Sequence, Time: now.UTC().Truncate(time.Microsecond), Hash: c.Hash}
	a.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, anchorStatement(a)))
	return a, true, nil
}

// Loop calls seal once a second until the context ends, and a last time then.
func Loop(ctx context.Context, log *slog.Logger, seal func(context.Context) (int, error)) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if _, err := seal(last); err != nil {
				log.ErrorContext(last, "cannot seal the trail", "error", err)
			}
			return
		case <-tick.C:
			if _, err := seal(ctx); err != nil && ctx.Err() == nil {
				log.ErrorContext(ctx, "cannot seal the trail", "error", err)
			}
		}
	}
}
