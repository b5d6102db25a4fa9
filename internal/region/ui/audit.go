package ui

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/audit"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

const auditPage = 100

// auditFilters are the fields of the page's filter.
var auditFilters = []string{"principal", "action", "target", "outcome", "source", "from", "to"}

type auditData struct {
	Rows        []auditLine
	Filter      map[string]string
	Newest, Old string // addresses of the first and of the next page
}

type auditLine struct {
	store.AuditRow
	Details []string
}

// audit shows the trail. Reading it leaves no event; exporting it does.
func (q *request) audit() error {
	in := q.http.URL.Query()
	d := auditData{Filter: map[string]string{}}
	for _, name := range auditFilters {
		if text := metal.Printable(strings.TrimSpace(in.Get(name)), 256); text != "" {
			d.Filter[name] = text
		}
	}
	before, _ := strconv.ParseInt(in.Get("before"), 10, 64)
	query, err := audit.ParseQuery(in.Get)
	if err != nil {
		return q.again(err, "audit", "Audit trail", d)
	}
	query.Before, query.Limit = max(0, before), auditPage+1
	err = q.ui.Gate.View(q.http.Context(), authz.TrailView, func(v *gate.Viewing) error {
		rows, err := v.AuditEvents(query)
		for _, r := range rows {
			line := auditLine{AuditRow: r}
			for _, k := range slices.Sorted(maps.Keys(r.Detail)) {
				line.Details = append(line.Details, fmt.Sprintf("%s: %s", strings.ReplaceAll(k, "_", " "), r.Detail[k]))
			}
			d.Rows = append(d.Rows, line)
		}
		return err
	})
	if err != nil {
		return err
	}
	href := func(before int64) string {
		v := url.Values{}
		for name, text := range d.Filter {
			v.Set(name, text)
		}
		if before > 0 {
			v.Set("before", strconv.FormatInt(before, 10))
		}
		return "/audit?" + v.Encode()
	}
	if len(d.Rows) > auditPage {
		d.Rows = d.Rows[:auditPage]
		d.Old = href(d.Rows[auditPage-1].ID)
	}
	if before > 0 {
		d.Newest = href(0)
	}
	return q.show("audit", "Audit trail", d)
}

// exportAudit sends the trail as a file: whole with its proof, or what the filter selects as a table or list.
func (q *request) exportAudit() error {
	as := q.get("as")
	name := map[string]string{"proof": "trail.ndjson", "csv": "trail.csv", "json": "trail.json"}[as]
	if name == "" {
		return fault.Field("as", "Choose proof, csv or json.")
	}
	query, err := audit.ParseQuery(q.form.Get)
	if err != nil {
		return err
	}
	return q.ui.Gate.Reveal(q.http.Context(), authz.TrailExport, authz.Target{Noun: authz.NounTrail}, map[string]string{"as": as}, func(v *gate.Viewing) error {
		q.w.Header().Set("Content-Type", "application/octet-stream")
		q.w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
		switch as {
		case "csv":
			err = audit.WriteCSV(v.View, query, q.w)
		case "json":
			err = audit.WriteJSON(v.View, query, q.w)
		default:
			err = audit.Export(v.View, q.w)
		}
		if err != nil {
			panic(http.ErrAbortHandler) // part may be sent: break off rather than end it as if it were whole
		}
		return nil
	})
}
