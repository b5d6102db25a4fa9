package ui

import (
	"fmt"
	"net/http"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/secret"
)

// settingLine is a site setting with its value. Kind is "bool", "int" or "string": which input it gets.
type settingLine struct {
	metal.Setting
	Value any
	Kind  string
	Own   bool // differs from the default
}

func (q *request) settingsData() (lines []settingLine, err error) {
	err = q.ui.Gate.View(q.http.Context(), authz.SettingView, func(v *gate.Viewing) error {
		for _, s := range metal.Settings {
			l := settingLine{Setting: s, Kind: "string"}
			switch s.Default.(type) {
			case bool:
				l.Kind = "bool"
			case int:
				l.Kind = "int"
			}
			var err error
			if l.Value, err = v.SettingValue(s.Name); err != nil {
				return err
			}
			l.Own = l.Value != s.Default
			lines = append(lines, l)
		}
		return nil
	})
	return lines, err
}

// setting reads one site setting for a page that says how the site does something, whoever reads the page.
func (q *request) setting(name string) (x any, err error) {
	err = q.ui.Gate.View(authz.AsSystem(q.http.Context(), "ui"), authz.SettingView, func(v *gate.Viewing) error {
		x, err = v.SettingValue(name)
		return err
	})
	return x, err
}

func (q *request) settings() error {
	lines, err := q.settingsData()
	if err != nil {
		return err
	}
	return q.show("settings", "Settings", lines)
}

// setMailLogin sets the account for sending mail; it is never shown again.
func (q *request) setMailLogin() error {
	if err := q.ui.Notify.SetMailLogin(q.http.Context(), q.get("mail_username"), secret.FromString(q.form.Get("mail_password"))); err != nil {
		if f, ok := fault.As(err); ok && f.Kind == fault.Invalid { // the page has other fields of these names
			fields := fault.Fields{}
			for name, texts := range f.Fields {
				fields["mail_"+name] = texts
			}
			err = fields.Err()
		}
		lines, failed := q.settingsData()
		if failed != nil {
			return failed
		}
		return q.again(err, "settings", "Settings", lines)
	}
	return q.redirect("/settings", "saved")
}

// setWebhook sets where notifications are posted to; it is never shown again.
func (q *request) setWebhook() error {
	if err := q.ui.Notify.SetWebhook(q.http.Context(), secret.FromString(q.get("url"))); err != nil {
		lines, failed := q.settingsData()
		if failed != nil {
			return failed
		}
		return q.again(err, "settings", "Settings", lines)
	}
	return q.redirect("/settings", "saved")
}

// testNotify sends a test and shows how it went.
func (q *request) testNotify() error {
	results, err := q.ui.Notify.Test(q.http.Context())
	if err != nil {
		return err
	}
	lines, err := q.settingsData()
	if err != nil {
		return err
	}
	p := q.page("Settings", lines)
	p.Notice = "Webhook: " + results["webhook"] + ". E-mail: " + results["email"] + "."
	return q.render(http.StatusOK, "settings", p)
}

// saveSettings stores the settings that differ from what is there, in one call: all of them or none.
func (q *request) saveSettings() error {
	lines, err := q.settingsData()
	if err != nil {
		return err
	}
	bad, changed := fault.Fields{}, map[string]string{}
	for _, l := range lines {
		text := q.form.Get(l.Name)
		if l.Kind == "bool" {
			text = map[bool]string{true: "true", false: "false"}[q.form.Has(l.Name)]
		}
		value, err := l.Parse(text)
		if err != nil {
			if f, ok := fault.As(err); ok {
				bad[l.Name] = f.Fields["value"]
				continue
			}
			return err
		}
		if was, err := l.Parse(textOf(l.Value)); err != nil || was != value {
			changed[l.Name] = value
		}
	}
	if err := bad.Err(); err != nil {
		return q.again(err, "settings", "Settings", lines)
	}
	if len(changed) == 0 {
		return q.redirect("/settings", "saved")
	}
	err = q.ui.Gate.Do(q.http.Context(), authz.SettingEdit, func(c *gate.Call) error {
		for _, l := range lines { // in the table's order, so that the trail names the first one
			value, ok := changed[l.Name]
			if !ok {
				continue
			}
			if err := c.Require(authz.Target{Noun: authz.NounSetting, ID: l.Name}); err != nil {
				return err
			}
			c.Note(l.Name, value)
			if err := c.Tx().PutSetting(l.Name, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return q.again(err, "settings", "Settings", lines)
	}
	return q.redirect("/settings", "saved")
}

// textOf writes a value as its form does.
func textOf(v any) string { return fmt.Sprint(v) }
