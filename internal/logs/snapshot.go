package logs

import (
	"errors"
	"net/netip"
)

// Snapshot is what a parser remembers between lines, so that it can go on after a restart. Its fields are for encoding only.
type Snapshot struct {
	Year, Month int
	Connections []SavedConnection
	Traces      []SavedTrace
	Order       uint8
}

// SavedConnection is what lines of one sshd process said.
type SavedConnection struct {
	PID              uint32
	Source           netip.Addr
	Host, Name, User string
	Last, Seen       int64
	Counted, Pending bool
}

// SavedTrace is the first line of a request of MAAS's API server.
type SavedTrace struct{ ID, Source, Method, Path, Agent string }

// Save gives what the parser remembers.
func (p *Parser) Save() Snapshot {
	s := Snapshot{Year: p.years.now, Month: p.years.month, Order: uint8(p.order)}
	for _, c := range p.ssh.by {
		if c.pid != 0 {
			s.Connections = append(s.Connections, SavedConnection{c.pid, c.source, c.host, c.name, c.user, c.last, c.seen, c.counted, c.pending})
		}
	}
	for i := range p.trace.ring { // in the order in which they came
		if id := p.trace.ring[(p.trace.next+i)%keptTraces]; id != "" {
			q := p.trace.by[id]
			s.Traces = append(s.Traces, SavedTrace{id, q.source, q.method, q.path, q.agent})
		}
	}
	return s
}

// Load makes a parser go on from a snapshot.
func (p *Parser) Load(s Snapshot) error {
	if s.Month < 0 || s.Month > 12 || len(s.Connections) > keptConnections || len(s.Traces) > keptTraces || s.Order > uint8(vhostFirst) {
		return errors.New("the saved state contradicts itself")
	}
	p.years.now, p.years.month, p.order = s.Year, s.Month, order(s.Order)
	for _, c := range s.Connections {
		*p.ssh.of(&Record{PID: c.PID, Host: c.Host, Time: c.Seen}) = connection{pid: c.PID, host: c.Host, seen: c.Seen, source: c.Source, name: c.Name, user: c.User, last: c.Last,
			counted: c.Counted, pending: c.Pending}
	}
	for _, t := range s.Traces {
		p.trace.put(t.ID, request{t.Source, t.Method, t.Path, t.Agent})
	}
	return nil
}
