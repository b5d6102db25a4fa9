// Package harden runs the catalogue of checks over a host and says what came out: as text, as data for other programs, and as a plan of
// what to do. It reads; it changes nothing on the host.
//
// Start at Run. Report is the outcome, Write puts it into a format, Plan turns what failed into fixes.
package harden

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/guard/catalog"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/maasdb"
	"github.com/metalward/metalward/internal/maaspeople"
)

// Options say what to look at.
type Options struct {
	Root     string         // the host's files: "/", or a folder with a copy of another host's
	State    string         // where Metalward keeps its state there, if not in /var/lib/metalward
	Account  string         // whom Metalward runs as there, if not metalward
	Profile  guard.Role     // whose checks; guard.AnyRole for both
	Only     []string       // ids or groups of checks; none for all
	FailOn   guard.Severity // what is less does not count against the host
	Version  string         // of this program
	Now      time.Time
	Connect  bool               // try connections that the host has to be able to make
	OSV      []string           // files of known flaws, of this format
	OVAL     []string           // likewise
	Database bool               // read the database that a region of MAAS names
	API      *maaspeople.Access // ask the API of the region here; nil for not
	BMCs     []string           // addresses of those to ask what they tell anybody
	Against  *guard.Learned     // what the host is compared with; nil for nothing
	// Progress, if it is not nil, is told how many of how many checks are done, or hosts of RunHosts, never two at once.
	Progress func(done, of int)
}

// accountName is what accounts are called. Source: useradd(8), "Caveats".
var accountName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,31}$`)

// named complains about an account that none is called by. Kinds: Invalid.
func (o Options) named() error {
	if o.Account != "" && !accountName.MatchString(o.Account) {
		return fault.New(fault.Invalid, "account: %s is no name of an account.", guard.Quote(o.Account))
	}
	return nil
}

// patience is how long a connection may take; all of a check are tried at once.
const patience = 3 * time.Second

// Report is what came out. Its JSON form is docs/reference/harden-report.schema.json.
type Report struct {
	Format   int              `json:"format"` // of the report: 1
	Tool     Tool             `json:"tool"`
	Time     time.Time        `json:"time"`
	Root     string           `json:"root"`
	Profile  string           `json:"profile"` // region, rack or both
	FailOn   guard.Severity   `json:"fail_on"`
	Outcome  Outcome          `json:"outcome"`
	Products []host.Installed `json:"products"`
	Notes    []string         `json:"notes"`   // what limits the report
	Remarks  []string         `json:"remarks"` // what is to be known besides
	Score    guard.Score      `json:"score"`
	Findings []Finding        `json:"findings"` // the worst first
	Checks   []Check          `json:"checks"`   // those that ran

	checks map[string]*guard.Check
}

// Tool is the program that made a report.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Finding is what a check saw of one subject, with texts that can be printed.
type Finding struct {
	ID          string         `json:"fingerprint"` // the same as long as check, product, subject and evidence are
	Check       string         `json:"check"`
	Product     guard.Product  `json:"product"`
	State       guard.State    `json:"state"`
	Severity    guard.Severity `json:"severity"`
	Title       string         `json:"title"`
	Subject     string         `json:"subject"`
	Evidence    []string       `json:"evidence"`
	Fix         []string       `json:"fix"`
	Undo        []string       `json:"undo"`
	Known       bool           `json:"known"` // in the baseline
	Waiver      *Waiver        `json:"waiver,omitempty"`
	fromCatalog guard.Finding
}

// Check is a check's description.
type Check struct {
	ID         string                   `json:"id"`
	Group      string                   `json:"group"`
	Title      string                   `json:"title"`
	Why        string                   `json:"why"`
	Role       string                   `json:"role"` // region, rack or both
	Severity   guard.Severity           `json:"severity"`
	Versions   map[guard.Product]string `json:"versions"`
	Fix        string                   `json:"fix"`
	Risk       string                   `json:"risk"`
	Undo       string                   `json:"undo"`
	References []guard.Reference        `json:"references"`
}

// Describe is what there is to say of a check.
func Describe(c *guard.Check) Check {
	return Check{ID: c.ID, Group: c.Group, Title: c.Title, Why: c.Why, Role: roleName(c.Role), Severity: c.Severity, Versions: c.Versions,
		Fix: c.Fix, Risk: c.Risk, Undo: c.Undo, References: c.References}
}

func roleName(r guard.Role) string {
	if r == guard.AnyRole {
		return "both"
	}
	return string(r)
}

// Outcome is what a report amounts to.
type Outcome string

// The outcomes. Incomplete: nothing that counts failed, and something that would count could not be checked.
const (
	Clean      Outcome = "clean"
	Failed     Outcome = "failed"
	Incomplete Outcome = "incomplete"
)

// Select picks checks by id or group; none picks all. Kinds: Invalid, naming what there is none of.
func Select(only []string) ([]*guard.Check, error) {
	all := catalog.Checks()
	if len(only) == 0 {
		return all, nil
	}
	for _, word := range only {
		if !slices.ContainsFunc(all, func(c *guard.Check) bool { return c.ID == word || c.Group == word }) {
			return nil, fault.New(fault.Invalid, "There is no check or group of checks %s. See: metalward harden list", guard.Quote(word))
		}
	}
	return slices.DeleteFunc(all, func(c *guard.Check) bool { return !slices.Contains(only, c.ID) && !slices.Contains(only, c.Group) }), nil
}

// Run checks a host. Kinds: Invalid for what there is none of, NotFound where no product is installed, Unavailable where that
// could not be found out.
func Run(o Options) (*Report, error) {
	checks, err := Select(o.Only)
	if err != nil {
		return nil, err
	}
	if err := o.named(); err != nil {
		return nil, err
	}
	facts, err := open(o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = facts.Close() }()
	facts.Against(o.Against)
	if o.Connect {
		facts.Connecting(patience)
	}
	if err := know(facts, "osv", o.OSV); err != nil {
		return nil, err
	}
	if err := know(facts, "oval", o.OVAL); err != nil {
		return nil, err
	}
	if o.Database {
		if err := ask(facts); err != nil {
			return nil, err
		}
	}
	if o.API != nil {
		if err := askAPI(facts, *o.API); err != nil {
			return nil, err
		}
	}
	if len(o.BMCs) > host.MaxBMCs {
		return nil, fault.New(fault.Invalid, "bmc: More than %d are named: check them in several runs.", host.MaxBMCs)
	}
	facts.Heard(host.AskBMCs(context.Background(), o.BMCs))
	return run(o, checks, facts)
}

// ask reads the database of each region of MAAS that is here. Kinds: Invalid where there is none.
func ask(facts *host.Facts) error {
	asked := false
	for _, p := range []guard.Product{guard.MAASDeb, guard.MAASSnap} {
		s, err := facts.DatabaseSettings(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		asked = true
		var d guard.Database
		if err == nil {
			d, err = maasdb.Read(context.Background(), maasdb.Access(s))
		}
		facts.Told(p, d, err)
	}
	if !asked {
		return fault.New(fault.Invalid, "database: No region of MAAS is here, whose regiond.conf would name one.")
	}
	return nil
}

// askAPI asks the API of the region that is here: which of MAAS's products it is, if both are, the API does not say. Kinds: Invalid where there is
// none, or another than what answers.
func askAPI(facts *host.Facts, access maaspeople.Access) error {
	var here []guard.Product
	for _, p := range guard.Products {
		if err := catalog.Region(facts, p); !errors.Is(err, fs.ErrNotExist) {
			here = append(here, p)
		}
	}
	if len(here) == 0 {
		return fault.New(fault.Invalid, "api: No region of MAAS or Metalward is here: run it on the region, or leave --api out.")
	}
	d, ours, err := access.Read(context.Background())
	there := slices.DeleteFunc(slices.Clone(here), func(p guard.Product) bool { return err == nil && (p == guard.Metalward) != ours })
	if len(there) == 0 {
		return fault.New(fault.Invalid, "api: What answers there is of another product than the region that is here.")
	}
	for _, p := range there {
		facts.Told(p, d, err)
	}
	return nil
}

// open opens the host's files. Kinds: Invalid.
func open(o Options) (*host.Facts, error) {
	facts, err := host.Open(o.Root)
	if err != nil {
		return nil, fault.New(fault.Invalid, "root: Name a folder with a host's files: %s.", guard.Show(err.Error()))
	}
	facts.At(o.Now)
	if o.State != "" || o.Account != "" {
		facts.State(cmp.Or(o.State, "/var/lib/metalward"), o.Account)
	}
	if o.State != "" {
		if _, err := facts.File(o.State); err != nil {
			_ = facts.Close()
			return nil, fault.New(fault.Invalid, "state: Name the folder where Metalward keeps its state: %s.", guard.Show(err.Error()))
		}
	}
	return facts, nil
}

// know has the host look through files of known flaws. Kinds: Invalid.
func know(facts *host.Facts, format string, files []string) error {
	for _, path := range files {
		f, err := os.Open(path)
		if err == nil {
			err = facts.Know(format, path, f)
			_ = f.Close()
		}
		if err != nil {
			return fault.New(fault.Invalid, "%s: %s cannot be used: %s.", format, guard.Quote(path), guard.Show(err.Error()))
		}
	}
	return nil
}

func run(o Options, checks []*guard.Check, facts *host.Facts) (*Report, error) {
	r := &Report{Format: 1, Tool: Tool{"metalward", o.Version}, Time: o.Now.UTC().Truncate(time.Second), Root: guard.Show(o.Root), Profile: roleName(o.Profile), FailOn: o.FailOn,
		Notes: []string{}, Remarks: []string{}, Findings: []Finding{}, Checks: []Check{}, checks: map[string]*guard.Check{}}
	products, err := facts.Products()
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			note := "Whether more is installed could not be found out: " + guard.Show(strings.TrimSuffix(line, "\n")) + "."
			if !slices.Contains(r.Notes, note) {
				r.Notes = append(r.Notes, note)
			}
		}
	}
	if len(products) == 0 && len(r.Notes) > 0 {
		return nil, fault.New(fault.Unavailable, "Neither MAAS (snap or packages) nor Metalward was found below %s. %s", r.Root, strings.Join(r.Notes, " "))
	}
	if len(products) == 0 {
		return nil, fault.New(fault.NotFound, "Neither MAAS (snap or packages) nor Metalward is installed below %s: there is nothing to check.", r.Root)
	}
	r.Products = products
	for i, c := range checks {
		if o.Progress != nil {
			o.Progress(i, len(checks))
		}
		if !concerns(c, o.Profile) {
			continue
		}
		ran := false
		for _, p := range products {
			for _, f := range judge(context.Background(), c, facts, p.Product) {
				ran = true
				r.Findings = append(r.Findings, finding(f))
			}
		}
		if ran {
			r.Checks, r.checks[c.ID] = append(r.Checks, Describe(c)), c
		}
	}
	if len(r.Findings) == 0 {
		return nil, fault.New(fault.Invalid, "None of these checks is for what is installed and for the profile %s.", r.Profile)
	}
	r.order()
	r.settle()
	return r, nil
}

// order puts the worst first.
func (r *Report) order() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		if a.State != b.State {
			return slices.Index(guard.States, a.State) - slices.Index(guard.States, b.State)
		}
		return int(b.Severity - a.Severity)
	})
}

func finding(f guard.Finding) Finding {
	out := Finding{Check: f.ID, Product: f.Product, State: f.State, Severity: f.Worst(), Title: f.Title, Subject: guard.Show(f.Subject),
		Evidence: f.Evidence, Fix: some(f.Observation.Fix), Undo: some(f.Observation.Undo), fromCatalog: f}
	sum := sha256.New()
	for _, part := range slices.Concat([]string{f.ID, string(f.Product), f.Subject}, f.Evidence) {
		_, _ = fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	out.ID = hex.EncodeToString(sum.Sum(nil)[:16])
	return out
}

// some makes no list an empty one, as JSON's readers expect.
func some(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// settle adds up what the findings amount to. What is waived counts neither for the outcome nor for the score, what is known not for the
// outcome.
func (r *Report) settle() {
	var counted []guard.Finding
	r.Outcome = Clean
	if len(r.Notes) > 0 {
		r.Outcome = Incomplete
	}
	for _, f := range r.Findings {
		if f.Waiver != nil && (f.State == guard.Fail || f.State == guard.Unchecked) {
			continue
		}
		counted = append(counted, f.fromCatalog)
		if f.Severity < r.FailOn || f.Known {
			continue
		}
		switch f.State {
		case guard.Fail:
			r.Outcome = Failed
		case guard.Unchecked:
			if r.Outcome == Clean {
				r.Outcome = Incomplete
			}
		}
	}
	r.Score = guard.Sum(counted)
}

// Code is the exit code that says a report's outcome: 0, 1 or 2. These are frozen.
func (r *Report) Code() int {
	switch r.Outcome {
	case Clean:
		return 0
	case Failed:
		return 1
	}
	return 2
}
