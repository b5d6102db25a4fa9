package store

import (
	"encoding/json"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

// AuditRow is an audit event with its row number.
type AuditRow struct {
	ID int64
	metal.AuditEvent
}

const auditCols = "id, region, seq, time, principal, action, target, outcome, source, request_id, detail, hash"

func scanAudit(scan func(...any) error) (a AuditRow, err error) {
	var at int64
	var detail string
	if err = scan(&a.ID, &a.Region, &a.Sequence, &at, &a.Principal, &a.Action, &a.Target, &a.Outcome, &a.Source, &a.RequestID, &detail, &a.Hash); err != nil {
		return a, err
	}
	a.Time = fromMicros(at)
	return a, json.Unmarshal([]byte(detail), &a.Detail)
}

// AppendAudit adds an event to the trail, unsealed. Only package audit calls it.
func (t *Tx) AppendAudit(e metal.AuditEvent) error {
	_, err := t.exec("INSERT INTO audit (region, seq, time, principal, action, target, outcome, source, request_id, detail, hash) VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, '')",
		e.Region, micros(e.Time), e.Principal, e.Action, e.Target, e.Outcome, e.Source, e.RequestID, toJSON(e.Detail))
	return err
}

// UnsealedAudit lists a region's events that have no place in the chain yet, in order of arrival.
func (v *View) UnsealedAudit(region string, limit int) ([]AuditRow, error) {
	return all(v, scanAudit, "SELECT "+auditCols+" FROM audit WHERE region = ? AND seq = 0 ORDER BY id LIMIT ?", region, limit)
}

// SealAudit gives an event its place and hash.
func (t *Tx) SealAudit(id, seq int64, hash string) error {
	_, err := t.exec("UPDATE audit SET seq = ?, hash = ? WHERE id = ? AND seq = 0", seq, hash, id)
	return err
}

// AuditHead returns the last sealed sequence number of a region and its hash; 0 and "" for an empty chain.
func (v *View) AuditHead(region string) (seq int64, hash string, err error) {
	rows, err := all(v, scanAudit, "SELECT "+auditCols+" FROM audit WHERE region = ? AND seq > 0 ORDER BY seq DESC LIMIT 1", region)
	switch {
	case err != nil:
		return 0, "", err
	case len(rows) > 0:
		return rows[0].Sequence, rows[0].Hash, nil
	}
	anchor, _, err := v.AuditAnchor(region)
	return anchor.Sequence, anchor.Hash, err
}

// AuditChain lists a region's sealed events after a row, in order of the chain: the row is given by its
// sequence number and its id, so that a doubled number does not hide behind the end of a page.
func (v *View) AuditChain(region string, after, afterID int64, limit int) ([]AuditRow, error) {
	return all(v, scanAudit, "SELECT "+auditCols+" FROM audit WHERE region = ? AND seq <> 0 AND (seq > ? OR seq = ? AND id > ?) ORDER BY seq, id LIMIT ?",
		region, after, after, afterID, limit)
}

// AuditRegions lists the regions that have written to the trail, also those of which only checkpoints are left.
func (v *View) AuditRegions() ([]string, error) {
	return all(v, func(scan func(...any) error) (s string, err error) { err = scan(&s); return s, err },
		"SELECT region FROM audit UNION SELECT region FROM audit_checkpoints UNION SELECT region FROM audit_anchors ORDER BY region")
}

// AuditQuery selects events of the trail. Zero fields select all.
type AuditQuery struct {
	Before, After int64 // ids, both left out themselves
	Principal     string
	Action        string // "machine.deploy", or "machine" for all of a noun
	Target        string
	Outcome       string
	Source        string
	From, To      time.Time // To is left out itself
	Oldest        bool      // oldest first; else newest
	Limit         int
}

// AuditEvents lists events of the trail.
func (v *View) AuditEvents(q AuditQuery) ([]AuditRow, error) {
	where, args := "1 = 1", []any{}
	add := func(cond string, a ...any) { where, args = where+" AND "+cond, append(args, a...) }
	for _, c := range []struct{ col, value string }{{"principal", q.Principal}, {"target", q.Target}, {"outcome", q.Outcome}, {"source", q.Source}} {
		if c.value != "" {
			add(c.col+" = ?", c.value)
		}
	}
	if q.Action != "" {
		add(`(action = ? OR action LIKE ? ESCAPE '\')`, q.Action, like(q.Action)+".%")
	}
	if q.Before != 0 {
		add("id < ?", q.Before)
	}
	if q.After != 0 {
		add("id > ?", q.After)
	}
	if !q.From.IsZero() {
		add("time >= ?", micros(q.From))
	}
	if !q.To.IsZero() {
		add("time < ?", micros(q.To))
	}
	order := "DESC"
	if q.Oldest {
		order = "ASC"
	}
	return all(v, scanAudit, "SELECT "+auditCols+" FROM audit WHERE "+where+" ORDER BY id "+order+" LIMIT ?", append(args, q.Limit)...)
}

// Checkpoint is a signed statement that a chain had this hash at this length.
type Checkpoint struct {
	Region    string
	Sequence  int64
	Time      time.Time
	Hash      string
	Signature string // base64
}

// AddCheckpoint records a checkpoint.
func (t *Tx) AddCheckpoint(c Checkpoint) error {
	_, err := t.exec("INSERT INTO audit_checkpoints (region, seq, time, hash, signature) VALUES (?, ?, ?, ?, ?)", c.Region, c.Sequence, micros(c.Time), c.Hash, c.Signature)
	return err
}

// Checkpoints lists a region's checkpoints in order.
func (v *View) Checkpoints(region string) ([]Checkpoint, error) {
	return all(v, scanCheckpoint, "SELECT region, seq, time, hash, signature FROM audit_checkpoints WHERE region = ? ORDER BY seq", region)
}

func scanCheckpoint(scan func(...any) error) (c Checkpoint, err error) {
	var at int64
	err = scan(&c.Region, &c.Sequence, &at, &c.Hash, &c.Signature)
	c.Time = fromMicros(at)
	return c, err
}

// AuditAnchor returns where a region's chain begins after its oldest part was pruned; false when none was.
func (v *View) AuditAnchor(region string) (Checkpoint, bool, error) {
	list, err := all(v, scanCheckpoint, "SELECT region, seq, time, hash, signature FROM audit_anchors WHERE region = ?", region)
	if err != nil || len(list) == 0 {
		return Checkpoint{}, false, err
	}
	return list[0], true, nil
}

// LastCheckpointBefore returns the newest checkpoint of a region made before a time; false when there is none.
func (v *View) LastCheckpointBefore(region string, t time.Time) (Checkpoint, bool, error) {
	list, err := all(v, scanCheckpoint, "SELECT region, seq, time, hash, signature FROM audit_checkpoints WHERE region = ? AND time < ? ORDER BY seq DESC LIMIT 1", region, micros(t))
	if err != nil || len(list) == 0 {
		return Checkpoint{}, false, err
	}
	return list[0], true, nil
}

// TrailTarget is a region's chain as the object of an action.
func TrailTarget(region string) authz.Target { return authz.Target{Noun: authz.NounTrail, ID: region} }

// PruneAudit deletes a region's chain up to an anchor, which takes its place. It returns how many events went.
func (t *Tx) PruneAudit(a Checkpoint) (int64, error) {
	t.touch(TrailTarget(a.Region), false)
	n, err := t.exec("DELETE FROM audit WHERE region = ? AND seq > 0 AND seq <= ?", a.Region, a.Sequence)
	if err != nil {
		return 0, err
	}
	if _, err := t.exec("DELETE FROM audit_checkpoints WHERE region = ? AND seq <= ?", a.Region, a.Sequence); err != nil {
		return 0, err
	}
	if _, err := t.exec("DELETE FROM audit_anchors WHERE region = ?", a.Region); err != nil {
		return 0, err
	}
	_, err = t.exec("INSERT INTO audit_anchors (region, seq, time, hash, signature) VALUES (?, ?, ?, ?, ?)", a.Region, a.Sequence, micros(a.Time), a.Hash, a.Signature)
	return n, err
}
