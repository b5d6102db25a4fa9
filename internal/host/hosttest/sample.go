package hosttest

import (
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
