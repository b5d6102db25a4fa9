// Package sources tells who the sources of alerts are: what a database on this host knows, and, when somebody asks for it, what their names are and what the
// registries know, with a draft of a complaint to their provider.
package sources

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/enrich"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// MaxList is how many sources are listed.
const MaxList = 200

// maxNamed is how many sources of a list are asked the DNS for: with eight at a time and three seconds each, a page takes twelve at most.
const maxNamed = 32

// Config is what the service is made of.
type Config struct {
	Gate      *gate.Gate
	Databases *enrich.Databases // nil: there are none
	DNS       enrich.Resolver
	Dial      func(ctx context.Context, network, address string) (net.Conn, error) // the way out
}

// Service tells who sources are. Safe for concurrent use.
type Service struct{ Config }

// New makes the service.
func New(c Config) *Service { return &Service{c} }

// Source is a client of alerts that are not resolved.
type Source struct {
	store.AlertSource
	Known  enrich.Known
	Names  []string // confirmed; only if asked for
	Domain string   // of the first of them
}

// Public reports whether a source is an address in the Internet, which others can be asked about.
func Public(client string) bool {
	a, err := netip.ParseAddr(client)
	return err == nil && enrich.Public(a)
}

// Look says what the databases know of an address. It asks nobody.
func (s *Service) Look(client string) enrich.Known {
	a, err := netip.ParseAddr(client)
	if err != nil {
		return enrich.Known{}
	}
	return s.Databases.Look(a)
}

// List lists the sources of alerts that are not resolved, the worst first. With names, the DNS is asked for them, and sources of one domain are listed together,
// where the worst of them stands.
func (s *Service) List(ctx context.Context, limit int, names bool) ([]Source, error) {
	var rows []store.AlertSource
	if err := s.Gate.View(ctx, authz.AlertView, func(v *gate.Viewing) (err error) { rows, err = v.AlertSources(min(limit, MaxList)); return err }); err != nil {
		return nil, err
	}
	list := make([]Source, len(rows))
	var addrs []netip.Addr
	var at []int
	for i, r := range rows {
		list[i] = Source{AlertSource: r, Known: s.Look(r.Client)}
		if a, err := netip.ParseAddr(r.Client); err == nil && len(addrs) < maxNamed {
			addrs, at = append(addrs, a), append(at, i)
		}
	}
	if !names {
		return list, nil
	}
	for i, found := range enrich.NamesOf(ctx, s.DNS, addrs) {
		if x := &list[at[i]]; len(found) > 0 {
			x.Names, x.Domain = found, enrich.Domain(found[0])
		}
	}
	first := map[string]int{}
	place := make(map[string]int, len(list))
	for i, x := range list {
		if _, ok := first[x.Domain]; !ok && x.Domain != "" {
			first[x.Domain] = i
		}
		if place[x.Client] = i; x.Domain != "" {
			place[x.Client] = first[x.Domain]
		}
	}
	slices.SortStableFunc(list, func(a, b Source) int { return cmp.Compare(place[a.Client], place[b.Client]) })
	return list, nil
}

// Answer is who the source of an alert is, as far as others say.
type Answer struct {
	Address string
	Known   enrich.Known
	Names   []string
	Who     enrich.Who
	Report  string // a draft of a complaint
}

// Ask asks the DNS and the registries who the source of an alert is: one event of the trail, which is written before anybody is asked. Ours is the address that
// was attacked, for the draft; empty: it does not say. Kinds: NotFound; Conflict where no source is known; Invalid where the source is nobody's in the
// Internet, or on our_address; Unavailable.
func (s *Service) Ask(ctx context.Context, id int64, ours string) (Answer, error) {
	if ours = strings.TrimSpace(ours); ours != "" {
		if _, err := netip.ParseAddr(ours); err != nil && !metal.ValidHostname(ours) {
			return Answer{}, fault.Field("our_address", "Give an address or a host's name, or leave it empty.")
		}
	}
	var a store.Alert
	if err := s.Gate.View(ctx, authz.AlertView, func(v *gate.Viewing) (err error) { a, err = v.Alert(id); return err }); err != nil {
		return Answer{}, err
	}
	client, err := netip.ParseAddr(a.Client)
	if err != nil {
		return Answer{}, fault.New(fault.Conflict, "No source of this alert is known.")
	}
	if !enrich.Public(client) {
		return Answer{}, fault.New(fault.Invalid, "%s is no address in the Internet: no registry knows it.", client)
	}
	if err := s.Gate.Reveal(ctx, authz.AlertAsk, store.AlertTarget(id), map[string]string{"address": client.String()}, func(*gate.Viewing) error { return nil }); err != nil {
		return Answer{}, err
	}
	who, err := enrich.Whois(ctx, s.Dial, client)
	if err != nil {
		return Answer{}, err
	}
	title := a.Unit
	if i := slices.IndexFunc(units.Every, func(u detect.Unit) bool { return u.ID == a.Unit }); i >= 0 {
		title = units.Every[i].Title
	}
	return Answer{Address: client.String(), Known: s.Databases.Look(client), Names: enrich.Names(ctx, s.DNS, client), Who: who,
		Report: enrich.Report(enrich.Complaint{Address: client, Who: who, What: title, First: a.First, Last: a.Last, Count: a.Count, Seen: seen(a), Ours: ours})}, nil
}

// seen is when and what, of evidence that is the region's own security events. Other lines hold names, paths and addresses of others, or whatever an attacker wrote
// in the form of such events, and who writes the complaint chooses among them.
func seen(a store.Alert) (list []string) {
	if a.Origin != store.FromEvents {
		return nil
	}
	for _, l := range a.Lines {
		var e struct{ Datetime, Event, Outcome string }
		if json.Unmarshal([]byte(l.Text), &e) != nil {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, e.Datetime)
		name, _, _ := strings.Cut(e.Event, ":") // the user's name follows
		if err == nil && name != "" {
			list = append(list, strings.TrimSpace(t.UTC().Format(time.RFC3339)+" "+name+" "+e.Outcome))
		}
	}
	return list
}
