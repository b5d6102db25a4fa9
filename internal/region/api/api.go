// Package api serves the MAAS API 2.0: it routes by the operations table, decodes forms, binds each row to a
// service, and encodes what comes back as MAAS does.
//
// New binds handlers to rows and fails when a row has no handler, a handler no row, or a row no action: such a
// program does not start. machinetext.go explains how lists of machines are fast.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

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

// Config is what the API is made of.
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
	Version     string
	BaseURL     string // "https://host:port", in the description
	Now         func() time.Time
	Log         *slog.Logger
}

// API serves the operations.
type API struct {
	Config
	root     *node
	handlers map[string]handler
	describe []byte
	slots    slotCache
	stale    chan struct{} // wakes Run
}

type handler func(*request) (any, error)

// request is one call of an operation.
type request struct {
	ctx  context.Context
	op   *maasapi.Operation
	path map[string]string
	form url.Values
	http *http.Request
	w    http.ResponseWriter
}

// node is a segment of the routing tree.
type node struct {
	literal map[string]*node
	param   *node
	ops     []*maasapi.Operation
}

// New binds the table to handlers.
func New(c Config) (*API, error) {
	a := &API{Config: c, root: &node{}, stale: make(chan struct{}, 1)}
	a.handlers = a.bind()
	ids := map[string]bool{}
	for i := range maasapi.Operations {
		o := &maasapi.Operations[i]
		switch {
		case ids[o.ID]:
			return nil, fmt.Errorf("cannot serve the API: %s is in the table twice", o.ID)
		case !authz.Known(o.Action):
			return nil, fmt.Errorf("cannot serve the API: %s declares no known action", o.ID)
		case o.Method != http.MethodGet && !o.Audited && !authz.Mutates(o.Action):
			return nil, fmt.Errorf("cannot serve the API: %s changes something, but its action %s may not", o.ID, o.Action)
		case a.handlers[o.ID] == nil:
			return nil, fmt.Errorf("cannot serve the API: %s has no handler", o.ID)
		}
		ids[o.ID] = true
		a.route(o)
	}
	for id := range a.handlers {
		if !ids[id] {
			return nil, fmt.Errorf("cannot serve the API: handler %s is not in the table", id)
		}
	}
	var err error
	a.describe, err = json.Marshal(maasapi.Describe(c.BaseURL))
	return a, err
}

func (a *API) route(o *maasapi.Operation) {
	n := a.root
	for seg := range strings.SplitSeq(strings.Trim(o.Path, "/"), "/") {
		if strings.HasPrefix(seg, "{") {
			if n.param == nil {
				n.param = &node{}
			}
			n = n.param
			continue
		}
		if n.literal == nil {
			n.literal = map[string]*node{}
		}
		if n.literal[seg] == nil {
			n.literal[seg] = &node{}
		}
		n = n.literal[seg]
	}
	n.ops = append(n.ops, o)
}

// find walks the tree and returns the values of the path's parameters in order. Slashes may be doubled, and
// missing or extra at the end; "/op-NAME" may follow.
func (a *API) find(path string) (n *node, params []string, op string) {
	n = a.root
	for seg := range strings.SplitSeq(path, "/") {
		if seg == "" {
			continue
		}
		if name, ok := strings.CutPrefix(seg, "op-"); ok && len(n.ops) > 0 {
			op = name
			continue
		}
		if next := n.literal[seg]; next != nil {
			n = next
			continue
		}
		if n.param == nil {
			return nil, nil, ""
		}
		n = n.param
		value, err := url.PathUnescape(seg)
		if err != nil || len(value) > 256 {
			return nil, nil, ""
		}
		params = append(params, value)
	}
	if len(n.ops) == 0 {
		return nil, nil, ""
	}
	return n, params, op
}

// ServeHTTP answers everything below maasapi.Root.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Authorization, Cookie")
	path := strings.TrimPrefix(r.URL.EscapedPath(), maasapi.Root)
	if strings.Trim(path, "/") == "describe" {
		w.Header().Set("X-MAAS-API-Hash", maasapi.Hash())
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(a.describe)
		return
	}
	n, params, op := a.find(path)
	if n == nil {
		a.text(w, http.StatusNotFound, "Unknown API endpoint: "+r.URL.Path+".")
		return
	}
	w.Header().Set("X-MAAS-API-Hash", maasapi.Hash())
	if err := a.serve(w, r, n, params, op); err != nil {
		a.fail(w, r, err)
	}
}

// Unruled says what of a call the request rules are not shown: secrets and what the table calls opaque, of the operations that the call may
// be. Logins of clients are no rows; their secrets have the names of the table's.
func (a *API) Unruled(r *http.Request) web.Unruled {
	path, below := strings.CutPrefix(r.URL.EscapedPath(), maasapi.Root)
	n, _, _ := a.find(path)
	if !below || n == nil {
		return web.Unruled{Field: maasapi.OpaqueAnywhere}
	}
	u := web.Unruled{Field: func(name string) bool {
		return name == "op" || strings.HasPrefix(name, "oauth_") || slices.ContainsFunc(n.ops, func(o *maasapi.Operation) bool { return o.Method == r.Method && o.Opaque(name) })
	}}
	for _, o := range n.ops {
		if o.Method == r.Method {
			u.Body = u.Body || o.RawBody
			u.Long = u.Long || slices.ContainsFunc(o.Params, func(p maasapi.Param) bool { return o.Opaque(p.Name) })
		}
	}
	return u
}

// Refuse answers a call that the request rules refuse.
func (a *API) Refuse(w http.ResponseWriter, r *http.Request, err error) { a.fail(w, r, err) }

func (a *API) serve(w http.ResponseWriter, r *http.Request, n *node, params []string, op string) error {
	rawBody := false
	for _, o := range n.ops {
		rawBody = rawBody || o.RawBody && o.Method == r.Method
	}
	form, query := url.Values{}, r.URL.Query()
	if !rawBody {
		var err error
		if form, err = web.ReadForm(w, r); err != nil {
			return err
		}
	}
	if op == "" {
		if op = query.Get("op"); op == "" {
			op = form.Get("op")
		}
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete || rawBody {
		form = query
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var row *maasapi.Operation
	allowed := map[string]bool{}
	for _, o := range n.ops {
		allowed[o.Method] = true
		if o.Method == method && o.Op == op {
			row = o
		}
	}
	if !allowed[method] {
		var list []string
		for m := range allowed {
			list = append(list, m)
		}
		w.Header().Set("Allow", strings.Join(list, ", "))
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	ctx, authErr := a.Auth.Authenticate(r, query, form)
	if byKey := identity.HasCredentials(r); !byKey && (fault.Is(authErr, fault.Unauthenticated) || authErr == nil && authz.From(ctx).Kind == authz.Anonymous) {
		if vouched, err := a.byMacaroon(ctx, r); err != nil || authz.From(vouched).Kind != authz.Anonymous {
			ctx, authErr = vouched, err
		}
	}
	if row == nil {
		if authErr != nil {
			return authErr
		}
		return fault.New(fault.Invalid, "Unrecognised signature: method=%s op=%s", method, orNone(op))
	}
	if !row.Anonymous {
		if authErr != nil {
			a.Gate.Denied(ctx, row.Action, authErr)
			return authErr
		}
		if authz.From(ctx).Kind == authz.Anonymous {
			err := &unauthorized{}
			a.Gate.Denied(ctx, row.Action, fault.New(fault.Unauthenticated, "No credentials."))
			return err
		}
	}
	if !authz.May(authz.From(ctx), row.Action) {
		denied := authz.Deny.Err(authz.Target{})
		a.Gate.Denied(ctx, row.Action, denied)
		return denied
	}
	named := map[string]string{}
	for i, name := range row.PathParams() {
		named[name] = params[i]
	}
	req := &request{ctx: ctx, op: row, path: named, form: clean(form), http: r, w: w}
	if err := req.check(); err != nil {
		return err
	}
	v, err := a.handlers[row.ID](req)
	if err != nil {
		return err
	}
	return a.reply(w, row, v)
}

func orNone(op string) string {
	if op == "" {
		return "None"
	}
	return op
}

// unauthorized is MAAS's answer to a call without credentials.
type unauthorized struct{}

func (*unauthorized) Error() string { return "Forbidden" }

// clean drops what is not a parameter of the operation.
func clean(form url.Values) url.Values {
	out := make(url.Values, len(form))
	for k, v := range form {
		if k != "op" && k != "format" && !strings.HasPrefix(k, "oauth_") {
			out[k] = v
		}
	}
	return out
}

// maxValues bounds what selects machines, all fields together: a statement takes no more than some 30,000 values.
const maxValues = 5000

// selects are the operations whose fields are lists that select machines.
var selects = []string{"machines.allocate", "machines.list", "machines.list_allocated", "events.query"}

// check holds the form against the row: unknown fields, missing ones, too many values.
func (r *request) check() error {
	bad := fault.Fields{}
	if slices.Contains(selects, r.op.ID) {
		n := 0
		for name := range r.form {
			if n += len(r.list(name)); n > maxValues {
				return fault.Field(name, "The fields have more than %d values together.", maxValues)
			}
		}
	}
	constraint := r.op.ID == "machines.allocate" || r.op.ID == "machines.list"
	for name, values := range r.form {
		switch {
		case r.op.Accepts(name):
		case r.http.Method == http.MethodGet && strings.Join(values, "") == "":
			// gomaasclient sends "Type=" with every list of images
		case constraint:
			bad.Add(name, "No such constraint.")
		default:
			bad.Add(name, "No such parameter; this operation takes: %s.", paramNames(r.op))
		}
	}
	for _, p := range r.op.Params {
		if p.Required && r.form.Get(p.Name) == "" {
			bad.Add(p.Name, "This field is required.")
		}
	}
	return bad.Err()
}

func paramNames(o *maasapi.Operation) string {
	if len(o.Params) == 0 {
		return "none"
	}
	var names []string
	for _, p := range o.Params {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// get returns a field, or nil when it was not sent.
func (r *request) get(name string) *string {
	if v, ok := r.form[name]; ok && len(v) > 0 {
		return &v[0]
	}
	return nil
}

// list returns all values of a repeated field; commas and blanks separate too.
func (r *request) list(name string) []string {
	var out []string
	for _, v := range r.form[name] {
		out = append(out, strings.FieldsFunc(v, func(c rune) bool { return c == ',' || c == ' ' })...)
	}
	return out
}

// number reads a whole number; 0 when it was not sent. Kinds: Invalid on the field.
func (r *request) number(name string) (int, error) {
	v := r.form.Get(name)
	if v == "" {
		return 0, nil
	}
	if whole, frac, ok := strings.Cut(v, "."); ok && strings.Trim(frac, "0") == "" {
		v = whole // some clients write 2.0
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 1<<40 {
		return 0, fault.Field(name, "Enter a whole number.")
	}
	return n, nil
}

// id reads a number of the path. Kinds: NotFound.
func (r *request) id(name string, noun authz.Noun) (int64, error) {
	n, err := strconv.ParseInt(r.path[name], 10, 64)
	if err != nil {
		return 0, authz.NotFound(noun)
	}
	return n, nil
}

// text is a plain answer.
type text struct {
	status int
	body   string
}

// streamed writes its own body.
type streamed func(w http.ResponseWriter) error

// blob is an answer that is not JSON.
type blob struct {
	mime string
	data []byte
}

func (a *API) reply(w http.ResponseWriter, o *maasapi.Operation, v any) error {
	status := o.Status
	if status == 0 {
		status = http.StatusOK
	}
	switch v := v.(type) {
	case text:
		a.text(w, v.status, v.body)
		return nil
	case streamed:
		return v(w)
	case blob:
		w.Header().Set("Content-Type", v.mime)
		_, err := w.Write(v.data)
		return err
	case json.RawMessage:
		send(w, status, "application/json; charset=utf-8", v)
		return nil
	}
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return nil
	}
	body, err := marshal(v)
	if err != nil {
		return err
	}
	mime := "application/json; charset=utf-8"
	if o.ID == "maas.get_config" {
		mime = "application/json"
	}
	send(w, status, mime, body)
	return nil
}

// send answers with a body whose length is known: told, it goes out in one piece instead of in chunks.
func send(w http.ResponseWriter, status int, mime string, body []byte) {
	w.Header().Set("Content-Type", mime)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// marshal encodes JSON without escaping <, > and &: this is an API, not a page.
func marshal(v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("cannot encode answer: %w", err)
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}

func (a *API) text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// statuses maps a fault's kind to MAAS's status.
var statuses = map[fault.Kind]int{
	fault.Invalid: http.StatusBadRequest, fault.Unauthenticated: http.StatusUnauthorized, fault.Forbidden: http.StatusForbidden, fault.NotFound: http.StatusNotFound,
	fault.Conflict: http.StatusConflict, fault.Exhausted: http.StatusTooManyRequests, fault.Unavailable: http.StatusServiceUnavailable,
	fault.TooLarge: http.StatusRequestEntityTooLarge, fault.Internal: http.StatusInternalServerError,
}

// fail answers with an error as MAAS does: field errors as a JSON object, all else as text.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	var no *unauthorized
	if errors.As(err, &no) {
		if a.challenge(w, r) {
			return
		}
		w.Header().Set("WWW-Authenticate", `OAuth realm="OAuth"`)
		a.text(w, http.StatusUnauthorized, "Forbidden")
		return
	}
	kind := fault.KindOf(err)
	if kind == fault.Internal {
		if r.Context().Err() != nil {
			return // the client is gone
		}
		a.Log.ErrorContext(r.Context(), "cannot answer request", "method", r.Method, "path", r.URL.Path, "request_id", authz.OriginFrom(r.Context()).RequestID, "error", err)
	}
	f, ok := fault.As(err)
	if ok && f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	if kind == fault.Unauthenticated {
		if !identity.HasCredentials(r) && a.challenge(w, r) { // a session that has ended
			return
		}
		w.Header().Set("WWW-Authenticate", `OAuth realm="OAuth"`)
	}
	if ok && len(f.Fields) > 0 {
		body, _ := marshal(f.Fields) // strings only
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(statuses[kind])
		_, _ = w.Write(body)
		return
	}
	a.text(w, statuses[kind], fault.Message(err))
}
