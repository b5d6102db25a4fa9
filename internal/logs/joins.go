package logs

import (
	"net/netip"
	"strings"
)

// keptConnections bounds the connections of sshd whose lines are joined, keptName what is kept of each name in them.
const (
	keptConnections = 4096
	keptName        = 256 // bytes
)

// brief is as much of a name as is kept.
func brief(s string) string { return s[:min(len(s), keptName)] }

// sameConnection is how long after a line of a process another one of the same number is taken for the same connection: sshd gives a login two minutes, and
// numbers of processes come back.
const sameConnection = 300 * second

// sameAttempt is how far apart two lines of one attempt are at most.
const sameAttempt = 2 * second

// joins knows what earlier lines of the same process said: sshd writes several lines for one attempt, some of them without an address. A process has
// one place; another one that comes to the same place takes it.
type joins struct {
	by []connection
}

type connection struct {
	pid     uint32
	host    string
	seen    int64 // when its newest line was
	source  netip.Addr
	name    string // Source's text
	user    string
	last    int64 // when the last counted failure of user was
	counted bool  // a failure was counted
	pending bool  // a refusal was told whose address is not known, or that another line will tell again
}

// known is the connection of the process that wrote a line, or nil. Logs of several hosts come together in one file: numbers of processes are told apart by them.
func (j *joins) known(r *Record) *connection {
	if j.by == nil {
		return nil
	}
	c := &j.by[r.PID%keptConnections]
	if c.pid != r.PID || c.host != brief(r.Host) || r.Time-c.seen > sameConnection || c.seen-r.Time > sameConnection {
		return nil
	}
	return c
}

// of is the connection of the process that wrote a line, from now on at least.
func (j *joins) of(r *Record) *connection {
	if j.by == nil {
		j.by = make([]connection, keptConnections)
	}
	c := j.known(r)
	if c == nil {
		c = &j.by[r.PID%keptConnections]
		*c = connection{pid: r.PID, host: strings.Clone(brief(r.Host))}
	}
	c.seen = r.Time
	return c
}

// join completes a record by what the same process said before.
func (j *joins) join(r *Record, s string, pre bool) {
	if r.PID == 0 {
		return
	}
	c := j.known(r)
	switch {
	case r.Outcome == Failure:
		c = j.of(r)
		if c.counted && c.user == brief(r.User) && c.source == r.Source && r.Time-c.last <= sameAttempt && r.Time >= c.last-sameAttempt && r.Count == 1 {
			r.Again = true
		} else if r.Event == "closed" && (c.counted || c.pending) && (c.source == r.Source || c.name == "") {
			// "Connection closed by authenticating user": tells anew what was counted.
			r.Again, r.Outcome = true, Same
			if !c.counted {
				r.Again, r.Outcome = false, Failure
			}
		}
		c.fail(r)
	case r.Outcome == Success:
		if c != nil {
			c.pending, c.counted = false, false
		}
	case r.Event == "from":
		c = j.of(r)
		c.learn(r)
		c.counted, c.pending = false, false
	case r.Event == "pending":
		c = j.of(r)
		if r.SourceName != "" {
			c.learn(r)
		}
		c.pending = !c.counted || r.Time-c.last > sameAttempt // else it is the attempt that was counted
	case r.Event == "toomany":
		if c == nil || c.name == "" || c.counted && r.Time-c.last <= sameAttempt {
			c = j.of(r)
			c.pending = !c.counted
			return
		}
		r.SourceName, r.Source = c.name, c.source
		if !c.counted {
			r.Outcome = Failure
			c.fail(r)
		}
	case c == nil:
	case r.Outcome == Probe && r.SourceName == "":
		r.SourceName, r.Source = c.name, c.source
	case c.pending && pre && r.SourceName != "" && (r.Event == "closed" || strings.HasPrefix(s, "Received disconnect")):
		r.Outcome = Failure
		c.fail(r)
	}
}

func (c *connection) learn(r *Record) {
	if name := brief(r.SourceName); c.name != name {
		c.name = strings.Clone(name)
	}
	c.source = r.Source
}

// fail remembers that a refusal was counted. One that tells the same attempt again does not make the attempt last longer: else a client whose guesses come a second
// apart would make one of them all.
func (c *connection) fail(r *Record) {
	c.learn(r)
	if !r.Again {
		c.last = r.Time
	}
	c.counted, c.pending = true, false
	if user := brief(r.User); c.user != user {
		c.user = strings.Clone(user)
	}
}
