// Package power turns machines on and off through their BMCs.
//
// Driver is the contract that every power driver keeps; package powertest holds the conformance suite they all
// run. Set is what the rack uses: it knows the drivers by name and adds what every one of them needs, so that no
// driver has to: a deadline on each command, one command at a time for each BMC, and back-off for queries of a
// BMC that does not answer. Errors are faults whose messages name the remedy; parameters never print.
package power

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/metalward/metalward/internal/metal"
)

// Driver speaks to one kind of BMC. It keeps no state between calls and is safe for concurrent use; Set makes
// sure that one BMC has one command at a time.
type Driver interface {
	// Name is the power type's name in metal.PowerTypes.
	Name() string
	// Do carries out a request and returns the state the machine is in afterwards: PowerUnknown if the BMC
	// cannot tell. It ends soon after ctx does. On for a machine that is on and off for one that is off
	// succeed; cycle turns a machine that is off on. Kinds: Unavailable when the BMC does not answer or did
	// not do it in time, Forbidden when it refuses the credentials or the privilege, Invalid when the
	// parameters are wrong.
	Do(ctx context.Context, req Request) (metal.PowerState, error)
}

// Request is one command.
type Request struct {
	Action metal.PowerAction
	// Boot is where the start that an on or cycle causes boots from, once; ignored for off and query.
	Boot metal.BootDevice
	// UEFI says that the machine boots by UEFI, where the driver's own parameters leave that open.
	UEFI       bool
	Parameters Parameters
}

// Parameters are a driver's settings, secrets included. They print as [redacted].
type Parameters struct{ m metal.PowerParameters }

// NewParameters wraps the settings, which the caller must not change afterwards.
func NewParameters(m metal.PowerParameters) Parameters { return Parameters{m: m} }

// Get returns a setting; empty when absent.
func (p Parameters) Get(name string) string { return p.m[name] }

const redacted = "[redacted]"

// String prints [redacted].
func (p Parameters) String() string { return redacted }

// Format prints [redacted] under every verb.
func (p Parameters) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue prints [redacted] under slog.
func (p Parameters) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON writes "[redacted]".
func (p Parameters) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
