package api

import (
	"encoding/json"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/secret"
)

// bindNotifications binds what people are told.
func (a *API) bindNotifications() map[string]handler {
	return map[string]handler{
		"notifications.list": func(r *request) (any, error) {
			list, err := a.Notify.Mine(r.ctx)
			return each(list, notificationJSON), err
		},
		"notifications.create": func(r *request) (any, error) {
			n := metal.Notification{Dismissable: true}
			change, err := notificationChange(r)
			if err != nil {
				return nil, err
			}
			change(&n)
			n, err = a.Notify.Create(r.ctx, n)
			return notificationJSON(n), err
		},
		"notifications.set_webhook": func(r *request) (any, error) {
			return nil, a.Notify.SetWebhook(r.ctx, secret.FromString(strings.TrimSpace(r.form.Get("url"))))
		},
		"notifications.set_mail_login": func(r *request) (any, error) {
			return nil, a.Notify.SetMailLogin(r.ctx, r.form.Get("username"), secret.FromString(r.form.Get("password")))
		},
		"notifications.test": func(r *request) (any, error) { return a.Notify.Test(r.ctx) },
		"notification.read": a.onNotification(func(r *request, id int64) (any, error) {
			n, err := a.Notify.Get(r.ctx, id)
			return notificationJSON(n), err
		}),
		"notification.update": a.onNotification(func(r *request, id int64) (any, error) {
			change, err := notificationChange(r)
			if err != nil {
				return nil, err
			}
			n, err := a.Notify.Update(r.ctx, id, change)
			return notificationJSON(n), err
		}),
		"notification.delete": a.onNotification(func(r *request, id int64) (any, error) { return nil, a.Notify.Delete(r.ctx, id) }),
		"notification.dismiss": a.onNotification(func(r *request, id int64) (any, error) {
			return json.RawMessage("null"), a.Notify.Dismiss(r.ctx, id)
		}),
	}
}

func (a *API) onNotification(fn func(*request, int64) (any, error)) handler {
	return func(r *request) (any, error) {
		id, err := r.id("id", authz.NounNotification)
		if err != nil {
			return nil, err
		}
		return fn(r, id)
	}
}

// notificationChange reads the fields that were sent.
func notificationChange(r *request) (func(*metal.Notification), error) {
	bad := fault.Fields{}
	flags := map[string]*bool{}
	for _, name := range []string{"users", "admins", "dismissable"} {
		if v := r.get(name); v != nil {
			b, err := metal.ParseBool(*v)
			bad.AddErr(name, err)
			flags[name] = &b
		}
	}
	context, err := metal.ParseContext(r.form.Get("context"))
	if f, ok := fault.As(err); ok {
		bad["context"] = f.Fields["context"]
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	return func(n *metal.Notification) {
		for name, into := range map[string]*string{"message": &n.Message, "category": &n.Category, "ident": &n.Ident, "user": &n.User} {
			if v := r.get(name); v != nil {
				*into = *v
			}
		}
		for name, into := range map[string]*bool{"users": &n.Users, "admins": &n.Admins, "dismissable": &n.Dismissable} {
			if flags[name] != nil {
				*into = *flags[name]
			}
		}
		if r.get("context") != nil {
			n.Context = context
		}
	}, nil
}

func notificationJSON(n metal.Notification) any {
	context := n.Context
	if context == nil {
		context = map[string]string{}
	}
	var user any
	if n.User != "" {
		user = map[string]any{"username": n.User, "resource_uri": uri("/users/%s/", n.User)}
	}
	return struct {
		ID          int64             `json:"id"`
		Ident       any               `json:"ident"`
		User        any               `json:"user"`
		Users       bool              `json:"users"`
		Admins      bool              `json:"admins"`
		Message     string            `json:"message"`
		Context     map[string]string `json:"context"`
		Category    string            `json:"category"`
		Dismissable bool              `json:"dismissable"`
		URI         string            `json:"resource_uri"`
	}{n.ID, orNull(n.Ident), user, n.Users, n.Admins, n.Message, context, n.Category, n.Dismissable, uri("/notifications/%d/", n.ID)}
}
