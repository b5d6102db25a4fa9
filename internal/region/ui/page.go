package ui

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"math"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
)

//go:embed templates
var templateFiles embed.FS

// loadPages parses each page with the layout and the shared parts. A page defines "content", and may define
// parts of it that are served alone as fragments.
func loadPages(assetURL func(string) (string, error)) (map[string]*template.Template, error) {
	base := template.New("").Funcs(funcs).Funcs(template.FuncMap{"asset": assetURL})
	base, err := base.ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	pages := map[string]*template.Template{}
	for _, f := range files {
		name := strings.TrimSuffix(path.Base(f), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		t, err := base.Clone()
		if err != nil {
			return nil, err
		}
		if pages[name], err = t.ParseFS(templateFiles, f); err != nil {
			return nil, err
		}
	}
	return pages, nil
}

// page is what templates see.
type page struct {
	Title   string
	Path    string
	Site    string
	Version string
	Who     authz.Principal
	Notice  string
	Problem string // general complaint
	Told    []metal.Notification
	Data    any
	Body    template.HTML // the rendered content, for the layout alone

	fields map[string][]string
	shown  map[string]bool
	form   url.Values
}

// Errs returns the complaints about a field, to be shown beside it.
func (p *page) Errs(name string) []string {
	p.shown[name] = true
	return p.fields[name]
}

// Val returns what was entered in a field when its form comes back, else the default: a page may have other
// forms, whose fields were not sent.
func (p *page) Val(name string, def any) string {
	if p.form.Has(name) {
		return p.form.Get(name)
	}
	switch d := def.(type) {
	case nil:
		return ""
	case string:
		return d
	default:
		return fmt.Sprint(d)
	}
}

// Checked is Val for a check box.
func (p *page) Checked(name string, def bool) bool {
	if p.form != nil {
		return p.form.Has(name)
	}
	return def
}

// Rest returns the complaints about fields that the page does not have, in order of field.
func (p *page) Rest() (list []string) {
	for _, name := range slices.Sorted(maps.Keys(p.fields)) {
		if p.shown[name] {
			continue
		}
		for _, text := range p.fields[name] {
			if name != "__all__" {
				text = name + ": " + text
			}
			list = append(list, text)
		}
	}
	return list
}

// AnyErrs reports whether any field is complained about.
func (p *page) AnyErrs() bool { return len(p.fields) > 0 }

// Can reports whether the reader could take an action on anything.
func (p *page) Can(action string) (bool, error) {
	if !authz.Known(authz.Action(action)) {
		return false, errors.New("no action " + action)
	}
	return authz.May(p.Who, authz.Action(action)), nil
}

// User reports whether somebody is logged in.
func (p *page) User() bool { return p.Who.Kind == authz.User }

// notices are the texts of successes.
var notices = map[string]string{
	"accepted": "Commissioning has started. The machine boots from the network now.", "allocated": "The machine is yours.",
	"deploying": "Deployment has started.", "releasing": "The machine is being released.", "aborted": "Aborted.",
	"power": "The power command is on its way.", "queried": "The BMC was asked for the power state.", "locked": "The machine is locked.",
	"unlocked": "The machine is unlocked.", "deleted": "Deleted.", "saved": "Saved.", "added": "Added.", "removed": "The rack controller was removed. Its certificates are refused from now on.",
	"created": "The machine was added.", "late": "This login took too long, or was finished already. Log in again.", "factor": "The second factor is set up. All other sessions have ended.", "linked": "The identity is linked: you can log in by it.", "unlinked": "The identity is not linked any more. Sessions by it have ended.", "removedfactor": "Removed.", "ended": "Ended.", "chosen": "Your password is set. Log in with it.", "password": "The password was changed. All other sessions have ended.", "uploaded": "The image is complete.",
	"rotating": "The rotation has begun.",
	"checking": "The check begins within seconds, once the controller is there. Load this page again in a moment.",
	"rotated":  "The shared secret was replaced.",
	"manual":   "This machine's power is switched by hand: do it now.",
}

func (q *request) page(title string, data any) *page {
	return &page{Told: q.told(), Title: title, Path: q.http.URL.Path, Site: q.siteName(), Version: q.ui.Version, Who: q.who, Data: data,
		Notice: notices[q.http.URL.Query().Get("notice")], shown: map[string]bool{}}
}

// told is what the reader is told on every page.
func (q *request) told() []metal.Notification {
	if q.who.Kind != authz.User || q.row.fragment {
		return nil
	}
	list, err := q.ui.Notify.Mine(q.http.Context())
	if err != nil {
		q.ui.Log.ErrorContext(q.http.Context(), "cannot read notifications", "error", err)
	}
	return list[max(0, len(list)-maxTold):]
}

// maxTold bounds the notifications on a page; the newest are shown.
const maxTold = 5

// dismiss hides a notification from the reader.
func (q *request) dismiss() error {
	if err := q.ui.Notify.Dismiss(q.http.Context(), q.pathID("id")); err != nil {
		return err
	}
	return q.redirect("/machines", "")
}

// siteName is what the operators call this instance.
func (q *request) siteName() string {
	name := "metalward"
	_ = q.ui.Gate.View(authz.AsSystem(q.http.Context(), "ui"), authz.SettingView, func(v *gate.Viewing) error {
		x, err := v.SettingValue("maas_name")
		if s, ok := x.(string); ok && s != "" {
			name = s
		}
		return err
	})
	return name
}

// show renders a page.
func (q *request) show(name, title string, data any) error {
	return q.render(http.StatusOK, name, q.page(title, data))
}

// render runs the content first: only then is it known which complaints have no field to stand beside.
func (q *request) render(status int, name string, p *page) error {
	t := q.ui.pages[name]
	if t == nil {
		return errors.New("cannot render: no page " + name)
	}
	var body, whole bytes.Buffer
	if err := t.ExecuteTemplate(&body, "content", p); err != nil {
		return fmt.Errorf("cannot render %s: %w", name, err)
	}
	p.Body = template.HTML(body.String()) // #nosec G203 -- our own template's output, escaped there
	if err := t.ExecuteTemplate(&whole, "layout", p); err != nil {
		return fmt.Errorf("cannot render %s: %w", name, err)
	}
	return q.write(status, &whole)
}

// fragment renders a part of a page alone.
func (q *request) fragment(name, part string, data any) error {
	var body bytes.Buffer
	if err := q.ui.pages[name].ExecuteTemplate(&body, part, q.page("", data)); err != nil {
		return fmt.Errorf("cannot render %s of %s: %w", part, name, err)
	}
	return q.write(http.StatusOK, &body)
}

// again shows a form once more, with what was entered and what is wrong with it. Errors that are not about the
// request or the state of things get a page of their own.
func (q *request) again(err error, name, title string, data any) error {
	f, ok := fault.As(err)
	if !ok {
		return err
	}
	switch f.Kind {
	case fault.Invalid, fault.Conflict, fault.Exhausted, fault.Unavailable, fault.TooLarge:
	case fault.Unauthenticated:
		if q.who.Kind != authz.Anonymous {
			return err
		}
	default:
		return err
	}
	p := q.page(title, data)
	p.Notice, p.Problem, p.fields, p.form = "", f.Message, f.Fields, q.form
	if p.form == nil {
		p.form = url.Values{}
	}
	if f.RetryAfter > 0 {
		seconds := strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds())))
		q.w.Header().Set("Retry-After", seconds)
		p.Problem += " Wait " + seconds + " s."
	}
	return q.render(status(f.Kind), name, p)
}

// status maps kinds to HTTP, as the API does.
func status(k fault.Kind) int {
	return map[fault.Kind]int{fault.Invalid: http.StatusBadRequest, fault.Unauthenticated: http.StatusUnauthorized, fault.Forbidden: http.StatusForbidden,
		fault.NotFound: http.StatusNotFound, fault.Conflict: http.StatusConflict, fault.Exhausted: http.StatusTooManyRequests,
		fault.Unavailable: http.StatusServiceUnavailable, fault.TooLarge: http.StatusRequestEntityTooLarge, fault.Internal: http.StatusInternalServerError}[k]
}

// fail answers an error that no form can show.
func (q *request) fail(err error) {
	kind, id := fault.KindOf(err), authz.OriginFrom(q.http.Context()).RequestID
	if kind == fault.Internal {
		q.ui.Log.ErrorContext(q.http.Context(), "cannot serve page", "method", q.http.Method, "pattern", q.row.Pattern, "request_id", id, "error", err)
	}
	if q.wantsJSON() {
		q.failJSON(err)
		return
	}
	if kind == fault.Unauthenticated && q.row.fragment {
		// A live page asks in the background: it must not swallow the login page.
		http.Error(q.w, "Log in again.", http.StatusUnauthorized)
		return
	}
	if kind == fault.Unauthenticated {
		target := "/login"
		if q.http.Method == http.MethodGet && q.http.URL.Path != "/" {
			target += "?" + url.Values{"next": {q.http.URL.RequestURI()}}.Encode()
		}
		http.Redirect(q.w, q.http, target, http.StatusSeeOther)
		return
	}
	titles := map[fault.Kind]string{fault.Forbidden: "Not allowed", fault.NotFound: "Not found", fault.Internal: "Internal error",
		fault.Unavailable: "Not available", fault.Conflict: "Not possible now"}
	title := titles[kind]
	if title == "" {
		title = "Request refused"
	}
	data := struct{ Text, RequestID string }{fault.Message(err), ""}
	if kind == fault.Internal {
		data.Text, data.RequestID = "Something went wrong inside. The controller's log has the details under this request id:", id
	}
	p := q.page(title, data)
	p.Notice = ""
	if err := q.render(status(kind), "error", p); err != nil {
		q.ui.Log.ErrorContext(q.http.Context(), "cannot render error page", "error", err)
		http.Error(q.w, title, status(kind))
	}
}
