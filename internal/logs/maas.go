package logs

import "strings"

// maas reads what regiond, rackd and the API server of MAAS and Metalward write: text of every version, and JSON (reference of detections, section 4).
func (p *Parser) maas(r *Record) {
	r.Kind = MAAS
	s := r.Message
	if strings.HasPrefix(s, "{") {
		p.object(s, r)
		return
	}
	// 3.5 and later in the journal: "regiond: [info] …" behind the service manager's own tag.
	for _, tag := range []string{"regiond: ", "rackd: "} {
		s = strings.TrimPrefix(s, tag)
	}
	if strings.HasPrefix(s, "[") {
		if _, rest, ok := strings.Cut(s, "] "); ok {
			s = rest
		}
	}
	if !p.regiondAccess(s, r) {
		r.Kind = Other
	}
}

// regiondAccess reads "A POST /MAAS/accounts/login/ HTTP/1.1 --> 400 BAD_REQUEST (referrer: R; agent: G)". Target, referrer and agent are not escaped
// by MAAS, so all is read from the left: the first " --> " behind the protocol is MAAS's own.
func (p *Parser) regiondAccess(s string, r *Record) bool {
	proto := strings.Index(s, " HTTP/")
	if proto < 0 {
		return false
	}
	arrow := strings.Index(s[proto:], " --> ")
	if arrow < 0 || arrow > 16 {
		return false
	}
	arrow += proto
	head := s[:proto]
	first, rest, ok := strings.Cut(head, " ")
	if !ok {
		return false
	}
	switch {
	case methodWord(first): // printed without a client in newer documentation
		r.Method, r.Target = first, rest
	default:
		method, target, ok := strings.Cut(strings.TrimLeft(rest, " "), " ")
		if !ok || !methodWord(method) {
			return false
		}
		r.Method, r.Target = method, target
		if first != "-" {
			r.blame(first)
		}
	}
	r.Kind = MAAS
	r.Protocol = s[proto+1 : arrow]
	tail := s[arrow+5:]
	d := digits(tail)
	if n, ok := number(tail[:d]); ok && d == 3 {
		r.Status = int(n)
	}
	if _, ref, ok := strings.Cut(tail, "(referrer: "); ok {
		if i := strings.Index(ref, "; agent: "); i >= 0 {
			r.Agent = dash(strings.TrimSuffix(ref[i+len("; agent: "):], ")"))
			ref = ref[:i]
		}
		r.Referrer = dash(strings.TrimSuffix(ref, ")"))
	}
	p.login(r)
	return true
}

func methodWord(s string) bool {
	if s == "" || len(s) > 16 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return true
}

// login sets what a request to a login endpoint means (reference of detections, 4.3): 204 is what a good login answers since 2.7.
func (p *Parser) login(r *Record) {
	if r.Method != "POST" {
		return
	}
	path := Path(r.Target)
	switch {
	case strings.HasSuffix(path, "/accounts/login/"):
		switch r.Status {
		case 400:
			r.Outcome = Failure
		case 204:
			r.Outcome = Success
		}
	case strings.HasSuffix(path, "/accounts/authenticate/"):
		switch r.Status {
		case 403:
			r.Outcome = Failure
		case 200:
			r.Outcome = Success
		}
	case strings.HasSuffix(path, "/auth/login") && strings.Contains(path, "/a/v"):
		switch r.Status {
		case 401:
			r.Outcome = Failure
		case 200:
			r.Outcome = Success
		}
	}
}

// securityOutcomes are MAAS's and Metalward's names of security events that say how a login ended.
var securityOutcomes = map[string]Outcome{
	"AUTHN_login_unsuccessful":    Failure,
	"AUTHN_login_successful":      Success,
	"AUTHN_authentication_failed": Probe,
}

// keptTraces bounds the requests of the API server whose address later lines want, the others what is kept of each.
const (
	keptTraces = 4096
	keptPath   = 2 << 10 // bytes
	keptTrace  = 128
)

// traces joins the lines of one request: the first tells the address, the last the outcome.
type traces struct {
	by   map[string]request
	ring [keptTraces]string
	next int
}

type request struct{ source, method, path, agent string }

func (t *traces) put(id string, q request) {
	if id == "" || len(id) > keptTrace {
		return
	}
	q = request{strings.Clone(brief(q.source)), strings.Clone(brief(q.method)), strings.Clone(q.path[:min(len(q.path), keptPath)]), strings.Clone(brief(q.agent))}
	id = strings.Clone(id)
	if t.by == nil {
		t.by = make(map[string]request)
	}
	if _, ok := t.by[id]; ok {
		t.by[id] = q
		return
	}
	if old := t.ring[t.next]; old != "" {
		delete(t.by, old)
	}
	t.ring[t.next] = id
	t.next = (t.next + 1) % keptTraces
	t.by[id] = q
}
