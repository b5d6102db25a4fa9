package api

import (
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

func (a *API) results(r *request) (any, error) {
	output, err := metal.ParseBool(r.form.Get("include_output"))
	if err != nil {
		return nil, fault.Field("include_output", "%s", fault.Message(err))
	}
	sets, err := a.Machines.ScriptSets(r.ctx, r.path["system_id"], output)
	if err != nil {
		return nil, err
	}
	kinds := r.list("type")
	sets = slices.DeleteFunc(sets, func(s metal.ScriptSet) bool {
		return len(kinds) > 0 && !slices.Contains(kinds, strings.ToLower(s.Type.String())) && !slices.Contains(kinds, strconv.Itoa(int(s.Type)))
	})
	return each(filterResults(r, sets), func(s metal.ScriptSet) any { return scriptSetJSON(s, output) }), nil
}

func filterResults(r *request, sets []metal.ScriptSet) []metal.ScriptSet {
	names := r.list("filters")
	if len(names) == 0 {
		return sets
	}
	for i := range sets {
		sets[i].Results = slices.DeleteFunc(sets[i].Results, func(x metal.ScriptResult) bool { return !slices.Contains(names, x.Name) })
	}
	return sets
}

func (a *API) result(r *request) (any, error) {
	output, err := metal.ParseBool(r.form.Get("include_output"))
	if err != nil {
		return nil, fault.Field("include_output", "%s", fault.Message(err))
	}
	sets, err := a.Machines.ScriptSets(r.ctx, r.path["system_id"], output)
	if err != nil {
		return nil, err
	}
	for _, s := range filterResults(r, sets) {
		if r.path["id"] == strconv.FormatInt(s.ID, 10) || r.path["id"] == "current-"+strings.ToLower(s.Type.String()) {
			return scriptSetJSON(s, output), nil
		}
	}
	return nil, fault.New(fault.NotFound, "No ScriptSet matches the given query.")
}
