package secrets_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
)

// childEnv tells a process of this test what to do, and where to die.
const childEnv = "METALWARD_TEST_CHILD"

type job struct {
	Dir, DSN, Do string
	Request      struct{ URL, CA, RoleID, Token string } // of configure and rotate
	DieAt        int                                     // the number of the step after which the process is killed; 0: never
}

// TestChild is what the children of TestKill run; by itself it does nothing.
func TestChild(t *testing.T) {
	var j job
	text := os.Getenv(childEnv)
	if text == "" {
		return
	}
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		t.Fatal(err)
	}
	steps := 0
	reached := func(string) {
		if steps++; steps == j.DieAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	clock := regiontest.NewClock()
	set := secrets.Setup{Dir: j.Dir, Now: clock.Now, Reached: reached}
	token := secret.FromString(j.Request.Token)
	var err error
	switch j.Do {
	case "configure":
		_, err = set.Configure(t.Context(), secrets.VaultRequest{URL: j.Request.URL, CA: []byte(j.Request.CA), RoleID: j.Request.RoleID, Token: token, Mount: "secret", Path: "metalward"})
	case "rotate":
		_, err = set.Rotate(t.Context(), token)
	default:
		core := regiontest.Open(t, j.Dir, j.DSN, clock.Now)
		core.Secrets.Reached = reached
		do := core.Secrets.Migrate
		if j.Do == "rollback" {
			do = core.Secrets.Rollback
		}
		_, err = do(authz.AsSystem(t.Context(), "test"), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run has a child do a job, and reports whether it was killed. began is told of the process.
func (j job) run(t *testing.T, began func(*os.Process)) (killed bool, out string) {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if began != nil {
		began(cmd.Process)
	}
	err = cmd.Wait()
	if end, ok := errors.AsType[*exec.ExitError](err); ok {
		status, isUnix := end.Sys().(syscall.WaitStatus)
		killed = isUnix && status.Signaled() && status.Signal() == syscall.SIGKILL
	}
	if err != nil && !killed {
		t.Fatalf("a child failed: %v\n%s", err, b.String())
	}
	return killed, b.String()
}

// TestKillMove kills the moving of secrets to Vault and back after each of its steps: opened, written, read back, stored. Whatever was
// reached, every secret opens, in a process that starts then; and the same command finishes it.
func TestKillMove(t *testing.T) {
	regiontest.Slow(t)
	for _, do := range []string{"migrate", "rollback"} {
		t.Run(do+" sqlite", func(t *testing.T) {
			v := newVaulted(t, "", 1)
			v.configure()
			if do == "rollback" {
				if _, err := v.core.Secrets.Migrate(v.ctx, nil); err != nil {
					t.Fatal(err)
				}
			}
			want := values(t, v.core)
			for step := 1; ; step++ {
				dir := copyState(t, v)
				j := job{Dir: dir, DSN: filepath.Join(dir, "metalward.db"), Do: do, DieAt: step}
				killed, _ := j.run(t, nil)
				v.survived(t, j, fmt.Sprintf("killed after step %d", step), want)
				if !killed {
					if step < 4*len(want) {
						t.Errorf("got %d steps, want at least 4 for each of %d secrets", step, len(want))
					}
					return
				}
				if step%5 != 0 {
					continue // the next process goes on from the same place in principle; a fifth is finished here
				}
				j.DieAt = 0
				j.run(t, nil)
				v.finished(t, j, want)
			}
		})
		t.Run(do+" postgres", func(t *testing.T) {
			v := newVaulted(t, regiontest.Postgres(t), 1)
			v.configure()
			if do == "rollback" {
				if _, err := v.core.Secrets.Migrate(v.ctx, nil); err != nil {
					t.Fatal(err)
				}
			}
			want := values(t, v.core)
			j := job{Dir: v.core.Dir, DSN: v.core.DSN, Do: do}
			for j.DieAt = 3; ; j.DieAt++ { // one after the other in the same database: each gets a little further
				killed, _ := j.run(t, nil)
				v.survived(t, j, fmt.Sprintf("killed after step %d", j.DieAt), want)
				if !killed {
					break
				}
			}
			v.finished(t, j, want)
		})
	}
}

// copyState copies the state folder as a crash leaves it: the database with its log.
func copyState(t *testing.T, v *vaulted) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"root.key", "shared-secret", vault.SettingsFile, "metalward.db", "metalward.db-wal"} {
		data, err := os.ReadFile(filepath.Join(v.core.Dir, name))
		if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(name, "-wal") {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// survived opens everything in a region that starts now.
func (v *vaulted) survived(t *testing.T, j job, when string, want map[string]string) {
	t.Helper()
	t.Run("", func(t *testing.T) { // closes the region at its end
		if got := values(t, regiontest.Open(t, j.Dir, j.DSN, v.clock.Now)); !maps.Equal(got, want) {
			t.Errorf("%s %s: got %d secrets, want the %d that there were", j.Do, when, len(got), len(want))
		}
	})
}

// finished holds the site to what the command is for.
func (v *vaulted) finished(t *testing.T, j job, want map[string]string) {
	t.Helper()
	t.Run("", func(t *testing.T) {
		core := regiontest.Open(t, j.Dir, j.DSN, v.clock.Now)
		st, err := core.Secrets.VaultStatus(core.Admin(t))
		if err != nil {
			t.Fatal(err)
		}
		if j.Do == "migrate" && (st.Backend != secrets.InVault || st.InDatabase != 0) || j.Do == "rollback" && (st.Backend != secrets.InDatabase || st.InVault != 0) {
			t.Errorf("%s is done, and got %s with %d in Vault and %d in the database", j.Do, st.Backend, st.InVault, st.InDatabase)
		}
		if got := values(t, core); !maps.Equal(got, want) {
			t.Errorf("%s is done: got other secrets than there were", j.Do)
		}
	})
}

// TestKillCredentials kills configure and rotate at each request to Vault, before Vault has it and after, and after each of their own
// steps. Whatever was reached, the region gets into Vault as before, the same command finishes it, and of a token that was spent with
// nobody having read the answer, that is said.
func TestKillCredentials(t *testing.T) {
	regiontest.Slow(t)
	for _, do := range []string{"configure", "rotate wrapped", "rotate itself"} {
		for _, how := range []string{"before a request", "after a request", "after a step"} {
			t.Run(do+", "+how, func(t *testing.T) {
				for n := 1; ; n++ {
					if n > 60 {
						t.Fatal("it does not end")
					}
					if !killCredentials(t, do, how, n) {
						if n < 5 {
							t.Errorf("got %d places to die at", n-1)
						}
						return
					}
				}
			})
		}
	}
}

func killCredentials(t *testing.T, do, how string, n int) (killed bool) {
	t.Helper()
	v := newSetup(t)
	path := filepath.Join(v.dir, vault.SettingsFile)
	if do != "configure" {
		if _, err := v.setup().Configure(t.Context(), v.request("")); err != nil {
			t.Fatal(err)
		}
	}
	j := job{Dir: v.dir, Do: strings.Fields(do)[0]}
	q := v.request("unused")
	if do != "rotate itself" {
		q = v.request("") // a new token, and a secret id in Vault
	}
	j.Request.URL, j.Request.CA, j.Request.RoleID = q.URL, string(q.CA), q.RoleID
	if do != "rotate itself" {
		j.Request.Token = q.Token.RevealString()
	}
	if how == "after a step" {
		j.DieAt = n
		killed, _ = j.run(t, nil)
	} else {
		killed = v.dieAt(t, j, n, how == "after a request")
	}
	v.site.Spoil(nil)
	works := func(when string) {
		t.Helper()
		s, ok, err := vault.LoadSettings(path)
		if err != nil || do != "configure" && !ok {
			t.Fatalf("%d, %s: the settings cannot be read: %v", n, when, err)
		}
		if s.Current.SecretID.Empty() {
			return // being configured
		}
		client, err := s.Client(s.Current, v.clock.Now)
		if err == nil {
			err = client.Check(t.Context())
		}
		if err != nil {
			t.Errorf("%d, %s: the region does not get into Vault: %v", n, when, err)
		}
	}
	if do != "configure" {
		works("killed")
	}
	again := func(token string) error {
		var err error
		if j.Do == "configure" {
			_, err = v.setup().Configure(t.Context(), v.request(token))
		} else {
			_, err = v.setup().Rotate(t.Context(), secret.FromString(token))
		}
		return err
	}
	lost := 0
	err := again(j.Request.Token)
	if errors.Is(err, vault.ErrUsed) && killed { // it died between Vault's answer and writing it down
		lost = 1
		if j.Do != "configure" {
			works("token lost")
		}
		err = again(v.fake.Wrap(t, roleName))
	}
	if err != nil {
		t.Errorf("%d: again: %v", n, err)
	}
	works("again")
	s, _, err := vault.LoadSettings(path)
	if err != nil || s.Current.SecretID.Empty() || !s.Next.SecretID.Empty() || len(s.Retired) != 0 {
		t.Errorf("%d: it is not finished: %v", n, err)
	}
	if do == "rotate itself" {
		lost = 1 // made, perhaps, and nobody read the answer
	}
	if left := len(v.fake.Accessors(roleName)); left > 1+lost {
		t.Errorf("%d: Vault has %d secret ids, want at most %d", n, left, 1+lost)
	}
	return killed
}

// dieAt kills the child at the nth request, once Vault has done it or before.
func (v *setupOnly) dieAt(t *testing.T, j job, n int, after bool) bool {
	t.Helper()
	var mu sync.Mutex // guards what follows
	var child *os.Process
	seen := 0
	ready := make(chan struct{})
	v.site.Spoil(func(w http.ResponseWriter, r *http.Request) bool {
		<-ready
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen != n {
			return false
		}
		if after {
			v.fake.ServeHTTP(httptest.NewRecorder(), r)
		}
		_ = child.Kill()
		panic(http.ErrAbortHandler)
	})
	killed, _ := j.run(t, func(p *os.Process) { mu.Lock(); child = p; mu.Unlock(); close(ready) })
	return killed
}
