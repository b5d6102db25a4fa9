package rbac

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/metalward/metalward/internal/fault"
)

// The resource types: pools are pushed, maas stands for the whole and is asked about only.
const (
	TypePool = "resource-pool"
	TypeMAAS = "maas"
)

// Resource is one that the service is told of.
type Resource struct {
	ID   string `json:"identifier"`
	Name string `json:"name"`
}

// Resources lists what the service knows of a type.
func (c *Client) Resources(ctx context.Context, kind string) (list []Resource, err error) {
	if err := c.call(ctx, PushTimeout, http.MethodGet, "/api/service/v1/resources/"+kind, nil, nil, &list); err != nil {
		return nil, fmt.Errorf("cannot list resources: %w", err)
	}
	if list == nil || len(list) > maxEntries || slices.ContainsFunc(list, func(r Resource) bool { return !named(r.ID, maxID) }) {
		return nil, fmt.Errorf("cannot list resources: %w", errRead)
	}
	return list, nil
}

// Change is what to tell the service.
type Change struct {
	// Since is the sync id that the service gave for the state that this is the difference to. Empty: this is all there is,
	// and what the service knows besides is gone.
	Since    string
	Updates  []Resource
	Removals []string
}

// Push tells the service of resources and returns what it calls their state now. Kinds: Conflict (ErrStale) when Since is
// not what the service has.
func (c *Client) Push(ctx context.Context, kind string, ch Change) (syncID string, err error) {
	in := struct {
		Since    *string    `json:"last-sync-id"`
		Updates  []Resource `json:"updates"`
		Removals []string   `json:"removals"`
	}{nil, append([]Resource{}, ch.Updates...), append([]string{}, ch.Removals...)}
	if ch.Since != "" {
		in.Since = &ch.Since
	}
	var out struct {
		SyncID string `json:"sync-id"`
	}
	if err := c.call(ctx, PushTimeout, http.MethodPost, "/api/service/v1/resources/"+kind, nil, in, &out); status(err, http.StatusConflict) {
		return "", fmt.Errorf("cannot push resources: %w (%w)", ErrStale, err)
	} else if err != nil {
		return "", fmt.Errorf("cannot push resources: %w", err)
	}
	if !named(out.SyncID, maxName) {
		return "", fmt.Errorf("cannot push resources: %w (no sync id)", errRead)
	}
	return out.SyncID, nil
}

// Set is some resources, or all of a type.
type Set struct {
	All bool
	IDs []string
}

// Empty reports whether there is none.
func (s Set) Empty() bool { return !s.All && len(s.IDs) == 0 }

// Allowed asks on which resources of a type a person has each of some permissions. Every permission is answered.
func (c *Client) Allowed(ctx context.Context, kind, user string, permissions ...string) (map[string]Set, error) {
	var out map[string][]string
	q := url.Values{"u": {user}, "p": permissions}
	if err := c.call(ctx, Timeout, http.MethodGet, "/api/service/v1/resources/"+kind+"/allowed-for-user", q, nil, &out); err != nil {
		return nil, fmt.Errorf("cannot ask for rights: %w", err)
	}
	sets := map[string]Set{}
	for _, p := range permissions {
		ids, ok := out[p]
		if !ok || ids == nil || len(ids) > maxEntries {
			return nil, fmt.Errorf("cannot ask for rights: %w (permission %s)", errRead, p)
		}
		if len(ids) == 1 && ids[0] == "" { // all of them
			sets[p] = Set{All: true}
			continue
		}
		if slices.ContainsFunc(ids, func(id string) bool { return !named(id, maxID) }) {
			return nil, fmt.Errorf("cannot ask for rights: %w (an identifier of permission %s)", errRead, p)
		}
		sets[p] = Set{IDs: ids}
	}
	return sets, nil
}

// Person is somebody whom the service knows.
type Person struct {
	Username string `json:"username"`
	Name     string `json:"name"`
	Email    string `json:"email"`
}

// Person asks who somebody is. Kinds: NotFound.
func (c *Client) Person(ctx context.Context, username string) (p Person, err error) {
	if !named(username, maxName) || username == "." || username == ".." {
		return p, fault.New(fault.NotFound, "The RBAC service knows nobody of this name.")
	}
	err = c.call(ctx, Timeout, http.MethodGet, "/api/service/v1/user/"+url.PathEscape(username), nil, nil, &p)
	if status(err, http.StatusNotFound) {
		return Person{}, fmt.Errorf("%w (%w)", fault.New(fault.NotFound, "The RBAC service knows nobody of this name."), err)
	}
	if err != nil {
		return Person{}, fmt.Errorf("cannot ask for a person: %w", err)
	}
	if p.Username != username {
		return Person{}, fmt.Errorf("cannot ask for a person: %w (it is about another)", errRead)
	}
	return p, nil
}
