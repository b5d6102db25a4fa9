package identity

import (
	"context"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// Calls of the API that show a discharged macaroon instead of a key: whoever it vouches for acts, while it is good and
// what the provider said of him is not old.

// Vouched returns the principal of somebody whom a macaroon vouches for. Kinds: NotFound when the provider has to be
// asked first, because he is new here or what it said is old: then Admit; Unauthenticated when he may not come.
func (s *Service) Vouched(ctx context.Context, l metal.ExternalLogin) (p authz.Principal, err error) {
	p, old, err := s.vouched(ctx, l)
	if err == nil {
		err = s.upToDate(ctx, old, func() (*metal.User, error) {
			p, old, err = s.vouched(ctx, l)
			return old, err
		})
	}
	return p, err
}

func (s *Service) vouched(ctx context.Context, l metal.ExternalLogin) (p authz.Principal, old *metal.User, err error) {
	err = s.gate.View(authz.AsSystem(ctx, "login"), authz.UserView, func(v *gate.Viewing) error {
		u, id, err := identified(v.View, l)
		if err != nil {
			return err
		}
		switch now := s.now(); {
		case u.Disabled:
			return errInactive
		case id.ProviderID != l.ProviderID || id.Gone || now.Sub(id.Checked) > RecheckAfter || id.Checked.After(now):
			return fault.New(fault.NotFound, "The identity provider has to be asked again.")
		}
		if err := ended(v.View, u.User, l); err != nil {
			return err
		}
		if old, err = s.outdated(v.View, u.User); err != nil {
			return err
		}
		p, err = Principal(v.View, u.User)
		return err
	})
	return p, old, err
}

// ErrEnded is what a macaroon gets that is older than the end of its user's sessions: he has to log in again.
var ErrEnded = fault.New(fault.Unauthenticated, "This login was ended. Log in again.")

func ended(v *store.View, u metal.User, l metal.ExternalLogin) error {
	if l.Began.IsZero() {
		return nil
	}
	after, err := v.MacaroonsAfter(u.ID)
	if err == nil && !l.Began.After(after) {
		err = ErrEnded
	}
	return err
}

// Admit takes over what a provider says of somebody whom a macaroon vouches for, as SignOn does, without a session.
// Kinds: as SignOn.
func (s *Service) Admit(ctx context.Context, l metal.ExternalLogin) (p authz.Principal, err error) {
	err = s.arrive(ctx, l, func(context.Context, *gate.Call, metal.User) error { return nil })
	if err != nil {
		return p, err
	}
	return s.Vouched(ctx, l)
}
