//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/test/e2e/lab"
)

// TestFaults takes one machine through what goes wrong in data centres: each ends in a state that a person can
// act on, with a reason, and never hangs.
func TestFaults(t *testing.T) {
	if os.Getenv("METALWARD_E2E_SMOKE") != "" {
		t.Skip("not part of the smoke test")
	}
	t.Parallel() // with the stories: an emulated machine keeps one core busy
	artefacts(t) // before the story's time runs
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	s := start(ctx, t, false, false)
	m := s.newMachine(ctx, "vm1", lab.BIOS, 512<<20)
	m.SetBoot(lab.BootPXE)
	s.must(m.PowerOn(ctx))
	id := s.waitNew(ctx, m.MAC())
	s.waitOff(ctx, m)
	s.api(ctx, "PUT", "/machines/"+id+"/", "hostname", "node1", "power_type", "ipmi", "power_parameters_power_address", m.BMC().Addr(),
		"power_parameters_power_user", m.BMC().User(), "power_parameters_power_pass", bmcPassword, "power_parameters_cipher_suite_id", "3")
	s.api(ctx, "POST", "/machines/"+id+"/op-commission")
	s.waitStatus(ctx, id, "Ready")
	s.upload(ctx, "custom/tiny", s.tiny+".zst", "ddzst")
	deploy := func(s *site) {
		s.t.Helper()
		m.MarkSerial()
		s.api(ctx, "POST", "/machines/"+id+"/?op=deploy", "user_data", userData)
	}
	release := func(s *site) {
		s.t.Helper()
		s.api(ctx, "POST", "/machines/"+id+"/?op=release", "erase", "false")
		s.waitStatus(ctx, id, "Ready")
	}

	fault := func(name string, fn func(t *testing.T)) {
		if !t.Failed() { // each starts from where the one before it ended
			t.Run(name, fn)
		}
	}
	fault("a racing client spends the boot token", func(t *testing.T) {
		s := s.with(t)
		deploy(s)
		line, err := m.SerialLine(ctx, "metalward.token=")
		s.must(err)
		got := s.race(ctx, m, line)
		t.Logf("the racing client: %s", got)
		reason := s.waitFailure(ctx, id, "Failed deployment")
		if !strings.Contains(reason, "Two clients") {
			t.Errorf("got reason %q, want the contest named", reason)
		}
		if s.trail(ctx, "boot_contested") == 0 {
			t.Error("the trail has no event of the contested boot")
		}
		if s.trail(ctx, "machine.read_seed") != 0 {
			t.Error("user data was handed out for a contested boot")
		}
		release(s)
	})

	fault("the region is killed while a deployment runs", func(t *testing.T) {
		s := s.with(t)
		deploy(s)
		s.must(m.WaitSerial(ctx, "METALWARD image"))
		s.must(s.region.Kill())
		time.Sleep(2 * time.Second)
		s.startRegion(ctx)
		s.waitStatus(ctx, id, "Deployed")
		release(s)
	})

	fault("a bit flips in the rack's image cache, and the rack is killed during a boot", func(t *testing.T) {
		s := s.with(t)
		deploy(s)
		s.must(m.WaitSerial(ctx, "iPXE"))
		s.must(s.rack.Kill())
		flipped := false
		s.must(filepath.WalkDir(filepath.Join(s.rackDir, "image-cache"), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || len(d.Name()) != 64 {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 0x10
			flipped = true
			return os.WriteFile(path, b, 0o600)
		}))
		if !flipped {
			t.Fatal("the rack's cache holds no image")
		}
		s.startRack(ctx)
		s.waitStatus(ctx, id, "Deployed")
		if s.trail(ctx, "image_cache_corrupt") == 0 {
			t.Error("the trail has no event of the damaged image")
		}
	})

	fault("a BMC stops answering", func(t *testing.T) {
		s := s.with(t)
		s.must(m.BMC().Freeze())
		s.api(ctx, "POST", "/machines/"+id+"/?op=release")
		reason := s.waitFailure(ctx, id, "Releasing failed")
		t.Logf("reason: %s", reason)
		if !strings.Contains(reason, "power") {
			t.Errorf("got reason %q, want the power command named", reason)
		}
		s.must(m.BMC().Thaw())
	})

	fault("strangers on internal ports get nothing", func(t *testing.T) {
		s := s.with(t)
		for _, port := range []string{"5250"} {
			conn, err := s.net.Dialer(lab.Region)(ctx, "tcp", lab.RegionAddr+":"+port)
			s.must(err)
			_, err = conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
			s.must(err)
			s.must(conn.SetReadDeadline(time.Now().Add(15 * time.Second)))
			buf := make([]byte, 512)
			n, _ := conn.Read(buf)
			if n > 7 { // a TLS alert has seven bytes
				t.Errorf("port %s answered a stranger with %q", port, buf[:n])
			}
			conn.Close()
		}
	})
}

// with is the same site for a sub-test.
func (s *site) with(t *testing.T) *site {
	c := *s
	c.t = t
	t.Cleanup(func() { s.region, s.rack, s.starts = c.region, c.rack, c.starts })
	return &c
}

// waitFailure waits for a failure status and returns the reason that users see.
func (s *site) waitFailure(ctx context.Context, id, want string) (reason string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 6*time.Minute)
	defer cancel()
	s.poll(ctx, "status "+want, func() bool {
		m := s.object(ctx, "/machines/"+id+"/")
		reason = m.str("error_description")
		if got := m.str("status_name"); got == "Deployed" || got == "Ready" {
			s.t.Fatalf("got status %s, want %s", got, want)
		}
		return m.str("status_name") == want
	})
	return reason
}
