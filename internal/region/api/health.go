package api

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/telemetry"
)

type checkJSON struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Text  string `json:"text"`
}

type encryptionJSON struct {
	What      string   `json:"what"`
	Path      string   `json:"path"`
	Encrypted string   `json:"encrypted"`
	Why       string   `json:"why"`
	Stack     []string `json:"stack"`
}

func (a *API) health(r *request) (any, error) {
	if err := a.Gate.View(r.ctx, authz.TLSView, func(*gate.Viewing) error { return nil }); err != nil {
		return nil, err
	}
	checks := a.Health.Checks(r.ctx)
	return struct {
		State  string           `json:"state"`
		Checks []checkJSON      `json:"checks"`
		Disks  []encryptionJSON `json:"disks"`
	}{telemetry.Worst(checks).String(), each(checks, func(c telemetry.Check) checkJSON { return checkJSON{c.Name, c.State.String(), c.Text} }),
		each(a.Disks(r.ctx), func(d host.Disk) encryptionJSON {
			return encryptionJSON{d.What, d.Path, string(d.Verdict), d.Why, orEmpty(d.Stack)}
		})}, nil
}
