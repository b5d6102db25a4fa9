// Package netboot serves the first stage of a network boot, the only part that travels in clear because
// firmware cannot do better: TFTP for the boot programs, and HTTP for them, the kernel, the initial RAM disk
// and the iPXE script that says what a machine is to do.
//
// Nothing here is secret but the boot token inside a script. It is given only to the holder of the lease of the
// address that asks, spent once, and replaced by a certificate: see package metadata. Start with Handler.
package netboot

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/throttle"
	"github.com/metalward/metalward/internal/wire"
)

// Ports. Source: MAAS's rack uses 5248 for boot files.
const (
	DefaultHTTPPort  = 5248
	DefaultHTTPSPort = 5246
)

// Limits of the HTTP server.
const (
	readTimeout    = 10 * time.Second
	idleTimeout    = time.Minute
	writeTimeout   = 10 * time.Minute // an initial RAM disk over a slow link
	maxHeader      = 8 << 10
	maxConnections = 1024
	maxPerSource   = 32 // connections of one address; firmware has one or two
	// decisionTime is how long the region may take to decide a boot; iPXE itself waits longer.
	decisionTime = 20 * time.Second
	// maxDecisions bounds the boots that wait for the region at the same time.
	maxDecisions = 256
	// A machine may ask decisionBurst times at once, then once per decisionEvery: each asking mints a token.
	decisionEvery, decisionBurst, maxMachines = 5 * time.Second, 10, 8192
	maxUUID                                   = 36
)

// Leases tells who holds an address.
type Leases interface {
	LeaseOf(ip netip.Addr) (metal.MAC, bool)
}

// Decider is the region's decision about a boot. Errors: faults, whose messages appear at the console.
type Decider interface {
	BootDecision(ctx context.Context, req wire.BootRequest) (metal.BootDecision, error)
}

// Config is what a Handler needs.
type Config struct {
	Log     *slog.Logger
	Files   *Files
	Leases  Leases
	Decider Decider
	// CA returns the SHA-256 of the metadata CA certificate in hex; empty while there is none.
	CA func() string
	// HTTPPort and HTTPSPort are the rack's own, as machines reach them; 0 means the defaults.
	HTTPPort, HTTPSPort int
	// Security is told of what an attack would look like: kind "boot_mac_mismatch". Must return soon. May be nil.
	Security func(wire.SecurityRequest)
}

// Handler is the http.Handler for port 5248. Safe for concurrent use.
type Handler struct {
	cfg      Config
	local    atomic.Pointer[map[metal.MAC]bool] // machines that boot from disk
	deciding chan struct{}
	limit    *throttle.Limiter[netip.Addr]
}

// NewHandler makes a handler.
func NewHandler(cfg Config) *Handler {
	if cfg.HTTPPort == 0 {
		cfg.HTTPPort = DefaultHTTPPort
	}
	if cfg.HTTPSPort == 0 {
		cfg.HTTPSPort = DefaultHTTPSPort
	}
	h := &Handler{cfg: cfg, deciding: make(chan struct{}, maxDecisions), limit: throttle.New[netip.Addr](decisionEvery, decisionBurst, maxMachines)}
	h.SetSnapshot(metal.RackSnapshot{})
	return h
}

// SetSnapshot replaces what is known of machines without asking the region.
func (h *Handler) SetSnapshot(s metal.RackSnapshot) {
	local := map[metal.MAC]bool{}
	for _, m := range s.Machines {
		if m.LocalBoot {
			local[m.MAC] = true
		}
	}
	h.local.Store(&local)
}

// Serve serves plain HTTP on a listener with the limits of this package until ctx ends.
func (h *Handler) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: h, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(h.cfg.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(netutil.LimitListener(throttle.PerSource(l, maxPerSource), maxConnections)); ctx.Err() == nil {
		return err
	}
	return nil
}

// ServeHTTP answers GET and HEAD for the boot files and the script; all else is 404 or 405. There is no mux,
// because it would redirect "//snponly.efi", which firmware asks for and does not follow.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/"); {
	case name == "boot.ipxe":
		h.script(w, r)
	case httpFiles[name]:
		h.file(w, r, name)
	default:
		http.NotFound(w, r)
	}
}

func (h *Handler) file(w http.ResponseWriter, r *http.Request, name string) {
	f, info, err := h.cfg.Files.open(name)
	if err != nil {
		h.cfg.Log.WarnContext(r.Context(), "cannot read a boot file", "file", name, "error", err)
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
	http.ServeContent(w, r, name, info.ModTime(), f)
}

// script answers /boot.ipxe. Whatever goes wrong, the answer is a script that says so and asks again, with
// status 200, because iPXE shows nobody the body of an error. The one exception is a client that lies.
func (h *Handler) script(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	at, from, err := h.where(r)
	if err != nil {
		http.Error(w, "unknown address", http.StatusForbidden)
		return
	}
	req, stage, err := h.request(r, from)
	var text string
	switch {
	case fault.Is(err, fault.Forbidden):
		http.Error(w, fault.Message(err), http.StatusForbidden)
		return
	case err != nil:
		text = waitScript(at, fault.Message(err), askSeconds)
	case stage:
		text = stageScript(at)
	default:
		text = h.decide(r.Context(), at, req)
	}
	_, _ = w.Write([]byte(text))
}

// where returns the rack's address that was asked and the asker's.
func (h *Handler) where(r *http.Request) (place, netip.Addr, error) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return place{}, netip.Addr{}, fault.New(fault.Internal, "No local address.")
	}
	to, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return place{}, netip.Addr{}, err
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return place{}, netip.Addr{}, err
	}
	return place{ip: to.Addr().Unmap().WithZone(""), httpPort: h.cfg.HTTPPort, httpsPort: h.cfg.HTTPSPort}, from.Addr().Unmap(), nil
}

// request says who asks, by the lease of its address. stage reports that the client has yet to be sent for the
// rest. Kinds: Forbidden if it claims to be another machine, Unavailable without a lease.
func (h *Handler) request(r *http.Request, from netip.Addr) (req wire.BootRequest, stage bool, err error) {
	mac, ok := h.cfg.Leases.LeaseOf(from)
	if !ok {
		return req, false, fault.New(fault.Unavailable, "This rack gave no lease for %s.", from)
	}
	q := r.URL.Query()
	if claimed := q.Get("mac"); claimed != "" {
		if m, err := metal.ParseMAC(claimed); err != nil || m != mac {
			h.cfg.Log.WarnContext(r.Context(), "boot request for another machine refused", "ip", from, "lease_mac", string(mac))
			if h.cfg.Security != nil {
				h.cfg.Security(wire.SecurityRequest{Kind: "boot_mac_mismatch", Source: from, MAC: mac, Detail: "asked for the boot script of another MAC address"})
			}
			return req, false, fault.New(fault.Forbidden, "The lease of this address belongs to another machine.")
		}
	}
	req = wire.BootRequest{MAC: mac, IP: from, UEFI: q.Get("platform") == "efi"}
	if id := q.Get("uuid"); len(id) <= maxUUID && safe(id, "-") {
		req.UUID = strings.ToLower(id)
	}
	return req, !q.Has("platform"), nil
}

// decide returns the script for a machine: from the snapshot if it boots from disk, so that deployed machines
// start while the region is away, else what the region says.
func (h *Handler) decide(ctx context.Context, at place, req wire.BootRequest) string {
	if (*h.local.Load())[req.MAC] {
		return localScript()
	}
	if !h.limit.Allow(req.IP, time.Now()) {
		return waitScript(at, "this machine asks too often.", retrySeconds)
	}
	select {
	case h.deciding <- struct{}{}:
		defer func() { <-h.deciding }()
	default:
		return waitScript(at, "too many machines boot at once.", retrySeconds)
	}
	ctx, cancel := context.WithTimeout(ctx, decisionTime)
	defer cancel()
	d, err := h.cfg.Decider.BootDecision(ctx, req)
	if err != nil {
		h.cfg.Log.WarnContext(ctx, "no boot decision from the region", "mac", string(req.MAC), "error", err)
		reason := "the region controller does not answer."
		if f, ok := fault.As(err); ok && f.Kind != fault.Unavailable && f.Kind != fault.Internal {
			reason = f.Error()
		}
		return waitScript(at, reason, retrySeconds)
	}
	switch d.Kind {
	case metal.BootLocal:
		return localScript()
	case metal.BootEphemeral:
		text, err := ephemeralScript(at, req.MAC, d, h.cfg.CA())
		if err != nil {
			h.cfg.Log.ErrorContext(ctx, "cannot render the boot script", "mac", string(req.MAC), "error", err)
			return waitScript(at, fault.Message(err), askSeconds)
		}
		h.cfg.Log.InfoContext(ctx, "machine boots the ephemeral system", "mac", string(req.MAC), "purpose", string(d.Purpose))
		return text
	case metal.BootRefuse:
		return waitScript(at, d.Reason, askSeconds)
	default:
		return waitScript(at, "the region gave an answer this rack does not know.", askSeconds)
	}
}
