//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metalward/metalward/test/e2e/lab"
)

// mover is an unmodified MAAS client that takes a Ready machine to Deployed and back: the names of its tests in
// test/compat, which is a module of its own and therefore a program of its own.
type mover struct{ deploy, release string }

var (
	maas = mover{"TestMAASDeploy", "TestMAASRelease"} // github.com/canonical/gomaasclient
	juju = mover{"TestJujuDeploy", "TestJujuRelease"} // github.com/juju/gomaasapi
)

// compatTests builds the clients' tests.
func compatTests(t *testing.T) (program string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	program = filepath.Join(t.TempDir(), "compat.test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", program, ".")
	cmd.Dir = "../compat"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the clients' tests: %v\n%s", err, out)
	}
	return program
}

// move runs one of the clients' tests on the region's host, where its API is; the test waits until the machine
// has arrived.
func (s *site) move(ctx context.Context, program, test, id, series string) {
	s.t.Helper()
	key, data := filepath.Join(s.net.Dir(), "api-key"), filepath.Join(s.net.Dir(), "user-data")
	s.must(os.WriteFile(key, []byte(s.key), 0o600))
	s.must(os.WriteFile(data, []byte(userData), 0o600))
	cmd := s.net.Command(ctx, lab.Region, program, "-test.run", "^"+test+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), "METALWARD_COMPAT_URL="+strings.TrimSuffix(apiRoot, "/api/2.0"), "METALWARD_COMPAT_CA="+filepath.Join(s.stateDir, "ca.pem"),
		"METALWARD_COMPAT_KEY="+key, "METALWARD_COMPAT_MACHINE="+id, "METALWARD_COMPAT_SERIES="+series, "METALWARD_COMPAT_USER_DATA="+data)
	out, err := cmd.CombinedOutput()
	s.t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+test) {
		s.t.Fatalf("%s did not pass: %v", test, err)
	}
}
