package api

import (
	"slices"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/controllers"
)

func (a *API) listControllers(want func(metal.NodeType) bool) handler {
	return func(r *request) (any, error) {
		list, err := a.Controllers.List(r.ctx)
		list = slices.DeleteFunc(list, func(c metal.Controller) bool { return !want(c.Type) })
		return each(list, func(c metal.Controller) any { return controllerJSON(c, a.Now()) }), err
	}
}

func (a *API) readController(r *request) (any, error) {
	c, err := a.Controllers.Get(r.ctx, r.path["system_id"])
	if err != nil {
		return nil, err
	}
	return controllerJSON(c, a.Now()), nil
}

// mintToken answers with a rack's enrolment token, which is nowhere to be read again.
func (a *API) mintToken(r *request) (any, error) {
	t, err := a.Controllers.MintToken(r.ctx, r.form.Get("name"))
	if err != nil {
		return nil, err
	}
	r.w.Header().Set("Cache-Control", "no-store")
	return map[string]any{"name": t.RackName, "token": t.Text().RevealString(), "expires": stamp(t.Expires),
		"region": a.BaseURL, "ca_fingerprint": t.CA, "command": controllers.EnrolCommand(a.BaseURL)}, nil
}

func (a *API) sharedSecret(r *request) (any, error) {
	s, err := a.Controllers.RevealShared(r.ctx)
	if err != nil {
		return nil, err
	}
	r.w.Header().Set("Cache-Control", "no-store")
	return map[string]any{"secret": s.Text().RevealString(), "rotated": timeOrNull(s.Rotated)}, nil
}

func (a *API) rotateShared(r *request) (any, error) {
	refuse, err := metal.ParseBool(r.form.Get("refuse_tokens"))
	if err != nil {
		return nil, fault.Field("refuse_tokens", "%s", fault.Message(err))
	}
	s, err := a.Controllers.RotateShared(r.ctx, refuse)
	if err != nil {
		return nil, err
	}
	return map[string]any{"rotated": timeOrNull(s.Rotated), "old_tokens_until": timeOrNull(s.PreviousEnds)}, nil
}
