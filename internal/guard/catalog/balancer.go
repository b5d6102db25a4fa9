package catalog

import (
	"fmt"
	"slices"

	"github.com/metalward/metalward/internal/guard"
)

func isBalancer(f guard.Front) bool { return f.Program == "haproxy" }

// lives judges whether a balancer looks after the servers.
func lives(_ guard.Host, f guard.Front) (list []guard.Observation) {
	for _, s := range f.Servers {
		at := fmt.Sprintf("%s:%d", s.File, s.Line)
		if s.Check {
			list = append(list, passed(at, "HAProxy looks whether %s lives.", s.Name))
			continue
		}
		list = append(list, failed(0, at, fmt.Sprintf("# In %s, line %d: write check at the end. Then: %s", guard.Show(s.File), s.Line, taking["haproxy"]), fmt.Sprintf("# In %s, line %d: take check out. Then: %s", guard.Show(s.File), s.Line, taking["haproxy"]),
			"HAProxy does not look whether %s (%s) lives, and sends people there when it does not.", s.Name, s.Address))
	}
	return list
}

// several judges whether there is more than one server behind a balancer.
func several(_ guard.Host, f guard.Front) []guard.Observation {
	var names []string
	for _, s := range f.Servers {
		if !slices.Contains(names, s.Address) {
			names = append(names, s.Address)
		}
	}
	if len(names) > 1 {
		return []guard.Observation{passed(frontName(f), "Behind it are %d servers.", len(names))}
	}
	fix, undo := edit(f, map[string]string{"haproxy": "install a second region controller, and write a line server NAME ADDRESS:PORT check for it."})
	return []guard.Observation{failed(0, frontName(f), fix, undo, "Behind it is one server alone: the balancer is one thing more that may fail, and nothing stands in.")}
}

func balancerLogs(_ guard.Host, f guard.Front) []guard.Observation {
	if f.Logged {
		return []guard.Observation{passed(frontName(f), "Requests are logged.")}
	}
	fix, undo := edit(f, map[string]string{"haproxy": "write in global: log /dev/log local0, and in the section or its defaults: log global and option httplog"})
	return []guard.Observation{failed(0, frontName(f), fix, undo, "No request is logged: MAAS behind it sees the balancer's address, so nobody knows who asked.")}
}

// balancer is what is checked of a balancer in front of the regions.
func balancer() []*guard.Check {
	none := onEach(guard.Sample{Name: "no balancer", Want: guard.NotApplicable})
	good := frontsOf(allThree, "as it should be", guard.Pass, haproxyAt, balancerConfig("", ""))
	broken := frontsOf(allThree, "half a line", guard.Unchecked, haproxyAt, "defaults\n mode \"http\n")
	one := func(name string, want guard.State, text string) []guard.Sample {
		return frontsOf(allThree, name, want, haproxyAt, text)
	}
	list := []*guard.Check{
		{ID: "availability-health", Title: "The balancer looks whether the regions live", Severity: guard.Medium, References: []guard.Reference{guide, haproxyManual}, Judge: onFronts(isBalancer, lives),
			Why: "The guide's servers have check; without it a region that is down gets its share of people and of calls all the same.",
			Samples: together(none, good, broken, one("without", guard.Fail, "listen maas\n mode http\n bind :80\n server a 10.0.0.1:PORT\n"), one("as the usual of servers", guard.Pass, "defaults\n mode http\n default-server check\nlisten maas\n bind :80\n server a 10.0.0.1:PORT\n"),
				one("switched off", guard.Fail, "listen maas\n mode http\n default-server check\n bind :80\n server a 10.0.0.1:PORT no-check\n"))},
		{ID: "availability-regions", Title: "There is more than one region behind the balancer", Severity: guard.Low, References: []guard.Reference{guide, about}, Judge: onFronts(isBalancer, several),
			Why:     "With one region an update or a broken disk stops all of it, and the balancer adds one thing more that may fail.",
			Samples: together(none, good, broken, one("one", guard.Fail, "listen maas\n bind :80\n server a 10.0.0.1:PORT check\n"))},
		{ID: "availability-logging", Title: "The balancer logs requests", Severity: guard.Medium, References: []guard.Reference{guide, haproxyManual}, Judge: onFronts(isBalancer, balancerLogs),
			Why: "Its log is the only one that has the address of who asked for certain.",
			Samples: together(none, good, broken, one("none", guard.Fail, "listen maas\n mode http\n bind :80\n server a 10.0.0.1:PORT check\n"), one("taken back", guard.Fail, "defaults\n log global\nlisten maas\n no log\n bind :80\n server a 10.0.0.1:PORT check\n"),
				one("by named defaults", guard.Pass, "defaults a\n log 127.0.0.1 local0\ndefaults b\n mode http\nlisten maas from a\n bind :80\n server a 10.0.0.1:PORT check\n"))},
		{ID: "availability-statistics", Title: "The balancer's statistics are not for everybody", Severity: guard.Medium, References: []guard.Reference{haproxyManual}, Judge: pages,
			Why: "The page has the names, addresses and state of all servers, and with stats admin switches them off.",
			Samples: together(none, one("without a login", guard.Fail, "listen stats\n mode http\n bind :9090\n stats enable\n stats uri /\n"), one("with one", guard.Pass, "listen stats\n mode http\n bind :9090\n stats enable\n stats auth a:b\n"), broken,
				one("metrics", guard.Fail, "frontend m\n mode http\n bind :8405\n http-request use-service prometheus-exporter if { path /metrics }\n"))},
		{ID: "availability-old", Title: "HAProxy understands its configuration after an update", Severity: guard.Medium, References: []guard.Reference{guide, haproxyManual}, Judge: oldLines,
			Why:     "MAAS's guide shows reqadd, which HAProxy gave up with 2.1: a balancer with it does not start after an update of the host.",
			Samples: together(none, good, one("as the guide has it", guard.Fail, balancerConfig("", " reqadd X-Forwarded-Proto:\\ https")))},
	}
	for _, c := range care() {
		c.References = []guard.Reference{guide, haproxyManual}
		list = append(list, c)
	}
	for _, c := range list {
		c.Group, c.Versions = "availability", everyProduct()
		c.Fix = "Change the line that the finding names, have HAProxy look for mistakes, and only then take the new configuration."
		c.Undo = "Put the line back as it was, and have HAProxy take it."
		c.Risk = "A mistake in the file keeps HAProxy from starting: the commands look for mistakes first."
	}
	return list
}
