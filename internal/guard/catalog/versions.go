package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/flaws"
	"github.com/metalward/metalward/internal/guard"
)

var (
	maasSupport   = guard.Reference{Title: "MAAS documentation, Supported MAAS versions", URL: "https://canonical.com/maas/docs/supported-maas-versions"}
	pgSupport     = guard.Reference{Title: "PostgreSQL, Versioning Policy", URL: "https://www.postgresql.org/support/versioning/"}
	debianSupport = guard.Reference{Title: "Debian, distro-info-data: debian.csv", URL: "https://debian.pages.debian.net/distro-info-data/debian.csv"}
	ubuntuSupport = guard.Reference{Title: "Debian, distro-info-data: ubuntu.csv", URL: "https://debian.pages.debian.net/distro-info-data/ubuntu.csv"}
	cve20246107   = guard.Reference{Title: "CVE-2024-6107", URL: "https://www.cve.org/CVERecord?id=CVE-2024-6107"}
	osvSchema     = guard.Reference{Title: "Open Source Vulnerability format", URL: "https://ossf.github.io/osv-schema/"}
	ovalLanguage  = guard.Reference{Title: "OVAL Language, linux definition schema", URL: "https://github.com/OVALProject/Language"}
)

// day is a date, such as 2026-11-12.
func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err) // of our own tables: the first test that runs sees it
	}
	return t
}

// tablesRead is when the tables below were read at their sources. They say nothing of what came later.
var tablesRead = day("2026-11-22")

// stale is how old the table of MAAS may be: it has no ends, and a version comes each half year.
const stale = 365 * 24 * time.Hour

// planAhead is how long before an end it is told: as long as an upgrade of a database takes to plan.
const planAhead = 180 * 24 * time.Hour

// maasVersions are the supported versions of MAAS, by the page named above; older ones are not supported.
var maasVersions = map[[2]int]string{{3, 7}: "is fully supported", {3, 6}: "is fully supported", {3, 5}: "gets bug fixes only", {3, 4}: "gets bug fixes only"}

var newestMAAS = [2]int{3, 7}

// number reads the first two or three numbers of a version of MAAS: 1:3.5.2-16329-g.abc-0ubuntu1 of packages, 3.5.2-16329-g.abc of the snap.
func number(v string) (n [3]int, ok bool) {
	if _, rest, found := strings.Cut(v, ":"); found {
		v = rest
	}
	v = strings.TrimRightFunc(v[:len(v)-len(strings.TrimLeft(v, "0123456789."))], func(r rune) bool { return r == '.' })
	parts := strings.Split(v, ".")
	if len(parts) < 2 {
		return n, false
	}
	for i := range min(3, len(parts)) {
		value, err := strconv.Atoi(parts[i])
		if err != nil || value > 1000 {
			return n, false
		}
		n[i] = value
	}
	return n, true
}

func less(a, b [3]int) bool { return slices.Compare(a[:], b[:]) < 0 }

// maasInstalled is the version of MAAS that a product is, as text and as numbers.
func maasInstalled(h guard.Host, p guard.Product) (subject, text string, n [3]int, blind []guard.Observation) {
	if p == guard.MAASSnap {
		const at = "/snap/maas/current/meta/snap.yaml"
		yaml, err := h.Read(at)
		if err != nil {
			return "", "", n, beside(at, err)
		}
		subject = "the snap maas"
		for line := range strings.Lines(string(yaml)) {
			if value, ok := strings.CutPrefix(line, "version:"); ok {
				text = strings.Trim(strings.TrimSpace(value), `'"`)
			}
		}
	} else {
		name, v, err := h.Package("maas-region-api", "maas-region-controller", "maas-rack-controller")
		if err != nil {
			return "", "", n, beside("/var/lib/dpkg/status", err)
		}
		if name == "" {
			return "", "", n, nil
		}
		subject, text = "the package "+name, v
	}
	n, ok := number(text)
	if !ok {
		return "", "", n, []guard.Observation{guard.Blind(subject, fmt.Errorf("its version %.60q is not of a form that is known", text))}
	}
	return subject, text, n, nil
}

func maasSupported(h guard.Host, p guard.Product) []guard.Observation {
	subject, text, n, blind := maasInstalled(h, p)
	if subject == "" {
		return blind
	}
	how, listed := maasVersions[[2]int{n[0], n[1]}]
	switch newer := less([3]int{newestMAAS[0], newestMAAS[1], 1000}, n); {
	case newer:
		return []guard.Observation{guard.Blind(subject, fmt.Errorf("its version %s is newer than the list of supported ones, read on %s", text, tablesRead.Format(time.DateOnly)))}
	case listed && h.Now().Sub(tablesRead) > stale:
		return []guard.Observation{guard.Blind(subject, fmt.Errorf("the list by which its version %s was supported was read on %s, more than a year ago", text, tablesRead.Format(time.DateOnly)))}
	case listed:
		return []guard.Observation{passed(subject, "Its version is %s, and %d.%d %s (list of %s).", text, n[0], n[1], how, tablesRead.Format(time.DateOnly))}
	}
	fix, undo := "# Back the database up, and go to the next version, one after the other: snap refresh maas --channel=3.4/stable and so on.", "# Restore the database and go back: snap revert maas."
	if p == guard.MAASDeb {
		fix, undo = "# Back the database up, and go to the next version, one after the other: apt-add-repository ppa:maas/3.4, apt-get update, apt-get upgrade maas, and so on.", "# Restore the database and the packages of "+guard.Show(text)+" from the backup."
	}
	return []guard.Observation{failed(guard.High, subject, fix, undo, "Its version is %s, and %d.%d gets no fixes any more (list of %s; the oldest that does is 3.4).", text, n[0], n[1], tablesRead.Format(time.DateOnly))}
}

// ends is when something gets fixes until, and until when it gets some of them otherwise.
type ends struct {
	name string
	end  time.Time
	long time.Time // zero where there is none
	how  string    // of long
}

// pgVersions are when PostgreSQL's major versions end, by its versioning policy. Older ones ended before.
var pgVersions = map[int]ends{12: {end: day("2024-11-14")}, 13: {end: day("2025-11-13")}, 14: {end: day("2026-11-12")}, 15: {end: day("2027-11-11")}, 16: {end: day("2028-11-09")},
	17: {end: day("2029-11-08")}, 18: {end: day("2030-11-14")}}

const oldestPG, newestPG = 12, 18

func pgSupported(h guard.Host, p guard.Postgres) []guard.Observation {
	fix := fmt.Sprintf("# Back the databases up, stop MAAS, install a later PostgreSQL, and: pg_upgradecluster %s; MAAS's documentation says which versions it works with.", guard.Show(strings.ReplaceAll(p.Name, "/", " ")))
	if p.Name == "maas-test-db" {
		fix = "# maas-test-db is for trying MAAS out: dump the database, set a PostgreSQL up that you look after, restore it there, and point regiond.conf to it."
	}
	return pgVersion(h, "PostgreSQL "+p.Name, fix, p.Version)
}

// pgVersion judges a major version; 0 is one that is not known.
func pgVersion(h guard.Host, subject, fix string, major int) []guard.Observation {
	v, known := pgVersions[major]
	const undo = "# pg_upgradecluster keeps the old server, stopped: start it again, and drop the new one."
	switch left := v.end.Sub(h.Now()); {
	case major == 0:
		return []guard.Observation{guard.Blind(subject, errors.New("nothing says which version it is"))}
	case major > newestPG:
		return []guard.Observation{guard.Blind(subject, fmt.Errorf("its version %d is newer than the list of supported ones, read on %s", major, tablesRead.Format(time.DateOnly)))}
	case !known:
		return []guard.Observation{failed(guard.High, subject, fix, undo, "Its version is %d, which has had no fixes since before %s.", major, pgVersions[oldestPG].end.Format(time.DateOnly))}
	case left < 0:
		return []guard.Observation{failed(guard.High, subject, fix, undo, "Its version is %d, whose last fixes were of %s.", major, v.end.Format(time.DateOnly))}
	case left < planAhead:
		return []guard.Observation{failed(guard.Low, subject, fix, undo, "Its version is %d, which gets fixes until %s: plan the next one.", major, v.end.Format(time.DateOnly))}
	}
	return []guard.Observation{passed(subject, "Its version is %d, which gets fixes until %s.", major, v.end.Format(time.DateOnly))}
}

// systems are when releases end, by distro-info-data of Debian (eol and eol-lts; eol-server and eol-esm): its later date is of fixes that
// are fewer, or that one has to subscribe to. The test holds this against the package.
var systems = map[string]map[string]ends{
	"debian": {
		"10": {"Debian 10", day("2022-09-10"), day("2024-06-30"), "of Debian LTS"},
		"11": {"Debian 11", day("2024-08-14"), day("2026-08-31"), "of Debian LTS"},
		"12": {"Debian 12", day("2026-07-11"), day("2028-06-30"), "of Debian LTS"},
		"13": {"Debian 13", day("2028-08-09"), day("2030-06-30"), "of Debian LTS"},
	},
	"ubuntu": {
		"18.04": {"Ubuntu 18.04 LTS", day("2023-05-31"), day("2028-04-26"), "for who has Ubuntu Pro"},
		"20.04": {"Ubuntu 20.04 LTS", day("2025-05-29"), day("2030-04-23"), "for who has Ubuntu Pro"},
		"22.04": {"Ubuntu 22.04 LTS", day("2027-06-01"), day("2032-04-21"), "for who has Ubuntu Pro"},
		"24.04": {"Ubuntu 24.04 LTS", day("2029-05-31"), day("2034-04-25"), "for who has Ubuntu Pro"},
		"24.10": {name: "Ubuntu 24.10", end: day("2025-07-10")},
		"25.04": {name: "Ubuntu 25.04", end: day("2026-01-15")},
		"25.10": {name: "Ubuntu 25.10", end: day("2026-07-09")},
		"26.04": {"Ubuntu 26.04 LTS", day("2031-05-29"), day("2036-04-23"), "for who has Ubuntu Pro"},
	},
}

// endedBefore are the first releases of the table: what is older has ended.
var endedBefore = map[string]string{"debian": "10", "ubuntu": "18.04"}

func systemSupported(h guard.Host, p guard.Product) []guard.Observation {
	const at = "/etc/os-release"
	r, err := h.Release()
	if err != nil {
		return beside(at, err)
	}
	subject := r.Name
	if subject == "" {
		subject = r.ID + " " + r.Version
	}
	list := systems[r.ID]
	s, known := list[r.Version]
	older, err := flaws.Compare(r.Version, endedBefore[r.ID])
	fix := "# Go to the next release: for Debian by its release notes, for Ubuntu with do-release-upgrade; MAAS's documentation says which MAAS works on which."
	if p == guard.MAASDeb {
		fix = "# Packages of a MAAS version are for one release of Ubuntu each: upgrade MAAS and the system together, by MAAS's documentation, with a backup of both."
	}
	const undo = "# Nothing takes a system back to the release before: restore it from a backup or a snapshot."
	date := func(t time.Time) string { return t.Format(time.DateOnly) }
	switch now := h.Now(); {
	case list == nil:
		return []guard.Observation{guard.Blind(subject, fmt.Errorf("until when %s gets fixes is not in the list, which has Debian and Ubuntu", r.ID))}
	case !known && (err != nil || older >= 0):
		return []guard.Observation{guard.Blind(subject, fmt.Errorf("its version %q is not in the list of releases, read on %s", r.Version, date(tablesRead)))}
	case !known:
		return []guard.Observation{failed(guard.High, subject, fix, undo, "%s gets no fixes any more.", subject)}
	case s.end.After(now) && s.end.Sub(now) < planAhead:
		return []guard.Observation{failed(guard.Low, subject, fix, undo, "%s gets fixes until %s: plan the next release.", s.name, date(s.end))}
	case s.end.After(now):
		return []guard.Observation{passed(subject, "%s gets fixes until %s.", s.name, date(s.end))}
	case s.long.After(now) && r.ID == "debian":
		return []guard.Observation{failed(guard.Low, subject, fix, undo, "%s has had the fixes %s alone since %s, which are fewer, until %s.", s.name, s.how, date(s.end), date(s.long))}
	case s.long.After(now):
		return []guard.Observation{failed(guard.Medium, subject, fix, undo, "%s has had fixes only %s since %s, until %s; whether this host gets them was not looked at.", s.name, s.how, date(s.end), date(s.long))}
	}
	return []guard.Observation{failed(guard.High, subject, fix, undo, "%s has had no fixes since %s.", s.name, date(slices.MaxFunc([]time.Time{s.end, s.long}, time.Time.Compare)))}
}

// maasFlaws are flaws of MAAS itself. Only what has a public record with versions is here. Of a version before all ranges the record's
// default holds ("affected"); later ones have the fix, which is in the source since 18 July 2024.
var maasFlaws = []struct {
	id, what string
	severity guard.Severity
	first    [3]int      // before it the record's default holds
	ranges   [][2][3]int // from, and the first that has it no more
}{
	{"CVE-2024-6107", "a region carries out the commands of racks for whoever connects, without the shared secret: who reaches its ports 5250 and up has the passwords of BMCs", guard.Critical,
		[3]int{3, 1, 0}, [][2][3]int{{{3, 1, 0}, {3, 1, 4}}, {{3, 2, 0}, {3, 2, 11}}, {{3, 3, 0}, {3, 3, 8}}, {{3, 4, 0}, {3, 4, 4}}, {{3, 5, 0}, {3, 5, 1}}}},
}

func maasKnownFlaws(h guard.Host, p guard.Product) (list []guard.Observation) {
	subject, text, n, blind := maasInstalled(h, p)
	if subject == "" {
		return blind
	}
	for _, f := range maasFlaws {
		fixed := ""
		for _, r := range f.ranges {
			if !less(n, r[0]) && less(n, r[1]) {
				fixed = fmt.Sprintf("%d.%d.%d has it no more", r[1][0], r[1][1], r[1][2])
			}
		}
		if less(n, f.first) {
			fixed = "no version before 3.1 is said to be without it"
		}
		if fixed == "" {
			continue
		}
		fix, undo := "snap refresh maas", "snap revert maas"
		if p == guard.MAASDeb {
			fix, undo = "apt-get update && apt-get install --only-upgrade '?installed?name(^maas)'", "# Restore the packages of "+guard.Show(text)+" and the database from the backup."
		}
		list = append(list, failed(f.severity, subject, fix+" # with a backup of the database; first of all let nobody but the racks reach 5250 to 5270", undo,
			"Its version is %s, which has %s: %s; %s.", text, f.id, f.what, fixed))
	}
	if len(list) == 0 {
		list = append(list, passed(subject, "Its version is %s, and none of the %d flaws of MAAS that this program knows is in it. Others are known to files of flaws only.", text, len(maasFlaws)))
	}
	return list
}

// flawsOfPackages judges what files of known flaws say, a finding for each package.
func flawsOfPackages(h guard.Host, _ guard.Product) (list []guard.Observation) {
	found, err := h.Flaws()
	if errors.Is(err, guard.ErrNoFiles) {
		return nil // it is asked for or not: without a file there is nothing to say
	}
	if err != nil {
		return []guard.Observation{guard.Blind("known flaws", err)}
	}
	byPackage := map[string][]flaws.Match{}
	var order []string
	for _, f := range found {
		for _, m := range f.Matches {
			if byPackage[m.Package] == nil {
				order = append(order, m.Package)
			}
			byPackage[m.Package] = append(byPackage[m.Package], m)
		}
		if f.NotClear > 0 {
			var reasons []string
			for _, why := range f.Reasons() {
				reasons = append(reasons, fmt.Sprintf("%d %s", f.Why[why], why))
			}
			list = append(list, guard.Blind(f.Path, fmt.Errorf("%d of its %d records were not understood: %s", f.NotClear, f.Records, strings.Join(reasons, "; "))))
		}
	}
	slices.Sort(order)
	for _, name := range order {
		list = append(list, packageFlaws(name, byPackage[name]))
	}
	records, elsewhere, withdrawn, notClear := 0, 0, 0, 0
	for _, f := range found {
		records, elsewhere, withdrawn, notClear = records+f.Records, elsewhere+f.Elsewhere, withdrawn+f.Withdrawn, notClear+f.NotClear
	}
	switch subject := fmt.Sprintf("files of known flaws (%d)", len(found)); {
	case records == elsewhere+withdrawn:
		list = append(list, guard.Blind(subject, fmt.Errorf("none of their %d records is for this system: %d are for others, %d are withdrawn", records, elsewhere, withdrawn)))
	case len(order) == 0 && notClear == 0:
		list = append(list, passed(subject, "Of their %d records %d are for other systems, %d are withdrawn, and none of the others is of a version that is installed. Packages alone are looked at: what is within snaps is not.", records, elsewhere, withdrawn))
	}
	return list
}

func packageFlaws(name string, matches []flaws.Match) guard.Observation {
	const most = 20 // flaws that are told of a package
	var withFix, without []string
	for _, m := range matches {
		also := ""
		if len(m.Aliases) > 0 {
			also = " (" + strings.Join(m.Aliases[:min(3, len(m.Aliases))], ", ") + ")"
		}
		if m.Fixed == "" {
			without = append(without, m.ID+also)
		} else {
			withFix = append(withFix, m.ID+also+", fixed in "+m.Fixed)
		}
	}
	tell := func(what string, ids []string) string {
		slices.Sort(ids)
		if ids = slices.Compact(ids); len(ids) > most {
			ids = append(ids[:most:most], fmt.Sprintf("and %d more", len(ids)-most))
		}
		return guard.Show(what + strings.Join(ids, "; ") + ".")
	}
	o := failed(guard.High, "the package "+name, "apt-get update && apt-get install --only-upgrade "+guard.Quote(name), "# apt-get install "+guard.Quote(name+"="+matches[0].Installed)+" --allow-downgrades, from snapshot.debian.org or a cache.", "x")
	o.Evidence = nil
	if len(withFix) > 0 {
		o.Evidence = append(o.Evidence, tell("Version "+matches[0].Installed+" has: ", withFix))
	} else {
		o.Severity = guard.Low // nothing is to be done but to wait, or to take it off the host
		o.Fix, o.Undo = []string{"# There is no fix yet: take the package off the host if nothing needs it, or keep strangers from what uses it."}, []string{"# Install it again."}
	}
	if len(without) > 0 {
		o.Evidence = append(o.Evidence, tell("Version "+matches[0].Installed+" has, and the file knows no fix: ", without))
	}
	return o
}

// versions is the group of checks of what is too old.
func versions() []*guard.Check {
	maas := map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27}
	none := guard.Sample{Name: "nothing of the kind", Want: guard.NotApplicable}
	installed := func(name string, want guard.State, v string) []guard.Sample {
		return []guard.Sample{
			{Name: name, Product: guard.MAASDeb, Want: want, Tree: []guard.Entry{{Path: "/var/lib/dpkg/status", Content: "Package: maas-region-api\nStatus: install ok installed\nVersion: 1:" + v + "-0ubuntu1~22.04.1\n\n"}}},
			{Name: name, Product: guard.MAASSnap, Want: want, Tree: []guard.Entry{{Path: "/snap/maas/current/meta/snap.yaml", Content: "name: maas\nversion: " + v + "\n"}}},
		}
	}
	server := func(name string, want guard.State, version string) guard.Sample {
		return treeOf(name, want, guard.Entry{Path: "/etc/postgresql/" + version + "/main/postgresql.conf"}, guard.Entry{Path: "/etc/postgresql/" + version + "/main/pg_hba.conf", Content: "local all all peer\n"})
	}
	system := func(name string, want guard.State, id, version string) guard.Sample {
		return treeOf(name, want, guard.Entry{Path: "/etc/os-release", Content: "ID=" + id + "\nVERSION_ID=\"" + version + "\"\n"})
	}
	known := func(name string, want guard.State, r flaws.Result) guard.Sample {
		return guard.Sample{Name: name, Want: want, Flaws: []guard.FlawFile{{Path: "all.json", Result: r}}}
	}
	match := func(fixed string) []flaws.Match {
		return []flaws.Match{{ID: "DSA-1", Aliases: []string{"CVE-2026-1"}, Package: "curl", Installed: "7.88.1-10", Fixed: fixed}}
	}
	list := []*guard.Check{
		{ID: "versions-maas", Title: "MAAS is a version that gets fixes", Severity: guard.High, Versions: maas,
			Why:        "Flaws that are found in a version that is no longer supported stay in it, and are described to everybody in the notes of the next.",
			Fix:        "Upgrade, version after version, each with a backup of the database.",
			Risk:       "Each version may need another PostgreSQL and another Ubuntu; racks and regions have to be of one version.",
			Undo:       "Restore the database and the version before from the backup; an older MAAS cannot use a newer one's database.",
			References: []guard.Reference{maasSupport}, Judge: maasSupported,
			Samples: slices.Concat(installed("supported", guard.Pass, "3.7.1-17547-g.abc"), installed("bug fixes only", guard.Pass, "3.4.9"), installed("not supported", guard.Fail, "3.3.8-13991-g.abc"),
				installed("very old", guard.Fail, "2.9.2"), installed("newer than the list", guard.Unchecked, "3.8.0~alpha1"), installed("not of that form", guard.Unchecked, "edge"), onMAAS(none))},
		{ID: "versions-maas-flaws", Title: "MAAS has no flaw that this program knows", Severity: guard.Critical, Versions: maas, Role: guard.Region,
			Why:        "The flaw is public, and so is what to do with it.",
			Fix:        "Upgrade within the version that is installed, which changes little else.",
			Risk:       "MAAS starts anew; racks of the old version stay away until they are upgraded, too.",
			Undo:       "Go back to the version before, and keep everybody but the racks from the region's ports.",
			References: []guard.Reference{cve20246107}, Judge: maasKnownFlaws,
			Samples: slices.Concat(installed("without", guard.Pass, "3.5.1"), installed("later", guard.Pass, "3.7.0"), installed("with", guard.Fail, "3.5.0-16313-g.abc"), installed("with, of an old series", guard.Fail, "3.2.10"),
				installed("fixed in an old series", guard.Pass, "3.2.11"), installed("before all that were looked at", guard.Fail, "2.9.2"), installed("not of that form", guard.Unchecked, "edge"))},
		{ID: "versions-postgres", Title: "PostgreSQL is a version that gets fixes", Severity: guard.High, Versions: everyProduct(),
			Why:        "All that MAAS knows is in it, BMC passwords included, and each major version gets fixes for five years only.",
			Fix:        "Upgrade to a later major version that the product works with.",
			Risk:       "The databases stand still while they are converted; MAAS 3.3 and older do not work with each version.",
			Undo:       "Start the old server, which the upgrade leaves as it was.",
			References: []guard.Reference{pgSupport, maasSupport}, Judge: servers(pgSupported),
			Samples: onEach(none, server("supported", guard.Pass, "16"), server("ended", guard.Fail, "13"), server("ended long ago", guard.Fail, "9"), server("newer than the list", guard.Unchecked, "19"))},
		{ID: "versions-system", Title: "The operating system gets fixes", Severity: guard.High, Versions: everyProduct(),
			Why:        "The kernel, OpenSSL, OpenSSH, BIND and the DHCP server that machines boot from are the system's.",
			Fix:        "Upgrade to a later release that the product runs on.",
			Risk:       "MAAS's packages are for one release each; try it on another host.",
			Undo:       "Restore the host from a backup: no release can be taken back.",
			References: []guard.Reference{debianSupport, ubuntuSupport, maasSupport}, Judge: systemSupported,
			Samples: onEach(none, system("supported", guard.Pass, "ubuntu", "24.04"), system("ended", guard.Fail, "ubuntu", "24.10"), system("long ended", guard.Fail, "debian", "10"), system("before the list", guard.Fail, "ubuntu", "14.04"),
				system("for subscribers only", guard.Fail, "ubuntu", "20.04"), system("newer than the list", guard.Unchecked, "ubuntu", "27.04"), system("another", guard.Unchecked, "alpine", "3.20"), system("without a number", guard.Unchecked, "debian", ""))},
		{ID: "versions-flaws", Title: "No installed package has a known flaw", Severity: guard.High, Versions: everyProduct(),
			Why:        "Files of known flaws, named with --osv or --oval, say which versions have them. Without such a file nothing is looked at: this program asks no network.",
			Fix:        "Upgrade the package.",
			Risk:       "What uses it starts anew.",
			Undo:       "Install the version before.",
			References: []guard.Reference{osvSchema, ovalLanguage}, Judge: flawsOfPackages,
			Samples: onEach(none, known("none is installed", guard.Pass, flaws.Result{Format: "OSV", Records: 3, Elsewhere: 1}), known("one with a fix", guard.Fail, flaws.Result{Format: "OSV", Records: 3, Matches: match("7.88.1-11")}),
				known("one without", guard.Fail, flaws.Result{Format: "OVAL", Records: 3, Matches: match("")}), known("for another system", guard.Unchecked, flaws.Result{Format: "OSV", Records: 3, Elsewhere: 3}),
				known("not understood", guard.Unchecked, flaws.Result{Format: "OVAL", Records: 3, NotClear: 1, Why: map[string]int{"without versions": 1}}))},
	}
	for _, c := range list {
		c.Group = "versions"
	}
	return list
}
