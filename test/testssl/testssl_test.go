//go:build !race

package testssl

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/region"
)

// finding is what testssl.sh found out about one thing.
type finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Finding  string `json:"finding"`
}

// accepted are findings that are no fault, and why.
var accepted = map[string]string{
	"cert_revocation":    "the site's own authority has neither CRL nor OCSP: its certificates live 90 days, and it is replaced as a whole",
	"DNS_CAArecord":      "localhost has none; it is the domain's to set",
	"TLS_session_ticket": "Go announces seven days; it changes the key each day",
	"HTTP_status_code":   "/ leads to the login",
	"engine_problem":     "OpenSSL of the host that looks",
}

// demanded is what makes a grade A+ by SSL Labs' guide, which testssl.sh computes from version 3.1 on: Debian 12's backports have such a
// one, Debian 12 itself has 3.0, which lists the parts alone.
var demanded = map[string]string{
	"SSLv2": "not offered", "SSLv3": "not offered", "TLS1": "not offered", "TLS1_1": "not offered", "TLS1_2": "offered", "TLS1_3": "offered",
	"cipherlist_NULL": "not offered", "cipherlist_aNULL": "not offered", "cipherlist_EXPORT": "not offered", "cipherlist_LOW": "not offered", "cipherlist_3DES_IDEA": "not offered",
	"cert_chain_of_trust": "passed", "cert_trust": "Ok via SAN", "HSTS_time": "> 15552000", "fallback_SCSV": "no protocol below TLS 1.2", "heartbleed": "not vulnerable",
	"ROBOT": "not vulnerable", "secure_renego": "supported", "secure_client_renego": "not vulnerable", "LUCKY13": "not vulnerable", "cert_signatureAlgorithm": "SHA256",
}

// TestGrade has testssl.sh look at protocols, ciphers, certificate, headers and the known attacks.
func TestGrade(t *testing.T) {
	program := ""
	for _, name := range []string{"testssl", "testssl.sh"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
		}
	}
	if program == "" {
		t.Skip("testssl.sh is not here, so nobody else looks at the listener's TLS; install the package testssl.sh")
	}
	dir := t.TempDir()
	r, err := region.New(t.Context(), region.Options{Config: config.Region{StateDir: dir, HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0", PublicHost: "localhost"}, Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	run, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.Run(run) }()
	defer func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	u, err := url.Parse(r.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.CommandContext(ctx, program, "--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "--add-ca", filepath.Join(dir, "ca.pem"), "--jsonfile", report,
		"-p", "-s", "-f", "-S", "-h", "-U", u.Host)
	cmd.Dir = t.TempDir()
	out, _ := cmd.CombinedOutput() // its status counts the findings
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var list []finding
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, f := range list {
		if found[f.ID] = f.Finding; f.Severity != "OK" && f.Severity != "INFO" && accepted[f.ID] == "" {
			t.Errorf("%s is %s: %s", f.ID, f.Severity, f.Finding)
		}
	}
	for id, want := range demanded {
		if got := found[id]; !strings.Contains(got, want) || strings.HasPrefix(got, "not ") != strings.HasPrefix(want, "not ") {
			t.Errorf("%s: got %q, want %q", id, got, want)
		}
	}
	// The second names are those of newer versions.
	if cbc := cmp.Or(found["cipherlist_AVERAGE"], found["cipherlist_OBSOLETED"]); cbc != "not offered" {
		t.Errorf("ciphers with CBC: got %q", cbc)
	}
	if strong := cmp.Or(found["cipherlist_STRONG"], found["cipherlist_STRONG_FS"]); strong != "offered" {
		t.Errorf("strong ciphers: got %q", strong)
	}
	grade, graded := found["overall_grade"]
	if graded && grade != "A+" {
		t.Errorf("got the grade %s, want A+", grade)
	}
	t.Logf("grade %q (empty: this testssl.sh gives none), %d findings", grade, len(list))
}
