package providers

import (
	"context"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// Report is what a test of a provider found.
type Report struct {
	OK          bool
	Message     string
	Keys        int // of an OpenID provider that we can use
	EndSession  bool
	BackChannel bool
}

// Test asks a provider whether it can be used; one that takes passwords is asked for somebody by name, too, if who is
// not empty. It leaves an event, for the server makes requests to where the caller says. Kinds: NotFound, Forbidden; what
// is wrong with the provider is in the report.
func (s *Service) Test(ctx context.Context, kind metal.ProviderKind, id int64, who string) (r Report, err error) {
	var p metal.Provider
	var hidden secret.Value
	err = s.Gate.Reveal(ctx, authz.ProviderEdit, store.ProviderTarget(id), map[string]string{"change": "tested"}, func(v *gate.Viewing) (err error) {
		if p, err = find(v.View, kind, id); err != nil {
			return err
		}
		hidden, err = s.secretOf(v.View, p)
		return err
	})
	if err != nil {
		return r, err
	}
	s.forget(id)
	switch p.Kind {
	case metal.ProviderOIDC:
		return s.testOIDC(ctx, p), nil
	case metal.ProviderLDAP:
		return s.testLDAP(ctx, p, hidden, who), nil
	case metal.ProviderCandid, metal.ProviderRBAC:
		return s.testMacaroons(ctx, p, hidden, who), nil
	}
	return r, fault.New(fault.Internal, "There is no test for this kind of provider.")
}
