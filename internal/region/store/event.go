package store

import "github.com/metalward/metalward/internal/metal"

// MaxMachineEvents bounds the events kept of one machine: the oldest go.
const MaxMachineEvents = 1000

func scanEvent(scan func(...any) error) (e metal.Event, err error) {
	var created int64
	err = scan(&e.ID, &e.SystemID, &e.Type, &e.Level, &e.Description, &e.Username, &created)
	e.Created = fromMicros(created)
	return e, err
}

const eventCols = "e.id, e.system_id, e.type, e.level, e.description, e.username, e.created"

// AddEvent records what happened to a node.
func (t *Tx) AddEvent(e metal.Event) error {
	if err := t.touchMachine(e.SystemID); err != nil {
		return err
	}
	id, err := t.insert("INSERT INTO events (system_id, type, level, description, username, created) VALUES (?, ?, ?, ?, ?, ?)",
		e.SystemID, e.Type, int(e.Level), metal.Printable(e.Description, 1024), e.Username, micros(e.Created))
	if err != nil {
		return err
	}
	if id%64 == 0 { // now and then is enough to keep the bound within a few rows
		if _, err := t.exec("DELETE FROM events WHERE system_id = ? AND id <= (SELECT id FROM events WHERE system_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
			e.SystemID, e.SystemID, MaxMachineEvents); err != nil {
			return err
		}
	}
	if e.Level >= metal.LevelInfo { // shown as status_message
		return t.bump(e.SystemID)
	}
	return nil
}

// EventQuery selects events.
type EventQuery struct {
	Machines MachineQuery
	Level    metal.Level // at least
	Before   int64       // ids below; 0 for none
	After    int64       // ids above; 0 for none
	Limit    int
}

// Events lists events of the machines that the query selects, newest first. With After the oldest of those
// above it are chosen, still newest first.
func (v *View) Events(q EventQuery) ([]metal.Event, error) {
	where, args := q.Machines.where()
	cond := " WHERE e.system_id IN (SELECT m.system_id FROM machines m" + where + ") AND e.level >= ?"
	args = append(args, int(q.Level))
	order := " ORDER BY e.id DESC LIMIT ?"
	if q.Before > 0 {
		cond, args = cond+" AND e.id < ?", append(args, q.Before)
	}
	if q.After > 0 {
		cond, args = cond+" AND e.id > ?", append(args, q.After)
		order = " ORDER BY e.id LIMIT ?"
	}
	list, err := all(v, scanEvent, "SELECT "+eventCols+" FROM events e"+cond+order, append(args, q.Limit)...)
	if q.After > 0 {
		for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
			list[i], list[j] = list[j], list[i]
		}
	}
	return list, err
}

// LatestEvents returns for each of the machines the newest event of level INFO or above.
func (v *View) LatestEvents(systemIDs ...string) ([]metal.Event, error) {
	if len(systemIDs) == 0 {
		return nil, nil
	}
	q, args := inMachines("SELECT MAX(id) FROM events", systemIDs)
	return all(v, scanEvent, "SELECT "+eventCols+" FROM events e WHERE e.id IN ("+q+" AND level >= 20 GROUP BY system_id)", args...)
}
