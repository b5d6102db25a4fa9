package compat

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// metalward runs the program's own command line.
func metalward(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	c := exec.Command(site.root, args...)
	c.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(site.dir, "..", "config"))
	c.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// Our own command line: login, an image in two chunks, a machine that is waited for in vain.
func TestOwnCommandLine(t *testing.T) {
	done := func(stdin string, args ...string) string {
		t.Helper()
		stdout, stderr, code := metalward(t, stdin, args...)
		if code != 0 {
			t.Fatalf("%s: exit code %d: %s", strings.Join(args, " "), code, stderr)
		}
		return stdout
	}
	done(site.key+"\n", "login", "--ca-file", filepath.Join(site.dir, "ca.pem"), "compat", site.url, "-")
	if got := done("", "list"); !strings.HasPrefix(got, "compat https://") || strings.Contains(got, site.key) {
		t.Errorf("list: got %s", got)
	}

	file := filepath.Join(t.TempDir(), "image")
	ok(t, "image", os.WriteFile(file, bytes.Repeat([]byte("metal"), 1<<20), 0o600))
	var image struct {
		ID   int
		Sets map[string]struct{ Complete bool }
	}
	text := done("", "compat", "boot-resources", "create", "name=custom/own", "architecture=amd64/generic", "filetype=ddraw", "content@="+file)
	ok(t, "boot resource", json.Unmarshal([]byte(text), &image))
	for _, s := range image.Sets {
		same(t, "complete", s.Complete, true)
	}
	done("", "compat", "boot-resource", "delete", strconv.Itoa(image.ID))

	var m struct {
		ID string `json:"system_id"`
	}
	text = done("", "compat", "machines", "create", "hostname=own", "architecture=amd64", "mac_addresses=52:54:00:00:03:01", "power_type=manual", "commission=false")
	ok(t, "machine", json.Unmarshal([]byte(text), &m))
	_, stderr, code := metalward(t, "", "compat", "machine", "commission", m.ID, "--wait", "--timeout", "2s")
	same(t, "exit code of a wait that ends", code, 1)
	if !strings.Contains(stderr, "after 2s the machine is Commissioning") {
		t.Errorf("wait: got %s", stderr)
	}
	done("", "compat", "machine", "abort", m.ID)
	done("very secret\n", "compat", "machine", "update", m.ID, "power_type=ipmi", "power_parameters_power_address=192.0.2.11", "power_parameters_power_user=root", "power_parameters_power_pass=-")
	if got := done("", "compat", "machine", "power-parameters", m.ID); !strings.Contains(got, "192.0.2.11") || strings.Contains(got, "very secret") {
		t.Errorf("power parameters: got %s", got)
	}
	done("", "compat", "machine", "delete", m.ID)
	_, stderr, code = metalward(t, "", "compat", "machine", "read", m.ID)
	if code != 1 || !strings.Contains(stderr, "404 Not Found") {
		t.Errorf("deleted machine: exit code %d, %s", code, stderr)
	}
	done("", "logout", "compat")
}
