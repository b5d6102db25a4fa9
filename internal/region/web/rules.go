package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/waf"
)

// maxRuled is how many bytes of a form's body the request rules look at; where an operation has a field that may be long and is not shown to
// them, as much as any form may have: else an attack would hide behind it.
const maxRuled = 64 << 10

// detectTime is how long a request waits for a verdict at most where it is served whatever that is.
const detectTime = 250 * time.Millisecond

// retryUnjudged is when somebody may try again whose request the rules did not come to an end with.
const retryUnjudged = 10 * time.Second

// Unruled says what of a request the rules are not shown.
type Unruled struct {
	Body  bool                   // all of its body: an upload, which is not a form
	Field func(name string) bool // such fields
	Long  bool                   // one of them may be long
}

// Surface is a handler of people or clients that request rules stand before.
type Surface interface {
	http.Handler
	Unruled(r *http.Request) Unruled
	// Refuse answers in the surface's own form.
	Refuse(w http.ResponseWriter, r *http.Request, err error)
}

// RequestRules stands before the handlers of people and clients. It holds no opinion of who asks: that comes later, and whoever may do
// something may do it with an innocent request only.
type RequestRules struct {
	Rules *waf.Rules
	Block bool // refuse; else tell only
	// Security records an event; it bounds those of one source.
	Security func(ctx context.Context, kind string, detail map[string]string)
	// Judged is told of each request that the rules were asked about: clean, suspected, refused or unjudged.
	Judged func(what string)
	Log    *slog.Logger
}

// before puts the rules before a handler; a nil receiver, nothing.
func (g *RequestRules) before(next http.Handler, s Surface) http.Handler {
	if g == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.judge(r, s.Unruled(r)); err != nil {
			s.Refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// judge asks the rules. It returns why a request is refused; never in detect. Kinds: Forbidden, TooLarge, Unavailable.
func (g *RequestRules) judge(r *http.Request, hide Unruled) error {
	ctx := r.Context()
	form, err := ruledForm(r, hide)
	var v waf.Verdict
	if err == nil {
		asking, cancel := ctx, context.CancelFunc(func() {})
		if !g.Block { // nobody is to wait long for an opinion that decides nothing: a crowd of attackers may keep the rules busy
			asking, cancel = context.WithTimeout(ctx, detectTime)
		}
		defer cancel()
		v, err = g.Rules.Check(asking, waf.Request{Method: r.Method, Proto: r.Proto, URL: ruledURL(r.URL, hide), Host: r.Host, Header: r.Header, Form: form})
	}
	o := authz.OriginFrom(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return err // the client is gone
	case err != nil:
		g.Judged("unjudged")
		g.Log.DebugContext(ctx, "the request rules did not judge a request", "request_id", o.RequestID, "path", o.Path, "error", err)
		g.Security(ctx, "request_unjudged", map[string]string{"reason": err.Error()})
		if !g.Block {
			return nil
		}
		if errors.Is(err, waf.ErrTooMuch) {
			return fault.New(fault.TooLarge, "The request holds more text with special characters than this site's request rules look at. Send less of it at a time. Request id: %s.", o.RequestID)
		}
		return &fault.Error{Kind: fault.Unavailable, Message: "This site's request rules did not come to an end with this request. Try again later. Request id: " + o.RequestID + ".", RetryAfter: retryUnjudged}
	case !v.Asked:
		return nil
	case !v.Refuse:
		g.Judged("clean")
		return nil
	}
	ids := make([]string, len(v.Rules))
	for i, id := range v.Rules {
		ids[i] = strconv.Itoa(id)
	}
	detail := map[string]string{"rules": strings.Join(ids, " "), "where": strings.Join(v.Where, ", "), "request": class(r.URL.Path)}
	g.Log.DebugContext(ctx, "request rules matched", "request_id", o.RequestID, "path", o.Path, "rules", detail["rules"], "where", detail["where"], "block", g.Block)
	if !g.Block {
		g.Judged("suspected")
		g.Security(ctx, "request_suspected", detail)
		return nil
	}
	g.Judged("refused")
	g.Security(ctx, "request_refused", detail)
	return fault.New(fault.Forbidden, "This request looks like an attack and was refused. If it is not one, tell an administrator its id: %s.", o.RequestID)
}

// ruledURL is a URL without the fields that the rules are not shown.
func ruledURL(u *url.URL, hide Unruled) *url.URL {
	query := u.Query()
	hidden := false
	for name := range query {
		if hide.Field(name) {
			query.Del(name)
			hidden = true
		}
	}
	if !hidden {
		return u // as it was written
	}
	short := *u
	short.RawQuery = query.Encode()
	return &short
}

// ruledForm reads the fields of a body for the rules and puts the body back. What is no form is one field, as it came. Errors: waf.ErrTooMuch,
// and those of reading.
func ruledForm(r *http.Request, hide Unruled) (url.Values, error) {
	if hide.Body || r.Body == nil || r.Body == http.NoBody || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil, nil
	}
	most := maxRuled
	if hide.Long {
		most = MaxForm
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(most)+1))
	rest := r.Body
	if err != nil {
		rest = io.NopCloser(failing{err}) // its handler finds the body broken off, as it is
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), rest), r.Body}
	if len(body) > most {
		return nil, waf.ErrTooMuch
	}
	form, err := decodeForm(r.Header.Get("Content-Type"), body)
	if err != nil {
		return url.Values{"": {string(body)}}, nil
	}
	for name := range form {
		if hide.Field(name) {
			form.Del(name)
		}
	}
	return form, nil
}

// failing is a reader that has failed.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
