package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/watch"
)

const (
	deskEvery    = time.Second // how often what goes on is written down, and the screen is drawn
	metricsEvery = 15 * time.Second
	// usualDesk is where watch alerts looks for alerts.
	usualDesk = "/var/lib/metalward-watch/alerts.json"
)

// liveDesk keeps the alerts of a live watch: in a file where people work them off, if there is one, and on the screen. Its methods but draw and metrics
// are called by the watch alone.
type liveDesk struct {
	file    *watch.Desk // nil for none
	options watch.Options
	trouble func(error)

	mu      sync.Mutex
	list    *watch.DeskList // guarded by mu; replaced whole when there is a file
	marks   map[string]int64
	looked  time.Time
	changed time.Time // of the file, when it was read
}

func newLiveDesk(path string, o watch.Options, trouble func(error)) (*liveDesk, error) {
	d := &liveDesk{options: o, trouble: trouble, list: &watch.DeskList{}, marks: map[string]int64{}}
	if path == "" {
		return d, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	d.file = &watch.Desk{Path: path, Now: time.Now, Save: secret.WriteFile}
	var err error
	d.list, err = d.file.Read()
	return d, err
}

// found puts what is new on the desk; false when it is too early for that.
func (d *liveDesk) found(list []detect.Alert, last bool) bool {
	now := time.Now()
	if now.Sub(d.looked) < deskEvery && !last {
		return false
	}
	d.looked = now
	var news []detect.Alert
	if len(d.marks) > 2*len(list)+100 { // of alerts that were forgotten
		clear(d.marks)
	}
	for i := range list {
		id, mark := list[i].Ident(), list[i].Count<<3|int64(list[i].Severity)
		if d.marks[id] != mark {
			d.marks[id] = mark
			news = append(news, list[i])
		}
	}
	if len(news) == 0 {
		return true
	}
	alerts := watch.Alerts(news, d.options.Units, d.options.Least, d.options.Mask)
	if d.file == nil {
		d.mu.Lock()
		d.list.See(alerts)
		d.mu.Unlock()
		return true
	}
	l, err := d.file.See(alerts)
	if err != nil {
		d.trouble(err)
		clear(d.marks)
		return false
	}
	d.mu.Lock()
	d.list = l
	d.mu.Unlock()
	return true
}

// refresh reads the file if somebody changed it.
func (d *liveDesk) refresh() {
	if d.file == nil {
		return
	}
	info, err := os.Stat(d.file.Path)
	if err != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if info.ModTime().Equal(d.changed) {
		return
	}
	if l, err := d.file.Read(); err == nil {
		d.list, d.changed = l, info.ModTime()
	} else {
		d.trouble(err)
	}
}

// quiet reports whether nobody is to be told of an alert.
func (d *liveDesk) quiet(a watch.Alert) bool {
	d.refresh()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.list.Quiet(&a, time.Now())
}

// metrics writes a file for a collector of Prometheus, which others may read, until the context ends.
func (d *liveDesk) metrics(ctx context.Context, path string) {
	tick := time.NewTicker(metricsEvery)
	defer tick.Stop()
	var last []byte
	for {
		d.refresh()
		var b bytes.Buffer
		d.mu.Lock()
		_ = watch.WriteMetrics(&b, d.list, time.Now()) // a buffer takes all
		d.mu.Unlock()
		if !bytes.Equal(b.Bytes(), last) {
			if err := writePublic(path, b.Bytes()); err != nil {
				d.trouble(err)
			} else {
				last = b.Bytes()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// writePublic writes a file that everybody may read, all or nothing.
func writePublic(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(0o644)
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// screen draws what is open on the terminal until the context ends.
func (d *liveDesk) screen(ctx context.Context, said <-chan string) error {
	s := &watch.Screen{Out: os.Stdout, Colour: os.Getenv("NO_COLOR") == "", Size: func() (int, int) {
		columns, rows, err := term.GetSize(int(os.Stdout.Fd()))
		if err != nil {
			return 80, 24
		}
		return columns, rows
	}}
	if err := s.Open(); err != nil {
		return err
	}
	defer s.Close()
	tick := time.NewTicker(deskEvery)
	defer tick.Stop()
	for {
		d.refresh()
		d.mu.Lock()
		err := s.Draw(d.list, time.Now())
		d.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case text := <-said:
			s.Say(text)
		case <-tick.C:
		}
	}
}

// routes are where a live watch tells of alerts besides standard output.
func (f *watchFlags) routes() (list []watch.Route, least detect.Severity, err error) {
	least, ok := detect.ParseSeverity(f.tellFrom)
	if !ok {
		return nil, 0, fault.New(fault.Invalid, "--tell-from: info, low, medium or high.")
	}
	add := func(r watch.Route, err error) error { list = append(list, r); return err }
	if f.syslog {
		err = add(watch.Syslog())
	}
	if f.webhook != "" && err == nil {
		var data []byte
		if data, err = readPrivate(f.webhook); err != nil {
			return nil, 0, fault.New(fault.Invalid, "--webhook: %s", err)
		}
		err = add(watch.Webhook(secret.NewValue(data)))
	}
	if f.mail != "" && err == nil {
		err = add(watch.Mail(f.sendmail, f.mail))
	}
	return list, least, err
}

// readPrivate reads a small file that nobody else may read.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(fault.Invalid, "%s: others may read it, and it holds a secret: chmod 600.", path)
	}
	return readBounded(path)
}

// watchAlerts shows what a live watch found on this host, and works it off.
func watchAlerts(args []string) error {
	f := newWatchFlags("alerts")
	what, err := words(f.FlagSet, args)
	if err != nil {
		return err
	}
	if f.alerts == "" {
		f.alerts = usualDesk
	}
	desk := &watch.Desk{Path: f.alerts, Now: time.Now, Save: secret.WriteFile}
	who := "uid " + strconv.Itoa(os.Getuid())
	reason := strings.Join(what[min(len(what), 2):], " ")
	var l *watch.DeskList
	switch {
	case len(what) == 0 || len(what) == 1 && what[0] == "all":
		if l, err = desk.Read(); err != nil {
			return err
		}
		return watch.WriteDesk(os.Stdout, l, time.Now(), len(what) == 1, isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "")
	case len(what) < 2:
		return fault.New(fault.Invalid, "alerts: nothing, all, or acknowledge, resolve, silence or unsilence with the beginning of an alert's id.")
	case what[0] == "acknowledge":
		l, err = desk.Act(what[1], watch.DeskAcknowledged, who, reason)
	case what[0] == "resolve":
		l, err = desk.Act(what[1], watch.DeskResolved, who, reason)
	case what[0] == "silence":
		l, err = desk.Silence(what[1], who, reason, f.during)
	case what[0] == "unsilence" && len(what) == 2:
		l, err = desk.Unsilence(what[1])
	default:
		return fault.New(fault.Invalid, "alerts: there is no %q: acknowledge, resolve, silence or unsilence.", what[0])
	}
	if err != nil {
		return err
	}
	return watch.WriteDesk(os.Stdout, l, time.Now(), false, isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "")
}

// evidence is an alert as a guard judges it; false when it names no address.
func evidence(a watch.Alert) (block.Evidence, bool) {
	from, err := netip.ParseAddr(a.Source)
	return block.Evidence{Unit: a.Unit, Reason: a.Title + ": " + a.Because, Source: from, Proves: a.Proves, Known: a.Known, Grave: a.Severity >= detect.Medium}, err == nil
}

// liveOutput is what a live watch says: on a screen of its own on a terminal, or line by line.
type liveOutput struct {
	said chan string // to the screen; nil without one
}

// say tells people something that is no alert.
func (o *liveOutput) say(format string, args ...any) {
	text := guardLines(fmt.Sprintf(format, args...))
	if o.said == nil {
		fmt.Fprintln(os.Stderr, text)
		return
	}
	select {
	case o.said <- text:
	default: // the screen shows the last few only
	}
}

// hasUnit reports whether there is a unit of an id.
func hasUnit(all []detect.Unit, id string) bool {
	return slices.ContainsFunc(all, func(u detect.Unit) bool { return u.ID == id })
}
