package units

import (
	. "github.com/metalward/metalward/internal/detect"
)

const (
	loginPath  = "POST /MAAS/accounts/login/"
	badRequest = "400 BAD_REQUEST"
	noContent  = "204 NO_CONTENT"
)

var (
	maasFailure = All(is(Kind, "maas"), is(Outcome, "failure"))
	maasSuccess = All(is(Kind, "maas"), is(Outcome, "success"))
)

var maas = []Unit{
	{
		ID: "maas_login_bruteforce", Title: "One client guesses passwords of MAAS or Metalward", Source: guide + "; " + reference + " 4.3", ATTACK: []string{"T1110.001"}, Proves: true,
		Why:   "A controller has few users, so that each failure matters. A failed login is a 400 at the login page, a 403 at the API's, a 401 at the newer API's.",
		Do:    "See whether the client got in (maas_login_success_after_failures); ask the user; take the page off the Internet.",
		Match: All(maasFailure, known(Source)), Key: []Field{Source},
		Rungs: []Rung{{Count: 1, Window: day, Severity: Info}, {Count: 5, Window: 10 * minute, Severity: Medium}, {Count: 20, Window: hour, Severity: High}},
		Quiet: []string{"one to four failures and then a login", "machines that poll the metadata service with stale keys"},
		Samples: []Sample{
			{Name: "five in ten minutes", Lines: several(5, func(i int) string { return regiond(i*60, stranger, loginPath, badRequest) }), Want: Medium},
			{Name: "four", Lines: several(4, func(i int) string { return regiond(i*60, stranger, loginPath, badRequest) }), Want: Info},
			{Name: "twenty in an hour", Lines: several(20, func(i int) string { return regiond(i*170, stranger, loginPath, badRequest) }), Want: High},
			{Name: "JSON of 3.8", Lines: several(5, func(i int) string {
				return security(i*60, `"message":"AUTHN_login_unsuccessful"`, `"user_id":"ann"`, `"request_remote_ip":"198.51.100.7"`)
			}), Want: Medium},
			{Name: "good logins", Lines: several(20, func(i int) string { return regiond(i, stranger, loginPath, noContent) })},
			{Name: "stale keys of machines", Lines: several(20, func(i int) string { return regiond(i, stranger, "GET /MAAS/metadata/2012-03-01/", "401 UNAUTHORIZED") })},
			{Name: "a forged end in the agent", Lines: several(5, func(i int) string {
				return regiond(i, stranger, "GET /MAAS/?x=POST /MAAS/accounts/login/ HTTP/1.1 --> 400 BAD_REQUEST", "200 OK")
			})},
		},
	},
	{
		ID: "maas_login_slow", Title: "One client guesses passwords of MAAS or Metalward, slowly", Source: reference + " 4.3", ATTACK: []string{"T1110.001"}, Proves: true,
		Why: "Ten failures in a day and no login between stay below the fast rule.", Do: "As for fast guessing.",
		Match: All(maasFailure, known(Source)), Reset: maasSuccess, Key: []Field{Source}, Rungs: []Rung{{Count: 10, Window: day, Severity: Medium}},
		Samples: []Sample{
			{Name: "ten in a day", Lines: several(10, func(i int) string { return regiond(i*3600, stranger, loginPath, badRequest) }), Want: Medium},
			{Name: "nine", Lines: several(9, func(i int) string { return regiond(i*3600, stranger, loginPath, badRequest) })},
			{Name: "a login between", Lines: append(append(several(9, func(i int) string { return regiond(i*700, stranger, loginPath, badRequest) }),
				regiond(7000, stranger, loginPath, noContent)), several(9, func(i int) string { return regiond(8000+i*700, stranger, loginPath, badRequest) })...)},
		},
	},
	{
		ID: "maas_login_spray", Title: "One client tries many users of MAAS or Metalward", Source: reference + " 4.3", ATTACK: []string{"T1110.003"}, Proves: true,
		Why: "Five names from one client within an hour.", Do: "See that none of them has a weak password.",
		Match: All(maasFailure, known(User), known(Source)), Key: []Field{Source}, Distinct: User, Rungs: []Rung{{Distinct: 5, Window: hour, Severity: Medium}},
		Samples: []Sample{
			{Name: "five names", Lines: several(5, func(i int) string {
				return security(i*300, `"message":"AUTHN_login_unsuccessful"`, `"user_id":"u`+itoa(i)+`"`, `"request_remote_ip":"198.51.100.7"`)
			}), Want: Medium},
			{Name: "four names", Lines: several(4, func(i int) string {
				return security(i*300, `"message":"AUTHN_login_unsuccessful"`, `"user_id":"u`+itoa(i)+`"`, `"request_remote_ip":"198.51.100.7"`)
			})},
		},
	},
	{
		ID: "maas_login_spray_user", Title: "One user of MAAS or Metalward is tried from many clients", Source: reference + " 4.3", ATTACK: []string{"T1110.003"},
		Why: "Five clients fail with one name within an hour. Where MAAS does not write the address, five failures of one name count.", Do: "Tell the person; turn the second factor on.",
		Match: All(maasFailure, known(User)), Key: []Field{User}, Distinct: Source, Rungs: []Rung{{Distinct: 5, Window: hour, Severity: Medium}},
		Samples: []Sample{
			{Name: "five clients", Lines: several(5, func(i int) string {
				return security(i*300, `"message":"AUTHN_login_unsuccessful"`, `"user_id":"ann"`, `"request_remote_ip":"198.51.100.`+itoa(i+1)+`"`)
			}), Want: Medium},
			{Name: "four", Lines: several(4, func(i int) string {
				return security(i*300, `"message":"AUTHN_login_unsuccessful"`, `"user_id":"ann"`, `"request_remote_ip":"198.51.100.`+itoa(i+1)+`"`)
			})},
		},
	},
	{
		ID: "maas_login_unknown", Title: "Passwords of one user are guessed, and MAAS does not say from where", Source: reference + " 4.2", ATTACK: []string{"T1110.001"},
		Why: "The login events of MAAS 3.8 have no address; the name is all that is known.", Do: "Read the web server's log of the same minutes for the address.",
		Match: All(maasFailure, known(User), Not(known(Source))), Key: []Field{User}, Rungs: []Rung{{Count: 5, Window: 10 * minute, Severity: Medium}},
		Samples: []Sample{
			{Name: "five", Lines: several(5, func(i int) string { return security(i*60, `"message":"AUTHN_login_unsuccessful"`, `"user_id":"ann"`) }), Want: Medium},
			{Name: "four", Lines: several(4, func(i int) string { return security(i*60, `"message":"AUTHN_login_unsuccessful"`, `"user_id":"ann"`) })},
		},
	},
	{
		ID: "maas_login_success_after_failures", Title: "A client that guessed a password of MAAS or Metalward got in", Source: reference + " 4.3", ATTACK: []string{"T1110.001", "T1078"}, Proves: true,
		Why: "A login within ten minutes after five failures of the same client.", Do: "Ask the user. If it was not him: end his sessions and keys, change the password, read the audit trail.",
		Match: maasSuccess, After: "maas_login_bruteforce", AfterFor: 10 * minute, Key: []Field{Source}, Rungs: []Rung{{Count: 1, Window: hour, Severity: High}},
		Samples: []Sample{
			{Name: "in", Lines: append(several(5, func(i int) string { return regiond(i, stranger, loginPath, badRequest) }), regiond(60, stranger, loginPath, noContent)), Want: High},
			{Name: "four failures", Lines: append(several(4, func(i int) string { return regiond(i, stranger, loginPath, badRequest) }), regiond(60, stranger, loginPath, noContent))},
			{Name: "an hour later", Lines: append(several(5, func(i int) string { return regiond(i, stranger, loginPath, badRequest) }), regiond(3600, stranger, loginPath, noContent))},
		},
	},
	{
		ID: "maas_login_blank", Title: "A login that was answered with 204", Source: guide, ATTACK: []string{"T1110"}, Proves: true, Off: true,
		Explanation: "The guide calls 204 the mark of empty credentials. Since MAAS 2.7 an empty form is a 400 and 204 is what every good login answers: this rule tells of each " +
			"administrator's morning. It is here for who wants the guide's word.",
		Why: "The guide's wording.", Do: "Ask the administrator whether he logged in.",
		Match: All(is(Kind, "maas"), is(Method, "POST"), is(Status, "204"), has(Flag, "maas_login")), Key: []Field{Source}, Rungs: []Rung{{Count: 1, Window: day, Severity: Info}},
		Samples: []Sample{
			{Name: "204", Lines: []string{regiond(0, stranger, loginPath, noContent)}, Want: Info},
			{Name: "400", Lines: []string{regiond(0, stranger, loginPath, badRequest)}},
		},
	},
	{
		ID: "maas_token_reuse", Title: "Expired or unknown tokens are presented", Source: reference + " 4.3", ATTACK: []string{"T1550.001"}, Proves: true,
		Why: "A stolen token is tried after it ended.", Do: "Find whose token it was; revoke what he has.",
		Match: All(is(Kind, "maas"), is(EventName, "AUTHN_token_reused")), Key: []Field{Source, User}, Rungs: []Rung{{Count: 3, Window: 10 * minute, Severity: Medium}},
		Samples: []Sample{
			{Name: "three", Lines: several(3, func(i int) string {
				return security(i, `"message":"AUTHN_token_reused:JWT:access_token"`, `"request_remote_ip":"198.51.100.7"`)
			}), Want: Medium},
			{Name: "two", Lines: several(2, func(i int) string {
				return security(i, `"message":"AUTHN_token_reused:JWT:access_token"`, `"request_remote_ip":"198.51.100.7"`)
			})},
		},
	},
	{
		ID: "maas_authz_fail", Title: "One user tries what he may not", Source: reference + " 4.3", ATTACK: []string{"T1078", "T1548"},
		Why: "The pages do not offer what a user may not do; ten refusals in ten minutes are somebody who tries.", Do: "Ask the user; look for a stolen key.",
		Match: All(is(Kind, "maas"), is(EventName, "AUTHZ_fail")), Key: []Field{User}, Rungs: []Rung{{Count: 10, Window: 10 * minute, Severity: Medium}},
		Samples: []Sample{
			{Name: "ten", Lines: several(10, func(i int) string { return security(i, `"message":"AUTHZ_fail"`, `"user_id":"ann"`) }), Want: Medium},
			{Name: "nine", Lines: several(9, func(i int) string { return security(i, `"message":"AUTHZ_fail"`, `"user_id":"ann"`) })},
		},
	},
	{
		ID: "log_gap", Title: "Lines are missing from a log", Source: reference + " 7", ATTACK: []string{"T1562.006"},
		Why: "journald and rsyslog drop lines when there are too many; an attacker can make it so.", Do: "Raise the limit, or see who writes so much.",
		Match: is(Kind, "gap"), Key: []Field{Host}, Rungs: []Rung{{Count: 1, Window: day, Severity: Info}},
		Samples: []Sample{
			{Name: "suppressed", Lines: []string{bsd(0) + " host systemd-journald[300]: Suppressed 2345 messages from ssh.service"}, Want: Info},
			{Name: "started", Lines: []string{bsd(0) + " host systemd-journald[300]: Journal started"}},
		},
	},
}
