package macaroons

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery"

	"github.com/metalward/metalward/internal/fault"
)

// visitTime is how long a person at a terminal has for logging in with a browser.
const visitTime = 10 * time.Minute

// NewVisitor makes a client for a person at a terminal. When a discharger wants him, show tells where to log in with a
// browser, and the client waits for it.
func NewVisitor(base *http.Client, show func(address string)) *Client {
	c := bakeryClient(base)
	c.AddInteractor(visitor{base, show})
	return &Client{c, visitTime}
}

// visitor waits for a person who visits a page.
type visitor struct {
	base *http.Client
	show func(address string)
}

// Kind is part of httpbakery.Interactor.
func (visitor) Kind() string { return kindWindow }

// Interact is part of httpbakery.Interactor.
func (v visitor) Interact(ctx context.Context, _ *httpbakery.Client, location string, asked *httpbakery.Error) (*httpbakery.DischargeToken, error) {
	var w Ways
	_, _ = interactor{ways: &w}.Interact(ctx, nil, location, asked) // says where, as an error
	if w.Visit == "" || w.Wait == "" {
		return nil, &httpbakery.InteractionError{Reason: errAsked}
	}
	v.show(w.Visit)
	for {
		p, err := wait(ctx, v.base, w, time.Minute)
		switch {
		case errors.Is(err, ErrPending):
		case fault.Is(err, fault.Unavailable) && ctx.Err() == nil: // a server between may end what takes long
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		case err != nil:
			return nil, err
		default:
			return &httpbakery.DischargeToken{Kind: p.Kind, Value: p.Value}, nil
		}
		if ctx.Err() != nil {
			return nil, fault.New(fault.Unavailable, "Nobody logged in with a browser within %s.", visitTime)
		}
	}
}
