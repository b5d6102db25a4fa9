package audit

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// ParseQuery reads the filters that pages and API share: principal, action, target, outcome, source, from, to.
// A principal without a kind is a user. Kinds: Invalid.
func ParseQuery(get func(string) string) (q store.AuditQuery, err error) {
	bad := fault.Fields{}
	field := func(name string) string { return metal.Printable(strings.TrimSpace(get(name)), 256) }
	q.Principal, q.Action, q.Target, q.Outcome, q.Source = field("principal"), field("action"), field("target"), field("outcome"), field("source")
	if q.Principal != "" && q.Principal != "anonymous" && !strings.Contains(q.Principal, ":") {
		q.Principal = "user:" + q.Principal
	}
	if outcomes := []string{"", metal.OutcomeSuccess, metal.OutcomeDenied, metal.OutcomeFailed}; !slices.Contains(outcomes, q.Outcome) {
		bad.Add("outcome", "Use success, denied or failed.")
	}
	for name, into := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		text := field(name)
		if text == "" {
			continue
		}
		var err error
		if *into, err = time.Parse(time.RFC3339, text); err != nil {
			*into, err = time.Parse(time.DateOnly, text)
		}
		if err != nil {
			bad.Add(name, "Enter a time such as 2027-03-01 or 2027-03-01T12:00:00Z.")
		}
	}
	return q, bad.Err()
}

// Plain is an event as people's programs read it.
type Plain struct {
	ID        int64             `json:"id"`
	Region    string            `json:"region"`
	Sequence  int64             `json:"sequence"` // 0 until it is sealed
	Time      time.Time         `json:"time"`
	Principal string            `json:"principal"`
	Action    string            `json:"action"`
	Target    string            `json:"target"`
	Outcome   string            `json:"outcome"`
	Source    string            `json:"source"`
	RequestID string            `json:"request_id"`
	Detail    map[string]string `json:"detail"`
}

// AsPlain writes an event for people's programs.
func AsPlain(r store.AuditRow) Plain {
	return Plain{r.ID, r.Region, r.Sequence, r.Time, r.Principal, r.Action, r.Target, r.Outcome, r.Source, r.RequestID, r.Detail}
}

const exportPage = 1000

// each tells every event that a query selects, oldest first.
func each(v *store.View, q store.AuditQuery, fn func(store.AuditRow) error) error {
	q.Oldest, q.Limit = true, exportPage
	for {
		rows, err := v.AuditEvents(q)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, r := range rows {
			if err := fn(r); err != nil {
				return err
			}
		}
		q.After = rows[len(rows)-1].ID
	}
}

// WriteJSON writes the events that a query selects as a list, oldest first.
func WriteJSON(v *store.View, q store.AuditQuery, w io.Writer) error {
	sep := "[\n"
	err := each(v, q, func(r store.AuditRow) error {
		b, err := json.Marshal(AsPlain(r))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s%s", sep, b)
		sep = ",\n"
		return err
	})
	if err != nil {
		return err
	}
	if sep == "[\n" {
		_, err = io.WriteString(w, "[]\n")
	} else {
		_, err = io.WriteString(w, "\n]\n")
	}
	return err
}

// WriteCSV writes the events that a query selects as a table with a head, oldest first.
func WriteCSV(v *store.View, q store.AuditQuery, w io.Writer) error {
	out := csv.NewWriter(w)
	if err := out.Write([]string{"id", "region", "sequence", "time", "principal", "action", "target", "outcome", "source", "request_id", "detail"}); err != nil {
		return err
	}
	err := each(v, q, func(r store.AuditRow) error {
		var detail []string
		for _, k := range slices.Sorted(maps.Keys(r.Detail)) {
			detail = append(detail, k+"="+r.Detail[k])
		}
		row := []string{fmt.Sprint(r.ID), r.Region, fmt.Sprint(r.Sequence), r.Time.Format(time.RFC3339Nano), r.Principal, r.Action, r.Target, r.Outcome, r.Source, r.RequestID,
			strings.Join(detail, "; ")}
		for i := range row {
			row[i] = cell(row[i])
		}
		return out.Write(row)
	})
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	return err
}

// cell keeps a text of a stranger from being a formula where a table is opened. Source: OWASP, CSV injection.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
