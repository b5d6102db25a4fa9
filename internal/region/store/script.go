package store

import (
	"time"

	"github.com/metalward/metalward/internal/metal"
)

const setCols = "id, system_id, type, boot_id, started, ended, last_ping"

func scanSet(scan func(...any) error) (s metal.ScriptSet, err error) {
	var started, ended, ping int64
	err = scan(&s.ID, &s.SystemID, &s.Type, &s.BootID, &started, &ended, &ping)
	s.Started, s.Ended, s.LastPing = fromMicros(started), fromMicros(ended), fromMicros(ping)
	return s, err
}

const resultCols = "r.id, r.set_id, r.name, r.status, r.exit_code, r.has_exit, r.started, r.ended, r.created, r.updated"

func scanResult(scan func(...any) error) (r metal.ScriptResult, err error) {
	var started, ended, created, updated int64
	err = scan(&r.ID, &r.SetID, &r.Name, &r.Status, &r.ExitCode, &r.HasExit, &started, &ended, &created, &updated)
	r.Started, r.Ended, r.Created, r.Updated = fromMicros(started), fromMicros(ended), fromMicros(created), fromMicros(updated)
	return r, err
}

// ScriptSets lists the script sets of a machine, newest first, with results but without output.
func (v *View) ScriptSets(systemID string) ([]metal.ScriptSet, error) {
	return v.withResults(all(v, scanSet, "SELECT "+setCols+" FROM script_sets WHERE system_id = ? ORDER BY id DESC", systemID))
}

// LatestScriptSets lists, for each of the machines, the newest set of each type, with results, without output.
func (v *View) LatestScriptSets(systemIDs ...string) ([]metal.ScriptSet, error) {
	if len(systemIDs) == 0 {
		return nil, nil
	}
	q, args := inMachines("SELECT MAX(id) FROM script_sets", systemIDs)
	return v.withResults(all(v, scanSet, "SELECT "+setCols+" FROM script_sets WHERE id IN ("+q+" GROUP BY system_id, type) ORDER BY id", args...))
}

// withResults loads the results of sets in one query.
func (v *View) withResults(sets []metal.ScriptSet, err error) ([]metal.ScriptSet, error) {
	if err != nil || len(sets) == 0 {
		return sets, err
	}
	at, args := map[int64]int{}, make([]any, len(sets))
	for i, s := range sets {
		at[s.ID], args[i] = i, s.ID
	}
	results, err := all(v, scanResult, "SELECT "+resultCols+" FROM script_results r WHERE r.set_id IN ("+marks(len(args))+") ORDER BY r.id", args...)
	for _, r := range results {
		s := &sets[at[r.SetID]]
		s.Results = append(s.Results, r)
	}
	return sets, err
}

// ScriptSetOfBoot returns the set that a boot fills; false when it has none.
func (v *View) ScriptSetOfBoot(bootID string) (metal.ScriptSet, bool, error) {
	return first(v.withResults(all(v, scanSet, "SELECT "+setCols+" FROM script_sets WHERE boot_id = ?", bootID)))
}

// LoadOutput fills in a result's output streams.
func (v *View) LoadOutput(r *metal.ScriptResult) error {
	rows, err := v.query("SELECT stream, data FROM script_output WHERE result_id = ? ORDER BY stream, pos", r.ID)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var stream string
		var data []byte
		if err := rows.Scan(&stream, &data); err != nil {
			return err
		}
		switch stream {
		case "stdout":
			r.Stdout = append(r.Stdout, data...)
		case "stderr":
			r.Stderr = append(r.Stderr, data...)
		case "result":
			r.Result = append(r.Result, data...)
		}
	}
	return v.note(rows.Err())
}

// AddScriptSet inserts a set with its results, all pending, and sets the IDs. Only the newest keep sets of a
// type are retained.
func (t *Tx) AddScriptSet(s *metal.ScriptSet, keep int) (err error) {
	if err := t.touchMachine(s.SystemID); err != nil {
		return err
	}
	s.ID, err = t.insert("INSERT INTO script_sets (system_id, type, boot_id, started, ended, last_ping) VALUES (?, ?, ?, ?, 0, 0)",
		s.SystemID, int(s.Type), s.BootID, micros(s.Started))
	if err != nil {
		return err
	}
	for i := range s.Results {
		r := &s.Results[i]
		r.SetID = s.ID
		if r.ID, err = t.insert("INSERT INTO script_results (set_id, name, status, exit_code, has_exit, started, ended, created, updated) VALUES (?, ?, ?, 0, 0, 0, 0, ?, ?)",
			s.ID, r.Name, int(r.Status), micros(s.Started), micros(s.Started)); err != nil {
			return err
		}
	}
	if _, err = t.exec(`DELETE FROM script_sets WHERE system_id = ? AND type = ? AND id NOT IN
		(SELECT id FROM script_sets WHERE system_id = ? AND type = ? ORDER BY id DESC LIMIT ?)`, s.SystemID, int(s.Type), s.SystemID, int(s.Type), keep); err != nil {
		return err
	}
	return t.bump(s.SystemID)
}

// PutScriptResult updates a result's outcome.
func (t *Tx) PutScriptResult(systemID string, r metal.ScriptResult) error {
	if err := t.touchMachine(systemID); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE script_results SET status = ?, exit_code = ?, has_exit = ?, started = ?, ended = ?, updated = ? WHERE id = ?",
		int(r.Status), r.ExitCode, bit(r.HasExit), micros(r.Started), micros(r.Ended), micros(r.Updated), r.ID); err != nil {
		return err
	}
	return t.bump(systemID)
}

// EndScriptSet closes a set: what was pending or running is aborted.
func (t *Tx) EndScriptSet(s metal.ScriptSet, now time.Time) error {
	if err := t.touchMachine(s.SystemID); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE script_results SET status = ?, updated = ? WHERE set_id = ? AND status IN (?, ?)",
		int(metal.ScriptAborted), micros(now), s.ID, int(metal.ScriptPending), int(metal.ScriptRunning)); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE script_sets SET ended = ? WHERE id = ? AND ended = 0", micros(now), s.ID); err != nil {
		return err
	}
	return t.bump(s.SystemID)
}

// AppendOutput keeps a piece of output at its place in the stream: an observation. A piece that is there
// already (a retry) is ignored.
func (t *Tx) AppendOutput(resultID int64, stream string, pos int64, data []byte) error {
	_, err := t.exec("INSERT INTO script_output (result_id, stream, pos, data) VALUES (?, ?, ?, ?) ON CONFLICT (result_id, stream, pos) DO NOTHING",
		resultID, stream, pos, data)
	return err
}

// OutputSize is how many bytes of a stream are kept.
func (v *View) OutputSize(resultID int64, stream string) (n int64, err error) {
	err = v.row("SELECT COALESCE(SUM(LENGTH(data)), 0) FROM script_output WHERE result_id = ? AND stream = ?", resultID, stream).Scan(&n)
	return n, err
}
