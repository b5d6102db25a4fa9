// Package region is the composition root of a region controller: it makes every part and joins them, and holds
// no logic of its own. New opens, Run serves until its context ends.
package region

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/enrich"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/access"
	"github.com/metalward/metalward/internal/region/alerts"
	"github.com/metalward/metalward/internal/region/api"
	"github.com/metalward/metalward/internal/region/audit"
	"github.com/metalward/metalward/internal/region/blocks"
	"github.com/metalward/metalward/internal/region/certs"
	"github.com/metalward/metalward/internal/region/controllers"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/hostchecks"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/images"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/networks"
	"github.com/metalward/metalward/internal/region/notify"
	"github.com/metalward/metalward/internal/region/passwords"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/region/rackrpc"
	"github.com/metalward/metalward/internal/region/rbac"
	"github.com/metalward/metalward/internal/region/seclog"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/region/site"
	"github.com/metalward/metalward/internal/region/sources"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/ui"
	"github.com/metalward/metalward/internal/region/web"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/telemetry"
	"github.com/metalward/metalward/internal/waf"
)

// Region is a region controller. Its services are exported for the composition roots around it: the command
// line on its host and the tests.
type Region struct {
	ID          string
	BaseURL     string // "https://host:port"
	RPCAddress  string // "host:port" for racks
	Fingerprint string // SHA-256 of the site's CA certificate, hex

	Gate        *gate.Gate
	Identity    *identity.Service
	Access      *access.Service
	Certs       *certs.Service
	Secrets     *secrets.Service
	Notify      *notify.Service
	Machines    *machines.Service
	Networks    *networks.Service
	Controllers *controllers.Service
	Images      *images.Service
	Hosts       *hostchecks.Service
	Alerts      *alerts.Service
	Blocks      *blocks.Service
	Sources     *sources.Service
	Providers   *providers.Service
	RBAC        *rbac.Service
	API         *api.API
	Health      *telemetry.Health // of what this region depends on; nil in a command on the host
	Outgoing    *http.Client      // the way out: past this host and the networks that machines boot in

	reader *store.Reader
	writer *store.Writer
	server *web.Server
	rpc    *rackrpc.Server
	log    *slog.Logger
	now    func() time.Time
	watch  *seclog.Log
	seen   observation
	wall   *block.Wall // in front of the listeners

	https, plain, rpcListener net.Listener

	site     *site.Site
	dir      string // the state folder
	root     rootSource
	database store.Database
	running  *os.File          // locked while this region runs
	trail    ed25519.PublicKey // checks the signatures of the trail
}

// Options are what a region is made of besides its configuration.
type Options struct {
	Config  config.Region
	Version string
	Now     func() time.Time
	Log     *slog.Logger
	// Offline opens the services without listening: for commands on the region's host.
	Offline bool
	// CheckHost looks at this region's own host; nil: nobody does. It does not panic and comes back when its time is over.
	CheckHost func(context.Context) guard.HostReport
	// WatchHost follows the logs of this region's own host until its context ends, and tells what it reads and finds; nil: nobody does. Peer says whether an
	// address is another controller's. It does not panic.
	WatchHost func(ctx context.Context, peer func(netip.Addr) bool, tell func(detect.HostReport))
	// ScanHost reads the current logs of this region's own host from a time on, and says what units find; nil: nobody does.
	ScanHost func(ctx context.Context, units []detect.Unit, since time.Time) (detect.Scan, error)
	// Tuning is told the site's thresholds of detections, for WatchHost; nil: nobody is.
	Tuning *detect.Tuning
	// Rehearse runs each write transaction twice: for tests. See store.Database.
	Rehearse bool
}

// New opens a region's state, making it at first start, and its listeners.
func New(ctx context.Context, o Options) (r *Region, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	cfg := &o.Config
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.BreachedPasswords != "" {
		if err := passwords.CheckFile(cfg.BreachedPasswords); err != nil {
			return nil, fmt.Errorf("cannot use the list of breached passwords: %w", err)
		}
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make state folder: %w", err)
	}
	opened := &Region{log: o.Log, now: o.Now, wall: &block.Wall{Now: o.Now}, dir: cfg.StateDir, root: rootSource{cfg.StateDir, cfg.RootCredential, cfg.TPM}}
	r = opened
	defer func() {
		if err != nil {
			opened.Close() // r is nil by now
		}
	}()
	if !o.Offline {
		if r.running, err = lockState(cfg.StateDir); err != nil {
			return nil, err
		}
		if err := secret.WriteFile(filepath.Join(cfg.StateDir, guard.VersionFile), []byte(o.Version+"\n")); err != nil {
			return nil, err
		}
	}
	if r.ID, err = regionID(filepath.Join(cfg.StateDir, "region-id")); err != nil {
		return nil, err
	}
	db, err := database(cfg)
	if err != nil {
		return nil, err
	}
	r.database = db
	db.Rehearse = o.Rehearse
	if r.reader, r.writer, err = store.OpenWith(ctx, db); err != nil {
		return nil, err
	}
	keys, err := r.openSafe(ctx, o.Now)
	if err != nil {
		return nil, err
	}
	seen := certs.NewSeen(o.Now)
	link := secrets.NewLink(cfg.StateDir, keys, o.Now, seen.Connection("the Vault server"))
	if err := link.Open(ctx, r.reader); err != nil {
		return nil, fmt.Errorf("cannot use the settings of Vault: %w", err)
	}
	r.trail = trailKey(keys).Public().(ed25519.PublicKey)
	if err := writeTrailKey(cfg.StateDir, r.trail); err != nil {
		return nil, err
	}
	watch, err := securityLog(cfg, o)
	if err != nil {
		return nil, err
	}
	r.watch = watch
	hub := newHub()
	var found *alerts.Service
	var shut *blocks.Service
	var idn *identity.Service
	var notes *notify.Service
	var nets *networks.Service
	var surface *api.API
	var rights *rbac.Service
	r.Gate = gate.New(gate.Config{Region: r.ID, Reader: r.reader, Writer: r.writer, Log: o.Log, Now: o.Now, Key: trailKey(keys), Settle: keys.Settle, Changed: func(touched []authz.Target) {
		if idn != nil {
			idn.Changed(touched)
		}
		if nets != nil {
			nets.Changed(touched)
		}
		if surface != nil {
			surface.Changed(touched)
		}
		if rights != nil {
			rights.Changed(touched)
		}
		if shut != nil {
			shut.Changed(touched)
		}
		hub.send(touched)
	}, Noise: func(p authz.Principal, from authz.Origin, e metal.AuditEvent) {
		if found != nil {
			found.Heard(p, from, e)
		}
	}, Told: func(p authz.Principal, from authz.Origin, e metal.AuditEvent) {
		watch.Record(p, from, e)
		if found != nil {
			found.Told(p, from, e)
		}
		if notes != nil {
			notes.Told(p, from, e)
		}
	}})
	out, err := r.egress(cfg)
	if err != nil {
		return nil, err
	}
	r.Outgoing = out.Client()
	notes = notify.New(notify.Config{Gate: r.Gate, Log: o.Log, Now: o.Now, Client: out.Client(), Mail: notify.Mailer{Dial: out.Dial}, Keys: keys, Explain: egress.Message})
	r.Notify = notes
	here, err := site.Load(ctx, r.Gate, keys, o.Now())
	if err != nil {
		return nil, err
	}
	if err := here.LoadShared(ctx, cfg.StateDir); err != nil {
		return nil, fmt.Errorf("cannot open shared secret: %w", err)
	}
	r.site, r.Fingerprint = here, here.Web.Fingerprint()
	if err := os.WriteFile(filepath.Join(cfg.StateDir, "ca.pem"), here.Web.PEM(), 0o600); err != nil {
		return nil, err
	}
	if !o.Offline {
		if err := r.listen(cfg); err != nil {
			return nil, err
		}
	}
	r.Secrets = secrets.New(secrets.Config{Gate: r.Gate, Keys: keys, Now: o.Now, Log: o.Log, Root: func() (secret.Root, error) { return r.root.open() }, Link: link, Region: r.ID, Tell: notes})
	if err := r.Secrets.Follow(ctx); err != nil {
		return nil, err
	}
	watched := out
	watched.Saw = func(server string, leaf *x509.Certificate) { seen.Saw("identity provider "+server, leaf) }
	r.Providers = providers.New(providers.Config{Gate: r.Gate, Now: o.Now, Keys: keys, Client: watched.Client(), Dial: out.Dial, Roots: out.Roots, Saw: watched.Saw, BaseURL: r.BaseURL})
	idn = identity.New(identity.Config{Gate: r.Gate, Now: o.Now, Keys: keys, Passwords: passwords.Checker{Breached: cfg.BreachedPasswords}, Origin: r.BaseURL, Providers: r.Providers})
	rights = rbac.New(rbac.Config{Gate: r.Gate, Region: r.ID, Providers: r.Providers, Client: watched.Client(), Now: o.Now, Log: o.Log})
	r.RBAC = rights
	r.Providers.SetDescriber(metal.ProviderRBAC, rights.Describe)
	idn.SetRights(rights)
	nets = networks.New(r.Gate, o.Now, o.Log, here.Machines.PEM())
	r.Identity, r.Access, r.Networks = idn, access.New(r.Gate), nets
	r.Controllers = controllers.New(controllers.Config{Gate: r.Gate, Site: here, Network: nets, Now: o.Now, Log: o.Log, Joined: func(rackID string) {
		nets.Joined(rackID)
		if shut != nil {
			shut.Joined(rackID)
		}
	}})
	nets.SetRacks(r.Controllers)
	if r.Images, err = images.New(r.Gate, filepath.Join(cfg.StateDir, "images")); err != nil {
		return nil, err
	}
	r.Machines = machines.New(machines.Config{Gate: r.Gate, Site: here, Keys: keys, Racks: r.Controllers, Snapshots: nets, Now: o.Now, Log: o.Log,
		MetadataPort: uint16(cfg.MetadataPort)})
	r.Hosts = hostchecks.New(hostchecks.Config{Gate: r.Gate, Now: o.Now, Log: o.Log, Region: r.ID, Check: o.CheckHost, Racks: r.Controllers, Tell: notes})
	if !o.Offline { // a command on the host keeps no file of its own and has nobody to count
		if shut, err = r.blocks(ctx, cfg, o); err != nil {
			return nil, err
		}
		r.Blocks = shut
		host, _ := os.Hostname()
		var own func(context.Context, func(detect.HostReport))
		if o.WatchHost != nil {
			own = func(ctx context.Context, tell func(detect.HostReport)) { o.WatchHost(ctx, shut.Rack, tell) }
		}
		if found, err = alerts.New(alerts.Config{Gate: r.Gate, Follow: shut, Now: o.Now, Log: o.Log, Region: r.ID, Host: host, Tell: notes, State: filepath.Join(cfg.StateDir, "alerts.state"), Watch: own, Scan: o.ScanHost, Tuning: o.Tuning}); err != nil {
			return nil, err
		}
		r.Alerts = found
	}
	cert := &web.Certificate{CA: here.Web, Site: here.ID, Region: r.ID, Now: o.Now}
	if r.Certs, err = r.certificates(cfg, o, here, keys, cert, notes, seen); err != nil || o.Offline {
		return r, err
	}
	cert.Given, cert.Challenge = r.Certs.Given, r.Certs.ACMECertificate
	cert.Names, cert.IPs = hostNames(cfg.PublicHost)
	if err := r.observe(cfg.Observation, o.Version, o.Now); err != nil {
		return nil, err
	}
	known, err := enrich.OpenDatabases(cfg.AddressDatabases, o.Now, o.Log)
	if err != nil {
		return nil, err
	}
	r.Sources = sources.New(sources.Config{Gate: r.Gate, Databases: known, DNS: net.DefaultResolver, Dial: out.Dial})
	auth := &web.Auth{Identity: idn}
	surface, err = api.New(api.Config{Gate: r.Gate, Alerts: found, Blocks: shut, Sources: r.Sources, Identity: idn, Access: r.Access, Notify: notes, Machines: r.Machines, Networks: nets, Controllers: r.Controllers, Images: r.Images, Hosts: r.Hosts, Providers: r.Providers, Certs: r.Certs, Health: r.Health, Disks: r.Disks, Secrets: r.Secrets, Auth: auth,
		Version: o.Version, BaseURL: r.BaseURL, Now: o.Now, Log: o.Log})
	if err != nil {
		return nil, err
	}
	pages, err := ui.New(ui.Config{Gate: r.Gate, Alerts: found, Blocks: shut, Sources: r.Sources, Identity: idn, Access: r.Access, Notify: notes, Machines: r.Machines, Networks: nets, Controllers: r.Controllers, Images: r.Images, Hosts: r.Hosts, Providers: r.Providers, Certs: r.Certs, Health: r.Health, Disks: r.Disks, Secrets: r.Secrets, Auth: auth,
		CAFingerprint: r.Fingerprint, BaseURL: r.BaseURL, Version: o.Version, Log: o.Log, Changes: hub.subscribe})
	if err != nil {
		return nil, err
	}
	r.API = surface
	proxies, err := cfg.Proxies()
	if err != nil {
		return nil, err
	}
	r.server = &web.Server{Gate: r.Gate, Identity: idn, Controllers: r.Controllers, Auth: auth, Certificate: cert, API: surface, Accounts: surface.Accounts(), UI: pages, CA: here.Web.PEM(), Challenge: r.Certs.ACMEAnswer,
		Requests: r.seen.answered, Ready: r.ready, HSTS: r.Certs.HSTS, Trusted: proxies, Blocked: r.wall.Blocks, BaseURL: r.BaseURL, RPCPort: r.rpcListener.Addr().(*net.TCPAddr).Port, Log: o.Log}
	if cfg.RequestRules != config.RequestRulesOff {
		rules, err := waf.New()
		if err != nil {
			return nil, err
		}
		r.server.Rules = &web.RequestRules{Rules: rules, Block: cfg.RequestRules == "block", Security: r.Gate.Security, Judged: r.seen.judged, Log: o.Log}
	}
	if !r.seen.token.Empty() {
		r.server.Metrics = r.seen.metrics.Handler(r.seen.token)
	}
	r.rpc = &rackrpc.Server{Gate: r.Gate, Controllers: r.Controllers, Machines: r.Machines, Images: r.Images, Hosts: r.Hosts, Alerts: found, Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.Own(false) }, Now: o.Now, Log: o.Log}
	host, _ := os.Hostname()
	return r, r.Controllers.RegisterRegion(ctx, metal.Controller{SystemID: r.ID, Hostname: host, Type: metal.NodeRegionController, Version: o.Version})
}

// securityLog opens the destinations of security events; commands on the host have none.
func securityLog(cfg *config.Region, o Options) (*seclog.Log, error) {
	host, _ := os.Hostname()
	c := seclog.Config{Log: o.Log, Host: host}
	if o.Offline {
		return seclog.New(c)
	}
	c.File, c.Journal, c.Syslog = cfg.SecurityLog, cfg.SecurityJournal, cfg.SecuritySyslog
	if cfg.SecuritySyslogCA != "" {
		pem, err := os.ReadFile(cfg.SecuritySyslogCA)
		if err != nil {
			return nil, fmt.Errorf("cannot read the syslog server's authority: %w", err)
		}
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
		if !c.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fault.Field("security-syslog-ca", "%s holds no certificate in PEM form.", cfg.SecuritySyslogCA)
		}
	}
	return seclog.New(c)
}

// certificates opens the service of certificates. A command on the host has no server's certificate of its own.
func (r *Region) certificates(cfg *config.Region, o Options, here *site.Site, keys *secret.Safe, own *web.Certificate, tell certs.Teller, seen *certs.Seen) (*certs.Service, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("cannot read this host's authorities: %w", err)
	}
	c := certs.Config{Gate: r.Gate, Keys: keys, Now: o.Now, Log: o.Log, Host: firstHost(cfg.HTTPS), Roots: roots, Own: own.Own, Database: r.reader.ServerCertificate, Tell: tell, Seen: seen,
		Region: r.ID, Client: r.Outgoing, Explain: egress.Message,
		Authorities: map[string]*x509.Certificate{"site": here.Web.Anchor(), "racks": here.Racks.Cert, "machines": here.Machines.Cert}}
	if len(here.Web.Above) > 0 {
		c.Authorities[certs.Issuer] = here.Web.Cert
	}
	at := filepath.Join(cfg.StateDir, "url") // tells commands on the host how the region is reached
	if !o.Offline {
		if err := secret.WriteFile(at, []byte(r.BaseURL+"\n")); err != nil {
			return nil, err
		}
	} else if text, err := os.ReadFile(at); err == nil {
		r.BaseURL, c.Own = strings.TrimSpace(string(text)), nil
	}
	if u, err := url.Parse(r.BaseURL); err == nil {
		c.Host = u.Hostname()
	}
	s := certs.New(c)
	return s, s.Load(context.Background())
}

// database finds out which database a region has: of its configuration, else the one that init wrote down, else SQLite.
func database(cfg *config.Region) (db store.Database, err error) {
	db = store.Database{DSN: cfg.Database, WeakTLS: cfg.DatabaseWeakTLS}
	if db.DSN != "" {
		return db, nil
	}
	text, err := os.ReadFile(filepath.Join(cfg.StateDir, config.DatabaseFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
		db.DSN = filepath.Join(cfg.StateDir, "metalward.db")
		return db, nil
	case err != nil:
		return db, fmt.Errorf("cannot read which database to use: %w", err)
	}
	line, weak := strings.CutSuffix(strings.TrimSpace(string(text)), "\nweak-tls")
	if db.DSN, db.WeakTLS = line, db.WeakTLS || weak; !store.IsPostgres(line) {
		return db, fmt.Errorf("cannot use %s: its first line is no postgres:// URL", filepath.Join(cfg.StateDir, config.DatabaseFile))
	}
	db.File = filepath.Join(cfg.StateDir, config.DatabaseFile)
	return db, nil
}

// trailKey signs the trail's checkpoints; it belongs to the keyset and needs no storage.
func trailKey(keys *secret.Safe) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(keys.Derive("trail checkpoints"))
}

func regionID(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil && metal.ValidSystemID(strings.TrimSpace(string(b))) {
		return strings.TrimSpace(string(b)), nil
	}
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("cannot use %s: %w", path, errors.Join(err, errors.New("not a system id")))
	}
	id := metal.NewSystemID()
	return id, secret.WriteFile(path, []byte(id+"\n"))
}

// hostNames are the names and addresses that the region's certificate is for.
func hostNames(public string) (names []string, ips []netip.Addr) {
	names = []string{"localhost"}
	if host, err := os.Hostname(); err == nil && metal.ValidHostname(host) {
		names = append(names, host)
	}
	if ip, err := netip.ParseAddr(public); err == nil {
		ips = append(ips, ip)
	} else if metal.ValidHostname(public) {
		names = append(names, public)
	}
	addrs, _ := net.InterfaceAddrs() // none is no reason not to start
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok && !ip.IsLinkLocalUnicast() {
				ips = append(ips, ip.Unmap())
			}
		}
	}
	return names, ips
}

func (r *Region) listen(cfg *config.Region) (err error) {
	var lc net.ListenConfig
	open := func(name, addr string) net.Listener {
		if err != nil || addr == "off" {
			return nil
		}
		var l net.Listener
		if l, err = lc.Listen(context.Background(), "tcp", addr); err != nil {
			err = fmt.Errorf("cannot listen for %s: %w", name, err)
		}
		return l
	}
	r.https, r.plain, r.rpcListener = open("HTTPS", cfg.HTTPS), open("plain HTTP", cfg.Plain), open("racks", cfg.RPC)
	if err != nil {
		return err
	}
	host := cfg.PublicHost
	if host == "" {
		host = firstHost(cfg.HTTPS)
	}
	r.BaseURL = "https://" + net.JoinHostPort(host, strconv.Itoa(r.https.Addr().(*net.TCPAddr).Port))
	r.RPCAddress = net.JoinHostPort(host, strconv.Itoa(r.rpcListener.Addr().(*net.TCPAddr).Port))
	return nil
}

// proxied has the trusted proxies say who the client is, inside the wall: what it sees of a connection is the proxy.
func (r *Region) proxied(on bool, proxies []netip.Prefix) {
	if !on {
		return
	}
	if r.https = web.Proxied(r.https, proxies); r.plain != nil {
		r.plain = web.Proxied(r.plain, proxies)
	}
}

// firstHost is how others reach this host when nobody said: the listening address, or the host's first
// address, or its name.
func firstHost(listen string) string {
	if host, _, err := net.SplitHostPort(listen); err == nil && host != "" && host != "0.0.0.0" && host != "::" {
		return host
	}
	addrs, _ := net.InterfaceAddrs() // none: the name will do
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return host
}

// Run serves until the context ends. What is under way finishes or is done again at the next start.
func (r *Region) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	background := func(fn func(context.Context)) { wg.Go(func() { fn(ctx) }) }
	serve := func(name string, fn func() error) {
		wg.Go(func() {
			if err := fn(); err != nil {
				errs <- fmt.Errorf("cannot serve %s: %w", name, err)
				cancel()
			}
		})
	}
	// The trail is sealed last, after everything that writes to it, and security events are sent until then.
	sealed := make(chan struct{})
	sealCtx, stopSeal := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(sealed)
		var last sync.WaitGroup
		last.Go(func() { r.watch.Run(sealCtx) })
		r.Gate.Run(sealCtx)
		last.Wait()
	}()
	background(func(ctx context.Context) { r.site.FollowShared(ctx, r.dir, r.log) })
	background(r.Machines.Run)
	background(r.Networks.Run)
	background(r.Controllers.Run)
	background(r.Notify.Run)
	background(r.Certs.Run)
	background(r.Secrets.Run)
	background(r.Secrets.RunVault)
	background(r.Certs.RunACME)
	background(r.RBAC.Run)
	background(r.Hosts.Run)
	background(r.Alerts.Run)
	background(r.Blocks.Run)
	background(r.Gate.CheckTrail)
	background(r.API.Run)
	full := r.server.Handler()
	serve("HTTPS", func() error { return web.Serve(ctx, r.https, full, r.server.TLS(), r.log) })
	serve("racks", func() error { return r.rpc.Serve(ctx, r.rpcListener) })
	if r.plain != nil {
		serve("plain HTTP", func() error { return web.Serve(ctx, r.plain, r.server.Plain(full), nil, r.log) })
	}
	r.runObservation(ctx, serve)
	<-ctx.Done()
	wg.Wait()
	stopSeal()
	<-sealed
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// RotateShared replaces the shared secret and this region's copy of it; others follow within half a minute, and use the
// new one at once.
func (r *Region) RotateShared(ctx context.Context, refuse bool) (site.Shared, error) {
	x, err := r.Controllers.RotateShared(ctx, refuse)
	if err != nil {
		return x, err
	}
	return x, r.site.WriteShared(ctx, r.dir)
}

// BMCSelection says whose BMC accounts to rotate.
type BMCSelection struct {
	Machines, Pools []string // system ids, names
	All, TakeOver   bool
}

// RotateBMCs begins rotations of the accounts of BMCs. Kinds: Invalid when nothing is named.
func (r *Region) RotateBMCs(ctx context.Context, b BMCSelection) (machines.Rotations, error) {
	if !b.All && len(b.Machines) == 0 && len(b.Pools) == 0 {
		return machines.Rotations{}, fault.New(fault.Invalid, "Name machines or pools, or say --all.")
	}
	return r.Machines.RotateBMCs(ctx, store.MachineQuery{SystemIDs: b.Machines, Pools: b.Pools}, b.TakeOver, "on the controller")
}

// Handler serves the HTTPS port's requests: for tests.
func (r *Region) Handler() http.Handler { return r.server.Handler() }

// VerifyTrail checks the trail. It returns how many rows fit.
func (r *Region) VerifyTrail(ctx context.Context) (int64, error) {
	return audit.Verify(ctx, r.reader, r.trail)
}

// Close closes listeners and the database.
func (r *Region) Close() {
	for _, l := range []net.Listener{r.https, r.plain, r.rpcListener, r.seen.listener} {
		if l != nil {
			_ = l.Close()
		}
	}
	if r.running != nil {
		defer func() { _ = r.running.Close() }() // last: another may start then
	}
	if r.writer != nil {
		_ = r.writer.Close()
	}
	if r.reader != nil {
		_ = r.reader.Close()
	}
}
