package store

import (
	"database/sql"

	"github.com/metalward/metalward/internal/metal"
)

// MachineText is a machine's rendered API form with slots, and what fills the slots that belong to this
// machine alone. Text is empty when it was never rendered or is of another revision than the machine.
type MachineText struct {
	ID       int64
	SystemID string
	Revision int64
	Power    metal.PowerState
	PoolID   int64
	ZoneID   int64
	Text     []byte // valid until the callback returns
}

// EachMachineText calls fn for every machine that the query selects, in its order, reading rows as they come.
func (v *View) EachMachineText(q MachineQuery, fn func(*MachineText) error) error {
	where, args := q.where()
	rows, err := v.query(`SELECT m.id, m.system_id, m.revision, m.power_state, m.pool_id, m.zone_id, COALESCE(t.text, '')
		FROM machines m LEFT JOIN machine_texts t ON t.machine_id = m.id AND t.revision = m.revision`+where+q.tail(), args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var m MachineText
	var raw sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&m.ID, &m.SystemID, &m.Revision, &m.Power, &m.PoolID, &m.ZoneID, &raw); err != nil {
			return err
		}
		m.Text = raw
		if err := fn(&m); err != nil {
			return err
		}
	}
	return v.note(rows.Err())
}

// StaleMachines lists up to limit machines, of those the query selects, whose text is missing or old.
func (v *View) StaleMachines(q MachineQuery, limit int) ([]metal.Machine, error) {
	where, args := q.where()
	if where == "" {
		where = " WHERE"
	} else {
		where += " AND"
	}
	return all(v, scanMachine, selectMachines+" WHERE m.id IN (SELECT m.id FROM machines m"+where+
		" m.text_revision <> m.revision ORDER BY m.id LIMIT ?) ORDER BY m.id", append(args, limit)...)
}

// PutMachineText keeps a rendered text: an observation, derived from what is stored already. A text that is older
// than the one kept, or of a machine that is gone, is dropped.
func (t *Tx) PutMachineText(id, revision int64, text []byte) error {
	n, err := t.exec("UPDATE machines SET text_revision = ? WHERE id = ? AND text_revision < ? AND revision >= ?", revision, id, revision, revision)
	if err != nil || n == 0 {
		return err
	}
	_, err = t.exec(`INSERT INTO machine_texts (machine_id, revision, text) VALUES (?, ?, ?)
		ON CONFLICT (machine_id) DO UPDATE SET revision = excluded.revision, text = excluded.text`, id, revision, string(text))
	return err
}
