package catalog

import (
	"fmt"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// write is what to do about a line of HAProxy's, and how to undo it.
func write(file string, line int, what string) (fix, undo string) {
	at := fmt.Sprintf("# In %s, in the section of line %d: ", guard.Show(file), line)
	return at + what + " Then: " + taking["haproxy"], at + "take it out again. Then: " + taking["haproxy"]
}

// eachBackend judges the groups of servers behind a front, where there are requests to send to more than one.
func eachBackend(judge func(guard.Front, guard.Backend) (state guard.State, what, say string)) func(guard.Host, guard.Front) []guard.Observation {
	return func(_ guard.Host, f guard.Front) (list []guard.Observation) {
		for _, b := range f.Behind {
			at := fmt.Sprintf("%s:%d %s", b.File, b.Line, b.Name)
			state, what, say := judge(f, b)
			switch fix, undo := write(b.File, b.Line, what); state {
			case guard.Fail:
				list = append(list, failed(0, at, fix, undo, "%s", say))
			case guard.Pass:
				list = append(list, passed(at, "%s", say))
			}
		}
		return list
	}
}

// limited judges the most that a balancer takes at once.
func limited(_ guard.Host, f guard.Front) []guard.Observation {
	if f.Limit > 0 {
		return []guard.Observation{passed(f.File, "HAProxy takes %d connections at once.", f.Limit)}
	}
	return []guard.Observation{failed(0, f.File, "# In "+guard.Show(f.File)+", in global: write maxconn and a number that the regions can serve, 2000 to begin with. Then: "+taking["haproxy"],
		"# In "+guard.Show(f.File)+", in global: take maxconn out again. Then: "+taking["haproxy"], "Nothing says how many connections HAProxy takes at once: it takes as many as it may open files, and passes all of them on.")}
}

// endless reports whether a time is none. Source: HAProxy's configuration manual, "Time format", and what haproxy -c warns of.
func endless(value string) bool { return strings.Trim(strings.TrimRight(value, "usmhd"), "0") == "" }

// patient judges the times after which HAProxy gives up on clients and servers.
func patient(h guard.Host, f guard.Front) []guard.Observation {
	var list []guard.Observation
	if fix, undo := write(f.File, f.Line, "write timeout client 90s."); endless(f.Timeout) {
		list = append(list, failed(0, frontName(f), fix, undo, "No timeout client: a client that says nothing keeps its connection for ever."))
	}
	list = append(list, eachBackend(func(_ guard.Front, b guard.Backend) (guard.State, string, string) {
		var none []string
		for _, t := range []struct{ name, value string }{{"timeout connect 5s", b.Connect}, {"timeout server 90s", b.Server}} {
			if endless(t.value) {
				none = append(none, t.name)
			}
		}
		if len(none) == 0 {
			return guard.Pass, "", fmt.Sprintf("It waits %s for a connection, and %s for an answer.", b.Connect, b.Server)
		}
		return guard.Fail, "write " + strings.Join(none, ", and ") + ".", "Of these nothing is set: " + strings.Join(none, ", ") + ". A region that hangs keeps people waiting for ever, and uses up the connections."
	})(h, f)...)
	return list
}

// faithful judges whether a client comes back to the same region.
func faithful(_ guard.Front, b guard.Backend) (guard.State, string, string) {
	switch algorithm := b.Balance; {
	case b.Sticky:
		return guard.Pass, "", "A cookie or a table keeps a client with a server."
	case algorithm != "source" && !strings.HasPrefix(algorithm, "hash") && !strings.HasPrefix(algorithm, "hdr"):
		if algorithm == "" {
			algorithm = "roundrobin, as usual"
		}
		return guard.Fail, "write balance source, and hash-type consistent.", fmt.Sprintf("Its algorithm is %s: each request of a person may go to another region. The guide has balance source.", algorithm)
	case b.Hash != "consistent":
		return guard.Fail, "write hash-type consistent.", fmt.Sprintf("balance %s without hash-type consistent: when one region goes or comes, most people are sent to another.", b.Balance)
	}
	return guard.Pass, "", "balance " + b.Balance + ", hash-type consistent."
}

func retried(_ guard.Front, b guard.Backend) (guard.State, string, string) {
	switch {
	case b.Retries == "0":
		return guard.Fail, "write retries 3.", "retries 0: the first connection that fails is an error for whoever asked."
	case !b.Redispatch:
		return guard.Fail, "write option redispatch.", "Without option redispatch who was sent to a region that has just gone is sent there again. In a frontend, where the guide has it, HAProxy does not heed it."
	}
	return guard.Pass, "", "What fails is tried again, at another region in the end."
}

func givenBack(f guard.Front, b guard.Backend) (guard.State, string, string) {
	switch {
	case f.Raw:
		return "", "", ""
	case f.Close || b.Close:
		return guard.Pass, "", "Connections to regions are closed after each answer, those of clients kept."
	}
	return guard.Fail, "write option http-server-close.", "Connections to regions stay open after an answer: HAProxy's and the regions' connections are taken by those who ask for nothing. The guide has option http-server-close."
}

// sayWho judges whether a region learns who asks.
func sayWho(f guard.Front, _ guard.Backend) (guard.State, string, string) {
	switch {
	case f.Raw:
		return "", "", ""
	case f.For:
		return guard.Pass, "", "option forwardfor is on."
	}
	return guard.Fail, "write option forwardfor.", "Regions take every request for the balancer's own: what they log of failed logins names nobody."
}

// care are the checks of how a balancer treats the regions.
func care() []*guard.Check {
	none := onEach(guard.Sample{Name: "no balancer", Want: guard.NotApplicable})
	broken := frontsOf(allThree, "half a line", guard.Unchecked, haproxyAt, "defaults\n mode \"http\n")
	// as the guide has it, its lines being where HAProxy heeds them
	asGuide := func(global, defaults, backend string) string {
		return "global\n" + global + "\ndefaults\n mode http\n timeout client 90s\n timeout connect 5s\n" + defaults + "\nfrontend maas\n bind *:443 ssl crt " + pemAt +
			"\n default_backend maas\nbackend maas\n" + backend + "\n server a 10.0.0.1:PORT check\n server b 10.0.0.2:PORT check\n"
	}
	const all = "timeout server 90s\nretries 3\noption redispatch\nbalance source\nhash-type consistent\noption http-server-close"
	good := frontsOf(allThree, "as the guide has it", guard.Pass, haproxyAt, asGuide("maxconn 2000", "", all))
	one := func(name string, want guard.State, global, defaults, backend string) []guard.Sample {
		return frontsOf(allThree, name, want, haproxyAt, asGuide(global, defaults, backend))
	}
	raw := frontsOf(allThree, "passed on as it is", guard.NotApplicable, haproxyAt, "listen maas\n mode tcp\n bind :443\n server a 10.0.0.1:PORT check\n")
	return []*guard.Check{
		{ID: "availability-limit", Title: "The balancer takes no more connections than it can serve", Severity: guard.Low, Judge: onFronts(isBalancer, limited),
			Why:     "The guide sets maxconn: as many as HAProxy may open files are more than the regions can serve, and all wait then.",
			Samples: together(none, good, broken, one("not set", guard.Fail, "", "", all), one("set for one frontend alone", guard.Fail, "", "maxconn 100", all))},
		{ID: "availability-timeouts", Title: "The balancer does not wait for ever", Severity: guard.Medium, Judge: onFronts(isBalancer, patient),
			Why: "The guide has timeout server. Where HAProxy has none for clients, connections and answers it says itself that one will encounter various problems: what hangs uses up the connections.",
			Samples: together(none, good, broken, one("no timeout of the server", guard.Fail, "maxconn 9", "", "balance source"), one("of none", guard.Fail, "", "timeout server 0", ""), one("none at all of clients", guard.Fail, "", "timeout client 0s\ntimeout server 9s", ""),
				one("by defaults", guard.Pass, "", "timeout server 1m", ""))},
		{ID: "availability-balance", Title: "The balancer sends a client to the same region", Severity: guard.Low, Judge: onFronts(isBalancer, eachBackend(faithful)),
			Why: "The guide has balance source and hash-type consistent: a person's requests, and the connection that keeps his page up to date, are one region's, and stay so when another one goes.",
			Samples: together(none, good, broken, one("each in turn", guard.Fail, "", "", ""), one("by the number of servers", guard.Fail, "", "", "balance source"), one("a cookie", guard.Pass, "", "", "cookie REGION insert"),
				one("the guide's newest form", guard.Fail, "", "", "balance source"))},
		{ID: "availability-retries", Title: "The balancer tries again, at another region in the end", Severity: guard.Low, Judge: onFronts(isBalancer, eachBackend(retried)),
			Why: "The guide has retries and option redispatch in the frontend, where HAProxy warns that it ignores them: they belong to the backend or to defaults.",
			Samples: together(none, good, broken, one("nothing", guard.Fail, "", "", ""), one("no retries", guard.Fail, "", "option redispatch", "retries 0"), one("taken back", guard.Fail, "", "option redispatch", "no option redispatch"),
				one("never another", guard.Fail, "", "", "option redispatch 0"), one("each time another", guard.Pass, "", "option redispatch 1", ""),
				frontsOf(allThree, "in the frontend, as the guide has it", guard.Fail, haproxyAt, "frontend maas\n bind :80\n retries 3\n option redispatch\n default_backend maas\nbackend maas\n server a 10.0.0.1:PORT check\n"))},
		{ID: "availability-sender", Title: "The balancer says who asks", Severity: guard.Medium, Judge: onFronts(isBalancer, eachBackend(sayWho)),
			Why: "Without X-Forwarded-For MAAS's log, and what it limits by address, know the balancer alone.",
			Samples: together(none, broken, raw, frontsOf(allThree, "by defaults", guard.Pass, haproxyAt, asGuide("", "option forwardfor", all)), one("not said", guard.Fail, "", "", all),
				one("of the backend", guard.Pass, "", "", all+"\noption forwardfor"))},
		{ID: "availability-close", Title: "The balancer closes connections to regions after each answer", Severity: guard.Low, Judge: onFronts(isBalancer, eachBackend(givenBack)),
			Why: "The guide has option http-server-close: clients keep their connections, those to regions are given back, and a region is not kept busy by who asks for nothing.",
			Samples: together(none, good, broken, raw, one("nothing", guard.Fail, "", "", ""), one("by defaults", guard.Pass, "", "option http-server-close", ""), one("not of the backend, and so of the frontend", guard.Pass, "", "option http-server-close", "option http-keep-alive"),
				frontsOf(allThree, "taken back", guard.Fail, haproxyAt, "defaults\n mode http\n option http-server-close\nlisten maas\n bind :80\n no option http-server-close\n server a 10.0.0.1:PORT check\n"),
				frontsOf(allThree, "in the frontend", guard.Pass, haproxyAt, "frontend maas\n mode http\n bind :80\n option http-server-close\n default_backend maas\nbackend maas\n mode http\n server a 10.0.0.1:PORT check\n"))},
	}
}
