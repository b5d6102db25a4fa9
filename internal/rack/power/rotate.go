package power

import (
	"context"
	"errors"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// Account is a BMC's user with its password. It prints as [redacted], being of Parameters' kind.
type Account struct{ User, Password string }

// String prints [redacted].
func (Account) String() string { return redacted }

// GoString prints [redacted].
func (Account) GoString() string { return redacted }

// ErrLost says that a BMC does not know the newer account any more, but does the older one: it was reset, most likely.
var ErrLost = errors.New("the BMC has lost the account")

// ErrStays says that an old account works still, whatever was done to it.
var ErrStays = errors.New("the BMC keeps letting the old account in")

// Rotator is a driver that can replace the account it logs in with, in two steps between which both accounts work. Each may be
// repeated after it was broken off anywhere.
type Rotator interface {
	// SetAccount makes the account on the BMC, with the rights of p's own, and logs in with it to prove that it works. It
	// returns the account as the BMC knows it: some keep only part of a password. p's account is left alone. Kinds: those of
	// Driver.Do; Conflict when the BMC has no room for it.
	SetAccount(ctx context.Context, p Parameters, a Account) (Account, error)
	// RetireAccount shuts an old account out, logged in with p's, and proves that it is shut out. Errors: ErrLost when p's
	// account is gone and the old one works, ErrStays, and those of Driver.Do.
	RetireAccount(ctx context.Context, p Parameters, old Account) error
}

// SetAccount carries out Rotator.SetAccount with the driver of a power type, in turn with power commands. Kinds: also Invalid
// for a power type whose accounts cannot be changed.
func (s *Set) SetAccount(ctx context.Context, powerType string, p Parameters, a Account, timeout time.Duration) (used Account, err error) {
	err = s.rotate(ctx, powerType, p, timeout, func(ctx context.Context, r Rotator) (err error) {
		used, err = r.SetAccount(ctx, p, a)
		return err
	})
	return used, err
}

// RetireAccount carries out Rotator.RetireAccount.
func (s *Set) RetireAccount(ctx context.Context, powerType string, p Parameters, old Account, timeout time.Duration) error {
	return s.rotate(ctx, powerType, p, timeout, func(ctx context.Context, r Rotator) error { return r.RetireAccount(ctx, p, old) })
}

func (s *Set) rotate(ctx context.Context, powerType string, p Parameters, timeout time.Duration, fn func(context.Context, Rotator) error) error {
	r, ok := s.drivers[powerType].(Rotator)
	if !ok {
		return fault.New(fault.Invalid, "The accounts of power type %q cannot be rotated.", powerType)
	}
	return s.inTurn(ctx, powerType, "rotate", p, timeout, func(ctx context.Context) error {
		return s.guarded(powerType, func() error { return fn(ctx, r) })
	})
}
