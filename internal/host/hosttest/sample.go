package hosttest

import (
	"io/fs"
	"net/netip"
	"time"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
)

// sampled is a sample's host: its files, and what it says of its network.
type sampled struct {
	Memory
	sample guard.Sample
}

// Of makes the host of a sample. A word that it does not understand is an error.
func Of(s guard.Sample) (guard.Host, error) {
	m, err := New(s.Tree)
	if err != nil {
		return nil, err
	}
	return host.New(sampled{m, s}), nil
}

// Network is the sample's.
func (s sampled) Network() (guard.Network, error) { return s.sample.Network, nil }

// Connect ends as the sample says.
func (s sampled) Connect(address string) error {
	if err, ok := s.sample.Answers[address]; ok {
		return err
	}
	return guard.ErrNotAsked
}

// Learned is the sample's.
func (s sampled) Learned() *guard.Learned { return s.sample.Learned }

// Storage is the sample's.
func (s sampled) Storage(path string) (guard.Storage, error) {
	return s.sample.Storage[path], nil
}

// Now, Certificate, Handshake and Tunnels are the sample's, too.
func (s sampled) Now() time.Time { return guard.SampleTime }

func (s sampled) Certificate(p guard.Pair) (guard.Certificate, error) {
	if c, ok := s.sample.Certificates[p.Certificate]; ok {
		return c, nil
	}
	return guard.Certificate{}, &fs.PathError{Op: "read", Path: p.Certificate, Err: fs.ErrNotExist}
}

func (s sampled) Handshake(address netip.AddrPort) (guard.Handshake, error) {
	if hello, ok := s.sample.Handshakes[int(address.Port())]; ok {
		return hello, nil
	}
	return guard.Handshake{}, guard.ErrNotAsked
}

func (s sampled) Tunnels() (guard.Tunnels, error) { return s.sample.Tunnels, nil }

// Flaws are the sample's.
func (s sampled) Flaws() ([]guard.FlawFile, error) {
	if s.sample.Flaws == nil {
		return nil, guard.ErrNoFiles
	}
	return s.sample.Flaws, nil
}

// Database is the sample's.
func (s sampled) Database(p guard.Product) (guard.Database, error) {
	if s.sample.Database == nil && p == guard.Metalward {
		return guard.Database{}, guard.ErrNoAPI
	}
	if s.sample.Database == nil {
		return guard.Database{}, guard.ErrNoDatabase
	}
	return *s.sample.Database, nil
}

// BMCs are the sample's.
func (s sampled) BMCs() []guard.BMC { return s.sample.BMCs }
