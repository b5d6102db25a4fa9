package region

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
)

// TestDatabaseRestart has PostgreSQL crash twice under the writes of a region that runs. Whoever was told that it is done finds it
// done, once and with one event; who was not is told to try again; and the region comes back by itself.
func TestDatabaseRestart(t *testing.T) {
	p := regiontest.NewOwnPostgres(t)
	s := newSurfaceOn(t, p.DSN)
	s.running()
	u, err := s.r.Identity.User(authz.AsSystem(t.Context(), "test"), "admin")
	if err != nil {
		t.Fatal(err)
	}
	admin := authz.With(t.Context(), authz.Principal{Kind: authz.User, Name: "admin", UserID: u.ID, Rights: authz.Everything()})
	const writers = 4
	var mu sync.Mutex
	var told, refused []string // names of pools; guarded by mu
	count := func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		return len(told), len(refused)
	}
	ctx, stop := context.WithCancel(admin)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("p-%d-%d", w, i)
				_, err := s.r.Machines.CreatePool(context.WithoutCancel(ctx), name, "")
				mu.Lock()
				if err == nil {
					told = append(told, name)
				} else if refused = append(refused, name); !fault.Is(err, fault.Unavailable) {
					t.Errorf("%s: got %v, want that the database does not answer", name, err)
				}
				mu.Unlock()
				if err != nil {
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	for range 2 {
		before, failed := count()
		waitFor(t, "writes", func() bool { n, _ := count(); return n >= before+20 })
		p.Crash()
		waitFor(t, "a refusal", func() bool { _, n := count(); return n > failed })
		if got := s.browse("/health"); !strings.HasPrefix(got, "503") {
			waitFor(t, "bad health", func() bool { return strings.HasPrefix(s.browse("/health"), "503") })
		}
		p.Start()
		after, _ := count()
		waitFor(t, "writes again", func() bool { n, _ := count(); return n >= after+20 })
		waitFor(t, "good health", func() bool { return strings.HasPrefix(s.browse("/health"), "200") })
	}
	stop()
	wg.Wait()
	var pools []metal.ResourcePool
	events := map[string]int{}
	if err := s.r.reader.View(t.Context(), func(v *store.View) (err error) {
		if pools, err = v.Pools(); err != nil {
			return err
		}
		rows, err := v.AuditEvents(store.AuditQuery{Limit: 1000000})
		for _, e := range rows {
			if e.Action == string(authz.PoolCreate) && e.Outcome == metal.OutcomeSuccess {
				events[e.Detail["name"]]++
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range told {
		if !slices.ContainsFunc(pools, func(p metal.ResourcePool) bool { return p.Name == name }) {
			t.Errorf("%s was lost", name)
		}
	}
	for _, pool := range pools {
		if events[pool.Name] != 1 && pool.Name != "default" {
			t.Errorf("%s has %d events, want one", pool.Name, events[pool.Name])
		}
	}
	t.Logf("%d writes were done, %d refused", len(told), len(refused))
	s.must("admin", "GET", "/machines/")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		n, err := s.r.VerifyTrail(t.Context())
		if err == nil && n > int64(len(told)) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the trail has %d sealed rows, and: %v", n, err)
		}
	}
}
