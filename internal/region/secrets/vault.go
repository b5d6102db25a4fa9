package secrets

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/vault"
)

// Times of what runs by itself.
const (
	followEvery  = 2 * time.Second  // settings and database are looked at again
	checkEvery   = 15 * time.Second // Vault is asked how it is
	warmEvery    = 5 * time.Minute  // what an outage would miss is read into memory
	collectEvery = 6 * time.Hour    // what nothing refers to leaves Vault
	settleTime   = 3 * followEvery  // until every region knows where secrets go
	lostAfter    = time.Minute      // a region that said nothing for so long may not run
)

const vaultIdent = "vault_away"

// Teller tells administrators something for as long as it is so; region/notify does.
type Teller interface {
	Keep(ctx context.Context, n metal.Notification, again bool) error
	Drop(ctx context.Context, ident string) error
}

// VaultRegion is what a region has of Vault.
type VaultRegion struct {
	store.VaultRegion        // zero but for Region without a Vault
	Hostname          string // of the region
	Configured        bool
	Silent            bool // it said nothing for a while: it may not run
}

// VaultStatus says where the site keeps its secrets, and how that is.
type VaultStatus struct {
	Backend             string    // InDatabase or InVault
	Since               time.Time // of the choice; zero if it was never made
	InVault, InDatabase int       // secrets; those that belong elsewhere are on their way, or wait for Vault
	Regions             []VaultRegion
	Unconfigured        []string // names of regions without a Vault, or with another place
	// Here is how this process sees its Vault; in a command on the host that is as of now.
	Here   vault.KeeperStatus
	Place  string // of this region; empty without
	Secret struct {
		Since   time.Time // of the secret id in use
		Retired int       // that stand in Vault still, though they are not used
		Pending bool      // a rotation was broken off: run it again
	}
}

// VaultStatus tells how secrets and Vault are, without asking Vault. Kinds: Forbidden.
func (s *Service) VaultStatus(ctx context.Context) (st VaultStatus, err error) {
	st.Backend = InDatabase
	err = s.Gate.View(ctx, authz.SecretsView, func(v *gate.Viewing) error {
		backend, since, err := v.SecretBackend()
		if err != nil {
			return err
		}
		if backend != "" {
			st.Backend, st.Since = backend, since
		}
		if st.InVault, st.InDatabase, err = v.CountSecrets(); err != nil {
			return err
		}
		st.Regions, err = regions(v.View, v.Now())
		return err
	})
	if err != nil {
		return st, err
	}
	for _, r := range st.Regions {
		if !r.Configured {
			st.Unconfigured = append(st.Unconfigured, r.Hostname)
		}
	}
	if k := s.Link.Keeper(); k != nil {
		st.Here = k.Status()
	}
	if set, ok := s.Link.Settings(); ok {
		st.Place, st.Secret.Since, st.Secret.Retired, st.Secret.Pending = set.Place(), set.Current.Since, len(set.Retired), !set.Next.SecretID.Empty()
	}
	return st, nil
}

// regions lists all region controllers with what they have of Vault.
func regions(v *store.View, now time.Time) (list []VaultRegion, err error) {
	have, err := v.VaultRegions()
	if err != nil {
		return nil, err
	}
	all, err := v.Controllers()
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.Type != metal.NodeRegionController {
			continue
		}
		r := VaultRegion{VaultRegion: store.VaultRegion{Region: c.SystemID}, Hostname: c.Hostname}
		if i := slices.IndexFunc(have, func(h store.VaultRegion) bool { return h.Region == c.SystemID }); i >= 0 {
			r.VaultRegion, r.Configured, r.Silent = have[i], true, now.Sub(have[i].Seen) > lostAfter
		}
		list = append(list, r)
	}
	return list, nil
}

var errUnconfigured = fault.New(fault.Conflict, "This region has no Vault: run metalward config-vault configure first.")

// Migrate has new secrets go to Vault from now on, and brings there what there is, one by one: each leaves the database only when it
// was read back from Vault. It may be broken off anywhere, and run again. It returns how many it moved. Kinds: Conflict when a region
// has no Vault, or another place of it; Forbidden, Unavailable and Invalid as Vault says.
func (s *Service) Migrate(ctx context.Context, progress func(done, of int)) (int, error) {
	set, ok := s.Link.Settings()
	if !ok {
		return 0, errUnconfigured
	}
	client, err := set.Client(set.Current, s.Now)
	if err != nil {
		return 0, err
	}
	if err := client.Prove(ctx); err != nil {
		return 0, err
	}
	s.reached("proven")
	err = s.choose(ctx, InVault, func(v *store.View) error {
		list, err := regions(v, s.Now())
		if err != nil {
			return err
		}
		for _, r := range list {
			switch {
			case r.Region == s.Region: // configured here, as was just proven
			case !r.Configured:
				return fault.New(fault.Conflict, "Region %s has no Vault yet: run metalward config-vault configure on its host first.", r.Hostname)
			case r.Place != set.Place():
				return fault.New(fault.Conflict, "Region %s keeps secrets at another place (%s) than this one (%s).", r.Hostname, r.Place, set.Place())
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return s.move(ctx, progress)
}

// Rollback has new secrets go to the database again, and brings back what is in Vault. As Migrate; what Vault had leaves it by itself.
func (s *Service) Rollback(ctx context.Context, progress func(done, of int)) (int, error) {
	if _, ok := s.Link.Settings(); !ok {
		return 0, errUnconfigured
	}
	if err := s.choose(ctx, InDatabase, func(*store.View) error { return nil }); err != nil {
		return 0, err
	}
	return s.move(ctx, progress)
}

// choose stores where secrets go from now on.
func (s *Service) choose(ctx context.Context, backend string, check func(*store.View) error) error {
	err := s.Gate.Do(ctx, authz.SecretsEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		c.Note("backend", backend)
		if err := check(&c.Tx().View); err != nil {
			return err
		}
		was, _, err := c.Tx().SecretBackend()
		if err != nil || was == backend {
			return err // begun before, and goes on
		}
		return c.Tx().PutSecretBackend(target, backend, c.Now())
	})
	if err != nil {
		return err
	}
	s.reached("chosen")
	return s.Link.follow(backend == InVault)
}

// move brings every secret to where it belongs. Other regions may not have heard yet and put one where it was: then it goes again.
func (s *Service) move(ctx context.Context, progress func(done, of int)) (int, error) {
	moved, err := s.Reseal(ctx, progress)
	if err != nil {
		return moved, err
	}
	list := []VaultRegion(nil)
	if err := s.Gate.View(ctx, authz.SecretsView, func(v *gate.Viewing) (err error) { list, err = regions(v.View, v.Now()); return err }); err != nil {
		return moved, err
	}
	if !slices.ContainsFunc(list, func(r VaultRegion) bool { return r.Region != s.Region || r.Configured && !r.Silent }) {
		return moved, nil // nobody else runs
	}
	select {
	case <-ctx.Done():
		return moved, ctx.Err()
	case <-time.After(settleTime):
	}
	more, err := s.Reseal(ctx, nil)
	return moved + more, err
}

// Revocable reports whether this region can give up its Vault: nothing of the site is there any more. Kinds: Conflict.
func (s *Service) Revocable(ctx context.Context) error {
	st, err := s.VaultStatus(ctx)
	if err == nil && (st.Backend == InVault || st.InVault > 0) {
		err = fault.New(fault.Conflict, "The site keeps %d secrets in Vault: without it this region cannot run. Bring them back first: metalward config-vault rollback.", st.InVault)
	}
	return err
}

// reached is for tests, which end the process there.
func (s *Service) reached(step string) {
	if s.Reached != nil {
		s.Reached(step)
	}
}

// Follow looks whether settings or the site's choice changed, and writes to the trail which Vault this region has.
func (s *Service) Follow(ctx context.Context) error {
	ctx = authz.AsSystem(ctx, "secrets")
	var stored store.VaultRegion
	found := false
	err := s.Gate.View(ctx, authz.SecretsView, func(v *gate.Viewing) error {
		if err := s.Link.Follow(v.View); err != nil {
			return err
		}
		list, err := v.VaultRegions()
		i := slices.IndexFunc(list, func(r store.VaultRegion) bool { return r.Region == s.Region })
		if found = i >= 0; found {
			stored = list[i]
		}
		return err
	})
	if err != nil {
		return err
	}
	set, ok := s.Link.Settings()
	if ok == found && (!ok || stored.Place == set.Place() && stored.Accessor == set.Current.Accessor) {
		return nil
	}
	return s.Gate.Do(ctx, authz.SecretsEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		c.Note("region", s.Region)
		if !ok {
			c.Note("change", "Vault revoked")
			return c.Tx().DropVaultRegion(target, s.Region)
		}
		c.Note("change", "Vault configured")
		c.Note("place", set.Place())
		c.Note("secret_id_accessor", set.Current.Accessor)
		return c.Tx().PutVaultRegion(target, store.VaultRegion{Region: s.Region, Place: set.Place(), Accessor: set.Current.Accessor, Configured: c.Now(), State: string(vault.KeeperUnknown), Since: c.Now(), Seen: c.Now()})
	})
}

// Check asks this region's Vault how it is, and tells the others and the administrators.
func (s *Service) Check(ctx context.Context) error {
	ctx = authz.AsSystem(ctx, "secrets")
	k := s.Link.Keeper()
	if k == nil {
		return nil
	}
	_ = k.Check(ctx) // the state has the error
	st := k.Status()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err := s.Gate.Observe(ctx, gate.SeenVault, func(tx *store.Tx, now time.Time) error {
		return tx.SeeVault(s.Region, string(st.State), st.Message, st.Since, now)
	})
	if s.Tell == nil {
		return err
	}
	ident := vaultIdent + "_" + s.Region
	if st.State == vault.KeeperOK || st.State == vault.KeeperUnknown {
		return errors.Join(err, s.Tell.Drop(ctx, ident))
	}
	return errors.Join(err, s.Tell.Keep(ctx, metal.Notification{Ident: ident, Admins: true, Category: "error", Message: "Vault is not there for region {region} since {since}: {why} Secrets cannot be changed, and those that are not in memory cannot be used.",
		Context: map[string]string{"region": s.Region, "since": st.Since.UTC().Format("2006-01-02 15:04 MST"), "why": st.Message}}, false))
}

// Warm reads secrets into memory before their copies there are too old, so that an outage finds them.
func (s *Service) Warm(ctx context.Context) error {
	k := s.Link.Keeper()
	if k == nil {
		return nil
	}
	var rows []store.SealedSecret
	err := s.Gate.View(authz.AsSystem(ctx, "secrets"), authz.SecretsView, func(v *gate.Viewing) error {
		rows = nil
		return each(v.View, func(row store.SealedSecret) error {
			if _, ok := vault.ID(row.Sealed); ok {
				rows = append(rows, row)
			}
			return nil
		})
	})
	for _, row := range rows {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fail := k.Warm(ctx, row.Ref, row.Sealed)
		if fault.Is(fail, fault.Unavailable) || fault.Is(fail, fault.Forbidden) {
			return fail // the next would fare no better
		}
		err = errors.Join(err, fail)
	}
	return err
}

// Collect removes from Vault what nothing in the database refers to. Any region may; the others find nothing left then.
func (s *Service) Collect(ctx context.Context) (n int, err error) {
	ctx = authz.AsSystem(ctx, "secrets")
	k := s.Link.Keeper()
	if k == nil {
		return 0, nil
	}
	n, err = k.Collect(ctx, func() (map[string]bool, error) {
		used := map[string]bool{}
		err := s.Gate.View(ctx, authz.SecretsView, func(v *gate.Viewing) error {
			return each(v.View, func(row store.SealedSecret) error {
				if id, ok := vault.ID(row.Sealed); ok {
					used[id] = true
				}
				return nil
			})
		})
		return used, err
	})
	if n > 0 {
		err = errors.Join(err, s.Gate.Do(ctx, authz.SecretsEdit, func(c *gate.Call) error {
			c.Note("collected", strconv.Itoa(n))
			return c.Require(target)
		}))
	}
	return n, err
}

// RunVault follows settings and Vault until the context ends. What it does does not wait for each other: to read ten thousand secrets, or to
// remove as many, takes minutes, in which the region has to hear where secrets go, and the others that it is there.
func (s *Service) RunVault(ctx context.Context) {
	var wg sync.WaitGroup
	for _, task := range []struct {
		what         string
		first, every time.Duration
		do           func(context.Context) error
	}{
		{"settings", 0, followEvery, s.Follow},
		{"health", 0, checkEvery, s.Check},
		{"memory", 0, warmEvery, s.Warm},
		{"orphans", time.Hour, collectEvery, func(ctx context.Context) error { _, err := s.Collect(ctx); return err }}, // not by every process that starts and ends
	} {
		wg.Go(func() {
			for wait := task.first; ; wait = task.every {
				select {
				case <-ctx.Done():
					return
				case <-time.After(wait):
				}
				if err := task.do(ctx); err != nil && ctx.Err() == nil {
					s.Log.WarnContext(ctx, "cannot look after Vault", "what", task.what, "error", err)
				}
			}
		})
	}
	wg.Wait()
}
