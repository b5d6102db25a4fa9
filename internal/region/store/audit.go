package store

import (
	"encoding/json"
	"time"

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
	if err != nil || len(rows) == 0 {
		return 0, "", err
	}
	return rows[0].Sequence, rows[0].Hash, nil
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
		"SELECT region FROM audit UNION SELECT region FROM audit_checkpoints ORDER BY region")
}

// AuditEvents lists events, newest first, below an id (0 for the newest), of a target if it is not empty.
func (v *View) AuditEvents(before int64, target string, limit int) ([]AuditRow, error) {
	if before == 0 {
		before = 1 << 62
	}
	return all(v, scanAudit, "SELECT "+auditCols+" FROM audit WHERE id < ? AND (? = '' OR target = ?) ORDER BY id DESC LIMIT ?", before, target, target, limit)
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
	return all(v, func(scan func(...any) error) (c Checkpoint, err error) {
		var at int64
		err = scan(&c.Region, &c.Sequence, &at, &c.Hash, &c.Signature)
		c.Time = fromMicros(at)
		return c, err
	}, "SELECT region, seq, time, hash, signature FROM audit_checkpoints WHERE region = ? ORDER BY seq", region)
}
