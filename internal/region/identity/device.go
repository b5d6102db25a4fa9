package identity

import (
	"context"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
)

// DeviceKeyDays is how long a key lives that somebody got by logging in at a provider from the command line: between two
// logins the provider is not asked.
const DeviceKeyDays = 30

// DeviceKey makes an API key for somebody whom a provider has verified, with the checks of a login. A login is good for one.
// Kinds: as SignOn, and as CreateKey.
func (s *Service) DeviceKey(ctx context.Context, l metal.ExternalLogin, name string) (KeySecret, error) {
	var who metal.User
	err := s.arrive(ctx, l, func(_ context.Context, c *gate.Call, u metal.User) error {
		c.Note("step", "API key for the command line")
		who = u
		fresh, err := c.Tx().Spend(u, l.State, l.StateEnds, c.Now())
		if err == nil && !fresh {
			err = errSpent
		}
		return err
	})
	if err != nil {
		return KeySecret{}, err
	}
	if name == "" {
		name = "command line"
	}
	return s.CreateKey(asUser(ctx, who), NewKey{Name: metal.Printable(name, 255), Days: DeviceKeyDays})
}
