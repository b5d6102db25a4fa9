package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	goruntime "runtime"
	"strconv"
	"sync"
	"sync/atomic"
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

// Reading never writes. Run, in the background, keeps the texts of what changed; a list or a reader that is faster
// renders for itself what it finds old, and wakes Run.
const (
	renderBatch = 64                     // machines that are rendered, and kept, at a time: some megabytes, and some ten milliseconds of the writer
	renderDelay = 500 * time.Millisecond // a machine that changes several times in a row is rendered once
	renderEvery = 30 * time.Second       // what other regions changed
)

// Run renders machines after they changed, until the context ends.
func (a *API) Run(ctx context.Context) {
	for {
		if err := a.refresh(authz.AsSystem(ctx, "render")); err != nil && ctx.Err() == nil {
			a.Log.ErrorContext(ctx, "cannot render machines", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-a.stale:
		case <-time.After(renderEvery):
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(renderDelay):
		}
	}
}

// wake tells Run that there is something to render.
func (a *API) wake() {
	select {
	case a.stale <- struct{}{}:
	default: // it knows already
	}
}

// refresh renders and keeps every machine whose text is missing or old, in batches of a fixed number of queries.
func (a *API) refresh(ctx context.Context) error {
	for {
		var texts []store.MachineText
		err := a.Gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
			stale, err := v.StaleMachines(store.MachineQuery{Filter: authz.AllMachines}, renderBatch)
			if err == nil {
				texts, err = renderAll(v.View, stale)
			}
			return err
		})
		if err != nil || len(texts) == 0 {
			return err
		}
		err = a.Gate.Observe(ctx, gate.SeenText, func(tx *store.Tx, _ time.Time) error {
			for _, t := range texts {
				if err := tx.PutMachineText(t.ID, t.Revision, t.Text); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// renderAll renders machines with what belongs to them, in four queries, on all processors.
func renderAll(v *store.View, list []metal.Machine) ([]store.MachineText, error) {
	if len(list) == 0 {
		return nil, nil // no ids would select everybody's interfaces
	}
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
	texts, errs := make([]store.MachineText, len(list)), make([]error, len(list))
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(len(list), goruntime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(list)); i = next.Add(1) - 1 {
				m := &list[i]
				body, err := marshal(parts[m.SystemID].json())
				texts[i], errs[i] = store.MachineText{ID: m.ID, SystemID: m.SystemID, Revision: m.Revision, Text: toSlots(body)}, err
			}
		})
	}
	wg.Wait()
	return texts, errors.Join(errs...)
}

// flushBytes is how much of a list is gathered before it is sent: large enough for few writes, small enough
// that the first byte comes early and memory stays flat.
const flushBytes = 256 << 10

// windowBytes bounds the texts that a list holds back behind one that is being rendered.
const windowBytes = 4 << 20

// streamMachines answers with a list of machines, in order of id, as it is read from the store.
func (a *API) streamMachines(ctx context.Context, q store.MachineQuery) (streamed, error) {
	q.Filter = authz.Machines(authz.From(ctx), authz.MachineView)
	return func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		return a.Gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
			fill, err := loadFillers(v.View)
			if err != nil {
				return err
			}
			l := &machineList{w: w, fill: fill, buf: append(make([]byte, 0, flushBytes+128<<10), '[')}
			if err := l.stream(v.View, q); err != nil {
				if l.sent {
					panic(http.ErrAbortHandler) // break off rather than end it well-formed
				}
				return err
			}
			if l.rendered {
				a.wake()
			}
			_, err = w.Write(append(l.buf, ']'))
			return err
		})
	}, nil
}

// machineList is a list on its way to a client.
type machineList struct {
	w              http.ResponseWriter
	fill           fillers
	buf            []byte
	n              int  // machines
	sent, rendered bool // part of it is sent; some text was old
}

func (l *machineList) add(text []byte, power metal.PowerState) (err error) {
	if l.n++; l.n > 1 {
		l.buf = append(l.buf, ',')
	}
	if l.buf, err = l.fill.splice(l.buf, text, power); err != nil || len(l.buf) < flushBytes {
		return err
	}
	l.sent = true
	_, err = l.w.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

var errWindow = errors.New("the window is full")

// stream adds what the query selects: in one query, if all texts are there. From an old one on rows are held back up
// to a bound. Then the reading ends, because a connection to PostgreSQL does one thing at a time; the old ones are
// rendered at once, in the same transaction; and a new query goes on behind.
func (l *machineList) stream(v *store.View, q store.MachineQuery) error {
	for {
		var window []store.MachineText
		var old []int64
		size := 0
		err := v.EachMachineText(q, func(m *store.MachineText) error {
			q.After = m.ID
			switch {
			case len(m.Text) == 0:
				old = append(old, m.ID)
			case len(old) == 0:
				return l.add(m.Text, m.Power)
			}
			row := *m
			row.Text = bytes.Clone(m.Text)
			window, size = append(window, row), size+len(row.Text)
			if len(old) == renderBatch || size >= windowBytes {
				return errWindow
			}
			return nil
		})
		more := errors.Is(err, errWindow)
		if err != nil && !more || len(window) == 0 {
			return err
		}
		l.rendered = true
		list, err := v.Machines(store.MachineQuery{Filter: q.Filter, IDs: old})
		if err != nil {
			return err
		}
		texts, err := renderAll(v, list)
		if err != nil {
			return err
		}
		fresh := make(map[int64][]byte, len(texts))
		for _, t := range texts {
			fresh[t.ID] = t.Text
		}
		for _, row := range window {
			text := row.Text
			if len(text) == 0 {
				text = fresh[row.ID]
			}
			if err := l.add(text, row.Power); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
}

// machine answers with one machine. Kinds: NotFound, also for one the caller may not see.
func (a *API) machine(ctx context.Context, systemID string) (raw json.RawMessage, err error) {
	q := store.MachineQuery{SystemIDs: []string{systemID}, Filter: authz.Machines(authz.From(ctx), authz.MachineView)}
	found, old := false, false
	err = a.Gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
		fill, err := a.slots.get(v.View, a.Now())
		if err != nil {
			return err
		}
		return v.EachMachineText(q, func(m *store.MachineText) error {
			if found, old = true, len(m.Text) == 0; old {
				return nil
			}
			raw, err = fill.splice(make([]byte, 0, len(m.Text)*2), m.Text, m.Power)
			return err
		})
	})
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, authz.NotFound(authz.NounMachine)
	case old:
		a.wake()
		return a.rendered(ctx, systemID)
	}
	return raw, nil
}

// rendered answers with one machine as it is now: what a change answers with.
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
		case authz.NounMachine:
			a.wake()
		case authz.NounPool, authz.NounZone, authz.NounFabric, authz.NounVLAN, authz.NounSubnet:
			a.slots.mu.Lock()
			a.slots.fill, a.slots.changes = nil, a.slots.changes+1
			a.slots.mu.Unlock()
			return
		}
	}
}
