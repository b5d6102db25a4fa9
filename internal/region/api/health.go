package api

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/telemetry"
)

type checkJSON struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Text  string `json:"text"`
}

func (a *API) health(r *request) (any, error) {
	if err := a.Gate.View(r.ctx, authz.TLSView, func(*gate.Viewing) error { return nil }); err != nil {
		return nil, err
	}
	checks := a.Health.Checks(r.ctx)
	return struct {
		State  string      `json:"state"`
		Checks []checkJSON `json:"checks"`
	}{telemetry.Worst(checks).String(), each(checks, func(c telemetry.Check) checkJSON { return checkJSON{c.Name, c.State.String(), c.Text} })}, nil
}
