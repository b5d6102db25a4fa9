package ui

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

const auditPage = 100

type auditData struct {
	Rows        []auditLine
	Target      string
	Newest, Old string // addresses of the first and of the next page
}

type auditLine struct {
	store.AuditRow
	Details []string
}

// audit shows the trail. Reading it leaves no event; exporting it will.
func (q *request) audit() error {
	in := q.http.URL.Query()
	d := auditData{Target: metal.Printable(in.Get("target"), 256)}
	before, _ := strconv.ParseInt(in.Get("before"), 10, 64)
	err := q.ui.Gate.View(q.http.Context(), authz.TrailView, func(v *gate.Viewing) error {
		rows, err := v.AuditEvents(max(0, before), d.Target, auditPage+1)
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
		if d.Target != "" {
			v.Set("target", d.Target)
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
