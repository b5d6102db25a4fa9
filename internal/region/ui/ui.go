// Package ui serves the pages for people: server-rendered, over the same services as the API.
//
// Every page works without JavaScript; assets/app.js only makes what is there livelier. Nothing is loaded from
// anywhere else and nothing inline runs, so the content security policy allows no exception (headers.go). There
// is no third-party code in the browser: what pages need of a script library is a hundred lines, which have to
// be there anyway when such a library is not, and one look is easier to keep than two.
//
// The routes are one table (routes.go); each row names the action that it needs, and New refuses a row without
// a known one. Who may do what is decided by authz and enforced by the services; a page shows only what its
// reader may do, by asking the same table. Forms post, changes happen in services, and a success is answered
// with a redirect, so reloading never repeats it.
//
// Start with routes.go, then page.go.
package ui

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/region/access"
	"github.com/metalward/metalward/internal/region/alerts"
	"github.com/metalward/metalward/internal/region/blocks"
	"github.com/metalward/metalward/internal/region/certs"
	"github.com/metalward/metalward/internal/region/controllers"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/hostchecks"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/images"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/networks"
	"github.com/metalward/metalward/internal/region/notify"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/region/sources"
	"github.com/metalward/metalward/internal/region/web"
	"github.com/metalward/metalward/internal/telemetry"
)

// Config is what the pages are made of. All fields but Changes are required.
type Config struct {
	Gate     *gate.Gate
	Identity *identity.Service
	Access   *access.Service
	Notify   *notify.Service
	Certs    *certs.Service
	Health   *telemetry.Health
	// Disks tells whether what the region keeps is on encrypted disks.
	Disks       func(context.Context) []host.Disk
	Secrets     *secrets.Service
	Providers   *providers.Service
	Machines    *machines.Service
	Networks    *networks.Service
	Controllers *controllers.Service
	Images      *images.Service
	Hosts       *hostchecks.Service
	Alerts      *alerts.Service
	Blocks      *blocks.Service
	Sources     *sources.Service
	Auth        *web.Auth
	// BaseURL is where racks and people reach the region: "https://host:5443".
	BaseURL string
	// CAFingerprint is the SHA-256 of the region's CA certificate, hex, for people to compare.
	CAFingerprint string
	Version       string
	Log           *slog.Logger
	// Changes subscribes to the objects that calls change; cancel ends the subscription. A slow reader may
	// lose changes. Nil when there is no such source: pages then refresh by the clock alone.
	Changes func() (changes <-chan []authz.Target, cancel func())
}

// UI serves the pages. Safe for concurrent use.
type UI struct {
	Config
	mux     *http.ServeMux
	pages   map[string]*template.Template
	assets  map[string]asset
	csrf    http.CrossOriginProtection
	streams streams
}

// New checks the route table and reads the templates.
func New(c Config) (*UI, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	u := &UI{Config: c, mux: http.NewServeMux(), streams: streams{open: map[string]int{}}}
	var err error
	if u.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if u.pages, err = loadPages(u.assetURL); err != nil {
		return nil, err
	}
	if err := u.bind(routes); err != nil {
		return nil, err
	}
	u.mux.HandleFunc("GET /assets/", u.serveAsset)
	u.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		u.serve(w, r, row{Action: authz.PublicView, handle: func(*request) error { return fault.New(fault.NotFound, "There is no such page.") }})
	})
	return u, nil
}

// bind registers the rows of the table. A row that could be called without a decision is a reason not to start.
func (u *UI) bind(table []row) error {
	for _, row := range table {
		switch {
		case !authz.Known(row.Action):
			return fmt.Errorf("cannot serve the pages: %s %s declares no known action", row.Method, row.Pattern)
		case row.Method != http.MethodGet && !row.reads && !authz.Mutates(row.Action):
			return fmt.Errorf("cannot serve the pages: %s %s changes something, but its action %s may not", row.Method, row.Pattern, row.Action)
		case row.handle == nil:
			return fmt.Errorf("cannot serve the pages: %s %s has no handler", row.Method, row.Pattern)
		}
		u.mux.HandleFunc(row.Method+" "+row.Pattern, func(w http.ResponseWriter, r *http.Request) { u.serve(w, r, row) })
	}
	return nil
}

// unruled are fields of forms that the request rules are not shown, besides those that have the name of such a parameter of the API.
var unruled = map[string]string{
	"mail_password":  "a secret",
	"again":          "a secret: a password, repeated",
	"current":        "a secret: the password so far",
	"code":           "a secret: a code of a second factor, or of a login at a provider",
	"state":          "a secret: it comes back from a provider as it was sent there",
	"passkey":        "a signature with what it signs, in JSON and base64; it is verified",
	"factor_passkey": "likewise, in the middle of a login",
	"groups":         "a line for each group of a provider: distinguished names with = and commas; each is looked up as it is",
}

// Unruled says what of a request the request rules are not shown.
func (u *UI) Unruled(r *http.Request) web.Unruled {
	_, pattern := u.mux.Handler(r)
	q := web.Unruled{Field: func(name string) bool {
		// A page's power parameters have the name of their power type in front.
		if i := strings.Index(name, "power_parameters_"); i > 0 {
			name = name[i:]
		}
		return unruled[name] != "" || maasapi.OpaqueAnywhere(name)
	}}
	for _, row := range routes {
		if row.Method+" "+row.Pattern == pattern {
			q.Body, q.Long = row.raw, row.Action == authz.MachineDeploy
		}
	}
	return q
}

// Refuse answers a request that the request rules refuse.
func (u *UI) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	secure(w.Header())
	(&request{ui: u, w: w, http: r, row: row{Action: authz.PublicView}}).fail(err)
}

// ServeHTTP answers everything outside the API.
func (u *UI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	u.mux.ServeHTTP(w, r)
}

// The largest bodies read. An image's has a limit of its own.
const (
	maxStrangerBody = 64 << 10
	maxFormBody     = 4 << 20 // user data of 1 MiB, every byte escaped
)

// request is one call of a row.
type request struct {
	ui   *UI
	w    http.ResponseWriter
	http *http.Request
	who  authz.Principal
	row  row
	form url.Values // of the body
}

// serve authenticates, asks whether the caller could take the row's action at all, and runs the handler.
func (u *UI) serve(w http.ResponseWriter, r *http.Request, row row) {
	q := &request{ui: u, w: w, http: r, row: row}
	if err := q.run(); err != nil {
		q.fail(err)
	}
}

func (q *request) run() error {
	// Login and the first administrator's page have no session yet to protect them.
	if err := q.ui.csrf.Check(q.http); err != nil {
		return fault.New(fault.Forbidden, "This request comes from another site.")
	}
	ctx, err := q.ui.Auth.Authenticate(q.http)
	public := authz.May(authz.Principal{Kind: authz.Anonymous}, q.row.Action)
	// Where the provider of a session cannot be asked, somebody else can still log in.
	if err != nil && !(public && fault.Is(err, fault.Unavailable)) {
		if !fault.Is(err, fault.Unauthenticated) {
			return err
		}
		web.ClearCookie(q.w) // a session that ended: the login page must not stumble over it
		if !public {
			return err
		}
	}
	q.http, q.who = q.http.WithContext(ctx), authz.From(ctx)
	if !authz.May(q.who, q.row.Action) {
		if q.who.Kind == authz.Anonymous {
			return fault.New(fault.Unauthenticated, "Log in first.")
		}
		denied := authz.Deny.Err(authz.Target{})
		if q.http.Method != http.MethodGet && q.http.Method != http.MethodHead {
			q.ui.Gate.Denied(ctx, q.row.Action, denied) // the services' own refusals are in the trail, too
		}
		return denied
	}
	if err := q.readForm(); err != nil {
		return err
	}
	return q.row.handle(q)
}

// readForm reads a body of fields; a row with a raw body reads it itself.
func (q *request) readForm() error {
	if q.http.Method == http.MethodGet || q.http.Method == http.MethodHead || q.row.raw {
		return nil
	}
	limit := int64(maxFormBody)
	if q.who.Kind == authz.Anonymous {
		limit = maxStrangerBody
	}
	q.http.Body = http.MaxBytesReader(q.w, q.http.Body, limit)
	if err := q.http.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return fault.New(fault.TooLarge, "The form has more than %d bytes.", limit)
		}
		return fault.New(fault.Invalid, "The form cannot be read.")
	}
	q.form = q.http.PostForm
	return nil
}

// get returns a field of the form without blanks around it.
func (q *request) get(name string) string { return strings.TrimSpace(q.form.Get(name)) }

// can reports whether the caller may take an action on a target: what decides which buttons a page shows.
func (q *request) can(a authz.Action, t authz.Target) bool {
	return authz.Decide(q.who, a, t) == authz.Allow
}

// redirect answers a success. The notice is a key of notices: texts from the address bar are never shown.
func (q *request) redirect(path, notice string) error {
	if notice != "" {
		path += "?" + url.Values{"notice": {notice}}.Encode()
	}
	http.Redirect(q.w, q.http, path, http.StatusSeeOther)
	return nil
}

// write sends a finished page.
func (q *request) write(status int, body *bytes.Buffer) error {
	q.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	q.w.WriteHeader(status)
	_, _ = q.w.Write(body.Bytes()) // the reader may be gone
	return nil
}
