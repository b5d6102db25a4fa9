// Package seclog tells the outside world of security events: JSON, one event a line, to a file, to the journal and
// to a syslog server over TLS. The trail is the record; this is for those who watch.
//
// An event carries two names: OWASP's, which tools know, and that of MAAS 3.8, which its operators search for.
// Source: OWASP Application Logging Vocabulary Cheat Sheet; MAAS 3.8, security logging.
package seclog

import (
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

// Event is one line.
type Event struct {
	Datetime    string `json:"datetime"` // ISO 8601 with offset, as OWASP asks
	Timestamp   string `json:"timestamp"`
	AppID       string `json:"appid"`
	Type        string `json:"type"` // "security"
	Level       string `json:"level"`
	Event       string `json:"event"`   // OWASP's name
	Message     string `json:"message"` // MAAS's name
	Description string `json:"description"`

	UserID    string `json:"user_id,omitempty"`
	Role      string `json:"role,omitempty"` // "Admin" or "User"
	TraceID   string `json:"trace_id,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	Method    string `json:"request_method,omitempty"`
	Path      string `json:"request_path,omitempty"`
	RemoteIP  string `json:"request_remote_ip,omitempty"`
	UserAgent string `json:"useragent,omitempty"`

	Hostname  string            `json:"hostname"`
	Region    string            `json:"region"`
	Principal string            `json:"principal"`
	Action    string            `json:"action"`
	Target    string            `json:"target,omitempty"`
	Outcome   string            `json:"outcome"`
	Detail    map[string]string `json:"detail,omitempty"`
}

// The levels of events. Source: OWASP's vocabulary gives one to each.
const (
	Info     = "INFO"
	Warn     = "WARN"
	Critical = "CRITICAL"
)

// names are an event's two names without what follows the colon, and its level.
type names struct{ owasp, maas, level string }

// changes name successful calls by what they say they changed; a row "action" without a change is for all others.
var changes = map[string]names{
	"user.login":                               {"authn_login_success", "AUTHN_login_successful", Info},
	"user.login second factor outstanding":     {"authn_login_step", "AUTHN_authentication_successful", Info}, // no session yet; OWASP has no name for it
	"user.login password by link":              {"authn_password_change", "AUTHN_password_changed", Info},
	"user.edit_keys second factor removed":     {"user_updated", "USER_updated", Warn},
	"user.sign_on":                             {"authn_login_success", "AUTHN_login_successful", Info},
	"user.sign_on created":                     {"user_created", "USER_created", Warn},
	"user.logout":                              {"session_expired", "AUTHN_token_revoked", Info},
	"user.first_admin":                         {"user_created", "USER_created", Warn},
	"user.edit":                                {"user_updated", "USER_updated", Warn},
	"user.edit created":                        {"user_created", "USER_created", Warn},
	"user.edit invited":                        {"user_created", "USER_created", Warn},
	"user.edit deleted":                        {"user_deleted", "USER_deleted", Warn},
	"user.edit deactivated":                    {"user_archived", "USER_updated", Warn},
	"user.edit password set":                   {"authn_password_change", "AUTHN_password_changed", Info},
	"user.edit all sessions ended":             {"session_expired", "AUTHN_token_revoked", Info},
	"user.edit link to choose a password made": {"authn_token_created", "AUTHN_token_created", Warn},
	"user.edit_keys":                           {"user_updated", "USER_updated", Info},
	"user.edit_keys password changed":          {"authn_password_change", "AUTHN_password_changed", Info},
	"user.edit_keys session ended":             {"session_expired", "AUTHN_token_revoked", Info},
	"user.edit_keys other sessions ended":      {"session_expired", "AUTHN_token_revoked", Info},
	"user.edit_keys key created":               {"authn_token_created", "AUTHN_token_created", Warn},
	"user.edit_keys key deleted":               {"authn_token_delete", "AUTHN_token_deleted", Warn},
	"group.edit":                               {"privilege_permissions_changed", "AUTHZ_administrative", Warn},
	"role.edit":                                {"privilege_permissions_changed", "AUTHZ_administrative", Warn},
	"grant.edit":                               {"privilege_permissions_changed", "AUTHZ_administrative", Warn},
	"user.rights":                              {"privilege_permissions_changed", "AUTHZ_administrative", Warn},
	"machine.read_power_parameters":            {"sensitive_read", "AUTHZ_administrative", Warn},
	"trail.export":                             {"sensitive_read", "AUTHZ_administrative", Warn},
	"rack.mint_token":                          {"authn_token_created", "AUTHN_token_created", Warn},
	"rack.enrol":                               {"authn_login_success", "AUTHN_authentication_successful", Info},
}

// name finds the names of an audited call; false when it is no security event: a success of a rack, a machine or the
// system itself in its daily work, or a call that failed without being refused.
func name(e metal.AuditEvent) (n names, ok bool) {
	user := strings.HasPrefix(e.Principal, string(authz.User)+":")
	action := authz.Action(e.Action)
	switch {
	case action == authz.SecurityEvent:
		return names{e.Detail["event"], "SECURITY_" + e.Detail["event"], Critical}, true
	case e.Outcome == metal.OutcomeDenied && (action == authz.UserLogin || action == authz.UserSignOn || action == authz.FirstAdmin):
		return names{"authn_login_fail", "AUTHN_login_unsuccessful", Warn}, true
	case e.Outcome == metal.OutcomeDenied && !user:
		return names{"authn_login_fail", "AUTHN_authentication_failed", Warn}, true
	case e.Outcome == metal.OutcomeDenied:
		return names{"authz_fail", "AUTHZ_fail", Critical}, true
	case e.Outcome != metal.OutcomeSuccess:
		return n, false
	}
	if n, ok = changes[strings.TrimSpace(e.Action+" "+e.Detail["change"])]; ok {
		return n, true
	}
	if n, ok = changes[e.Action]; ok {
		return n, true
	}
	return names{"authz_admin", "AUTHZ_administrative", Warn}, user
}

// Make turns an audited call into a line; false when it is no security event. The texts of an audit event are clean
// and bounded already.
func Make(p authz.Principal, o authz.Origin, e metal.AuditEvent, host string) (Event, bool) {
	n, ok := name(e)
	if !ok {
		return Event{}, false
	}
	who := e.Detail["username"]
	if p.Kind == authz.User {
		who = p.Name
	}
	ev := Event{Datetime: e.Time.Format(time.RFC3339Nano), Timestamp: e.Time.Format("2006-01-02T15:04:05.000000Z"), AppID: "metalward", Type: "security", Level: n.level,
		Event: n.owasp, Message: n.maas, TraceID: o.TraceID, RequestID: e.RequestID, Method: o.Method, Path: o.Path, RemoteIP: e.Source, UserAgent: o.UserAgent,
		Hostname: host, Region: e.Region, Principal: e.Principal, Action: e.Action, Target: e.Target, Outcome: e.Outcome, Detail: e.Detail}
	if p.Kind == authz.User {
		ev.UserID, ev.Role = p.Name, "User"
		if p.Rights.Administrator() {
			ev.Role = "Admin"
		}
	}
	switch { // a rack speaks of somebody that it saw
	case p.Kind != authz.Rack:
	case e.Action == string(authz.SecurityEvent):
		ev.RemoteIP = e.Detail["seen_at"]
	case e.Detail["ip"] != "":
		ev.RemoteIP = e.Detail["ip"]
	}
	switch n.owasp {
	case "authz_fail":
		ev.Event += ":" + who + "," + cut(e.Target, e.Action)
	case "authz_admin", "sensitive_read", "privilege_permissions_changed":
		ev.Event += ":" + who + "," + e.Action
	default:
		if who != "" {
			ev.Event += ":" + who
		}
	}
	switch n.maas {
	case "AUTHZ_administrative":
		noun, id, _ := strings.Cut(e.Target, ":")
		_, verb, _ := strings.Cut(e.Action, ".")
		ev.Message += ":" + noun + ":" + verb + ":" + id
	case "AUTHN_password_changed", "USER_created", "USER_updated", "USER_deleted":
		if about := cut(e.Detail["username"], who); about != "" {
			ev.Message += ":" + about
		}
	}
	ev.Description = strings.TrimSpace(e.Principal + " " + e.Action + " " + e.Target + ": " + e.Outcome)
	return ev, true
}

// cut is the first text that is not empty.
func cut(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
