// Package rbac speaks the protocol of the RBAC service that MAAS knows: pushing resources, asking what a person may do and
// who he is, and registering this site. It is the protocol and nothing else: what an answer means here is region/rbac's to
// say.
//
// What does not fit the protocol is an error, never an empty answer: an answer that names no rights and one that cannot be
// read must not look alike. Every error is of kind Unavailable unless a method says otherwise; its message is safe to show,
// what the service wrote is in what is wrapped around it.
//
// Source: MAAS, rbac.py, region_controller.py and macaroon_client.py.
package rbac

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/metalward/metalward/internal/fault"
)

// Limits of calls and answers.
const (
	Timeout     = 8 * time.Second // of a question; below the age at which its answer ends
	PushTimeout = 25 * time.Second
	maxAnswer   = 1 << 20 // bytes
	maxMessage  = 200     // bytes of a service's message that are kept
	maxID       = 64      // bytes of an identifier
	maxName     = 256     // bytes of a name of a service, person or resource
	maxEntries  = 20_000  // of a list
)

// Doer sends requests as somebody who is known to the service: its agent, or a person.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Client asks one service. Safe for concurrent use if its Doer is.
type Client struct {
	base *url.URL
	doer Doer
}

// NewClient makes a client of the service at an address. Kinds: Invalid on "rbac_url".
func NewClient(address string, d Doer) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(address, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.Field("rbac_url", "Use the service's address, beginning with https:// and without query or fragment.")
	}
	return &Client{u, d}, nil
}

// SameHost is a http.Client's CheckRedirect that keeps requests, and what is in them, on the host that they were made for.
func SameHost(r *http.Request, via []*http.Request) error {
	if r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme || len(via) > 3 {
		return fault.New(fault.Unavailable, "The RBAC service sends on to another address.")
	}
	return nil
}

// The errors that callers tell apart.
var (
	// ErrStale says that the last sync id is not the service's: it wants everything anew.
	ErrStale = fault.New(fault.Conflict, "The RBAC service has another state of the resources than the one that was sent last.")
	errReach = fault.New(fault.Unavailable, "The RBAC service cannot be asked now.")
	errRead  = fault.New(fault.Unavailable, "The RBAC service's answer cannot be read.")
	errAgent = fault.New(fault.Unavailable, "The RBAC service does not accept this site's agent: register the site anew.")
)

// call sends a request to an escaped path below the base and decodes what comes back into out, with as much as its status says.
func (c *Client) call(ctx context.Context, within time.Duration, method, path string, query url.Values, in, out any) error {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	return c.send(ctx, within, method, u.String(), in, out)
}

func (c *Client) send(ctx context.Context, within time.Duration, method, address string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("cannot encode a request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return fmt.Errorf("cannot make a request: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.doer.Do(r)
	if fault.Is(err, fault.Forbidden) || fault.Is(err, fault.Unauthenticated) {
		return fmt.Errorf("%w (%w)", errAgent, err)
	}
	if err != nil {
		return fmt.Errorf("%w (%w)", errReach, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("%w (%w)", errReach, err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("%w (more than %d bytes)", errRead, maxAnswer)
	}
	if resp.StatusCode != http.StatusOK {
		return refused(resp, b)
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return fmt.Errorf("%w (it is not JSON)", errRead)
	}
	if out == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(out); err != nil {
		return fmt.Errorf("%w (%w)", errRead, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w (something follows it)", errRead)
	}
	return nil
}

// Refusal is an answer with another status than 200. It is Unavailable to callers that expect no such status.
type Refusal struct {
	Status  int
	Message string // the service's, bounded and printable
}

func (r *Refusal) Error() string { return fmt.Sprintf("status %d: %q", r.Status, r.Message) }

// Unwrap is what the refusal means to a caller.
func (r *Refusal) Unwrap() error {
	if r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden {
		return errAgent
	}
	return errReach
}

func refused(resp *http.Response, body []byte) error {
	var said struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &said) // a message is a courtesy
	return &Refusal{Status: resp.StatusCode, Message: printable(said.Message)}
}

// status reports whether an error is an answer with a status.
func status(err error, want int) bool {
	r, ok := errors.AsType[*Refusal](err)
	return ok && r.Status == want
}

// printable is a service's text, for logs: bounded, valid and without control characters.
func printable(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
}

// named reports whether a text will do as an identifier or a name.
func named(s string, most int) bool {
	return s != "" && len(s) <= most && printable(s) == s[:min(len(s), maxMessage)]
}
