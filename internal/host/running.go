package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/guard"
)

// maxSnapState is the size in bytes of the largest state of snapd that is read: it has the last weeks' changes in it, some megabytes.
const maxSnapState = 64 << 20

// Processes implements guard.Host: those of units whose names begin with one of the words. Source: proc(5), /proc/PID/status.
func (f *Facts) Processes(units ...string) ([]guard.Process, error) {
	found, err := f.Glob("/proc/[0-9]*/status")
	if err != nil {
		return nil, err
	}
	var list []guard.Process
	for _, at := range found {
		name, unit := f.process(path.Dir(at))
		if !slices.ContainsFunc(units, func(u string) bool { return strings.HasPrefix(unit, u) }) {
			continue
		}
		text, err := f.Read(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it ended
		}
		if err != nil {
			return list, err
		}
		p := guard.Process{Name: name, Unit: unit}
		p.PID, _ = strconv.Atoi(path.Base(path.Dir(at))) // as the pattern has it
		if err := statusOf(string(text), &p); err != nil {
			return list, fmt.Errorf("%s: %w", at, err)
		}
		list = append(list, p)
	}
	return list, nil
}

func statusOf(text string, p *guard.Process) error {
	uid, can := false, false
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		w := strings.Fields(value)
		switch {
		case key == "Uid" && len(w) == 4: // real, effective, saved, of the file system
			v, err := strconv.ParseUint(w[1], 10, 32)
			p.UID, uid = uint32(v), err == nil
		case key == "CapEff" && len(w) == 1:
			v, err := strconv.ParseUint(w[0], 16, 64)
			p.Can, can = v, err == nil
		case key == "NoNewPrivs" && len(w) == 1:
			p.NoMore = w[0] == "1"
		}
	}
	if !uid || !can {
		return errors.New("it does not say as whom the process runs, and with which capabilities")
	}
	return nil
}

// SnapState implements guard.Host. Source: snapd's source code, overlord/state (the file), overlord/ifacestate ("conns"), overlord/snapstate
// ("snaps-hold", and refresh.hold of core), overlord/configstate/config ("config").
func (f *Facts) SnapState(snap string) (guard.SnapState, error) {
	const at = "/var/lib/snapd/state.json"
	text, err := f.read(at, maxSnapState)
	if err != nil {
		return guard.SnapState{}, err
	}
	return parseSnapState(text, snap)
}

func parseSnapState(text []byte, snap string) (s guard.SnapState, err error) {
	var state struct {
		Data *struct {
			Conns map[string]struct {
				Auto      bool   `json:"auto"`
				Interface string `json:"interface"`
				Undesired bool   `json:"undesired"`
			} `json:"conns"`
			Hold map[string]map[string]struct {
				Until time.Time `json:"hold-until"`
			} `json:"snaps-hold"`
			Config map[string]json.RawMessage `json:"config"`
		} `json:"data"`
	}
	if json.Unmarshal(text, &state) != nil || state.Data == nil {
		return s, errors.New("it is not as snapd writes its state")
	}
	for id, c := range state.Data.Conns {
		plug, slot, ok := strings.Cut(id, " ")
		if !ok || !strings.Contains(plug, ":") || !strings.Contains(slot, ":") {
			return s, fmt.Errorf("what the connection %q is between is not understood", id)
		}
		if name, ok := strings.CutPrefix(plug, snap+":"); ok && !c.Undesired {
			s.Connections = append(s.Connections, guard.SnapConnection{Plug: name, Slot: slot, Interface: c.Interface, Auto: c.Auto})
		}
	}
	slices.SortFunc(s.Connections, func(a, b guard.SnapConnection) int { return strings.Compare(a.Plug+" "+a.Slot, b.Plug+" "+b.Slot) })
	for by, h := range state.Data.Hold[snap] {
		s.Holds = append(s.Holds, guard.SnapHold{By: by, Until: h.Until})
	}
	slices.SortFunc(s.Holds, func(a, b guard.SnapHold) int { return strings.Compare(a.By, b.By) })
	var core struct {
		Refresh struct {
			Hold string `json:"hold"`
		} `json:"refresh"`
	}
	if raw := state.Data.Config["core"]; raw != nil && json.Unmarshal(raw, &core) != nil {
		return s, errors.New("the settings of the system's snap are not understood")
	}
	switch hold := core.Refresh.Hold; hold {
	case "":
	case "forever":
		s.Holds = append(s.Holds, guard.SnapHold{By: "refresh.hold of the system", Ever: true})
	default:
		until, err := time.Parse(time.RFC3339, hold)
		if err != nil {
			return s, errors.New("until when the system holds updates is not understood")
		}
		s.Holds = append(s.Holds, guard.SnapHold{By: "refresh.hold of the system", Until: until})
	}
	return s, nil
}
