package secrets

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
)

// Setup changes which Vault a region has, and as whom it comes there. It works on the settings file alone, so that it can be done
// before the region can open its secrets; a region that runs follows within seconds and writes it to the trail. Each step is written
// down before the next, so that running the same again finishes what was broken off.
type Setup struct {
	Dir string // the state folder
	Now func() time.Time
	// Reached, for tests, is told the name of each step that was reached.
	Reached func(step string)
}

// VaultRequest is what config-vault configure is given.
type VaultRequest struct {
	URL, Namespace string
	CA             []byte // PEM; empty: the host's authorities
	RoleID         string
	Token          secret.Value // wraps a secret id; empty to go on with the one that was unwrapped when it was broken off
	Mount, Path    string
}

func (u Setup) path() string { return filepath.Join(u.Dir, vault.SettingsFile) }

func (u Setup) reached(step string) {
	if u.Reached != nil {
		u.Reached(step)
	}
}

// Configure unwraps a secret id, which can be done once, proves that it has the rights, and only then uses it. Kinds: those of
// vault.Server.Unwrap and vault.Client.Prove; Invalid.
func (u Setup) Configure(ctx context.Context, q VaultRequest) (vault.Settings, error) {
	was, configured, err := vault.LoadSettings(u.path())
	if err != nil {
		return was, err
	}
	next := vault.Settings{URL: q.URL, Namespace: q.Namespace, CA: q.CA, RoleID: q.RoleID, Mount: q.Mount, Path: q.Path}
	if configured {
		next.Retired = was.Retired
		if was.RoleID == q.RoleID {
			next.RoleName = was.RoleName
		}
	}
	same := configured && was.Place() == next.Place() && was.RoleID == q.RoleID
	if configured && !same && !was.Current.SecretID.Empty() {
		return was, fault.New(fault.Conflict, "This region has a Vault already, or another role there. Go back from it first (rollback, revoke), or give it a new secret id of the same role (rotate).")
	}
	if same { // broken off, or a new secret id of the same role
		next.Current, next.Next = was.Current, was.Next
	}
	if same && !q.Token.Empty() && was.Current.Token == q.Token.Hash() {
		return u.finish(ctx, was)
	}
	if err := u.obtain(ctx, &next, q.Token); err != nil {
		return next, err
	}
	return next, u.adopt(ctx, &next)
}

// finish destroys what a change that is done left behind.
func (u Setup) finish(ctx context.Context, s vault.Settings) (vault.Settings, error) {
	client, err := s.Client(s.Current, u.Now)
	if err != nil {
		return s, err
	}
	return s, u.destroy(ctx, client, &s)
}

// obtain gets the next secret id, out of a wrapping token, and writes it down before anything else can happen.
func (u Setup) obtain(ctx context.Context, s *vault.Settings, token secret.Value) error {
	if token.Empty() {
		if s.Next.SecretID.Empty() {
			return fault.Field("wrapped_token", "Give the wrapping token of a secret id: vault write -wrap-ttl=5m -f auth/approle/role/NAME/secret-id")
		}
		return nil
	}
	if s.Next.Token == token.Hash() {
		return nil // unwrapped by the attempt that was broken off
	}
	server, err := s.Server(u.Now)
	if err != nil {
		return err
	}
	// What is wrong with the rest is said before the token is spent.
	probe := vault.Credential{SecretID: secret.FromString("x")}
	if _, err := s.Client(probe, u.Now); err != nil {
		return err
	}
	u.reached("before unwrap")
	id, err := server.Unwrap(ctx, token)
	if err != nil {
		return err
	}
	u.reached("unwrapped")
	return u.next(s, id, token.Hash())
}

// next writes a new secret id down; one that was got before and is not used yet is to be destroyed.
func (u Setup) next(s *vault.Settings, id vault.SecretID, token string) error {
	s.Retire(s.Next)
	s.RoleName = id.Role
	s.Next = vault.Credential{SecretID: id.Value, Accessor: id.Accessor, Since: u.Now().UTC().Truncate(time.Second), Token: token}
	if err := s.Save(u.path()); err != nil {
		return err
	}
	u.reached("written down")
	return nil
}

// adopt proves the next secret id, uses it from then on, and destroys those that it replaces.
func (u Setup) adopt(ctx context.Context, s *vault.Settings) error {
	client, err := s.Client(s.Next, u.Now)
	if err != nil {
		return err
	}
	if err := client.Prove(ctx); err != nil {
		return err
	}
	u.reached("proven")
	s.Retire(s.Current)
	s.Current, s.Next = s.Next, vault.Credential{}
	if err := s.Save(u.path()); err != nil {
		return err
	}
	u.reached("in use")
	return u.destroy(ctx, client, s)
}

// destroy destroys the secret ids that are not used any more. Without the right to they stay in the list, for somebody who has it.
func (u Setup) destroy(ctx context.Context, client *vault.Client, s *vault.Settings) error {
	for _, accessor := range slices.Clone(s.Retired) {
		err := client.DestroySecretID(ctx, s.RoleName, accessor)
		if fault.Is(err, fault.Forbidden) {
			return nil
		}
		if err != nil {
			return err
		}
		u.reached("destroyed")
		s.Retired = slices.DeleteFunc(s.Retired, func(a string) bool { return a == accessor })
		if err := s.Save(u.path()); err != nil {
			return err
		}
	}
	return nil
}

var errNoVault = fault.New(fault.Conflict, "This region has no Vault: run metalward config-vault configure first.")

// Rotate replaces the secret id by a new one: of a wrapping token, or, without one, that the role makes itself, for which its policy
// needs the right. Running it again finishes what was broken off. Kinds: as Configure; Conflict without a Vault.
func (u Setup) Rotate(ctx context.Context, token secret.Value) (vault.Settings, error) {
	s, ok, err := vault.LoadSettings(u.path())
	if err != nil {
		return s, err
	}
	if !ok || s.Current.SecretID.Empty() {
		return s, errNoVault
	}
	if !token.Empty() && s.Current.Token == token.Hash() {
		return u.finish(ctx, s)
	}
	client, err := s.Client(s.Current, u.Now)
	if err != nil {
		return s, err
	}
	switch {
	case !token.Empty():
		err = u.obtain(ctx, &s, token)
	case s.Next.SecretID.Empty() && len(s.Retired) > 0 && s.Current.Since.After(u.Now().Add(-retryDestroy)): // broken off after the new one was in use
		return s, u.destroy(ctx, client, &s)
	case s.Next.SecretID.Empty():
		u.reached("before new")
		var id vault.SecretID
		if id, err = client.NewSecretID(ctx, s.RoleName); fault.Is(err, fault.Forbidden) && !errors.Is(err, vault.ErrLogin) {
			return s, fault.New(fault.Forbidden, "The role may not make a secret id itself. Have one wrapped, and give its token: vault write -wrap-ttl=5m -f auth/approle/role/%s/secret-id", s.RoleName)
		}
		if err == nil {
			u.reached("made")
			err = u.next(&s, id, "")
		}
	}
	if err != nil {
		return s, err
	}
	return s, u.adopt(ctx, &s)
}

// retryDestroy is how long after a rotation another one only finishes it.
const retryDestroy = 10 * time.Minute

// Revoke ends this region's way into Vault: it destroys its secret ids if its policy allows that, ends its token and removes the
// settings. What is to be done in Vault by hand is returned: accessors that it could not destroy. With Vault away only force removes
// the settings, and then all of them are returned.
func (u Setup) Revoke(ctx context.Context, force bool) (left []string, err error) {
	s, ok, err := vault.LoadSettings(u.path())
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errNoVault
	}
	if _, err := os.Stat(filepath.Join(u.Dir, vault.RootFile)); err == nil {
		return nil, fault.New(fault.Conflict, "The root key opens by Vault alone: put it into a file first (metalward secrets root unseal).")
	}
	use := s.Current
	if use.SecretID.Empty() {
		use = s.Next
	}
	client, err := s.Client(use, u.Now)
	if err != nil {
		return nil, err
	}
	all := append(slices.Clone(s.Retired), s.Next.Accessor, s.Current.Accessor) // the one in use last: its token does the rest
	for _, accessor := range slices.Compact(slices.DeleteFunc(all, func(a string) bool { return a == "" })) {
		err := client.DestroySecretID(ctx, s.RoleName, accessor)
		switch {
		case err == nil:
			u.reached("destroyed")
			continue
		case fault.Is(err, fault.Forbidden), force:
			left = append(left, accessor)
		default:
			return nil, err
		}
	}
	if err := client.Logout(ctx); err != nil && !force && !fault.Is(err, fault.Forbidden) {
		return left, err
	}
	u.reached("before removal")
	if err := os.Remove(u.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return left, err
	}
	return left, nil
}
