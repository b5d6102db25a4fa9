package metal

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/fault"
)

// Setting is a site setting that operators change at run time, under MAAS's name.
type Setting struct {
	Name    string
	Default any // string, bool or int
	Min     int // int settings only
	Max     int
	Doc     string
}

// Settings lists the site settings that have an effect so far. Names and meanings are MAAS's, except those
// that start with "metalward_". Source: MAAS API 2.0, get_config.
var Settings = []Setting{
	{Name: "maas_name", Default: "metalward", Doc: "Name of this site, shown in the UI."},
	{Name: "kernel_opts", Default: "", Doc: "Extra kernel arguments for the ephemeral system."},
	{Name: "enlist_commissioning", Default: false, Doc: "Commission a machine as soon as it is enlisted. Off: an unknown machine waits to be accepted."},
	{Name: "enable_disk_erasing_on_release", Default: true, Doc: "Erase disks when a machine is released."},
	{Name: "node_timeout", Default: 30, Min: 1, Max: 1440, Doc: "Minutes until a commissioning, deployment or erasure without an end fails."},
	{Name: "session_length", Default: 1209600, Min: 10, Max: 1209600, Doc: "Seconds until a login ends."},
	{Name: "metalward_session_idle", Default: 3600, Min: 60, Max: 1209600, Doc: "Seconds without a request until a login ends."},
	{Name: "mfa_required_roles", Default: "", Doc: "Names of roles, separated by commas, whose holders log in with a second factor only."},
	{Name: "user_admin_ui_only", Default: false, Doc: "Refuse the administration of users by API and command line: the pages are the only way."},
	{Name: "metalward_rack_renewal_grace", Default: 30, Min: 0, Max: 365, Doc: "Days for which an expired rack certificate still serves to renew itself."},
	{Name: "metalward_power_poll_interval", Default: 60, Min: 5, Max: 3600, Doc: "Seconds between two queries of a machine's power state."},
	{Name: "metalward_bmc_rotation_days", Default: 0, Min: 0, Max: 3650, Doc: "Days after which the password of a BMC is rotated, where Metalward made the account; 0 for never."},
	{Name: "metalward_bmc_rotation_on_release", Default: false, Doc: "Rotate the password of a machine's BMC when the machine is released, where Metalward made the account."},
	{Name: "metalward_audit_retention_days", Default: 0, Min: 0, Max: 36500, Doc: "Days for which the audit trail keeps an event; 0 keeps all. What is left still proves itself."},
	{Name: "metalward_notify_email", Default: "", Doc: "E-mail address that notifications for administrators go to."},
	{Name: "metalward_smtp_server", Default: "", Doc: "Host and port of the mail server that takes them, over TLS; port 465 from the start, else after STARTTLS."},
	{Name: "metalward_smtp_sender", Default: "", Doc: "E-mail address that they come from."},
	{Name: "tls_cert_expiration_notification_enabled", Default: true, Doc: "Tell administrators of certificates that end."},
	{Name: "tls_cert_expiration_notification_interval", Default: 30, Min: 1, Max: 90, Doc: "Days before a certificate ends from which they are told."},
	{Name: "metalward_tls_cert_reminders", Default: false, Doc: "Tell those again who dismissed it, when 14, 7, 3 days and one are left."},
	{Name: "metalward_hsts_max_age", Default: 31536000, Min: 0, Max: 63072000, Doc: "Seconds for which browsers that were here ask by HTTPS only; 0 has them forget it."},
	{Name: "metalward_hsts_include_subdomains", Default: false, Doc: "Have them do so for all names below this one, too."},
	{Name: "metalward_max_candidates", Default: 256, Min: 1, Max: 100000, Doc: "How many New machines may wait to be accepted; more are refused."},
}

// FindSetting returns the setting of a name.
func FindSetting(name string) (Setting, bool) {
	i := slices.IndexFunc(Settings, func(s Setting) bool { return s.Name == name })
	if i < 0 {
		return Setting{}, false
	}
	return Settings[i], true
}

// Parse reads a value as API clients send it and returns its JSON form for the store. Kinds: Invalid on "value".
func (s Setting) Parse(text string) (string, error) {
	var v any
	switch s.Default.(type) {
	case bool:
		b, err := ParseBool(text)
		if err != nil {
			return "", fault.Field("value", "%s takes true or false.", s.Name)
		}
		v = b
	case int:
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < s.Min || n > s.Max {
			return "", fault.Field("value", "%s takes a whole number from %d to %d.", s.Name, s.Min, s.Max)
		}
		v = n
	default:
		if len(text) > 4096 || strings.ContainsAny(text, "\x00\r\n") {
			return "", fault.Field("value", "%s takes one line of at most 4096 bytes.", s.Name)
		}
		v = text
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// ParseBool reads the spellings that MAAS's clients use. Kinds: Invalid without a field.
func ParseBool(s string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "t", "yes", "y", "on", "1":
		return true, nil
	case "false", "f", "no", "n", "off", "0", "":
		return false, nil
	}
	return false, fault.New(fault.Invalid, "'%s' is not true or false.", clip(s))
}
