package host

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/guard"
)

// What is read of a process is what the kernel says to the process itself.
func TestStatus(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(os.Getpid()), "status"))
	if err != nil {
		t.Fatal(err)
	}
	var p guard.Process
	if err := statusOf(string(text), &p); err != nil {
		t.Fatal(err)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		t.Fatal(err)
	}
	more, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if want := uint64(caps[1].Effective)<<32 | uint64(caps[0].Effective); p.Can != want || int(p.UID) != os.Geteuid() || p.NoMore != (more == 1) {
		t.Errorf("got %+v; the kernel says capabilities %x, UID %d, no new privileges %d", p, want, os.Geteuid(), more)
	}
	for _, bad := range []string{"", "Uid:\t0\t0\t0\t0\n", "CapEff:\t00\n", "Uid:\t0\t-1\t0\t0\nCapEff:\t0\n", "Uid:\t0\t0\t0\t0\nCapEff:\tx\n"} {
		if err := statusOf(bad, &p); err == nil {
			t.Errorf("%q: got no error", bad)
		}
	}
}

func FuzzSnapState(f *testing.F) {
	f.Add(`{"data": {"conns": {"maas:network :network": {"auto": true, "interface": "network"}}, "snaps-hold": {"maas": {"system": {"hold-until": "2030-01-01T00:00:00Z"}}}, "config": {"core": {"refresh": {"hold": "forever"}}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSnapState([]byte(text), "maas")
		for _, c := range s.Connections {
			if err == nil && (!strings.Contains(c.Slot, ":") || c.Plug == "" && !strings.Contains(text, "maas:")) {
				t.Errorf("got %+v", c)
			}
		}
	})
}
