package region

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// visitor speaks to a region's listener by way of a trusted proxy.
type visitor struct {
	t      *testing.T
	s      *surface
	from   string
	client *http.Client
}

func (s *surface) visitor(from string) *visitor {
	return &visitor{s.t, s, from, &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}} //nolint:gosec // a test's own server
}

// do asks for something and returns the status and the text.
func (v *visitor) do(user, method, path string, fields ...string) (int, string) {
	v.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	req := httptest.NewRequest(method, "https://"+v.s.r.https.Addr().String()+path, strings.NewReader(form.Encode()))
	req.RequestURI = ""
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Forwarded-For", v.from)
	v.s.sign(req, user)
	res, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// TestAttackerIsShutOut: who guesses passwords is shut out within two seconds of the alert, the operator and a rack are not; a restart keeps it; racks have the list; the panic switch
// lets everybody in.
func TestAttackerIsShutOut(t *testing.T) {
	port := freePort(t)
	behindProxy := func(o *Options) {
		o.Config.TrustedProxies, o.Config.RPC = []string{"127.0.0.0/8"}, fmt.Sprintf("127.0.0.1:%d", port)
	}
	s := newSurfaceWith(t, behindProxy)
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		r := s.r
		go func() { done <- r.Run(ctx) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			r.Close()
		}
	}
	stop := run()
	defer func() { stop() }()
	rackDir := filepath.Join(t.TempDir(), "rack")
	if _, err := rack.Enrol(context.Background(), rackDir, s.r.BaseURL, s.r.mintFor(t, "rack1")); err != nil {
		t.Fatal(err)
	}
	stopRack := startRack(t, rackDir, time.Now)
	defer func() { stopRack() }()
	waitFor(t, "the rack to connect", func() bool { return len(s.r.Controllers.Connected()) == 1 })

	attacker, operator := s.visitor("198.51.100.7"), s.visitor("192.0.2.10")
	if code, text := operator.do("admin", "PUT", maasapi.Root+"/block-policy/", "enforce", "maas_login_bruteforce"); code != 200 {
		t.Fatalf("got %d %s", code, text)
	}
	out := func() bool {
		code, text := attacker.do("", "GET", "/login")
		return code == 403 && strings.Contains(text, "refused for now")
	}
	if out() {
		t.Fatal("shut out before he did anything")
	}
	for range 6 {
		attacker.do("", "POST", "/MAAS/accounts/authenticate/", "username", "admin", "password", "wrong", "consumer", "x")
	}
	waitFor(t, "the attacker to be shut out", out)
	if code, _ := attacker.do("admin", "GET", maasapi.Root+"/users/?op=whoami"); code != 403 {
		t.Errorf("with a key he got %d", code)
	}
	if code, text := operator.do("admin", "GET", maasapi.Root+"/blocks/198.51.100.7/"); code != 200 || !strings.Contains(text, "maas_login_bruteforce") {
		t.Errorf("the operator got %d %s", code, text)
	}
	has := func(what string) bool {
		text, err := os.ReadFile(filepath.Join(rackDir, "blocks.json"))
		return err == nil && strings.Contains(string(text), what)
	}
	waitFor(t, "the rack to have the list", func() bool { return has("198.51.100.7/32") })
	stands := func() (x struct {
		On          bool
		Controllers []struct {
			Hostname, How, Problem string
			Applied                int
			Behind                 bool
			Refused                []any
		}
	}) {
		_, text := operator.do("admin", "GET", maasapi.Root+"/block-policy/")
		if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(&x); err != nil {
			t.Fatal(err)
		}
		return x
	}
	waitFor(t, "both controllers to say that they have it", func() bool {
		x := stands()
		for _, c := range x.Controllers {
			if c.Behind || c.Applied != 1 || c.How != wire.BlocksListeners || c.Problem != "" {
				return false
			}
		}
		return len(x.Controllers) == 2
	})

	// By hand: nobody shuts himself out, nor the rack, which is connected from this host.
	for address, why := range map[string]string{"192.0.2.10": "192.0.2.10/32 cannot be blocked: 192.0.2.10 is from where", "127.0.0.1": "no address of a single host", "198.51.100.7": "blocked already"} {
		if code, text := operator.do("admin", "POST", maasapi.Root+"/blocks/", "address", address, "reason", "x"); code < 400 || !strings.Contains(text, why) {
			t.Errorf("%s: got %d %s", address, code, text)
		}
	}

	// A restart keeps it, from the first request on; the rack's list needs no region.
	stop()
	stopRack()
	again := options(s.dir, s.log)
	behindProxy(&again)
	s.start(again)
	if code, text := get(s.handler, "198.51.100.7"); code != 403 || !strings.Contains(text, "refused for now") {
		t.Errorf("after the restart: got %d", code)
	}
	stop = run()
	stopRack = startRack(t, rackDir, time.Now)
	if !has("198.51.100.7/32") {
		t.Error("the rack's restart lost the list")
	}
	waitFor(t, "the rack to connect again", func() bool { return len(s.r.Controllers.Connected()) == 1 })

	if code, text := operator.do("admin", "POST", maasapi.Root+"/blocks/?op=clear"); code != 200 || !strings.Contains(text, `"ended": 1`) && !strings.Contains(text, `"ended":1`) {
		t.Errorf("panic: got %d %s", code, text)
	}
	waitFor(t, "the attacker to be let in", func() bool { return !out() })
	waitFor(t, "the rack to let him in", func() bool { return !has("198.51.100.7/32") })
	if stands().On {
		t.Error("it is on still")
	}

	// On again, and by hand: an address is shut out and let in by name, who would have been is listed, and whoever is no administrator gets nothing.
	for _, c := range []struct {
		who, method, path string
		fields            []string
		code              int
		text              string
	}{
		{"alice", "POST", "/blocks/?op=on", nil, 403, ""},
		{"admin", "POST", "/blocks/?op=on", nil, 200, `"on"`},
		{"alice", "POST", "/blocks/", []string{"address", "198.51.100.9", "reason", "x"}, 403, ""},
		{"alice", "GET", "/blocks/", nil, 403, ""},
		{"admin", "POST", "/blocks/", []string{"address", "2001:db8:7::9", "reason", "scans", "for", "7d"}, 200, "2001:db8:7::/64"},
		{"admin", "GET", "/blocks/", nil, 200, "scans"},
		{"admin", "GET", "/blocks/2001:db8:7::5/", nil, 200, "scans"},
		{"alice", "POST", "/blocks/2001:db8:7::5/?op=lift", nil, 403, ""},
		{"admin", "POST", "/blocks/2001:db8:7::5/?op=lift", []string{"reason", "a mistake"}, 204, ""},
		{"admin", "GET", "/blocks/2001:db8:7::5/", nil, 404, ""},
		{"admin", "GET", "/blocks/?ended=true", nil, 200, "a mistake"},
		{"admin", "GET", "/blocks/?ended=maybe", nil, 400, "true or false"},
		{"admin", "GET", "/blocks/?op=observed&limit=5", nil, 200, "["},
		{"admin", "PUT", "/block-policy/", []string{"enforce", "maas_login_spray_user"}, 400, "does not prove its source"},
		{"alice", "PUT", "/block-policy/", []string{"most", "3"}, 403, ""},
		{"alice", "POST", "/blocks/?op=clear", nil, 403, ""},
	} {
		if code, text := operator.do(c.who, c.method, maasapi.Root+c.path, c.fields...); code != c.code || !strings.Contains(text, c.text) {
			t.Errorf("%s, %s %s: got %d %s, want %d %s", c.who, c.method, c.path, code, text, c.code, c.text)
		}
	}
}

func get(h http.Handler, from string) (int, string) {
	req := httptest.NewRequest("GET", "https://localhost/login", nil)
	req.RemoteAddr = from + ":4711"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// TestWallAtTheListeners: on each of a region's ports who is blocked is cut off at once, with a connection that is open, too; others are not, nor is a controller at the racks' door.
func TestWallAtTheListeners(t *testing.T) {
	s := newSurfaceWith(t, func(o *Options) { o.Config.Plain = "127.0.0.1:0" })
	const attacker, friend, rack = "127.0.0.77", "127.0.0.78", "127.0.0.79"
	if err := s.r.Gate.Do(authz.AsSystem(context.Background(), "test"), authz.RackEnrol, func(c *gate.Call) error {
		if err := c.Require(store.ControllerTarget("abc")); err != nil {
			return err
		}
		return c.Tx().AddController(metal.Controller{SystemID: "abc", Hostname: "rack1", Type: metal.NodeRackController, Created: c.Now(),
			Interfaces: []metal.ControllerInterface{{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix(rack + "/8")}}}})
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.r.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	dial := func(l net.Listener, from string) net.Conn {
		t.Helper()
		d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", l.Addr().String())
		if errors.Is(err, syscall.ECONNRESET) { // before the call came back
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	// open reports whether the other end keeps a connection open for a moment.
	open := func(c net.Conn) bool {
		if c == nil {
			return false
		}
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		return errors.Is(err, os.ErrDeadlineExceeded)
	}
	waitFor(t, "the rack's address to be known", func() bool { return s.r.Blocks.Rack(netip.MustParseAddr(rack)) })
	for name, l := range map[string]net.Listener{"HTTPS": s.r.https, "plain": s.r.plain, "racks": s.r.rpcListener} {
		t.Run(name, func(t *testing.T) {
			s.r.wall.Use(block.NewSet(&block.List{}))
			bad, good, controller := dial(l, attacker), dial(l, friend), dial(l, rack)
			if !open(bad) || !open(good) || !open(controller) {
				t.Fatal("closed before anybody was blocked")
			}
			list := &block.List{}
			for _, a := range []string{attacker, rack} {
				list.Blocks = append(list.Blocks, block.Block{Prefix: netip.MustParsePrefix(a + "/32"), Until: time.Now().Add(time.Hour)})
			}
			s.r.wall.Use(block.NewSet(list))
			spared := name == "racks"
			if open(bad) || !open(good) || open(controller) != spared {
				t.Errorf("open connections: the attacker's %v, the friend's %v, the controller's %v", open(bad), open(good), open(controller))
			}
			if open(dial(l, attacker)) || !open(dial(l, friend)) || open(dial(l, rack)) != spared {
				t.Error("new connections are taken or refused of the wrong ones")
			}
		})
	}
}
