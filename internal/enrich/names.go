package enrich

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/metalward/metalward/internal/metal"
)

// Limits of names.
const (
	nameTime   = 3 * time.Second // for an address
	maxNames   = 5               // of an address: its owner may make up thousands
	maxAtATime = 8
)

// Resolver asks the DNS; net.Resolver is one.
type Resolver interface {
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Names are the names of an address that have it as their address: whoever owns an address can give it any name, but only who owns the name can give it
// the address. Sorted; none where there are none in time, or none that is a host's name.
func Names(ctx context.Context, dns Resolver, a netip.Addr) []string {
	ctx, cancel := context.WithTimeout(ctx, nameTime)
	defer cancel()
	a = a.WithZone("").Unmap()
	claimed, err := dns.LookupAddr(ctx, a.String())
	if err != nil {
		return nil
	}
	var good []string
	for _, name := range claimed[:min(len(claimed), maxNames)] {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if !metal.ValidHostname(name) || !strings.Contains(name, ".") {
			continue
		}
		back, err := dns.LookupNetIP(ctx, "ip", name)
		if err == nil && slices.ContainsFunc(back, func(b netip.Addr) bool { return b.Unmap() == a }) {
			good = append(good, name)
		}
	}
	slices.Sort(good)
	return slices.Compact(good)
}

// NamesOf are the names of several addresses, a few at a time.
func NamesOf(ctx context.Context, dns Resolver, list []netip.Addr) [][]string {
	out := make([][]string, len(list))
	slots := make(chan struct{}, maxAtATime)
	var wg sync.WaitGroup
	for i, a := range list {
		slots <- struct{}{}
		wg.Go(func() { // ends with nameTime
			defer func() { <-slots }()
			out[i] = Names(ctx, dns, a)
		})
	}
	wg.Wait()
	return out
}

// Domain is the domain that somebody registered for a name: "example.co.uk" of "a.b.example.co.uk". Empty where there is none.
func Domain(name string) string {
	d, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return ""
	}
	return d
}
