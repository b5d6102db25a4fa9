package machines

import (
	"context"
	"errors"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// The budgets that tests move the clock past.
const (
	TokenLife    = tokenLife
	CommandLife  = commandLife
	MaxOldTokens = maxOldTokens

	RotationLife    = rotationLife
	KeepCredentials = keepCredentials
)

// RunDue carries out the power commands that are due, one after the other, and says how many there were.
func (s *Service) RunDue(ctx context.Context) (int, error) {
	ctx = authz.AsSystem(ctx, "power")
	var due []store.CommandRow
	err := s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) (err error) {
		due, err = v.Commands(v.Now(), 1000)
		return err
	})
	for _, cmd := range due {
		err = errors.Join(err, s.execute(ctx, cmd))
	}
	return len(due), err
}

// RunRotations carries out the steps that are due, one after the other, and what the schedule wants.
func (s *Service) RunRotations(ctx context.Context) (n int, err error) {
	sys := authz.AsSystem(ctx, "rotation")
	err = errors.Join(s.scheduleRotations(sys), s.forgetCredentials(sys))
	for _, a := range s.dueRotations(sys) {
		n, err = n+1, errors.Join(err, s.rotateStep(sys, a))
	}
	return n, err
}

// RotateStep is rotateStep.
func (s *Service) RotateStep(ctx context.Context, a metal.BMCAccount) error {
	return s.rotateStep(authz.AsSystem(ctx, "rotation"), a)
}

// NewPassword is newPassword.
func NewPassword() string { return newPassword() }

// Ticket opens a ticket as a call through a rack does.
func (s *Service) Ticket(rackID, systemID string, audited bool) (id int64, done func()) {
	return s.tickets.issue(ticket{rackID: rackID, systemID: systemID, audited: audited})
}

// DecodeUserData is decodeUserData.
func DecodeUserData(text string) (string, error) {
	v, err := decodeUserData(text)
	return v.RevealString(), err
}
