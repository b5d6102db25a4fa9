package detect

import (
	"net/netip"
	"strings"
)

// MaxEvidence is how many lines an alert keeps, each of at most MaxEvidenceLine bytes.
const (
	MaxEvidence     = 5
	MaxEvidenceLine = 512
)

// An Alert is one finding: what a unit found about one key, however often. Texts are as they were read: who shows them makes them safe first.
type Alert struct {
	Unit     string
	Title    string
	Severity Severity
	Rung     Rung // the step that was reached
	Proves   bool // the evidence proves the source
	Known    bool // somebody logged in from there in the week before: a person's, an office's or a balancer's address
	Key      []KeyValue
	Client   netip.Addr // invalid when nobody is known
	Source   string     // the client as the line says
	User     string
	Host     string
	Program  string
	Opened   int64 // First as it was at the beginning: a line that comes late changes First, and never this. Microseconds since 1970
	First    int64
	Last     int64
	Told     int64
	Count    int64
	Lines    []Line
}

// KeyValue is one part of what an alert is about.
type KeyValue struct {
	Field string `json:"field"`
	Value string `json:"value"`
}

// Line is a piece of evidence.
type Line struct {
	From   string `json:"from"`
	Number int64  `json:"line"` // counted from 1; 0 when that is not known
	Text   string `json:"text"`
	User   string `json:"-"` // whom it names, so that the name can be hidden; "" when nobody, or when nobody is to be hidden
}

func (a *Alert) evidence(l Line) {
	l = Line{strings.Clone(l.From), l.Number, clip(l.Text, MaxEvidenceLine), clip(l.User, MaxEvidenceLine)}
	if n := len(a.Lines); n > 0 && a.Lines[n-1] == l {
		return
	}
	if len(a.Lines) >= MaxEvidence {
		a.Lines[MaxEvidence-1] = l
		return
	}
	a.Lines = append(a.Lines, l)
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return strings.Clone(s)
}
