package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/gate"
)

// Known is a certificate that the site depends on.
type Known struct {
	What string // such as "pages and API"
	Described
	// Renews tells that the site renews it by itself: it is worth a word only when that has not happened.
	Renews bool
	State  State
	Days   int // until it ends, begun ones counted; 0 when it has ended
	ident  string
}

// State is how a certificate stands.
type State string

// The states.
const (
	OK      State = "ok"
	Soon    State = "soon"
	Expired State = "expired"
)

func (s State) rank() int { return slices.Index([]State{OK, Soon, Expired}, s) }

// checkEvery is MAAS's. Source: MAAS 3.8, certificate expiration check.
const checkEvery = 12 * time.Hour

// reminders are the days left at which those who dismissed a notice are told again, where the site wants that.
var reminders = []int{14, 7, 3, 1}

// known lists the certificates that the site depends on. What the store cannot say now is left out.
func (s *Service) known(ctx context.Context) (list []Known) {
	add := func(what, ident string, c *x509.Certificate, renews bool) {
		if c != nil {
			list = append(list, s.judge(Known{What: what, Described: describe(c), Renews: renews, ident: ident}, defaultLead))
		}
	}
	// The first idents are MAAS's, so that what looks for them finds them.
	if g := s.given.Load(); g != nil {
		for i, c := range g.bundle.Chain {
			if i == 0 {
				add("pages and API", "regiond-reverse-proxy-cert", c, s.acme.Load() != nil)
			} else {
				add("pages and API: issuer "+c.Subject.CommonName, fmt.Sprintf("cert-chain-%d", i), c, false)
			}
		}
	} else {
		add("pages and API", "regiond-reverse-proxy-cert", s.own(), true)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Authorities)) {
		add("authority of "+name, "cert-ca-"+strings.ReplaceAll(strings.ReplaceAll(name, "'", ""), " ", "-"), s.Authorities[name], false)
	}
	if s.Database != nil {
		add("the database's server", "cert-database", s.Database(), false)
	}
	var controllers []metal.Controller
	if err := s.Gate.View(authz.AsSystem(ctx, "certs"), authz.ControllerView, func(v *gate.Viewing) (err error) {
		controllers, err = v.Controllers()
		return err
	}); err != nil {
		s.Log.WarnContext(ctx, "cannot read when racks' certificates end", "error", err)
	}
	more := racks(controllers, pki.RackLife)
	if s.Seen != nil {
		more = append(more, s.Seen.list()...)
	}
	for _, k := range more {
		list = append(list, s.judge(k, defaultLead))
	}
	return list
}

// Known lists the certificates that the site depends on: a bounded number, and as they are, whatever anybody was told of them or
// has dismissed. It is for the health of the site and asks nobody's rights.
func (s *Service) Known(ctx context.Context) []Known { return s.known(ctx) }

// together makes one of the certificates of each ident, as bad as the worst of them: a thousand racks are one notice.
func together(list []Known) (out []Known) {
	counts := map[string]int{}
	at := map[string]int{}
	for _, k := range list {
		i, ok := at[k.ident]
		if !ok {
			at[k.ident] = len(out)
			out = append(out, k)
		} else if k.State.rank() > out[i].State.rank() || k.State == out[i].State && k.NotAfter.Before(out[i].NotAfter) {
			out[i] = k
		}
		if k.State != OK {
			counts[k.ident]++
		}
	}
	for i, k := range out {
		if n := counts[k.ident]; n > 1 {
			out[i].What = fmt.Sprintf("%s and %d more", k.What, n-1)
		}
	}
	return out
}

const (
	defaultLead = 30
	day         = 24 * time.Hour
)

// within is how long before its end a certificate ends soon.
func (k Known) within(lead int) time.Duration {
	within := time.Duration(lead) * day
	if k.Renews {
		within = min(within, k.NotAfter.Sub(k.NotBefore)/6)
	}
	return within
}

// judge fills in how a certificate stands. One that ends within lead days does so soon; one that renews itself, when the
// last third of its life, in which that happens, is half over.
func (s *Service) judge(k Known, lead int) Known {
	left, within := k.NotAfter.Sub(s.Now()), k.within(lead)
	k.Days = max(0, int((left+day-1)/day))
	switch {
	case left <= 0:
		k.State, k.Days = Expired, 0
	case left <= within:
		k.State = Soon
	default:
		k.State = OK
	}
	return k
}

// Remind tells administrators of the certificates that end soon or have ended, takes back what is not so any more, and
// returns when to look again: in 12 hours, or when a count of days changes. Calls do not overlap.
func (s *Service) Remind(ctx context.Context, now time.Time) (next time.Time, err error) {
	s.reminds.Lock()
	defer s.reminds.Unlock()
	ctx = authz.AsSystem(ctx, "certs")
	next = now.Add(checkEvery)
	on, lead, again := true, defaultLead, false
	err = s.Gate.View(ctx, authz.SettingView, func(v *gate.Viewing) error {
		x, err := v.SettingValue("tls_cert_expiration_notification_enabled")
		on, _ = x.(bool)
		if err == nil {
			x, err = v.SettingValue("tls_cert_expiration_notification_interval")
			lead, _ = x.(int)
		}
		if err == nil {
			x, err = v.SettingValue("metalward_tls_cert_reminders")
			again, _ = x.(bool)
		}
		return err
	})
	if err != nil || s.Tell == nil {
		return next, err
	}
	var errs []error
	list := s.known(ctx)
	for i, k := range list {
		if list[i] = s.judge(k, lead); !on {
			list[i].State = OK
		}
	}
	told := map[string]bool{}
	for _, k := range together(list) {
		if left := k.NotAfter.Sub(now); left > 0 {
			if change := now.Add(left % day); change.After(now) && change.Before(next) && k.State == Soon {
				next = change
			}
			if entry := k.NotAfter.Add(-k.within(lead)); entry.After(now) && entry.Before(next) {
				next = entry
			}
		}
		errs = append(errs, s.tell(ctx, k, again))
		told[k.ident] = true
	}
	for ident := range s.told { // that the site does not depend on any more
		if !told[ident] {
			errs = append(errs, s.tell(ctx, Known{State: OK, ident: ident}, false))
		}
	}
	s.told = told
	return next, errors.Join(errs...)
}

func (s *Service) tell(ctx context.Context, k Known, remind bool) error {
	soon, expired := k.ident+"-expire", k.ident+"-expired"
	n := metal.Notification{Admins: true, Dismissable: true, Context: map[string]string{"what": k.What, "days": strconv.Itoa(k.Days), "unit": "days"}}
	if k.Days == 1 {
		n.Context["unit"] = "day"
	}
	switch k.State {
	case Soon:
		n.Ident, n.Category, n.Message = soon, "warning", "The certificate of {what} expires in {days} {unit}."
		return errors.Join(s.Tell.Drop(ctx, expired), s.Tell.Keep(ctx, n, remind && slices.Contains(reminders, k.Days)))
	case Expired:
		n.Ident, n.Category, n.Message = expired, "error", "The certificate of {what} has expired."
		return errors.Join(s.Tell.Drop(ctx, soon), s.Tell.Keep(ctx, n, false))
	}
	return errors.Join(s.Tell.Drop(ctx, soon), s.Tell.Drop(ctx, expired))
}
