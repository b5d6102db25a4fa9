// Package maaspeople asks the API of a region, MAAS's or Metalward's, what checks of a host judge (guard.Database): who its users are, how
// they get in, how long their sessions last. It only reads. What the API does not tell is said to be so, part by part, and never guessed.
//
// Sources: MAAS's API 2.0, of its source code src/maasserver/api/users.py (users/), src/maasserver/api/maas.py (get_config),
// src/maasserver/api/version.py; GET accounts/login/ for external authentication; RFC 5849 section 3.4.4 for the signature.
package maaspeople

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/secret"
)

// Limits.
const (
	patience  = 20 * time.Second // of all calls together
	maxAnswer = 8 << 20          // bytes
	maxUsers  = 10_000
	maxText   = 300 // bytes of a text that is kept
)

// Access is how the API is reached.
type Access struct {
	base  string // scheme and host
	where string // for people
	roots *tls.Config
	key   [2]string
	hush  secret.Value // of the key
}

// NewAccess takes the address of a region, the key of an administrator as MAAS writes keys (consumer:token:secret), and the authorities (PEM)
// that its certificate is to come from, "" for the system's. The errors repeat nothing of the key.
func NewAccess(address string, key secret.Value, authorities string) (Access, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return Access{}, errors.New("the address is no URL: write https://HOST[:PORT]")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
		return Access{}, errors.New("the address has more than host and port: write https://HOST[:PORT]")
	case !slices.Contains([]string{"", "MAAS", "MAAS/api/2.0"}, strings.Trim(u.Path, "/")):
		return Access{}, errors.New("the address has another path than /MAAS: write https://HOST[:PORT]")
	case u.Scheme != "https" && u.Scheme != "http":
		return Access{}, errors.New("the address begins neither with https:// nor with http://")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return Access{}, errors.New("the key would cross the network in clear: write https://, or on the region itself http://127.0.0.1:5240")
	}
	parts := strings.Split(strings.TrimSpace(key.RevealString()), ":")
	if len(parts) != 3 || slices.Contains(parts, "") || len(key.RevealString()) > 1024 || strings.ContainsAny(strings.Join(parts, ""), " \t\r\n") {
		return Access{}, errors.New("the credentials are no API key: one line, three parts with colons between them")
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if authorities != "" {
		trust.RootCAs = x509.NewCertPool()
		for block, rest := pem.Decode([]byte(authorities)); block != nil; block, rest = pem.Decode(rest) {
			ca, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return Access{}, errors.New("what is in the file of authorities are not all certificates")
			}
			trust.RootCAs.AddCert(ca)
			if strings.HasPrefix(ca.Subject.CommonName, metal.SiteAuthority) {
				trust.NextProtos = []string{"http/1.1", metal.SiteProtocol} // a certificate of its own, whatever it shows to others
			}
		}
		if trust.RootCAs.Equal(x509.NewCertPool()) {
			return Access{}, errors.New("there is no certificate in the file of authorities")
		}
	}
	return Access{base: u.Scheme + "://" + u.Host, where: "the API at " + u.Host, roots: trust, key: [2]string{parts[0], parts[1]}, hush: secret.FromString(parts[2])}, nil
}

// loopback reports whether a host of a URL is surely this one: names are whatever the resolver says, but for localhost (RFC 6761 section 6.3).
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Read asks the region. ours tells Metalward from MAAS. What it cannot find out it says of each part; the error is that it could not get in.
func (a Access) Read(ctx context.Context) (d guard.Database, ours bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t := &http.Transport{TLSClientConfig: a.roots, TLSHandshakeTimeout: patience} // no proxy: the key is for the region alone
	defer t.CloseIdleConnections()
	c := caller{a, ctx, &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	var version struct {
		Subversion *string `json:"subversion"`
	}
	if err := c.get("api/2.0/version/", nil, &version); err != nil {
		return d, false, err
	}
	if version.Subversion == nil {
		return d, false, fmt.Errorf("%s does not answer as MAAS's API does", a.where)
	}
	d.Where = a.where
	silent := errors.New("the API does not tell: of MAAS, its database does (--database)")
	d.Server.Err, d.Encrypted.Err, d.Secrets.Err, d.Audit.Err, d.Roles.Err = silent, silent, silent, silent, silent
	d.Settings.Value, d.Settings.Err = c.settings()
	if strings.HasPrefix(*version.Subversion, "metalward-") {
		d.External.Err, d.Logins, d.Hashes = silent, silent, silent
		d.People.Value, d.People.Err = c.standing()
		return d, true, refused(d.People.Err)
	}
	d.Logins, d.Hashes, d.Keys = silent, silent, silent
	d.External.Value, d.External.Err = c.external()
	d.People.Value, d.People.Err = c.people()
	return d, false, refused(d.People.Err)
}

var (
	errKey    = errors.New("it does not take the API key: make another")
	errRights = errors.New("the API key is not that of an administrator or auditor")
)

// refused is what makes all the rest worthless.
func refused(err error) error {
	if errors.Is(err, errKey) || errors.Is(err, errRights) {
		return err
	}
	return nil
}

type caller struct {
	Access
	ctx  context.Context
	http *http.Client
}

// get reads one JSON value of what is below /MAAS/.
func (c caller) get(path string, query url.Values, into any) error {
	target := c.base + "/MAAS/" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, target, nil)
	if err != nil {
		return errors.New("the address is no URL")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "metalward-harden")
	req.Header.Set("Authorization", c.sign(time.Now()))
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%s did not answer within %s", c.where, patience)
		}
		return fmt.Errorf("%s cannot be reached: %.300s", c.where, err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("%s: %w", c.where, errKey)
	case resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: %w", c.where, errRights)
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Errorf("%s sends elsewhere, where the key is not sent: write the address that it has itself", c.where)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %s with the status %d", c.where, path, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("the answer of %s ended early", c.where)
	}
	if len(body) > maxAnswer {
		return fmt.Errorf("%s answers %s with more than %d bytes", c.where, path, maxAnswer)
	}
	if json.Unmarshal(body, into) != nil { // the library's error may quote the answer
		return fmt.Errorf("what %s answers %s is not of the form that is known", c.where, path)
	}
	return nil
}

// sign makes the header of one request: OAuth 1.0 without a consumer's secret, method PLAINTEXT. The nonce is new each time.
func (c caller) sign(now time.Time) string {
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	return fmt.Sprintf(`OAuth oauth_version="1.0", oauth_signature_method="PLAINTEXT", oauth_consumer_key="%s", oauth_token="%s", oauth_signature="%s", oauth_timestamp="%d", oauth_nonce="%s"`,
		escape(c.key[0]), escape(c.key[1]), escape("&"+url.PathEscape(c.hush.RevealString())), now.Unix(), rand.Text())
}

// asked are the settings that checks ask for and that MAAS's API tells. None is a secret.
var asked = []string{"session_length"}

func (c caller) settings() (map[string]string, error) {
	values := map[string]string{}
	for _, name := range asked {
		var v json.RawMessage
		if err := c.get("api/2.0/maas/", url.Values{"op": {"get_config"}, "name": {name}}, &v); err != nil {
			return nil, err
		}
		if len(v) > maxText {
			return nil, fmt.Errorf("the setting %s is longer than %d bytes", name, maxText)
		}
		values[name] = strings.Trim(string(v), `"`)
	}
	return values, nil
}

// systemUsers are MAAS's own, which the API lists. Source: MAAS's documentation of user accounts, which shows both in a list; its source code,
// src/metadataserver/nodeinituser.py, and src/maasservicelayer's tests of the users' repository.
var systemUsers = []string{"MAAS", "maas-init-node"}

// people are MAAS's users. The API tells of each whether he is an administrator and whether MAAS knows his password, no more: all are taken to be
// active.
func (c caller) people() (list []guard.Person, err error) {
	var users []struct {
		Username string `json:"username"`
		Admin    *bool  `json:"is_superuser"`
		Local    *bool  `json:"is_local"`
	}
	if err := c.get("api/2.0/users/", nil, &users); err != nil {
		return nil, err
	}
	for _, u := range users {
		if u.Username == "" || len(u.Username) > maxText || u.Admin == nil || u.Local == nil || len(users) > maxUsers {
			return nil, fmt.Errorf("the users of %s are not listed in the form that is known, or more than %d", c.where, maxUsers)
		}
		if !slices.Contains(systemUsers, u.Username) {
			list = append(list, guard.Person{Name: u.Username, Admin: *u.Admin, Local: *u.Local, Active: true})
		}
	}
	return list, nil
}

// external is whether people log in elsewhere. By which group they are administrators the API does not tell.
func (c caller) external() (e guard.ExternalAuth, err error) {
	var login struct {
		URL *string `json:"external_auth_url"`
	}
	if err := c.get("accounts/login/", nil, &login); err != nil {
		return e, err
	}
	if login.URL != nil && *login.URL != "" {
		return e, fmt.Errorf("people log in at %.300s; of which group administrators are the API does not tell: run it on the region with --database", *login.URL)
	}
	return e, nil
}

// standing are Metalward's users.
func (c caller) standing() (list []guard.Person, err error) {
	var users []struct {
		Username string `json:"username"`
		Admin    *bool  `json:"is_superuser"`
		Active   *bool  `json:"is_active"`
		Local    *bool  `json:"is_local"`
		Password *bool  `json:"has_password"`
		Created  string `json:"created"`
		Factors  *int   `json:"second_factors"`
		Keys     *int   `json:"keys"`
		Endless  *int   `json:"keys_without_end"`
		Oldest   string `json:"oldest_key_without_end"`
	}
	if err := c.get("api/2.0/users/", url.Values{"op": {"security"}}, &users); err != nil {
		return nil, err
	}
	for _, u := range users {
		if u.Username == "" || len(u.Username) > maxText || u.Admin == nil || u.Active == nil || u.Local == nil || u.Password == nil || u.Factors == nil || u.Keys == nil || u.Endless == nil || len(users) > maxUsers {
			return nil, fmt.Errorf("the users of %s are not listed in the form that is known, or more than %d", c.where, maxUsers)
		}
		p := guard.Person{Name: u.Username, Admin: *u.Admin, Active: *u.Active, Local: *u.Local, HasPassword: *u.Password, Factors: *u.Factors, Keys: *u.Endless}
		if p.Joined, err = parseTime(u.Created); err != nil {
			return nil, err
		}
		if p.Keys > 0 {
			if p.OldestKey, err = parseTime(u.Oldest); err != nil {
				return nil, err
			}
		}
		list = append(list, p)
	}
	return list, nil
}

// parseTime reads a time as Metalward's API writes it.
func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("a time of the API is not of the form that is known: %.40q", text)
	}
	return t.UTC(), nil
}
