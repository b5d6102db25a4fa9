package enrich

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{"8.8.4.4": true, "2606:4700::1": true, "::ffff:8.8.4.4": true, "10.0.0.1": false, "127.0.0.1": false, "169.254.1.1": false, "100.64.0.1": false, "203.0.113.9": false,
		"224.0.0.1": false, "255.255.255.255": false, "fd00::1": false, "fe80::1%eth0": false, "::1": false, "2001:db8::1": false, "::": false} {
		if got := Public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

func asn(n uint32, holder string) []pair {
	return []pair{{"autonomous_system_number", n}, {"autonomous_system_organization", holder}}
}

func country(code string) []pair {
	return []pair{{"country", []pair{{"iso_code", code}, {"names", []pair{{"en", "Somewhere"}}}}}}
}

// TestDatabases reads two files, of which one is replaced by a newer one, then by a damaged one.
func TestDatabases(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	as, where := newWriter(), newWriter()
	as.put("198.51.100.0/24", asn(64500, "EXAMPLE\x1b[31m-NET"))
	as.put("2001:db8::/32", asn(64501, strings.Repeat("long", 70)))
	where.put("198.51.0.0/16", country("NL"))
	where.put("192.0.2.0/24", []pair{{"registered_country", []pair{{"iso_code", "DE"}}}})
	where.put("203.0.113.0/24", country("not a code"))
	now := time.Now()
	d, err := OpenDatabases([]string{write("as", as.bytes(24)), write("where", where.bytes(24))}, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	look := func(address, want string) {
		t.Helper()
		if got := d.Look(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
	look("198.51.100.7", `NL, AS64500 EXAMPLE\x1b[31m-NET`)
	look("::ffff:198.51.100.7", `NL, AS64500 EXAMPLE\x1b[31m-NET`)
	look("198.51.7.7", "NL")
	look("192.0.2.1", "DE")
	look("203.0.113.1", "")
	look("8.8.8.8", "")
	look("2001:db8::1%eth0", "AS64501 "+strings.Repeat("long", 50))
	newer := newWriter()
	newer.put("198.51.100.0/24", asn(64502, "Newer"))
	write("as", newer.bytes(24))
	look("198.51.100.7", `NL, AS64500 EXAMPLE\x1b[31m-NET`) // looked at a moment ago
	now = now.Add(lookAgain)
	look("198.51.100.7", "NL, AS64502 Newer")
	write("as", []byte("damaged"))
	now = now.Add(lookAgain)
	look("198.51.100.7", "NL, AS64502 Newer")
	if (*Databases)(nil).Look(netip.MustParseAddr("8.8.8.8")) != (Known{}) {
		t.Error("no databases know something")
	}
	for _, path := range []string{write("x", []byte("no database")), filepath.Join(dir, "missing"), dir} {
		if _, err := OpenDatabases([]string{path}, time.Now, nil); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
}

// TestTree reads databases with each size of records, and such as are made to keep a reader busy.
func TestTree(t *testing.T) {
	for _, bits := range []int{24, 28, 32} {
		w := newWriter()
		for i := range 200 {
			w.put(fmt.Sprintf("198.51.%d.0/24", i), asn(uint32(64500+i), strings.Repeat("x", i))) //nolint:gosec // small
		}
		w.put("2001:db8:7::/48", asn(7, ""))
		r, err := openTree(w.bytes(bits))
		if err != nil {
			t.Fatal(err)
		}
		d := database{tree: r}
		for address, want := range map[string]Known{"198.51.0.1": {ASN: 64500}, "198.51.17.255": {ASN: 64517, Holder: strings.Repeat("x", 17)}, "198.51.199.0": {ASN: 64699, Holder: strings.Repeat("x", 199)},
			"198.51.200.0": {}, "2001:db8:7::1": {ASN: 7}, "2001:db8:8::1": {}} {
			if got := d.look(netip.MustParseAddr(address)); got != want {
				t.Errorf("%d bits, %s: got %+v, want %+v", bits, address, got, want)
			}
		}
	}
	self := decoder{data: []byte{7<<5 | 2, 1 << 5, 0, 1 << 5, 0}, left: maxValues}                    // a map of itself
	long := decoder{data: []byte{31, 4, 0xff, 0xff, 0xff, 1<<5 | 0, 7, 0, 2<<5 | 0}, left: maxValues} // a list of sixteen million
	loop := decoder{data: []byte{1<<5 | 0, 0}, left: maxValues}                                       // a pointer to itself
	far := decoder{data: []byte{2<<5 | 31, 0xff, 0xff, 0xff}, left: maxValues}                        // a text that ends behind the file
	for i, d := range []decoder{self, long, loop, far, {left: maxValues}} {
		if v, _, err := d.value(0, 0); err == nil {
			t.Errorf("%d: got %v", i, v)
		}
	}
}

// FuzzDatabase has damaged files looked at: they know nothing, or nonsense, and never end the program.
func FuzzDatabase(f *testing.F) {
	w := newWriter()
	w.put("198.51.100.0/24", asn(64500, "EXAMPLE"))
	w.put("192.0.2.0/24", country("NL"))
	good := w.bytes(28)
	f.Add(good)
	for _, i := range []int{0, 3, 100, len(good) - 40, len(good) - 5} {
		bad := slices.Clone(good)
		bad[i] ^= 0xff
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := openTree(data)
		if err != nil {
			return
		}
		d := database{tree: r}
		for _, a := range []string{"198.51.100.1", "192.0.2.1", "2001:db8::1"} {
			_ = d.look(netip.MustParseAddr(a))
		}
	})
}

// zone is a DNS in memory.
type zone struct {
	names map[string][]string
	addrs map[string][]netip.Addr
	hang  bool
	asked []string
}

func (z *zone) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	if z.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if z.names[addr] == nil {
		return nil, errors.New("no such name")
	}
	return z.names[addr], nil
}

func (z *zone) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	z.asked = append(z.asked, host)
	return z.addrs[host], nil
}

func TestNames(t *testing.T) {
	a, other := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("198.51.100.8")
	z := &zone{names: map[string][]string{a.String(): {"Scanner.Example.co.uk.", "bank.example.com.", "<script>.example.", "localhost.", "b.example.co.uk.", "sixth.example.co.uk."}},
		addrs: map[string][]netip.Addr{"scanner.example.co.uk": {other, netip.MustParseAddr("::ffff:198.51.100.7")}, "bank.example.com": {other}, "localhost": {a}, "sixth.example.co.uk": {a}}}
	got := Names(t.Context(), z, netip.MustParseAddr("::ffff:198.51.100.7"))
	if !slices.Equal(got, []string{"scanner.example.co.uk"}) {
		t.Errorf("got %q: another's name, one that is none, or too many", got)
	}
	if slices.Contains(z.asked, "<script>.example") {
		t.Error("asked for what is no name")
	}
	if got := Names(t.Context(), z, other); got != nil {
		t.Errorf("without a name: got %q", got)
	}
	for name, want := range map[string]string{"a.b.example.co.uk": "example.co.uk", "example.com": "example.com", "com": "", "": ""} {
		if got := Domain(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if got := NamesOf(t.Context(), &zone{hang: true}, slices.Repeat([]netip.Addr{a}, 16)); got[15] != nil {
			t.Errorf("got %v", got)
		}
		if took := time.Since(start); took != 2*nameTime {
			t.Errorf("a DNS that hangs holds 16 names up for %v, want %v", took, 2*nameTime)
		}
	})
}

// servers answers as registries do; it dials none other.
type servers struct {
	t       *testing.T
	answers map[string]string
	hang    bool
	asked   []string
}

func (s *servers) dial(_ context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != "43" || network != "tcp" {
		s.t.Errorf("dialled %s %s", network, address)
	}
	s.asked = append(s.asked, host)
	text, ok := s.answers[host]
	if !ok {
		return nil, errors.New("refused")
	}
	here, there := net.Pipe()
	go func() { // ends when the client closes
		defer func() { _ = there.Close() }()
		b := make([]byte, 100)
		n, _ := there.Read(b)
		if q := string(b[:n]); !strings.HasSuffix(q, "\r\n") || !netip.MustParseAddr(strings.TrimSpace(q)).IsValid() {
			s.t.Errorf("asked %q", q)
		}
		if s.hang {
			_, _ = there.Read(b)
			return
		}
		_, _ = io.WriteString(there, text)
	}()
	return here, nil
}

// The forms of the answers are those that the servers give, of networks that there are not.
func iana(refer string) string {
	return "% IANA WHOIS server\n% for more information on IANA, visit http://www.iana.org\n% This query returned 1 object\n\nrefer:        " + refer +
		"\n\ninetnum:      8.0.0.0 - 8.255.255.255\norganisation: Somebody\nstatus:       ALLOCATED\n\nwhois:        " + refer + "\n\nchanged:      2010-02\nsource:       IANA\n\n"
}

const ripe = "% This is the RIPE Database query service.\n% The objects are in RPSL format.\n%\n% The RIPE Database is subject to Terms and Conditions.\n\n% Note: this output has been filtered.\n\n" +
	"% Information related to '8.8.4.0 - 8.8.4.255'\n\n% Abuse contact for '8.8.4.0 - 8.8.4.255' is 'abuse@provider.example'\n\n" +
	"inetnum:        8.8.4.0 - 8.8.4.255\nnetname:        EXAMPLE-NET\ndescr:          Rooms 1 to 9\ncountry:        NL\norg:            ORG-EX1-RIPE\nstatus:         ASSIGNED PA\n" +
	"remarks:        complaints to: nobody@elsewhere.example\nsource:         RIPE\n\norganisation:   ORG-EX1-RIPE\norg-name:       Example \x1b[31mHosting B.V.\naddress:        Street 1\n" +
	"e-mail:         noc@provider.example\nabuse-c:        EX1-RIPE\nsource:         RIPE # Filtered\n\n% This query was served by the RIPE Database Query Service version 1.102.2 (EXAMPLE)\n\n"

const arin = "\n#\n# ARIN WHOIS data and services are subject to the Terms of Use\n# available at: https://www.arin.net/resources/registry/whois/tou/\n#\n\n" +
	"NetRange:       8.8.4.0 - 8.8.4.255\nCIDR:           8.8.4.0/24\nNetName:        EXAMPLE-7\nNetHandle:      NET-8-8-4-0-1\nParent:         NET8 (NET-8-0-0-0-0)\nOrganization:   Example, Inc. (EXMPL-3)\n" +
	"Ref:            https://rdap.arin.net/registry/ip/8.8.4.0\n\n\nOrgName:        Example, Inc.\nOrgId:          EXMPL-3\nCity:           Springfield\nCountry:        US\n\n" +
	"OrgAbuseHandle: EX82-ARIN\nOrgAbusePhone:  +1-555-0100\nOrgAbuseEmail:  abuse@provider.example\n\nOrgTechEmail:   tech@provider.example\n"

const lacnic = "% IP Client: 192.0.2.1\n\n% Joint Whois - whois.lacnic.net\n%  This server accepts single ASN, IPv4 or IPv6 queries\n\n% LACNIC resource: whois.lacnic.net\n\n" +
	"inetnum:     8.8.4.0/22\nstatus:      allocated\naut-num:     AS64500\nowner:       EXAMPLE S.A\nownerid:     PA-EXSA-LACNIC\nresponsible: Somebody\ncountry:     PA\nowner-c:     EX8\nabuse-c:     EX8\n\n" +
	"nic-hdl:     EX8\nperson:      Somebody\ne-mail:      abuse@provider.example\ncountry:     PA\n\n"

const afrinic = "% This is the AfriNIC Whois server.\n% Note: this output has been filtered.\n\n% Information related to '8.8.4.0 - 8.8.4.255'\n\n% No abuse contact registered for 8.8.4.0 - 8.8.4.255\n\n" +
	"inetnum:        8.8.4.0 - 8.8.4.255\nnetname:        Example\ndescr:          EXAMPLE LTD\ncountry:        TN\nsource:         AFRINIC # Filtered\n\nperson:         Somebody\naddress:        Tunis\n"

const apnic = "% [whois.apnic.net]\n% Whois data copyright terms    http://www.apnic.net/db/dbcopyright.html\n\n% Information related to '8.8.4.0 - 8.8.4.255'\n\n% Abuse contact for '8.8.4.0 - 8.8.4.255' is 'abuse@provider.example'\n\n" +
	"inetnum:        8.8.4.0 - 8.8.4.255\nnetname:        EXAMPLE-FJ\ndescr:          EXAMPLE PROVINCE NETWORK\ndescr:          Street 2\ncountry:        CN\n\nirt:            IRT-EX-CN\nabuse-mailbox:  other@provider.example\n"

func TestWhois(t *testing.T) {
	a := netip.MustParseAddr("8.8.4.4")
	const mail, lines = "abuse@provider.example", "8.8.4.0 - 8.8.4.255"
	for _, c := range []struct {
		name    string
		answers map[string]string
		want    Who // without a server: Unavailable
		asked   int
	}{
		{"RIPE", map[string]string{root: iana("whois.ripe.net"), "whois.ripe.net": ripe}, Who{"whois.ripe.net", lines, "EXAMPLE-NET", `Example \x1b[31mHosting B.V.`, "NL", mail}, 2},
		{"ARIN", map[string]string{root: iana("whois.arin.net"), "whois.arin.net": arin}, Who{"whois.arin.net", lines, "EXAMPLE-7", "Example, Inc.", "US", mail}, 2},
		{"LACNIC", map[string]string{root: iana("whois.lacnic.net"), "whois.lacnic.net": lacnic}, Who{"whois.lacnic.net", "8.8.4.0/22", "PA-EXSA-LACNIC", "EXAMPLE S.A", "PA", mail}, 2},
		{"AFRINIC", map[string]string{root: iana("whois.afrinic.net"), "whois.afrinic.net": afrinic}, Who{"whois.afrinic.net", lines, "Example", "EXAMPLE LTD", "TN", ""}, 2},
		{"APNIC", map[string]string{root: iana("whois.apnic.net"), "whois.apnic.net": apnic}, Who{"whois.apnic.net", lines, "EXAMPLE-FJ", "EXAMPLE PROVINCE NETWORK", "CN", mail}, 2},
		{"from one to the next", map[string]string{root: iana("whois.arin.net"), "whois.arin.net": arin + "\nReferralServer:  whois://whois.ripe.net\n", "whois.ripe.net": ripe}, Who{"whois.ripe.net", lines, "EXAMPLE-NET", `Example \x1b[31mHosting B.V.`, "NL", mail}, 3},
		{"the next is away", map[string]string{root: iana("whois.arin.net"), "whois.arin.net": arin + "\nReferralServer:  whois://whois.ripe.net:43/\n"}, Who{"whois.arin.net", lines, "EXAMPLE-7", "Example, Inc.", "US", mail}, 3},
		{"to a stranger", map[string]string{root: iana("whois.arin.net"), "whois.arin.net": arin + "\nReferralServer:  whois://evil.example\n"}, Who{"whois.arin.net", lines, "EXAMPLE-7", "Example, Inc.", "US", mail}, 2},
		{"to a server of its own protocol", map[string]string{root: iana("whois.arin.net"), "whois.arin.net": arin + "\nReferralServer:  rwhois://rwhois.provider.example:4321\n"}, Who{"whois.arin.net", lines, "EXAMPLE-7", "Example, Inc.", "US", mail}, 2},
		{"in circles", map[string]string{root: iana("whois.arin.net"), "whois.arin.net": arin + "\nReferralServer:  whois://whois.ripe.net\n", "whois.ripe.net": ripe + "\nrefer: whois.arin.net\n"}, Who{"whois.ripe.net", lines, "EXAMPLE-NET", `Example \x1b[31mHosting B.V.`, "NL", mail}, 3},
		{"the root sends elsewhere", map[string]string{root: iana("169.254.169.254")}, Who{}, 1},
		{"nobody is there", nil, Who{}, 1},
		{"nothing", map[string]string{root: ""}, Who{}, 1},
		{"much", map[string]string{root: iana("whois.ripe.net"), "whois.ripe.net": "netname: A\n" + strings.Repeat("x", 2*maxAnswer) + "\norg-name: late\n"}, Who{Server: "whois.ripe.net", Network: "A"}, 2},
		{"an address of somebody else's", map[string]string{root: iana("whois.ripe.net"), "whois.ripe.net": "netname: A\nabuse-mailbox: Me <x@y.example>, z@y.example\n% Abuse contact for 'x' is 'a@b\x1b.example'\n"}, Who{Server: "whois.ripe.net", Network: "A"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &servers{t: t, answers: c.answers}
			got, err := Whois(t.Context(), s.dial, a)
			if got != c.want || (c.want.Server == "") != fault.Is(err, fault.Unavailable) || len(s.asked) != c.asked || s.asked[0] != root {
				t.Errorf("got %+v, %v, asked %v", got, err, s.asked)
			}
		})
	}
	s := &servers{t: t}
	for _, private := range []string{"10.0.0.1", "203.0.113.9", "fe80::1"} {
		if _, err := Whois(t.Context(), s.dial, netip.MustParseAddr(private)); !fault.Is(err, fault.Invalid) || len(s.asked) > 0 {
			t.Errorf("%s: got %v, asked %v", private, err, s.asked)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := &servers{t: t, answers: map[string]string{root: "x"}, hang: true}
		start := time.Now()
		if _, err := Whois(t.Context(), s.dial, a); !fault.Is(err, fault.Unavailable) || time.Since(start) != whoisTime {
			t.Errorf("a server that hangs: got %v after %v", err, time.Since(start))
		}
	})
}

func FuzzWhois(f *testing.F) {
	for _, text := range []string{iana("whois.ripe.net"), ripe, arin, lacnic, afrinic, apnic} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, _ := parse(text)
		for _, s := range []string{w.Range, w.Network, w.Holder, w.Country, w.Abuse} {
			if show(s) != s {
				t.Errorf("%q is not safe to print", s)
			}
		}
	})
}

func TestReport(t *testing.T) {
	first := time.Date(2026, 11, 23, 3, 0, 0, 0, time.FixedZone("x", 7200))
	c := Complaint{Address: netip.MustParseAddr("8.8.4.4"), Who: Who{Network: "EXAMPLE-NET", Range: "8.8.4.0 - 8.8.4.255", Holder: "Example", Abuse: "abuse@provider.example"}, What: "Logins fail", First: first,
		Last: first.Add(time.Hour), Count: 7, Seen: []string{"2026-11-23T01:00:00Z authn_login_fail\x1b[31m"}}
	got := Report(c)
	for _, want := range []string{"To: abuse@provider.example\n", "8.8.4.4", "EXAMPLE-NET 8.8.4.0 - 8.8.4.255", "First:    2026-11-23T01:00:00Z", "Last:     2026-11-23T02:00:00Z", "Events:   7", `authn_login_fail\x1b[31m`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	if strings.Contains(got, "Target") {
		t.Errorf("says which address is ours: %s", got)
	}
	if c.Ours = "192.0.2.1"; !strings.Contains(Report(c), "Target:   192.0.2.1") {
		t.Error("does not say which address is ours although it was told to")
	}
	if c.Who.Abuse = ""; strings.HasPrefix(Report(c), "To:") {
		t.Error("is addressed to nobody")
	}
}
