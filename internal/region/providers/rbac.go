package providers

import (
	"context"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// Usable returns an enabled provider of a kind and its secret, for the package that speaks to its kind. Kinds: NotFound.
func (s *Service) Usable(ctx context.Context, kind metal.ProviderKind, id int64) (metal.Provider, secret.Value, error) {
	return s.usable(ctx, kind, id)
}

// RBACState is how an RBAC service is told of pools.
type RBACState struct {
	store.RBACSync
	Waiting int // changes that it has not been told, at most maxWaiting
}

// maxWaiting bounds the changes that are counted.
const maxWaiting = 1000

// rbacState returns how a provider is told of pools; nil for one of another kind.
func rbacState(v *store.View, p metal.Provider) (*RBACState, error) {
	if p.Kind != metal.ProviderRBAC {
		return nil, nil
	}
	st, err := v.RBACSync(p.ID)
	if err != nil {
		return nil, err
	}
	list, err := v.RBACChanges(p.ID, maxWaiting)
	return &RBACState{st, len(list)}, err
}
