package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

const (
	outputPiece    = 64 << 10
	outputInterval = 500 * time.Millisecond
	// scriptTimeout is for a script that names none.
	scriptTimeout = 5 * time.Minute
	// Exit codes where a script has none of its own, as a shell and timeout(1) give them.
	exitTimedOut  = 124
	exitNoProgram = 127
)

const cutNotice = "\n[output cut here: it passes the limit]\n"

// output collects one stream of a script, bounded. What has not been sent stays, so a piece can be sent again.
type output struct {
	name string
	mu   sync.Mutex // guards what follows
	data []byte
	sent int
	cut  bool
	over bool // the script is gone: later writes are ignored
}

// Write never fails: a script must not notice that its output is cut.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over || o.cut {
		return len(p), nil
	}
	room := metal.MaxScriptOutput - len(cutNotice) - len(o.data)
	if len(p) > room {
		o.data = append(append(o.data, p[:room]...), cutNotice...)
		o.cut = true
		return len(p), nil
	}
	o.data = append(o.data, p...)
	return len(p), nil
}

// next returns the next piece to send and where it begins.
func (o *output) next() (data []byte, offset int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data[o.sent:min(len(o.data), o.sent+outputPiece)], int64(o.sent)
}

func (o *output) advance(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent += n
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
}

// outputs are the three streams of a script.
type outputs struct{ out, err, result *output }

// script runs a script and streams its output to the rack. The error is about the rack: how the script fared
// is in its final status.
func (r *run) script(ctx context.Context, s metal.Script) error {
	limit := s.Timeout
	if limit <= 0 {
		limit = scriptTimeout
	}
	r.Console.Stage("script", "%s, at most %v", s.Name, limit)
	streams := outputs{&output{name: "stdout"}, &output{name: "stderr"}, &output{name: "result"}}
	post := func(stream string, offset int64, data []byte, status metal.ScriptStatus, code int) error {
		return r.client.call(ctx, http.MethodPost, wire.OutputPath, wire.OutputRequest{
			Script: s.Name, Stream: stream, Offset: offset, Data: data, Status: status, ExitCode: code}, nil)
	}
	flush := func() error {
		for _, o := range []*output{streams.out, streams.err, streams.result} {
			for data, offset := o.next(); len(data) > 0; data, offset = o.next() {
				if err := post(o.name, offset, data, metal.ScriptRunning, 0); err != nil {
					return err
				}
				o.advance(len(data))
			}
		}
		return nil
	}
	if err := post("stdout", 0, nil, metal.ScriptRunning, 0); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ended := make(chan int, 1)
	go func() { // ends with the script; a built-in one that hangs in the kernel is left behind
		ended <- r.execute(limited, s, streams)
	}()
	tick := time.NewTicker(outputInterval)
	defer tick.Stop()
	status, code := metal.ScriptTimedOut, exitTimedOut
	expired := limited.Done()
	for running := true; running; {
		select {
		case code = <-ended:
			running = false
			if limited.Err() == nil {
				status = metal.ScriptPassed
				if code != 0 {
					status = metal.ScriptFailed
				}
			} else {
				code = exitTimedOut
			}
		case <-expired:
			// Killing takes a moment; what cannot be killed is not waited for.
			expired = nil
			time.AfterFunc(2*killGrace, func() {
				select {
				case ended <- exitTimedOut:
				default:
				}
			})
		case <-tick.C:
			r.Console.Alive()
			if err := flush(); err != nil {
				return err
			}
		}
	}
	for _, o := range []*output{streams.out, streams.err, streams.result} {
		o.end()
	}
	if err := flush(); err != nil {
		return err
	}
	_, offset := streams.out.next()
	r.Console.Stage("script", "%s: %s, exit code %d", s.Name, status, code)
	return post("stdout", offset, nil, status, code)
}

// killGrace is how long after the end of a script its pipes are still read.
const killGrace = 2 * time.Second

// execute runs a built-in or a brought script and returns its exit code.
func (r *run) execute(ctx context.Context, s metal.Script, o outputs) int {
	if s.Body != "" {
		return runBody(ctx, s, o)
	}
	builtin, ok := builtins[s.Name]
	if !ok {
		_, _ = fmt.Fprintf(o.err, "cannot run %s: it has no body and this agent has no script of that name\n", s.Name)
		return exitNoProgram
	}
	if err := builtin(ctx, r, o); err != nil {
		_, _ = fmt.Fprintf(o.err, "%v\n", err)
		return 1
	}
	return 0
}

// runBody writes a script to a private directory and runs it in a process group of its own, which is killed
// as a whole at the end: nothing a script leaves behind outlives it.
func runBody(ctx context.Context, s metal.Script, o outputs) int {
	fail := func(err error) int {
		_, _ = fmt.Fprintf(o.err, "cannot run %s: %v\n", s.Name, err)
		return exitNoProgram
	}
	if !strings.HasPrefix(s.Body, "#!") {
		return fail(errors.New("it does not start with #! and the name of its interpreter"))
	}
	dir, err := os.MkdirTemp("", "script-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program, result := filepath.Join(dir, "script"), filepath.Join(dir, "result")
	if err := os.WriteFile(program, []byte(s.Body), 0o700); err != nil {
		return fail(err)
	}
	var cmd *exec.Cmd
	kill := func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	for try := 0; ; try++ {
		cmd = exec.CommandContext(ctx, program)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, o.out, o.err
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C.UTF-8", "RESULT_PATH=" + result}
		cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
		cmd.Cancel, cmd.WaitDelay = kill, killGrace
		err := cmd.Start()
		if err == nil {
			break
		}
		// Another goroutine that forks at this moment holds the new file open for writing for an instant, which
		// the kernel refuses to run.
		if !errors.Is(err, unix.ETXTBSY) || try == 10 {
			return fail(fmt.Errorf("%w (is its interpreter in the ephemeral system?)", err))
		}
		time.Sleep(20 * time.Millisecond)
	}
	err = cmd.Wait()
	_ = kill()
	if f, ferr := os.OpenFile(result, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); ferr == nil {
		_, _ = io.Copy(o.result, io.LimitReader(f, metal.MaxScriptOutput+1))
		_ = f.Close()
	}
	if cmd.ProcessState == nil {
		return fail(err)
	}
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return 128 + int(status.Signal())
}
