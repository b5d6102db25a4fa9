package region

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/regiontest"
)

// hostile are values as scanners send them.
var hostile = []string{"' OR '1'='1' --", "1); DROP TABLE users; --", "\x00", "%00%0d%0aSet-Cookie: x=y", "-9223372036854775809", "../../../../etc/passwd", "{{7*7}}${7*7}<script>alert(1)</script>",
	"\u202e\U0010ffff\xff", strings.Repeat("A", 5000), `{"a":[{"b":null}]}`}

// TestHostileParameters sends each of them in every parameter, of path and form, of every operation, as administrator:
// nothing breaks inside, nothing is echoed as markup, and the users are still there.
func TestHostileParameters(t *testing.T) {
	regiontest.Slow(t)
	c := newCompany(t)
	m := c.machine(c.lab, "", metal.Ready)
	fill := strings.NewReplacer("{system_id}", m.SystemID, "{username}", "user", "{name}", "default", "{id}", "1", "{fabric_id}", "0", "{vid}", "0", "{vlan_id}", "1")
	calls, kept := 0, 0 // kept out: these prove little
	send := func(o *maasapi.Operation, path string, fields ...string) {
		t.Helper()
		if o.Op != "" {
			path += "?op=" + o.Op
		}
		if o.Method == http.MethodGet || o.Method == http.MethodDelete {
			q := url.Values{}
			for i := 0; i+1 < len(fields); i += 2 {
				q.Add(fields[i], fields[i+1])
			}
			if sep := "?"; len(q) > 0 {
				if o.Op != "" {
					sep = "&"
				}
				path += sep + q.Encode()
			}
			fields = nil
		}
		rec := c.call("admin", o.Method, path, fields...)
		if rec.Code >= 500 && rec.Code != http.StatusServiceUnavailable {
			t.Errorf("%s %s %.120q: got %d %.200s", o.ID, path, fields, rec.Code, rec.Body)
		}
		if strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html") {
			t.Errorf("%s answers with HTML", o.ID)
		}
		calls++
		if rec.Code == http.StatusUnauthorized || rec.Code == http.StatusForbidden || rec.Code == http.StatusTooManyRequests {
			kept++
		}
	}
	for i := range maasapi.Operations {
		o := &maasapi.Operations[i]
		for _, v := range hostile {
			for _, p := range o.PathParams() {
				raw := strings.ReplaceAll(o.Path, "{"+p+"}", url.PathEscape(v))
				if u, err := url.Parse("https://localhost" + fill.Replace(raw)); err == nil {
					send(o, u.EscapedPath())
				}
			}
			for _, p := range o.Params {
				fields := []string{p.Name, v}
				for _, other := range o.Params {
					if other.Required && other.Name != p.Name {
						fields = append(fields, other.Name, "x1")
					}
				}
				send(o, fill.Replace(o.Path), fields...)
			}
		}
	}
	if calls < 3000 || kept > calls/20 {
		t.Errorf("%d calls, %d of them kept out", calls, kept)
	}
	if users := c.list("admin", "/users/"); len(users) < len(people) {
		t.Errorf("got %d users afterwards", len(users))
	}
}

// form is one that a page has, with what its fields begin with.
type form struct {
	method, action string
	names          []string
	values         url.Values
}

// forms reads the forms of a page.
func forms(t *testing.T, page string) (out []form) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	attr := func(n *html.Node, name string) string {
		for _, a := range n.Attr {
			if a.Key == name {
				return a.Val
			}
		}
		return ""
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" {
			continue
		}
		f := form{method: strings.ToUpper(attr(n, "method")), action: attr(n, "action"), values: url.Values{}}
		actions := []string{f.action}
		for in := range n.Descendants() {
			switch name := attr(in, "name"); {
			case in.Type != html.ElementNode:
			case attr(in, "formaction") != "":
				actions = append(actions, attr(in, "formaction"))
			case name != "" && !f.values.Has(name):
				f.names = append(f.names, name)
				f.values.Set(name, attr(in, "value"))
			}
		}
		for _, a := range actions {
			f.action = a
			out = append(out, f)
		}
	}
	return out
}

// TestHostileForms crawls the pages as administrator, and sends what scanners send in each field of each form that it
// finds: nothing breaks inside, nothing comes back as markup or in a header, and nobody is sent to another site.
func TestHostileForms(t *testing.T) {
	regiontest.Slow(t)
	c := newCompany(t)
	m := c.machine(c.lab, "", metal.Ready)
	found := map[string]form{}
	c.crawl("admin", func(where, page string) {
		for _, f := range forms(t, page) {
			if f.action == "" {
				f.action = strings.TrimSuffix(where, " as admin")
			}
			found[f.method+" "+f.action] = f
		}
	})
	sent, kept := 0, 0
	for _, f := range found {
		if f.action == "/logout" || f.action == "/machines/"+m.SystemID+"/delete" {
			continue
		}
		for _, name := range f.names {
			for _, v := range hostile {
				fields := url.Values{}
				for _, n := range f.names {
					fields[n] = slices.Clone(f.values[n])
				}
				fields.Set(name, v)
				target, body := f.action, fields.Encode()
				if f.method != http.MethodPost {
					path, _, _ := strings.Cut(target, "?")
					target, body = path+"?"+body, ""
				}
				req := httptest.NewRequest(f.method, "https://localhost"+target, strings.NewReader(body))
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				c.sign(req, "admin")
				rec := httptest.NewRecorder()
				c.handler.ServeHTTP(rec, req)
				sent++
				what := f.method + " " + f.action + " " + name
				switch {
				case rec.Code == http.StatusTooManyRequests || rec.Code == http.StatusForbidden || rec.Code == http.StatusUnauthorized:
					kept++
				case rec.Code >= 500 && rec.Code != http.StatusServiceUnavailable:
					t.Errorf("%s %.60q: got %d %.200s", what, v, rec.Code, rec.Body)
				}
				if strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html") && strings.Contains(rec.Body.String(), "<script>alert(1)") {
					t.Errorf("%s comes back as markup", what)
				}
				if to := rec.Header().Get("Location"); to != "" && (!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n")) {
					t.Errorf("%s %.60q leads to %q", what, v, to)
				}
				for _, cookie := range rec.Header().Values("Set-Cookie") {
					if !strings.HasPrefix(cookie, "__Host-") {
						t.Errorf("%s sets %q", what, cookie)
					}
				}
			}
		}
	}
	if len(found) < 30 || sent < 1000 || kept > sent/10 {
		t.Errorf("%d forms, sent %d times, of which %d were kept out", len(found), sent, kept)
	}
	if users := c.list("admin", "/users/"); len(users) < len(people) {
		t.Errorf("got %d users afterwards", len(users))
	}
}
