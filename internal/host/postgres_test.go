package host_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/host/hosttest"
	"github.com/metalward/metalward/internal/region/regiontest"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

// servers reads what a host of data has.
func servers(t testing.TB, tree ...guard.Entry) []guard.Postgres {
	t.Helper()
	m, err := hosttest.New(tree)
	if err != nil {
		t.Fatal(err)
	}
	list, err := host.New(m).Postgres()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

const at = "/etc/postgresql/15/main/"

func server(t testing.TB, conf, hba string, more ...guard.Entry) guard.Postgres {
	t.Helper()
	list := servers(t, append(more, guard.Entry{Path: at + "postgresql.conf", Content: conf}, guard.Entry{Path: at + "pg_hba.conf", Content: hba})...)
	if len(list) != 1 || list[0].Name != "15/main" || list[0].Version != 15 {
		t.Fatalf("got %+v", list)
	}
	return list[0]
}

func TestPostgresFiles(t *testing.T) {
	p := server(t, "Port = 5433 # not the usual\nssl on\nlisten_addresses='it''s'\ninclude_dir = 'conf.d'\ninclude_if_exists 'none'\ndata_directory '/srv/pg'\n",
		"host all all samenet trust\n",
		guard.Entry{Path: at + "conf.d/b.conf", Content: "port=2"}, guard.Entry{Path: at + "conf.d/a.conf", Content: "port=1"}, guard.Entry{Path: at + "conf.d/.c.conf", Content: "port=3"},
		guard.Entry{Path: "/srv/pg/postgresql.auto.conf", Content: "password_encryption = 'md5'"})
	if p.Err != nil || p.Setting("port", "") != "2" || !p.On("ssl", false) || p.Setting("listen_addresses", "") != "it's" || p.Data != "/srv/pg" || p.Setting("password_encryption", "") != "md5" {
		t.Errorf("got %+v", p)
	}
	if s := p.Settings["port"]; s.File != at+"conf.d/b.conf" || s.Line != 1 {
		t.Errorf("the port is said to be of %s, line %d", s.File, s.Line)
	}
	for name, bad := range map[string]guard.Postgres{
		"a file that includes itself": server(t, "include 'postgresql.conf'", ""),
		"an inclusion that is absent": server(t, "include 'none'", ""),
		"an open quote":               server(t, "a = 'b", ""),
		"no value":                    server(t, "a =", ""),
		"two values":                  server(t, "a = b c", ""),
		"half a rule":                 server(t, "", "host all all"),
		"no such type":                server(t, "", "hosts all all all trust"),
		"no such method":              server(t, "", "host all all all believe"),
		"an address without a mask":   server(t, "", "host all all 10.0.0.0 trust"),
		"a mask with a hole":          server(t, "", "host all all 10.0.0.0 255.0.255.0 trust"),
		"a file of rules in a loop":   server(t, "", "include pg_hba.conf"),
		"a list that is absent":       server(t, "", "host @none all all trust"),
		"a file that may not be read": server(t, "hba_file = '/srv/hba'", "", guard.Entry{Path: "/srv/hba", Hidden: true}),
	} {
		if bad.Err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	test := servers(t, guard.Entry{Path: "/var/snap/maas-test-db/common/postgres/data/postgresql.conf"}, guard.Entry{Path: "/var/snap/maas-test-db/common/postgres/data/PG_VERSION", Content: "14\n"},
		guard.Entry{Path: "/var/snap/maas-test-db/common/postgres/data/pg_hba.conf", Content: "local all all trust"})
	if len(test) != 1 || test[0].Name != "maas-test-db" || test[0].Version != 14 || len(test[0].Rules) != 1 {
		t.Errorf("got %+v", test)
	}
}

// TestRules holds what is read against what a real server says of the same file, for lines of every kind and for random ones.
func TestRules(t *testing.T) {
	p := regiontest.NewOwnPostgres(t)
	db, err := sql.Open("pgx", p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var file string
	if err := db.QueryRow("SHOW hba_file").Scan(&file); err != nil {
		t.Fatal(err)
	}
	lines := []string{
		"local all all trust", "local all all peer map=x", `host "all" all all md5`, `host db1,db2 u1,"u 2" 10.1.2.3/8 scram-sha-256`, "host all all 10.0.0.0 255.255.0.0 trust",
		"host replication rep ::1/128 password", "host all all fe80::/10 reject", "host all all host.example md5", "host all all .example md5", "host all +group samenet md5",
		"host sameuser all samehost ident map=y", "hostnossl all all 0.0.0.0/0 reject", "hostssl all all all cert", "hostgssenc all all all gss", "hostnogssenc all all all md5 # why",
		"host all all 10.0.0.1 md5", "host all all 10.0.0.0/33 md5", "host all", "nothing", `host "a""b" all all md5`, `host a\`, `b`, "host all\\\n all all trust", "", "# host all all all trust",
		"host a ,b all all md5", "host a, b all all md5", "host a b c d", "host all all 300.0.0.1/8 md5", "host all all 10.0.0.0/8 md5 md5", "host all,all all all,all md5", "host @names all all md5", "\thost  all all all\tmd5\r",
		`host x"y z"w all all md5`, `host "x",y all all md5`, "host all all 1.2.3.4/32,5.6.7.8/32 md5",
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "names"), []byte("n1 n2,n3\n\"n 4\" # n5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	words := []string{"host", "hostssl", "local", "all", `"all"`, "a,b", "10.0.0.0/8", "::/0", "255.0.0.0", "10.0.0.0", "trust", "md5", "reject", "x=y", `"q q"`, "@names", "samenet", ",", "#", `"`}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var line []string
		for _, list := range [][]string{words[:3], words[3:6], words[3:6], words[6:8], words[10:13], {"x=y", "map=z", ""}} {
			switch rng.IntN(30) {
			case 0: // left out
			case 1:
				line = append(line, words[rng.IntN(len(words))])
			default:
				line = append(line, list[rng.IntN(len(list))])
			}
		}
		lines = append(lines, strings.Join(line, []string{" ", "  ", "\t"}[rng.IntN(3)]))
	}
	text := strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	type rule struct{ kind, databases, users, from, method string }
	want, refused := map[int]rule{}, map[int]string{}
	rows, err := db.Query(`SELECT line_number, coalesce(type, ''), coalesce(array_to_string(database, '|'), ''), coalesce(array_to_string(user_name, '|'), ''),
		coalesce(address, ''), coalesce(netmask, ''), coalesce(auth_method, ''), coalesce(error, '') FROM pg_hba_file_rules`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var n int
		var r rule
		var mask, bad string
		if err := rows.Scan(&n, &r.kind, &r.databases, &r.users, &r.from, &mask, &r.method, &bad); err != nil {
			t.Fatal(err)
		}
		if bad != "" {
			refused[n] = bad
			continue
		}
		if mask != "" {
			r.from = prefix(t, r.from, mask)
		}
		want[n] = r
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	tree := []guard.Entry{{Path: at + "names", Content: "n1 n2,n3\n\"n 4\" # n5\n"}}
	got := server(t, "", text, tree...)
	join := func(list []guard.HBAName) string {
		var words []string
		for _, n := range list {
			words = append(words, n.Name)
		}
		return strings.Join(words, "|")
	}
	seen := map[int]bool{}
	for _, r := range got.Rules {
		seen[r.Line] = true
		have := rule{r.Type, join(r.Databases), join(r.Users), r.Address, r.Method}
		if r.From.IsValid() {
			have.from = r.From.String()
		}
		if w, ok := want[r.Line]; ok && w != have {
			t.Errorf("line %d, %q: got %+v, the server has %+v", r.Line, lines[r.Line-1], have, w)
		}
		if _, ok := want[r.Line]; !ok && refused[r.Line] == "" {
			t.Errorf("line %d, %q: got %+v, the server has nothing", r.Line, lines[r.Line-1], have)
		}
	}
	for n := range want {
		if !seen[n] {
			t.Errorf("line %d: the server has %+v, here is nothing", n, want[n])
		}
	}
	if len(want) < 100 || len(refused) < 100 {
		t.Errorf("%d rules and %d refused lines prove little", len(want), len(refused))
	}
}

func prefix(t *testing.T, address, mask string) string {
	t.Helper()
	a, err := netip.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	bits := 0
	for _, b := range netip.MustParseAddr(mask).AsSlice() {
		for ; b != 0; b <<= 1 {
			bits++
		}
	}
	return netip.PrefixFrom(a, bits).Masked().String()
}

// TestSettings holds what is read against what a real server says of the same file.
func TestSettings(t *testing.T) {
	p := regiontest.NewOwnPostgres(t)
	db, err := sql.Open("pgx", p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var file string
	if err := db.QueryRow("SHOW config_file").Scan(&file); err != nil {
		t.Fatal(err)
	}
	text := "port = 1\nPORT 2\nx.y = 'a'\nx.z = a b\nsearch_path = 'it''s'\nx.a = 'a\\'b\\101\\n'\nx.b='' \nx.c=1.5kB\n  x.d\t=\ton#y\n= 3\nx.e\nx.f = 'a\nx.g = -1\nx.h == 1\nx.i = a.b_c:d/e-f\nx.j = ,\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") { // one by one: the server gives up a file for one error
		if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		bad := ""
		rows, err := db.Query("SELECT coalesce(lower(name), ''), coalesce(setting, ''), coalesce(error, '') FROM pg_file_settings WHERE sourcefile = $1", file)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var name, value, problem string
			if err := rows.Scan(&name, &value, &problem); err != nil {
				t.Fatal(err)
			}
			if name == "" {
				bad = problem
			} else {
				want[name] = value
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		got := server(t, line, "")
		have := map[string]string{}
		for name, s := range got.Settings {
			have[name] = s.Value
		}
		if (got.Err != nil) != (bad != "") || bad == "" && fmt.Sprint(have) != fmt.Sprint(want) {
			t.Errorf("line %d, %q: got %q, %v; the server has %q, %s", i, line, have, got.Err, want, bad)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		wide, narrow string
		want         bool
	}{
		{"host all all all trust", "hostssl maas maas 10.0.0.0/8 scram-sha-256", true},
		{"hostssl all all all trust", "host maas maas 10.0.0.0/8 md5", false},
		{"hostnossl all all all reject", "host all all all md5", false},
		{"host all all all trust", "host replication all all md5", false},
		{"host all all 10.0.0.0/8 trust", "host maas all 10.1.0.0/16 md5", true},
		{"host all all 10.1.0.0/16 trust", "host maas all 10.0.0.0/8 md5", false},
		{"host all all 0.0.0.0/0 trust", "host all all ::1/128 md5", false},
		{`host "all" all all trust`, "host maas all all md5", false},
		{"host a,b c all trust", "host a c all md5", true},
		{"host a c all trust", "host a,b c all md5", false},
		{"local all all trust", "host all all all md5", false},
		{"local all all trust", "local maas maas peer", true},
		{"host all all samenet trust", "host all all 10.0.0.0/8 md5", false},
	} {
		p := server(t, "", c.wide+"\n"+c.narrow)
		if p.Err != nil || len(p.Rules) != 2 {
			t.Fatal(p.Err)
		}
		if got := p.Rules[0].Covers(p.Rules[1]); got != c.want || (p.Decides(1) == 0) != c.want {
			t.Errorf("%s covers %s: got %v", c.wide, c.narrow, got)
		}
	}
	reaches := server(t, "", "local all all peer\nhost all all localhost md5\nhost all all ::1/128 md5\nhost all all 127.0.0.0/8 md5\nhost all all samehost md5\nhost all all 10.0.0.0/8 md5\nhost all all samenet md5\nhost all all db.example md5\nhost all all ::/0 md5\nhost all all all md5")
	var got []guard.Reach
	for _, r := range reaches.Rules {
		got = append(got, r.Reach())
	}
	if want := []guard.Reach{0, 1, 1, 1, 1, 2, 2, 2, 3, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for listen, want := range map[string]bool{"": false, "listen_addresses = ''": false, "listen_addresses = 'localhost, ::1'": false, "listen_addresses = '*'": true, "listen_addresses = '127.0.0.1,10.0.0.1'": true, "listen_addresses='db.example'": true} {
		if got := server(t, listen, "").Abroad(); got != want {
			t.Errorf("%q: got %v", listen, got)
		}
	}
}

func FuzzPostgres(f *testing.F) {
	f.Add("port = 1\ninclude 'x'", "host all all 10.0.0.0 255.0.0.0 trust\nlocal @x all peer\\\n")
	f.Fuzz(func(t *testing.T, conf, hba string) {
		p := server(t, conf, hba)
		for i, r := range p.Rules {
			_ = r.String()
			if d := p.Decides(i); d > i || d < i && !p.Rules[d].Covers(r) {
				t.Errorf("rule %d is decided by %d", i, d)
			}
		}
	})
}
