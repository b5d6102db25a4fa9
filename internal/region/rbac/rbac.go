// Package rbac lets an RBAC service decide what its people may do here. It keeps two promises. The service knows the pools
// that there are (sync.go). And nobody whose rights are the service's acts on an answer of it that is older than
// metal.RightsAge: its answers become grants, marked as its word, so that lists, single decisions and explanations are made
// by the same predicate as everybody's (rights.go).
//
// No request leaves while a transaction is open. What goes wrong takes rights away, and never gives any.
package rbac

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/metal"
	protocol "github.com/metalward/metalward/internal/rbac"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/secret"
)

// Providers keeps the services' addresses and this site's agents at them.
type Providers interface {
	// Usable returns an enabled provider of a kind and its agent's key. Kinds: NotFound.
	Usable(ctx context.Context, kind metal.ProviderKind, id int64) (metal.Provider, secret.Value, error)
}

// Config is what the service is made of. All fields are required.
type Config struct {
	Gate      *gate.Gate
	Region    string // system id of this region controller
	Providers Providers
	// Client speaks to services: it must keep requests away from the site's own inside.
	Client *http.Client
	Now    func() time.Time
	Log    *slog.Logger
}

// maxAsking bounds the questions that are under way at once.
const maxAsking = 32

// Service asks RBAC services and tells them of pools. Safe for concurrent use.
type Service struct {
	Config
	wake  chan struct{}
	slots chan struct{} // one for each question under way

	mu      sync.Mutex
	clients map[int64]agent     // by provider, guarded by mu
	asking  map[int64]*question // by user, guarded by mu
	greeted map[int64]bool      // the services that were told since this region leads, guarded by mu
}

// agent is this site's client of a service.
type agent struct {
	is     string // what it was made of
	client *protocol.Client
}

// New makes the service.
func New(c Config) *Service {
	return &Service{Config: c, wake: make(chan struct{}, 1), slots: make(chan struct{}, maxAsking),
		clients: map[int64]agent{}, asking: map[int64]*question{}, greeted: map[int64]bool{}}
}

// Changed is told which objects calls have changed; what a service has to be told of wakes Run.
func (s *Service) Changed(touched []authz.Target) {
	for _, t := range touched {
		if t.Noun == authz.NounPool || t.Noun == authz.NounProvider {
			select {
			case s.wake <- struct{}{}:
			default:
			}
			return
		}
	}
}

// client returns the client of this site's agent at a service, the same as before as long as the agent is: it keeps its
// login. Kinds: Invalid.
func (s *Service) client(p metal.Provider, key secret.Value) (*protocol.Client, error) {
	login := cmp.Or(p.Options["auth_url"], strings.TrimSuffix(p.Issuer, "/")+"/auth")
	is := p.Issuer + " " + login + " " + p.Options["agent_username"] + " " + key.Hash()
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.clients[p.ID]; ok && a.is == is {
		return a.client, nil
	}
	k, err := macaroons.ParseKey(key)
	if err != nil {
		return nil, err
	}
	base := *s.Client
	base.CheckRedirect = protocol.SameHost
	doer, err := macaroons.NewClient(&base, macaroons.Agent{URL: login, Username: p.Options["agent_username"], Key: k})
	if err != nil {
		return nil, err
	}
	c, err := protocol.NewClient(p.Issuer, doer)
	if err == nil {
		s.clients[p.ID] = agent{is, c}
	}
	return c, err
}

// usable returns an enabled service and its client. Kinds: NotFound, Unavailable.
func (s *Service) usable(ctx context.Context, id int64) (metal.Provider, *protocol.Client, error) {
	p, key, err := s.Providers.Usable(ctx, metal.ProviderRBAC, id)
	if err != nil {
		return p, nil, err
	}
	c, err := s.client(p, key)
	if err != nil {
		err = fault.New(fault.Unavailable, "The RBAC service %s cannot be asked. %s", p.Name, fault.Message(err))
	}
	return p, c, err
}

// Describe says who somebody is whom a service vouches for. It is asked at a login. Kinds: NotFound when the service does
// not know him or gives him no rights, Unavailable.
func (s *Service) Describe(ctx context.Context, p metal.Provider, key secret.Value, username string) (l metal.ExternalLogin, err error) {
	if err := s.told(ctx, p.ID); err != nil {
		return l, err
	}
	c, err := s.client(p, key)
	if err != nil {
		return l, err
	}
	ctx, cancel := context.WithTimeout(ctx, protocol.Timeout)
	defer cancel()
	a, err := ask(ctx, c, username)
	if err != nil {
		return l, err
	}
	if !a.active() {
		return l, fault.New(fault.NotFound, "The RBAC service %s gives %.200s no rights here.", p.Name, username)
	}
	who, err := c.Person(ctx, username)
	if err != nil {
		return l, err
	}
	l = metal.ExternalLogin{ProviderID: p.ID, Issuer: p.Issuer, Subject: username, Name: username}
	if len(metal.ValidateUser("x", who.Email)) == 0 {
		l.Email = who.Email
	}
	return l, nil
}

// answer is what a service says that somebody may do, by permission.
type answer map[authz.RBACPermission]protocol.Set

// ask asks what somebody may do.
func ask(ctx context.Context, c *protocol.Client, username string) (answer, error) {
	a := answer{}
	put := func(kind string, permissions ...authz.RBACPermission) error {
		names := make([]string, len(permissions))
		for i, p := range permissions {
			names[i] = string(p)
		}
		sets, err := c.Allowed(ctx, kind, username, names...)
		for _, p := range permissions {
			a[p] = sets[string(p)]
		}
		return err
	}
	if err := put(protocol.TypeMAAS, authz.RBACAdmin); err != nil {
		return nil, err
	}
	if err := put(protocol.TypePool, authz.RBACPoolPermissions...); err != nil {
		return nil, err
	}
	return a, nil
}

// admin reports whether somebody administers the site. Of the type maas there are no resources: all is what can be said.
func (a answer) admin() bool { return a[authz.RBACAdmin].All }

// active reports whether somebody may be here at all. Source: MAAS: an administrator, or one with at least one pool in the
// permissions on its machines.
func (a answer) active() bool {
	for _, p := range authz.RBACPoolPermissions {
		if p != authz.RBACEdit && !a[p].Empty() {
			return true
		}
	}
	return a.admin()
}

// Registration is what has to be known to make this site known to a service.
type Registration struct {
	Service string // its name there
	Replace bool   // the key of a site that is registered as this already
}

// Register makes a new key known to the service at an address, in the name of somebody who may do that there, and returns
// the fields of the provider that uses it, and the key. Kinds: Invalid, Conflict, Unavailable.
func Register(ctx context.Context, address string, as protocol.Doer, r Registration) (fields map[string]string, key secret.Value, err error) {
	c, err := protocol.NewClient(address, as)
	if err != nil {
		return nil, key, err
	}
	pair := macaroons.NewKey()
	a, err := c.Register(ctx, r.Service, pair.Public(), r.Replace)
	if err != nil {
		return nil, key, fmt.Errorf("cannot register at the RBAC service: %w", err)
	}
	return map[string]string{"rbac_url": strings.TrimSuffix(address, "/"), "agent_username": a.Username, "auth_url": a.AuthURL}, pair.Private(), nil
}
