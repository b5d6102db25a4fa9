// Package enrich tells who an address is: by a database on this host (Databases), by its name (Names), and by what the registries know (Whois), from
// which Report drafts what to tell the provider.
//
// The database asks nobody. The other two tell somebody outside that we look at an address, and are used when a person asks for it only. All that comes
// back is the attacker's text or a stranger's: bounded, and safe to print.
package enrich

import (
	"net/netip"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// maxText is how many bytes of a text from outside are kept.
const maxText = 200

// show makes a text from outside short and safe to print.
func show(text string) string {
	text = guard.Show(strings.TrimSpace(text))
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}

// special are networks that nobody in the Internet has, besides those that netip knows. Source: IANA special-purpose address registries.
var special = func() (list []netip.Prefix) {
	for _, s := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b:1::/48", "100::/64", "2001:2::/48", "2001:db8::/32", "3fff::/20", "5f00::/16"} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}()

// Public reports whether an address can be somebody's in the Internet: only of these may others be asked.
func Public(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
