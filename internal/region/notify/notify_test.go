package notify_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/notify"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

type env struct {
	*regiontest.Core
	t     *testing.T
	clock *regiontest.Clock
	s     *notify.Service
	admin context.Context
}

func newEnv(t *testing.T, c notify.Config) *env {
	t.Helper()
	e := &env{t: t, clock: regiontest.NewClock()}
	e.Core = regiontest.New(t, e.clock.Now)
	c.Gate, c.Keys, c.Log, c.Now, c.Explain = e.Gate, e.Keys, slog.New(slog.DiscardHandler), e.clock.Now, error.Error
	e.s, e.admin = notify.New(c), e.Admin(t)
	return e
}

func (e *env) texts(ctx context.Context) (list []string) {
	e.t.Helper()
	all, err := e.s.Mine(ctx)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, n := range all {
		list = append(list, n.Text())
	}
	return list
}

func (e *env) create(n metal.Notification) metal.Notification {
	e.t.Helper()
	n, err := e.s.Create(e.admin, n)
	if err != nil {
		e.t.Fatal(err)
	}
	return n
}

// TestWhoIsTold shows each to whom it concerns, until he dismisses it.
func TestWhoIsTold(t *testing.T) {
	e := newEnv(t, notify.Config{})
	alice, bob := e.User(t, "alice", false), e.User(t, "bob", false)
	e.create(metal.Notification{Message: "to {who}", Context: map[string]string{"who": "admins"}, Admins: true, Dismissable: true})
	users := e.create(metal.Notification{Message: "to users", Users: true, Dismissable: true, Category: "warning"})
	mine := e.create(metal.Notification{Message: "to alice", User: "alice"})
	same := func(who string, ctx context.Context, want ...string) {
		t.Helper()
		if got := strings.Join(e.texts(ctx), ", "); got != strings.Join(want, ", ") {
			t.Errorf("%s: got %q, want %q", who, got, want)
		}
	}
	same("admin", e.admin, "to admins")
	same("alice", alice, "to users", "to alice")
	same("bob", bob, "to users")
	if _, err := e.s.Get(bob, mine.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("bob reads alice's: got %v", err)
	}
	if n, err := e.s.Get(e.admin, mine.ID); err != nil || n.User != "alice" {
		t.Errorf("an administrator reads all: got %+v, %v", n, err)
	}
	if err := e.s.Dismiss(alice, users.ID); err != nil {
		t.Fatal(err)
	}
	same("alice", alice, "to alice")
	same("bob", bob, "to users")
	if err := e.s.Dismiss(alice, mine.ID); !fault.Is(err, fault.Forbidden) {
		t.Errorf("one that stays: got %v", err)
	}
	if err := e.s.Dismiss(bob, mine.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("another's: got %v", err)
	}
	if _, err := e.s.Update(e.admin, users.ID, func(n *metal.Notification) { n.Message = "new" }); err != nil {
		t.Fatal(err)
	}
	same("bob", bob, "new")
	if err := e.s.Delete(e.admin, users.ID); err != nil {
		t.Fatal(err)
	}
	same("bob", bob)
	for name, err := range map[string]error{
		"create": func() error { _, err := e.s.Create(alice, metal.Notification{Message: "x"}); return err }(),
		"update": func() error { _, err := e.s.Update(alice, mine.ID, func(*metal.Notification) {}); return err }(),
		"delete": e.s.Delete(alice, mine.ID),
	} {
		if !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s as a user: got %v", name, err)
		}
	}
	for name, n := range map[string]metal.Notification{"message": {}, "category": {Message: "x", Category: "loud"}, "user": {Message: "x", User: "nobody"}, "{x}": {Message: "{x}"}, "ident": {Message: "x", Ident: strings.Repeat("i", 41)}} {
		if _, err := e.s.Create(e.admin, n); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestIdent replaces what says the same again, and shows it to who dismissed the old one.
func TestIdent(t *testing.T) {
	e := newEnv(t, notify.Config{})
	n := e.create(metal.Notification{Message: "one", Ident: "i", Admins: true, Dismissable: true})
	if err := e.s.Dismiss(e.admin, n.ID); err != nil {
		t.Fatal(err)
	}
	e.create(metal.Notification{Message: "two", Ident: "i", Admins: true})
	if got := e.texts(e.admin); len(got) != 1 || got[0] != "two" {
		t.Errorf("got %q", got)
	}
}

// TestEvents tells administrators of what they should hear.
func TestEvents(t *testing.T) {
	e := newEnv(t, notify.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	event := func(action authz.Action, outcome string, detail map[string]string) {
		e.s.Told(authz.Principal{}, authz.Origin{}, metal.AuditEvent{Principal: "user:root", Action: string(action), Outcome: outcome, Source: "192.0.2.1", Detail: detail})
	}
	event(authz.MachineDeploy, "success", nil)
	event(authz.SecurityEvent, "denied", map[string]string{"event": "authn_login_fail_max", "username": "zoe"})
	event(authz.GroupEdit, "success", map[string]string{"group": metal.GroupAdministrators, "added": "bob"})
	event(authz.GroupEdit, "denied", map[string]string{"group": metal.GroupAdministrators, "added": "eve"})
	event(authz.UserRights, "success", map[string]string{"username": "dora", "service": "estate", "given": "Administrator on all pools, rbac:view on all pools"})
	event(authz.UserRights, "success", map[string]string{"username": "eve", "service": "estate", "given": "rbac:view on all pools", "taken": "Administrator on all pools"})
	event(authz.GrantEdit, "success", map[string]string{"to": "carl", "before": "User on pool default", "after": "User on pool default, Administrator on all pools"})
	event(authz.UserEdit, "success", map[string]string{"change": "second factors reset", "username": "dan"})
	want := []string{"Many failed logins as zoe from 192.0.2.1. Further attempts have to wait.", "bob is an administrator now, by user:root.", "dora is an administrator now, by the RBAC service estate.", "carl is an administrator now, by user:root.",
		"A second factor of dan was taken away, by user:root."}
	for range 12_000 {
		if len(e.texts(e.admin)) == len(want) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got := e.texts(e.admin); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

func (e *env) set(name, value string) {
	e.t.Helper()
	err := e.Gate.Do(e.admin, authz.SettingEdit, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounSetting, ID: name}); err != nil {
			return err
		}
		b, err := json.Marshal(value)
		if err != nil {
			return err
		}
		return c.Tx().PutSetting(name, string(b))
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) waiting() (n int) {
	e.View(e.t, func(v *store.View) error {
		list, err := v.DueDeliveries(e.clock.Now().Add(1000*time.Hour), 100)
		n = len(list)
		return err
	})
	return n
}

// TestWebhook posts what is for administrators, and goes on trying for a while.
func TestWebhook(t *testing.T) {
	var mu sync.Mutex
	var got []map[string]any
	status := http.StatusOK
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var m map[string]any
		if err := json.NewDecoder(r.Body).Decode(&m); err == nil {
			got = append(got, m)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	e := newEnv(t, notify.Config{Client: server.Client()})
	send := func() {
		t.Helper()
		if err := e.s.Send(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	e.create(metal.Notification{Message: "before", Admins: true})
	for _, bad := range []string{"http://hooks.example/x", "hooks.example", "https://user:pw@hooks.example/", "https://" + strings.Repeat("x", 3000)} {
		if err := e.s.SetWebhook(e.admin, secret.FromString(bad)); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "pw") {
			t.Errorf("%.40s: got %v", bad, err)
		}
	}
	if err := e.s.SetWebhook(e.admin, secret.FromString(server.URL+"/hook?token=canary-token")); err != nil {
		t.Fatal(err)
	}
	e.create(metal.Notification{Message: "for users", Users: true})
	e.create(metal.Notification{Message: "hello {n}", Context: map[string]string{"n": "you"}, Admins: true, Category: "error"})
	send()
	if len(got) != 1 || got[0]["message"] != "hello you" || got[0]["category"] != "error" || e.waiting() != 0 {
		t.Errorf("got %v, %d waiting; want what is for administrators, once", got, e.waiting())
	}
	if results, err := e.s.Test(e.admin); err != nil || results["webhook"] != "sent" || results["email"] != "is not set up" {
		t.Errorf("test: got %v, %v", results, err)
	}
	if _, err := e.s.Test(e.User(t, "alice", false)); !fault.Is(err, fault.Forbidden) {
		t.Errorf("test as a user: got %v", err)
	}
	got = nil
	got = append(got, map[string]any{})
	status = http.StatusInternalServerError
	e.create(metal.Notification{Message: "again", Admins: true})
	for range 3 {
		send() // at once it is not tried again
	}
	if len(got) != 2 || e.waiting() != 1 {
		t.Errorf("got %d posts, %d waiting", len(got), e.waiting())
	}
	for range 20 {
		e.clock.Advance(time.Hour)
		send()
	}
	if len(got) != 1+12 || e.waiting() != 0 {
		t.Errorf("got %d posts, %d waiting; want it given up after 12", len(got), e.waiting())
	}
	for _, ev := range e.Trail(t) {
		if b, _ := json.Marshal(ev.Detail); strings.Contains(string(b), "canary-token") {
			t.Errorf("the trail has the webhook's address: %s", b)
		}
	}
}

// post is a mail server: it offers TLS if it has a certificate, and keeps the mails.
func post(t *testing.T, conf *tls.Config) (address string, mails chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	mails = make(chan string, 10)
	serve := func(c net.Conn) {
		defer func() { _ = c.Close() }()
		in := bufio.NewReader(c)
		secured := false
		say := func(s string) { _, _ = io.WriteString(c, s+"\r\n") }
		say("220 mail ESMTP")
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			switch word := strings.ToUpper(strings.Fields(line + " x")[0]); word {
			case "EHLO":
				if conf != nil {
					say("250-mail\r\n250-AUTH PLAIN\r\n250 STARTTLS")
				} else {
					say("250 mail")
				}
			case "STARTTLS":
				say("220 go on")
				c = tls.Server(c, conf)
				in = bufio.NewReader(c)
				secured = true
			case "AUTH": // RFC 4616
				if line != "AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00metalward\x00canary-mail-password"))+"\r\n" || !secured {
					say("535 canary-mail-password is wrong")
				} else {
					mails <- "authenticated"
					say("235 ok")
				}
			case "DATA":
				say("354 go on")
				var b strings.Builder
				for {
					line, err := in.ReadString('\n')
					if err != nil || line == ".\r\n" {
						break
					}
					b.WriteString(line)
				}
				mails <- b.String()
				say("250 ok")
			case "QUIT":
				say("221 bye")
				return
			default:
				say("250 ok")
			}
		}
	}
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String(), mails
}

// elsewhere is a back end of secrets that can be taken away.
type elsewhere struct {
	held map[string]secret.Value
	gone bool
}

func (e *elsewhere) Seal(_ context.Context, ref secret.Ref, v secret.Value) ([]byte, error) {
	sealed := append([]byte{secret.RemoteFormat}, ref...)
	e.held[string(sealed)] = v
	return sealed, nil
}

func (e *elsewhere) Open(_ context.Context, _ secret.Ref, sealed []byte) (secret.Value, error) {
	if e.gone {
		return secret.Value{}, fault.New(fault.Forbidden, "Vault refuses.")
	}
	return e.held[string(sealed)], nil
}

func (e *elsewhere) Fetch(ctx context.Context, ref secret.Ref, sealed []byte) (secret.Value, error) {
	return e.Open(ctx, ref, sealed)
}

func (e *elsewhere) Peek(_ secret.Ref, sealed []byte) (secret.Value, bool) {
	v, ok := e.held[string(sealed)]
	return v, ok && !e.gone
}

// TestSecretsAway: that the secrets are away is itself told, in the pages at once, by mail without a login, and by the webhook, whose address is
// one of them, when they are back.
func TestSecretsAway(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	posts := make(chan struct{}, 10)
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { posts <- struct{}{} }))
	defer server.Close()
	address, mails := post(t, &tls.Config{Certificates: cert.TLS.Certificates, MinVersion: tls.VersionTLS12})
	e := newEnv(t, notify.Config{Client: server.Client(), Mail: notify.Mailer{Dial: (&net.Dialer{}).DialContext, TLS: cert.Client().Transport.(*http.Transport).TLSClientConfig}})
	far := &elsewhere{held: map[string]secret.Value{}}
	e.Keys.Use(far, true)
	for name, value := range map[string]string{"metalward_notify_email": "ops@example.net", "metalward_smtp_sender": "metalward@example.net", "metalward_smtp_server": address} {
		e.set(name, value)
	}
	if err := e.s.SetWebhook(e.admin, secret.FromString(server.URL)); err != nil {
		t.Fatal(err)
	}
	far.gone = true
	if err := e.s.Keep(authz.AsSystem(t.Context(), "secrets"), metal.Notification{Ident: "vault_away", Message: "Vault is not there.", Admins: true, Category: "error"}, false); err != nil {
		t.Fatal(err)
	}
	if got := e.texts(e.admin); len(got) != 1 {
		t.Errorf("the pages tell %q", got)
	}
	for range 20 { // more often than a notification is tried that cannot be sent
		if err := e.s.Send(t.Context()); !fault.Is(err, fault.Forbidden) {
			t.Errorf("got %v", err)
		}
		e.clock.Advance(time.Hour)
	}
	if len(mails) != 1 || len(posts) != 0 || e.waiting() != 1 {
		t.Errorf("while they are away: got %d mails, %d posts, %d waiting", len(mails), len(posts), e.waiting())
	}
	if r, err := e.s.Test(e.admin); err != nil || r["email"] != "sent" || !strings.HasPrefix(r["webhook"], "failed") {
		t.Errorf("got %v, %v", r, err)
	}
	far.gone = false
	if err := e.s.Send(t.Context()); err != nil || len(posts) != 1 || e.waiting() != 0 {
		t.Errorf("when they are back: got %v, %d posts, %d waiting", err, len(posts), e.waiting())
	}
}

// TestMailLogin holds that the account for sending mail is shown to its server alone, over TLS, and to nobody else.
func TestMailLogin(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	conf := &tls.Config{Certificates: cert.TLS.Certificates, MinVersion: tls.VersionTLS12}
	address, mails := post(t, conf)
	other, leaked := post(t, conf)
	dial := (&net.Dialer{}).DialContext
	e := newEnv(t, notify.Config{Mail: notify.Mailer{Dial: dial, TLS: cert.Client().Transport.(*http.Transport).TLSClientConfig}})
	ctx := e.admin
	if err := e.s.SetMailLogin(ctx, "metalward", secret.FromString("canary-mail-password")); !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v", err)
	}
	for name, value := range map[string]string{"metalward_notify_email": "ops@example.net", "metalward_smtp_sender": "metalward@example.net", "metalward_smtp_server": address} {
		e.set(name, value)
	}
	for _, x := range []struct{ server, user, password, result string }{
		{address, "metalward", "canary-mail-password", "sent"},
		{address, "metalward", "wrong", "failed"},
		{other, "", "", "failed"}, // the account is the first server's
	} {
		if x.user != "" {
			if err := e.s.SetMailLogin(ctx, x.user, secret.FromString(x.password)); err != nil {
				t.Fatal(err)
			}
		}
		e.set("metalward_smtp_server", x.server)
		if r, err := e.s.Test(ctx); err != nil || !strings.HasPrefix(r["email"], x.result) || strings.Contains(r["email"], "canary") {
			t.Errorf("%+v: got %v, %v", x, r, err)
		}
	}
	if len(mails) != 2 || len(leaked) != 0 {
		t.Errorf("got %d and %d mails and logins", len(mails), len(leaked))
	}
	if err := e.s.SetMailLogin(ctx, "", secret.Value{}); err != nil {
		t.Fatal(err)
	}
	if r, err := e.s.Test(ctx); err != nil || r["email"] != "sent" || len(leaked) != 1 {
		t.Errorf("without an account: got %v, %v", r, err)
	}
	for _, bad := range [][2]string{{"", "x"}, {"a\nb", "x"}, {"a", strings.Repeat("x", 600)}} {
		if err := e.s.SetMailLogin(ctx, bad[0], secret.FromString(bad[1])); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
	for _, ev := range e.Trail(t) {
		if b, _ := json.Marshal(ev.Detail); strings.Contains(string(b), "canary") {
			t.Errorf("the trail has the password: %s", b)
		}
	}
}

// TestMail sends mail over TLS only.
func TestMail(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	roots := cert.Client().Transport.(*http.Transport).TLSClientConfig
	address, mails := post(t, &tls.Config{Certificates: cert.TLS.Certificates, MinVersion: tls.VersionTLS12})
	plain, leaked := post(t, nil)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	e := newEnv(t, notify.Config{Mail: notify.Mailer{Dial: dial, TLS: roots}})
	for name, value := range map[string]string{"metalward_notify_email": "ops@example.net", "metalward_smtp_sender": "metalward@example.net", "metalward_smtp_server": address} {
		e.set(name, value)
	}
	e.create(metal.Notification{Message: "bob is an administrator now", Admins: true, Category: "warning"})
	if err := e.s.Send(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-mails:
		for _, want := range []string{"From: metalward@example.net\r\n", "To: ops@example.net\r\n", "Subject: Metalward: warning\r\n", "\r\n\r\nbob is an administrator now\r\n"} {
			if !strings.Contains(m, want) {
				t.Errorf("got %q without %q", m, want)
			}
		}
	default:
		t.Fatal("no mail came")
	}
	e.set("metalward_smtp_server", plain)
	e.create(metal.Notification{Message: "not in clear", Admins: true})
	e.set("metalward_smtp_sender", "a@b\r\nBcc: c@d")
	if err := e.s.Send(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(leaked) != 0 || e.waiting() != 1 {
		t.Errorf("a server without TLS got %d mails, %d wait", len(leaked), e.waiting())
	}
}
