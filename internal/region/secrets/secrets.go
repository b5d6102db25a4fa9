// Package secrets sees to how an instance's secrets are kept: which there are, where, under which key, and that each is sealed as the
// site wants now. What a secret is for is its service's matter.
package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// Service sees to the secrets. Safe for concurrent use.
type Service struct{ Config }

// Config is what a service is made of.
type Config struct {
	Gate *gate.Gate
	Keys *secret.Safe
	// Root wraps the keyset; it is asked each time, because it may be rotated.
	Root func() (secret.Root, error)
	Now  func() time.Time
	Log  *slog.Logger
	// Link is this region's Vault, and Region its id. Tell may be nil in a command that only changes things.
	Link   *Link
	Region string
	Tell   Teller
	// Reached, for tests, is told the name of each step of a move that was reached.
	Reached func(step string)
}

// New makes the service.
func New(c Config) *Service { return &Service{c} }

var target = authz.Target{Noun: authz.NounSite, ID: "site"}

const (
	page       = 500            // rows read at once
	retireWait = 48 * time.Hour // a key that was replaced stays this long: logins that it vouched for live a day, and states minutes
	runEvery   = time.Hour
)

// Where a secret is kept.
const (
	InDatabase = "database" // sealed there by a key of the keyset
	InVault    = "vault"
)

// Kept is a secret, as it may be shown.
type Kept struct {
	Name    string
	Where   string    // InDatabase or InVault
	Key     uint32    // of the keyset, if it is in the database
	Made    time.Time // when there was one of this name first
	Set     time.Time // when its value was set last
	Current bool      // kept as the site wants now
}

// Keys is how the keyset stands.
type Keys struct {
	Newest uint32
	Made   time.Time // the zero time: as old as the instance
	Old    int       // older ones that open still
	Root   string    // names what wraps the keyset
}

// MaxList bounds a page of secrets.
const MaxList = 1000

// Listing is a page of the secrets.
type Listing struct {
	Secrets []Kept
	More    bool // others follow the last
	Keys    Keys
}

// List lists up to limit secrets, of at most MaxList, whose names follow one, without what they are. Kinds: Forbidden.
func (s *Service) List(ctx context.Context, after string, limit int) (l Listing, err error) {
	limit = min(max(1, limit), MaxList)
	looked := false
	err = s.Gate.View(ctx, authz.SecretsView, func(v *gate.Viewing) error {
		l = Listing{}
		all, err := v.Keysets()
		if err != nil {
			return err
		}
		if len(all) > 0 {
			l.Keys.Root = all[len(all)-1].Root
		}
		rows, err := v.Secrets(secret.Ref(after), limit+1)
		if l.More = len(rows) > limit; l.More {
			rows = rows[:limit]
		}
		for _, row := range rows {
			k := Kept{Name: string(row.Ref), Where: InDatabase, Made: row.Created, Set: row.Updated, Current: s.current(row)}
			var remote bool
			if k.Key, remote = secret.Where(row.Sealed); remote {
				k.Where = InVault
			} else if newest, _ := s.Keys.Keyring().Keyset().Newest(); k.Key > newest && !looked {
				looked = true             // a number that no key has, of a damaged row, is shown as it is
				return secret.ErrOutdated // a command on the host, or another region, has rotated the keys
			}
			l.Secrets = append(l.Secrets, k)
		}
		return err
	})
	set := s.Keys.Keyring().Keyset()
	l.Keys.Newest, l.Keys.Made = set.Newest()
	l.Keys.Old = len(set.Keys) - 1
	return l, err
}

// each calls fn with every secret, in the order of their names.
func each(v *store.View, fn func(store.SealedSecret) error) error {
	var after secret.Ref
	for {
		rows, err := v.Secrets(after, page)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := fn(row); err != nil {
				return err
			}
			after = row.Ref
		}
		if len(rows) < page {
			return nil
		}
	}
}

// current reports whether a secret is kept as the site wants. Notes stay in the database: they live as long as an attempt.
func (s *Service) current(row store.SealedSecret) bool {
	if isNote(row.Ref) {
		return s.Keys.Keyring().Current(row.Sealed)
	}
	return s.Keys.Current(row.Sealed)
}

func isNote(ref secret.Ref) bool { return strings.HasPrefix(string(ref), store.NotePrefix) }

// Reseal brings each secret to where the site wants it and under the newest key: it opens it, seals it, opens that again and compares,
// and only then replaces the row, unless somebody set another value meanwhile. It may be broken off anywhere and begun again: what is
// as wanted is not touched. progress, which may be nil, is told how many are done of how many. Errors of single secrets do not keep it from
// the others; the first is returned, with how many were moved. Kinds: Forbidden, Unavailable.
func (s *Service) Reseal(ctx context.Context, progress func(done, of int)) (moved int, err error) {
	var refs []secret.Ref
	if err := s.Gate.View(ctx, authz.SecretsView, func(v *gate.Viewing) error {
		refs = nil
		return each(v.View, func(row store.SealedSecret) error {
			if !s.current(row) {
				refs = append(refs, row.Ref)
			}
			return nil
		})
	}); err != nil {
		return 0, err
	}
	for i, ref := range refs {
		if ctx.Err() != nil {
			return moved, ctx.Err()
		}
		done, fail := s.reseal(ctx, ref)
		if done {
			moved++
		}
		if err == nil {
			err = fail
		}
		if progress != nil {
			progress(i+1, len(refs))
		}
		if fault.Is(fail, fault.Unavailable) || fault.Is(fail, fault.Forbidden) {
			break // the next would fare no better
		}
	}
	return moved, err
}

func (s *Service) reseal(ctx context.Context, ref secret.Ref) (done bool, err error) {
	var was []byte
	if err := s.Gate.View(ctx, authz.SecretsView, func(v *gate.Viewing) (err error) { was, _, err = v.Secret(ref); return err }); err != nil {
		return false, err
	}
	if was == nil || s.current(store.SealedSecret{Ref: ref, Sealed: was}) {
		return false, nil
	}
	value, err := s.Keys.OpenNow(ctx, ref, was)
	if err != nil {
		return false, err
	}
	seal := s.Keys.SealFresh
	if isNote(ref) {
		seal = func(_ context.Context, ref secret.Ref, v secret.Value) ([]byte, error) {
			return s.Keys.SealLocal(ref, v)
		}
	}
	s.reached("opened " + string(ref))
	sealed, err := seal(ctx, ref, value)
	if err != nil {
		return false, err
	}
	s.reached("sealed " + string(ref))
	again, err := s.Keys.OpenFresh(ctx, ref, sealed)
	if err != nil {
		return false, fmt.Errorf("cannot read %s back from where it was written: %w", ref, err)
	}
	if !again.Equal(value) {
		return false, fault.New(fault.Internal, "%s reads back as something else; it stays where it is.", ref)
	}
	s.reached("read back " + string(ref))
	defer s.reached("moved " + string(ref))
	err = s.Gate.Do(ctx, authz.SecretsEdit, func(c *gate.Call) (err error) {
		if err := c.Require(target); err != nil {
			return err
		}
		c.Note("moved", string(ref))
		done, err = c.Tx().ResealSecret(target, ref, was, sealed)
		return err
	})
	return done, err
}

// RotateKeys adds a key to the keyset and seals every secret anew under it. Older keys open still for two days, in which logins that
// they vouched for end; with retire they go at once, and those logins with them. Kinds: Forbidden; Conflict while the root key is rotated.
func (s *Service) RotateKeys(ctx context.Context, retire bool, progress func(done, of int)) (moved int, err error) {
	if err := s.change(ctx, "key added", func(set secret.Keyset) (secret.Keyset, error) { return set.Add(s.Now()) }); err != nil {
		return 0, err
	}
	if moved, err = s.Reseal(ctx, progress); err != nil || !retire {
		return moved, err
	}
	return moved, s.retire(ctx, secret.Keyset.Only)
}

// change replaces the keyset by what fn makes of it. Secrets that the new one could not open keep it from that.
func (s *Service) change(ctx context.Context, what string, fn func(secret.Keyset) (secret.Keyset, error)) error {
	root, err := s.Root()
	if err != nil {
		return err
	}
	// Wrapping may ask a server, so it comes before the transaction, which checks that nobody was faster.
	was, set, err := s.keyset(ctx, root)
	if err != nil {
		return err
	}
	if set, err = fn(set); err != nil {
		return err
	}
	wrapped, err := set.Wrap(ctx, root)
	if err != nil {
		return err
	}
	err = s.Gate.Do(ctx, authz.SecretsEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		all, err := c.Tx().Keysets()
		if err != nil {
			return err
		}
		if len(all) != 1 || !bytes.Equal(all[0].Wrapped, was.Wrapped) {
			return fault.New(fault.Conflict, "The keys are being changed by somebody else; try again.")
		}
		if err := each(&c.Tx().View, func(row store.SealedSecret) error {
			if key, remote := secret.Where(row.Sealed); !remote && key < set.Oldest() {
				return fault.New(fault.Conflict, "%s is sealed with an older key still.", row.Ref)
			}
			return nil
		}); err != nil {
			return err
		}
		id, _ := set.Newest()
		c.Note("change", what)
		c.Note("key", strconv.FormatUint(uint64(id), 10))
		return c.Tx().PutKeyset(target, store.Keyset{Root: root.ID(), Wrapped: wrapped, Oldest: set.Oldest(), Made: was.Made})
	})
	if err == nil {
		s.Keys.Keyring().Replace(set)
	}
	return err
}

var (
	errRotating  = fault.New(fault.Conflict, "The rotation of the root key is not finished; run metalward secrets rotate root again.")
	errOtherRoot = fault.New(fault.Conflict, "The root key was replaced by another region and is not the one that this region has: copy root.key of that one here, or this region does not start any more.")
)

// keyset reads the keyset. Kinds: Conflict while the root key is rotated, or when this region has not got the new one.
func (s *Service) keyset(ctx context.Context, root secret.Root) (row store.Keyset, set secret.Keyset, err error) {
	err = s.Gate.View(ctx, authz.SecretsView, func(v *gate.Viewing) error {
		all, err := v.Keysets()
		switch {
		case err != nil:
			return err
		case !slices.ContainsFunc(all, func(k store.Keyset) bool { return k.Root == root.ID() }):
			return errOtherRoot
		case len(all) != 1:
			return errRotating
		}
		row = all[0]
		return nil
	})
	if err != nil {
		return row, set, err
	}
	set, err = secret.UnwrapKeyset(ctx, root, row.Wrapped)
	return row, set, err
}

// retire drops older keys, if nothing is sealed with them any more.
func (s *Service) retire(ctx context.Context, left func(secret.Keyset) secret.Keyset) error {
	return s.change(ctx, "older keys dropped", func(set secret.Keyset) (secret.Keyset, error) { return left(set), nil })
}

// Run finishes what was broken off: secrets that are not where the site wants them are brought there, and older keys dropped in time.
func (s *Service) Run(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "secrets")
	for {
		if err := s.Tidy(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("cannot bring every secret to where it should be; this is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(runEvery):
		}
	}
}

// Tidy does so once. Kinds: Conflict when this region's root key is not the instance's any more.
func (s *Service) Tidy(ctx context.Context) error {
	root, err := s.Root()
	if err != nil {
		return err
	}
	_, set, err := s.keyset(ctx, root)
	if errors.Is(err, errRotating) {
		return nil
	}
	if err != nil {
		return err
	}
	s.Keys.Keyring().Replace(set) // another region may have added a key
	if _, err := s.Reseal(ctx, nil); err != nil {
		return err
	}
	since := s.Now().Add(-retireWait)
	if len(set.Since(since).Keys) == len(set.Keys) {
		return nil
	}
	return s.retire(ctx, func(set secret.Keyset) secret.Keyset { return set.Since(since) })
}
