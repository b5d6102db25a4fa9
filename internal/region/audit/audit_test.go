package audit_test

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/audit"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

const region = "regionregion2345"

var (
	ctx = context.Background()
	key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	pub = key.Public().(ed25519.PublicKey)
	at  = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
)

type trail struct {
	t   *testing.T
	dsn string
	r   *store.Reader
	w   *store.Writer
}

func open(t *testing.T, dsn string) *trail {
	t.Helper()
	r, w, err := store.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), w.Close()); err != nil {
			t.Error(err)
		}
	})
	return &trail{t, dsn, r, w}
}

func pass(*store.Tx) error { return nil }

func (x *trail) append(n int) error {
	return x.w.Do(ctx, func(tx *store.Tx) error {
		for i := range n {
			e := metal.AuditEvent{Region: region, Time: at.Add(time.Duration(i) * time.Millisecond), Principal: "user:alice", Action: "machine.update", Target: "machine:m",
				Outcome: metal.OutcomeSuccess, Source: "192.0.2.1", RequestID: "r", Detail: map[string]string{"i": fmt.Sprint(i), "z": "ü"}}
			if err := tx.AppendAudit(audit.Clean(e)); err != nil {
				return err
			}
		}
		return nil
	}, pass)
}

func (x *trail) seal() (n int, err error) {
	err = x.w.Do(ctx, func(tx *store.Tx) (err error) { n, err = audit.Seal(tx, region, key, at); return err }, pass)
	return n, err
}

func (x *trail) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

// exec changes the database behind the store's back.
func (x *trail) exec(stmts ...string) {
	x.t.Helper()
	driver := "sqlite"
	if strings.HasPrefix(x.dsn, "postgres") {
		driver = "pgx"
	}
	db, err := sql.Open(driver, x.dsn)
	x.must(err)
	defer func() { _ = db.Close() }()
	for _, s := range stmts {
		res, err := db.ExecContext(ctx, s)
		if err != nil {
			x.t.Fatalf("%s: %v", s, err)
		}
		if n, _ := res.RowsAffected(); n == 0 {
			x.t.Fatalf("%s: changed nothing", s)
		}
	}
}

// chained is a trail of twelve rows with checkpoints at 4, 8 and 12.
func chained(t *testing.T, dsn string) *trail {
	t.Helper()
	x := open(t, dsn)
	for range 3 {
		x.must(x.append(4))
		if n, err := x.seal(); err != nil || n != 4 {
			t.Fatalf("sealed %d: %v", n, err)
		}
	}
	return x
}

func TestWhole(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		x := chained(t, dsn)
		if n, err := audit.Verify(ctx, x.r, pub); err != nil || n != 12 {
			t.Errorf("got %d rows, %v; want 12", n, err)
		}
		x.must(x.append(3)) // not sealed yet: no part of the chain, and no fault of it
		if n, err := audit.Verify(ctx, x.r, pub); err != nil || n != 12 {
			t.Errorf("got %d rows, %v; want 12", n, err)
		}
		if n, err := x.seal(); err != nil || n != 3 {
			t.Errorf("sealed %d, %v; want 3", n, err)
		}
		if n, err := x.seal(); err != nil || n != 0 {
			t.Errorf("sealed %d, %v; want 0", n, err)
		}
		if n, err := audit.Verify(ctx, x.r, pub); err != nil || n != 15 {
			t.Errorf("got %d rows, %v; want 15", n, err)
		}
	})
}

const copyRow = "INSERT INTO audit (region, seq, time, principal, action, target, outcome, source, request_id, detail, hash) " +
	"SELECT region, %s, time, principal, action, target, outcome, source, request_id, detail, hash FROM audit WHERE seq = %d"

// tampered are ways to change a trail, with the first row that Verify must name.
var tampered = map[string]struct {
	row   int64
	stmts []string
}{
	"region of a row":            {6, []string{"UPDATE audit SET region = 'other' WHERE seq = 6", "DELETE FROM audit WHERE region = 'other'"}},
	"sequence":                   {6, []string{"UPDATE audit SET seq = 99 WHERE seq = 6"}},
	"time":                       {6, []string{"UPDATE audit SET time = time + 1 WHERE seq = 6"}},
	"principal":                  {6, []string{"UPDATE audit SET principal = 'user:bob' WHERE seq = 6"}},
	"action":                     {6, []string{"UPDATE audit SET action = 'machine.view' WHERE seq = 6"}},
	"target":                     {6, []string{"UPDATE audit SET target = '' WHERE seq = 6"}},
	"outcome":                    {6, []string{"UPDATE audit SET outcome = 'denied' WHERE seq = 6"}},
	"source":                     {6, []string{"UPDATE audit SET source = '192.0.2.2' WHERE seq = 6"}},
	"request id":                 {6, []string{"UPDATE audit SET request_id = 'x' WHERE seq = 6"}},
	"detail":                     {6, []string{`UPDATE audit SET detail = '{"i":"9","z":"ü"}' WHERE seq = 6`}},
	"hash":                       {6, []string{"UPDATE audit SET hash = 'aa' WHERE seq = 6"}},
	"first row":                  {1, []string{"UPDATE audit SET principal = 'x' WHERE seq = 1"}},
	"last row":                   {12, []string{"UPDATE audit SET principal = 'x' WHERE seq = 12"}},
	"row deleted":                {6, []string{"DELETE FROM audit WHERE seq = 6"}},
	"first row deleted":          {1, []string{"DELETE FROM audit WHERE seq = 1"}},
	"row deleted, rest moved up": {6, []string{"DELETE FROM audit WHERE seq = 6", "UPDATE audit SET seq = seq - 1 WHERE seq > 6"}},
	"row doubled":                {7, []string{fmt.Sprintf(copyRow, "6", 6)}},
	"row inserted": {6, []string{"UPDATE audit SET seq = seq + 1 WHERE seq >= 6",
		fmt.Sprintf(copyRow, "6", 5)}},
	"row appended":            {13, []string{fmt.Sprintf(copyRow, "13", 12)}},
	"row below the first":     {1, []string{fmt.Sprintf(copyRow, "-1", 5)}},
	"two rows swapped":        {6, []string{"UPDATE audit SET seq = 0 - seq WHERE seq IN (6, 7)", "UPDATE audit SET seq = 13 + seq WHERE seq < 0"}},
	"row taken out of chain":  {6, []string{"UPDATE audit SET seq = 0, hash = '' WHERE seq = 6"}},
	"end cut off":             {11, []string{"DELETE FROM audit WHERE seq > 10"}},
	"all rows gone":           {1, []string{"DELETE FROM audit"}},
	"last checkpoint gone":    {9, []string{"DELETE FROM audit_checkpoints WHERE seq = 12"}},
	"middle checkpoint gone":  {5, []string{"DELETE FROM audit_checkpoints WHERE seq = 8"}},
	"first checkpoint gone":   {1, []string{"DELETE FROM audit_checkpoints WHERE seq = 4"}},
	"all checkpoints gone":    {1, []string{"DELETE FROM audit_checkpoints"}},
	"checkpoint's hash":       {5, []string{"UPDATE audit_checkpoints SET hash = 'aa' WHERE seq = 8"}},
	"checkpoint's time":       {5, []string{"UPDATE audit_checkpoints SET time = time + 1 WHERE seq = 8"}},
	"checkpoint's signature":  {5, []string{"UPDATE audit_checkpoints SET signature = 'AAAA' WHERE seq = 8"}},
	"checkpoint of the years": {5, []string{"UPDATE audit_checkpoints SET signature = (SELECT signature FROM audit_checkpoints c WHERE c.seq = 4) WHERE seq = 8"}},
}

func TestTampered(t *testing.T) {
	for name, c := range tampered {
		t.Run(name, func(t *testing.T) {
			x := chained(t, regiontest.SQLite(t))
			x.exec(c.stmts...)
			_, err := audit.Verify(ctx, x.r, pub)
			var b *audit.Broken
			if !errors.As(err, &b) {
				t.Fatalf("got %v, want a broken trail", err)
			}
			if b.Row != c.row || b.Region != region {
				t.Errorf("got row %d of %s (%s), want row %d", b.Row, b.Region, b.Reason, c.row)
			}
			if _, err := audit.VerifySteps(ctx, x.r, pub); !errors.As(err, &b) || b.Region != region {
				t.Errorf("in steps: got %v, want a broken trail", err)
			}
		})
	}
}

// TestRechained is the change of one who knows how the chain is made and has the database, but not the key:
// he changes a row, chains everything anew and takes the checkpoints away that tell.
func TestRechained(t *testing.T) {
	x := chained(t, regiontest.SQLite(t))
	x.exec("UPDATE audit SET principal = 'user:nobody' WHERE seq = 6", "DELETE FROM audit_checkpoints WHERE seq >= 8", "UPDATE audit SET seq = 0, hash = '' WHERE seq >= 5")
	other := ed25519.NewKeyFromSeed([]byte(strings.Repeat("x", ed25519.SeedSize)))
	x.must(x.w.Do(ctx, func(tx *store.Tx) error { _, err := audit.Seal(tx, region, other, at); return err }, pass))
	var b *audit.Broken
	if _, err := audit.Verify(ctx, x.r, pub); !errors.As(err, &b) || b.Row != 5 {
		t.Errorf("with another's checkpoint: got %v, want row 5", err)
	}
	x.exec("DELETE FROM audit_checkpoints WHERE seq > 4")
	if _, err := audit.Verify(ctx, x.r, pub); !errors.As(err, &b) || b.Row != 5 {
		t.Errorf("without checkpoints: got %v, want row 5", err)
	}
}

func TestOtherKey(t *testing.T) {
	x := chained(t, regiontest.SQLite(t))
	stranger, _, err := ed25519.GenerateKey(nil)
	x.must(err)
	var b *audit.Broken
	if _, err := audit.Verify(ctx, x.r, stranger); !errors.As(err, &b) || b.Row != 1 {
		t.Errorf("got %v, want row 1", err)
	}
}

// TestDoubledAtPage puts the copy of a row where one page of Verify ends and the next begins.
func TestDoubledAtPage(t *testing.T) {
	x := open(t, regiontest.SQLite(t))
	x.must(x.append(5001))
	for {
		n, err := x.seal()
		x.must(err)
		if n == 0 {
			break
		}
	}
	if n, err := audit.Verify(ctx, x.r, pub); err != nil || n != 5001 {
		t.Fatalf("got %d rows, %v; want 5001", n, err)
	}
	x.exec(fmt.Sprintf(copyRow, "5000", 5000))
	var b *audit.Broken
	if _, err := audit.Verify(ctx, x.r, pub); !errors.As(err, &b) || b.Row != 5001 {
		t.Errorf("got %v, want row 5001", err)
	}
}

// TestSealWhileWriting appends and seals at once: every event is in the chain in the end, once.
func TestSealWhileWriting(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		x := open(t, dsn)
		const writers, rounds = 4, 15
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range rounds {
					if err := x.append(2); err != nil {
						t.Error(err)
					}
				}
			})
		}
		stop := make(chan struct{})
		var sealer sync.WaitGroup
		sealer.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := x.seal(); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		close(stop)
		sealer.Wait()
		_, err := x.seal()
		x.must(err)
		if n, err := audit.Verify(ctx, x.r, pub); err != nil || n != writers*rounds*2 {
			t.Errorf("got %d rows, %v; want %d", n, err, writers*rounds*2)
		}
	})
}

// TestKilledBeforeSeal ends the process between append and seal: what was written is sealed by the next one.
func TestKilledBeforeSeal(t *testing.T) {
	dsn := regiontest.SQLite(t)
	x := chained(t, dsn)
	x.must(x.append(5)) // and nobody seals or closes
	y := open(t, dsn)
	if n, err := y.seal(); err != nil || n != 5 {
		t.Errorf("sealed %d, %v; want 5", n, err)
	}
	if n, err := audit.Verify(ctx, y.r, pub); err != nil || n != 17 {
		t.Errorf("got %d rows, %v; want 17", n, err)
	}
}

// TestKilledWhileSealing loses the sealing transaction: nothing of it is there, and it is done again.
func TestKilledWhileSealing(t *testing.T) {
	x := chained(t, regiontest.SQLite(t))
	x.must(x.append(5))
	killed := errors.New("killed")
	if err := x.w.Do(ctx, func(tx *store.Tx) error { _, err := audit.Seal(tx, region, key, at); return err }, func(*store.Tx) error { return killed }); !errors.Is(err, killed) {
		t.Fatal(err)
	}
	if n, err := audit.Verify(ctx, x.r, pub); err != nil || n != 12 {
		t.Errorf("got %d rows, %v; want 12", n, err)
	}
	if n, err := x.seal(); err != nil || n != 5 {
		t.Errorf("sealed %d, %v; want 5", n, err)
	}
}

func TestClean(t *testing.T) {
	e := audit.Clean(metal.AuditEvent{Principal: "user:a\x1b[2J", Target: strings.Repeat("x", 1000), Source: "1\n2", Time: at.Add(123), Detail: map[string]string{"k\x00": strings.Repeat("ü", 1000)}})
	if e.Principal != "user:a[2J" || len(e.Target) != 256 || e.Source != "12" || !e.Time.Equal(at) || len(e.Detail["k"]) != audit.MaxDetail {
		t.Errorf("got %+v", e)
	}
}

// TestLoop seals within a second, and once more at the end.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls int
		run, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			audit.Loop(run, regiontest.Silent, func(context.Context) (int, error) { calls++; return 0, errors.New("busy") })
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		if calls < 1 {
			t.Error("not sealed within a second")
		}
		before := calls
		cancel()
		<-done
		if calls != before+1 {
			t.Errorf("got %d calls at the end, want one", calls-before)
		}
	})
}

// export is the trail as a file.
func (x *trail) export() string {
	x.t.Helper()
	var b strings.Builder
	x.must(x.r.View(ctx, func(v *store.View) error { return audit.Export(v, &b) }))
	return b.String()
}

// TestExport proves itself without the instance, and no change of it does.
func TestExport(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		x := open(t, dsn)
		for range 3 {
			x.must(x.append(4))
			_, err := x.seal()
			x.must(err)
		}
		x.must(x.append(1)) // not sealed: not exported
		text := x.export()
		if n, err := audit.VerifyExport(strings.NewReader(text), pub); err != nil || n != 12 {
			t.Fatalf("got %d, %v, want 12 intact", n, err)
		}
		other := ed25519.NewKeyFromSeed([]byte("another key of thirty-two bytes!")).Public().(ed25519.PublicKey)
		lines := strings.SplitAfter(text, "\n")
		without := func(i int) string { return strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "") }
		for name, c := range map[string]struct {
			text string
			key  ed25519.PublicKey
			row  int64 // of a Broken; 0 for another error
		}{
			"another key":           {text, other, 1},
			"a changed word":        {strings.Replace(text, `"i":"2"`, `"i":"9"`, 1), pub, 3},
			"an event left out":     {without(2), pub, 2},
			"a checkpoint left out": {without(5), pub, 1},
			"its end cut off":       {strings.Join(lines[:len(lines)-3], ""), pub, 9},
			"twice":                 {text + strings.Join(lines[1:], ""), pub, 13},
			"nothing":               {"", pub, 0}, "only a head": {lines[0], pub, 0}, "no export": {"hello\n", pub, 0}, "an empty line": {lines[0] + "{}\n", pub, 0},
			"too long a line": {lines[0] + strings.Repeat("x", 2<<20), pub, 0},
		} {
			_, err := audit.VerifyExport(strings.NewReader(c.text), c.key)
			var b *audit.Broken
			if err == nil || errors.As(err, &b) != (c.row != 0) || b != nil && b.Row != c.row {
				t.Errorf("%s: got %v, want one about row %d", name, err, c.row)
			}
		}
	})
}

// TestPrune takes the oldest part away: the rest proves itself, further sealing goes on, and nobody without the key
// can do the same.
func TestPrune(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		x := open(t, dsn)
		for i := range 4 {
			x.must(x.append(3))
			x.must(x.w.Do(ctx, func(tx *store.Tx) error {
				_, err := audit.Seal(tx, region, key, at.AddDate(0, 0, i))
				return err
			}, pass))
		}
		prune := func(before time.Time, key ed25519.PrivateKey) (n int64) {
			t.Helper()
			x.must(x.w.Do(ctx, func(tx *store.Tx) error {
				a, ok, err := audit.Anchor(&tx.View, region, key, before, at.AddDate(1, 0, 0))
				if err != nil || !ok {
					n = -1
					return err
				}
				n, err = tx.PruneAudit(a)
				return err
			}, pass))
			return n
		}
		verify := func(want int64, broken bool) {
			t.Helper()
			n, err := audit.Verify(ctx, x.r, pub)
			var b *audit.Broken
			if n != want || errors.As(err, &b) != broken || err != nil && !broken {
				t.Errorf("got %d, %v, want %d, broken %v", n, err, want, broken)
			}
		}
		if n := prune(at, key); n != -1 {
			t.Errorf("nothing is that old, and %d events went", n)
		}
		if n := prune(at.AddDate(0, 0, 1).Add(time.Second), key); n != 6 {
			t.Errorf("got %d events pruned, want 6", n)
		}
		verify(6, false)
		if n, err := audit.VerifyExport(strings.NewReader(x.export()), pub); n != 6 || err != nil {
			t.Errorf("export: got %d, %v, want 6 intact", n, err)
		}
		if n := prune(at.AddDate(1, 0, 0), key); n != 6 { // all
			t.Errorf("got %d events pruned, want 6", n)
		}
		verify(0, false)
		x.must(x.append(2))
		_, err := x.seal()
		x.must(err)
		verify(2, false)
		stranger := ed25519.NewKeyFromSeed([]byte("another key of thirty-two bytes!"))
		x.must(x.append(2))
		_, err = x.seal()
		x.must(err)
		prune(at.Add(time.Second), stranger)
		verify(0, true)
	})
}

func TestParseQuery(t *testing.T) {
	get := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	q, err := audit.ParseQuery(get(map[string]string{"principal": "alice", "from": "2027-03-01", "to": "2027-03-02T10:00:00+02:00", "outcome": "denied"}))
	if err != nil || q.Principal != "user:alice" || !q.To.Equal(time.Date(2027, 3, 2, 8, 0, 0, 0, time.UTC)) || q.From.Day() != 1 {
		t.Errorf("got %+v, %v", q, err)
	}
	for name, m := range map[string]map[string]string{"outcome": {"outcome": "good"}, "from": {"from": "yesterday"}, "to": {"to": "2027-13-01"}} {
		if _, err := audit.ParseQuery(get(m)); !strings.Contains(fmt.Sprint(err), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestTables writes what a query selects as CSV and JSON; nothing in it is a formula.
func TestTables(t *testing.T) {
	x := open(t, regiontest.SQLite(t))
	x.must(x.append(2))
	x.must(x.w.Do(ctx, func(tx *store.Tx) error {
		return tx.AppendAudit(metal.AuditEvent{Region: region, Time: at, Principal: "=cmd()", Action: "user.login", Outcome: "denied", Detail: map[string]string{"a": "b,c"}})
	}, pass))
	write := func(fn func(*store.View, store.AuditQuery, io.Writer) error, q store.AuditQuery) string {
		var b strings.Builder
		x.must(x.r.View(ctx, func(v *store.View) error { return fn(v, q, &b) }))
		return b.String()
	}
	if text := write(audit.WriteCSV, store.AuditQuery{Outcome: "denied"}); strings.Count(text, "\n") != 2 || !strings.Contains(text, `,'=cmd(),user.login,,denied,,,"a=b,c"`) {
		t.Errorf("got %s", text)
	}
	var list []audit.Plain
	if err := json.Unmarshal([]byte(write(audit.WriteJSON, store.AuditQuery{Action: "machine"})), &list); err != nil || len(list) != 2 || list[0].ID > list[1].ID {
		t.Errorf("got %+v, %v", list, err)
	}
	if text := write(audit.WriteJSON, store.AuditQuery{Target: "none"}); text != "[]\n" {
		t.Errorf("got %q of nothing", text)
	}
}
