package region

import (
	"context"
	"errors"
	"strconv"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/region/gate"
)

// People is what the region knows of its users, for the check of its own host: what its API tells to harden check --api.
func (r *Region) People(ctx context.Context) (d guard.Database, err error) {
	ctx = authz.AsSystem(ctx, "harden")
	other := errors.New("that is known of MAAS alone")
	d.Server.Err, d.Encrypted.Err, d.Secrets.Err, d.External.Err, d.Audit.Err, d.Roles.Err, d.Logins, d.Hashes = other, other, other, other, other, other, other, other
	d.Where = "this region"
	list, err := r.Identity.Overview(ctx)
	d.People.Err = err
	for _, s := range list {
		d.People.Value = append(d.People.Value, guard.Person{Name: s.User.Name, Admin: s.User.Admin, Active: !s.User.Disabled, Local: !s.User.External, Joined: s.User.Created,
			Keys: s.EndlessKeys, OldestKey: s.OldestKey, HasPassword: s.HasPassword, Factors: s.Factors})
	}
	d.Settings.Err = r.Gate.View(ctx, authz.SettingView, func(v *gate.Viewing) error {
		n, err := v.SettingInt("session_length")
		d.Settings.Value = map[string]string{"session_length": strconv.Itoa(n)}
		return err
	})
	return d, nil
}
