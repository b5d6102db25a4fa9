package api

import (
	"context"
	"io"
	"net/http"
	"slices"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/audit"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// bindTrail binds the audit trail.
func (a *API) bindTrail() map[string]handler {
	return map[string]handler{"trail.list": a.listTrail, "trail.export": a.exportTrail}
}

func (a *API) listTrail(r *request) (any, error) {
	q, err := audit.ParseQuery(r.form.Get)
	if err != nil {
		return nil, err
	}
	if q.Before, q.After, q.Limit, err = r.page(); err != nil {
		return nil, err
	}
	rows, err := a.trailPage(r.ctx, q)
	return each(rows, audit.AsPlain), err
}

// trailPage reads a page of the trail, newest first; of those after an id the ones next to it.
func (a *API) trailPage(ctx context.Context, q store.AuditQuery) (rows []store.AuditRow, err error) {
	q.Oldest = q.After != 0
	err = a.Gate.View(ctx, authz.TrailView, func(v *gate.Viewing) error { rows, err = v.AuditEvents(q); return err })
	if q.Oldest {
		slices.Reverse(rows)
	}
	return rows, err
}

// exportTrail answers with the whole trail and its proof, or with the events that the form selects.
func (a *API) exportTrail(r *request) (any, error) {
	q, err := audit.ParseQuery(r.form.Get)
	if err != nil {
		return nil, err
	}
	as := r.form.Get("as")
	kind := map[string]string{"": "application/x-ndjson", "proof": "application/x-ndjson", "csv": "text/csv; charset=utf-8", "json": "application/json; charset=utf-8"}[as]
	if kind == "" {
		return nil, fault.Field("as", "Use proof, csv or json.")
	}
	if as != "csv" && as != "json" && len(r.form) > len(r.form["as"]) {
		return nil, fault.Field("as", "The proof is of the whole trail; to select events, use csv or json.")
	}
	return streamed(func(w http.ResponseWriter) error {
		return a.Gate.Reveal(r.ctx, authz.TrailExport, authz.Target{Noun: authz.NounTrail}, map[string]string{"as": as}, func(v *gate.Viewing) error {
			w.Header().Set("Content-Type", kind)
			out := &begun{w: w}
			var err error
			switch as {
			case "csv":
				err = audit.WriteCSV(v.View, q, out)
			case "json":
				err = audit.WriteJSON(v.View, q, out)
			default:
				err = audit.Export(v.View, out)
			}
			if err != nil && out.yes {
				panic(http.ErrAbortHandler) // part is sent: break off rather than end it as if it were whole
			}
			return err
		})
	}), nil
}

// begun notes that something was sent.
type begun struct {
	w   io.Writer
	yes bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.w.Write(p)
}
