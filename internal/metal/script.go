package metal

import "time"

// ScriptStatus is the outcome of a script. Source: MAAS API 2.0, script status.
type ScriptStatus int

// The script statuses, with MAAS's numbers.
const (
	ScriptNone     ScriptStatus = -1
	ScriptPending  ScriptStatus = 0
	ScriptRunning  ScriptStatus = 1
	ScriptPassed   ScriptStatus = 2
	ScriptFailed   ScriptStatus = 3
	ScriptTimedOut ScriptStatus = 4
	ScriptAborted  ScriptStatus = 5
)

// String returns MAAS's label.
func (s ScriptStatus) String() string {
	if s < ScriptPending || s > ScriptAborted {
		return "Unknown"
	}
	return [...]string{"Pending", "Running", "Passed", "Failed", "Timed out", "Aborted"}[s]
}

// Final reports whether the script will not change its status any more.
func (s ScriptStatus) Final() bool { return s >= ScriptPassed }

// Script is a program that the agent runs on a machine. The built-in ones are compiled into the agent and
// named by Builtin.
type Script struct {
	Name    string        `json:"name"`
	Title   string        `json:"title"`
	Timeout time.Duration `json:"timeout"`
	// Body is a program with a #! line, or empty for one built into the agent.
	Body string `json:"body,omitempty"`
}

// MaxScriptOutput bounds what is kept of a script's output, in bytes for each stream: more is cut, and said.
const MaxScriptOutput = 1 << 20

// CommissioningScripts are run on every commissioned machine, in this order. An empty body names a program
// that the agent has built in; the ephemeral system has no shell.
var CommissioningScripts = []Script{
	{Name: "00-metalward-inventory", Title: "Hardware inventory", Timeout: 2 * time.Minute},
	{Name: "20-metalward-network", Title: "Link and address of each interface", Timeout: time.Minute},
	{Name: "30-metalward-disks", Title: "Read the first and last blocks of each disk", Timeout: 5 * time.Minute},
	{Name: "40-metalward-bmc", Title: "In-band view of the BMC", Timeout: time.Minute},
}

// ResultType is what a set of script results belongs to. Source: MAAS API 2.0, ScriptSet type.
type ResultType int

// The result types, with MAAS's numbers.
const (
	ResultCommissioning ResultType = 0
	ResultInstallation  ResultType = 1
	ResultTesting       ResultType = 2
	ResultRelease       ResultType = 3
)

// String returns MAAS's type_name.
func (t ResultType) String() string {
	return [...]string{"Commissioning", "Installation", "Testing", "Release"}[t]
}

// ScriptSet is one run of scripts on a machine.
type ScriptSet struct {
	ID       int64
	SystemID string
	Type     ResultType
	BootID   string
	Started  time.Time
	Ended    time.Time
	LastPing time.Time
	Results  []ScriptResult
}

// Status sums up the results: the first of failed, timed out, aborted, running, pending, else passed.
func (s *ScriptSet) Status() ScriptStatus {
	have := map[ScriptStatus]bool{}
	for _, r := range s.Results {
		have[r.Status] = true
	}
	for _, st := range []ScriptStatus{ScriptFailed, ScriptTimedOut, ScriptAborted, ScriptRunning, ScriptPending, ScriptPassed} {
		if have[st] {
			return st
		}
	}
	return ScriptNone
}

// ScriptResult is what one script did.
type ScriptResult struct {
	ID       int64
	SetID    int64
	Name     string
	Status   ScriptStatus
	ExitCode int // meaningful when Status is final and not Aborted
	HasExit  bool
	Started  time.Time
	Ended    time.Time
	Created  time.Time
	Updated  time.Time
	Stdout   []byte
	Stderr   []byte
	Result   []byte // YAML or JSON that the script wrote for the controller
}
