package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	netmail "net/mail"
	"net/smtp"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// Senders of notifications for administrators.
const (
	webhook = "webhook"
	email   = "email"
)

// Limits of sending.
const (
	maxAttempts = 12 // the last about two hours after the first
	firstRetry  = 10 * time.Second
	lastRetry   = 30 * time.Minute
	sendTimeout = 30 * time.Second
	secretWait  = time.Minute // until a secret that could not be had is asked for again
	sendEvery   = 10 * time.Second
	sendBatch   = 20
	maxWebhook  = 2048
)

// settings are where notifications go. A webhook's address often carries a secret: it is kept sealed.
type settings struct {
	posts                 bool // there is a webhook
	webhook               secret.Value
	email, server, sender string
	login                 *mailLogin
}

// mailLogin is the site's account at a mail server. It belongs to that server: another one that is set later never sees it.
type mailLogin struct{ Server, User, Password string }

// mailRef is where the account is kept, sealed.
const mailRef secret.Ref = "notify/mail"

// maxMailLogin bounds its user name and its password, in bytes.
const maxMailLogin = 512

// webhookRef is where the webhook's address is kept.
const webhookRef secret.Ref = "notify/webhook"

// where reads where notifications go, without what is secret of it: that is known also while the secrets cannot be had.
func (s *Service) where(v *store.View) (c settings, err error) {
	if _, c.posts, err = v.Secret(webhookRef); err != nil {
		return c, err
	}
	for name, into := range map[string]*string{"metalward_notify_email": &c.email, "metalward_smtp_server": &c.server, "metalward_smtp_sender": &c.sender} {
		x, err := v.SettingValue(name)
		if err != nil {
			return c, err
		}
		*into, _ = x.(string)
	}
	return c, nil
}

// settings reads where one sender's notifications go, with what is secret of it.
func (s *Service) settings(ctx context.Context, sender string) (c settings, err error) {
	ref := map[string]secret.Ref{webhook: webhookRef, email: mailRef}[sender]
	var kept secret.Value
	err = s.gate.View(authz.AsSystem(ctx, "notify"), authz.NotificationView, func(v *gate.Viewing) (err error) {
		kept = secret.Value{}
		if c, err = s.where(v.View); err != nil {
			return err
		}
		sealed, ok, err := v.Secret(ref)
		if err == nil && ok {
			kept, err = s.keys.Open(ref, sealed)
		}
		return err
	})
	switch {
	case err != nil || kept.Empty():
		return c, err
	case sender == webhook:
		c.webhook = kept
		return c, nil
	}
	return c, json.Unmarshal(kept.Reveal(), &c.login)
}

// deliver asks the senders that are set up to send a notification for administrators.
func (s *Service) deliver(c *gate.Call, n metal.Notification) error {
	if !n.Admins {
		return nil
	}
	conf, err := s.where(&c.Tx().View)
	if err != nil {
		return err
	}
	for sender, on := range conf.senders() {
		if !on {
			continue
		}
		if err := c.Tx().AddDelivery(n, sender); err != nil {
			return err
		}
	}
	c.After(func() {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	})
	return nil
}

// SetWebhook sets the https:// address that notifications for administrators are posted to; an empty one ends that. It
// is never read back. Kinds: Invalid, Forbidden.
func (s *Service) SetWebhook(ctx context.Context, address secret.Value) error {
	u, err := url.Parse(address.RevealString())
	if !address.Empty() && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(address.Reveal()) > maxWebhook) {
		return fault.Field("url", "Enter an address that begins with https://, without user name and password, of at most %d characters.", maxWebhook)
	}
	target := authz.Target{Noun: authz.NounSetting, ID: "notify_webhook"}
	return s.gate.Do(ctx, authz.SettingEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		if address.Empty() {
			c.Note("webhook", "removed")
			return c.Tx().DeleteSecret(target, webhookRef)
		}
		c.Note("webhook", "set")
		sealed, err := s.keys.Seal(webhookRef, address)
		if err != nil {
			return err
		}
		return c.Tx().PutSecret(target, webhookRef, sealed, c.Now())
	})
}

// SetMailLogin sets the account by which mail is sent at the server that metalward_smtp_server names now; an empty password
// ends that. It is never read back. Kinds: Invalid, Forbidden, Conflict when no server is named.
func (s *Service) SetMailLogin(ctx context.Context, user string, password secret.Value) error {
	if !password.Empty() && (user == "" || len(user) > maxMailLogin || metal.Printable(user, maxMailLogin) != user) {
		return fault.Field("username", "Enter the account's name, of at most %d printable characters.", maxMailLogin)
	}
	if len(password.Reveal()) > maxMailLogin {
		return fault.Field("password", "Enter a password of at most %d bytes.", maxMailLogin)
	}
	target := authz.Target{Noun: authz.NounSetting, ID: "notify_mail"}
	return s.gate.Do(ctx, authz.SettingEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		if password.Empty() {
			c.Note("mail_login", "removed")
			return c.Tx().DeleteSecret(target, mailRef)
		}
		x, err := c.Tx().SettingValue("metalward_smtp_server")
		if err != nil {
			return err
		}
		server, _ := x.(string)
		if server == "" {
			return fault.New(fault.Conflict, "Set metalward_smtp_server first: the account belongs to that server.")
		}
		text, err := json.Marshal(mailLogin{server, user, password.RevealString()})
		if err != nil {
			return err
		}
		sealed, err := s.keys.Seal(mailRef, secret.NewValue(text))
		if err != nil {
			return err
		}
		c.Note("mail_login", "set for "+metal.Printable(server, 255))
		return c.Tx().PutSecret(target, mailRef, sealed, c.Now())
	})
}

// Test sends a notification to each sender that is set up, now, and says in words how it went. Kinds: Forbidden.
func (s *Service) Test(ctx context.Context) (results map[string]string, err error) {
	var conf settings
	if err := s.gate.Reveal(ctx, authz.NotificationTest, authz.Target{Noun: authz.NounNotification}, nil, func(v *gate.Viewing) (err error) {
		conf, err = s.where(v.View)
		return err
	}); err != nil {
		return nil, err
	}
	n := metal.Notification{Message: "This is a test of Metalward's notifications.", Category: "info", Created: s.now()}
	results = map[string]string{}
	for sender, on := range conf.senders() {
		if results[sender] = "is not set up"; on {
			results[sender] = "sent"
			if conf, err := s.settings(ctx, sender); err != nil {
				results[sender] = "failed: " + fault.Message(err)
			} else if err := s.sendOne(ctx, sender, conf, n); err != nil {
				results[sender] = "failed: " + s.explain(err)
			}
		}
	}
	return results, nil
}

func (c settings) senders() map[string]bool {
	return map[string]bool{webhook: c.posts, email: c.email != "" && c.server != ""}
}

// Run looks at events and sends notifications until the context ends.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.watch(ctx) })
	wg.Go(func() {
		tick := time.NewTicker(sendEvery)
		defer tick.Stop()
		for {
			if err := s.Send(ctx); err != nil && ctx.Err() == nil {
				s.log.ErrorContext(ctx, "cannot send notifications", "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			case <-s.wake:
			}
		}
	})
	wg.Wait()
}

// Send sends what is due now. What cannot be sent is tried again later, and given up in the end; what cannot be tried, because the secret that
// it takes cannot be had, waits, and the first such error is returned.
func (s *Service) Send(ctx context.Context) error {
	ctx = authz.AsSystem(ctx, "notify")
	var due []store.Delivery
	texts := map[int64]metal.Notification{}
	err := s.gate.View(ctx, authz.NotificationView, func(v *gate.Viewing) (err error) {
		if due, err = v.DueDeliveries(v.Now(), sendBatch); err != nil || len(due) == 0 {
			return err
		}
		for _, d := range due {
			if texts[d.NotificationID], err = v.Notification(d.NotificationID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var waits error
	for _, d := range due {
		n := texts[d.NotificationID]
		conf, err := s.settings(ctx, d.Sender)
		if err != nil {
			if waits == nil {
				waits = err
			}
			if err := s.gate.Observe(ctx, gate.SeenDelivery, func(tx *store.Tx, now time.Time) error {
				next := d
				next.NotUntil = now.Add(secretWait) // behind those that can be sent
				return tx.PutDelivery(next)
			}); err != nil {
				return err
			}
			continue
		}
		failed := s.sendOne(ctx, d.Sender, conf, n)
		err = s.gate.Observe(ctx, gate.SeenDelivery, func(tx *store.Tx, now time.Time) error {
			next := d // this may run again
			if next.Attempts++; failed == nil || next.Attempts >= maxAttempts {
				return tx.EndDelivery(d.ID)
			}
			next.NotUntil = now.Add(min(firstRetry<<next.Attempts, lastRetry))
			return tx.PutDelivery(next)
		})
		if err != nil {
			return err
		}
		if failed != nil {
			s.log.WarnContext(ctx, "cannot send a notification", "by", d.Sender, "notification", n.ID, "attempt", d.Attempts+1, "error", failed)
		}
	}
	return waits
}

func (s *Service) sendOne(ctx context.Context, sender string, conf settings, n metal.Notification) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if sender == webhook {
		return s.post(ctx, conf.webhook.RevealString(), n)
	}
	return s.mail(ctx, mail{server: conf.server, from: conf.sender, to: conf.email, subject: "Metalward: " + n.Category, text: n.Text(), at: n.Created, login: conf.login})
}

// post sends a notification to a webhook.
func (s *Service) post(ctx context.Context, address string, n metal.Notification) error {
	body, err := json.Marshal(map[string]any{"id": n.ID, "ident": n.Ident, "category": n.Category, "message": n.Text(), "context": n.Context, "created": n.Created})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return errors.New("the webhook's address cannot be used") // the error would show the address, and what it carries
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "metalward")
	resp, err := s.client.Do(req)
	if err != nil {
		var u interface{ Unwrap() error }
		if errors.As(err, &u) {
			err = u.Unwrap() // without the address
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body) // bounded by the client
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answered %d", resp.StatusCode)
	}
	return nil
}

// Mailer sends mail over TLS, through connections that Dial makes.
type Mailer struct {
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	TLS  *tls.Config // nil: the host's authorities
}

type mail struct {
	server, from, to, subject, text string
	at                              time.Time
	login                           *mailLogin // nil: none
}

// errOtherServer is why an account is not shown to a mail server.
var errOtherServer = fault.New(fault.Conflict, "The account for sending mail belongs to another server; set it again.")

// send speaks SMTP. A server that offers no TLS gets nothing. Source: RFC 5321, RFC 3207, RFC 8314.
func (m Mailer) send(ctx context.Context, x mail) (err error) {
	host, port, err := net.SplitHostPort(x.server)
	if err != nil {
		return fmt.Errorf("cannot use the mail server's address: %w", err)
	}
	for _, a := range []string{x.from, x.to} {
		if _, err := netmail.ParseAddress(a); err != nil || strings.ContainsAny(a, "\r\n<>") {
			return errors.New("the sender's or receiver's address is not valid")
		}
	}
	conn, err := m.Dial(ctx, "tcp", x.server)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if until, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(until)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if m.TLS != nil {
		conf = m.TLS.Clone()
	}
	conf.ServerName = host
	if port == "465" {
		conn = tls.Client(conn, conf)
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if port != "465" {
		if err := c.StartTLS(conf); err != nil {
			return fmt.Errorf("the mail server offers no trusted TLS: %w", err)
		}
	}
	if x.login != nil {
		if x.login.Server != x.server {
			return errOtherServer
		}
		if err := c.Auth(smtp.PlainAuth("", x.login.User, x.login.Password, host)); err != nil {
			return errors.New("the mail server does not accept the account") // its words may repeat what it was sent
		}
	}
	if err := errors.Join(c.Mail(x.from), c.Rcpt(x.to)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Transfer-Encoding: 8bit\r\n\r\n%s\r\n", x.from, x.to, mime.QEncoding.Encode("utf-8", x.subject), x.at.Format(time.RFC1123Z), x.text)
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	return c.Quit()
}
