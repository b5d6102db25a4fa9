package macaroons

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery/checkers"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery/identchecker"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery"
	"gopkg.in/macaroon.v2"

	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/fault"
)

// Life is how long a login's macaroon is good for; as in MAAS.
const Life = 24 * time.Hour

// Limits of what callers show.
const (
	maxShown  = 4  // collections of macaroons in a request
	maxChain  = 10 // macaroons of one: with its discharges
	maxCookie = 16 << 10
)

// How long a discharger's public key is believed, and how long one that did not answer is left alone.
const (
	knownFor  = time.Hour
	failedFor = 10 * time.Second
)

// Keys derives the keys of macaroons; see secret.Keyring.
type Keys interface {
	Derive(purpose string) []byte
	DeriveFresh(purpose string) [][]byte
}

// Bakery mints and verifies the macaroons of logins. Safe for concurrent use.
type Bakery struct {
	keys   Keys
	now    func() time.Time
	client *http.Client
	pair   *bakery.KeyPair

	mu    sync.Mutex
	known map[string]*known // dischargers, by location; guarded by mu
}

// known is what a discharger says of itself.
type known struct {
	mu    sync.Mutex // held while asking, so that one question is asked
	until time.Time
	info  bakery.ThirdPartyInfo
	err   error
}

// New makes a bakery of the instance's keys. Requests to dischargers go out by client.
func New(keys Keys, now func() time.Time, client *http.Client) *Bakery {
	return &Bakery{keys: keys, now: now, client: client, pair: keyOf(keys.Derive("macaroon key pair")).pair(), known: map[string]*known{}}
}

// Discharger is who has to vouch for people, for one provider.
type Discharger struct {
	Location string // its URL
	Domain   string // whose people may log in; empty: everybody's
	// Realm is the provider with its generation: the root keys belong to it, so macaroons of one realm are worth
	// nothing in another.
	Realm string
}

// caveat is what the discharger has to confirm. It has to declare a username, even if it had none to declare: else
// whoever holds a macaroon could add the declaration. Source: bakery/checkers, NeedDeclaredCaveat.
func (d Discharger) caveat() checkers.Caveat {
	c := checkers.Caveat{Location: d.Location, Condition: "is-authenticated-user"}
	if d.Domain != "" {
		c.Condition += " @" + d.Domain
	}
	return checkers.NeedDeclaredCaveat(c, "username")
}

// IdentityFromContext is part of identchecker.IdentityClient: nobody is known without a macaroon.
func (d Discharger) IdentityFromContext(context.Context) (identchecker.Identity, []checkers.Caveat, error) {
	return nil, nil, nil
}

// DeclaredIdentity is part of identchecker.IdentityClient.
func (d Discharger) DeclaredIdentity(_ context.Context, declared map[string]string) (identchecker.Identity, error) {
	name := declared["username"]
	switch {
	case name == "" || len(name) > maxUsername || line(name) != name:
		return nil, fault.New(fault.Unauthenticated, "no username is declared")
	case d.Domain != "" && !strings.HasSuffix(name, "@"+d.Domain):
		return nil, fault.New(fault.Unauthenticated, "a username of another domain is declared")
	}
	return identchecker.SimpleIdentity(name), nil
}

// oven mints and verifies for a discharger.
func (b *Bakery) oven(d Discharger) *bakery.Oven {
	return bakery.NewOven(bakery.OvenParams{Key: b.pair, Locator: b, Location: "metalward",
		RootKeyStoreForOps: func([]bakery.Op) bakery.RootKeyStore { return rootKeys{b, d.Realm} }})
}

// rootKeys derives root keys: one a realm and period.
type rootKeys struct {
	b     *Bakery
	realm string
}

// period numbers the times in which one root key mints: it verifies in the next one, too, and a macaroon's life ends there.
func (k rootKeys) period() int64 { return k.b.now().Unix() / int64(Life/time.Second) }

// keys returns the root keys of a period, one for each key of the instance that is not retired yet, the newest first.
func (k rootKeys) keys(period int64) [][]byte {
	return k.b.keys.DeriveFresh("macaroon root " + strconv.FormatInt(period, 10) + " " + k.realm)
}

// idOf names a root key: its period, and which of the period's it is.
func idOf(period int64, key []byte) []byte {
	sum := sha256.Sum256(append([]byte("macaroon root id "), key...))
	return fmt.Appendf(nil, "%d.%x", period, sum[:8])
}

// RootKey is part of bakery.RootKeyStore.
func (k rootKeys) RootKey(context.Context) (key, id []byte, err error) {
	p := k.period()
	newest := k.keys(p)[0]
	return newest, idOf(p, newest), nil
}

// Get is part of bakery.RootKeyStore.
func (k rootKeys) Get(_ context.Context, id []byte) ([]byte, error) {
	for p := k.period(); p >= k.period()-1; p-- {
		for _, key := range k.keys(p) {
			if bytes.Equal(id, idOf(p, key)) {
				return key, nil
			}
		}
	}
	return nil, bakery.ErrNotFound
}

// ThirdPartyInfo is part of bakery.ThirdPartyLocator: it asks a discharger for its public key, or remembers it.
func (b *Bakery) ThirdPartyInfo(ctx context.Context, location string) (bakery.ThirdPartyInfo, error) {
	b.mu.Lock()
	k := b.known[location]
	if k == nil {
		k = &known{}
		b.known[location] = k
	}
	b.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := b.now(); !now.Before(k.until) {
		// One caller who goes away must not spoil the answer for the others.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), egress.Timeout)
		defer cancel()
		k.until = now.Add(knownFor)
		if k.info, k.err = httpbakery.ThirdPartyInfoForLocation(ctx, b.client, location); k.err != nil {
			k.err, k.until = explain(k.err), now.Add(failedFor)
		}
	}
	return k.info, k.err
}

// Forget drops what dischargers said of themselves.
func (b *Bakery) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.known)
}

// Ask asks a discharger for its public key anew. Kinds: Unavailable, Forbidden.
func (b *Bakery) Ask(ctx context.Context, location string) error {
	b.Forget()
	_, err := b.ThirdPartyInfo(ctx, location)
	return err
}

// mint makes a macaroon that waits for a discharge.
func (b *Bakery) mint(ctx context.Context, d Discharger, v bakery.Version) (*bakery.Macaroon, error) {
	if _, err := b.ThirdPartyInfo(ctx, d.Location); err != nil { // the library would wrap it
		return nil, err
	}
	return b.oven(d).NewMacaroon(ctx, v, []checkers.Caveat{checkers.TimeBeforeCaveat(b.now().Add(Life)), d.caveat()}, identchecker.LoginOp)
}

// Version is the protocol that a request speaks, 1 to 3; 1 for one that does not say.
func Version(r *http.Request) int {
	return int(max(bakery.Version1, httpbakery.RequestVersion(r)))
}

// Challenge is the body of a 401 with which a client of the given protocol version finds out how to log in; its headers
// are in Challenged. Kinds: Unavailable, Forbidden from the discharger.
func (b *Bakery) Challenge(ctx context.Context, d Discharger, version int) ([]byte, error) {
	m, err := b.mint(ctx, d, bakery.Version(version))
	if err != nil {
		return nil, err
	}
	return json.Marshal(httpbakery.Error{Code: httpbakery.ErrDischargeRequired, Message: "macaroon discharge required",
		Info: &httpbakery.ErrorInfo{Macaroon: m, MacaroonPath: "/", CookieNameSuffix: "maas"}})
}

// Challenged sets the headers of a Challenge.
func Challenged(h http.Header) {
	h.Set("WWW-Authenticate", "Macaroon")
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
}

// Shown are macaroons with their discharges, as a request shows them.
type Shown []macaroon.Slice

// ID is the id of the first one; empty when there is none.
func (s Shown) ID() []byte {
	if len(s) == 0 {
		return nil
	}
	return bytes.Clone(s[0][0].Id())
}

// FromHeader reads the Macaroons headers of a request. What is no macaroon is none.
func FromHeader(r *http.Request) Shown { return read(r.Header.Values(httpbakery.MacaroonsHeader)) }

// FromCookies reads a request's cookies whose names begin with "macaroon-".
func FromCookies(r *http.Request) Shown {
	var values []string
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, "macaroon-") {
			values = append(values, c.Value)
		}
	}
	return read(values)
}

func read(values []string) (s Shown) {
	for _, v := range values {
		if len(v) > maxCookie || len(s) == maxShown {
			continue
		}
		data, err := macaroon.Base64Decode([]byte(v))
		if err != nil {
			continue
		}
		var ms macaroon.Slice
		if json.Unmarshal(data, &ms) == nil && wellFormed(ms) {
			s = append(s, ms)
		}
	}
	return s
}

// wellFormed tells macaroons of ours by the form of their ids from what the library must not be given: it panics on
// ids that are too short.
func wellFormed(ms macaroon.Slice) bool {
	if len(ms) == 0 || len(ms) > maxChain {
		return false
	}
	for _, m := range ms {
		if m == nil || len(m.Id()) == 0 {
			return false
		}
	}
	id := ms[0].Id()
	if dec, err := base64.RawURLEncoding.DecodeString(string(id)); id[0] == 'A' && err == nil {
		id = dec
	}
	return len(id) > 1 && id[0] == byte(bakery.Version3)
}

// Login is what a discharged macaroon says.
type Login struct {
	Username string
	ID       []byte    // of the macaroon
	Expires  time.Time // of the macaroon or a discharge, whichever is first
	Made     time.Time
}

// Verify returns whom the first good one of the shown macaroons declares. Kinds: Unauthenticated, with a reason that
// may hold what the caller sent.
func (b *Bakery) Verify(ctx context.Context, d Discharger, shown Shown) (l Login, err error) {
	err = fault.New(fault.Unauthenticated, "no macaroon")
	check := identchecker.NewChecker(identchecker.CheckerParams{Checker: checkers.New(nil), IdentityClient: d, MacaroonVerifier: b.oven(d)})
	for _, ms := range shown {
		info, failed := check.Auth(ms).Allow(checkers.ContextWithClock(ctx, clock{b.now}), identchecker.LoginOp)
		if failed != nil {
			err = fault.New(fault.Unauthenticated, "%s", line(failed.Error()))
			continue
		}
		expires, ok := checkers.MacaroonsExpiryTime(check.Namespace(), ms)
		own, timed := checkers.MacaroonsExpiryTime(check.Namespace(), ms[:1])
		if info.Identity == nil || !ok || !timed {
			continue
		}
		return Login{Username: info.Identity.Id(), ID: bytes.Clone(ms[0].Id()), Expires: expires, Made: own.Add(-Life)}, nil
	}
	return l, err
}

type clock struct{ now func() time.Time }

// Now is part of checkers.Clock.
func (c clock) Now() time.Time { return c.now() }
