package providers

import (
	"context"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/directory"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/secret"
)

// checkOptions checks what a kind's own package knows better. Kinds: Invalid.
func checkOptions(p metal.Provider) error {
	if p.Kind != metal.ProviderLDAP {
		return nil
	}
	_, err := directory.Parse(p)
	return err
}

// directoryOf is a directory as it is asked. Without authorities of its own those of all outgoing requests are believed.
func (s *Service) directoryOf(p metal.Provider, password secret.Value) (directory.Config, error) {
	d, err := directory.Parse(p)
	d.Password = password
	if d.Roots == nil && s.Roots != nil {
		d.Roots = s.Roots.RootCAs
	}
	return d, err
}

// values are what a provider's mappings call its groups.
func values(p metal.Provider) (list []string) {
	for _, g := range p.Groups {
		list = append(list, g.Value)
	}
	return list
}

// passwordTimeout bounds the questions to all directories about one password.
const passwordTimeout = 20 * time.Second

// CheckPassword asks the enabled directories, in the order of their names, who a name and password are. The first that knows
// the name decides: who is meant must not depend on the password. One that cannot be asked ends the search, too. It is false
// when none knows the name, or the password is wrong. Kinds: Unavailable.
func (s *Service) CheckPassword(ctx context.Context, name string, password secret.Value) (l metal.ExternalLogin, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, passwordTimeout)
	defer cancel()
	ids, err := s.directoryIDs(ctx)
	if err != nil {
		return l, false, err
	}
	refused := false
	for _, id := range ids {
		p, hidden, err := s.usable(ctx, metal.ProviderLDAP, id)
		if fault.Is(err, fault.NotFound) { // disabled a moment ago
			continue
		}
		if err != nil {
			return l, false, err
		}
		d, err := s.directoryOf(p, hidden)
		if err != nil {
			return l, false, err
		}
		who, answer, err := s.directories.Login(ctx, d, name, password, values(p))
		switch {
		case err != nil:
			return l, false, err
		case answer == directory.Right && !refused:
			return external(p, who), true, nil
		case answer == directory.Refused: // the others are asked for nobody: the time does not tell which one knows the name
			refused, name = true, "nobody-"+secret.Random(12).RevealString()
		}
	}
	return l, false, nil
}

// KeepPasswords reports whether a directory is enabled.
func (s *Service) KeepPasswords(ctx context.Context) (bool, error) {
	ids, err := s.directoryIDs(ctx)
	return len(ids) > 0, err
}

// directoryIDs lists the enabled directories by name.
func (s *Service) directoryIDs(ctx context.Context) (ids []int64, err error) {
	err = s.Gate.View(authz.AsSystem(ctx, "login"), authz.ProviderView, func(v *gate.Viewing) error {
		list, err := v.Providers()
		for _, p := range list {
			if p.Enabled && p.Kind == metal.ProviderLDAP {
				ids = append(ids, p.ID)
			}
		}
		return err
	})
	return ids, err
}

// ConfirmPassword asks a directory for the password of somebody whom it brought. Kinds: Unavailable, NotFound when it is not
// in use.
func (s *Service) ConfirmPassword(ctx context.Context, id metal.ExternalIdentity, password secret.Value) (bool, error) {
	p, hidden, err := s.usable(ctx, metal.ProviderLDAP, id.ProviderID)
	if err != nil {
		return false, err
	}
	d, err := s.directoryOf(p, hidden)
	if err != nil {
		return false, err
	}
	return s.directories.Confirm(ctx, d, id.Subject, password)
}

func external(p metal.Provider, who directory.Person) metal.ExternalLogin {
	return metal.ExternalLogin{ProviderID: p.ID, Issuer: p.Issuer, Subject: who.Subject, Name: who.Name, Email: who.Email, Groups: who.Groups}
}

// Recheck asks a provider about somebody whom it brought; false when it does not know him any more. Kinds: Unavailable,
// NotFound when it is not in use.
func (s *Service) Recheck(ctx context.Context, id metal.ExternalIdentity) (l metal.ExternalLogin, ok bool, err error) {
	p, hidden, err := s.usable(ctx, Any, id.ProviderID)
	if err != nil {
		return l, false, err
	}
	switch p.Kind {
	case metal.ProviderLDAP:
		d, err := s.directoryOf(p, hidden)
		if err != nil {
			return l, false, err
		}
		who, ok, err := s.directories.Look(ctx, d, id.Subject, values(p))
		return external(p, who), ok, err
	case metal.ProviderCandid:
		return s.recheckCandid(ctx, p, hidden, id.Subject)
	}
	return l, false, fault.New(fault.Internal, "People of this kind of provider are not asked about.")
}

// testLDAP says what works of a directory, and who somebody is.
func (s *Service) testLDAP(ctx context.Context, p metal.Provider, hidden secret.Value, who string) Report {
	d, err := s.directoryOf(p, hidden)
	if err != nil {
		return Report{Message: fault.Message(err)}
	}
	ok, text := s.directories.Test(ctx, d, who, values(p))
	return Report{OK: ok, Message: text}
}
