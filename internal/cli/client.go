package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/secret"
)

// Limits of calls.
const (
	maxTries     = 5
	maxPause     = 60 * time.Second // longest Retry-After that is obeyed
	headerWait   = 3 * time.Minute  // a power query waits for a BMC
	maxErrorBody = 64 << 10
)

// client calls one instance. Safe for concurrent use.
type client struct {
	http  *http.Client
	base  string // scheme and host
	key   apiKey
	agent string
	note  func(format string, args ...any) // tells people why it takes longer
}

func (a *app) client(base string, key secret.Value, trust *tls.Config) (*client, error) {
	k, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{Proxy: a.Proxy, TLSClientConfig: trust, ForceAttemptHTTP2: true, ResponseHeaderTimeout: headerWait,
		TLSHandshakeTimeout: 20 * time.Second, IdleConnTimeout: time.Minute}
	return &client{
		// A redirect is never followed: it would carry the credentials to where the answer points.
		http:  &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		base:  base,
		key:   k,
		agent: a.agent(),
		note:  a.note,
	}, nil
}

// do calls path, which starts with /MAAS/, and tries again when the instance asks to. The caller closes the
// answer's body. An answer of 300 or above is an *apiError.
func (c *client) do(ctx context.Context, method, path string, query url.Values, body []byte, mime string) (*http.Response, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	for try := 1; ; try++ {
		req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
		if err != nil {
			return nil, errors.New("cannot call the instance: its URL is malformed")
		}
		if mime != "" {
			req.Header.Set("Content-Type", mime)
		}
		req.Header.Set("User-Agent", c.agent)
		if c.key.token != "" {
			req.Header.Set("Authorization", c.key.sign(time.Now()))
		}
		resp, err := c.http.Do(req)
		if err != nil {
			var u *url.Error
			if errors.As(err, &u) {
				err = u.Err // without the URL: parameters may be in it
			}
			return nil, fmt.Errorf("cannot reach %s: %w", c.base, explainTLS(err))
		}
		if resp.StatusCode < 300 {
			return resp, nil
		}
		failed := readError(resp)
		pause, again := retryAfter(resp)
		if !again || try == maxTries {
			return nil, failed
		}
		c.note("The instance asks to wait %s: %s", pause, failed.short())
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// form calls an operation with its parameters.
func (c *client) form(ctx context.Context, o *maasapi.Operation, path string, form url.Values) (*http.Response, error) {
	query, body, mime := url.Values{}, []byte(nil), ""
	if o.Method == http.MethodGet || o.Method == http.MethodDelete {
		query = maps.Clone(form)
	} else if len(form) > 0 {
		body, mime = []byte(form.Encode()), "application/x-www-form-urlencoded"
	}
	if o.Op != "" {
		query.Set("op", o.Op)
	}
	return c.do(ctx, o.Method, path, query, body, mime)
}

// get reads a JSON object.
func (c *client) get(ctx context.Context, path string, query url.Values, into any) (http.Header, error) {
	resp, err := c.do(ctx, http.MethodGet, path, query, nil, "")
	if err != nil {
		return nil, err
	}
	return resp.Header, decode(resp, into)
}

func decode(resp *http.Response, into any) error {
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("cannot read the answer: %w", err)
	}
	return nil
}

// retryAfter says whether the answer asks for another try: only with a number of seconds, because a conflict
// with an object's state will not go away by itself.
func retryAfter(resp *http.Response) (time.Duration, bool) {
	if resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusConflict {
		return 0, false
	}
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	pause := time.Duration(seconds) * time.Second
	return pause, err == nil && seconds >= 0 && pause <= maxPause
}

// apiError is a refusal.
type apiError struct {
	status   int
	messages []string
}

func (e *apiError) short() string {
	if len(e.messages) > 0 {
		return e.messages[0]
	}
	return strconv.Itoa(e.status) + " " + http.StatusText(e.status)
}

func (e *apiError) Error() string {
	head := fmt.Sprintf("the instance answers %d %s", e.status, http.StatusText(e.status))
	if len(e.messages) == 0 {
		return head
	}
	return head + "\n  " + strings.Join(e.messages, "\n  ")
}

// readError reads a refusal's body: field messages as JSON, a list of texts, or one text.
func readError(resp *http.Response) *apiError {
	defer func() { _ = resp.Body.Close() }()
	e := &apiError{status: resp.StatusCode}
	if to := resp.Header.Get("Location"); to != "" && resp.StatusCode < 400 {
		e.messages = []string{"It points to " + to + ", which is not followed. Log in with the right URL."}
		return e
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what arrived is better than nothing
	mime, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	var fields map[string]any
	var list []string
	switch {
	case mime == "text/html" || len(bytes.TrimSpace(body)) == 0:
	case json.Unmarshal(body, &fields) == nil:
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			texts, ok := fields[name].([]any)
			if !ok {
				texts = []any{fields[name]}
			}
			for _, t := range texts {
				if name == "__all__" {
					e.messages = append(e.messages, fmt.Sprint(t))
				} else {
					e.messages = append(e.messages, fmt.Sprintf("%s: %v", name, t))
				}
			}
		}
	case json.Unmarshal(body, &list) == nil:
		e.messages = list
	default:
		e.messages = []string{strings.TrimSpace(string(body))}
	}
	return e
}

// redact takes the secrets of a call out of an error, should the instance repeat one.
func redact(err error, secrets []secret.Value) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	hidden := text
	for _, s := range secrets {
		if plain := s.RevealString(); plain != "" {
			hidden = strings.ReplaceAll(hidden, plain, s.String())
		}
	}
	if hidden == text {
		return err
	}
	return errors.New(hidden)
}
