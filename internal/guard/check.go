// Package guard says what a check of a host and a finding are, and how findings add up to a score. It is pure: it reads no file and knows
// no clock. Checks are values of one type, listed in guard/catalog; what they ask of a host is the interface Host, which internal/host
// answers from a running host or from a copy of its files. Nothing here or behind Host changes anything.
//
// Start at Check, then Check.Run.
package guard

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Product is what is checked on a host. MAAS is two: its snap and its Debian packages keep their files in different places.
type Product string

// The products.
const (
	MAASSnap  Product = "maas-snap"
	MAASDeb   Product = "maas-deb"
	Metalward Product = "metalward"
)

// Products are all of them, in the order in which they are reported.
var Products = []Product{MAASSnap, MAASDeb, Metalward}

// Role is what a controller does on a host.
type Role string

// The roles of a check: some are about what regions or racks alone have.
const (
	AnyRole Role = ""
	Region  Role = "region"
	Rack    Role = "rack"
)

// Severity is how much a finding matters, from Low to Critical.
type Severity int

// The severities: Critical gives the instance away to who has an account on the host, High gives away a secret that opens much of it,
// Medium needs another failure to matter, Low is hygiene.
const (
	Low Severity = iota + 1
	Medium
	High
	Critical
)

var severities = []string{"", "low", "medium", "high", "critical"}

// Severities are all of them, the worst first.
var Severities = []Severity{Critical, High, Medium, Low}

func (s Severity) String() string { return severities[s] }

// MarshalText is the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes a severity's name; none is 0, which MarshalText writes so.
func (s *Severity) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*s = 0
		return nil
	}
	v, ok := ParseSeverity(string(text))
	if !ok {
		return fmt.Errorf("%q is no severity", text)
	}
	*s = v
	return nil
}

// ParseSeverity is the severity of a name.
func ParseSeverity(name string) (Severity, bool) {
	i := slices.Index(severities[1:], name)
	return Severity(i + 1), i >= 0
}

// State is what came out of a check. Unchecked is a state of its own and never a pass.
type State string

// The states.
const (
	Fail          State = "fail"
	Unchecked     State = "could not check"
	Pass          State = "pass"
	NotApplicable State = "not applicable"
)

// States are all of them, in the order in which they are reported.
var States = []State{Fail, Unchecked, Pass, NotApplicable}

// Reference is where a check's advice comes from.
type Reference struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

// Check is one described unit. All texts are whole sentences.
type Check struct {
	ID       string // begins with its group, such as files-region-config
	Group    string // such as files
	Title    string // what holds when the check passes
	Why      string
	Versions map[Product]string // the products that it is for, and which of their versions; "unknown" where that is not known
	Role     Role               // whose it is; AnyRole for both
	Severity Severity           // of the worst that it can find
	Fix      string             // in general; a finding has the commands
	Risk     string             // what the fix may break, and how one sees it
	Undo     string

	References []Reference
	// Judge looks at a host that has the product.
	Judge func(Host, Product) []Observation
	// Samples are hosts that must and must not fail: at least one of each for each product.
	Samples []Sample
}

// Observation is what a check saw of one subject.
type Observation struct {
	State    State
	Severity Severity // of a Fail that is less than the check's worst; 0 for the check's
	Subject  string   // a path as the host has it, which may hold any byte but 0
	Evidence []string // what was seen, printable, the value included unless it is a secret
	Fix      []string // commands for a shell, or sentences that begin with "#"
	Undo     []string // what takes Fix back
}

// Finding is an observation with its check.
type Finding struct {
	*Check
	Product Product
	Observation
}

// Worst is the severity of a finding.
func (f Finding) Worst() Severity {
	if f.Observation.Severity != 0 {
		return f.Observation.Severity
	}
	return f.Check.Severity
}

// Run judges a host that has the product. A check that is for it and sees nothing says that it is not applicable.
func (c *Check) Run(h Host, p Product) []Finding {
	if c.Versions[p] == "" {
		return nil
	}
	seen := c.Judge(h, p)
	if len(seen) == 0 {
		seen = []Observation{{State: NotApplicable, Evidence: []string{"Nothing that this check is about is on this host."}}}
	}
	list := make([]Finding, len(seen))
	for i, o := range seen {
		list[i] = Finding{c, p, o}
	}
	return list
}

// Blind is the observation that a subject cannot be judged.
func Blind(subject string, err error) Observation {
	return Observation{State: Unchecked, Subject: subject, Evidence: []string{"It could not be found out: " + Show(strings.ReplaceAll(err.Error(), "\n", "; ")) + "."}}
}

// Sample is a host as data. The catalogue's test judges it.
type Sample struct {
	Name    string
	Product Product
	Want    State // of the worst finding
	Tree    []Entry
	Network Network
	Answers map[string]error // what connections end in, by address and port; others are not asked for

	Storage      map[string]Storage     // by folder; others are not known
	Certificates map[string]Certificate // by their files
	Handshakes   map[int]Handshake      // by the port
	Tunnels      Tunnels
	Flaws        []FlawFile // nil where no file was named
	Learned      *Learned   // nil for nothing
	Database     *Database  // nil where nobody has asked
	BMCs         []BMC
}

// SampleTime is when samples are looked at.
var SampleTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Entry is a file of a sample. Folders above it are made, of mode 0755, root's.
type Entry struct {
	Path    string
	Mode    uint32 // permissions, set-user-ID and the like as in chmod(2); 0 for 0644, for a folder 0755
	Owner   string // "user:group", names or numbers; "" for root:root
	Content string
	Link    string // what a symbolic link says
	Folder  bool
	Socket  bool
	ACL     string // entries, such as "user:bob:r-- group::---", the last being the file's own group; Mode has the mask then
	Hidden  bool   // whoever checks may not look at it
	Days    int    // since it was last changed
}

// Problem says what is wrong with a check's description, or nil.
func (c *Check) Problem() error {
	switch {
	case c.ID == "" || c.Group == "" || len(c.ID) <= len(c.Group) || c.ID[:len(c.Group)+1] != c.Group+"-":
		return fmt.Errorf("check %q: the id does not begin with its group %q", c.ID, c.Group)
	case c.Title == "" || c.Why == "" || c.Fix == "" || c.Risk == "" || c.Undo == "" || c.Judge == nil || c.Severity < Low || c.Severity > Critical:
		return fmt.Errorf("check %s: title, why, fix, risk, undo, severity or judge is missing", c.ID)
	case len(c.References) == 0 || len(c.Versions) == 0:
		return fmt.Errorf("check %s: it has no reference, or is for no product", c.ID)
	}
	var errs []error
	for p := range c.Versions {
		for _, want := range []State{Fail, Pass} {
			if !slices.ContainsFunc(c.Samples, func(s Sample) bool { return s.Product == p && s.Want == want }) {
				errs = append(errs, fmt.Errorf("check %s: no sample of %s that must end in %q", c.ID, p, want))
			}
		}
	}
	return errors.Join(errs...)
}
