package throttle_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/metalward/metalward/internal/region/throttle"
)

var start = time.Date(2027, 3, 1, 8, 0, 0, 0, time.UTC)

// guess makes a wrong guess and reports whether it was compared.
func guess(t *throttle.Throttle, name, source string, now time.Time) bool {
	a, wait := t.Take(name, source, now)
	if wait > 0 {
		return false
	}
	a.Failed(now)
	return true
}

// TestFigures counts how many of 1,000 wrong guesses are compared, made at once and made in the course of a day.
// After each attack the owner comes from another network at once.
func TestFigures(t *testing.T) {
	one := func(int) string { return "192.0.2.66" }
	user := func(int) string { return "alice" }
	for _, x := range []struct {
		name         string
		who, from    func(int) string
		atOnce, aDay int // the most that may be compared of 1,000
	}{
		{"one address, one account", user, one, 5, 5 + 96 + 15},
		{"1,000 addresses of one /64, one account", user, func(i int) string { return fmt.Sprintf("2001:db8:1:2::%x", i+1) }, 5, 5 + 96 + 15},
		{"one address, spraying over 1,000 accounts", func(i int) string { return fmt.Sprint("user", i) }, one, 30, 30 + 96 + 15},
		{"256 addresses of one /24, spraying", func(i int) string { return fmt.Sprint("user", i) }, func(i int) string { return fmt.Sprint("192.0.2.", i%256) }, 100, 100 + 96 + 15},
		{"1,000 /64s of one /48, one account", user, func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i) }, 100, 100 + 96 + 15},
	} {
		t.Run(x.name, func(t *testing.T) {
			count := func(every time.Duration) (n int) {
				th, now := throttle.New(throttle.Guessing), start
				for i := range 1000 {
					if guess(th, x.who(i), x.from(i), now) {
						n++
					}
					now = now.Add(every)
				}
				if wait := th.Wait(x.who(0), "198.51.100.1", now); wait > 0 {
					t.Errorf("the owner has to wait for %v elsewhere", wait)
				}
				return n
			}
			atOnce, aDay := count(0), count(24*time.Hour/1000)
			t.Logf("of 1,000 wrong guesses %d were compared when made at once, %d when spread over a day", atOnce, aDay)
			if atOnce > x.atOnce || aDay > x.aDay {
				t.Errorf("compared %d at once and %d in a day, want at most %d and %d", atOnce, aDay, x.atOnce, x.aDay)
			}
		})
	}
}

// TestGrowth doubles the wait to its limit, and forgives with time.
func TestGrowth(t *testing.T) {
	p := throttle.Guessing
	p.Subject.Forgive, p.Address.Forgive, p.Block.Forgive = 24*time.Hour, 24*time.Hour, 24*time.Hour
	th, now := throttle.New(p), start
	for range 5 {
		if !guess(th, "alice", "192.0.2.66", now) {
			t.Fatal("a free guess was refused")
		}
	}
	for want := time.Second; ; want = min(2*want, 15*time.Minute) {
		if got := th.Wait("alice", "192.0.2.66", now); got != want {
			t.Fatalf("got a wait of %v, want %v", got, want)
		}
		if guess(th, "alice", "192.0.2.66", now.Add(want-time.Millisecond)) {
			t.Fatalf("a guess before the end of %v was let through", want)
		}
		if got := th.Wait("alice", "192.0.2.66", now.Add(-time.Hour)); got != want {
			t.Fatalf("a clock that steps back: got a wait of %v, want %v", got, want)
		}
		if want == 15*time.Minute {
			break
		}
		if now = now.Add(want); !guess(th, "alice", "192.0.2.66", now) {
			t.Fatalf("a guess after %v was refused", want)
		}
	}
	now = now.Add(30 * 24 * time.Hour)
	for i := range 5 {
		if !guess(th, "alice", "192.0.2.66", now) {
			t.Fatalf("a month later guess %d was refused", i)
		}
	}
}

// TestAtOnce lets no more through of attempts that are under way together.
func TestAtOnce(t *testing.T) {
	th := throttle.New(throttle.Guessing)
	var under []*throttle.Attempt
	for range 60 {
		if a, wait := th.Take("alice", "192.0.2.66", start); wait == 0 {
			under = append(under, a)
		}
	}
	if len(under) != 5 {
		t.Errorf("%d of 60 were let through, want 5", len(under))
	}
	under[0].Drop()
	if a, wait := th.Take("alice", "192.0.2.66", start); wait > 0 {
		t.Error("a place that was given back is not free")
	} else {
		a.Failed(start)
	}
}

// TestSuccess forgives the typing errors of who gets in, and nothing else.
func TestSuccess(t *testing.T) {
	pass := func(th *throttle.Throttle, name, source string) {
		t.Helper()
		a, wait := th.Take(name, source, start)
		if wait > 0 {
			t.Fatalf("%s has to wait for %v", name, wait)
		}
		a.Passed(start)
	}
	office := throttle.New(throttle.Guessing)
	for i := range 500 { // people who mistype four times and get in
		name := fmt.Sprint("user", i)
		for range 4 {
			if !guess(office, name, "192.0.2.1", start) {
				t.Fatalf("person %d is refused for what the others forgot", i)
			}
		}
		pass(office, name, "192.0.2.1")
	}
	mallory, compared := throttle.New(throttle.Guessing), 0
	for i := range 500 { // an attacker who logs in as himself in between
		if guess(mallory, fmt.Sprint("user", i), "192.0.2.66", start) {
			compared++
		}
		if a, wait := mallory.Take("mallory", "192.0.2.66", start); wait == 0 {
			a.Passed(start)
		}
	}
	if compared != 30 {
		t.Errorf("%d guesses were compared between logins of his own, want 30", compared)
	}
}

func TestOtherNames(t *testing.T) {
	for name, pair := range map[string][2]string{"mapped": {"::ffff:192.0.2.66", "192.0.2.66"}, "zone": {"fe80::1%eth0", "fe80::1%eth1"}, "no address": {"", "nonsense"}} {
		th := throttle.New(throttle.Guessing)
		for range 5 {
			th.Fail("alice", pair[0], start)
		}
		if th.Wait("alice", pair[1], start) == 0 {
			t.Errorf("%s: %q and %q count apart", name, pair[0], pair[1])
		}
	}
}

// TestMemory fills a small throttle: it forgets those who failed least.
func TestMemory(t *testing.T) {
	p := throttle.Guessing
	p.Subject.Keys, p.Address.Keys, p.Block.Keys = 100, 100, 100
	th := throttle.New(p)
	for range 5 {
		th.Fail("alice", "192.0.2.66", start)
	}
	for i := range 10_000 {
		th.Fail("alice", netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}).String(), start)
	}
	if got := th.Len(); got > 300 {
		t.Errorf("%d keys are remembered, want at most 300", got)
	}
	if th.Wait("alice", "192.0.2.66", start) == 0 {
		t.Error("who failed most was forgotten")
	}
}

// TestNeverMore checks for any order of guesses, successes of the attacker's own and pauses that what is
// compared of one address stays below its limit, and that another network is free.
func TestNeverMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		th, now, compared := throttle.New(throttle.Guessing), start, 0
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0, 1:
				if guess(th, fmt.Sprint("user", rapid.IntRange(0, 5).Draw(t, "account")), "192.0.2.66", now) {
					compared++
				}
			case 2:
				if a, wait := th.Take("mallory", "192.0.2.66", now); wait == 0 && rapid.Bool().Draw(t, "right") {
					a.Passed(now)
				} else if wait == 0 {
					a.Failed(now) // his own account: not a guess
				}
			default:
				now = now.Add(time.Duration(rapid.IntRange(1, 1200).Draw(t, "pause")) * time.Second)
			}
		}
		// Beyond the free ones: one for each quarter of an hour, and the steps of the growing wait.
		if most := 30 + int(now.Sub(start)/(15*time.Minute)) + 11; compared > most {
			t.Fatalf("%d guesses were compared in %v, want at most %d", compared, now.Sub(start), most)
		}
		if th.Wait("user0", "198.51.100.1", now) > 0 {
			t.Fatal("another network has to wait")
		}
	})
}
