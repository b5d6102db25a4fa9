package host_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestHAProxyTimeouts holds what is read of times against what HAProxy warns of.
func TestHAProxyTimeouts(t *testing.T) {
	haproxy := "/usr/sbin/haproxy"
	if exec.Command(haproxy, "-v").Run() != nil {
		t.Skip("HAProxy is not here, so nobody else reads the configuration; install the package haproxy")
	}
	dir := t.TempDir()
	none := func(v string) bool { return strings.Trim(strings.TrimRight(v, "usmhd"), "0") == "" }
	for _, defaults := range []string{"", " timeout client 1s\n", " timeout client 0\n timeout server 5\n", " timeout connect 1s\n timeout client 90s\n timeout server 1m\n", " timeout server 0ms\n timeout connect 1h\n"} {
		for _, back := range []string{"", " timeout connect 3s\n", " timeout server 9s\n timeout connect 0\n", " retries 0\n option redispatch 2\n no option redispatch\n"} {
			text := "defaults\n mode http\n" + defaults + "frontend f\n bind 127.0.0.1:1\n retries 9\n default_backend b\nbackend b\n" + back + " server s 127.0.0.1:2\n"
			file := filepath.Join(dir, "haproxy.cfg")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(haproxy, "-c", "-f", file).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			got := fronts(t, haproxyAt, text)
			if len(got.List) != 1 || len(got.List[0].Behind) != 1 || got.Err != nil {
				t.Fatalf("got %+v", got)
			}
			f, b := got.List[0], got.List[0].Behind[0]
			if warned := strings.Contains(string(out), "missing timeouts for frontend"); warned != none(f.Timeout) {
				t.Errorf("%s: got the client's time %q; HAProxy: %s", text, f.Timeout, out)
			}
			if warned := strings.Contains(string(out), "missing timeouts for backend"); warned != (none(b.Connect) || none(b.Server)) {
				t.Errorf("%s: got %q and %q; HAProxy: %s", text, b.Connect, b.Server, out)
			}
			if !strings.Contains(string(out), "'retries' ignored because frontend") || b.Retries == "9" {
				t.Errorf("got retries %q of a frontend; HAProxy: %s", b.Retries, out)
			}
		}
	}
	got := fronts(t, haproxyAt, "global\n maxconn 7\ndefaults\n option httpclose\nlisten a\n bind :1\n balance leastconn\n hash-type map-based\n stick on src\n no option httpclose\n option redispatch 3\n server s h:1\nlisten b\n bind :2\n cookie X insert\n").List
	if a := got[0].Behind[0]; got[0].Limit != 7 || got[0].Close || a.Close || a.Balance != "leastconn" || a.Hash != "map-based" || !a.Sticky || !a.Redispatch || !got[1].Close || !got[1].Behind[0].Sticky {
		t.Errorf("got %+v", got)
	}
}
