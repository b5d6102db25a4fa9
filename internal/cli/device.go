package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/metalward/metalward/internal/secret"
)

// A login by an identity provider: the instance says a code and where to enter it, and gives a key when that was done.
// Source: RFC 8628.

// Bounds on what the instance says.
const (
	minDeviceInterval = time.Second
	maxDeviceInterval = time.Minute
	maxDeviceLife     = time.Hour
)

// deviceKey has somebody log in at an identity provider, and returns the API key that the instance gives him.
func (a *app) deviceKey(ctx context.Context, base string, trust *tls.Config, provider string) (none secret.Value, err error) {
	c, err := a.client(base, none, trust)
	if err != nil {
		return none, err
	}
	var d struct {
		Handle   string `json:"device_code"`
		Provider string `json:"provider"`
		UserCode string `json:"user_code"`
		URL      string `json:"verification_uri"`
		FullURL  string `json:"verification_uri_complete"`
		Expires  int    `json:"expires_in"`
		Interval int    `json:"interval"`
	}
	if err := c.post(ctx, "/MAAS/accounts/device/", url.Values{"provider": {provider}}, &d); err != nil {
		return none, fmt.Errorf("cannot log in: %w", err)
	}
	a.print("Open %s in a browser and enter this code:\n\n  %s\n\n", cleanLine(d.URL), cleanLine(d.UserCode))
	if d.FullURL != "" {
		a.print("Or open %s and compare the code.\n", cleanLine(d.FullURL))
	}
	a.note("Waiting for your login at %s.", cleanLine(d.Provider))
	host, _ := os.Hostname()
	form := url.Values{"device_code": {d.Handle}, "name": {"login from " + host}}
	interval := min(max(time.Duration(d.Interval)*time.Second, minDeviceInterval), maxDeviceInterval)
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(d.Expires)*time.Second, maxDeviceLife))
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return none, errors.New("cannot log in: the code was not entered in time")
			}
			return none, ctx.Err()
		case <-time.After(interval):
		}
		var k struct {
			Consumer string `json:"consumer_key"`
			Token    string `json:"token_key"`
			Secret   string `json:"token_secret"`
		}
		err := c.post(ctx, "/MAAS/accounts/device/poll/", form, &k)
		var refused *apiError
		switch {
		case err == nil:
			return secret.FromString(k.Consumer + ":" + k.Token + ":" + k.Secret), nil
		case errors.As(err, &refused) && slices.Contains(refused.messages, "error: authorization_pending"):
		case errors.As(err, &refused) && slices.Contains(refused.messages, "error: slow_down"):
			interval = min(interval+5*time.Second, maxDeviceInterval)
		default:
			return none, fmt.Errorf("cannot log in: %w", redact(err, []secret.Value{secret.FromString(d.Handle)}))
		}
	}
}

// post sends a form and reads a JSON object.
func (c *client) post(ctx context.Context, path string, form url.Values, into any) error {
	resp, err := c.do(ctx, http.MethodPost, path, nil, []byte(form.Encode()), "application/x-www-form-urlencoded")
	if err != nil {
		return err
	}
	return decode(resp, into)
}
