// Package powertest holds the conformance suite that every power driver with a BMC runs, against whatever
// stands in for its BMC.
package powertest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/power"
)

// BMC is a machine with a BMC for a driver to speak to.
type BMC struct {
	Driver power.Driver
	// Good works; WrongPassword and Unreachable differ from it as they say.
	Good, WrongPassword, Unreachable metal.PowerParameters
	// Secret is a text of Good that must never appear in an error.
	Secret string
	// Power tells whether the machine is on, asked behind the driver's back.
	Power func() bool
	// SetPower changes that, behind the driver's back too.
	SetPower func(on bool)
	// Boot returns the boot device stored for the next start; nil if the stand-in keeps none.
	Boot func() metal.BootDevice
	// UEFI tells whether the stored boot device is for UEFI, and Persistent whether it stays; nil if the
	// stand-in does not keep that.
	UEFI, Persistent func() bool
}

// commandTime is ample for a stand-in on this host, and far below the test timeout.
const commandTime = 20 * time.Second

// Run checks a driver. start makes a BMC whose machine is off.
func Run(t *testing.T, start func(t *testing.T) *BMC) {
	b := start(t)
	do := func(t *testing.T, a metal.PowerAction, boot metal.BootDevice, uefi bool, p metal.PowerParameters) (metal.PowerState, error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), commandTime)
		defer cancel()
		return b.Driver.Do(ctx, power.Request{Action: a, Boot: boot, UEFI: uefi, Parameters: power.NewParameters(p)})
	}
	tests := []struct {
		name   string
		before bool
		action metal.PowerAction
		after  bool
	}{
		{"off to on", false, metal.ActionOn, true},
		{"on stays on", true, metal.ActionOn, true},
		{"on to off", true, metal.ActionOff, false},
		{"off stays off", false, metal.ActionOff, false},
		{"cycle from on", true, metal.ActionCycle, true},
		{"cycle from off turns on", false, metal.ActionCycle, true},
		{"query on", true, metal.ActionQuery, true},
		{"query off", false, metal.ActionQuery, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.SetPower(tt.before)
			state, err := do(t, tt.action, metal.BootKeep, false, b.Good)
			want := map[bool]metal.PowerState{true: metal.PowerOn, false: metal.PowerOff}[tt.after]
			if err != nil || state != want {
				t.Fatalf("got %q, %v; want %q", state, err, want)
			}
			if b.Power() != tt.after {
				t.Errorf("machine is on: %v; want %v", b.Power(), tt.after)
			}
		})
	}
	for _, action := range []metal.PowerAction{metal.ActionOn, metal.ActionCycle} {
		for _, boot := range []metal.BootDevice{metal.BootNetwork, metal.BootDisk} {
			for _, uefi := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s from %s, uefi %v", action, boot, uefi), func(t *testing.T) {
					if b.Boot == nil {
						t.Skip("the stand-in keeps no boot device")
					}
					b.SetPower(false)
					if _, err := do(t, action, boot, uefi, b.Good); err != nil {
						t.Fatal(err)
					}
					if got := b.Boot(); got != boot {
						t.Errorf("boot device: got %q, want %q", got, boot)
					}
					if b.UEFI != nil && b.UEFI() != uefi {
						t.Errorf("uefi: got %v, want %v", b.UEFI(), uefi)
					}
					if b.Persistent != nil && b.Persistent() {
						t.Error("the boot device must hold for one start only")
					}
				})
			}
		}
	}
	t.Run("wrong password", func(t *testing.T) {
		b.SetPower(false)
		state, err := do(t, metal.ActionOn, metal.BootKeep, false, b.WrongPassword)
		if !fault.Is(err, fault.Forbidden) || state != metal.PowerError {
			t.Fatalf("got %q, %v; want a Forbidden fault", state, err)
		}
		if text := fault.Message(err); !strings.Contains(text, "power_pass") {
			t.Errorf("the message does not name what to correct: %s", text)
		}
		for _, secret := range []string{b.Secret, b.WrongPassword["power_pass"]} {
			if strings.Contains(err.Error(), secret) {
				t.Error("the error contains a password")
			}
		}
		if b.Power() {
			t.Error("the machine was turned on with a wrong password")
		}
	})
	t.Run("unreachable", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := b.Driver.Do(ctx, power.Request{Action: metal.ActionQuery, Parameters: power.NewParameters(b.Unreachable)})
			done <- err
		}()
		select {
		case err := <-done:
			if !fault.Is(err, fault.Unavailable) {
				t.Errorf("got %v; want an Unavailable fault", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the driver did not end with its deadline")
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		done := make(chan error, 1)
		go func() {
			_, err := b.Driver.Do(ctx, power.Request{Action: metal.ActionQuery, Parameters: power.NewParameters(b.Unreachable)})
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil {
				t.Error("a cancelled query succeeded")
			}
		case <-time.After(5 * time.Second):
			t.Fatal("the driver did not end when cancelled")
		}
	})
	t.Run("unknown action", func(t *testing.T) {
		if _, err := do(t, "explode", metal.BootKeep, false, b.Good); !fault.Is(err, fault.Invalid) {
			t.Errorf("got %v; want an Invalid fault", err)
		}
	})
}
