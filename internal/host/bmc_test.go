package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/power/powertest"
)

// OpenIPMI's simulator is another's code: it is configured to take all kinds of IPMI 1.5, and is asked how.
func TestAskOpenIPMI(t *testing.T) {
	good, _ := powertest.OpenIPMI(t, func(ctx context.Context, p metal.PowerParameters) error {
		b := askBMC(ctx, p["power_address"], 1)
		return b.Auth.Err
	})
	b := askBMC(t.Context(), good["power_address"], 1)
	if b.Auth.Err != nil || !b.Auth.Value.V15 || !b.Auth.Value.V20 || !slices.Equal(b.Auth.Value.Kinds, []string{"none", "MD2", "MD5", "password"}) {
		t.Errorf("got %+v", b.Auth)
	}
	if b.Zero.Err != nil || !b.Zero.Value || !b.Auth.Value.Nameless || b.Auth.Value.Anonymous { // it takes suite 0, and has a user without a name who has a password
		t.Errorf("got %+v, %+v", b.Zero, b.Auth)
	}
	if b.Web.Err == nil {
		t.Error("nothing listens for its pages, and a certificate was seen")
	}
}

// bmc answers as it is told: how it authenticates, and what it says to a session of suite 0 ("agree", "refuse", "stronger", "other").
func bmc(t *testing.T, kinds, status, extended byte, zero string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() { // ends when the test closes conn
		b := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			var out []byte
			if p := b[:n]; p[4] == 0 {
				head, body := []byte{0x81, 0x1c}, []byte{0x20, 1 << 2, 0x38, 0, 1, kinds, status, extended, 0, 0, 0, 0}
				m := append(append(append(head, checksum(head)), body...), checksum(body))
				out = append(append(bytes.Clone(rmcpHeader), 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(m))), m...)
			} else {
				ask := p[16:]
				payload := append([]byte{ask[0], 0, 4, 0}, ask[4:8]...)
				payload = append(payload, 1, 2, 3, 4)
				payload = append(payload, ask[8:32]...)
				switch zero {
				case "refuse":
					payload = []byte{ask[0], 0x11}
				case "stronger":
					payload[16] = 1
				case "other":
					payload[4] ^= 0xff
				}
				out = append(bytes.Clone(rmcpHeader), 6, 0x11, 0, 0, 0, 0, 0, 0, 0, 0)
				out = append(binary.LittleEndian.AppendUint16(out, uint16(len(payload))), payload...)
			}
			_, _ = conn.WriteTo([]byte("noise"), from)
			_, _ = conn.WriteTo(out, from)
		}
	}()
	return conn.LocalAddr().String()
}

func TestAskBMC(t *testing.T) {
	for name, c := range map[string]struct {
		kinds, status, extended byte
		zero                    string
		want                    guard.BMCAuth
		agreed                  bool
	}{
		"as bad as can be": {0xb7, 0x03, 0x03, "agree", guard.BMCAuth{V15: true, V20: true, Kinds: []string{"none", "MD2", "MD5", "password", "OEM"}, Anonymous: true, Nameless: true}, true},
		"good":             {0x80, 0x24, 0x02, "refuse", guard.BMCAuth{V20: true, KG: true}, false},
		"of 1.5 alone":     {0x04, 0x04, 0x00, "refuse", guard.BMCAuth{V15: true, Kinds: []string{"MD5"}}, false},
		"another suite":    {0x80, 0x04, 0x02, "stronger", guard.BMCAuth{V20: true}, false},
	} {
		b := askBMC(t.Context(), bmc(t, c.kinds, c.status, c.extended, c.zero), 1)
		if b.Auth.Err != nil || fmt.Sprint(b.Auth.Value) != fmt.Sprint(c.want) || b.Zero.Err != nil || b.Zero.Value != c.agreed {
			t.Errorf("%s: got %+v, want %+v and %v", name, b, c.want, c.agreed)
		}
	}
	if b := askBMC(t.Context(), bmc(t, 0x80, 4, 2, "other"), 1); !errors.Is(b.Zero.Err, errSilent) {
		t.Errorf("an answer to another was taken: %+v", b.Zero)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.LocalAddr().String()
	_ = free.Close()
	for _, address := range []string{nobody, "no such name", "127.0.0.1:x"} {
		if b := askBMC(ctx, address, 1); b.Auth.Err == nil || b.Zero.Err == nil || b.Web.Err == nil {
			t.Errorf("%s: got %+v", address, b)
		}
	}
}

// The certificate of a BMC's pages is looked at, whoever signed it.
func TestAskWeb(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	b := askBMC(t.Context(), bmc(t, 0x80, 4, 2, "refuse"), int(at.Port()))
	if b.Web.Err != nil || b.Web.Value.Sum == "" || !b.Web.Value.To.Equal(s.Certificate().NotAfter) {
		t.Errorf("got %+v", b.Web)
	}
}

func FuzzBMC(f *testing.F) {
	f.Add([]byte{6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0x81, 0x1c, 0x63, 0x20, 4, 0x38, 0, 1, 0x97, 4, 3, 0, 0, 0, 0, 5})
	f.Add([]byte{6, 0, 0xff, 7, 6, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0x11})
	f.Fuzz(func(t *testing.T, p []byte) {
		if a, code, ok := parseAuthentication(p); ok && code != 0 && len(a.Kinds) > 0 {
			t.Errorf("a refusal says %+v", a)
		}
		if agreed, ok := parseOpen(p, 1, 1); agreed && !ok {
			t.Error("agreed by what is no answer")
		}
	})
}
