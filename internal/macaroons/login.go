package macaroons

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery"
	"gopkg.in/macaroon.v2"

	"github.com/metalward/metalward/internal/fault"
)

// The way of a browser: the site makes the discharge request for it, sends it to the discharger to prove who its user
// is, and gets a token that discharges. The browser runs no script and reaches no other site but by a link.

// Kinds of interaction. Source: Candid v1.12.0, candidclient/redirect; httpbakery.
const (
	kindRedirect = "browser-redirect"
	kindWindow   = "browser-window"
)

// Ways are the addresses by which a person proves to a discharger who he is. Either may be empty.
type Ways struct {
	Login string // the discharger sends the browser back, with a code
	Token string // where the code becomes a token
	Visit string // the browser stays there, meanwhile somebody waits
	Wait  string // where he waits
}

// Proof is a token that discharges a caveat, of whatever login.
type Proof struct {
	Kind  string `json:"kind"`
	Value []byte `json:"value"`
}

// interactor answers when a discharger wants a person: by what it said, or with a proof.
type interactor struct {
	kind  string
	proof *Proof
	ways  *Ways
}

// Kind is part of httpbakery.Interactor.
func (i interactor) Kind() string { return i.kind }

var errAsked = errors.New("the discharger wants a person")

// Interact is part of httpbakery.Interactor.
func (i interactor) Interact(_ context.Context, _ *httpbakery.Client, location string, asked *httpbakery.Error) (*httpbakery.DischargeToken, error) {
	if i.proof != nil {
		return &httpbakery.DischargeToken{Kind: i.proof.Kind, Value: i.proof.Value}, nil
	}
	var redirect struct{ LoginURL, DischargeTokenURL string }
	if asked.InteractionMethod(kindRedirect, &redirect) == nil {
		i.ways.Login, i.ways.Token = absolute(location, redirect.LoginURL), absolute(location, redirect.DischargeTokenURL)
	}
	var window struct{ VisitURL, WaitTokenURL string }
	if asked.InteractionMethod(kindWindow, &window) == nil {
		i.ways.Visit, i.ways.Wait = absolute(location, window.VisitURL), absolute(location, window.WaitTokenURL)
	}
	return nil, &httpbakery.InteractionError{Reason: errAsked}
}

// absolute is an address that a discharger names, which may be relative to its own; empty unless it is an https one, of
// characters that a terminal may be shown.
func absolute(base, ref string) string {
	b, err := url.Parse(base)
	if err != nil || ref == "" || len(ref) > 2048 || strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	u, err := b.Parse(ref)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}

// discharge mints a macaroon and has it discharged.
func (b *Bakery) discharge(ctx context.Context, d Discharger, proof *Proof, ways *Ways) (ms macaroon.Slice, err error) {
	defer guard(&err)
	m, err := b.mint(ctx, d, bakery.LatestVersion)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	c := bakeryClient(b.client)
	for _, kind := range []string{kindRedirect, kindWindow} {
		c.AddInteractor(interactor{kind, proof, ways})
	}
	return c.DischargeAll(ctx, m)
}

// Begin asks a discharger how a person can log in. Kinds: Unavailable, Forbidden.
func (b *Bakery) Begin(ctx context.Context, d Discharger) (w Ways, err error) {
	_, err = b.discharge(ctx, d, nil, &w)
	if w.Login != "" && w.Token != "" || w.Visit != "" && w.Wait != "" {
		return w, nil
	}
	if err != nil {
		return w, explain(err)
	}
	return w, fault.New(fault.Unavailable, "The discharger offers no login with a browser.")
}

// LoginURL is where a browser goes for a login that ends at returnTo, with state and a code.
func (w Ways) LoginURL(returnTo, state string) string {
	u, err := url.Parse(w.Login)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("return_to", returnTo)
	q.Set("state", state)
	u.RawQuery = q.Encode()
	return u.String()
}

// maxCode bounds the code that a browser brings back, in bytes.
const maxCode = 4096

// Redeem trades the code that a browser brought back. Kinds: Forbidden when the discharger does not know it, Unavailable.
func (b *Bakery) Redeem(ctx context.Context, w Ways, code string) (p Proof, err error) {
	if code == "" || len(code) > maxCode {
		return p, fault.New(fault.Forbidden, "There is no code.")
	}
	var out struct {
		Token *Proof `json:"token"`
	}
	c := &Client{bakeryClient(b.client), callTime}
	if err := c.Call(ctx, http.MethodPost, w.Token, map[string]string{"code": code}, &out); err != nil {
		return p, refusal(err, "The discharger does not know this code.")
	}
	if out.Token == nil || len(out.Token.Value) == 0 {
		return p, fault.New(fault.Unavailable, "The discharger answers without a token.")
	}
	return *out.Token, nil
}

// refusal is Forbidden for an answer by which a discharger refuses, and Unavailable for one by which it fails.
func refusal(err error, message string) error {
	switch status, ok := errors.AsType[*StatusError](err); {
	case !ok:
		return err
	case status.Status >= http.StatusInternalServerError:
		return fault.New(fault.Unavailable, "The discharger answers with status %d.", status.Status)
	}
	return fault.New(fault.Forbidden, "%s", message)
}

// ErrPending says that a person has not proved yet who he is.
var ErrPending = fault.New(fault.Conflict, "The login has not ended yet.")

// Wait waits for a person who visits, at most for the given time. Kinds: Conflict (ErrPending), Forbidden when the
// login failed there, Unavailable.
func (b *Bakery) Wait(ctx context.Context, w Ways, most time.Duration) (Proof, error) {
	return wait(ctx, b.client, w, most)
}

func wait(ctx context.Context, base *http.Client, w Ways, most time.Duration) (p Proof, err error) {
	waiting, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var out struct {
		Kind    string `json:"kind"`
		Token   string `json:"token"`
		Token64 string `json:"token64"`
	}
	c := &Client{bakeryClient(base), most}
	err = c.Call(waiting, http.MethodGet, w.Wait, nil, &out)
	switch {
	case waiting.Err() != nil && ctx.Err() == nil:
		return p, ErrPending
	case err != nil:
		return p, refusal(err, "The login at the discharger failed.")
	}
	p = Proof{Kind: out.Kind, Value: []byte(out.Token)}
	if out.Token64 != "" {
		if p.Value, err = macaroon.Base64Decode([]byte(out.Token64)); err != nil {
			return p, fault.New(fault.Unavailable, "The discharger answers without a token.")
		}
	}
	return p, nil
}

// Finish turns a proof into a login: it has a new macaroon discharged, and verifies it. Kinds: Forbidden,
// Unavailable, Unauthenticated.
func (b *Bakery) Finish(ctx context.Context, d Discharger, p Proof) (l Login, err error) {
	ms, err := b.discharge(ctx, d, &p, &Ways{})
	if err != nil {
		return l, explain(err)
	}
	if !wellFormed(ms) {
		return l, fault.New(fault.Unauthenticated, "no macaroon")
	}
	return b.Verify(ctx, d, Shown{ms})
}
