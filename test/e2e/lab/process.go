//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// pollInterval is how often files and sockets are looked at while waiting.
const pollInterval = 50 * time.Millisecond

// Process is a program started in a namespace, with its output in a log file.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of Wait; read after done
}

// startProcess runs argv. The process is not bound to a context: it lives until
// it is stopped or ends by itself.
func startProcess(name, log string, env []string, argv ...string) (*Process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log of %s: %w", name, err)
	}
	defer f.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.Env = append(os.Environ(), env...)
	// Its own process group: Ctrl-C at the terminal reaches the test first,
	// which then ends things in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	p := &Process{name: name, log: log, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Pid is the process's id; ip netns exec replaces itself, so it is the
// program's own.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// LogPath is the file with everything the process printed.
func (p *Process) LogPath() string { return p.log }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal, for example SIGSTOP to make a server hang.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return fmt.Errorf("cannot signal %s: it has ended", p.name)
	default:
		return p.cmd.Process.Signal(s)
	}
}

// Stop ends the process: SIGTERM, then SIGKILL after a grace of five seconds or
// when ctx ends. It returns when the process is gone.
func (p *Process) Stop(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Process.Signal(syscall.SIGCONT) // a stopped process cannot handle SIGTERM
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	case <-time.After(5 * time.Second):
	}
	return p.Kill()
}

// Kill ends the process at once and returns when it is gone.
func (p *Process) Kill() error {
	syscall.Kill(-p.Pid(), syscall.SIGKILL) // its children as well
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
		return fmt.Errorf("cannot kill %s (pid %d)", p.name, p.Pid())
	}
}

// WaitLog waits until the log contains text. It fails early when the process
// ends without having printed it.
func (p *Process) WaitLog(ctx context.Context, text string) error {
	for {
		ended := false
		select {
		case <-p.done:
			ended = true
		default:
		}
		b, err := os.ReadFile(p.log)
		if err != nil {
			return fmt.Errorf("cannot read the log of %s: %w", p.name, err)
		}
		if bytes.Contains(b, []byte(text)) {
			return nil
		}
		if ended {
			return fmt.Errorf("cannot find %q in the log of %s, which has ended: %s", text, p.name, tail(b))
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return fmt.Errorf("cannot find %q in the log of %s: %w: %s", text, p.name, err, tail(b))
		}
	}
}

// sleep waits for d or for the end of ctx, whose cause it returns.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// tail returns the end of a log for an error message.
func tail(b []byte) string {
	const most = 1500
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return "... " + string(bytes.TrimSpace(b))
}

// output runs a command to its end and returns what it printed, with the
// command named in the error.
func output(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = 5 * time.Second
	b, err := cmd.CombinedOutput()
	if err != nil {
		return string(b), fmt.Errorf("cannot run %s %v: %w: %s", filepath.Base(argv[0]), argv[1:], errors.Join(err, context.Cause(ctx)), tail(b))
	}
	return string(b), nil
}

func readLog(p *Process) (string, error) {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return "", fmt.Errorf("cannot read the log of %s: %w", p.name, err)
	}
	return string(b), nil
}
