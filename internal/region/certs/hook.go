package certs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

const (
	hookTime    = 2 * time.Minute // of one call: the record has to be visible when it ends
	hookPath    = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	maxHookText = 4 << 10 // bytes of what it writes, for the log
)

// checkHook refuses a program that others than its owner may change, because it runs as the region. Kinds: Invalid.
func checkHook(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fault.Field("dns_hook", "The program %s cannot be found on this host.", path)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fault.Field("dns_hook", "%s is not a program: make it executable.", path)
	case info.Mode().Perm()&0o022 != 0:
		return fault.Field("dns_hook", "Others may change the program %s, which would run as the region: run chmod go-w %s.", path, path)
	}
	return nil
}

// hook runs the operator's program: PROGRAM present|cleanup DOMAIN NAME VALUE, with PATH alone for an environment, no
// shell, and nothing on its input.
func (s *Service) hook(ctx context.Context, program, action, domain, name, value string) error {
	if err := checkHook(program); err != nil {
		return err
	}
	// These come from the directory, and go to programs that are often shell scripts.
	if !metal.ValidHostname(domain) || !tokenForm.MatchString(value) {
		return fault.New(fault.Invalid, "The directory asks for a record that is none.")
	}
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, action, domain, name, value) //nolint:gosec // set on the host alone
	var said capped
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = []string{"PATH=" + hookPath}, "/", &said, &said, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it started ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	if err == nil {
		return nil
	}
	s.Log.WarnContext(ctx, "the DNS hook failed", "action", action, "domain", domain, "output", metal.Printable(said.String(), maxHookText), "error", err)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fault.New(fault.Unavailable, "The DNS hook did not end within %s.", hookTime)
	case errors.As(err, &exit):
		return fault.New(fault.Unavailable, "The DNS hook failed: %s; what it wrote is in the region's log.", exit)
	}
	return fmt.Errorf("cannot run the DNS hook: %w", err)
}

// capped keeps the beginning of what is written, and takes the rest.
type capped struct{ bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	if room := maxHookText - c.Len(); room > 0 {
		_, _ = c.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
