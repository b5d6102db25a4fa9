package api

import (
	"slices"

	"github.com/metalward/metalward/internal/metal"
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
