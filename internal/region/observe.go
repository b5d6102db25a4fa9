package region

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/certs"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/telemetry"
	"github.com/metalward/metalward/internal/vault"
)

// observation is what operators' programs see of a region.
type observation struct {
	metrics  telemetry.Metrics
	token    secret.Value
	listener net.Listener // nil: metrics are not served on the loopback
	requests telemetry.Counter
	rules    telemetry.Counter
	times    telemetry.Histogram
}

// profileSocket is the socket of the profiler, in the state folder.
const profileSocket = "profile.sock"

// requestBounds are upper bounds of a request's time, in seconds.
var requestBounds = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10}

// observe opens what operators' programs see.
func (r *Region) observe(cfg config.Observation, version string, now func() time.Time) (err error) {
	o := &r.seen
	if cfg.MetricsToken != "" {
		if o.token, err = telemetry.ReadToken(cfg.MetricsToken); err != nil {
			return err
		}
	}
	if cfg.Metrics != "" {
		if err := telemetry.Loopback(cfg.Metrics); err != nil {
			return err
		}
		var lc net.ListenConfig
		if o.listener, err = lc.Listen(context.Background(), "tcp", cfg.Metrics); err != nil {
			return fmt.Errorf("cannot listen for metrics: %w", err)
		}
	}
	m := &o.metrics
	m.Process("region", version, now())
	o.requests = m.Counter("metalward_region_http_requests_total", "Requests answered, by kind and status.", "class", "code")
	o.rules = m.Counter("metalward_region_request_rules_total", "Requests that the request rules were asked about, by what they said.", "verdict")
	o.times = m.Histogram("metalward_region_http_request_seconds", "How long requests took, by kind; streams of events are left out.", requestBounds, "class")
	m.Gauge("metalward_region_racks_connected", "Rack controllers with a session to this region.", nil, func(_ context.Context, set func(float64, ...string)) error {
		set(float64(len(r.Controllers.Connected())))
		return nil
	})
	m.Gauge("metalward_region_machines", "Machines of the site, by status.", []string{"status"}, func(ctx context.Context, set func(float64, ...string)) error {
		return r.Gate.View(authz.AsSystem(ctx, "metrics"), authz.ControllerView, func(v *gate.Viewing) error {
			counts, err := v.CountByStatus()
			for _, c := range counts {
				set(float64(c.Count), c.Status.String())
			}
			return err
		})
	})
	m.Gauge("metalward_region_database_info", "The database in use.", []string{"engine"}, func(_ context.Context, set func(float64, ...string)) error {
		set(1, r.reader.Engine())
		return nil
	})
	m.Gauge("metalward_certificate_end_timestamp_seconds", "When each certificate that the site depends on ends, in seconds since 1970.", []string{"certificate"}, func(ctx context.Context, set func(float64, ...string)) error {
		for _, k := range r.Certs.Known(ctx) {
			set(float64(k.NotAfter.Unix()), k.What)
		}
		return nil
	})
	m.Gauge("metalward_certificate_left_days", "Days until each of them ends, with fractions; below 0 when it has.", []string{"certificate"}, func(ctx context.Context, set func(float64, ...string)) error {
		for _, k := range r.Certs.Known(ctx) {
			set(k.NotAfter.Sub(now()).Hours()/24, k.What)
		}
		return nil
	})
	m.Gauge("metalward_alerts_open", "Open alerts that are not silenced, by detection and severity.", []string{"unit", "severity"}, func(ctx context.Context, set func(float64, ...string)) error {
		list, err := r.Alerts.Open(authz.AsSystem(ctx, "metrics"))
		for _, x := range list {
			set(float64(x.Alerts), x.Unit, x.Severity.String())
		}
		return err
	})
	m.Gauge("metalward_blocks", "Addresses that this region shuts out.", nil, func(_ context.Context, set func(float64, ...string)) error {
		set(float64(r.Blocks.Active()))
		return nil
	})
	m.Gauge("metalward_blocks_refused", "Connections and requests of who is shut out that this region's listeners refused or cut since the start.", nil, func(_ context.Context, set func(float64, ...string)) error {
		set(float64(r.wall.Refused()))
		return nil
	})
	r.Health = telemetry.NewHealth(now)
	r.Health.Add(databaseCheck, r.databaseHealth)
	r.Health.Add("certificates", r.certificateHealth)
	r.Health.Add("vault", r.vaultHealth)
	r.Health.Gauge(m)
	return nil
}

// answered counts a request.
func (o *observation) answered(class string, code int, took time.Duration) {
	o.requests.Add(1, class, strconv.Itoa(code))
	if class != "events" {
		o.times.Observe(took, class)
	}
}

// judged counts what the request rules said of a request.
func (o *observation) judged(verdict string) { o.rules.Add(1, verdict) }

const databaseCheck = "database"

func (r *Region) databaseHealth(ctx context.Context) (telemetry.State, string) {
	if err := r.reader.View(ctx, func(v *store.View) error { _, err := v.Zones(); return err }); err != nil {
		return telemetry.Bad, "The database does not answer."
	}
	return telemetry.Good, ""
}

// certificateHealth tells of certificates that end soon or have ended, whatever was dismissed. One that was renewed in time never
// appears here.
func (r *Region) certificateHealth(ctx context.Context) (state telemetry.State, text string) {
	const most = 5 // names in the text
	var soon, ended []string
	for _, k := range r.Certs.Known(ctx) {
		switch k.State {
		case certs.Soon:
			soon = append(soon, k.What)
		case certs.Expired:
			ended = append(ended, k.What)
		}
	}
	tell := func(list []string, what string) {
		if len(list) > most {
			list = append(list[:most:most], fmt.Sprintf("%d more", len(list)-most))
		}
		if len(list) > 0 {
			text += what + strings.Join(list, ", ") + ". "
		}
	}
	tell(ended, "Expired: ")
	tell(soon, "Expires soon: ")
	switch {
	case len(ended) > 0:
		state = telemetry.Bad
	case len(soon) > 0:
		state = telemetry.Warning
	}
	return state, strings.TrimSpace(text)
}

// ready says why this region cannot serve. Kinds: Unavailable.
func (r *Region) ready(ctx context.Context) error {
	if c, ok := r.Health.Check(ctx, databaseCheck); ok && c.State == telemetry.Bad {
		return fault.New(fault.Unavailable, "%s", c.Text)
	}
	return nil
}

// runObservation serves metrics and profiles until the context ends. A region without a profiler is one all the same.
func (r *Region) runObservation(ctx context.Context, serve func(string, func() error)) {
	serve("profiles", func() error {
		if err := telemetry.Profiler(ctx, filepath.Join(r.dir, profileSocket), r.log); err != nil {
			r.log.WarnContext(ctx, "no profiler", "error", err)
		}
		return nil
	})
	if l := r.seen.listener; l != nil {
		serve("metrics", func() error { return r.seen.metrics.Serve(ctx, l, r.seen.token, r.log) })
	}
}

// vaultHealth is how this region's Vault was when somebody last asked it: away or refusing is bad when the site keeps secrets there.
func (r *Region) vaultHealth(ctx context.Context) (telemetry.State, string) {
	st, err := r.Secrets.VaultStatus(authz.AsSystem(ctx, "health"))
	switch {
	case err != nil:
		return telemetry.Bad, fault.Message(err)
	case st.Place == "" && st.Backend == secrets.InVault:
		return telemetry.Bad, "The site keeps its secrets in Vault, and this region has none: run metalward config-vault configure on its host."
	case st.Place == "":
		return telemetry.Good, ""
	}
	switch st.Here.State {
	case vault.KeeperAway, vault.KeeperRefused:
		state := telemetry.Warning
		if st.Backend == secrets.InVault || st.InVault > 0 {
			state = telemetry.Bad
		}
		return state, fmt.Sprintf("Vault is %s since %s: %s", st.Here.State, st.Here.Since.UTC().Format(time.RFC3339), st.Here.Message)
	}
	if moving := st.InDatabase; st.Backend == secrets.InVault && moving > 0 {
		return telemetry.Warning, fmt.Sprintf("%d secrets are on their way into Vault: run metalward config-vault migrate again if that does not end.", moving)
	}
	if st.Backend == secrets.InDatabase && st.InVault > 0 {
		return telemetry.Warning, fmt.Sprintf("%d secrets are on their way back from Vault: run metalward config-vault rollback again if that does not end.", st.InVault)
	}
	return telemetry.Good, ""
}
