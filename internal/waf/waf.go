// Package waf holds requests against the OWASP Core Rule Set, by Coraza. It knows nothing of sessions, operations or answers: region/web asks
// it before a handler sees a request, and decides what a verdict means.
//
// Most requests never reach the rules: one whose parts are all harmless (harmless.go) matches none of them. What the rules say of the others
// costs about a millisecond, is bounded in size, number and time, and happens in a goroutine of its own, which panics for itself alone.
// Credentials are never shown to the rules, and a verdict has no word of the request. Start with Check.
package waf

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
)

// Limits of what the rules are asked. Their cost grows with bytes times rules: an attacker must not set our speed.
const (
	maxValues = 100             // values of a request that are not harmless
	maxText   = 8 << 10         // bytes of all of them: 50 ms of a processor
	deadline  = 2 * time.Second // for a verdict
)

// Why there is no verdict. In detect a request without one is served.
var (
	ErrTooMuch = errors.New("the request holds more that is not harmless than the rules are asked about")
	ErrTime    = errors.New("the rules did not come to an end in time")
	ErrBroken  = errors.New("the rules broke")
)

// Request is what is looked at. The body comes as fields, decoded as its handler will decode them: two readers of one body would let attacks
// pass between them.
type Request struct {
	Method, Proto string   // "POST", "HTTP/2.0"
	URL           *url.URL // path and query
	Host          string   // as the client gave it
	Header        http.Header
	Form          url.Values
}

// Verdict is what the rules say.
type Verdict struct {
	Refuse bool     // the score is what rules of paranoia level 1 refuse
	Rules  []int    // the ids of what matched, in order
	Where  []string // in which parts of the request
	Asked  bool     // whether the rules were asked at all
}

// Rules is the rule set, read and compiled. Safe for concurrent use.
type Rules struct {
	engine coraza.WAF
	words  words
	heads  heads
	slots  chan struct{} // as many verdicts at a time as there are processors
}

// groups are the rules' files that look at requests. Left out are those of answers, which are our own; of multipart bodies, which come as
// fields; and of sessions in fields, because ours are in a cookie alone.
var groups = []string{"901-INITIALIZATION", "905-COMMON-EXCEPTIONS", "911-METHOD-ENFORCEMENT", "913-SCANNER-DETECTION", "920-PROTOCOL-ENFORCEMENT", "921-PROTOCOL-ATTACK",
	"930-APPLICATION-ATTACK-LFI", "931-APPLICATION-ATTACK-RFI", "932-APPLICATION-ATTACK-RCE", "933-APPLICATION-ATTACK-PHP", "934-APPLICATION-ATTACK-GENERIC",
	"941-APPLICATION-ATTACK-XSS", "942-APPLICATION-ATTACK-SQLI", "944-APPLICATION-ATTACK-JAVA", "949-BLOCKING-EVALUATION"}

// setup comes before the rules. Their score refuses from 5 on, one critical rule; bodies come as fields, so that Coraza neither reads nor
// stores one. Source: crs-setup.conf.example of the rule set, version 4.25.0.
const setup = `
SecRuleEngine On
SecRequestBodyAccess Off
SecResponseBodyAccess Off
SecAuditEngine Off
SecDefaultAction "phase:1,nolog,pass"
SecDefaultAction "phase:2,nolog,pass"
SecAction "id:900000,phase:1,pass,nolog,setvar:tx.blocking_paranoia_level=1"
SecAction "id:900200,phase:1,pass,nolog,setvar:'tx.allowed_methods=GET HEAD POST PUT DELETE OPTIONS'"
SecAction "id:900220,phase:1,pass,nolog,setvar:'tx.allowed_request_content_type=|application/x-www-form-urlencoded| |multipart/form-data| |application/json| |application/octet-stream| |text/plain|'"
SecAction "id:900990,phase:1,pass,nolog,setvar:tx.crs_setup_version=4250"
`

// New reads the rules: about 0.3 s of a processor, and 20 MiB that stay.
func New() (*Rules, error) { return with(exclusions) }

func with(exclusions []exclusion) (*Rules, error) {
	var b strings.Builder
	b.WriteString(setup)
	for _, g := range groups {
		b.WriteString("Include @owasp_crs/REQUEST-" + g + ".conf\n")
	}
	for _, e := range exclusions {
		b.WriteString("SecRuleRemoveById " + e.rules + "\n")
	}
	engine, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(b.String()))
	if err != nil {
		return nil, fmt.Errorf("cannot read the rules of requests: %w", err)
	}
	r := &Rules{engine: engine, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	if r.words, err = readWords(coreruleset.FS); err != nil {
		return nil, fmt.Errorf("cannot read the words of the rules of requests: %w", err)
	}
	r.heads.clean = map[uint64]bool{}
	return r, nil
}

// credentials are headers that the rules are not shown: their values are compared, never interpreted, and are secret. Those of a length or a
// way to send change with each request and are net/http's business.
var credentials = map[string]bool{"Authorization": true, "Cookie": true, "Macaroons": true, "Proxy-Authorization": true, "Content-Length": true, "Connection": true, "Traceparent": true, "Tracestate": true}

// Check holds a request against the rules. The error is one of this package's: there is no verdict then.
func (r *Rules) Check(ctx context.Context, q Request) (Verdict, error) {
	head := r.words.head(q)
	clean := r.heads.known(head)
	if clean && r.words.harmlessURL(q.URL) && r.words.harmlessForm(q.Form) {
		return Verdict{}, nil
	}
	form, err := r.words.rest(q.Form)
	if err != nil {
		return Verdict{Asked: true}, err
	}
	q.Form = form
	if q.URL, err = r.words.restURL(q.URL); err != nil {
		return Verdict{Asked: true}, err
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return Verdict{Asked: true}, ErrTime
	}
	type outcome struct {
		v   Verdict
		err error
	}
	done := make(chan outcome, 1)
	go func() { // ends with the rules' evaluation, which nothing can interrupt; the slot bounds how many there are
		o := outcome{err: ErrBroken}
		defer func() {
			_ = recover() // what it panicked with may hold the request
			<-r.slots
			done <- o
		}()
		o.v, o.err = r.evaluate(q), nil
	}()
	select {
	case o := <-done:
		if o.v.Asked = true; o.err == nil && len(o.v.Rules) == 0 {
			r.heads.add(head)
		}
		return o.v, o.err
	case <-ctx.Done():
		return Verdict{Asked: true}, ErrTime
	}
}

// evaluate runs the rules.
func (r *Rules) evaluate(q Request) (v Verdict) {
	tx := r.engine.NewTransaction()
	defer func() { _ = tx.Close() }() // of a body's temporary file, of which there is none
	tx.ProcessURI(q.URL.RequestURI(), q.Method, q.Proto)
	tx.AddRequestHeader("Host", q.Host)
	tx.SetServerName(q.Host)
	for name, values := range q.Header {
		if !credentials[name] {
			for _, value := range values {
				tx.AddRequestHeader(name, value)
			}
		}
	}
	tx.ProcessRequestHeaders()
	for name, values := range q.Form {
		for _, value := range values {
			tx.AddPostRequestArgument(name, value)
		}
	}
	_, _ = tx.ProcessRequestBody() // it fails where a body cannot be read, and we give none
	v.Refuse = tx.IsInterrupted()
	for _, m := range tx.MatchedRules() {
		// Rules without a message steer others; below 911000 they set up, from 949000 on they add up.
		if id := m.Rule().ID(); id >= 911000 && id < 949000 && m.Message() != "" {
			v.Rules = append(v.Rules, id)
			for _, d := range m.MatchedDatas() {
				v.Where = append(v.Where, where(d.Variable().Name(), d.Key()))
			}
		}
	}
	slices.Sort(v.Rules)
	slices.Sort(v.Where)
	v.Rules, v.Where = slices.Compact(v.Rules), slices.Compact(v.Where)
	return v
}

// where names the part of a request that a rule's variable is about, without a word that the client chose.
func where(variable, key string) string {
	switch {
	case strings.HasPrefix(variable, "ARGS"):
		return "field"
	case variable == "QUERY_STRING":
		return "query"
	case variable == "REQUEST_METHOD", variable == "REQUEST_PROTOCOL":
		return "method or protocol"
	case variable == "REQUEST_HEADERS" && slices.ContainsFunc([]string{"User-Agent", "Referer", "Host", "Accept", "Content-Type"}, func(s string) bool { return strings.EqualFold(s, key) }):
		return "header " + http.CanonicalHeaderKey(key)
	case strings.HasPrefix(variable, "REQUEST_HEADERS"):
		return "header"
	case strings.HasPrefix(variable, "REQUEST_"):
		return "path or query"
	}
	return "request"
}
