package machines_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/wire"
)

// offered is a world whose machine has a boot token for a commissioning, and its id.
func offered(t *testing.T) (*world, string) {
	t.Helper()
	w := newWorld(t)
	row := w.m.Add(t, "m")
	if _, err := w.Machines.Commission(w.Admin(t), row.SystemID, ""); err != nil {
		t.Fatal(err)
	}
	if d := w.m.Boot(t); d.Kind != metal.BootEphemeral || d.Token == "" || d.Purpose != metal.PurposeCommission {
		t.Fatalf("got %+v, want an ephemeral boot with a token", d)
	}
	return w, row.SystemID
}

const contested = "Two clients presented this machine's boot token"

// TestTokenTwice ends the boot when its token is presented a second time.
func TestTokenTwice(t *testing.T) {
	w, id := offered(t)
	w.m.Claim(t)
	_, err := w.Machines.Claim(w.rack.Ctx(), w.m.ClaimRequest(t))
	wantKind(t, err, fault.Forbidden)
	w.want(t, id, metal.FailedCommissioning, contested)
	if b := w.boot(t, w.m.Ref.BootID); b.State != metal.BootContested && b.State != metal.BootEnded || b.CertHash != "" || b.Ended.IsZero() {
		t.Errorf("got boot %+v, want it ended without a certificate", b)
	}
	_, err = w.Machines.Task(w.rack.Ctx(), w.m.Ref)
	wantKind(t, err, fault.Unauthenticated)
	if n := w.security(t, "boot_contested"); n != 1 {
		t.Errorf("got %d events, want 1", n)
	}
	_, err = w.Machines.Claim(w.rack.Ctx(), w.m.ClaimRequest(t)) // a third time: it is nothing any more
	wantKind(t, err, fault.Unauthenticated)
	var seen bool
	for _, e := range w.events(t, id) {
		seen = seen || e.Type == "Boot contested" && e.Level == metal.LevelError
	}
	if !seen {
		t.Error("the machine has no event of the contest")
	}
	w.recommission(t, id) // a person may try again
}

// TestTokenAgain gives a client whose answer was lost another one: it shows the key of the first. The lost
// certificate is worth nothing then, and another key is another client.
func TestTokenAgain(t *testing.T) {
	w, id := offered(t)
	req := w.m.ClaimRequest(t)
	var refs []wire.BootRef
	for range 2 {
		resp, err := w.Machines.Claim(w.rack.Ctx(), req)
		if err != nil {
			t.Fatal(err)
		}
		certs, err := pki.ParseCerts(resp.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, wire.BootRef{BootID: resp.BootID, CertHash: pki.Fingerprint(certs[0].Raw)})
	}
	_, err := w.Machines.Task(w.rack.Ctx(), refs[0])
	wantKind(t, err, fault.Unauthenticated)
	if _, err := w.Machines.Task(w.rack.Ctx(), refs[1]); err != nil {
		t.Error(err)
	}
	if n := w.security(t, "boot_contested"); n != 0 {
		t.Errorf("got %d events of a contest, want none", n)
	}
	elsewhere := req
	elsewhere.IP = netip.MustParseAddr("10.0.0.150")
	_, err = w.Machines.Claim(w.rack.Ctx(), elsewhere)
	wantKind(t, err, fault.Unauthenticated)
	w.want(t, id, metal.Commissioning, "")
	_, err = w.Machines.Claim(w.rack.Ctx(), w.m.ClaimRequest(t))
	wantKind(t, err, fault.Forbidden)
	w.want(t, id, metal.FailedCommissioning, contested)
	_, err = w.Machines.Task(w.rack.Ctx(), refs[1])
	wantKind(t, err, fault.Unauthenticated)
}

// TestTokenSuperseded ends the boot when a token that was replaced is presented, before or after the good one.
func TestTokenSuperseded(t *testing.T) {
	for _, claimed := range []bool{false, true} {
		t.Run(fmt.Sprint("claimed=", claimed), func(t *testing.T) {
			w, id := offered(t)
			first := w.m.Token
			w.m.Boot(t)
			if claimed {
				w.m.Claim(t)
			}
			req := w.m.ClaimRequest(t)
			req.Token = first
			_, err := w.Machines.Claim(w.rack.Ctx(), req)
			wantKind(t, err, fault.Forbidden)
			w.want(t, id, metal.FailedCommissioning, contested)
			_, err = w.Machines.Claim(w.rack.Ctx(), w.m.ClaimRequest(t))
			wantKind(t, err, fault.Unauthenticated)
		})
	}
}

// TestTokenElsewhere refuses a token away from what it is bound to. The right client can still spend it.
func TestTokenElsewhere(t *testing.T) {
	w, id := offered(t)
	other := w.AddRack(t, "rack1", prefix("10.0.1.2/24"))
	refuse := func(name, event string, rack *regiontest.Rack, change func(*wire.ClaimRequest)) {
		t.Helper()
		before := w.security(t, event)
		req := w.m.ClaimRequest(t)
		change(&req)
		if _, err := w.Machines.Claim(rack.Ctx(), req); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: got %v, want Unauthenticated", name, err)
		}
		if n := w.security(t, event) - before; n != 1 {
			t.Errorf("%s: got %d events %s, want 1", name, n, event)
		}
	}
	refuse("other address", "boot_token_elsewhere", w.rack, func(r *wire.ClaimRequest) { r.IP = netip.MustParseAddr("10.0.0.150") })
	refuse("other MAC", "boot_token_elsewhere", w.rack, func(r *wire.ClaimRequest) { r.MAC = "52:54:00:00:09:09" })
	refuse("other lease", "boot_token_elsewhere", w.rack, func(r *wire.ClaimRequest) { r.LeaseMAC = "52:54:00:00:09:09" })
	refuse("no lease", "boot_token_elsewhere", w.rack, func(r *wire.ClaimRequest) { r.LeaseMAC = "" })
	refuse("other rack", "boot_token_unknown", other, func(*wire.ClaimRequest) {})
	refuse("no token", "boot_token_unknown", w.rack, func(r *wire.ClaimRequest) { r.Token = "" })
	refuse("the hash for a token", "boot_token_unknown", w.rack, func(r *wire.ClaimRequest) { r.Token = w.boot(t, bootOf(t, w)).TokenHash })
	refuse("a pattern for a token", "boot_token_unknown", w.rack, func(r *wire.ClaimRequest) { r.Token = "%" })
	w.want(t, id, metal.Commissioning, "")
	w.m.Claim(t)
}

// bootOf is the id of the machine's open boot.
func bootOf(t *testing.T, w *world) string {
	t.Helper()
	d, err := w.Machines.BootDecision(w.rack.Ctx(), wire.BootRequest{MAC: w.m.MAC, IP: w.m.IP})
	if err != nil {
		t.Fatal(err)
	}
	w.m.Token = d.Token
	return d.BootID
}

// TestTokenExpires lets a token live for minutes, however long the machine may take.
func TestTokenExpires(t *testing.T) {
	w, id := offered(t)
	w.clock.Advance(machines.TokenLife + time.Second)
	_, err := w.Machines.Claim(w.rack.Ctx(), w.m.ClaimRequest(t))
	wantKind(t, err, fault.Unauthenticated)
	if n := w.security(t, "boot_token_expired"); n != 1 {
		t.Errorf("got %d events, want 1", n)
	}
	w.want(t, id, metal.Commissioning, "")
	w.m.Start(t) // slow firmware asks again and gets a fresh one
	w.want(t, id, metal.Commissioning, "")

	stranger := w.machine(2)
	stranger.Boot(t)
	w.clock.Advance(machines.TokenLife + time.Second)
	_, err = w.Machines.Claim(w.rack.Ctx(), stranger.ClaimRequest(t))
	wantKind(t, err, fault.Unauthenticated)
}

// TestTokenGuesses gets nothing for a thousand guesses.
func TestTokenGuesses(t *testing.T) {
	w, id := offered(t)
	req := w.m.ClaimRequest(t)
	good := req.Token
	for i := range 1000 {
		req.Token = fmt.Sprintf("%043d", i)
		if _, err := w.Machines.Claim(w.rack.Ctx(), req); !fault.Is(err, fault.Unauthenticated) {
			t.Fatalf("guess %d: got %v, want Unauthenticated", i, err)
		}
	}
	w.want(t, id, metal.Commissioning, "")
	w.m.Token = good
	w.m.Claim(t)
}

// TestTokenAskedTooOften stops minting for firmware, or a stranger, that asks again and again.
func TestTokenAskedTooOften(t *testing.T) {
	w, _ := offered(t)
	req := wire.BootRequest{MAC: w.m.MAC, IP: w.m.IP}
	for range machines.MaxOldTokens {
		if _, err := w.Machines.BootDecision(w.rack.Ctx(), req); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.Machines.BootDecision(w.rack.Ctx(), req)
	wantKind(t, err, fault.Exhausted)
}

// TestRestartWhileClaimed fails what was under way, and hands out nothing.
func TestRestartWhileClaimed(t *testing.T) {
	w, id := offered(t)
	w.m.Claim(t)
	d := w.m.Boot(t)
	if d.Kind != metal.BootRefuse || d.Token != "" || !strings.Contains(d.Reason, "asked to boot again") {
		t.Errorf("got %+v, want a refusal with its reason", d)
	}
	w.want(t, id, metal.FailedCommissioning, "asked to boot again before its agent was done")
	_, err := w.Machines.Task(w.rack.Ctx(), w.m.Ref)
	wantKind(t, err, fault.Unauthenticated)
	if n := w.security(t, "boot_while_at_work"); n != 1 {
		t.Errorf("got %d events, want 1", n)
	}
}

// TestRestartAfterEnlisting ends the boot of an unknown machine that reported and then restarted: its certificate is
// worth nothing any more, and the machine waits to be accepted.
func TestRestartAfterEnlisting(t *testing.T) {
	w := newWorld(t)
	w.m.Start(t)
	w.m.Found(t)
	for range 2 {
		if d := w.m.Boot(t); d.Kind != metal.BootRefuse || d.Token != "" || !strings.Contains(d.Reason, "waits to be accepted") {
			t.Errorf("got %+v, want that it waits to be accepted", d)
		}
	}
	if b := w.boot(t, w.m.Ref.BootID); b.State != metal.BootEnded || b.Ended.IsZero() {
		t.Errorf("got boot %+v, want it ended", b)
	}
	_, err := w.Machines.Task(w.rack.Ctx(), w.m.Ref)
	wantKind(t, err, fault.Unauthenticated)
	if n := w.security(t, "boot_while_at_work"); n != 1 {
		t.Errorf("got %d events, want 1", n)
	}
	w.want(t, w.boot(t, w.m.Ref.BootID).SystemID, metal.New, "")
}

// TestBootElsewhere refuses boot requests that a rack relays from networks that it does not serve.
func TestBootElsewhere(t *testing.T) {
	w, _ := offered(t)
	other := w.AddRack(t, "rack1", prefix("10.0.1.2/24"))
	for _, c := range []struct {
		rack *regiontest.Rack
		ip   string
	}{{other, "10.0.0.101"}, {w.rack, "10.0.1.101"}, {w.rack, "192.0.2.1"}} {
		_, err := w.Machines.BootDecision(c.rack.Ctx(), wire.BootRequest{MAC: w.m.MAC, IP: netip.MustParseAddr(c.ip)})
		wantKind(t, err, fault.Forbidden)
	}
	_, err := w.Machines.BootDecision(w.rack.Ctx(), wire.BootRequest{MAC: "nonsense", IP: w.m.IP})
	wantKind(t, err, fault.Invalid)
}
