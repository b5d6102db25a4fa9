package region

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/metal"
)

// hostile are values as scanners send them.
var hostile = []string{"' OR '1'='1' --", "1); DROP TABLE users; --", "\x00", "%00%0d%0aSet-Cookie: x=y", "-9223372036854775809", "../../../../etc/passwd", "{{7*7}}${7*7}<script>alert(1)</script>",
	"\u202e\U0010ffff\xff", strings.Repeat("A", 5000), `{"a":[{"b":null}]}`}

// TestHostileParameters sends each of them in every parameter, of path and form, of every operation, as administrator:
// nothing breaks inside, nothing is echoed as markup, and the users are still there.
func TestHostileParameters(t *testing.T) {
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
