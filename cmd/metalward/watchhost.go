package main

import (
	"context"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/logs/source"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/watch"
)

func watchFlag(fs *flag.FlagSet, value *string) {
	fs.StringVar(value, "watch", "", "read this host's logs for attacks, for the page Alerts: on or off (default on)")
}

// readSyslog is how a rack looks at what machines send it.
func readSyslog(stateDir string, tuning *detect.Tuning, log *slog.Logger) func(context.Context, <-chan logs.Sent, func(detect.HostReport)) {
	return func(ctx context.Context, lines <-chan logs.Sent, tell func(detect.HostReport)) {
		watch.Hear(ctx, watch.HearOptions{Units: watch.HostUnits(units.Every), Tuning: tuning, State: filepath.Join(absolute(stateDir), syslogState), Save: secret.WriteFile, Now: time.Now, Log: log}, lines, tell)
	}
}

// syslogState is the file in a state folder of what was counted of machines' logs.
const syslogState = "syslog.state"

// watchState is the file in a state folder of how far a host's logs were read and what was counted in them.
const watchState = "watch.state"

// watchHost is how a controller watches its own host's logs; nil where that is off. Proxies are the balancers that are believed who the client is; they
// were checked when it is asked for them.
func watchHost(value, stateDir string, tuning *detect.Tuning, proxies func() ([]netip.Prefix, error), log *slog.Logger) func(context.Context, func(netip.Addr) bool, func(detect.HostReport)) {
	if value == "off" {
		return nil
	}
	return func(ctx context.Context, peer func(netip.Addr) bool, tell func(detect.HostReport)) {
		o := watch.HostOptions{Site: detect.Site{Peer: peer}, Units: watch.HostUnits(units.Every), Tuning: tuning, Patterns: source.UsualPatterns(), Journal: &source.Journal{}, State: filepath.Join(absolute(stateDir), watchState), Save: secret.WriteFile, Now: time.Now, Log: log}
		if proxies != nil {
			o.Site.Proxies, _ = proxies()
		}
		watch.Host(ctx, o, tell)
	}
}

// scanHost is how the current logs of a region's host are read for a preview of other thresholds; nil where watching is off. What was rotated is left out.
func scanHost(value string, patterns []string, proxies func() ([]netip.Prefix, error)) func(context.Context, []detect.Unit, time.Time) (detect.Scan, error) {
	if value == "off" {
		return nil
	}
	return func(ctx context.Context, all []detect.Unit, since time.Time) (scan detect.Scan, err error) {
		var paths []string
		for _, pattern := range patterns {
			found, err := filepath.Glob(pattern)
			if err != nil {
				continue
			}
			for _, path := range found {
				if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && !info.ModTime().Before(since) {
					paths = append(paths, path)
				}
			}
		}
		if journal := (&source.Journal{}); len(paths) == 0 && journal.Here() {
			paths = []string{watch.JournalPath}
		}
		o := watch.Options{Units: all, Zone: time.Local, Since: since, Least: detect.Info, Journal: &source.Journal{}, Now: time.Now}
		if o.Site.Proxies, err = proxies(); err != nil {
			return scan, err
		}
		r, err := watch.Scan(ctx, paths, o)
		if err != nil {
			return scan, err
		}
		scan.Lines = r.Lines
		for _, a := range r.Alerts {
			scan.Alerts = append(scan.Alerts, detect.HostAlert{Unit: a.Unit, Severity: a.Severity, Key: a.Key, First: a.First, Last: a.Last, Count: a.Count})
		}
		return scan, nil
	}
}
