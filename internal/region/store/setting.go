package store

import (
	"encoding/json"
	"fmt"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

// SettingValue returns a site setting's value, a string, bool or int as declared. Kinds: Invalid on "name".
func (v *View) SettingValue(name string) (any, error) {
	s, ok := metal.FindSetting(name)
	if !ok {
		return nil, fault.Field("name", "%.64s is not a valid config setting.", name)
	}
	text, set, err := v.Setting(name)
	if err != nil || !set {
		return s.Default, err
	}
	switch s.Default.(type) {
	case bool:
		var b bool
		err = json.Unmarshal([]byte(text), &b)
		return b, err
	case int:
		var n int
		err = json.Unmarshal([]byte(text), &n)
		return n, err
	default:
		var t string
		err = json.Unmarshal([]byte(text), &t)
		return t, err
	}
}

// SettingInt returns a numeric site setting.
func (v *View) SettingInt(name string) (int, error) {
	x, err := v.SettingValue(name)
	n, ok := x.(int)
	if err == nil && !ok {
		err = fmt.Errorf("cannot use setting %s as a number", name)
	}
	return n, err
}

// SettingBool returns a site setting that is true or false.
func (v *View) SettingBool(name string) (bool, error) {
	x, err := v.SettingValue(name)
	b, ok := x.(bool)
	if err == nil && !ok {
		err = fmt.Errorf("cannot use setting %s as true or false", name)
	}
	return b, err
}
