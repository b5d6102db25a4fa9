package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/networks"
	"github.com/metalward/metalward/internal/region/store"
)

// A machine's JSON is tens of kilobytes, and lists of machines are the commonest call. So the text is kept
// beside the machine, rendered when the machine changes, and lists stream it. What is shared by many machines
// (zone, pool, VLANs, subnets) or changes all the time (power state) is not in the text: there is a slot for
// it, filled while streaming. Renaming a pool rewrites no machine.
//
// A slot is the byte 0x01, a letter, a number, and the byte 0x02. JSON text holds neither byte.
const (
	slotStart = 0x01
	slotEnd   = 0x02
)

// mark is what a slot is while encoding/json works on the text: it cannot be guessed, so nothing that a user
// or a machine says can pass for a slot.
var mark = func() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b)
	return "slot-" + hex.EncodeToString(b) + "-"
}()

func slot(kind byte, id int64) json.RawMessage {
	return json.RawMessage(`"` + mark + string(kind) + strconv.FormatInt(id, 10) + `"`)
}

// toSlots turns the marks of a rendered text into slots.
func toSlots(text []byte) []byte {
	out := make([]byte, 0, len(text))
	needle := []byte(`"` + mark)
	for {
		i := bytes.Index(text, needle)
		if i < 0 {
			return append(out, text...)
		}
		out = append(out, text[:i]...)
		rest := text[i+len(needle):]
		end := bytes.IndexByte(rest, '"')
		out = append(out, slotStart)
		out = append(out, rest[:end]...)
		out = append(out, slotEnd)
		text = rest[end+1:]
	}
}

// fillers are the texts of slots at one moment.
type fillers map[string][]byte

// splice appends a text with its slots filled. The power state is the machine's own.
func (f fillers) splice(out, text []byte, power metal.PowerState) ([]byte, error) {
	for {
		i := bytes.IndexByte(text, slotStart)
		if i < 0 {
			return append(out, text...), nil
		}
		out = append(out, text[:i]...)
		end := bytes.IndexByte(text[i:], slotEnd)
		if end < 0 {
			return out, fmt.Errorf("cannot fill machine text: slot without end")
		}
		key := text[i+1 : i+end]
		if key[0] == 'W' {
			out = append(append(append(out, '"'), power...), '"')
		} else if fill, ok := f[string(key)]; ok {
			out = append(out, fill...)
		} else {
			out = append(out, "null"...)
		}
		text = text[i+end+1:]
	}
}

// loadFillers renders everything that slots refer to: four queries, whatever the number of machines.
func loadFillers(v *store.View) (fillers, error) {
	m, err := networks.Load(v)
	if err != nil {
		return nil, err
	}
	pools, err := v.Pools()
	if err != nil {
		return nil, err
	}
	zones, err := v.Zones()
	if err != nil {
		return nil, err
	}
	f := fillers{}
	put := func(kind byte, id int64, v any) {
		b, e := marshal(v)
		if e != nil && err == nil {
			err = e
		}
		f[string(kind)+strconv.FormatInt(id, 10)] = b
	}
	for _, p := range pools {
		put('P', p.ID, poolJSON(p))
	}
	for _, z := range zones {
		put('Z', z.ID, zoneJSON(z))
	}
	net := model{m}
	for _, x := range m.VLANs {
		put('V', x.ID, net.vlan(x))
	}
	for _, x := range m.Subnets {
		put('S', x.ID, net.subnet(x))
	}
	return f, err
}

// renderBatch is how many stale machines are loaded and rendered at a time.
const renderBatch = 250

// refresh renders anew every selected machine whose text is missing or old: a fixed number of queries for each
// batch.
func (a *API) refresh(ctx context.Context, q store.MachineQuery) error {
	for {
		texts, err := a.renderStale(ctx, q)
		if err != nil || len(texts) == 0 {
			return err
		}
		err = a.Gate.Observe(authz.AsSystem(ctx, "render"), gate.SeenText, func(tx *store.Tx, _ time.Time) error {
			for _, t := range texts {
				if err := tx.PutMachineText(t.ID, t.Revision, t.Text); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(texts) < renderBatch {
			return err
		}
	}
}

func (a *API) renderStale(ctx context.Context, q store.MachineQuery) (texts []store.MachineText, err error) {
	err = a.Gate.View(authz.AsSystem(ctx, "render"), authz.MachineView, func(v *gate.Viewing) error {
		stale, err := v.StaleMachines(q, renderBatch)
		if err != nil || len(stale) == 0 {
			return err
		}
		texts, err = renderAll(v.View, stale)
		return err
	})
	return texts, err
}

// renderAll renders machines with what belongs to them, in five queries.
func renderAll(v *store.View, list []metal.Machine) ([]store.MachineText, error) {
	ids := make([]string, len(list))
	for i, m := range list {
		ids[i] = m.SystemID
	}
	nics, err := v.Interfaces(ids...)
	if err != nil {
		return nil, err
	}
	disks, err := v.BlockDevices(ids...)
	if err != nil {
		return nil, err
	}
	sets, err := v.LatestScriptSets(ids...)
	if err != nil {
		return nil, err
	}
	events, err := v.LatestEvents(ids...)
	if err != nil {
		return nil, err
	}
	parts := make(map[string]*machineParts, len(list))
	for i := range list {
		parts[list[i].SystemID] = &machineParts{m: &list[i]}
	}
	for _, n := range nics {
		parts[n.SystemID].nics = append(parts[n.SystemID].nics, n)
	}
	for _, d := range disks {
		parts[d.SystemID].disks = append(parts[d.SystemID].disks, d)
	}
	for _, s := range sets {
		parts[s.SystemID].sets = append(parts[s.SystemID].sets, s)
	}
	for _, e := range events {
		parts[e.SystemID].event = e
	}
	texts := make([]store.MachineText, 0, len(list))
	for _, m := range list {
		body, err := marshal(parts[m.SystemID].json())
		if err != nil {
			return nil, err
		}
		texts = append(texts, store.MachineText{ID: m.ID, SystemID: m.SystemID, Revision: m.Revision, Text: toSlots(body)})
	}
	return texts, nil
}

// flushBytes is how much of a list is gathered before it is sent: large enough for few writes, small enough
// that the first byte comes early and memory stays flat.
const flushBytes = 256 << 10

// streamMachines answers with a list of machines as it is read from the store.
func (a *API) streamMachines(ctx context.Context, q store.MachineQuery) (streamed, error) {
	q.Filter = authz.Machines(authz.From(ctx), authz.MachineView)
	if err := a.refresh(ctx, q); err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		return a.Gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
			fill, err := loadFillers(v.View)
			if err != nil {
				return err
			}
			buf := append(make([]byte, 0, flushBytes+128<<10), '[')
			n := 0
			err = v.EachMachineText(q, func(m *store.MachineText) error {
				if n++; n > 1 {
					buf = append(buf, ',')
				}
				text := m.Text
				if len(text) == 0 { // it changed since refresh looked
					if text, err = renderOne(v.View, m.SystemID); err != nil {
						return err
					}
				}
				if buf, err = fill.splice(buf, text, m.Power); err != nil {
					return err
				}
				if len(buf) >= flushBytes {
					if _, err := w.Write(buf); err != nil {
						return err
					}
					buf = buf[:0]
				}
				return nil
			})
			if err != nil {
				if n > 0 {
					panic(http.ErrAbortHandler) // part of the list may be sent: break off rather than end it well-formed
				}
				return err
			}
			_, err = w.Write(append(buf, ']'))
			return err
		})
	}, nil
}

func renderOne(v *store.View, systemID string) ([]byte, error) {
	m, err := v.Machine(systemID)
	if err != nil {
		return nil, err
	}
	texts, err := renderAll(v, []metal.Machine{m})
	if err != nil {
		return nil, err
	}
	return texts[0].Text, nil
}

// machine answers with one machine. Kinds: NotFound, also for one the caller may not see.
func (a *API) machine(ctx context.Context, systemID string) (raw json.RawMessage, err error) {
	q := store.MachineQuery{SystemIDs: []string{systemID}}
	stale := false
	q.Filter = authz.Machines(authz.From(ctx), authz.MachineView)
	read := func() error {
		raw, stale = nil, false
		return a.Gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
			fill, err := a.slots.get(v.View, a.Now())
			if err != nil {
				return err
			}
			return v.EachMachineText(q, func(m *store.MachineText) error {
				if stale = len(m.Text) == 0; stale {
					return nil
				}
				raw, err = fill.splice(make([]byte, 0, len(m.Text)*2), m.Text, m.Power)
				return err
			})
		})
	}
	if err := read(); err != nil {
		return nil, err
	}
	if stale {
		if err := a.refresh(ctx, q); err != nil {
			return nil, err
		}
		if err := read(); err != nil {
			return nil, err
		}
	}
	if raw == nil && !stale {
		return nil, authz.NotFound(authz.NounMachine)
	}
	if stale { // it keeps changing
		return a.rendered(ctx, systemID)
	}
	return raw, err
}

// rendered answers with one machine as it is now, without keeping the text: what a change answers with, which would
// otherwise cost a second commit. The next list keeps it.
func (a *API) rendered(ctx context.Context, systemID string) (raw json.RawMessage, err error) {
	err = a.Gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
		m, err := v.MachineFor(v.Principal(), systemID)
		if err != nil {
			return err
		}
		if err := v.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		texts, err := renderAll(v.View, []metal.Machine{m})
		if err != nil {
			return err
		}
		fill, err := a.slots.get(v.View, a.Now())
		if err != nil {
			return err
		}
		raw, err = fill.splice(nil, texts[0].Text, m.PowerState)
		return err
	})
	return raw, err
}

// slotCache keeps the fillers until something that they show changes. Another region's change shows after
// slotLife at the latest.
type slotCache struct {
	mu      sync.Mutex
	fill    fillers   // guarded by mu
	until   time.Time // guarded by mu
	changes int       // counts invalidations, guarded by mu
}

const slotLife = time.Second

func (s *slotCache) get(v *store.View, now time.Time) (fillers, error) {
	s.mu.Lock()
	fill, until, changes := s.fill, s.until, s.changes
	s.mu.Unlock()
	if fill != nil && now.Before(until) {
		return fill, nil
	}
	fill, err := loadFillers(v)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes == changes { // else the transaction may be older than the change
		s.fill, s.until = fill, now.Add(slotLife)
	}
	return fill, nil
}

// Changed is told which objects calls have changed.
func (a *API) Changed(touched []authz.Target) {
	for _, t := range touched {
		switch t.Noun {
		case authz.NounPool, authz.NounZone, authz.NounFabric, authz.NounVLAN, authz.NounSubnet:
			a.slots.mu.Lock()
			a.slots.fill, a.slots.changes = nil, a.slots.changes+1
			a.slots.mu.Unlock()
			return
		}
	}
}
