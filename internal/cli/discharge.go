package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/secret"
)

// Logins at an instance with a Candid server or RBAC service: as an agent, or as a person with a browser. What they get is
// an API key of their own, as MAAS's command line does.

// externalKey makes an API key for whom a discharger vouches.
func (a *app) externalKey(ctx context.Context, l loginArguments, base, host string, trust *tls.Config) (key secret.Value, err error) {
	h := &http.Client{Transport: splitTrust{host, a.transport(trust), a.transport(&tls.Config{MinVersion: tls.VersionTLS12})},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var c *macaroons.Client
	if l.agentFile != "" {
		text, err := a.readFile(l.agentFile)
		if err != nil {
			return key, fmt.Errorf("cannot read the agent file: %w", err)
		}
		agent, err := macaroons.ParseAgentFile([]byte(text))
		if err != nil {
			return key, fmt.Errorf("cannot log in: %w", err)
		}
		if c, err = macaroons.NewClient(h, agent); err != nil {
			return key, fmt.Errorf("cannot log in: %w", err)
		}
	} else {
		c = macaroons.NewVisitor(h, func(address string) {
			a.note("Log in with a browser at\n  %s\nand come back here. Waiting …", address)
		})
	}
	name, err := os.Hostname()
	if err != nil {
		name = "a computer without a name"
	}
	form := url.Values{"name": {"metalward login on " + name}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+maasapi.Root+"/account/?op=create_authorisation_token", strings.NewReader(form.Encode()))
	if err != nil {
		return key, errors.New("cannot call the instance: its URL is malformed")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", a.agent())
	resp, err := c.Do(r)
	if err != nil {
		return key, fmt.Errorf("cannot log in: %w", err)
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return key, errors.New("cannot log in: the instance has no external authentication; log in with an API key")
	case resp.StatusCode != http.StatusOK:
		return key, fmt.Errorf("cannot log in: %w", readError(resp))
	}
	var k struct {
		Consumer string `json:"consumer_key"`
		Token    string `json:"token_key"`
		Secret   string `json:"token_secret"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&k); err != nil || k.Secret == "" {
		return key, errors.New("cannot log in: the instance answers without an API key")
	}
	return secret.FromString(k.Consumer + ":" + k.Token + ":" + k.Secret), nil
}

// transport makes connections that trust what is given, or the authorities of this computer.
func (a *app) transport(trust *tls.Config) http.RoundTripper {
	return &http.Transport{Proxy: a.Proxy, TLSClientConfig: trust, ForceAttemptHTTP2: true}
}

// splitTrust trusts the authority of the instance for the instance alone, and that of this computer for others. Nothing is
// sent without TLS.
type splitTrust struct {
	host     string
	instance http.RoundTripper
	others   http.RoundTripper
}

// RoundTrip is part of http.RoundTripper.
func (s splitTrust) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case r.URL.Scheme != "https":
		return nil, errors.New("an address without TLS was named")
	case r.URL.Host == s.host:
		return s.instance.RoundTrip(r)
	}
	return s.others.RoundTrip(r)
}
