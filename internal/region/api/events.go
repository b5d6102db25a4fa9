package api

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
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
		levels := map[string]metal.Level{"AUDIT": 0, "DEBUG": metal.LevelDebug, "INFO": metal.LevelInfo, "WARNING": metal.LevelWarning, "ERROR": metal.LevelError, "CRITICAL": 50}
		level, ok := levels[strings.ToUpper(text)]
		if !ok {
			return nil, fault.Field("level", "Unrecognised log level: %.32s.", text)
		}
		q.Level = level
	}
	if q.Before, q.After, q.Limit, err = r.page(); err != nil {
		return nil, err
	}
	if strings.EqualFold(r.form.Get("level"), "AUDIT") {
		return a.auditEvents(r, q)
	}
	list, names, err := a.Machines.Events(r.ctx, q)
	if err != nil {
		return nil, err
	}
	events := each(list, func(e metal.Event) any {
		return map[string]any{"username": e.Username, "node": e.SystemID, "hostname": names[e.SystemID], "id": e.ID, "level": e.Level.String(),
			"created": eventTime(e.Created), "type": e.Type, "description": e.Description}
	})
	first, last := int64(0), int64(0)
	if len(list) > 0 {
		first, last = list[0].ID, list[len(list)-1].ID
	}
	return eventPage(r, q, events, first, last), nil
}

// eventTime is an event's time. Source: MAAS API 2.0, events.
func eventTime(t time.Time) string { return t.UTC().Format("Mon, 02 Jan. 2006 15:04:05") }

// eventPage is a page of events with the addresses of the next newer and next older one; first and last are the ids
// of its events, 0 when it has none.
func eventPage(r *request, q store.EventQuery, events []any, first, last int64) any {
	page := func(key string, id int64) string {
		form := maps.Clone(r.form)
		delete(form, "before")
		delete(form, "after")
		form.Set("op", "query")
		form.Set(key, strconv.FormatInt(id, 10))
		return uri("/events/?%s", form.Encode())
	}
	next, prev := page("after", q.After), page("before", max(q.Before, 1))
	if first != 0 {
		next, prev = page("after", first), page("before", last)
	}
	return map[string]any{"count": len(events), "events": events, "next_uri": next, "prev_uri": prev}
}

// page reads what selects a page of events: before or after an id, and how many. Kinds: Invalid.
func (r *request) page() (before, after int64, limit int, err error) {
	limit = 100
	if r.form.Get("limit") != "" {
		if limit, err = r.number("limit"); err != nil || limit < 1 || limit > 1000 {
			return 0, 0, 0, fault.Field("limit", "Requested number of events must be between 1 and 1000.")
		}
	}
	b, err := r.number("before")
	if err != nil {
		return 0, 0, 0, err
	}
	a, err := r.number("after")
	if err == nil && b != 0 && a != 0 {
		err = fault.New(fault.Invalid, "There is undetermined behaviour when both `after` and `before` are specified.")
	}
	return int64(b), int64(a), limit, err
}

// auditTypes are MAAS's names for what an audit event is about. Source: MAAS, event types.
var auditTypes = map[authz.Noun]string{authz.NounMachine: "Node", authz.NounImage: "Images", authz.NounZone: "Zones", authz.NounSetting: "Settings",
	authz.NounFabric: "Networking", authz.NounVLAN: "Networking", authz.NounSubnet: "Networking"}

// auditEvents answers with a page of the trail in the form of events, as MAAS does for the level AUDIT.
func (a *API) auditEvents(r *request, q store.EventQuery) (any, error) {
	for name := range r.form {
		if !slices.Contains([]string{"level", "id", "owner", "limit", "before", "after"}, name) && r.form.Get(name) != "" {
			return nil, fault.Field(name, "The level AUDIT takes id, owner, limit, before and after; use the trail operations for more.")
		}
	}
	aq := store.AuditQuery{Before: q.Before, After: q.After, Limit: q.Limit}
	if id := r.form.Get("id"); id != "" {
		aq.Target = authz.Target{Noun: authz.NounMachine, ID: metal.Printable(id, 64)}.String()
	}
	if owner := r.form.Get("owner"); owner != "" {
		aq.Principal = authz.Principal{Kind: authz.User, Name: metal.Printable(owner, 150)}.String()
	}
	rows, err := a.trailPage(r.ctx, aq)
	if err != nil {
		return nil, err
	}
	events := each(rows, func(e store.AuditRow) any {
		noun, id, _ := strings.Cut(e.Target, ":")
		kind, node := auditTypes[authz.Noun(noun)], ""
		if kind == "" {
			kind = "Authorisation"
		}
		if authz.Noun(noun) == authz.NounMachine {
			node = id
		}
		user, _ := strings.CutPrefix(e.Principal, string(authz.User)+":")
		return map[string]any{"username": user, "node": node, "hostname": e.Detail["hostname"], "id": e.ID, "level": "AUDIT", "created": eventTime(e.Time),
			"type": kind, "description": e.Action + " " + e.Target + ": " + e.Outcome}
	})
	first, last := int64(0), int64(0)
	if len(rows) > 0 {
		first, last = rows[0].ID, rows[len(rows)-1].ID
	}
	return eventPage(r, q, events, first, last), nil
}
