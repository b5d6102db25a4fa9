package detect

import (
	"net/netip"
	"strings"

	"github.com/metalward/metalward/internal/inspect"
	"github.com/metalward/metalward/internal/logs"
)

// A Site is what the detections have to know of where the logs come from.
type Site struct {
	Proxies []netip.Prefix // balancers whose X-Forwarded-For is believed
	Inside  []netip.Prefix // networks of the site: controllers, machines, BMCs
	Own     []netip.Addr   // addresses of the controllers
	// Peer says whether an address is another controller's at the moment, and so of the site; nil where nobody knows.
	Peer    func(netip.Addr) bool
	Outside []string // interfaces that look at the world; spoofed sources are told only there
	Ports   []uint16 // ports that services here use, so that they are no tools
	// Hearsay says that the records are what other hosts say, over a network. Then everything is counted for each host apart, so that none adds to what
	// another says, and nothing proves its source: whoever has taken a host over has it say what he wants.
	Hearsay bool
	// Ignore are networks that a unit says nothing about: monitoring, scanners of one's own. The key is a unit's id, or "" for all.
	Ignore map[string][]netip.Prefix
}

// required are the ports of MAAS and Metalward (reference of security, section of ports): never a tool's, and worth a word when they are refused.
var required = ports("53 67 68 69 80 123 443 3128 5240 5241-5248 5250-5274 5281-5284 5443 5445 8000")

// tools are ports of known tools of intruders (reference of detections, 2.5).
var tools = ports("31337 20034 54320 54321 31335 27444 27665 33270 600 2745 5554 9996 6129 21544 31338 31339 40421-40426 6666 6667 6697 1337 13337 12345 12346 27374 1243 6711 6776 " +
	"12361-12363 16660 65000 1524 10008 3127-3198 4444 17300 30100 31666 23456 50050 9001 9030")

// attacked are ports of services that scanners look for: no tool's, but nothing to be open to strangers.
var attacked = ports("23 135 139 445 1433 1434 1521 2323 2375 2376 3306 3389 5432 5555 5900-5903 5985 5986 6379 7547 8545 9200 11211 27017")

func ports(s string) *[1024]uint64 {
	var set [1024]uint64
	for _, word := range strings.Fields(s) {
		lo, hi, several := strings.Cut(word, "-")
		if !several {
			hi = lo
		}
		for n := atoi(lo); n <= atoi(hi); n++ {
			set[n/64] |= 1 << (n % 64)
		}
	}
	return &set
}

func atoi(s string) int {
	n := 0
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

func in(set *[1024]uint64, port uint16) bool { return set[port/64]&(1<<(port%64)) != 0 }

func within(nets []netip.Prefix, a netip.Addr) bool {
	for _, n := range nets {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// enrich derives what units ask about.
func (s *Site) enrich(e *Event, i *inspect.Inspector) {
	e.Client, e.Flags, e.Attack, e.Path = e.Source, 0, 0, ""
	switch e.Record.Kind {
	case logs.Firewall:
		s.packet(e)
	case logs.Martian:
		e.Flags |= SpoofedSource
	case logs.Web, logs.MAAS, logs.WebError:
		s.request(e, i)
	}
	if e.Client.IsValid() && (within(s.Inside, e.Client) || s.Peer != nil && s.Peer(e.Client)) {
		e.Flags |= InsideSource
	}
}

func (s *Site) packet(e *Event) {
	if e.Blocked {
		e.Flags |= Blocked
	} else {
		e.Flags |= Allowed
	}
	dst := e.Record.Dest
	if dst.IsValid() && (dst.IsMulticast() || dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || dst.Is4() && dst.As4()[3] == 255) {
		e.Flags |= Group
	}
	out := e.In == "" && e.Out != ""
	if !out && e.Out != "" && within(s.Inside, e.Client) && !within(s.Inside, dst) {
		out = true
	}
	if out {
		e.Flags |= OutboundPacket
	}
	switch {
	case e.Inner:
	case e.Proto == logs.TCP:
		switch {
		case e.TCP&logs.FlagSYN != 0 && e.TCP&logs.FlagACK == 0:
			e.Flags |= ProbePacket
		case e.TCP == 0, e.TCP == logs.FlagFIN, e.TCP == logs.FlagFIN|logs.FlagPSH|logs.FlagURG:
			e.Flags |= FlagScan
		}
	case e.Proto == logs.UDP:
		if !answer(e) {
			e.Flags |= ProbePacket
		}
	case e.Proto == logs.SCTP:
		e.Flags |= ProbePacket
	}
	if in(required, e.Dport) {
		e.Flags |= Required
	} else if !s.uses(e.Dport) {
		if in(tools, e.Dport) {
			e.Flags |= Tool
		} else if in(attacked, e.Dport) {
			e.Flags |= Attacked
		}
	}
	if e.In != "" && e.Client.IsValid() && !e.Inner && s.spoofed(e) {
		e.Flags |= SpoofedSource
	}
}

// answer says whether a datagram answers one of ours: from a well-known service, or from a neighbour to a high port, as SSDP and printers do.
func answer(e *Event) bool {
	switch e.Record.Sport {
	case 53, 123, 443, 1900, 3702, 5353:
		return e.Dport >= 1024
	}
	if e.Dport >= 8610 && e.Dport <= 8612 {
		return true
	}
	return e.Client.IsPrivate() && e.Dport >= 32768
}

func (s *Site) uses(port uint16) bool {
	for _, p := range s.Ports {
		if p == port {
			return true
		}
	}
	return false
}

// spoofed says whether a packet's source cannot have come by its interface. Without a word of the site about which interfaces look outside, only what is
// impossible everywhere counts.
func (s *Site) spoofed(e *Event) bool {
	a := e.Client
	if e.In != "lo" && a.IsLoopback() {
		return true
	}
	for _, own := range s.Own {
		if a == own && e.In != "lo" {
			return true
		}
	}
	for _, name := range s.Outside {
		if name == e.In {
			return a.IsPrivate() || within(s.Inside, a)
		}
	}
	return false
}

// protocol says whether there is such a version of HTTP, as logs write them; a line of an error log, or of HTTP 0.9, says none.
func protocol(s string) bool {
	switch s {
	case "", "HTTP/1.1", "HTTP/2.0", "HTTP/1.0", "HTTP/2", "HTTP/3", "HTTP/3.0", "HTTP/0.9":
		return true
	}
	return false
}

// staticEnds are ends of paths that are no work for a server.
var staticEnds = []string{".js", ".css", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".ico", ".woff", ".woff2", ".ttf", ".eot", ".map", ".webp", ".mp4", ".txt", ".xml", ".json"}

func (s *Site) request(e *Event, i *inspect.Inspector) {
	if e.Client.IsValid() && within(s.Proxies, e.Client) {
		if c, ok := beyond(s.Proxies, e.Forwarded); ok {
			e.Client = c
		} else {
			e.Flags |= ClientUnknown
		}
	}
	if e.Record.Event == "malformed" || !protocol(e.Record.Protocol) {
		e.Attack |= inspect.Malformed
	}
	if e.Record.Target == "" && e.Record.Method == "" {
		if e.Record.Event == "denied" {
			e.Flags |= MissingPage
		}
		return
	}
	path := logs.Path(e.Record.Target)
	e.Path = path
	if e.Record.Kind != logs.WebError || e.Record.Method != "" {
		e.Attack |= i.Request(e.Record.Method, e.Record.Target, e.Record.Referrer, e.Record.Agent)
	}
	if e.Record.Method == "" && e.Record.Kind == logs.WebError && e.Record.Event == "denied" {
		e.Flags |= MissingPage
		return
	}
	if strings.HasPrefix(path, "/MAAS/") {
		switch rest := path[len("/MAAS/"):]; {
		case strings.HasPrefix(rest, "metadata/"):
			e.Flags |= MachineCall | Metadata
		case strings.HasPrefix(rest, "rpc/"), rest == "ws", strings.HasPrefix(rest, "ws/"), strings.HasPrefix(rest, "assets/"), strings.HasPrefix(rest, "r/assets/"),
			strings.HasPrefix(rest, "images-stream/"), strings.HasPrefix(rest, "boot-resources/"), strings.HasPrefix(rest, "a/v3internal/"):
			e.Flags |= MachineCall
		case strings.HasPrefix(rest, "accounts/login"), strings.HasPrefix(rest, "accounts/authenticate"), strings.HasPrefix(rest, "a/") && strings.HasSuffix(rest, "auth/login"):
			e.Flags |= MAASLogin | LoginPage
		}
	}
	if i := strings.LastIndexByte(path, '.'); i >= 0 && len(path)-i <= 6 {
		for _, end := range staticEnds {
			if strings.EqualFold(path[i:], end) {
				e.Flags |= Static
				break
			}
		}
	}
	if strings.Contains(path, "/image/") || strings.Contains(path, "/images/") || strings.Contains(path, "/static/") {
		e.Flags |= Static
	}
	switch e.Record.Status {
	case 400, 403, 404, 405, 444:
		if e.Flags&MAASLogin == 0 {
			e.Flags |= MissingPage
		}
	}
	s.login(e)
}

// loginPaths are parts of paths of login forms.
var loginPaths = []string{"login", "signin", "sign-in", "log-in", "j_security_check", "/session", "/accounts/authenticate", "/auth/", "/owa/auth"}

// login tells logins and how they ended. Applications answer a failed login with 200 and a good one with a redirect as often as not: only what is
// known to differ counts.
func (s *Site) login(e *Event) {
	if e.Record.Kind == logs.MAAS || e.Record.Outcome != logs.NoOutcome {
		if e.Record.Outcome == logs.Failure || e.Record.Outcome == logs.Success {
			e.Flags |= LoginTry
		}
		return
	}
	post := e.Record.Method == "POST"
	if (post || e.Record.Status == 401) && e.Flags&(Static|LoginPage) == 0 {
		for _, p := range loginPaths {
			if foldContains(e.Path, p) {
				e.Flags |= LoginPage
				break
			}
		}
	}
	switch {
	case e.Flags&MAASLogin != 0 && post:
		e.Flags |= LoginTry
		switch e.Record.Status {
		case 400, 401, 403:
			e.Record.Outcome = logs.Failure
		case 200, 204:
			e.Record.Outcome = logs.Success
		}
	case e.Record.Status == 401 && (e.Record.User != "" || post && e.Flags&(LoginPage|MachineCall) == LoginPage):
		e.Flags |= LoginTry
		e.Record.Outcome = logs.Failure
	case post && e.Flags&LoginPage != 0:
		e.Flags |= LoginTry
		switch st := e.Record.Status; {
		case st == 403 || st == 400 || st == 422 || st == 429:
			e.Record.Outcome = logs.Failure
		case st == 200 && strings.HasSuffix(e.Path, "/wp-login.php"): // WordPress shows the form again; a good login is a 302
			e.Record.Outcome = logs.Failure
		case st == 302 || st == 303 || st == 204:
			e.Record.Outcome = logs.Success
		}
	}
}

// beyond walks X-Forwarded-For from the right past trusted proxies. The leftmost entry is what the client wrote and is never taken for that.
func beyond(proxies []netip.Prefix, forwarded string) (netip.Addr, bool) {
	const most = 16
	for range most {
		i := strings.LastIndexByte(forwarded, ',')
		word := strings.TrimSpace(forwarded[i+1:])
		a, err := netip.ParseAddr(strings.Trim(word, "[]\""))
		if err != nil {
			return netip.Addr{}, false
		}
		a = a.Unmap().WithZone("")
		if !within(proxies, a) {
			return a, true
		}
		if i < 0 {
			return netip.Addr{}, false
		}
		forwarded = forwarded[:i]
	}
	return netip.Addr{}, false
}
