package harden

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/guard/catalog"
)

// A controller that looks at a host which has nothing but its state judges that state, in whatever folder it is.
func TestSelf(t *testing.T) {
	root := t.TempDir()
	state := filepath.Join(root, "srv/state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "root.key"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := NewSelf("/srv/state", guard.Region, "1.2.3")
	s.Root = root
	r := s.Check(t.Context())
	if r.Problem != "" || r.Version != "1.2.3" || r.Account == "" || r.Err() != nil {
		t.Fatalf("got %+v, %v", r, r.Err())
	}
	i := slices.IndexFunc(r.Findings, func(f guard.HostFinding) bool { return f.Check == "files-root-key" })
	if i < 0 || r.Findings[i].Subject != "/srv/state/root.key" || r.Findings[i].State != guard.Fail {
		t.Errorf("got %+v, want that root.key is open", r.Findings)
	}
	if slices.ContainsFunc(r.Findings, func(f guard.HostFinding) bool { return f.Check == "ports-outgoing" }) {
		t.Error("a check of racks ran on a region")
	}
}

// Whom Metalward runs as may own its state, and nobody else may.
func TestAccount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	root := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(root, "etc"), 0o755), os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n"), 0o644),
		os.WriteFile(filepath.Join(root, "etc/group"), []byte("root:x:0:\nbob:x:1000:\n"), 0o644), os.Mkdir(filepath.Join(root, "srv"), 0o700), os.WriteFile(filepath.Join(root, "srv/root.key"), []byte("x"), 0o600), os.Chown(filepath.Join(root, "srv/root.key"), 1000, 1000)); err != nil {
		t.Fatal(err)
	}
	for account, want := range map[string]Outcome{"": Failed, "bob": Clean, "alice": Failed} {
		r, err := Run(Options{Root: root, State: "/srv", Account: account, FailOn: guard.Low, Only: []string{"files-root-key"}})
		if err != nil {
			t.Fatal(err)
		}
		if r.Outcome != want {
			t.Errorf("as %q: got %s, %+v, want %s", account, r.Outcome, r.Findings, want)
		}
	}
}

// Without a host to look at, without time, or beside a check that never ended, a report says why it is none.
func TestSelfProblems(t *testing.T) {
	gone := NewSelf("/x", guard.Region, "v")
	gone.Root = filepath.Join(t.TempDir(), "none")
	busy := NewSelf("/x", guard.Region, "v")
	busy.busy <- struct{}{}
	for want, s := range map[string]*Self{"cannot be looked at": gone, "has not ended yet": busy} {
		if r := s.Check(t.Context()); !strings.Contains(r.Problem, want) || len(r.Findings) > 0 {
			t.Errorf("got %+v, want a problem with %q", r, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := NewSelf("/x", guard.Region, "v").Check(ctx); r.Problem == "" && slices.ContainsFunc(r.Findings, func(f guard.HostFinding) bool { return f.State != guard.Unchecked }) {
		t.Errorf("after its end: got %+v, want that nothing was checked", r)
	}
}

// A check with a mistake in it could not check, and a check whose time is over neither; none of them passes.
func TestJudge(t *testing.T) {
	c := &guard.Check{ID: "files-x", Severity: guard.High, Versions: map[guard.Product]string{guard.Metalward: "all"},
		Judge: func(guard.Host, guard.Product) []guard.Observation { panic("a mistake\x1b[31m") }}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for want, ctx := range map[string]context.Context{`mistake in the program: a mistake\x1b[31m`: t.Context(), "was over before": over} {
		list := judge(ctx, c, nil, guard.Metalward)
		if len(list) != 1 || list[0].State != guard.Unchecked || !strings.Contains(list[0].Evidence[0], want) {
			t.Errorf("got %+v, want %q", list, want)
		}
	}
	if list := judge(t.Context(), c, nil, guard.MAASDeb); list != nil {
		t.Errorf("another product: got %+v", list)
	}
}

// BenchmarkSelf is what a controller's check costs on this host.
func BenchmarkSelf(b *testing.B) {
	s := NewSelf(b.TempDir(), guard.Region, "v")
	for b.Loop() {
		if r := s.Check(b.Context()); r.Problem != "" {
			b.Fatal(r.Problem)
		}
	}
	b.ReportMetric(float64(len(catalog.Checks())), "checks")
}
