package ipmi

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/power"
	"github.com/metalward/metalward/internal/rack/power/powertest"
)

// with returns a copy of p with settings changed: name, value, name, value.
func with(p metal.PowerParameters, nameValue ...string) metal.PowerParameters {
	p = maps.Clone(p)
	for i := 0; i < len(nameValue); i += 2 {
		p[nameValue[i]] = nameValue[i+1]
	}
	return p
}

// silent is an address where nobody answers.
func silent(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.LocalAddr().String()
}

func TestConformanceSimulator(t *testing.T) {
	for _, su := range []suite{suite17, suite3} {
		t.Run(fmt.Sprintf("suite %d", su.id), func(t *testing.T) {
			t.Parallel()
			powertest.Run(t, func(t *testing.T) *powertest.BMC {
				return startBMC(t, &testBMC{suites: []suite{su}, privilege: 3}).fixture(t)
			})
		})
	}
}

// Whatever the region lets somebody choose, the driver takes.
func TestChoices(t *testing.T) {
	kind, _ := metal.FindPowerType("ipmi")
	for _, field := range kind.Fields {
		for _, choice := range field.Choices {
			set, err := readSettings(power.NewParameters(metal.PowerParameters{"power_address": "192.0.2.1", field.Name: choice[0]}))
			if err != nil {
				t.Errorf("%s=%s: %v", field.Name, choice[0], err)
			}
			if field.Name == "cipher_suite_id" && choice[0] == "auto" && (len(set.suites) != 2 || set.suites[0].id != 17) {
				t.Errorf("auto: got suites %v, want 17 first", set.suites)
			}
		}
	}
}

func query(t *testing.T, p metal.PowerParameters) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := New().Do(ctx, power.Request{Action: metal.ActionQuery, Parameters: power.NewParameters(p)})
	return err
}

func TestCredentialsAndSuites(t *testing.T) {
	kg := []byte("0123456789abcdefghij")
	both := []suite{suite17, suite3}
	tests := []struct {
		name    string
		suites  []suite
		kg      []byte
		changes []string
		kind    fault.Kind
		says    string // "" means success
	}{
		{"auto takes 17", both, nil, nil, 0, ""},
		{"auto falls back to 3", []suite{suite3}, nil, nil, 0, ""},
		{"17 is strict", []suite{suite3}, nil, []string{"cipher_suite_id", "17"}, fault.Invalid, "cipher_suite_id"},
		{"3 when asked", []suite{suite3}, nil, []string{"cipher_suite_id", "3"}, 0, ""},
		{"0 never", both, nil, []string{"cipher_suite_id", "0"}, fault.Invalid, "17 and 3"},
		{"K_g", both, kg, []string{"k_g", string(kg)}, 0, ""},
		{"K_g in hex", both, kg, []string{"k_g", fmt.Sprintf("0x%x", kg)}, 0, ""},
		{"K_g wrong", both, kg, []string{"k_g", "another key"}, fault.Forbidden, "k_g"},
		{"K_g missing", both, kg, nil, fault.Forbidden, "k_g"},
		{"user unknown", both, nil, []string{"power_user", "nobody"}, fault.Forbidden, "power_user"},
		{"privilege too high", both, nil, []string{"privilege_level", "ADMIN"}, fault.Forbidden, "privilege_level"},
		{"password too long", both, nil, []string{"power_pass", strings.Repeat("x", 21)}, fault.Invalid, "power_pass"},
		{"no address", both, nil, []string{"power_address", ""}, fault.Invalid, "power_address"},
		{"bad port", both, nil, []string{"power_address", "127.0.0.1:0"}, fault.Invalid, "power_address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := startBMC(t, &testBMC{suites: tt.suites, kg: tt.kg, privilege: 3})
			err := query(t, with(b.parameters(), tt.changes...))
			if tt.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !fault.Is(err, tt.kind) || !strings.Contains(fault.Message(err), tt.says) {
				t.Errorf("got %v (%v); want %v that says %q", err, fault.KindOf(err), tt.kind, tt.says)
			}
		})
	}
}

// openIPMI starts OpenIPMI's simulator and waits until it answers.
func openIPMI(t *testing.T) (good metal.PowerParameters, dir string) {
	t.Helper()
	return powertest.OpenIPMI(t, func(ctx context.Context, p metal.PowerParameters) error {
		_, err := New().Do(ctx, power.Request{Action: metal.ActionQuery, Parameters: power.NewParameters(p)})
		return err
	})
}

// TestConformanceOpenIPMI runs the suite against OpenIPMI's simulator.
func TestConformanceOpenIPMI(t *testing.T) {
	powertest.Run(t, func(t *testing.T) *powertest.BMC {
		good, dir := openIPMI(t)
		write := func(name, text string, mode os.FileMode) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
				t.Fatal(err)
			}
		}
		read := func(name string) string {
			b, _ := os.ReadFile(filepath.Join(dir, name))
			return strings.TrimSpace(string(b))
		}
		return &powertest.BMC{
			Driver: New(), Good: good, Secret: "secret-never-in-good",
			WrongPassword: with(good, "power_pass", "wrong battery"),
			Unreachable:   with(good, "power_address", silent(t)),
			Power:         func() bool { return read("power") == "1" },
			SetPower:      func(on bool) { write("power", map[bool]string{true: "1", false: "0"}[on], 0o600) },
			Boot: func() metal.BootDevice {
				switch read("boot") {
				case "pxe":
					return metal.BootNetwork
				case "default": // all that ipmi_sim keeps of disk
					return metal.BootDisk
				}
				return metal.BootKeep
			},
		}
	})
}
