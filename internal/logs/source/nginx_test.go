package source

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNginxLogs(t *testing.T) {
	root := t.TempDir()
	for at, text := range map[string]string{
		"nginx.conf": "error_log /var/log/nginx/error.log notice;\nhttp { # access_log /not/this.log;\n access_log /srv/logs/a.log main;\n access_log off; error_log stderr; access_log syslog:server=10.0.0.1;\n" +
			" access_log \"/srv/with blank.log\";\n add_header X access_log /no/directive.log; access_log relative.log; }",
		"sites-available/site": "server { access_log /srv/logs/$host.access.log; access_log /srv/${server_name}_ssl.log combined; access_log /srv/$host/x.log; access_log /$host; access_log /srv/logs/a.log; access_log /a/*; }",
		"conf.d/broken.conf":   "access_log \"/srv/open",
	} {
		path := filepath.Join(root, "etc/nginx", at)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"/var/log/nginx/error.log", "/srv/logs/a.log", "/srv/with blank.log", "/srv/logs/*.access.log", "/srv/*_ssl.log"}
	if got := nginxLogs(root); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := nginxLogs(t.TempDir()); len(got) != 0 {
		t.Errorf("got %q of nothing", got)
	}
}

// FuzzNginx: whatever stands in a configuration, what is found are absolute patterns that name one folder.
func FuzzNginx(f *testing.F) {
	f.Add("access_log /srv/$host.log;")
	f.Add("http { error_log \"/a b\" ; }")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range nginxDirectives(text) {
			if !filepath.IsAbs(p) || strings.Contains(filepath.Dir(p), "*") || strings.Count(p, "*") > 1 {
				t.Fatalf("%q names %q", text, p)
			}
			if _, err := filepath.Match(p, "/x"); err != nil {
				t.Fatalf("%q names %q: %v", text, p, err)
			}
		}
	})
}
