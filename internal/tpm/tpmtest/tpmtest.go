// Package tpmtest starts a TPM in software for tests: swtpm, C code over libtpms.
package tpmtest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TPM is a TPM 2.0 of its own.
type TPM struct {
	Device string // as tpm.Seal takes it

	t    testing.TB
	dir  string
	stop func()
}

// Start starts a TPM that ends with the test, which is skipped where there is no swtpm.
func Start(t testing.TB) *TPM {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skip("swtpm is not installed: nothing is tested against a TPM then")
	}
	s := &TPM{t: t, dir: t.TempDir()}
	s.Device = "unix:" + filepath.Join(s.dir, "sock")
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// Restart is a reboot of the host: measurements begin anew, the TPM's seeds stay.
func (s *TPM) Restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

func (s *TPM) start() {
	s.t.Helper()
	path := filepath.Join(s.dir, "sock")
	_ = os.Remove(path)
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+s.dir, "--server", "type=unixio,path="+path, "--flags", "not-need-init,startup-clear")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	s.stop = func() { _ = cmd.Process.Kill(); <-ended }
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-ended:
			s.t.Fatalf("swtpm ended: %s", out.String())
		default:
		}
		if time.Now().After(deadline) {
			s.t.Fatal("swtpm does not start")
		}
	}
}
