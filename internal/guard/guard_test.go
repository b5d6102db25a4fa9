package guard

import (
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestShow(t *testing.T) {
	for in, want := range map[string]string{
		"plain, and grüße": "plain, and grüße",
		"\x1b[31mred\x07":  `\x1b[31mred\x07`,
		"a\nb\tc\r":        `a\x0ab\x09c\x0d`,
		"\xff\xfe":         `\xff\xfe`,
		"\u202eabc":        `\u202eabc`,
		"\u009b31m":        `\u009b31m`, // the one-character form of an escape
		"\U000e0041":       `\U000e0041`,
		"":                 "",
	} {
		if got := Show(in); got != want || Show(got) != got {
			t.Errorf("%q: got %q and then %q, want %q", in, got, Show(got), want)
		}
	}
}

// words are what a shell might misunderstand.
var words = []string{"/etc/maas/regiond.conf", "", "a b", "it's", "$(id)", "`id`", "a\nb", "\x1b[0m", "\xff\xc3(", "~", "-rf", `back\slash`, "*", "über", "\u202e", "a'b\\'c\x01" + "7", "!x"}

// A real shell takes each for what it was.
func TestQuote(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("bash is what the scripts are for: ", err)
	}
	for _, w := range words {
		q := Quote(w)
		if Show(q) != q {
			t.Errorf("%q: %q cannot be printed", w, q)
		}
		out, err := exec.Command(bash, "-c", "printf %s "+q).Output()
		if err != nil || string(out) != w {
			t.Errorf("got %q (%v) of %s, want %q", out, err, q, w)
		}
	}
}

func FuzzQuote(f *testing.F) {
	for _, w := range words {
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, w string) {
		q := Quote(w)
		if Show(q) != q || !utf8.ValidString(q) || strings.ContainsAny(q, "\n\x1b") {
			t.Errorf("%q: %q cannot be printed", w, q)
		}
		if q[0] != '\'' && q[0] != '$' && strings.ContainsAny(q, " \t;&|<>()$`\\\"'*?[]#~!{}") {
			t.Errorf("%q: %s is bare, and a shell reads it otherwise", w, q)
		}
	})
}

func TestScore(t *testing.T) {
	check := func(id string, s Severity) *Check { return &Check{ID: id, Severity: s} }
	fail := func(c *Check, p Product, s Severity) Finding {
		return Finding{c, p, Observation{State: Fail, Severity: s}}
	}
	a, b, d := check("files-a", Critical), check("files-b", High), check("files-d", Low)
	for _, c := range []struct {
		name string
		list []Finding
		want string
	}{
		{"nothing wrong", []Finding{{a, MAASDeb, Observation{State: Pass}}}, "100 of 100"},
		{"a check counts once, by its worst", []Finding{fail(a, MAASDeb, Low), fail(a, MAASDeb, 0), fail(a, MAASDeb, Medium)}, "60 of 100 = 100 - 1 critical × 40"},
		{"and once a product", []Finding{fail(b, MAASDeb, 0), fail(b, Metalward, 0), fail(d, Metalward, 0)}, "58 of 100 = 100 - 2 high × 20 - 1 low × 2"},
		{"never below nothing", []Finding{fail(a, MAASDeb, 0), fail(a, MAASSnap, 0), fail(a, Metalward, 0)}, "0 of 100 = 100 - 3 critical × 40, and no less than 0"},
		{"what is not known is said", []Finding{{a, MAASDeb, Observation{State: Unchecked}}, {b, MAASDeb, Observation{State: Unchecked}}},
			"100 of 100; at most that, for 2 could not be checked"},
	} {
		if got := Sum(c.list).String(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRun(t *testing.T) {
	c := &Check{ID: "files-x", Versions: map[Product]string{MAASDeb: "2.7 to 3.8"}, Judge: func(Host, Product) []Observation { return nil }}
	if got := c.Run(nil, MAASDeb); len(got) != 1 || got[0].State != NotApplicable {
		t.Errorf("a check that sees nothing: got %+v, want not applicable", got)
	}
	if got := c.Run(nil, Metalward); got != nil {
		t.Errorf("a check that is for another product: got %+v, want nothing", got)
	}
}

func TestParseSeverity(t *testing.T) {
	for _, s := range Severities {
		if got, ok := ParseSeverity(s.String()); !ok || got != s {
			t.Errorf("%s: got %v, %v", s, got, ok)
		}
	}
	for _, name := range []string{"", "High", "severe"} {
		if got, ok := ParseSeverity(name); ok {
			t.Errorf("%q: got %v, want none", name, got)
		}
	}
}
