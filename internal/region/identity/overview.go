package identity

import (
	"context"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
)

// Standing is how a user gets in.
type Standing struct {
	User                    metal.User
	HasPassword             bool
	Factors, Sessions, Keys int
	EndlessKeys             int       // keys that never expire
	OldestKey               time.Time // of those, when the oldest was made; zero where there is none
}

// Overview lists how all users get in, for who may see them all: administrators and auditors. Kinds: Forbidden.
func (s *Service) Overview(ctx context.Context) (list []Standing, err error) {
	err = s.gate.View(ctx, authz.UserInspect, func(v *gate.Viewing) error {
		rows, err := v.Users()
		if err != nil {
			return err
		}
		for _, u := range rows {
			sessions, err := s.liveSessions(v.View, u.User)
			if err != nil {
				return err
			}
			factors, err := v.Factors(u.ID)
			if err != nil {
				return err
			}
			keys, err := v.APIKeys(u.ID)
			if err != nil {
				return err
			}
			x := Standing{User: u.User, HasPassword: u.Password != "", Factors: len(factors), Sessions: len(sessions), Keys: len(keys)}
			for _, k := range keys {
				if !k.Expires.IsZero() {
					continue
				}
				if x.EndlessKeys++; x.OldestKey.IsZero() || k.Created.Before(x.OldestKey) {
					x.OldestKey = k.Created
				}
			}
			list = append(list, x)
		}
		return nil
	})
	return list, err
}
