package candid

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/macaroon-bakery.v3/bakery"
)

// login is what the maas command line does to get its key, and libmaas: with the same library, which Debian has.
const login = `
import http.cookiejar, sys
from macaroonbakery import httpbakery
from macaroonbakery.httpbakery import agent

url, file = sys.argv[1:]
client = httpbakery.Client(interaction_methods=[agent.AgentInteractor(agent.load_auth_info(file))], cookies=http.cookiejar.CookieJar())
response = client.request("POST", url + "/MAAS/api/2.0/account/?op=create_authorisation_token")
print(response.status_code, ":".join(response.json()[k] for k in ("consumer_key", "token_key", "token_secret")))
response = client.request("GET", url + "/MAAS/accounts/discharge-request/")
print(response.status_code, response.json()["username"])
`

// TestPython logs in with the library of MAAS's own clients.
func TestPython(t *testing.T) {
	const python = "/usr/bin/python3" // of the system: others do not have its packages
	if out, err := exec.Command(python, "-c", "import macaroonbakery").CombinedOutput(); err != nil {
		t.Skipf("python3-macaroonbakery is not installed; TestAgent does the same with the library in Go: %s", out)
	}
	var roots []byte
	for _, file := range []string{filepath.Join(state(), "ca.pem"), filepath.Join(site.dir, "candid.pem")} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, text...)
	}
	bundle := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(bundle, roots, 0o600); err != nil {
		t.Fatal(err)
	}
	key := bakery.MustGenerateKey()
	cmd := exec.Command(python, "-c", login, site.url, site.program(t, "python@site", key))
	cmd.Env = append(os.Environ(), "REQUESTS_CA_BUNDLE="+bundle)
	out, err := cmd.CombinedOutput()
	lines := strings.Split(string(out), "\n")
	if err != nil || len(lines) < 2 || !strings.HasPrefix(lines[0], "200 ") || strings.Count(lines[0], ":") != 2 || lines[1] != "200 python@site" {
		t.Fatalf("got %v\n%s", err, out)
	}
}
