package logs

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// object is what is read of one object of journalctl's JSON, of MAAS's and of Metalward's. Names are theirs.
type object struct {
	// journald; names that begin with "_" are its own and cannot be forged by who writes.
	Realtime  string          `json:"__REALTIME_TIMESTAMP"`
	Source    string          `json:"_SOURCE_REALTIME_TIMESTAMP"`
	Comm      string          `json:"_COMM"`
	Transport string          `json:"_TRANSPORT"`
	Host      string          `json:"_HOSTNAME"`
	PID       string          `json:"_PID"`
	Ident     string          `json:"SYSLOG_IDENTIFIER"`
	Message   json.RawMessage `json:"MESSAGE"`

	// MAAS and Metalward.
	Text      string `json:"message"`
	Event     string `json:"event"`
	Stamp     string `json:"timestamp"`
	Datetime  string `json:"datetime"`
	AppID     string `json:"appid"`
	Type      string `json:"type"`
	User      string `json:"user_id"`
	Trace     string `json:"trace_id"`
	Method    string `json:"request_method"`
	Path      string `json:"request_path"`
	RemoteIP  string `json:"request_remote_ip"`
	Agent     string `json:"useragent"`
	Status    int    `json:"status_code"`
	Action    string `json:"action"`
	Target    string `json:"target"`
	Outcome   string `json:"outcome"`
	Principal string `json:"principal"`
}

// decode reads an object. A field of another type than is wanted, such as one that occurs twice in an entry of the journal, is left out, and all others count.
func decode(line string, o *object) error {
	err := json.Unmarshal([]byte(line), o)
	if errors.As(err, new(*json.UnmarshalTypeError)) {
		return nil
	}
	return err
}

// json reads a line that is one JSON object.
func (p *Parser) json(line string, r *Record) {
	var o object
	if err := decode(line, &o); err != nil {
		r.Kind, r.Malformed, r.Message = Unknown, true, line
		return
	}
	if o.Realtime == "" && o.Source == "" && o.Message == nil {
		r.Kind, r.Message = MAAS, line
		p.fields(&o, r)
		return
	}
	p.entry(&o, message(o.Message, true), r)
}

// Entry reads one entry of the journal, by its fields' names (systemd.journal-fields).
func (p *Parser) Entry(field func(name string) string, r *Record) {
	r.reset()
	o := object{Realtime: field("__REALTIME_TIMESTAMP"), Source: field("_SOURCE_REALTIME_TIMESTAMP"), Comm: field("_COMM"), Transport: field("_TRANSPORT"),
		Host: field("_HOSTNAME"), PID: field("_PID"), Ident: field("SYSLOG_IDENTIFIER")}
	p.entry(&o, cutLine(field("MESSAGE")), r)
}

func (p *Parser) entry(o *object, text string, r *Record) {
	stamp := o.Source
	if stamp == "" {
		stamp = o.Realtime
	}
	r.Time, _ = strconv.ParseInt(stamp, 10, 64)
	r.Host = o.Host
	if n, ok := number(o.PID); ok {
		r.PID = uint32(n)
	}
	if r.Message = text; len(text) > MaxLine {
		r.Message, r.Cut = text[:MaxLine], true
	}
	// What the sender calls itself is trusted only where journald does not know better: sshd's lines come from a process of that name.
	r.Program = o.Ident
	switch {
	case o.Transport == "kernel":
		r.Program = "kernel"
	case strings.HasPrefix(o.Ident, "sshd"):
		r.Program = o.Comm
	case o.Comm == "sshd" || o.Comm == "sshd-session" || o.Comm == "sshd-auth":
		r.Program = o.Comm
	case o.Ident == "kernel":
		r.Program = o.Comm
	}
	p.dispatch(r)
}

// message reads journald's MESSAGE: a string, or an array of bytes where it is not UTF-8, or the first of several.
func message(raw json.RawMessage, outer bool) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return cutLine(s)
	}
	var bytes []byte
	var numbers []uint16
	if json.Unmarshal(raw, &numbers) == nil {
		for _, n := range numbers[:min(len(numbers), MaxLine)] {
			bytes = append(bytes, byte(n))
		}
		return cutLine(string(bytes))
	}
	var several []json.RawMessage
	if outer && json.Unmarshal(raw, &several) == nil && len(several) > 0 {
		return message(several[0], false)
	}
	return ""
}

// cutLine keeps the first line: a message of several must not smuggle in a second one.
func cutLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// object reads a JSON object that is the message of a line.
func (p *Parser) object(s string, r *Record) {
	var o object
	if err := decode(s, &o); err != nil {
		r.Malformed = true
		return
	}
	p.fields(&o, r)
}

// fields reads MAAS's and Metalward's objects.
func (p *Parser) fields(o *object, r *Record) {
	for _, stamp := range []string{o.Datetime, o.Stamp} {
		if r.Time == 0 {
			r.Time, _ = p.iso(stamp)
		}
	}
	if r.Program == "" {
		r.Program = "maas-regiond"
		if o.AppID == "metalward" {
			r.Program = "metalward"
		}
	}
	text := o.Text
	if text == "" {
		text = o.Event
	}
	if o.Type != "security" {
		if p.regiondAccess(text, r) {
			return
		}
		switch text {
		case "Start processing request":
			p.trace.put(o.Trace, request{o.RemoteIP, o.Method, o.Path, o.Agent})
			r.Kind = Other
		case "End processing request":
			q := p.trace.by[o.Trace]
			r.Method, r.Target, r.Agent, r.Status = q.method, q.path, q.agent, o.Status
			r.blame(q.source)
			p.login(r)
		default:
			r.Kind = Other
		}
		return
	}
	r.Event, _, _ = strings.Cut(text, ":")
	r.Outcome = securityOutcomes[r.Event]
	r.User, r.Trace, r.Agent = o.User, o.Trace, o.Agent
	if r.User == "" {
		r.User = strings.TrimPrefix(o.Principal, "user:")
	}
	who := o.RemoteIP
	if who == "" && o.Trace != "" {
		who = p.trace.by[o.Trace].source
	}
	if who != "" {
		r.blame(who)
	}
	r.Method, r.Target = o.Method, o.Path
	if o.Action != "" { // Metalward's own
		r.Prefix = o.Action
	}
}
