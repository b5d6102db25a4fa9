package region

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/secret"
)

// kept is a log that several goroutines write.
type kept struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (k *kept) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.b.Write(p)
}

func (k *kept) String() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.b.String()
}

var link = regexp.MustCompile(`(?:href|action|src)="(/[^"#]*)`)

// TestCanaries puts secrets everywhere, then reads everything as everybody: each GET of the API, each page that a link
// leads to, errors, the trail's export and the log. None of the secrets is there.
func TestCanaries(t *testing.T) {
	regiontest.Slow(t)
	c := newCompany(t)
	c.must("admin", "POST", "/grants/", "user", "audit", "role", authz.Auditor, "all_pools", "true")
	const bmc, password = "canary-bmc-password", "canary-pass-phrase-1"
	m := c.must("admin", "POST", "/machines/", "hostname", "node", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:01", "pool", "lab", "commission", "false",
		"power_type", "ipmi", "power_parameters_power_address", "192.0.2.9", "power_parameters_power_user", "root", "power_parameters_power_pass", bmc)
	id := m["system_id"].(string)
	c.must("admin", "POST", "/machines/"+id+"/?op=rotate_bmc", "take_over", "true")
	next := c.must("admin", "POST", "/machines/"+id+"/?op=show_bmc_credentials")["next"].(map[string]any)["power_pass"].(string)
	ctx := authz.WithOrigin(authz.AsSystem(t.Context(), "test"), authz.Origin{Source: "192.0.2.77"})
	if _, err := c.r.Identity.CreateUser(ctx, identity.NewUser{Name: "zoe", Password: secret.FromString(password)}); err != nil {
		t.Fatal(err)
	}
	const client = "canary-client-secret"
	c.must("admin", "POST", "/oidc-providers/", "name", "Example", "issuer_url", "https://op.example", "client_id", "metalward", "client_secret", client)
	c.must("admin", "POST", "/ldap-providers/", "name", "Directory", "servers", "ldaps://ldap.example", "base_dn", "dc=example", "bind_dn", "cn=reader,dc=example", "bind_password", "canary-bind-password")
	agent, err := bakery.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	agentKey, err := agent.Private.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	c.must("admin", "POST", "/candid-providers/", "name", "Candid", "candid_url", "https://candid.example", "agent_username", "agent@admin@candid", "agent_key", string(agentKey))
	c.must("admin", "POST", "/maas/?op=set_config", "name", "metalward_smtp_server", "value", "mail.example:465")
	c.must("admin", "POST", "/notifications/?op=set_mail_login", "username", "sender", "password", "canary-mail-password")
	tlsKey, tlsCert := newCorporate(t, time.Now).issue(48*time.Hour, "localhost")
	c.must("admin", "POST", "/tls/?op=enable", "key", tlsKey, "cert", tlsCert)
	once, _, err := c.r.Identity.FirstLink(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.r.Identity.Authenticate(ctx, "zoe", secret.FromString("canary-wrong-guess"), "") // fails, and is recorded
	canaries := map[string][]byte{"directory's password": []byte("canary-bind-password"), "agent's key": agentKey, "mail password": []byte("canary-mail-password"), "TLS key": []byte(strings.Split(tlsKey, "\n")[1]), "BMC password": []byte(bmc), "next BMC password": []byte(next), "client's secret": []byte(client), "password": []byte(password), "wrong password": []byte("canary-wrong-guess"), "one-use link": once.Reveal(), "password hash": []byte("$argon2id$")}
	for name, k := range c.keys {
		canaries["key of "+name] = k.Secret.Reveal()
	}
	for _, name := range []string{"root.key", "shared-secret"} {
		b, err := os.ReadFile(filepath.Join(c.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		canaries[name] = bytes.TrimSpace(b)
	}
	search := func(where, text string) {
		t.Helper()
		for name, v := range canaries {
			for form, s := range map[string]string{"as it is": string(v), "hex": hex.EncodeToString(v), "base64": base64.StdEncoding.EncodeToString(v), "escaped": url.QueryEscape(string(v))} {
				if strings.Contains(text, s) {
					t.Errorf("%s has the %s, %s", where, name, form)
				}
			}
		}
	}
	pages := 0
	for name := range people {
		for i := range maasapi.Operations {
			o := &maasapi.Operations[i]
			if o.Method != http.MethodGet {
				continue
			}
			path := strings.NewReplacer("{system_id}", id, "{username}", "zoe", "{name}", "default", "{id}", "1", "{fabric_id}", "0", "{vid}", "0", "{vlan_id}", "1").Replace(o.Path)
			q := url.Values{}
			if o.Op != "" {
				q.Set("op", o.Op)
			}
			for p, v := range map[string]string{"name": "maas_name", "pool": "lab", "user": "zoe", "action": "machine.view", "machine": id, "level": "DEBUG", "include_output": "true"} {
				for _, param := range o.Params {
					if param.Name == p {
						q.Set(p, v)
					}
				}
			}
			rec := c.call(name, o.Method, path+"?"+q.Encode())
			if rec.Code >= 500 && rec.Code != http.StatusServiceUnavailable {
				t.Errorf("%s as %s: got %d %s", o.ID, name, rec.Code, rec.Body)
			}
			search(o.ID+" as "+name, rec.Body.String())
		}
		pages += c.crawl(name, search)
	}
	if pages < 100 {
		t.Errorf("only %d pages were found", pages)
	}
	search("the log", c.log.String())
	var trail strings.Builder
	for _, e := range c.list("admin", "/trail/?limit=1000") {
		for _, v := range e {
			if s, ok := v.(string); ok {
				trail.WriteString(s + "\n")
			}
		}
	}
	search("the trail", trail.String())
}

// crawl follows links as a person until there are no new ones, and shows each page.
func (c *company) crawl(name string, see func(where, text string)) int {
	c.t.Helper()
	todo, seen := []string{"/", "/machines", "/pools", "/account", "/audit", "/access", "/users", "/settings"}, map[string]bool{}
	for len(todo) > 0 && len(seen) < 300 {
		path := todo[0]
		todo = todo[1:]
		if seen[path] || strings.HasPrefix(path, "/assets/") || strings.HasPrefix(path, "/MAAS/") || path == "/events" {
			continue
		}
		seen[path] = true
		req := httptest.NewRequest("GET", "https://localhost"+path, nil)
		c.sign(req, name)
		rec := httptest.NewRecorder()
		c.handler.ServeHTTP(rec, req)
		if rec.Code >= 500 {
			c.t.Errorf("%s as %s: got %d", path, name, rec.Code)
		}
		see(path+" as "+name, rec.Body.String()+strings.Join(rec.Header().Values("Location"), " "))
		for _, m := range link.FindAllStringSubmatch(rec.Body.String(), -1) {
			todo = append(todo, strings.ReplaceAll(m[1], "&amp;", "&"))
		}
	}
	return len(seen)
}
