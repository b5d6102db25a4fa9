package agent

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

func TestScripts(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		script metal.Script
		status metal.ScriptStatus
		code   int
		stdout string // wanted at its start
		stderr string // wanted inside
		result string
	}{
		"passes": {metal.Script{Body: "#!/bin/sh\necho out; echo err >&2; echo '{}' > $RESULT_PATH\n"}, metal.ScriptPassed, 0, "out\n", "err\n", "{}\n"},
		"fails":  {metal.Script{Body: "#!/bin/sh\nexit 7\n"}, metal.ScriptFailed, 7, "", "", ""},
		"killed": {metal.Script{Body: "#!/bin/sh\nkill -9 $$\n"}, metal.ScriptFailed, 137, "", "", ""},
		"times out with a child": {metal.Script{Timeout: 3 * time.Second, Body: "#!/bin/sh\necho start\nsleep 60 &\necho $! > " + dir + "/pid\nwait\n"},
			metal.ScriptTimedOut, exitTimedOut, "start\n", "", ""},
		"leaves a child with the pipe": {metal.Script{Body: "#!/bin/sh\nsleep 60 &\necho $! > " + dir + "/pid2\necho done\n"}, metal.ScriptPassed, 0, "done\n", "", ""},
		"no interpreter":               {metal.Script{Body: "#!/no/such/shell\n"}, metal.ScriptFailed, exitNoProgram, "", "interpreter", ""},
		"no marker":                    {metal.Script{Body: "echo\n"}, metal.ScriptFailed, exitNoProgram, "", "#!", ""},
		"unknown built-in":             {metal.Script{}, metal.ScriptFailed, exitNoProgram, "", "no script of that name", ""},
		"much output":                  {metal.Script{Body: "#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x\n"}, metal.ScriptPassed, 0, "xxxx", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.script.Name = name
			rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeCommission, Scripts: []metal.Script{tc.script}})
			root, host := machineTree(t, nil)
			if _, err := runAgent(t, rack, root, host); err != nil {
				t.Fatal(err)
			}
			end := rack.ends[name]
			if end.Status != tc.status || end.ExitCode != tc.code {
				t.Errorf("got %v exit %d, want %v exit %d", end.Status, end.ExitCode, tc.status, tc.code)
			}
			stdout, stderr, result := rack.streams[name+"/stdout"], rack.streams[name+"/stderr"], rack.streams[name+"/result"]
			if !bytes.HasPrefix(stdout, []byte(tc.stdout)) || !bytes.Contains(stderr, []byte(tc.stderr)) || string(result) != tc.result {
				t.Errorf("got %.100q, %.200q, %q", stdout, stderr, result)
			}
			if rack.largest > outputPiece {
				t.Errorf("got a piece of %d bytes", rack.largest)
			}
			if name == "much output" && (len(stdout) > metal.MaxScriptOutput || len(stdout) < metal.MaxScriptOutput-1024 || !strings.HasSuffix(string(stdout), cutNotice)) {
				t.Errorf("got %d bytes ending in %q", len(stdout), stdout[max(0, len(stdout)-60):])
			}
		})
	}
	t.Cleanup(func() {
		for _, f := range []string{"pid", "pid2"} {
			text, err := os.ReadFile(filepath.Join(dir, f))
			if err != nil {
				t.Error(err)
				continue
			}
			pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			if !wait(context.Background(), 5*time.Second, func() bool { return gone(pid) }) && !gone(pid) {
				t.Errorf("process %d outlived its script", pid)
			}
		}
	})
}

// gone reports whether a process ended; a zombie did.
func gone(pid int) bool {
	if unix.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// A contested boot ends in the middle of a script, which must not run on.
func TestContestedScript(t *testing.T) {
	rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeCommission, Scripts: []metal.Script{
		{Name: "endless", Timeout: time.Minute, Body: "#!/bin/sh\necho one\nsleep 50\n"}}})
	pieces := 0
	rack.intercept = func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path != wire.OutputPath {
			return false
		}
		if pieces++; pieces < 2 {
			return false
		}
		http.Error(w, "this boot is contested", http.StatusForbidden)
		return true
	}
	root, host := machineTree(t, nil)
	start := time.Now()
	if _, err := runAgent(t, rack, root, host); err == nil || !strings.Contains(err.Error(), "contested") {
		t.Errorf("got %v, want contested", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}
