package identity

import (
	"context"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// Users whose rights an RBAC service decides act only by what it said at most metal.RightsAge ago.

// Rights keeps what the services say.
type Rights interface {
	// Freshen makes a user's grants what his service says now. Kinds: Unavailable; Forbidden when it gives him no rights,
	// and his sessions have ended.
	Freshen(ctx context.Context, u metal.User) error
}

// SetRights sets who keeps them. It is called while the parts are joined.
func (s *Service) SetRights(r Rights) { s.rights = r }

// outdated returns a user whose rights are too old to act by; nil when they are not.
func (s *Service) outdated(v *store.View, u metal.User) (*metal.User, error) {
	if u.RightsFrom == 0 {
		return nil, nil
	}
	asked, err := v.RightsAsked(u.ID)
	if now := s.now(); err == nil && (asked.After(now) || now.Sub(asked) > metal.RightsAge) {
		return &u, nil
	}
	return nil, err
}

// upToDate has the rights of a user asked for that are too old to act by; nil is nobody. Then it has look look again as whom
// to act. Kinds: Unavailable when the service cannot be asked, Forbidden when it gives no rights; those of look.
func (s *Service) upToDate(ctx context.Context, old *metal.User, look func() (old *metal.User, err error)) error {
	if old == nil {
		return nil
	}
	if s.rights == nil {
		return errWithoutRights
	}
	if err := s.rights.Freshen(ctx, *old); err != nil {
		return err
	}
	old, err := look()
	if err == nil && old != nil { // it took too long, or another answer than ours counts by now
		err = errWithoutRights
	}
	return err
}

var errWithoutRights = &fault.Error{Kind: fault.Unavailable, Message: "What you may do here is decided by an RBAC service, which did not answer in time. Try again in a moment.", RetryAfter: metal.RightsAge}
