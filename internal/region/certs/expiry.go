package certs

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
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

// checkEvery is MAAS's. Source: MAAS 3.8, certificate expiration check.
const checkEvery = 12 * time.Hour

// reminders are the days left at which those who dismissed a notice are told again, where the site wants that.
var reminders = []int{14, 7, 3, 1}

// known lists the certificates that the site depends on.
func (s *Service) known() (list []Known) {
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
		add("authority of "+name, "cert-ca-"+name, s.Authorities[name], false)
	}
	if s.Database != nil {
		add("the database's server", "cert-database", s.Database(), false)
	}
	return list
}

const (
	defaultLead = 30
	day         = 24 * time.Hour
)

// judge fills in how a certificate stands. One that ends within lead days does so soon; one that renews itself, when the
// last third of its life, in which that happens, is half over.
func (s *Service) judge(k Known, lead int) Known {
	left := k.NotAfter.Sub(s.Now())
	within := time.Duration(lead) * day
	if k.Renews {
		within = min(within, k.NotAfter.Sub(k.NotBefore)/6)
	}
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
// returns when to look again: in 12 hours, or when a count of days changes.
func (s *Service) Remind(ctx context.Context, now time.Time) (next time.Time, err error) {
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
	for _, k := range s.known() {
		k = s.judge(k, lead)
		if !on {
			k.State = OK
		}
		if left := k.NotAfter.Sub(now); left > 0 {
			if change := now.Add(left % day); change.After(now) && change.Before(next) && k.State == Soon {
				next = change
			}
			if entry := k.NotAfter.Add(-time.Duration(lead) * day); entry.After(now) && entry.Before(next) {
				next = entry
			}
		}
		errs = append(errs, s.tell(ctx, k, again))
	}
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
