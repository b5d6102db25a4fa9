// Package directory asks an LDAP directory who somebody is: whether name and password are right, and later whether he is
// still there, and in which groups. What follows from that is for others to decide.
//
// A question is one connection: LDAP over TLS with a certificate that is verified, never plain; the service's own bind, the
// search for the one entry, the person's bind, and if that is right the service's again for the groups: a wrong password
// costs the same work as an unknown name. Referrals are not followed. Who answers is an operator's server, but it may be slow, wrong or taken over: time, bytes and entries are
// bounded, and an answer that cannot be read is none.
//
// Sources: RFC 4511 (protocol), RFC 4513 section 5.1.2 (a bind with an empty password succeeds without one), RFC 4515
// (filters), RFC 4530 (entryUUID); MS-ADTS for Active Directory.
package directory

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/secret"
)

// Limits of a question.
const (
	Timeout       = 12 * time.Second // whole, over all servers
	serverTimeout = 5 * time.Second  // of one server
	maxBytes      = 1 << 20          // that a server sends
	maxAtOnce     = 16               // questions
	// downFor is how long a server that did not answer is asked last.
	downFor = 30 * time.Second
	maxDN   = 2048 // bytes
)

// Client asks directories. Safe for concurrent use.
type Client struct {
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	now   func() time.Time
	slots chan struct{}
	// Saw, if set, is shown each server's certificate, as egress.Config's.
	Saw func(server string, leaf *x509.Certificate)

	mu   sync.Mutex
	down map[string]time.Time // when a server did not answer, guarded by mu; bounded by the servers that are configured
}

// New makes a client. dial must keep connections away from the site's own inside.
func New(dial func(ctx context.Context, network, address string) (net.Conn, error), now func() time.Time) *Client {
	return &Client{dial: dial, now: now, slots: make(chan struct{}, maxAtOnce), down: map[string]time.Time{}}
}

// Person is who an entry is.
type Person struct {
	Subject string // stays when he is renamed, and is nobody else's later
	Name    string
	Email   string
	Groups  []string // of those asked for, the ones that he is in
}

// Answer is what a directory says of a name and password.
type Answer int

// The answers.
const (
	Unknown Answer = iota // no entry has this name
	Refused               // a wrong password, an account that is disabled or locked, a name of several
	Right
)

var errUnavailable = fault.New(fault.Unavailable, "The directory cannot be asked now. Try again in a moment, or ask an administrator.")

// Login asks whether a password is the one of the entry of a name. groups are the groups' names that matter. An unknown name
// costs as much as a known one. Kinds: Unavailable.
func (c *Client) Login(ctx context.Context, d Config, name string, password secret.Value, groups []string) (p Person, answer Answer, err error) {
	return c.login(ctx, d, d.byName(name), password, groups)
}

// Confirm asks whether a password is that of somebody who is known. Kinds: Unavailable.
func (c *Client) Confirm(ctx context.Context, d Config, subject string, password secret.Value) (bool, error) {
	filter, err := d.bySubject(subject)
	if err != nil {
		return false, nil //nolint:nilerr // it cannot be anybody's
	}
	p, answer, err := c.login(ctx, d, filter, password, nil)
	return answer == Right && p.Subject == subject, err
}

func (c *Client) login(ctx context.Context, d Config, filter string, password secret.Value, groups []string) (p Person, answer Answer, err error) {
	if password.Empty() { // would be right for everybody: RFC 4513 section 5.1.2
		return p, Refused, nil
	}
	err = c.ask(ctx, d, func(conn *ldap.Conn) error {
		found, err := d.search(conn, filter)
		if err != nil {
			return err
		}
		if answer = Refused; len(found) == 0 {
			answer = Unknown
		}
		dn := "cn=" + rand.Text() + "," + d.Base // nobody's
		known := len(found) == 1 && !isDisabled(found[0], c.now())
		if known {
			dn = found[0].DN
		}
		if right, err := bind(conn, dn, password); err != nil || !right || !known {
			return err
		}
		if err := d.bindService(conn); err != nil {
			return err
		}
		if p, err = d.person(conn, found[0], groups); err == nil {
			answer = Right
		}
		return err
	})
	return p, answer, err
}

// Look asks whether somebody is still there, and in which groups; false for who is gone or disabled, or whom the filter
// does not let in any more. Kinds: Unavailable.
func (c *Client) Look(ctx context.Context, d Config, subject string, groups []string) (p Person, ok bool, err error) {
	filter, err := d.bySubject(subject)
	if err != nil {
		return p, false, nil //nolint:nilerr // it cannot be anybody's
	}
	err = c.ask(ctx, d, func(conn *ldap.Conn) error {
		found, err := d.search(conn, filter)
		if err != nil || len(found) != 1 || isDisabled(found[0], c.now()) {
			return err
		}
		p, err = d.person(conn, found[0], groups)
		ok = p.Subject == subject
		return err
	})
	return p, ok && err == nil, err
}

// Test says in words what works, and who somebody is, if a name is given.
func (c *Client) Test(ctx context.Context, d Config, name string, groups []string) (ok bool, report string) {
	said := "A server answers, its certificate is good and it accepts the service account."
	if d.BindDN == "" {
		said = "A server answers, its certificate is good and it can be searched without an account."
	}
	err := c.ask(ctx, d, func(conn *ldap.Conn) error {
		if name == "" {
			return d.probe(conn)
		}
		found, err := d.search(conn, d.byName(name))
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			said += fmt.Sprintf(" It has no entry for %.150q.", name)
			return nil
		case len(found) > 1:
			said += fmt.Sprintf(" It has several entries for %.150q: nobody of that name can log in.", name)
			return nil
		}
		p, err := d.person(conn, found[0], groups)
		if err != nil {
			return err
		}
		said += fmt.Sprintf(" %.150q is %s", name, metal.Printable(found[0].DN, 300))
		if isDisabled(found[0], c.now()) {
			said += ", which is disabled"
		}
		said += fmt.Sprintf(", known by %s", p.Subject)
		if p.Email != "" {
			said += ", " + p.Email
		}
		if len(p.Groups) == 0 {
			said += ", in none of the groups that are mapped."
		} else {
			said += ", in " + metal.Printable(strings.Join(p.Groups, "; "), 2000) + "."
		}
		return nil
	})
	if err != nil {
		return false, explain(err)
	}
	return true, said
}

// problem is a directory that cannot be used, with what is wrong for an administrator's eyes.
type problem struct {
	text  string
	cause error
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.cause }

// explain says why a question failed, for administrators.
func explain(err error) string {
	var p *problem
	if errors.As(err, &p) {
		return p.text
	}
	return fault.Message(err)
}

// ask connects to a server and asks it; the next one, if it does not answer. What fails is Unavailable: whether somebody
// exists must not show.
func (c *Client) ask(ctx context.Context, d Config, fn func(*ldap.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return &fault.Error{Kind: fault.Unavailable, Message: "Too many people log in at once; try again in a moment."}
	}
	var last error
	for _, server := range c.order(d.Servers) {
		if deadline, _ := ctx.Deadline(); ctx.Err() != nil || time.Until(deadline) <= 0 {
			break
		}
		err := c.askServer(ctx, d, server, fn)
		c.note(server, err)
		if err == nil {
			return nil
		}
		if last == nil {
			last = err
		}
	}
	return errors.Join(errUnavailable, last)
}

// order is the servers, those that did not answer a moment ago last.
func (c *Client) order(servers []string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var good, bad []string
	for _, s := range servers {
		if c.now().Sub(c.down[s]) < downFor {
			bad = append(bad, s)
		} else {
			good = append(good, s)
		}
	}
	return append(good, bad...)
}

func (c *Client) note(server string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.down, server)
		return
	}
	if len(c.down) > 1000 { // of configurations long gone
		clear(c.down)
	}
	c.down[server] = c.now()
}

// askServer asks one server.
func (c *Client) askServer(ctx context.Context, d Config, server string, fn func(*ldap.Conn) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil { // the library indexes into what it was sent
			err = &problem{text: "What the server answers cannot be read."}
		}
	}()
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return err
	}
	raw, err := c.dial(ctx, "tcp", server)
	if err != nil {
		return &problem{server + ": " + egress.Message(err), err}
	}
	defer func() { _ = raw.Close() }()
	deadline, _ := ctx.Deadline()
	_ = raw.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	secured := tls.Client(raw, &tls.Config{ServerName: host, RootCAs: d.Roots, MinVersion: tls.VersionTLS12})
	err = secured.HandshakeContext(ctx)
	leaf := egress.Ended(err)
	if err == nil {
		leaf = secured.ConnectionState().PeerCertificates[0]
	}
	if c.Saw != nil && leaf != nil {
		c.Saw(host, leaf)
	}
	if err != nil {
		return &problem{server + ": " + tlsMessage(err), err}
	}
	conn := ldap.NewConn(&limited{Conn: secured, left: maxBytes}, true)
	conn.SetTimeout(serverTimeout)
	conn.Start()
	defer func() { _ = conn.Close() }()
	if err = d.bindService(conn); err == nil {
		err = fn(conn)
	}
	var p *problem
	if err != nil && !errors.As(err, &p) {
		p = &problem{"The directory cannot be searched: " + ldapMessage(err), err}
	}
	if p != nil {
		return &problem{server + ": " + p.text, p.cause}
	}
	return nil
}

// bindService binds as the service's own account, or as nobody.
func (d Config) bindService(conn *ldap.Conn) (err error) {
	if d.BindDN == "" {
		err = conn.UnauthenticatedBind("")
	} else {
		err = conn.Bind(d.BindDN, d.Password.RevealString())
	}
	if err != nil {
		return &problem{"The service account is not accepted: " + ldapMessage(err), err}
	}
	return nil
}

func tlsMessage(err error) string {
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) || errors.Is(err, context.DeadlineExceeded) {
		return egress.Message(err)
	}
	return "The server does not speak TLS 1.2 or later."
}

// ldapMessage is the protocol's name of what went wrong: the server's own words may hold anything.
func ldapMessage(err error) string {
	var e *ldap.Error
	if !errors.As(err, &e) || e.ResultCode >= ldap.ErrorNetwork {
		return "it did not answer in time, or answered more than is read."
	}
	return fmt.Sprintf("%s (code %d).", ldap.LDAPResultCodeMap[e.ResultCode], e.ResultCode)
}

// limited is a connection that fails when the other side sends too much.
type limited struct {
	net.Conn
	left int
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, errors.New("cannot read more: the answer is too large")
	}
	n, err := l.Conn.Read(b[:min(len(b), l.left)])
	l.left -= n
	return n, err
}

// bind reports whether a password is an entry's. Any answer of the server but success is a no; none is an error.
func bind(conn *ldap.Conn, dn string, password secret.Value) (bool, error) {
	err := conn.Bind(dn, password.RevealString())
	var e *ldap.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &e) && e.ResultCode < ldap.ErrorNetwork && e.ResultCode != ldap.LDAPResultBusy && e.ResultCode != ldap.LDAPResultUnavailable:
		return false, nil
	}
	return false, err
}

// search finds people: at most two, for one is wanted.
func (d Config) search(conn *ldap.Conn, filter string) ([]*ldap.Entry, error) {
	attributes := append([]string{d.Subject, d.Name, d.Email}, stateAttributes...)
	if d.Member != "" {
		attributes = append(attributes, d.Member)
	}
	found, err := conn.Search(ldap.NewSearchRequest(d.Base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, int(serverTimeout/time.Second), false, filter, attributes, nil))
	if ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) {
		return make([]*ldap.Entry, 3), nil
	}
	if err != nil {
		return nil, err
	}
	return found.Entries, nil
}

// probe asks for the base, to see that it can be searched.
func (d Config) probe(conn *ldap.Conn) error {
	_, err := conn.Search(ldap.NewSearchRequest(d.Base, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, int(serverTimeout/time.Second), true, "(objectClass=*)", []string{"1.1"}, nil))
	return err
}

// person reads an entry, and asks for its groups.
func (d Config) person(conn *ldap.Conn, e *ldap.Entry, groups []string) (p Person, err error) {
	p.Subject = subjectText(d.Subject, e.GetEqualFoldRawAttributeValues(d.Subject))
	if p.Subject == "" || len(e.DN) > maxDN {
		return p, &problem{text: fmt.Sprintf("The entry of a person has no single value of %s that can be used.", d.Subject)}
	}
	p.Name = value(e, d.Name)
	if text := value(e, d.Email); text != "" {
		if a, err := mail.ParseAddress(text); err == nil && a.Address == text && len(metal.ValidateUser("x", text)) == 0 {
			p.Email = text
		}
	}
	in, err := d.groupsOf(conn, e)
	if err != nil {
		return p, err
	}
	for _, g := range groups {
		dn, err := ldap.ParseDN(g)
		if err != nil {
			continue
		}
		for _, have := range in {
			if dn.EqualFold(have) {
				p.Groups = append(p.Groups, g)
				break
			}
		}
	}
	return p, nil
}

// groupsOf lists the groups of an entry: by an attribute of its own, and by a search.
func (d Config) groupsOf(conn *ldap.Conn, e *ldap.Entry) (list []*ldap.DN, err error) {
	add := func(text string) {
		if dn, err := ldap.ParseDN(text); err == nil && len(text) <= maxDN {
			list = append(list, dn)
		}
	}
	if d.Member != "" {
		for _, text := range e.GetEqualFoldAttributeValues(d.Member) {
			add(text)
		}
	}
	if d.GroupFilter != "" {
		found, err := conn.Search(ldap.NewSearchRequest(d.GroupBase, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, metal.MaxClaims, int(serverTimeout/time.Second), false,
			d.groupsFilter(e.DN), []string{"1.1"}, nil))
		if err != nil {
			return nil, err
		}
		for _, g := range found.Entries {
			add(g.DN)
		}
	}
	if len(list) > metal.MaxClaims {
		return nil, &problem{text: fmt.Sprintf("Somebody is in more than %d groups.", metal.MaxClaims)}
	}
	return list, nil
}

// value is an attribute's only value, if people can read it; else it is empty.
func value(e *ldap.Entry, attribute string) string {
	list := e.GetEqualFoldAttributeValues(attribute)
	if attribute == "" || len(list) != 1 || len(list[0]) > metal.MaxClaim || metal.Printable(list[0], metal.MaxClaim) != list[0] {
		return ""
	}
	return list[0]
}

// binarySubject is Active Directory's attribute of 16 bytes. Source: MS-ADTS section 3.1.1.1.4.
const binarySubject = "objectGUID"

// subjectText writes the value of the attribute that people are known by; empty if it cannot be used.
func subjectText(attribute string, values [][]byte) string {
	if len(values) != 1 {
		return ""
	}
	if strings.EqualFold(attribute, binarySubject) {
		if len(values[0]) != 16 {
			return ""
		}
		return hex.EncodeToString(values[0])
	}
	text := string(values[0])
	if text == "" || len(text) > metal.MaxClaim || metal.Printable(text, metal.MaxClaim) != text {
		return ""
	}
	return text
}

// stateAttributes say whether an account is in use: Active Directory's, 389 Directory Server's, and that of
// draft-behera-ldap-password-policy, which OpenLDAP's ppolicy sets.
var stateAttributes = []string{"userAccountControl", "accountExpires", "nsAccountLock", "pwdAccountLockedTime"}

// isDisabled reports whether an account is not in use. A lock that ends by itself is none: people's guesses must not end the
// sessions of others; the server refuses the login meanwhile. Sources: MS-ADTS section 2.2.16 (ACCOUNTDISABLE);
// MS-ADA1 section 2.1 (accountExpires, in 100 ns since 1601; 0 and 2^63-1 are never); draft-behera-ldap-password-policy-10 section 5.3.3.
func isDisabled(e *ldap.Entry, now time.Time) bool {
	if flags, err := strconv.ParseInt(value(e, "userAccountControl"), 10, 64); err == nil && flags&2 != 0 {
		return true
	}
	const never = 1<<63 - 1
	if at, err := strconv.ParseInt(value(e, "accountExpires"), 10, 64); err == nil && at != 0 && at != never {
		if since1601 := at / 10_000_000; now.Unix() >= since1601-11_644_473_600 {
			return true
		}
	}
	return strings.EqualFold(value(e, "nsAccountLock"), "true") || value(e, "pwdAccountLockedTime") == "000001010000Z"
}
