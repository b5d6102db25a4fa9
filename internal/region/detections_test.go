package region

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/rack"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// What each detection of Metalward's own events is about happens here at the real doors, and is an alert with who did it.
func TestDetectionsFire(t *testing.T) {
	r := runRegion(t, t.TempDir(), time.Now)
	admin := authz.With(context.Background(), authz.Principal{Kind: authz.User, Name: "admin", UserID: 1, Rights: authz.Everything()})
	fires := func(unit, client string, least detect.Severity) {
		t.Helper()
		waitFor(t, unit, func() bool {
			list, err := r.Alerts.List(admin, store.AlertQuery{Unit: unit, Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range list {
				if a.Client == client && a.Severity >= least {
					return true
				}
			}
			return false
		})
	}

	// A token whose key is another.
	for i := range 3 {
		token, err := r.Controllers.MintToken(authz.AsSystem(context.Background(), "test"), "rack0")
		if err != nil {
			t.Fatal(err)
		}
		token.Key = bytes.Repeat([]byte{byte(i)}, len(token.Key))
		if _, err := rack.Enrol(t.Context(), filepath.Join(t.TempDir(), "rack"), r.BaseURL, token.Text()); err == nil {
			t.Fatal("a forged token enrolled a rack")
		}
	}
	fires("mw_enrolment_guessing", "127.0.0.1", detect.High)

	// A request in clear at the racks' door, and a certificate that is no rack's.
	plain, err := net.Dial("tcp", r.rpcListener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := fmt.Fprint(plain, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	fires("mw_internal_door", "127.0.0.1", detect.Low)

	// A key that is none, at the API.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // the region's own
	for i := range 15 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.BaseURL+"/MAAS/api/2.0/machines/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", `OAuth oauth_version="1.0", oauth_signature_method="PLAINTEXT", oauth_consumer_key="`+fmt.Sprintf("%018d", i)+`", oauth_token="`+fmt.Sprintf("%018d", i)+`", oauth_signature="%26cccccccccccccccccc", oauth_nonce="1", oauth_timestamp="`+fmt.Sprint(time.Now().Unix())+`"`)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Fatalf("got %d", res.StatusCode)
		}
	}
	fires("mw_key_misuse", "127.0.0.1", detect.Medium) // at once, although the trail has ten of them

	// Rights.
	if _, err := r.Access.CreateGroup(admin, "friends", ""); err != nil {
		t.Fatal(err)
	}
	fires("mw_role_escalation", "", detect.Info)

	// What racks relay and see: the rack names the address, which is to blame, and not the rack.
	dir := filepath.Join(t.TempDir(), "rack")
	if _, err := rack.Enrol(t.Context(), dir, r.BaseURL, r.mintFor(t, "rack0")); err != nil {
		t.Fatal(err)
	}
	k, err := rack.New(rack.Options{Config: config.Rack{StateDir: dir, Metadata: freePort(t), BootHTTP: 1}, Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	waitFor(t, "the rack to connect", func() bool { return len(r.Controllers.Connected()) == 1 })
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	guesser := netip.MustParseAddr("10.0.0.9")
	for i := range 3 {
		waitFor(t, "the rack to know that it is connected", func() bool { // the region knows it first
			err := k.Call(t.Context(), wire.Claim, wire.ClaimRequest{Token: fmt.Sprint("guess", i), MAC: "52:54:00:00:00:01", CSR: csr, IP: guesser}, nil)
			if err == nil {
				t.Fatal("a guess was a token")
			}
			return !fault.Is(err, fault.Unavailable)
		})
	}
	fires("mw_boot_token_guessing", "10.0.0.9", detect.Medium)
	for kind, unit := range map[string]string{"claim_flood": "mw_metadata_scraping", "rogue_dhcp": "mw_rogue_dhcp", "tftp_scraping": "mw_tftp_scraping", "metadata_handshake_failed": "mw_internal_door"} {
		if err := k.Call(t.Context(), wire.Security, wire.SecurityRequest{Kind: kind, Source: guesser, Detail: "x"}, nil); err != nil {
			t.Fatal(err)
		}
		fires(unit, "10.0.0.9", detect.Low)
	}
	if err := k.Call(t.Context(), wire.Security, wire.SecurityRequest{Kind: "dhcp_starvation", Detail: "x"}, nil); err != nil {
		t.Fatal(err)
	}
	fires("mw_dhcp_starvation", "", detect.High)

	// A rack says nothing of what regions say.
	if err := k.Call(t.Context(), wire.Security, wire.SecurityRequest{Kind: "trail_broken", Detail: "x"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := k.Call(t.Context(), wire.Security, wire.SecurityRequest{Kind: "rogue_dhcp", Source: netip.MustParseAddr("10.0.0.10")}, nil); err != nil {
		t.Fatal(err)
	}
	fires("mw_rogue_dhcp", "10.0.0.10", detect.High) // which came after it
	if list, err := r.Alerts.List(admin, store.AlertQuery{Unit: "mw_trail_broken", Limit: 1}); err != nil || len(list) != 0 {
		t.Errorf("got %+v, %v", list, err)
	}
}
