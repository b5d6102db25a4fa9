package agent

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

func TestEnlist(t *testing.T) {
	rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeEnlist, Then: wire.ThenPowerOff})
	root, host := machineTree(t, map[string]int64{"sda": 8 * mib})
	then, err := runAgent(t, rack, root, host)
	if err != nil || then != wire.ThenPowerOff {
		t.Fatalf("got %q, %v, want poweroff", then, err)
	}
	if len(rack.found) != 1 || rack.found[0].CPUCount != 2 || len(rack.found[0].Disks) != 1 || rack.found[0].BMC == nil {
		t.Errorf("got inventories %+v", rack.found)
	}
	if err := rack.found[0].Clean(); err != nil {
		t.Errorf("the controller would refuse the inventory: %v", err)
	}
	if len(rack.done) != 1 || !rack.done[0].OK {
		t.Errorf("got done %+v, want one success", rack.done)
	}
	if !host.clock.Equal(rack.now) {
		t.Errorf("got clock %v, want %v", host.clock, rack.now)
	}
}

func TestCommission(t *testing.T) {
	rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeCommission, Then: wire.ThenPowerOff, Scripts: metal.CommissioningScripts})
	root, host := machineTree(t, map[string]int64{"sda": 8 * mib})
	if _, err := runAgent(t, rack, root, host); err != nil {
		t.Fatal(err)
	}
	for _, s := range metal.CommissioningScripts {
		if end := rack.ends[s.Name]; end.Status != metal.ScriptPassed || end.ExitCode != 0 {
			t.Errorf("%s: got %v exit %d stderr %q", s.Name, end.Status, end.ExitCode, rack.streams[s.Name+"/stderr"])
		}
	}
	if got := string(rack.streams["20-metalward-network/stdout"]); !strings.Contains(got, "boot interface") {
		t.Errorf("got network output %q", got)
	}
	if host.forgotten != 1 {
		t.Errorf("got %d removals of the boot entry, want 1", host.forgotten)
	}
	if len(rack.done) != 1 || !rack.done[0].OK {
		t.Errorf("got done %+v, want one success", rack.done)
	}
}

func TestRefusals(t *testing.T) {
	refuse := func(path string, times int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, req *http.Request) bool {
			if req.URL.Path != path || times == 0 {
				return false
			}
			times--
			http.Error(w, "this boot is contested", http.StatusForbidden)
			return true
		}
	}
	busy := func(path string, times int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, req *http.Request) bool {
			if req.URL.Path != path || times == 0 {
				return false
			}
			times--
			http.Error(w, "later", http.StatusServiceUnavailable)
			return true
		}
	}
	for name, tc := range map[string]struct {
		intercept func(http.ResponseWriter, *http.Request) bool
		want      string // in the error; empty for success
		claims    int
		done      int
	}{
		"claim refused":         {refuse(wire.ClaimPath, -1), "contested", 0, 0},
		"task refused":          {refuse(wire.TaskPath, -1), "cannot fetch the task: the rack refused with 403: this boot is contested", 1, 1},
		"inventory refused":     {refuse(wire.FoundPath, -1), "cannot report the inventory", 1, 1},
		"claim later":           {busy(wire.ClaimPath, 2), "", 1, 1},
		"inventory later":       {busy(wire.FoundPath, 3), "", 1, 1},
		"inventory never":       {busy(wire.FoundPath, -1), "not ready", 1, 1},
		"end of task forbidden": {refuse(wire.DonePath, -1), "cannot report the end", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeEnlist, Then: wire.ThenReboot})
			rack.intercept = tc.intercept
			root, host := machineTree(t, nil)
			then, err := runAgent(t, rack, root, host)
			if tc.want == "" && (err != nil || then != wire.ThenReboot) {
				t.Errorf("got %q, %v, want reboot", then, err)
			}
			if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
			if rack.claims != tc.claims || len(rack.done) != tc.done {
				t.Errorf("got %d claims and done %+v, want %d and %d", rack.claims, rack.done, tc.claims, tc.done)
			}
		})
	}
}

func TestUnknownTasks(t *testing.T) {
	for name, task := range map[string]wire.TaskResponse{
		"no image":        {Purpose: metal.PurposeDeploy},
		"no disks":        {Purpose: metal.PurposeErase},
		"unknown purpose": {Purpose: "dance"},
	} {
		t.Run(name, func(t *testing.T) {
			rack := newFakeRack(t, task)
			root, host := machineTree(t, nil)
			then, err := runAgent(t, rack, root, host)
			if err == nil || then != wire.ThenPowerOff || len(rack.done) != 1 || rack.done[0].OK || rack.done[0].Error == "" {
				t.Errorf("got %q, %v, done %+v, want poweroff and a reported failure", then, err, rack.done)
			}
		})
	}
}

// A claim whose answer is lost is made again with the same request: another key would be another client.
func TestClaimAnswerLost(t *testing.T) {
	rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeEnlist})
	var sent [][]byte
	rack.intercept = func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path != wire.ClaimPath {
			return false
		}
		body, _ := io.ReadAll(req.Body)
		sent = append(sent, body)
		req.Body = io.NopCloser(bytes.NewReader(body))
		if len(sent) > 2 {
			return false
		}
		if len(sent) == 1 {
			http.Error(w, "the region does not answer", http.StatusServiceUnavailable)
		} else if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = conn.Close()
		}
		return true
	}
	root, host := machineTree(t, nil)
	if _, err := runAgent(t, rack, root, host); err != nil {
		t.Error(err)
	}
	if len(sent) != 3 || !bytes.Equal(sent[0], sent[1]) || !bytes.Equal(sent[0], sent[2]) {
		t.Errorf("got %d claims, want the same one three times", len(sent))
	}
}

func TestWrongClock(t *testing.T) {
	for name, now := range map[string]time.Time{
		"far future": time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC),
		"far past":   time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeEnlist})
			// The certificates and the rack live at another time than this machine does. The rack's own check of
			// client certificates follows its clock.
			rack.ca = newAuthority(t, now.Add(-time.Hour), nil)
			rack.now = now
			rack.TLS.Certificates[0] = rack.ca.server(t, nil)
			rack.TLS.ClientCAs.AddCert(rack.ca.cert)
			rack.TLS.Time = func() time.Time { return now }
			root, host := machineTree(t, nil)
			if _, err := runAgent(t, rack, root, host); err != nil {
				t.Error(err)
			}
			if !host.clock.Equal(now) {
				t.Errorf("got clock %v, want %v", host.clock, now)
			}
		})
	}
}
