// Package rack is the composition root of a rack controller: DHCP, network boot, agents and BMC power on one
// side, the session to the region on the other.
//
// The rack dials the region and decides nothing of importance by itself. What it serves comes in a snapshot,
// which it keeps on disk: while the region is away, leases go on and machines that boot from disk are answered.
package rack

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/rack/dhcp"
	"github.com/metalward/metalward/internal/rack/images"
	"github.com/metalward/metalward/internal/rack/metadata"
	"github.com/metalward/metalward/internal/rack/netboot"
	"github.com/metalward/metalward/internal/rack/power"
	"github.com/metalward/metalward/internal/rack/power/ipmi"
	"github.com/metalward/metalward/internal/rack/power/manual"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// Options are what a rack is made of besides its configuration.
type Options struct {
	Config  config.Rack
	Version string
	Now     func() time.Time
	Log     *slog.Logger
	// CheckHost looks at the rack's own host; nil: nobody does. It does not panic and comes back when its time is over.
	CheckHost func(context.Context) guard.HostReport
	// WatchHost follows the logs of the rack's own host until its context ends, and tells what it reads and finds; nil: nobody does. Peer says whether an address
	// is another controller's. It does not panic.
	WatchHost func(ctx context.Context, peer func(netip.Addr) bool, tell func(detect.HostReport))
	// Tuning is told the site's thresholds of detections, for both; nil: nobody is.
	Tuning *detect.Tuning
	// ReadSyslog looks at lines that machines sent until its context ends, and tells what it finds; nil: none are received. It does not panic.
	ReadSyslog func(ctx context.Context, lines <-chan logs.Sent, tell func(detect.HostReport))
	// Notice says to a person what is off and why.
	Notice func(string)
}

// Rack is a rack controller.
type Rack struct {
	Options
	mu      sync.Mutex
	id      *identity // guarded by mu
	session atomic.Pointer[wire.Session]

	dhcp     *dhcp.Server
	files    *netboot.Files
	boot     *netboot.Handler
	tftp     *netboot.TFTP
	metadata *metadata.Handler
	images   *images.Cache
	power    *power.Set

	taking   sync.Mutex // one snapshot at a time is used and kept
	snapshot atomic.Pointer[metal.RackSnapshot]
	server   atomic.Pointer[serving] // certificate shown to machines
	recert   chan struct{}
	leases   chan metal.Lease
	security chan wire.SecurityRequest
	recheck  chan struct{}  // somebody wants the host checked again
	found    detect.Backlog // what detections found in this host's logs, and which logs are read
	heard    detect.Backlog // what they found in machines'

	shield     shield
	regionAddr atomic.Pointer[netip.Addr] // of the region, as it was last connected
}

// serving is the rack's certificate on its boot VLANs.
type serving struct {
	cert  *tls.Certificate
	ca    string // fingerprint
	renew time.Time
	ips   []netip.Addr
}

// Bounds of what waits for the region.
const (
	maxLeases   = 16384
	maxSecurity = 1024
)

// New makes a rack of an enrolled state folder.
func New(o Options) (*Rack, error) {
	if err := o.Config.Check(); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	id, err := loadIdentity(o.Config.StateDir)
	if err != nil {
		return nil, err
	}
	if o.Config.Region != "" {
		id.Region = o.Config.Region
	}
	r := &Rack{Options: o, id: id, recert: make(chan struct{}, 1), leases: make(chan metal.Lease, maxLeases), security: make(chan wire.SecurityRequest, maxSecurity), recheck: make(chan struct{}, 1)}
	if r.dhcp, err = dhcp.New(dhcp.Config{Log: o.Log, LeaseFile: filepath.Join(o.Config.StateDir, "leases"), HTTPPort: o.Config.BootHTTP, Observe: r.observe, Security: r.alarm, Now: o.Now}); err != nil {
		return nil, err
	}
	if o.Config.BootFiles != "" {
		if r.files, err = netboot.OpenFiles(o.Config.BootFiles); err != nil {
			return nil, err
		}
		r.boot = netboot.NewHandler(netboot.Config{Log: o.Log, Files: r.files, Leases: r.dhcp, Decider: r, CA: r.metadataCA, HTTPPort: o.Config.BootHTTP,
			HTTPSPort: o.Config.Metadata, Security: r.alarm})
		r.tftp = netboot.NewTFTP(r.files, o.Log, r.alarm)
	}
	if r.images, err = images.New(images.Config{Log: o.Log, Dir: filepath.Join(o.Config.StateDir, "image-cache"), Fetch: r.fetch, MaxBytes: o.Config.ImageCacheBytes,
		Security: r.alarm}); err != nil {
		return nil, err
	}
	r.metadata = metadata.New(metadata.Config{Log: o.Log, Region: r, Leases: r.dhcp, Images: r.images, Certificate: r.certificate, Security: r.alarm})
	r.power = power.NewSet(o.Log, ipmi.New(), manual.New(o.Log))
	if err := r.handlers().Check(wire.FromRegion); err != nil {
		return nil, err
	}
	if err := secret.WriteFile(filepath.Join(o.Config.StateDir, guard.VersionFile), []byte(o.Version+"\n")); err != nil {
		return nil, err
	}
	if err := r.loadSnapshot(); err != nil {
		return nil, err
	}
	r.shield = shield{wall: &block.Wall{Now: o.Now}, file: filepath.Join(o.Config.StateDir, "blocks.json"), now: o.Now, needs: r.blockNeeds, log: o.Log}
	if o.Config.Blocks == config.BlocksNFTables {
		r.shield.nft = &block.NFT{Table: block.TableRack}
	}
	r.shield.load()
	return r, nil
}

// SystemID is the rack's id.
func (r *Rack) SystemID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.id.SystemID
}

// Run serves until the context ends.
func (r *Rack) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	run := func(name string, fn func() error) {
		wg.Go(func() {
			if err := fn(); err != nil && ctx.Err() == nil {
				errs <- fmt.Errorf("cannot serve %s: %w", name, err)
				cancel()
			}
		})
	}
	var lc net.ListenConfig
	meta, err := lc.Listen(ctx, "tcp", ":"+strconv.Itoa(r.Config.Metadata))
	if err != nil {
		return fmt.Errorf("cannot listen for agents: %w", err)
	}
	run("agents", func() error { return r.metadata.Serve(ctx, r.shield.wall.Listener(meta, nil)) })
	if r.boot == nil {
		r.Notice("Network boot is off: no boot files. Build them with `make ephemeral` and name the folder with --boot-files.")
	} else {
		http, err := lc.Listen(ctx, "tcp", ":"+strconv.Itoa(r.Config.BootHTTP))
		if err != nil {
			return fmt.Errorf("cannot listen for boot files: %w", err)
		}
		run("boot files", func() error { return r.boot.Serve(ctx, r.shield.wall.Listener(http, nil)) })
		if os.Geteuid() != 0 {
			r.Notice("DHCP and TFTP are off: they need root (or CAP_NET_RAW and CAP_NET_BIND_SERVICE). Everything else works.")
		} else {
			tftp, err := net.ListenUDP("udp4", &net.UDPAddr{Port: 69})
			if err != nil {
				r.Notice("TFTP is off: " + err.Error())
			} else {
				run("TFTP", func() error { return r.tftp.Serve(ctx, tftp) })
			}
			run("DHCP", func() error { return r.dhcp.Run(ctx) })
		}
	}
	if err := r.serveObservation(ctx, run); err != nil {
		return err
	}
	if err := r.serveSyslog(ctx, run); err != nil {
		return err
	}
	wg.Go(func() { r.shield.run(ctx) })
	wg.Go(func() { r.connectLoop(ctx) })
	wg.Go(func() { r.reportLoop(ctx) })
	wg.Go(func() { r.certLoop(ctx) })
	wg.Go(func() { r.hostLoop(ctx, r.sendHost) })
	if r.WatchHost != nil {
		wg.Go(func() { r.WatchHost(ctx, r.isRegion, func(x detect.HostReport) { r.found.Put("host", x) }) })
	}
	wg.Go(func() { r.foundLoop(ctx, r.sendFound) })
	<-ctx.Done()
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// Call sends a message to the region. Kinds: Unavailable while it is away.
func (r *Rack) Call(ctx context.Context, m wire.Message, req, resp any) error {
	s := r.session.Load()
	if s == nil {
		return fault.New(fault.Unavailable, "The region controller is not connected.")
	}
	return s.Call(ctx, m, req, resp)
}

// BootDecision asks the region what a machine should boot.
func (r *Rack) BootDecision(ctx context.Context, req wire.BootRequest) (d metal.BootDecision, err error) {
	return d, r.Call(ctx, wire.Boot, req, &d)
}

// handlers answer the region's messages.
func (r *Rack) handlers() wire.Handlers {
	return wire.Handlers{
		wire.Snapshot.Name: func(_ context.Context, body []byte) (any, error) {
			var s metal.RackSnapshot
			if err := wire.Decode(body, &s); err != nil {
				return nil, err
			}
			return nil, r.takeSnapshot(s, body)
		},
		wire.Power.Name: func(ctx context.Context, body []byte) (any, error) {
			var req wire.PowerRequest
			if err := wire.Decode(body, &req); err != nil {
				return nil, err
			}
			return r.doPower(ctx, req)
		},
		wire.CheckHost.Name: func(_ context.Context, body []byte) (any, error) {
			if err := wire.Decode(body, &struct{}{}); err != nil {
				return nil, err
			}
			select {
			case r.recheck <- struct{}{}:
			default: // it is noted already
			}
			return nil, nil
		},
		wire.Blocks.Name: func(ctx context.Context, body []byte) (any, error) {
			var req wire.BlocksRequest
			if err := wire.Decode(body, &req); err != nil {
				return nil, err
			}
			return r.shield.take(ctx, req)
		},
		wire.Rotate.Name: func(ctx context.Context, body []byte) (any, error) {
			var req wire.RotateRequest
			if err := wire.Decode(body, &req); err != nil {
				return nil, err
			}
			return r.doRotate(ctx, req)
		},
	}
}

const maxPowerTime = time.Minute

func (r *Rack) doPower(ctx context.Context, req wire.PowerRequest) (any, error) {
	var key wire.PowerKeyResponse
	if err := r.Call(ctx, wire.PowerKey, wire.PowerKeyRequest{CommandID: req.CommandID, SystemID: req.SystemID}, &key); err != nil {
		return nil, err
	}
	state, err := r.power.Do(ctx, req.PowerType, power.Request{Action: req.Action, Boot: req.Boot, UEFI: req.UEFI, Parameters: power.NewParameters(key.Parameters)},
		min(req.Timeout, maxPowerTime))
	if err != nil {
		r.Log.WarnContext(ctx, "power command failed", "machine", req.SystemID, "action", req.Action, "error", err)
		return wire.PowerResponse{State: metal.PowerError, Error: fault.Message(err)}, nil
	}
	return wire.PowerResponse{State: state}, nil
}

// doRotate carries out a step of the rotation of a BMC's account. It may be repeated whenever it broke off.
func (r *Rack) doRotate(ctx context.Context, req wire.RotateRequest) (resp wire.RotateResponse, err error) {
	var key wire.PowerKeyResponse
	if err := r.Call(ctx, wire.PowerKey, wire.PowerKeyRequest{CommandID: req.CommandID, SystemID: req.SystemID}, &key); err != nil {
		return resp, err
	}
	if key.Other == nil {
		return resp, fault.New(fault.Invalid, "The region named no other account.")
	}
	p, other := power.NewParameters(key.Parameters), power.Account{User: key.Other.User, Password: key.Other.Password}
	timeout := min(req.Timeout, power.MaxTimeout)
	switch req.Step {
	case metal.RotationSetting:
		used, err := r.power.SetAccount(ctx, req.PowerType, p, other, timeout)
		resp.PasswordBytes = len(used.Password)
		return resp, err
	case metal.RotationRetiring:
		err = r.power.RetireAccount(ctx, req.PowerType, p, other, timeout)
		if resp.Lost, resp.Stays = errors.Is(err, power.ErrLost), errors.Is(err, power.ErrStays); resp.Lost || resp.Stays {
			err = nil
		}
		return resp, err
	}
	return resp, fault.New(fault.Invalid, "%q is no step of a rotation.", req.Step)
}

func (r *Rack) snapshotFile() string { return filepath.Join(r.Config.StateDir, "snapshot.json") }

// loadSnapshot takes up the kept snapshot. One that is damaged, or that another release wrote, must not keep the rack
// from coming back to the region, which has a good one.
func (r *Rack) loadSnapshot() error {
	b, err := os.ReadFile(r.snapshotFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var s metal.RackSnapshot
	if err = json.Unmarshal(b, &s); err == nil {
		err = r.useSnapshot(s)
	}
	if err != nil {
		r.Log.Warn("cannot use the kept snapshot; waiting for the region", "error", err)
	}
	return nil
}

// takeSnapshot serves from a snapshot that the region sent, and keeps it.
func (r *Rack) takeSnapshot(s metal.RackSnapshot, text []byte) error {
	r.taking.Lock()
	defer r.taking.Unlock()
	if err := r.useSnapshot(s); err != nil {
		return err
	}
	return secret.WriteFile(r.snapshotFile(), text)
}

// useSnapshot serves from a snapshot from now on; one that cannot be used leaves the old one in place.
func (r *Rack) useSnapshot(s metal.RackSnapshot) error {
	old := r.snapshot.Load()
	if old != nil && s.Version <= old.Version {
		return fault.New(fault.Conflict, "The rack has a newer snapshot (%d) than this (%d).", old.Version, s.Version)
	}
	if err := r.metadata.SetSnapshot(s); err != nil {
		return err
	}
	if err := r.dhcp.SetSnapshot(s); err != nil {
		if old != nil {
			err = errors.Join(err, r.metadata.SetSnapshot(*old))
		}
		return err
	}
	if r.boot != nil {
		r.boot.SetSnapshot(s)
	}
	r.snapshot.Store(&s)
	if cur := r.server.Load(); cur == nil || !slices.Equal(cur.ips, bootAddresses(s)) {
		r.wantCert()
	}
	return nil
}

func bootAddresses(s metal.RackSnapshot) (ips []netip.Addr) {
	for _, v := range s.VLANs {
		for _, sub := range v.Subnets {
			ips = append(ips, sub.RackIP)
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return slices.Compact(ips)
}

func (r *Rack) wantCert() {
	select {
	case r.recert <- struct{}{}:
	default:
	}
}

// certLoop keeps the certificate for machines fresh: at a change of addresses, and before it ends.
func (r *Rack) certLoop(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.recert:
		case <-tick.C:
		}
		snap := r.snapshot.Load()
		if snap == nil || r.session.Load() == nil {
			continue
		}
		ips := bootAddresses(*snap)
		cur := r.server.Load()
		if len(ips) == 0 || cur != nil && slices.Equal(cur.ips, ips) && r.Now().Before(cur.renew) {
			continue
		}
		if err := r.serveCertificate(ctx, ips); err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "cannot get a certificate for machines", "error", err)
		}
	}
}

func (r *Rack) serveCertificate(ctx context.Context, ips []netip.Addr) error {
	key, err := pki.NewKey()
	if err != nil {
		return err
	}
	csr, err := pki.Request(key)
	if err != nil {
		return err
	}
	var resp wire.CertificateResponse
	if err := r.Call(ctx, wire.ServeCert, wire.CertificateRequest{CSR: csr}, &resp); err != nil {
		return err
	}
	certs, err := pki.ParseCerts(resp.Certificate)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(resp.CA)
	if block == nil {
		return errors.New("cannot read the metadata CA")
	}
	c := &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, x := range certs {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	r.server.Store(&serving{cert: c, ca: pki.Fingerprint(block.Bytes), renew: r.Now().Add(resp.Expires.Sub(r.Now()) * 2 / 3), ips: ips})
	r.Log.InfoContext(ctx, "certificate for machines renewed", "expires", resp.Expires)
	return nil
}

func (r *Rack) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s := r.server.Load(); s != nil {
		return s.cert, nil
	}
	return nil, errors.New("no certificate yet")
}

func (r *Rack) metadataCA() string {
	if s := r.server.Load(); s != nil {
		return s.ca
	}
	return ""
}

// observe queues leases for the region. When the queue is full the region learns of them at their renewal.
func (r *Rack) observe(list []metal.Lease) {
	for _, l := range list {
		select {
		case r.leases <- l:
		default:
			return
		}
	}
}

// alarm queues a security event for the region; a flood of them loses some, never blocks.
func (r *Rack) alarm(e wire.SecurityRequest) {
	r.Log.Warn("security event", "kind", e.Kind, "source", e.Source, "detail", e.Detail)
	select {
	case r.security <- e:
	default:
	}
}

// leaseBatch is how many leases go to the region in one message.
const leaseBatch = 512

// reportLoop brings what the rack saw to the region, in order, trying again while it is away.
func (r *Rack) reportLoop(ctx context.Context) {
	var batch []metal.Lease
	var event *wire.SecurityRequest
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if len(batch) == 0 && event == nil {
			select {
			case <-ctx.Done():
				return
			case l := <-r.leases:
				batch = append(batch, l)
			case e := <-r.security:
				event = &e
			}
		}
	more:
		for len(batch) > 0 && len(batch) < leaseBatch {
			select {
			case l := <-r.leases:
				batch = append(batch, l)
			default:
				break more
			}
		}
		var err error
		if len(batch) > 0 {
			if err = r.Call(ctx, wire.Leases, wire.LeasesRequest{Leases: batch}, nil); !r.again(ctx, err) {
				batch = nil
			}
		}
		if event != nil && err == nil {
			if err = r.Call(ctx, wire.Security, *event, nil); !r.again(ctx, err) {
				event = nil
			}
		}
		if err != nil {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}

// again reports whether a report that ended so is to be sent again: it is while the region is away. What the region
// refuses is lost, and said.
func (r *Rack) again(ctx context.Context, err error) bool {
	if fault.Is(err, fault.Unavailable) || ctx.Err() != nil {
		return true
	}
	if err != nil {
		r.Log.ErrorContext(ctx, "the region refused a report", "error", err)
	}
	return false
}

// fetch gets an image's bytes from the region, with the rack's certificate, from an offset on.
func (r *Rack) fetch(ctx context.Context, digest string, offset int64) (io.ReadCloser, int64, error) {
	r.mu.Lock()
	id := *r.id
	r.mu.Unlock()
	cfg, err := id.tls(wire.ALPNImage, r.Now)
	if err != nil {
		return nil, 0, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true, DisableCompression: true,
		DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: 30 * time.Second}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+id.Region+"/image/"+digest, nil)
	if err != nil {
		return nil, 0, err
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("cannot fetch image: %w: %v", fault.New(fault.Unavailable, "The region controller does not answer."), err)
	}
	switch {
	case res.StatusCode == http.StatusOK && offset == 0:
		return res.Body, res.ContentLength, nil
	case res.StatusCode == http.StatusPartialContent && offset > 0:
		_, total, ok := strings.Cut(res.Header.Get("Content-Range"), "/")
		n, err := strconv.ParseInt(total, 10, 64)
		if ok && err == nil {
			return res.Body, n, nil
		}
	}
	data, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	_ = res.Body.Close()
	return nil, 0, wire.DecodeFault(res.StatusCode, data)
}
