package catalog

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// who may have to reach a port.
type who int

const (
	everybody   who = iota // people's browsers and programs
	machines               // those that boot and run on the site's networks
	controllers            // regions and racks
	monitors               // programs that collect metrics
	itself                 // the host alone
)

var whoWords = map[who]string{everybody: "everybody who uses it", machines: "the machines of the site", controllers: "the other controllers", monitors: "the programs that collect metrics",
	itself: "this host alone"}

// row is what is known of some ports.
type row struct {
	protocol string // tcp, udp; "" for both
	low      uint16
	high     uint16 // 0 for low alone
	what     string
	from     who
	severity guard.Severity // where strangers reach it
	products []guard.Product
	role     guard.Role // whose it is
}

var (
	bothMAAS = []guard.Product{guard.MAASSnap, guard.MAASDeb}
	oursOnly = []guard.Product{guard.Metalward}
	allThree = guard.Products
)

// portTable says who has to reach what. Sources: MAAS's documentation of its ports and its public source (regiond's and rackd's listeners;
// nginx's, squid's, named's and chrony's configuration; Temporal's config template), and this repository's internal/config; SSH by RFC 4253,
// DHCP by RFC 2131 and 8415, ISC dhcpd's failover by its manual. The guide's list of ports to open has none of 53, 67 to 69, 123, 3128, 8000,
// 5443, 5271 to 5274 and 5281 to 5284, nor SSH.
var portTable = []row{
	{"tcp", 22, 0, "SSH", everybody, 0, allThree, guard.AnyRole},
	{"tcp", 80, 0, "the pages' front (HTTP)", everybody, 0, allThree, guard.AnyRole},
	{"tcp", 443, 0, "the pages' front (HTTPS)", everybody, 0, allThree, guard.AnyRole},
	{"tcp", 5240, 0, "pages, API and metadata (HTTP)", everybody, 0, bothMAAS, guard.Region},
	{"tcp", 5443, 0, "pages and API (HTTPS)", everybody, 0, allThree, guard.Region},
	{"tcp", 5240, 0, "a plain-text port that says where HTTPS is", everybody, 0, oursOnly, guard.Region},
	{"udp", 67, 68, "DHCP, also of this host as a client", machines, 0, allThree, guard.AnyRole},
	{"udp", 546, 547, "DHCP for IPv6, also of this host as a client", machines, 0, allThree, guard.AnyRole},
	{"", 53, 0, "DNS", machines, guard.Medium, bothMAAS, guard.AnyRole},
	{"udp", 69, 0, "TFTP", machines, guard.Medium, allThree, guard.Rack},
	{"udp", 123, 0, "NTP", machines, guard.Low, bothMAAS, guard.AnyRole},
	{"", 514, 0, "syslog of machines", machines, guard.Medium, bothMAAS, guard.AnyRole},
	{"", 5247, 0, "syslog of machines", machines, guard.Medium, bothMAAS, guard.AnyRole},
	{"tcp", 3128, 0, "the caching proxy", machines, guard.Medium, bothMAAS, guard.AnyRole},
	{"tcp", 8000, 0, "the caching proxy", machines, guard.Medium, bothMAAS, guard.AnyRole},
	{"tcp", 5248, 0, "boot files and images (HTTP)", machines, guard.Medium, bothMAAS, guard.Rack},
	{"tcp", 5249, 0, "boot files, logs and metrics of a rack", machines, guard.Medium, bothMAAS, guard.Rack},
	{"tcp", 5248, 0, "first-stage boot files (HTTP)", machines, guard.Low, oursOnly, guard.Rack},
	{"tcp", 5246, 0, "metadata for machines (HTTPS)", machines, guard.Low, oursOnly, guard.Rack},
	{"tcp", 5250, 5270, "calls between region and racks, in plain text in every version", controllers, guard.High, bothMAAS, guard.Region},
	{"tcp", 5250, 0, "racks, by mutual TLS", controllers, guard.Low, oursOnly, guard.Region},
	{"tcp", 5241, 5246, "internal API of controllers", controllers, guard.Medium, bothMAAS, guard.AnyRole},
	{"tcp", 5271, 5274, "Temporal: workflows, by mutual TLS", controllers, guard.Medium, bothMAAS, guard.Region},
	{"tcp", 5281, 5284, "Temporal's membership, without any protection", controllers, guard.High, bothMAAS, guard.Region},
	{"tcp", 647, 0, "failover of DHCP servers, without any protection", controllers, guard.Medium, bothMAAS, guard.Rack},
	{"tcp", 847, 0, "failover of DHCP servers, without any protection", controllers, guard.Medium, bothMAAS, guard.Rack},
	{"tcp", 5239, 0, "metrics of a region, for anybody who asks", monitors, guard.Low, bothMAAS, guard.Region},
	{"tcp", 954, 0, "control of the name server (rndc)", itself, guard.Medium, bothMAAS, guard.AnyRole},
	{"tcp", 7911, 0, "control of the DHCP server (OMAPI), by a key with HMAC-MD5", itself, guard.Medium, bothMAAS, guard.Rack},
	{"tcp", 9000, 0, "metrics of Temporal, for anybody who asks", itself, guard.Low, bothMAAS, guard.Region},
	{"tcp", 5432, 0, "PostgreSQL", controllers, guard.High, allThree, guard.AnyRole},
	{"udp", 5240, 0, "beacons of racks", controllers, guard.Low, bothMAAS, guard.AnyRole},
}

// databasePort is PostgreSQL's. Source: IANA; the reference of MAAS's database_port.
const databasePort = 5432

// roleOf is what a controller does on a host by its files; AnyRole where it is both, or where that is not told. Sources: MAAS's packages, each
// of which brings one of the files; its snap, whose init writes them; internal/region and internal/rack.
func roleOf(h guard.Host, p guard.Product) guard.Role {
	files := map[guard.Product][2][]string{
		guard.MAASDeb:   {{"/etc/maas/regiond.conf"}, {"/etc/maas/rackd.conf"}},
		guard.MAASSnap:  {{snapData + "regiond.conf"}, {snapData + "rackd.conf"}},
		guard.Metalward: {{ourState + "region-id"}, {ourState + "rack-identity.json", ourState + "rack/rack-identity.json"}},
	}[p]
	there := [2]bool{}
	for i, list := range files {
		for _, file := range list {
			_, err := h.File(file)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return guard.AnyRole
			}
			there[i] = there[i] || err == nil
		}
	}
	switch there {
	case [2]bool{true, false}:
		return guard.Region
	case [2]bool{false, true}:
		return guard.Rack
	}
	return guard.AnyRole
}

// rowOf is what the table says of a listener on a host of some role. A PostgreSQL server is one wherever it listens.
func rowOf(p guard.Product, role guard.Role, l guard.Listener) (row, bool) {
	if isDatabase(l) {
		return row{protocol: "tcp", low: l.Address.Port(), what: "PostgreSQL", from: controllers, severity: guard.High}, true
	}
	for _, r := range portTable {
		if port := l.Address.Port(); (r.protocol == "" || r.protocol == l.Protocol) && port >= r.low && port <= max(r.low, r.high) && has(r.products, p) &&
			(role == guard.AnyRole || r.role == guard.AnyRole || r.role == role) {
			return r, true
		}
	}
	if l.Process == "sshd" && l.Protocol == "tcp" {
		return row{protocol: "tcp", low: l.Address.Port(), what: "SSH", from: everybody}, true
	}
	return row{}, false
}

func has(list []guard.Product, p guard.Product) bool {
	for _, x := range list {
		if x == p {
			return true
		}
	}
	return false
}

func isDatabase(l guard.Listener) bool {
	return l.Protocol == "tcp" && (l.Address.Port() == databasePort || l.Process == "postgres" || strings.HasPrefix(l.Unit, "postgresql"))
}
