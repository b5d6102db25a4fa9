package api

import (
	"maps"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// events answers with a page of events, newest first.
func (a *API) events(r *request) (any, error) {
	q := store.EventQuery{Level: metal.LevelInfo, Limit: 100}
	var err error
	mq := store.MachineQuery{SystemIDs: r.list("id"), Hostnames: r.list("hostname"), MACs: r.list("mac_address"), Zones: r.list("zone"), Pools: r.list("pool"),
		Owners: r.list("owner"), AgentName: r.form.Get("agent_name")}
	q.Machines = mq
	if text := r.form.Get("level"); text != "" {
		levels := map[string]metal.Level{"AUDIT": metal.LevelError + 1, "DEBUG": metal.LevelDebug, "INFO": metal.LevelInfo, "WARNING": metal.LevelWarning, "ERROR": metal.LevelError, "CRITICAL": 50}
		level, ok := levels[strings.ToUpper(text)]
		if !ok {
			return nil, fault.Field("level", "Unrecognised log level: %.32s.", text)
		}
		q.Level = level
	}
	if r.form.Get("limit") != "" {
		if q.Limit, err = r.number("limit"); err != nil || q.Limit < 1 || q.Limit > 1000 {
			return nil, fault.Field("limit", "Requested number of events must be between 1 and 1000.")
		}
	}
	before, err := r.number("before")
	if err != nil {
		return nil, err
	}
	after, err := r.number("after")
	if err != nil {
		return nil, err
	}
	if before != 0 && after != 0 {
		return nil, fault.New(fault.Invalid, "There is undetermined behaviour when both `after` and `before` are specified.")
	}
	q.Before, q.After = int64(before), int64(after)
	list, names, err := a.Machines.Events(r.ctx, q)
	if err != nil {
		return nil, err
	}
	events := each(list, func(e metal.Event) any {
		return map[string]any{"username": e.Username, "node": e.SystemID, "hostname": names[e.SystemID], "id": e.ID, "level": e.Level.String(),
			"created": e.Created.UTC().Format("Mon, 02 Jan. 2006 15:04:05"), "type": e.Type, "description": e.Description}
	})
	page := func(key string, id int64) string {
		form := maps.Clone(r.form)
		delete(form, "before")
		delete(form, "after")
		form.Set("op", "query")
		form.Set(key, strconv.FormatInt(id, 10))
		return uri("/events/?%s", form.Encode())
	}
	next, prev := page("after", q.After), page("before", max(q.Before, 1))
	if len(list) > 0 {
		next, prev = page("after", list[0].ID), page("before", list[len(list)-1].ID)
	}
	return map[string]any{"count": len(events), "events": events, "next_uri": next, "prev_uri": prev}, nil
}
