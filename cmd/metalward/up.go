package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/harden"
	"github.com/metalward/metalward/internal/logs/source"
	"github.com/metalward/metalward/internal/rack"
	"github.com/metalward/metalward/internal/region"
)

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// regionFlags binds a region's configuration to flags.
func regionFlags(fs *flag.FlagSet, c *config.Region) {
	fs.StringVar(&c.StateDir, "state-dir", defaultStateDir(), "folder for database, keys and images")
	fs.StringVar(&c.Database, "database", "", "postgres:// URL without a password; by default what `metalward init region` wrote down, else SQLite in the state folder")
	fs.BoolVar(&c.DatabaseWeakTLS, "database-weak-tls", false, "speak to a PostgreSQL on another host without verifying who it is")
	fs.StringVar(&c.HTTPS, "listen-https", "", "UI and API (default :5443)")
	fs.StringVar(&c.Plain, "listen-plain", "", "plain HTTP, which only redirects (default :5240; off for none)")
	fs.StringVar(&c.RPC, "listen-rpc", "", "racks (default :5250)")
	fs.StringVar(&c.PublicHost, "public-host", "", "name or address by which others reach this region")
	fs.StringVar(&c.SecurityLog, "security-log", "", "file that security events are appended to, JSON, one a line")
	fs.BoolVar(&c.SecurityJournal, "security-journal", false, "send security events to this host's journal")
	fs.StringVar(&c.SecuritySyslog, "security-syslog", "", "host:port of a syslog server over TLS (RFC 5425) that security events go to")
	fs.StringVar(&c.SecuritySyslogCA, "security-syslog-ca", "", "PEM file of the authority of the syslog server's certificate")
	fs.StringVar(&c.BreachedPasswords, "breached-passwords", "", "file of SHA-1 hashes, sorted, of passwords that nobody may choose")
	fs.Var((*list)(&c.TrustedProxies), "trusted-proxy", "network of a proxy whose forwarding headers are believed; may be repeated")
	fs.BoolVar(&c.ProxyProtocol, "proxy-protocol", false, "the trusted proxies say who the client is by the PROXY protocol, all of them")
	watchFlag(fs, &c.Watch)
	fs.Var((*list)(&c.AddressDatabases), "address-database", "file in MaxMind's format (.mmdb) of networks or countries of addresses, for alerts; may be repeated")
	fs.StringVar(&c.RequestRules, "request-rules", "detect", "what becomes of requests that the OWASP Core Rule Set takes for attacks: off, detect (a security event) or block")
	blocksFlag(fs, &c.Blocks)
	egressFlags(fs, c)
	rootFlags(fs, c)
	observationFlags(fs, &c.Observation)
	fs.IntVar(&c.MetadataPort, "metadata-port", 0, "the racks' HTTPS port for machines (default 5246)")
}

func blocksFlag(fs *flag.FlagSet, where *string) {
	fs.StringVar(where, "blocks", "", "where who is blocked is refused: listeners, or nftables for the packet filter of this host, too, which needs CAP_NET_ADMIN (default listeners)")
}

// egressFlags bind what the way out may reach besides the usual.
func egressFlags(fs *flag.FlagSet, c *config.Region) {
	fs.Var((*list)(&c.EgressAllow), "egress-allow", "network of this host or link that webhooks and identity providers may be in; may be repeated")
	fs.StringVar(&c.EgressCA, "egress-ca", "", "PEM file of authorities that such servers' certificates may be of, besides those that this host trusts")
}

func observationFlags(fs *flag.FlagSet, c *config.Observation) {
	fs.StringVar(&c.Metrics, "listen-metrics", "", "address of this host's loopback that metrics are served at, such as 127.0.0.1:9240 (default none)")
	fs.StringVar(&c.MetricsToken, "metrics-token-file", "", "file of mode 0600 with the token that whoever asks for metrics must have; a region then serves them on HTTPS, too")
}

func rackFlags(fs *flag.FlagSet, c *config.Rack) {
	fs.StringVar(&c.BootFiles, "boot-files", defaultBootFiles(), "folder of iPXE, kernel and initramfs, as `make ephemeral` builds it")
	fs.IntVar(&c.BootHTTP, "boot-port", 0, "port of the first-stage boot files (default 5248)")
	fs.StringVar(&c.SyslogUDP, "listen-syslog-udp", "", "address that machines' logs are received at by UDP, such as :514 (default none)")
	fs.StringVar(&c.SyslogTCP, "listen-syslog-tcp", "", "likewise by TCP, such as :514 (default none)")
	fs.StringVar(&c.SyslogTLS, "listen-syslog-tls", "", "likewise over TLS, such as :6514 (default none)")
	fs.Var((*list)(&c.SyslogFrom), "syslog-from", "network that may send its logs, besides those that the rack serves; may be repeated")
}

func defaultBootFiles() string {
	for _, dir := range []string{"/usr/share/metalward/ephemeral", "build/ephemeral"} {
		if _, err := os.Stat(filepath.Join(dir, "vmlinuz")); err == nil {
			return dir
		}
	}
	return ""
}

// up runs region and rack in one process.
func up(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward up", flag.ContinueOnError)
	var rc config.Region
	var kc config.Rack
	regionFlags(fs, &rc)
	rackFlags(fs, &kc)
	noRack := fs.Bool("no-rack", false, "run the region alone")
	debug := fs.Bool("debug", false, "log for developers")
	if err := fs.Parse(args); err != nil {
		return err
	}
	log := logger(*debug)
	return serve(ctx, rc, func(ctx context.Context, r *region.Region) error {
		if *noRack {
			return nil
		}
		return localRack(ctx, r, rc, kc, log)
	}, log)
}

// serve runs a region and beside it what with starts.
func serve(ctx context.Context, rc config.Region, with func(context.Context, *region.Region) error, log *slog.Logger) error {
	if _, err := databaseURL(rc.Database, ""); err != nil {
		return err
	}
	self := harden.NewSelf(absolute(rc.StateDir), guard.Region, version)
	tuning := &detect.Tuning{}
	r, err := region.New(ctx, region.Options{Config: rc, Version: version, Log: log, CheckHost: self.Check, Tuning: tuning, WatchHost: watchHost(rc.Watch, rc.StateDir, tuning, rc.Proxies, log),
		ScanHost: scanHost(rc.Watch, source.UsualPatterns(), rc.Proxies)})
	if err != nil {
		return err
	}
	defer r.Close()
	self.People = r.People // nothing checks before the region runs
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var besides error
	wg.Go(func() {
		if err := with(ctx, r); err != nil && ctx.Err() == nil {
			besides = err
			cancel()
		}
	})
	if err := welcome(ctx, r); err != nil {
		return err
	}
	err = r.Run(ctx)
	cancel()
	wg.Wait()
	if besides != nil {
		return besides
	}
	return err
}

// absolute is a folder by its whole path; one that cannot be told is left as it is, and is then not found.
func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// welcome prints where the region is and, until there is an administrator, the link to create one.
func welcome(ctx context.Context, r *region.Region) error {
	fmt.Printf("Metalward is at  %s\nCA fingerprint   %s (SHA-256)\n", r.BaseURL, r.Fingerprint)
	token, needed, err := r.Identity.FirstLink(ctx)
	if err != nil || !needed {
		return err
	}
	fmt.Printf("\nCreate the first administrator within 30 minutes, once, at\n  %s/first/%s\nor here with: metalward createadmin\n\n", r.BaseURL, token.RevealString())
	return nil
}

// localRack runs a rack on the region's host, enrolling it at first start by the same path as any other.
func localRack(ctx context.Context, r *region.Region, rc config.Region, kc config.Rack, log *slog.Logger) error {
	kc.StateDir = filepath.Join(rc.StateDir, "rack")
	kc.Metadata = rc.MetadataPort
	_, port, err := net.SplitHostPort(strings.TrimPrefix(r.BaseURL, "https://"))
	if err != nil {
		return err
	}
	here := "localhost"
	if host, _, err := net.SplitHostPort(rc.HTTPS); err == nil && host != "" && host != "::" && host != "0.0.0.0" {
		here = host
	}
	if !rack.Enrolled(kc.StateDir) {
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		token, err := r.Controllers.MintToken(authz.AsSystem(ctx, "up"), name)
		if err != nil {
			return err
		}
		if _, err := rack.Enrol(ctx, kc.StateDir, "https://"+net.JoinHostPort(here, port), token.Text()); err != nil {
			return fmt.Errorf("cannot enrol the local rack: %w", err)
		}
	}
	_, rpcPort, err := net.SplitHostPort(r.RPCAddress)
	if err != nil {
		return err
	}
	kc.Region = net.JoinHostPort(here, rpcPort)
	// The region reads this host's logs; the rack beside it need not do so, too.
	tuning := &detect.Tuning{}
	k, err := rack.New(rack.Options{Config: kc, Version: version, Log: log, Notice: notice, CheckHost: harden.NewSelf(absolute(kc.StateDir), guard.Rack, version).Check, Tuning: tuning,
		ReadSyslog: readSyslog(kc.StateDir, tuning, log)})
	if err != nil {
		return err
	}
	return k.Run(ctx)
}

func notice(text string) { fmt.Println("Note: " + text) }

func runRegion(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward region", flag.ContinueOnError)
	var rc config.Region
	regionFlags(fs, &rc)
	debug := fs.Bool("debug", false, "log for developers")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return serve(ctx, rc, func(context.Context, *region.Region) error { return nil }, logger(*debug))
}

func runRack(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "enrol" {
		return enrol(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "token" {
		return rackToken(ctx, args[1:])
	}
	fs := flag.NewFlagSet("metalward rack", flag.ContinueOnError)
	var kc config.Rack
	fs.StringVar(&kc.StateDir, "state-dir", filepath.Join(defaultStateDir(), "rack"), "folder for the rack's key, leases and image cache")
	fs.IntVar(&kc.Metadata, "metadata-port", 0, "HTTPS port for machines (default 5246)")
	rackFlags(fs, &kc)
	blocksFlag(fs, &kc.Blocks)
	observationFlags(fs, &kc.Observation)
	watchFlag(fs, &kc.Watch)
	debug := fs.Bool("debug", false, "log for developers")
	if err := fs.Parse(args); err != nil {
		return err
	}
	log := logger(*debug)
	tuning := &detect.Tuning{}
	k, err := rack.New(rack.Options{Config: kc, Version: version, Log: log, Notice: notice, CheckHost: harden.NewSelf(absolute(kc.StateDir), guard.Rack, version).Check, Tuning: tuning,
		WatchHost: watchHost(kc.Watch, kc.StateDir, tuning, nil, log), ReadSyslog: readSyslog(kc.StateDir, tuning, log)})
	if err != nil {
		return err
	}
	fmt.Println("Rack controller", k.SystemID())
	return k.Run(ctx)
}

// maxTokenFile bounds the token file; a token has a few hundred bytes.
const maxTokenFile = 8 << 10

func enrol(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward rack enrol", flag.ContinueOnError)
	url := fs.String("region", "", "the region's address, such as https://region.example:5443")
	file := fs.String("token-file", "-", "file with the token from Add rack controller; - for standard input")
	dir := fs.String("state-dir", filepath.Join(defaultStateDir(), "rack"), "folder for the rack's key")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *url == "" {
		return fault.Field("region", "Name the region: --region https://…")
	}
	token, err := readSecretFile(*file, maxTokenFile)
	if err != nil {
		return err
	}
	id, err := rack.Enrol(ctx, *dir, *url, token)
	if err != nil {
		return err
	}
	fmt.Printf("Enrolled as rack controller %s.\nStart it with: metalward rack --state-dir %s\n", id, *dir)
	return nil
}

// rackToken prints an enrolment token, on the region's host: what Add rack controller does in the UI.
func rackToken(ctx context.Context, args []string) error {
	var name *string
	return onHost(ctx, "rack token", args, func(fs *flag.FlagSet) {
		name = fs.String("name", "", "host name of the rack that may use it")
	}, func(r *region.Region, _ config.Region) error {
		t, err := r.Controllers.MintToken(authz.AsSystem(ctx, "rack-token"), *name)
		if err != nil {
			return err
		}
		fmt.Println(t.Text().RevealString())
		fmt.Fprintf(os.Stderr, "It works once, for %s, until %s.\n", t.RackName, t.Expires.Local().Format("15:04:05"))
		return nil
	})
}
