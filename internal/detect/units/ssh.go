package units

import (
	. "github.com/metalward/metalward/internal/detect"
)

var (
	sshFailure = All(is(Kind, "ssh"), is(Outcome, "failure"), known(Source))
	sshSuccess = All(is(Kind, "ssh"), is(Outcome, "success"))
)

const stranger, other = "198.51.100.7", "198.51.100.99"

var ssh = []Unit{
	{
		ID: "ssh_bruteforce", Title: "One source guesses passwords at sshd", Source: reference + " 5.3; the same numbers as fail2ban's", ATTACK: []string{"T1110.001", "T1021.004"}, Proves: true,
		Why:   "Five refused attempts in ten minutes are what administrators of fail2ban expect to count as an attack.",
		Do:    "See whether the source got in (ssh_success_after_failures). Allow keys only: metalward harden explain accounts-ssh-passwords.",
		Match: sshFailure, Key: []Field{Source},
		Rungs: []Rung{{Count: 2, Window: 10 * minute, Severity: Info}, {Count: 5, Window: 10 * minute, Severity: Medium}},
		Quiet: []string{"one to four failures and then a login", "a client that offers many keys", "the three lines that one password leaves"},
		Samples: []Sample{
			{Name: "five in ten minutes", Lines: sshds(5, func(i int) string { return failed(i*100, "root", stranger) }), Want: Medium},
			{Name: "folded by rsyslog", Lines: []string{sshd(0, 7, "message repeated 5 times: [ Failed password for root from 198.51.100.7 port 42393 ssh2]")}, Want: Medium},
			{Name: "four, and info at most", Lines: sshds(4, func(i int) string { return failed(i*100, "root", stranger) }), Want: Info},
			{Name: "five, ten minutes apart", Lines: sshds(5, func(i int) string { return failed(i*600, "root", stranger) })},
			{Name: "one attempt in three lines", Lines: []string{sshd(0, 9, "Invalid user x from 198.51.100.7 port 4"),
				sshd(0, 9, "pam_unix(sshd:auth): check pass; user unknown"),
				sshd(0, 9, "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=198.51.100.7 "),
				sshd(1, 9, "Failed password for invalid user x from 198.51.100.7 port 4 ssh2"), sshd(2, 9, "Connection closed by invalid user x 198.51.100.7 port 4 [preauth]")}},
			{Name: "a client with many keys", Lines: sshds(20, func(i int) string {
				return sshd(i, 9, "Failed publickey for git from 198.51.100.7 port 4 ssh2: RSA SHA256:abc")
			})},
			{Name: "a host of keys only", Lines: sshds(5, func(i int) string {
				return sshd(i*60, 100+i, "Connection closed by authenticating user root 198.51.100.7 port 46038 [preauth]")
			}), Want: Medium},
		},
	},
	{
		ID: "ssh_bruteforce_slow", Title: "One source guesses passwords at sshd, slowly", Source: reference + " 5.3", ATTACK: []string{"T1110.001"}, Proves: true,
		Why: "Ten refusals in a day without a login between are guesses that stay below the usual limits.", Do: "As for fast guessing.",
		Match: sshFailure, Reset: sshSuccess, Key: []Field{Source}, Rungs: []Rung{{Count: 10, Window: day, Severity: Medium}},
		Samples: []Sample{
			{Name: "ten in a day", Lines: sshds(10, func(i int) string { return failed(i*7200, "root", stranger) }), Want: Medium},
			{Name: "nine", Lines: sshds(9, func(i int) string { return failed(i*7200, "root", stranger) })},
			{Name: "somebody who logs in between", Lines: append(append(sshds(9, func(i int) string { return failed(i*700, "ann", stranger) }), accepted(7000, "ann", stranger)),
				sshds(9, func(i int) string { return failed(8000+i*700, "ann", stranger) })...)},
		},
	},
	{
		ID: "ssh_spray", Title: "One source tries many user names at sshd", Source: reference + " 5.3", ATTACK: []string{"T1110.003"}, Proves: true,
		Why: "Ten names from one source within an hour come from a list.", Do: "Take away password logins; see that none of the names exists with a weak password.",
		Match: All(sshFailure, known(User)), Key: []Field{Source}, Distinct: User, Rungs: []Rung{{Distinct: 10, Window: hour, Severity: Medium}},
		Samples: []Sample{
			{Name: "ten names", Lines: sshds(10, func(i int) string { return failed(i*300, "invalid user u"+itoa(i), stranger) }), Want: Medium},
			{Name: "nine names", Lines: sshds(9, func(i int) string { return failed(i*300, "invalid user u"+itoa(i), stranger) })},
		},
	},
	{
		ID: "ssh_spray_user", Title: "Many sources try one user name at sshd", Source: reference + " 5.3", ATTACK: []string{"T1110.003"},
		Why: "A name other than root that ten addresses know is a name that leaked.", Do: "See whether the account exists; give it a key and no password.",
		Match: All(sshFailure, known(User), Not(is(User, "root"))), Key: []Field{User}, Distinct: Source, Rungs: []Rung{{Distinct: 10, Window: hour, Severity: Medium}},
		Samples: []Sample{
			{Name: "ten sources", Lines: sshds(10, func(i int) string { return failed(i*300, "ann", "198.51.100."+itoa(i+1)) }), Want: Medium},
			{Name: "nine sources", Lines: sshds(9, func(i int) string { return failed(i*300, "ann", "198.51.100."+itoa(i+1)) })},
			{Name: "root, whom everybody tries", Lines: sshds(10, func(i int) string { return failed(i*300, "root", "198.51.100."+itoa(i+1)) })},
		},
	},
	{
		ID: "ssh_distributed", Title: "Many sources guess together, each too little to be seen", Source: reference + " 5.3", ATTACK: []string{"T1110"},
		Why: "Fifty refusals in ten minutes over twenty sources, of which none alone counts, are one attack.", Do: "Blocking addresses does not help; allow keys only, or logins from inside only.",
		Match: sshFailure, Key: []Field{Host}, Distinct: Source, Unless: "ssh_bruteforce", Rungs: []Rung{{Count: 50, Distinct: 20, Window: 10 * minute, Severity: Medium}},
		Samples: []Sample{
			{Name: "fifty over twenty-five sources", Lines: sshds(50, func(i int) string { return failed(i*10, "root", "198.51.100."+itoa(i%25+1)) }), Want: Medium},
			{Name: "forty-nine", Lines: sshds(49, func(i int) string { return failed(i*10, "root", "198.51.100."+itoa(i%25+1)) })},
			{Name: "fifty over ten sources", Lines: sshds(50, func(i int) string { return failed(i*10, "root", "198.51.100."+itoa(i%10+1)) })},
		},
	},
	{
		ID: "ssh_success_after_failures", Title: "A source that guessed passwords got in", Source: reference + " 5.3", ATTACK: []string{"T1110.001", "T1078"}, Proves: true,
		Why:   "A login within an hour after guesses from the same source is a guess that was right, or a person who forgot his password five times.",
		Do:    "Ask the person. If it was not him: end his sessions, change the password, look at what was done (last, journalctl _UID=…).",
		Match: sshSuccess, After: "ssh_bruteforce", AfterFor: hour, Key: []Field{Source, User}, Rungs: []Rung{{Count: 1, Window: hour, Severity: High}},
		Samples: []Sample{
			{Name: "five failures, then in", Lines: append(sshds(5, func(i int) string { return failed(i*10, "root", stranger) }), accepted(100, "root", stranger)), Want: High},
			{Name: "in from elsewhere", Lines: append(sshds(5, func(i int) string { return failed(i*10, "root", stranger) }), accepted(100, "root", other))},
			{Name: "in two hours later", Lines: append(sshds(5, func(i int) string { return failed(i*10, "root", stranger) }), accepted(7300, "root", stranger))},
		},
	},
	{
		ID: "ssh_probe", Title: "One source pokes at sshd without logging in", Source: reference + " 5.3", ATTACK: []string{"T1595.002"}, Proves: true,
		Why: "Ten connections that break off before a login within ten minutes look for versions and flaws.", Do: "Keep OpenSSH up to date; let only those reach port 22 who need it.",
		Match: All(is(Kind, "ssh"), is(Outcome, "probe"), known(Source)), Key: []Field{Source}, Rungs: []Rung{{Count: 10, Window: 10 * minute, Severity: Low}},
		Quiet: []string{"a monitor that opens and closes the port"},
		Samples: []Sample{
			{Name: "ten without a greeting", Lines: sshds(10, func(i int) string {
				return sshd(i*10, 10+i, "Did not receive identification string from 198.51.100.7 port 35836")
			}), Want: Low},
			{Name: "nine", Lines: sshds(9, func(i int) string {
				return sshd(i*10, 10+i, "Did not receive identification string from 198.51.100.7 port 35836")
			})},
			{Name: "a monitor", Lines: sshds(50, func(i int) string { return sshd(i*10, 10+i, "Connection closed by 198.51.100.7 port 35836 [preauth]") })},
		},
	},
	{
		ID: "ssh_timeout_exploit", Title: "One source lets logins at sshd time out, or breaks its transport", Source: "OpenSSH 9.8 release notes (CVE-2024-6387)", ATTACK: []string{"T1190"}, Proves: true,
		Why: "A race in sshd before 9.8 is won by letting the grace time run out again and again.", Do: "Update OpenSSH; until then LoginGraceTime 0 with a limit of connections.",
		Match: All(is(Kind, "ssh"), is(EventName, "timeout"), known(Source)), Key: []Field{Source}, Rungs: []Rung{{Count: 3, Window: 10 * minute, Severity: Low}},
		Samples: []Sample{
			{Name: "three time-outs", Lines: sshds(3, func(i int) string {
				return sshd(i*30, 5, "fatal: Timeout before authentication for 198.51.100.7 port 47056")
			}), Want: Low},
			{Name: "two", Lines: sshds(2, func(i int) string {
				return sshd(i*30, 5, "fatal: Timeout before authentication for 198.51.100.7 port 47056")
			})},
		},
	},
	{
		ID: "ssh_refused", Title: "A source that is not allowed to tries sshd", Source: reference + " 5.2", ATTACK: []string{"T1021.004"}, Proves: true,
		Why: "TCP wrappers refused the connection.", Do: "Nothing, unless the source should be allowed.",
		Match: All(is(Kind, "ssh"), is(EventName, "refused")), Key: []Field{Source}, Rungs: []Rung{{Count: 1, Window: day, Severity: Info}},
		Samples: []Sample{
			{Name: "refused", Lines: []string{sshd(0, 5, "refused connect from host.example (198.51.100.7)")}, Want: Info},
			{Name: "let in", Lines: []string{accepted(0, "ann", stranger)}},
		},
	},
}
