package harden

import (
	"encoding/json"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
)

// Baseline is what a host was found to have, so that only what is new counts.
type Baseline struct {
	Format   int       `json:"format"` // 1
	Time     time.Time `json:"time"`
	Findings []Known   `json:"findings"`
}

// Known is a finding of a baseline. Its fingerprint covers the evidence: a file that is open to one more person is a new finding.
type Known struct {
	ID       string         `json:"fingerprint"`
	Check    string         `json:"check"`
	Product  guard.Product  `json:"product"`
	Subject  string         `json:"subject"`
	State    guard.State    `json:"state"`
	Severity guard.Severity `json:"severity"`
}

// Baseline is what a report's host has that counts against it.
func (r *Report) Baseline() ([]byte, error) {
	b := Baseline{Format: 1, Time: r.Time, Findings: []Known{}}
	for _, f := range r.Findings {
		if f.State == guard.Fail || f.State == guard.Unchecked {
			b.Findings = append(b.Findings, Known{f.ID, f.Check, f.Product, f.Subject, f.State, f.Severity})
		}
	}
	text, err := json.MarshalIndent(b, "", "  ")
	return append(text, '\n'), err
}

// ReadBaseline reads what Baseline wrote. Kinds: Invalid.
func ReadBaseline(text []byte) (*Baseline, error) {
	b := &Baseline{}
	if err := strict(text, b); err != nil {
		return nil, fault.New(fault.Invalid, "baseline: The file cannot be read: %s.", guard.Show(err.Error()))
	}
	if b.Format != 1 {
		return nil, fault.New(fault.Invalid, "baseline: Its format is %d, and this program reads 1: write it anew.", b.Format)
	}
	return b, nil
}

// Compare marks what is known, and returns what the baseline has that is gone.
func (r *Report) Compare(b *Baseline) (gone []Known) {
	known := map[string]bool{}
	for _, k := range b.Findings {
		known[k.ID] = true
	}
	now := map[string]bool{}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.State == guard.Fail || f.State == guard.Unchecked {
			f.Known, now[f.ID] = known[f.ID], true
		}
	}
	for _, k := range b.Findings {
		if !now[k.ID] {
			gone = append(gone, k)
		}
	}
	r.settle()
	return gone
}
