package notify

import (
	"context"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

// Told looks at an event of the trail. It never blocks.
func (s *Service) Told(_ authz.Principal, _ authz.Origin, e metal.AuditEvent) {
	if _, ok := worth(e); !ok {
		return
	}
	select {
	case s.events <- e:
	default: // the trail has it
	}
}

// worth says what administrators should hear of an event; false when nothing.
func worth(e metal.AuditEvent) (n metal.Notification, ok bool) {
	n = metal.Notification{Admins: true, Category: "warning", Dismissable: true, Context: map[string]string{"who": e.Principal, "source": from(e.Source)}}
	about := func(name, message, ident string) (metal.Notification, bool) {
		n.Context["name"], n.Message, n.Ident = name, message, clip(ident+name)
		return n, true
	}
	change, admins := e.Detail["change"], e.Detail["group"] == metal.GroupAdministrators
	const everything = authz.Administrator + " on all pools"
	switch {
	case e.Action == string(authz.SecurityEvent) && e.Detail["event"] == "authn_login_fail_max":
		return about(e.Detail["username"], "Many failed logins as {name}{source}. Further attempts have to wait.", "logins:")
	case e.Action == string(authz.SecurityEvent) && e.Detail["event"] == "authn_key_new_network":
		return about(e.Detail["username"], "An API key of {name} was used from a network that it was never used from before{source}.", "key:")
	case e.Action == string(authz.SecurityEvent) && e.Detail["event"] == "key_exposed":
		n.Category = "error"
		return about("", "An API key was sent without TLS{source}. Delete it and make a new one.", "exposed:"+e.Source)
	case e.Outcome != metal.OutcomeSuccess:
		return n, false
	case admins && e.Detail["added"] != "":
		return about(e.Detail["added"], "{name} is an administrator now, by {who}.", "admin:")
	case admins && e.Detail["username"] != "":
		return about(e.Detail["username"], "{name} is an administrator now, by {who}.", "admin:")
	case e.Action == string(authz.GrantEdit) && strings.Contains(e.Detail["after"], everything) && !strings.Contains(e.Detail["before"], everything):
		return about(e.Detail["to"], "{name} is an administrator now, by {who}.", "admin:")
	case e.Action == string(authz.UserRights) && strings.Contains(e.Detail["given"], everything):
		n.Context["who"] = "the RBAC service " + e.Detail["service"]
		return about(e.Detail["username"], "{name} is an administrator now, by {who}.", "admin:")
	case change == "second factors reset" || change == "second factor removed":
		name := e.Detail["username"]
		if name == "" {
			_, name, _ = strings.Cut(e.Principal, ":")
		}
		return about(name, "A second factor of {name} was taken away, by {who}.", "factor:")
	}
	return n, false
}

func from(source string) string {
	if source == "" {
		return ""
	}
	return " from " + source
}

func clip(s string) string { return metal.Printable(s, 40) }

// watch turns events into notifications until the context ends.
func (s *Service) watch(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "notify")
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-s.events:
			n, _ := worth(e)
			if _, err := s.Create(ctx, n); err != nil && !fault.Is(err, fault.Exhausted) && ctx.Err() == nil {
				s.log.ErrorContext(ctx, "cannot notify administrators", "event", e.Action, "error", err)
			}
		}
	}
}
