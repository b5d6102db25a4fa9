package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/pki"
)

// TestMain makes "metalward" a command of the scripts: this test binary, run as a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"metalward": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		os.Exit(Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, Env{Dir: os.Getenv("PROFILES"), Version: "test"})) //nolint:gocritic // the process ends
	}})
}

// The stories of testdata run against a pretend instance each.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			s := newServer(t, (&pretend{polls: map[string]int{}}).serve)
			chain := s.TLS.Certificates[0].Certificate
			e.Setenv("URL", s.URL+"/MAAS/")
			e.Setenv("FINGERPRINT", fingerprint(s))
			e.Setenv("KEY", testKey)
			e.Setenv("PROFILES", filepath.Join(e.WorkDir, "profiles"))
			return os.WriteFile(filepath.Join(e.WorkDir, "ca.pem"), pki.EncodeCert(chain[len(chain)-1]), 0o600)
		},
	})
}

// pretend is an instance with machines that deploy in two polls, or fail, and with room for one image.
type pretend struct {
	mu    sync.Mutex
	polls map[string]int // of each machine since its operation
	image []byte
	want  string // digest
	size  int
}

func (p *pretend) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	path := strings.TrimPrefix(r.URL.Path, maasapi.Root)
	id := strings.TrimSuffix(strings.TrimPrefix(path, "/machines/"), "/")
	switch op := r.URL.Query().Get("op"); {
	case op == "whoami":
		whoami(w, r)
	case path == "/machines/" && r.Method == http.MethodGet:
		_, _ = io.WriteString(w, `[{"system_id":"abc","hostname":"one"}]`)
	case path == "/machines/" && op == "allocate":
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, "No machine available.")
	case strings.HasPrefix(path, "/machines/") && r.Method == http.MethodPost:
		p.polls[id] = 0
		p.machine(w, id)
	case strings.HasPrefix(path, "/machines/"):
		p.polls[id]++
		p.machine(w, id)
	case strings.Contains(path, "/upload/"):
		b, _ := io.ReadAll(r.Body)
		p.image = append(p.image, b...)
		_, _ = io.WriteString(w, "OK")
	case path == "/boot-resources/" && r.Method == http.MethodPost:
		p.want, p.image = r.FormValue("sha256"), nil
		p.size, _ = strconv.Atoi(r.FormValue("size"))
		w.WriteHeader(http.StatusCreated)
		p.resource(w)
	case path == "/boot-resources/1/":
		p.resource(w)
	default:
		http.NotFound(w, r)
	}
}

func (p *pretend) machine(w io.Writer, id string) {
	status, name, event := 9, "Deploying", "Installing OS - writing image\x1b]0;evil\a"
	switch {
	case id == "slow" || p.polls[id] < 2:
	case id == "bad":
		status, name, event = 11, "Failed deployment", ""
	default:
		status, name, event = 6, "Deployed", "Deployed"
	}
	reason := ""
	if status == 11 {
		reason = "The image's digest is wrong."
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"system_id": id, "hostname": id + "-host", "status": status, "status_name": name, "status_message": event, "error_description": reason})
}

func (p *pretend) resource(w io.Writer) {
	sum := sha256.Sum256(p.image)
	complete := len(p.image) == p.size && hex.EncodeToString(sum[:]) == p.want
	upload := `, "upload_uri": "` + maasapi.Root + `/boot-resources/1/upload/1/"`
	if complete {
		upload = ""
	}
	_, _ = fmt.Fprintf(w, `{"id":1, "resource_uri":"%s/boot-resources/1/", "sets": {"20260101": {"files": {"x": {"complete": %t%s}}}}}`, maasapi.Root, complete, upload)
}
