package watch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/syslog"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/secret"
)

// Limits of routes.
const (
	maxWaiting = 256              // alerts that wait for one route; more are left out and counted
	sendTime   = 10 * time.Second // for one try
)

// sendAgain is how long is waited before each further try.
var sendAgain = []time.Duration{time.Second, 10 * time.Second, time.Minute}

// A Route is where alerts of a live watch are told besides standard output.
type Route struct {
	Name string
	Send func(ctx context.Context, a Alert, c detect.Change) error
}

// Routes tell alerts by several routes, none of which holds the watch up.
type Routes struct {
	Trouble func(error) // may be called by several goroutines at a time
	queues  []chan event
	done    sync.WaitGroup
	cut     context.CancelFunc
}

type event struct {
	alert  Alert
	change detect.Change
}

// Start begins to send by routes, until Finish.
func (r *Routes) Start(routes []Route) {
	var ctx context.Context
	ctx, r.cut = context.WithCancel(context.Background())
	for _, to := range routes {
		queue := make(chan event, maxWaiting)
		r.queues = append(r.queues, queue)
		r.done.Go(func() {
			for e := range queue {
				r.send(ctx, to, e)
			}
		})
	}
}

// Finish sends what waits, for which there is as much time as for one try, and ends: the watch counts no line twice, so nobody would tell of these alerts
// later. What could not be sent is said. Nothing is to be told after it.
func (r *Routes) Finish() {
	for _, q := range r.queues {
		close(q)
	}
	late := time.AfterFunc(sendTime, r.cut)
	r.done.Wait()
	late.Stop()
	r.cut()
}

// Tell sends an alert by all routes. It never waits: where a route is too slow, it is left out, and that is said.
func (r *Routes) Tell(a Alert, c detect.Change) {
	for _, q := range r.queues {
		select {
		case q <- event{a, c}:
		default:
			r.Trouble(fmt.Errorf("an alert was left out: %d wait to be sent already", maxWaiting))
		}
	}
}

func (r *Routes) send(ctx context.Context, to Route, e event) {
	for try := 0; ; try++ {
		bounded, cancel := context.WithTimeout(ctx, sendTime)
		err := to.Send(bounded, e.alert, e.change)
		cancel()
		if err == nil {
			return
		}
		if try == len(sendAgain) || ctx.Err() != nil {
			r.Trouble(fmt.Errorf("%s: an alert could not be sent: %s", to.Name, guard.Show(err.Error())))
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(sendAgain[try]):
		}
	}
}

// Webhook posts alerts as JSON, the same objects that live --format json writes. The address may hold a secret, which no error repeats. Kinds: Invalid for an
// address that is not HTTPS, but for one of this host.
func Webhook(address secret.Value) (Route, error) {
	u, err := url.Parse(strings.TrimSpace(address.RevealString()))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return Route{}, fault.New(fault.Invalid, "webhook: the file has to hold one address, such as https://chat.example/hook/….")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return Route{}, fault.New(fault.Invalid, "webhook: use https; only this host itself may be told by http.")
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return Route{"webhook", func(ctx context.Context, a Alert, c detect.Change) error {
		var b bytes.Buffer
		if err := WriteEvent(&b, a, c, "json", false); err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), &b)
		if err != nil {
			return fmt.Errorf("its address cannot be used")
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			if ue, ok := err.(*url.Error); ok { // which repeats the address
				err = ue.Err
			}
			return err
		}
		defer res.Body.Close()
		_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
		if res.StatusCode/100 != 2 {
			return fmt.Errorf("it answered %d", res.StatusCode)
		}
		return nil
	}}, nil
}

// Syslog tells alerts to this host's syslog, facility authpriv, as metalward-watch. What attackers wrote is not repeated there, so that no program reads
// it as its own line.
func Syslog() (Route, error) {
	return Route{"syslog", func(_ context.Context, a Alert, c detect.Change) error {
		w, err := syslog.New(syslog.LOG_AUTHPRIV|syslog.LOG_WARNING, "metalward-watch")
		if err != nil {
			return err
		}
		defer w.Close()
		return w.Warning(syslogLine(a, c))
	}}, nil
}

func syslogLine(a Alert, c detect.Change) string {
	line := fmt.Sprintf("alert %s severity=%s unit=%s count=%d proves_source=%t", changeNames[c], a.Severity, a.Unit, a.Count, a.Proves)
	if a.Source != "" {
		line += fmt.Sprintf(" source=%q", a.Source)
	}
	return line
}

// Mail hands alerts to this host's own mail program, which knows where mail goes. Kinds: Invalid for what is no address.
func Mail(program, to string) (Route, error) {
	if name, domain, ok := strings.Cut(to, "@"); !ok && strings.ContainsAny(to, " \t") || len(to) > 254 || name == "" || ok && domain == "" || strings.ContainsFunc(to, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`,;<>()"\:`, c) }) ||
		strings.HasPrefix(to, "-") {
		return Route{}, fault.New(fault.Invalid, "mail: %s is no address.", guard.Quote(to))
	}
	return Route{"mail", func(ctx context.Context, a Alert, c detect.Change) error {
		var b bytes.Buffer
		fmt.Fprintf(&b, "To: %s\nSubject: [metalward] %s: %s\nContent-Type: text/plain; charset=utf-8\nAuto-Submitted: auto-generated\n\n", to, a.Severity, guard.Show(a.Title))
		if err := WriteEvent(&b, a, c, "text", false); err != nil {
			return err
		}
		fmt.Fprintf(&b, "\nWhat to do: %s\n", a.Do)
		cmd := exec.CommandContext(ctx, program, "-t", "-oi")
		cmd.Stdin, cmd.WaitDelay = &b, time.Second
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", program, err, out[:min(len(out), 200)])
		}
		return nil
	}}, nil
}

// WriteMetrics writes the open alerts that are not silenced in Prometheus' text format, for a collector of files.
func WriteMetrics(w io.Writer, l *DeskList, now time.Time) error {
	counts := map[[2]string]int{}
	for i := range l.Alerts {
		if a := &l.Alerts[i]; a.State == DeskOpen && !l.silenced(a.Subject, now) {
			counts[[2]string{a.Unit, a.Severity.String()}]++
		}
	}
	keys := make([][2]string, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [2]string) int { return strings.Compare(a[0]+" "+a[1], b[0]+" "+b[1]) })
	var b strings.Builder
	b.WriteString("# HELP metalward_watch_alerts_open Open alerts that are not silenced, by detection and severity.\n# TYPE metalward_watch_alerts_open gauge\n")
	for _, k := range keys {
		fmt.Fprintf(&b, "metalward_watch_alerts_open{unit=%q,severity=%q} %d\n", k[0], k[1], counts[k])
	}
	_, err := io.WriteString(w, b.String())
	return err
}
