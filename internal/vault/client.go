package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

const (
	renewAgain = 10 * time.Second // after a renewal that failed while the token still lives
	mostLife   = time.Hour        // of a token that Vault gives without an end: it is renewed all the same
)

// Role is who the site is in Vault, and where its secrets are.
type Role struct {
	ID       string       // of an AppRole mounted at "approle"
	SecretID secret.Value // from Server.Unwrap
	Mount    string       // of a KV engine of version 2, for example "secret"
	Prefix   string       // of all its secrets, for example "metalward"
}

// Client keeps secrets in Vault as a role. It logs in when it first must, and renews its token at two thirds of its life when it is
// used then: there is nothing to start or stop. Safe for concurrent use; one login or renewal is under way at a time, and all who
// need it wait for that one.
type Client struct {
	s    *Server
	role Role

	mu     sync.Mutex // guards held and flight
	held   lease
	flight *flight
}

// lease is a token and how long it serves.
type lease struct {
	token         secret.Value
	first         time.Duration // its life when it was new
	renewAt, ends time.Time
	renewable     bool
}

// flight is a login or renewal under way; token and err are set before done is closed.
type flight struct {
	done  chan struct{}
	token secret.Value
	err   error
}

// NewClient makes a client; it connects to nothing. Kinds: Invalid on "vault_role_id", "vault_secret_id", "vault_mount",
// "vault_path".
func (s *Server) NewClient(r Role) (*Client, error) {
	bad := fault.Fields{}
	if id := secret.FromString(r.ID); !usable(id) || len(r.ID) > maxText {
		bad.Add("vault_role_id", "Use the role's id: vault read auth/approle/role/NAME/role-id")
	} else if checkPath("test-"+r.ID) != nil {
		bad.Add("vault_role_id", "Use a role id that can be part of a path.")
	}
	if !usable(r.SecretID) {
		bad.Add("vault_secret_id", "Use the secret id that Vault made for the role.")
	}
	if checkPath(r.Mount) != nil {
		bad.Add("vault_mount", "Use the mount of a KV engine of version 2, without slashes around it.")
	}
	if checkPath(r.Prefix) != nil {
		bad.Add("vault_path", "Use a path below the mount, without slashes around it.")
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	return &Client{s: s, role: r}, nil
}

// do sends a request as the role. One that is forbidden because the token died is sent once more with another: Vault's answer is
// the same as when the policy lacks a right, so it is asked which of the two it was.
func (c *Client) do(ctx context.Context, q call, out any) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	token, err := c.token(ctx, secret.Value{})
	if err != nil {
		return err
	}
	q.token = token
	err = c.s.do(ctx, q, out)
	if r, ok := errors.AsType[*Refusal](err); !ok || r.Status != http.StatusForbidden {
		return err
	}
	if alive := c.s.do(ctx, call{method: http.MethodGet, path: "auth/token/lookup-self", token: token, again: true}, nil); !refused(alive) {
		return err
	}
	if q.token, err = c.token(ctx, token); err != nil {
		return err
	}
	return c.s.do(ctx, q, out)
}

// Check logs in if it must, and asks whether the token serves. It needs no right but that of every token's. Kinds: Forbidden.
func (c *Client) Check(ctx context.Context) error {
	return c.do(ctx, call{method: http.MethodGet, path: "auth/token/lookup-self", again: true}, nil)
}

// token returns one that serves, which is not the dead one.
func (c *Client) token(ctx context.Context, dead secret.Value) (secret.Value, error) {
	c.mu.Lock()
	if !dead.Empty() && c.held.token.Equal(dead) {
		c.held = lease{}
	}
	if !c.held.token.Empty() && c.s.now().Before(c.held.renewAt) {
		defer c.mu.Unlock()
		return c.held.token, nil
	}
	f := c.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		c.flight = f
		// Others may wait for it, so it does not end with the one who came first; Timeout ends it.
		go c.refresh(context.WithoutCancel(ctx), f, c.held)
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return secret.Value{}, fmt.Errorf("%w (no login in time)", errReach)
	}
}

func (c *Client) refresh(ctx context.Context, f *flight, old lease) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	next, err := c.next(ctx, old)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held, c.flight = next, nil
	f.token, f.err = next.token, err
	close(f.done)
}

// next renews a lease or logs in. While the old token lives, a failure costs nothing: it goes on, and this is tried again soon.
func (c *Client) next(ctx context.Context, old lease) (lease, error) {
	alive := !old.token.Empty() && c.s.now().Before(old.ends)
	var next lease
	err := error(ErrLogin)
	if alive && old.renewable {
		next, err = c.ask(ctx, call{method: http.MethodPost, path: "auth/token/renew-self", token: old.token, in: map[string]any{}, again: true})
		next.first = old.first
		if err == nil && next.ends.Sub(c.s.now()) < old.first/2 { // its longest life is near, and renewals get shorter and shorter
			err = ErrLogin
		}
	}
	if !alive || !old.renewable || refused(err) || errors.Is(err, ErrLogin) {
		next, err = c.ask(ctx, call{method: http.MethodPost, path: "auth/approle/login", in: map[string]any{"role_id": c.role.ID, "secret_id": c.role.SecretID.RevealString()}})
	}
	switch {
	case err == nil:
		return next, nil
	case alive && c.s.now().Before(old.ends):
		old.renewAt = c.s.now().Add(renewAgain)
		if old.renewAt.After(old.ends) {
			old.renewAt = old.ends
		}
		return old, nil
	case refused(err):
		return lease{}, fmt.Errorf("%w (%w)", ErrLogin, err)
	}
	return lease{}, err
}

// ask asks for a token or a longer life of one. Its time counts from before the question.
func (c *Client) ask(ctx context.Context, q call) (lease, error) {
	asked := c.s.now()
	var got struct {
		Auth struct {
			Token     string `json:"client_token"`
			Life      int64  `json:"lease_duration"` // seconds
			Renewable bool
		}
	}
	if err := c.s.do(ctx, q, &got); err != nil {
		return lease{}, err
	}
	l := lease{token: secret.FromString(got.Auth.Token), first: seconds(got.Auth.Life), renewable: got.Auth.Renewable}
	if !usable(l.token) {
		return lease{}, errRead
	}
	if l.first <= 0 {
		l.first = mostLife
	}
	l.renewAt, l.ends = asked.Add(l.first*2/3), asked.Add(l.first)
	return l, nil
}
