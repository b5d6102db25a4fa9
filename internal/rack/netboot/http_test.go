package netboot

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	knownMAC = metal.MAC("52:54:00:00:00:01")
	localMAC = metal.MAC("52:54:00:00:00:02")
	testCA   = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

// leases is a fake of the DHCP server's.
type leases map[string]metal.MAC

func (l leases) LeaseOf(ip netip.Addr) (metal.MAC, bool) { m, ok := l[ip.String()]; return m, ok }

type decider func(wire.BootRequest) (metal.BootDecision, error)

func (d decider) BootDecision(_ context.Context, r wire.BootRequest) (metal.BootDecision, error) {
	return d(r)
}

func bootFiles(t testing.TB) *Files {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		fileBIOS: strings.Repeat("bios", 1000), fileUEFI: strings.Repeat("uefi", 40_000), fileKernel: "kernel", fileInitrd: "initrd", "secret": "secret",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := OpenFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func newHandler(t testing.TB, d decider, events *[]wire.SecurityRequest) *Handler {
	t.Helper()
	h := NewHandler(Config{
		Log: slog.New(slog.DiscardHandler), Files: bootFiles(t), Decider: d, CA: func() string { return testCA },
		Leases:   leases{"10.0.0.100": knownMAC, "10.0.0.101": localMAC},
		Security: func(e wire.SecurityRequest) { *events = append(*events, e) },
	})
	h.SetSnapshot(metal.RackSnapshot{Machines: []metal.SnapshotMachine{{MAC: localMAC, LocalBoot: true}, {MAC: knownMAC}}})
	return h
}

func get(h *Handler, method, target, from string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", nil)
	u, err := url.Parse("http://rack")
	if err != nil {
		panic(err)
	}
	u.Path, u.RawQuery, _ = strings.Cut(target, "?")
	r.URL, r.RemoteAddr = u, from+":4000"
	to := net.TCPAddr{IP: net.ParseIP("10.0.0.2"), Port: 5248}
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&to)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestScripts(t *testing.T) {
	ephemeral := metal.BootDecision{Kind: metal.BootEphemeral, Token: "tok_EN-1", Purpose: metal.PurposeCommission}
	with := func(args string) metal.BootDecision { d := ephemeral; d.KernelArgs = args; return d }
	const asked = "/boot.ipxe?mac=52:54:00:00:00:01&platform=efi&uuid=ABCDEF00-0000-0000-0000-000000000001"
	tests := []struct {
		golden, target, from string
		answer               metal.BootDecision
		err                  error
	}{
		{"stage", "/boot.ipxe", "10.0.0.100", ephemeral, nil},
		{"ephemeral", asked, "10.0.0.100", ephemeral, nil},
		{"kernel-args", asked, "10.0.0.100", with("  console=ttyS1   nomodeset "), nil},
		{"kernel-args-hostile", asked, "10.0.0.100", with("x || shell"), nil},
		{"kernel-args-newline", asked, "10.0.0.100", with("x\nshell"), nil},
		{"kernel-args-expansion", asked, "10.0.0.100", with("${net0/gateway}"), nil},
		{"token-hostile", asked, "10.0.0.100", metal.BootDecision{Kind: metal.BootEphemeral, Token: "a && shell"}, nil},
		{"local", asked, "10.0.0.100", metal.BootDecision{Kind: metal.BootLocal}, nil},
		{"local-by-snapshot", "/boot.ipxe?platform=pcbios", "10.0.0.101", ephemeral, nil},
		{"refuse", asked, "10.0.0.100", metal.BootDecision{Kind: metal.BootRefuse, Reason: "broken: see \"fan\" && ${x}\nshell"}, nil},
		{"region-away", asked, "10.0.0.100", metal.BootDecision{}, errors.New("dial tcp 10.9.9.9: secret detail")},
		{"region-refuses", asked, "10.0.0.100", metal.BootDecision{}, fault.New(fault.Conflict, "Another boot of it is running.")},
		{"no-lease", asked, "10.0.0.7", ephemeral, nil},
		{"unknown-kind", asked, "10.0.0.100", metal.BootDecision{Kind: "dance"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.golden, func(t *testing.T) {
			var events []wire.SecurityRequest
			h := newHandler(t, func(r wire.BootRequest) (metal.BootDecision, error) {
				wanted := wire.BootRequest{MAC: knownMAC, IP: netip.MustParseAddr("10.0.0.100"), UEFI: true, UUID: "abcdef00-0000-0000-0000-000000000001"}
				if diff := cmp.Diff(wanted, r, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
					t.Error(diff)
				}
				return tt.answer, tt.err
			}, &events)
			w := get(h, http.MethodGet, tt.target, tt.from)
			path := filepath.Join("testdata", tt.golden+".ipxe")
			if *update {
				if err := os.WriteFile(path, w.Body.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(golden), w.Body.String()); diff != "" || w.Code != 200 {
				t.Errorf("status %d (-want +got)\n%s", w.Code, diff)
			}
			if len(events) != 0 {
				t.Errorf("got security events %v", events)
			}
		})
	}
}

func TestOtherMachinesScript(t *testing.T) {
	var events []wire.SecurityRequest
	h := newHandler(t, func(wire.BootRequest) (metal.BootDecision, error) {
		t.Error("the region was asked")
		return metal.BootDecision{}, nil
	}, &events)
	for _, mac := range []string{"52:54:00:00:00:02", "nonsense"} {
		events = nil
		w := get(h, http.MethodGet, "/boot.ipxe?platform=efi&mac="+mac, "10.0.0.100")
		if w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "#!ipxe") {
			t.Errorf("%s: got %d %q", mac, w.Code, w.Body)
		}
		if len(events) != 1 || events[0].Kind != "boot_mac_mismatch" || events[0].MAC != knownMAC {
			t.Errorf("%s: got events %v", mac, events)
		}
	}
}

func TestTooOften(t *testing.T) {
	n := 0
	h := newHandler(t, func(wire.BootRequest) (metal.BootDecision, error) {
		n++
		return metal.BootDecision{Kind: metal.BootLocal}, nil
	}, new([]wire.SecurityRequest))
	for range 50 {
		get(h, http.MethodGet, "/boot.ipxe?platform=efi", "10.0.0.100")
	}
	if n != decisionBurst {
		t.Errorf("the region was asked %d times; want %d", n, decisionBurst)
	}
}

func TestBootFiles(t *testing.T) {
	h := newHandler(t, nil, new([]wire.SecurityRequest))
	tests := []struct {
		method, target string
		code           int
		size           int
	}{
		{"GET", "/snponly.efi", 200, 160_000}, {"GET", "//snponly.efi", 200, 160_000}, {"HEAD", "/vmlinuz", 200, 0},
		{"GET", "/undionly.kpxe", 200, 4000}, {"GET", "/initrd.zst", 200, 6},
		{"GET", "/secret", 404, -1}, {"GET", "/../secret", 404, -1}, {"GET", "/vmlinuz/../secret", 404, -1}, {"GET", "/", 404, -1}, {"GET", "/boot.ipxe/x", 404, -1},
		{"POST", "/vmlinuz", 405, -1}, {"DELETE", "/boot.ipxe", 405, -1},
	}
	for _, tt := range tests {
		w := get(h, tt.method, tt.target, "10.0.0.9")
		if w.Code != tt.code || (tt.size >= 0 && w.Body.Len() != tt.size) {
			t.Errorf("%s %s: got %d with %d bytes; want %d with %d", tt.method, tt.target, w.Code, w.Body.Len(), tt.code, tt.size)
		}
	}
}

func TestServe(t *testing.T) {
	h := newHandler(t, nil, new([]wire.SecurityRequest))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx, l) }()
	base := "http://" + l.Addr().String()
	req, _ := http.NewRequest(http.MethodGet, base+"/snponly.efi", nil)
	req.Header.Set("Range", "bytes=4-7")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusPartialContent || string(body) != "uefi" {
		t.Errorf("range: got %d %q", res.StatusCode, body)
	}
	req.Header.Set("If-None-Match", res.Header.Get("ETag"))
	req.Header.Del("Range")
	if res, err = http.DefaultClient.Do(req); err != nil || res.StatusCode != http.StatusNotModified {
		t.Errorf("etag: got %v, %v", res.StatusCode, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// FuzzQuery checks that nothing a client says reaches a script.
func FuzzQuery(f *testing.F) {
	f.Add("mac=52:54:00:00:00:01&platform=efi&uuid=x")
	f.Add("platform=${x}&uuid=%0ashell")
	f.Fuzz(func(t *testing.T, query string) {
		h := newHandler(t, func(wire.BootRequest) (metal.BootDecision, error) {
			return metal.BootDecision{Kind: metal.BootEphemeral, Token: "token"}, nil
		}, new([]wire.SecurityRequest))
		w := get(h, http.MethodGet, "/boot.ipxe?"+query, "10.0.0.100")
		if w.Code == http.StatusForbidden {
			return
		}
		at := place{ip: netip.MustParseAddr("10.0.0.2"), httpPort: DefaultHTTPPort, httpsPort: DefaultHTTPSPort}
		ephemeral, _ := ephemeralScript(at, knownMAC, metal.BootDecision{Token: "token"}, testCA)
		if got := w.Body.String(); got != stageScript(at) && got != ephemeral {
			t.Errorf("got %q", got)
		}
	})
}
