package rack

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
)

// While the region is away an attack that goes on stays one alert; it is told when the region is back. What the region refuses is not told for ever.
func TestFoundLoop(t *testing.T) {
	dir := enrolled(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRack(t, dir)
		var mu sync.Mutex // guards the rest
		var answer error = fault.New(fault.Unavailable, "away")
		var sent []detect.HostReport
		tries := 0
		send := func(_ context.Context, x detect.HostReport) error {
			mu.Lock()
			defer mu.Unlock()
			tries++
			if answer == nil {
				sent = append(sent, x)
			}
			return answer
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.foundLoop(ctx, send) }()
		begin := time.Now()
		put := func(count int64) {
			r.found.Put("host", detect.HostReport{Alerts: []detect.HostAlert{{Unit: "ssh_bruteforce", Severity: detect.Low, First: begin, Last: time.Now(), Count: count}}})
		}
		for n := range 1000 {
			put(int64(n + 1))
			time.Sleep(time.Second)
		}
		mu.Lock()
		answer = nil
		mu.Unlock()
		time.Sleep(time.Minute)
		mu.Lock()
		if len(sent) != 1 || len(sent[0].Alerts) != 1 || sent[0].Alerts[0].Count != 1000 || tries > 502 {
			t.Errorf("got %d reports after %d tries: %+v", len(sent), tries, sent)
		}
		answer, tries = fault.New(fault.Invalid, "no"), 0
		mu.Unlock()
		put(1001)
		time.Sleep(time.Minute)
		mu.Lock()
		if tries != 1 {
			t.Errorf("what is refused was sent %d times", tries)
		}
		mu.Unlock()
		cancel()
		<-done
	})
}
