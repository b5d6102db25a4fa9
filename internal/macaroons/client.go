package macaroons

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"time"

	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery/agent"
	"gopkg.in/errgo.v1"

	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/fault"
)

// callTime bounds a call with all discharges that it takes: a discharger could name further ones for ever.
const callTime = 30 * time.Second

// maxAnswer bounds an answer, in bytes; a request through egress is bounded already, one of a command line is not.
const maxAnswer = egress.MaxBody

// Client makes requests of a service that wants macaroons, and acquires their discharges as an agent. It keeps them as
// cookies, so that an agent logs in once in their life. Safe for concurrent use.
type Client struct {
	bakery *httpbakery.Client
	most   time.Duration // of a call
}

// NewClient makes a client of an agent. Requests go out by base: on a server by egress's, which speaks HTTPS only and
// stays out of the site's own networks. The agent logs in at its own URL and nowhere else.
func NewClient(base *http.Client, a Agent) (*Client, error) {
	if err := a.Validate(); err != nil {
		return nil, err
	}
	c := bakeryClient(base)
	err := agent.SetUpAuth(c, &agent.AuthInfo{Key: a.Key.pair(), Agents: []agent.Agent{{URL: a.URL, Username: a.Username}}})
	return &Client{c, callTime}, err
}

// bakeryClient makes a client with cookies of its own.
func bakeryClient(base *http.Client) *httpbakery.Client {
	h := *base
	h.Jar, _ = cookiejar.New(nil) // never fails
	return &httpbakery.Client{Client: &h}
}

// Do sends a request, discharges what is asked for, and sends it again. The body of a request has to be a
// bytes.Reader, strings.Reader or bytes.Buffer. Of the answer, the body is read already. Kinds: Unavailable,
// and Forbidden when a discharge is refused.
func (c *Client) Do(r *http.Request) (resp *http.Response, err error) {
	defer guard(&err)
	ctx, cancel := context.WithTimeout(r.Context(), c.most)
	defer cancel()
	resp, err = c.bakery.DoWithContext(ctx, r)
	if err != nil {
		return nil, explain(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, explain(err)
	}
	if len(body) > maxAnswer {
		return nil, fault.New(fault.Unavailable, "The server answers with more than %d bytes.", maxAnswer)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// guard makes a panic of the library an error, of kind Unavailable: it panics on answers such as a discharge without a
// macaroon, and some callers are goroutines of their own, whose panic would end the program.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fault.New(fault.Unavailable, "What the server answers cannot be read.")
	}
}

// StatusError is an answer other than 200. Its text is the server's and may be shown only to those who configured it.
type StatusError struct {
	Status  int
	Message string // of a JSON body, as Candid and RBAC services write it
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("status %d: %s", e.Status, e.Message)
}

// Call sends a value as JSON, or nothing when in is nil, and decodes the answer into out, unless that is nil. An answer
// other than 200 is a *StatusError. Kinds: as Do.
func (c *Client) Call(ctx context.Context, method, address string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("cannot encode request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return fault.New(fault.Unavailable, "The address cannot be used.")
	}
	if in == nil {
		r.Body = nil // the library wants a body that it can send twice, or none
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept", "application/json")
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Message, Error string }
		_ = json.NewDecoder(resp.Body).Decode(&e) // a body of another form has no message
		if e.Message == "" {
			e.Message = e.Error
		}
		return &StatusError{resp.StatusCode, line(e.Message)}
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fault.New(fault.Unavailable, "What the server answers is not the document that was asked for.")
	}
	return nil
}

// explain makes an error of the library one that is safe to show: what a server said is not in it. The library hides
// causes behind its own wrapping, so it is taken off layer by layer.
func explain(err error) error {
	plain := err // the outermost layer that is not the library's
	for next := err; next != nil; {
		switch e := next.(type) {
		case *httpbakery.DischargeError, *httpbakery.Error:
			return fault.New(fault.Forbidden, "The discharger refuses.")
		case *httpbakery.InteractionError:
			return fault.New(fault.Forbidden, "The discharger does not know this way to log in.")
		case *fault.Error:
			return e
		}
		if w, ok := next.(errgo.Wrapper); ok {
			next = w.Underlying()
			plain = next
		} else {
			next = errors.Unwrap(next)
		}
	}
	if errors.Is(plain, context.Canceled) {
		return fmt.Errorf("cannot call: %w", context.Canceled)
	}
	return fault.New(fault.Unavailable, "%s", egress.Message(plain))
}

// line is a text of a server on one line, of bounded length.
func line(s string) string {
	s = string(bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, []byte(s)))
	return s[:min(len(s), 200)]
}
