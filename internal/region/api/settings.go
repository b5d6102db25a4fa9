package api

import (
	"net/http"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
)

func (a *API) getConfig(r *request) (any, error) {
	var value any
	err := a.Gate.View(r.ctx, authz.SettingView, func(v *gate.Viewing) (err error) {
		value, err = v.SettingValue(r.form.Get("name"))
		return err
	})
	return value, err
}

func (a *API) setConfig(r *request) (any, error) {
	name := r.form.Get("name")
	return text{http.StatusOK, "OK"}, a.Gate.Do(r.ctx, authz.SettingEdit, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounSetting, ID: name}); err != nil {
			return err
		}
		s, ok := metal.FindSetting(name)
		if !ok {
			return fault.Field("name", "%.64s is not a valid config setting.", name)
		}
		value, err := s.Parse(r.form.Get("value"))
		if err != nil {
			return err
		}
		c.Note("value", value)
		return c.Tx().PutSetting(name, value)
	})
}
