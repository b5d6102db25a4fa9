package catalog

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

var (
	maasCommand = guard.Reference{Title: "MAAS, source code: the profiles of the maas command", URL: "https://github.com/canonical/maas/blob/master/src/maascli/config.py"}
	certbot     = guard.Reference{Title: "Certbot documentation, Renewing certificates", URL: "https://eff-certbot.readthedocs.io/en/stable/using.html#renewing-certificates"}
)

// commandLine judges whether the maas command of people on this host reaches MAAS by TLS.
func commandLine(h guard.Host, p guard.Product) []guard.Observation {
	found, list := place{paths: []string{".maascli.db"}}.at(h)
	seen := map[string]bool{}
	for _, l := range found {
		if seen[l.path] {
			continue // a home that two accounts have
		}
		seen[l.path] = true
		profiles, err := h.Profiles(l.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			list = append(list, guard.Blind(l.path, err))
		}
		for _, profile := range profiles {
			at := l.path + " " + profile.Name
			u, err := url.Parse(profile.URL)
			switch {
			case err != nil || u.Host == "":
				list = append(list, guard.Blind(at, errors.New("its URL is none")))
			case strings.EqualFold(u.Scheme, "https"):
				list = append(list, passed(at, "It goes to %s.", shownURL(u)))
			case onThisHost(u.Hostname()):
				list = append(list, passed(at, "It goes to %s, which is this host.", shownURL(u)))
			default:
				name := guard.Quote(profile.Name)
				list = append(list, failed(0, at, "# As that user: maas logout "+name+"; maas login "+name+" https://NAME:5443/MAAS, with --cacerts FILE where the certificate's authority is your own. The key has been in clear: make a new one, and delete the old.",
					"# As that user: maas login "+name+" "+shownURL(u), "It goes to %s: key and answers cross the network in clear.", shownURL(u)))
			}
		}
	}
	return list
}

// shownURL leaves out what may be secret of a URL.
func shownURL(u *url.URL) string {
	return guard.Show((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
}

func onThisHost(name string) bool {
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.IsLoopback()
}

// renewalHooks are what certbot runs beside a renewal. Source: certbot's documentation, "Renewing certificates"; the guide has one in post.
var renewalHooks = []string{"/etc/letsencrypt/renewal-hooks/post/*", "/etc/letsencrypt/renewal-hooks/deploy/*"}

// renewed judges whether what gives MAAS a new certificate is run, and by whom it may be changed.
func renewed(h guard.Host, _ guard.Product) (list []guard.Observation) {
	who := peopleOf(h)
	for _, pattern := range renewalHooks {
		found, err := h.Glob(pattern)
		if err != nil {
			list = append(list, guard.Blind(pattern, err))
		}
		for _, at := range found {
			text, err := h.Read(at)
			if err != nil {
				list = append(list, guard.Blind(at, err))
				continue
			}
			if !strings.Contains(string(text), "config-tls") {
				continue
			}
			f, err := h.File(at)
			if err != nil {
				list = append(list, guard.Blind(at, err))
				continue
			}
			for _, o := range (located{place{mode: 0o755, write: guard.High}, at}).judge(h, who) {
				if f.Mode&0o100 == 0 && o.State != guard.Unchecked {
					o.State, o.Severity = guard.Fail, max(o.Severity, guard.Medium)
					o.Evidence = append(o.Evidence, "It may not be executed, so certbot passes it over: MAAS keeps the old certificate until that ends.")
					o.Fix, o.Undo = append(slices.Clone(o.Fix), "chmod u+x "+guard.Quote(f.Real)), append([]string{"chmod u-x " + guard.Quote(f.Real)}, o.Undo...)
				}
				list = append(list, o)
			}
		}
	}
	return list
}

// profileFile is the smallest file of a profile: two pages of 512 bytes. Source of the format: https://www.sqlite.org/fileformat2.html.
func profileFile(name, address string) string {
	record := func(kinds []byte, values ...string) string { // the header's length, the kinds, the values
		return string(rune(len(kinds)+1)) + string(kinds) + strings.Join(values, "")
	}
	page := func(number int, head, content string) string {
		cell := string(rune(len(content)&0x7f)) + "\x01" + content
		if len(content) > 0x7f { // a number of two bytes
			cell = string([]byte{byte(len(content)>>7) | 0x80, byte(len(content)) & 0x7f, 1}) + content
		}
		start := 512 - len(cell)
		b := append([]byte(head), 0x0d, 0, 0, 0, 1, byte(start>>8), byte(start), 0, byte(start>>8), byte(start))
		return string(append(b, make([]byte, start-len(b))...)) + cell
	}
	const schema = "CREATE TABLE profiles(id INTEGER PRIMARY KEY,name TEXT,data BLOB)"
	head := make([]byte, 100)
	copy(head, "SQLite format 3\x00\x02\x00\x01\x01\x00\x40\x20\x20")
	for at, v := range map[int]uint32{24: 1, 28: 2, 44: 4, 56: 1, 92: 1, 96: 3_040_001} { // changes, pages, format, UTF-8, and by which version
		binary.BigEndian.PutUint32(head[at:], v)
	}
	data, _ := json.Marshal(map[string]string{"name": name, "url": address}) // of texts alone
	text := func(s string) byte { return byte(13 + 2*len(s)) }
	first := record([]byte{text("table"), text("profiles"), text("profiles"), 1, 0x81, byte(13+2*len(schema)) & 0x7f}, "table", "profiles", "profiles", "\x02", schema)
	second := record([]byte{0, text(name), 0x80 | byte((13+2*len(data))>>7), byte(13+2*len(data)) & 0x7f}, name, string(data))
	return page(1, string(head), first) + page(2, "", second)
}

// clients are the checks of what comes to the pages and the API, and of what renews their certificate.
func clients() []*guard.Check {
	maas := map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27}
	none := guard.Sample{Name: "nothing of the kind", Want: guard.NotApplicable}
	profile := func(name string, want guard.State, content string, more ...guard.Entry) guard.Sample {
		return treeOf(name, want, append(more, guard.Entry{Path: "/home/bob/.maascli.db", Owner: "bob:bob", Mode: 0o600, Content: content})...)
	}
	const hookAt = "/etc/letsencrypt/renewal-hooks/post/001-update-maas.sh"
	hook := func(name string, want guard.State, mode uint32, owner, text string) guard.Sample {
		return treeOf(name, want, guard.Entry{Path: hookAt, Mode: mode, Owner: owner, Content: text})
	}
	const script = "#!/bin/bash -e\nyes | maas config-tls enable privkey.pem cert.pem --port 5443\n"
	list := []*guard.Check{
		{ID: "transport-cli", Title: "The maas command goes to MAAS by TLS", Severity: guard.Medium,
			Why: "A profile of the command has the URL that it goes to. With http each call gives the key's name and all answers to whoever listens, passwords of BMCs among them.",
			Fix: "Log in anew with the https URL.", Risk: "Scripts that name the profile go on working; those that have the URL themselves do not.", Undo: "Log in with the old URL.",
			References: []guard.Reference{guide, maasCommand}, Judge: commandLine,
			Samples: ofMAAS(none, profile("by https", guard.Pass, profileFile("admin", "https://maas.example:5443/MAAS/api/2.0/")), profile("by http", guard.Fail, profileFile("admin", "http://maas.example:5240/MAAS/api/2.0/")),
				profile("on this host", guard.Pass, profileFile("admin", "http://127.0.0.1:5240/MAAS/api/2.0/")), profile("no address", guard.Unchecked, profileFile("admin", "maas")), profile("no database", guard.Unchecked, "x"),
				profile("a change that is not in it yet", guard.Unchecked, profileFile("admin", "https://maas"), guard.Entry{Path: "/home/bob/.maascli.db-wal", Content: "x"}), profile("of nobody yet", guard.NotApplicable, ""))},
		{ID: "transport-renewal", Title: "What renews MAAS's certificate is run, and root's alone", Severity: guard.High,
			Why: "The guide gives MAAS a new certificate by a script that certbot runs as root, and reminds its readers to make it executable: without that nothing happens until the certificate has ended. Who may write to it is root.",
			Fix: "Run the commands of the finding, then certbot renew --dry-run.", Risk: "A script that has never run may have mistakes: certbot renew --dry-run shows them.", Undo: "The commands of the finding's undo put back what was.",
			References: []guard.Reference{guide, certbot}, Judge: renewed,
			Samples: ofMAAS(none, hook("as it should be", guard.Pass, 0o755, "root:root", script), hook("not executable", guard.Fail, 0o644, "root:root", script), hook("bob's", guard.Fail, 0o755, "bob:bob", script), hook("for all to write", guard.Fail, 0o777, "root:root", script),
				hook("another's", guard.NotApplicable, 0o644, "root:root", "#!/bin/sh\nsystemctl reload nginx\n"), treeOf("not to be read", guard.Unchecked, guard.Entry{Path: hookAt, Content: script, Hidden: true}))},
	}
	for _, c := range list {
		c.Group, c.Versions = "transport", maas
	}
	return list
}
