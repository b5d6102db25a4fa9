package providers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/throttle"
	"github.com/metalward/metalward/internal/secret"
)

// Logins of the command line: somebody reads a code there and enters it at the provider, in whatever browser. The region
// stands in between, for it alone has the client's secret. What the provider gave it for the asking goes to the command line
// sealed: nothing is stored, and nobody else can ask for the outcome. Source: RFC 8628.

// Limits of device logins.
const (
	deviceLife      = 15 * time.Minute // at most, whatever the provider says
	deviceInterval  = 5 * time.Second  // between two questions, unless the provider says more. Source: RFC 8628 section 3.2
	maxInterval     = time.Minute
	maxDevicePolls  = 10_000 // device logins whose last question is remembered
	maxDeviceHandle = 8192   // bytes
)

// DeviceBegins is how many device logins are begun: each asks the provider something.
var DeviceBegins = throttle.Policy{
	Subject: throttle.Limits{Free: 10, First: 10 * time.Second, Most: 5 * time.Minute, Forgive: time.Minute, Keys: 10_000},
	Address: throttle.Limits{Free: 10, First: 10 * time.Second, Most: 5 * time.Minute, Forgive: time.Minute, Keys: 10_000},
	Block:   throttle.Limits{Free: 100, First: 10 * time.Second, Most: 5 * time.Minute, Forgive: time.Minute, Keys: 10_000},
}

// Device is a device login under way, as the command line is told.
type Device struct {
	Handle   secret.Value // to ask for the outcome with
	Provider string
	UserCode string
	URL      string // to open in a browser
	FullURL  string // the same with the code in it; may be empty
	Life     time.Duration
	Interval time.Duration
}

// deviceFlow is what the handle holds, sealed.
type deviceFlow struct {
	Provider int64
	Code     string // the provider's device code
	Secret   string
	Ends     time.Time
	Interval time.Duration
}

const deviceRef secret.Ref = "device login by an identity provider"

// polls remembers when the outcome of each device login may be asked for again.
type polls struct {
	mu   sync.Mutex
	next map[string]poll // by the hash of the flow's secret; guarded by mu
}

type poll struct {
	at       time.Time
	interval time.Duration
}

// early reports whether a question comes too soon, which makes the next wait longer as at the provider.
func (p *polls) early(key string, first time.Duration, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	x, ok := p.next[key]
	if !ok {
		x.interval = first
	}
	early := ok && now.Before(x.at)
	if early {
		x.interval = min(x.interval+deviceInterval, maxInterval)
	}
	if len(p.next) >= maxDevicePolls {
		clear(p.next)
	}
	x.at = now.Add(x.interval)
	p.next[key] = x
	return early
}

// slower makes the next wait longer, as the provider asks.
func (p *polls) slower(key string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.next[key]
	x.interval = min(x.interval+deviceInterval, maxInterval)
	x.at = now.Add(x.interval)
	p.next[key] = x
}

// Pending is why a device login has no outcome yet, or none that is good. Source of the codes: RFC 8628 section 3.5.
type Pending struct {
	Code string // authorization_pending, slow_down
}

func (p *Pending) Error() string { return p.Code }

var errNoDevice = fault.New(fault.NotFound, "No identity provider here lets the command line log in. An administrator can allow it: device_login of an OpenID Connect provider that offers it.")

// deviceProvider finds the provider by name, or the only one that lets the command line log in. Kinds: NotFound, Invalid.
func (s *Service) deviceProvider(ctx context.Context, name string) (id int64, err error) {
	var names []string
	err = s.Gate.View(authz.AsSystem(ctx, "login"), authz.ProviderView, func(v *gate.Viewing) error {
		list, err := v.Providers()
		for _, p := range list {
			if p.Enabled && p.Kind == metal.ProviderOIDC && p.Options["device_login"] == "Yes" && (name == "" || p.Name == name) {
				id, names = p.ID, append(names, p.Name)
			}
		}
		return err
	})
	switch {
	case err != nil:
		return 0, err
	case len(names) == 0:
		return 0, errNoDevice
	case len(names) > 1:
		return 0, fault.Field("provider", "Name one of %s.", strings.Join(names, ", "))
	}
	return id, nil
}

// BeginDevice starts a login of the command line at a provider; an empty name means the only one. Kinds: NotFound, Invalid,
// Unavailable; Exhausted with RetryAfter.
func (s *Service) BeginDevice(ctx context.Context, name string) (d Device, err error) {
	source, now := authz.OriginFrom(ctx).Source, s.Now()
	if wait := s.begins.Wait("device", source, now); wait > 0 {
		return d, &fault.Error{Kind: fault.Exhausted, Message: "Too many logins were begun from here; wait a moment and try again.", RetryAfter: wait}
	}
	s.begins.Fail("device", source, now)
	id, err := s.deviceProvider(ctx, name)
	if err != nil {
		return d, err
	}
	p, client, err := s.usable(ctx, metal.ProviderOIDC, id)
	if err != nil {
		return d, err
	}
	m, _, err := s.discover(ctx, p)
	if err == nil && m.Device == "" {
		err = fault.New(fault.Unavailable, "The identity provider %s offers no login by a code.", p.Name)
	}
	if err != nil {
		return d, s.refuse(ctx, p, "device login: discovery", err)
	}
	var a struct {
		Code     string `json:"device_code"`
		UserCode string `json:"user_code"`
		URL      string `json:"verification_uri"`
		FullURL  string `json:"verification_uri_complete"`
		Expires  int64  `json:"expires_in"`
		Interval int64  `json:"interval"`
		Error    string `json:"error"`
	}
	if err := s.post(ctx, p, m, client, m.Device, url.Values{"scope": {p.Options["scopes"]}}, &a); err != nil {
		return d, s.refuse(ctx, p, "device login: no answer", err)
	}
	web := func(text string) bool {
		u, err := url.Parse(text)
		return err == nil && u.Scheme == "https" && u.Host != "" && len(text) <= 1024 && metal.Printable(text, 1024) == text
	}
	if a.Code == "" || len(a.Code) > 2048 || a.UserCode == "" || metal.Printable(a.UserCode, 64) != a.UserCode || !web(a.URL) || a.FullURL != "" && !web(a.FullURL) || a.Expires <= 0 {
		return d, s.refuse(ctx, p, "device login: "+metal.Printable("the provider says "+a.Error, 100), fault.New(fault.Unavailable, "The identity provider %s does not let this site's client log in by a code.", p.Name))
	}
	f := deviceFlow{Provider: p.ID, Code: a.Code, Secret: secret.Random(32).RevealString(), Interval: max(deviceInterval, min(maxInterval, time.Duration(a.Interval)*time.Second)),
		Ends: now.Add(min(deviceLife, time.Duration(min(a.Expires, 1<<20))*time.Second))}
	data, err := json.Marshal(f)
	if err != nil {
		return d, err
	}
	sealed, err := s.Keys.SealLocal(deviceRef, secret.NewValue(data))
	return Device{Handle: secret.FromString(base64.RawURLEncoding.EncodeToString(sealed)), Provider: p.Name, UserCode: a.UserCode, URL: a.URL, FullURL: a.FullURL,
		Life: f.Ends.Sub(now), Interval: f.Interval}, err
}

// PollDevice asks for the outcome of a device login. Kinds: *Pending when there is none yet; Unauthenticated when it is none
// that is good, or has been asked for; Unavailable; Exhausted with RetryAfter.
func (s *Service) PollDevice(ctx context.Context, handle secret.Value) (l metal.ExternalLogin, err error) {
	source, now := authz.OriginFrom(ctx).Source, s.Now()
	if wait := s.wrong.Wait("device", source, now); wait > 0 {
		return l, &fault.Error{Kind: fault.Exhausted, Message: errTooMany, RetryAfter: wait}
	}
	f, err := s.openDevice(handle)
	if err != nil {
		s.wrong.Fail("device", source, now)
		return l, s.refuse(ctx, metal.Provider{}, "device login: no login under way", errFlow)
	}
	key := secret.FromString("device " + f.Secret).Hash()
	p, client, err := s.usable(ctx, metal.ProviderOIDC, f.Provider)
	if err != nil {
		return l, err
	}
	if now.After(f.Ends) || p.Options["device_login"] != "Yes" {
		return l, s.refuse(ctx, p, "device login: late", errFlow)
	}
	if spent, err := s.spent(ctx, key); err != nil || spent {
		return l, errors2(err, s.refuse(ctx, p, "device login: replayed", errFlow))
	}
	if s.polls.early(key, f.Interval, now) {
		return l, &Pending{"slow_down"}
	}
	m, provider, err := s.discover(ctx, p)
	if err != nil {
		return l, err
	}
	var t tokens
	if err := s.post(ctx, p, m, client, m.Token, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {f.Code}}, &t); err != nil {
		return l, err
	}
	switch t.Error {
	case "":
	case "authorization_pending":
		return l, &Pending{t.Error}
	case "slow_down":
		s.polls.slower(key, now)
		return l, &Pending{t.Error}
	default:
		return l, s.refuse(ctx, p, "device login: the provider says "+metal.Printable(t.Error, 64), errCode)
	}
	l, reason, err := s.verify(ctx, p, m, provider, t, func(*oidc.IDToken) bool { return true }) // there is no nonce in this flow
	if err != nil {
		return l, s.refuse(ctx, p, "device login: "+reason, err)
	}
	l.State, l.StateEnds = key, f.Ends
	return l, nil
}

func (s *Service) openDevice(handle secret.Value) (f deviceFlow, err error) {
	if len(handle.Reveal()) > maxDeviceHandle {
		return f, errFlow
	}
	sealed, err := base64.RawURLEncoding.DecodeString(handle.RevealString())
	if err != nil {
		return f, err
	}
	data, err := s.Keys.Open(deviceRef, sealed)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(data.Reveal(), &f)
}

// post sends a form as the client, and reads the answer whether it is a yes or a no. Source: RFC 6749 sections 2.3.1 and 5.
// Kinds: Unavailable.
func (s *Service) post(ctx context.Context, p metal.Provider, m metadata, client secret.Value, address string, form url.Values, into any) error {
	unusable := func(text string) error {
		return fault.New(fault.Unavailable, "The identity provider cannot be used. %s", text)
	}
	id, basic := p.Options["client_id"], len(m.AuthMethods) == 0 || slices.Contains(m.AuthMethods, "client_secret_basic")
	form.Set("client_id", id)
	if !basic {
		form.Set("client_secret", client.RevealString())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return unusable("One of its addresses cannot be used.")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basic {
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(client.RevealString()))
	}
	resp, err := s.still().Do(req)
	if err != nil {
		return unusable(egress.Message(err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusUnauthorized {
		return unusable("It answers with status " + resp.Status[:min(3, len(resp.Status))] + ".")
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return unusable("What it answers is not the document that was asked for.")
	}
	return nil
}

// still is the client for requests that carry a secret: it does not follow redirects.
func (s *Service) still() *http.Client {
	c := *s.Client
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}
