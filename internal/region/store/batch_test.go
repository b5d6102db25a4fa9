package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

func openLite(t *testing.T, path string) (*Reader, *Writer) {
	t.Helper()
	r, w, err := Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), w.Close()); err != nil {
			t.Error(err)
		}
	})
	return r, w
}

func pass(*Tx) error { return nil }

// pair adds the two pools of a call: half of them is what must never be seen.
func pair(tx *Tx, name string) error {
	for _, half := range []string{"/1", "/2"} {
		if err := tx.AddPool(&metal.ResourcePool{Name: name + half}); err != nil {
			return err
		}
	}
	return nil
}

// pairs returns the names of the pairs that are there, and fails if there is half of one.
func pairs(t *testing.T, r *Reader) map[string]bool {
	t.Helper()
	halves, whole := map[string]int{}, map[string]bool{}
	err := r.View(context.Background(), func(v *View) error {
		list, err := v.Pools()
		for _, p := range list {
			if name, _, ok := strings.Cut(p.Name, "/"); ok {
				halves[name]++
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range halves {
		whole[name] = n == 2
		if n != 2 {
			t.Errorf("%s is there in half", name)
		}
	}
	return whole
}

// queued waits until n calls wait for their turn.
func (w *writer) queued(n int) {
	for {
		w.mu.Lock()
		waiting := len(w.waiting)
		w.mu.Unlock()
		if waiting == n {
			return
		}
		runtime.Gosched()
	}
}

// together starts calls that will share a batch: the first holds its turn until all others wait.
func together(w *Writer, fns ...func(*Tx) error) []error {
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	entered, all := make(chan struct{}), make(chan struct{})
	var once sync.Once
	call := func(i int, fn func(*Tx) error) {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("panic: %v", p)
				}
			}()
			errs[i] = w.Do(context.Background(), fn, pass)
		})
	}
	call(0, func(tx *Tx) error {
		once.Do(func() { close(entered) })
		<-all
		return fns[0](tx)
	})
	<-entered
	for i, fn := range fns[1:] {
		call(i+1, fn)
		w.queue.queued(i + 1)
	}
	close(all)
	wg.Wait()
	return errs
}

// TestBatchFates has calls share a transaction, each with a fate of its own: only who succeeded is there, whole, and
// nobody suffers for another.
func TestBatchFates(t *testing.T) {
	refused := errors.New("refused")
	fates := map[string]struct {
		fn   func(tx *Tx, name string) error
		want string // of the error; "" for success
	}{
		"succeeds": {pair, ""},
		"fails":    {func(tx *Tx, name string) error { return errors.Join(pair(tx, name), refused) }, "refused"},
		"fails half": {func(tx *Tx, name string) error {
			_ = tx.AddPool(&metal.ResourcePool{Name: name + "/1"})
			return refused
		}, "refused"},
		"reads only": {func(tx *Tx, _ string) error { _, err := tx.Pools(); return err }, ""},
		"panics":     {func(tx *Tx, name string) error { _ = pair(tx, name); panic("at the disco") }, "panic: at the disco"},
		"panics while reading": {func(tx *Tx, _ string) error {
			_, err := all(&tx.View, func(func(...any) error) (int, error) { panic("row") }, "SELECT id FROM pools")
			return err
		}, "panic: row"},
		"breaks a rule and goes on": {func(tx *Tx, name string) error {
			_ = tx.AddPool(&metal.ResourcePool{Name: "default"})
			return pair(tx, name)
		}, ""},
	}
	names := []string{"succeeds", "fails", "fails half", "reads only", "panics", "panics while reading", "breaks a rule and goes on"}
	for round := range 20 {
		r, w := openLite(t, filepath.Join(t.TempDir(), "db"))
		rnd := rand.New(rand.NewPCG(uint64(round), 1))
		var fns []func(*Tx) error
		var chosen []string
		for i := range 12 {
			fate := names[rnd.IntN(len(names))]
			chosen = append(chosen, fate)
			fns = append(fns, func(tx *Tx) error { return fates[fate].fn(tx, fmt.Sprint("call", i)) })
		}
		errs := together(w, fns...)
		there := pairs(t, r)
		for i, fate := range chosen {
			text := ""
			if errs[i] != nil {
				text = errs[i].Error()
			}
			if text != fates[fate].want {
				t.Errorf("round %d: call %d, which %s: got error %q, want %q", round, i, fate, text, fates[fate].want)
			}
			wrote := fate == "succeeds" || fate == "breaks a rule and goes on"
			if there[fmt.Sprint("call", i)] != wrote {
				t.Errorf("round %d: call %d, which %s: its pools are there: %v", round, i, fate, !wrote)
			}
		}
	}
}

// TestBatchUndone has SQLite undo the whole transaction while one call runs: that one fails, the others are done again.
func TestBatchUndone(t *testing.T) {
	r, w := openLite(t, filepath.Join(t.TempDir(), "db"))
	full := errors.New("disk full")
	errs := together(w,
		func(tx *Tx) error { return pair(tx, "before") },
		func(tx *Tx) error {
			_ = pair(tx, "broken")
			if _, err := tx.tx.ExecContext(context.Background(), "ROLLBACK"); err != nil { // as SQLite does by itself
				return err
			}
			tx.lost = full
			if err := pair(tx, "outside"); !errors.Is(err, full) {
				t.Errorf("a statement runs outside the transaction: %v", err)
			}
			return nil // the code above made nothing of it
		},
		func(tx *Tx) error { return pair(tx, "after") },
	)
	if errs[0] != nil || !errors.Is(errs[1], full) || errs[2] != nil {
		t.Errorf("got %v, want only the second to fail", errs)
	}
	if got := pairs(t, r); len(got) != 2 || !got["before"] || !got["after"] {
		t.Errorf("got %v, want before and after", got)
	}
}

// TestBatchCommitFails tells all that their work is gone.
func TestBatchCommitFails(t *testing.T) {
	r, w := openLite(t, filepath.Join(t.TempDir(), "db"))
	errs := together(w,
		func(tx *Tx) error { return pair(tx, "good") },
		func(tx *Tx) error { // a rule that is checked at commit
			if _, err := tx.exec("PRAGMA defer_foreign_keys = 1"); err != nil {
				return err
			}
			_, err := tx.exec("INSERT INTO ssh_keys (user_id, key) VALUES (?, ?)", 12345, "k")
			return err
		},
		func(tx *Tx) error { return errors.Join(pair(tx, "refused"), errors.New("refused")) },
	)
	for i, err := range errs {
		if err == nil || !strings.Contains(err.Error(), "cannot commit") {
			t.Errorf("call %d: got %v, want that the commit failed", i, err)
		}
	}
	if got := pairs(t, r); len(got) != 0 {
		t.Errorf("got %v, want nothing", got)
	}
	if err := w.Do(context.Background(), func(tx *Tx) error { return pair(tx, "next") }, pass); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

// TestBatchWaits: nobody hears of success, and no reader sees it, while the commit is outstanding.
func TestBatchWaits(t *testing.T) {
	r, w := openLite(t, filepath.Join(t.TempDir(), "db"))
	inside, second := make(chan struct{}), make(chan struct{})
	first, last := make(chan error, 1), make(chan error, 1)
	go func() {
		first <- w.Do(context.Background(), func(tx *Tx) error { <-inside; return pair(tx, "first") }, pass)
	}()
	go func() {
		last <- w.Do(context.Background(), func(tx *Tx) error {
			second <- struct{}{}
			<-second
			return pair(tx, "second")
		}, pass)
	}()
	w.queue.queued(1)
	close(inside)
	<-second // the second runs, so the first has ended: were it the other way round, inside is closed anyway
	select {
	case err := <-first:
		t.Errorf("the first has its answer already: %v", err)
	default:
	}
	if got := pairs(t, r); len(got) != 0 {
		t.Errorf("a reader sees %v before the commit", got)
	}
	second <- struct{}{}
	if err := errors.Join(<-first, <-last); err != nil {
		t.Error(err)
	}
	if got := pairs(t, r); len(got) != 2 {
		t.Errorf("got %v, want both", got)
	}
}

// TestBatchCallersLeave has callers leave while they wait and while they run.
func TestBatchCallersLeave(t *testing.T) {
	r, w := openLite(t, filepath.Join(t.TempDir(), "db"))
	for round := range 100 {
		running, leave := context.WithCancel(context.Background())
		waiting, leaveQueue := context.WithCancel(context.Background())
		entered, proceed := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		var one, two, three error
		wg.Go(func() {
			one = w.Do(running, func(tx *Tx) error {
				if err := pair(tx, fmt.Sprint("left", round)); err != nil {
					return err
				}
				close(entered)
				<-proceed
				leave()
				_, err := tx.Pools() // a statement of one who left
				if !errors.Is(err, context.Canceled) {
					t.Errorf("a statement of one who left: %v", err)
				}
				return nil
			}, pass)
		})
		<-entered
		wg.Go(func() {
			two = w.Do(waiting, func(tx *Tx) error { return pair(tx, fmt.Sprint("queue", round)) }, pass)
		})
		w.queue.queued(1)
		wg.Go(func() {
			three = w.Do(context.Background(), func(tx *Tx) error { return pair(tx, fmt.Sprint("stayed", round)) }, pass)
		})
		w.queue.queued(2)
		close(proceed)
		leaveQueue() // at the very time when it may get its turn
		wg.Wait()
		there := pairs(t, r)
		if !errors.Is(one, context.Canceled) || there[fmt.Sprint("left", round)] {
			t.Fatalf("who left while running: got %v", one)
		}
		if three != nil || !there[fmt.Sprint("stayed", round)] {
			t.Fatalf("who stayed: got %v", three)
		}
		if there[fmt.Sprint("queue", round)] != (two == nil) || two != nil && !errors.Is(two, context.Canceled) {
			t.Fatalf("who left the queue: got %v, is there: %v", two, two != nil)
		}
	}
	if w.queue.taken || w.queue.open != nil || len(w.queue.waiting) != 0 {
		t.Errorf("the queue is not free in the end: %+v", w.queue)
	}
}

// TestBatchBound: a transaction takes maxBatch calls, so that the first is not kept waiting for ever.
func TestBatchBound(t *testing.T) {
	_, w := openLite(t, filepath.Join(t.TempDir(), "db"))
	seen := map[*batch]int{}
	fns := make([]func(*Tx) error, 2*maxBatch+1)
	for i := range fns {
		fns[i] = func(tx *Tx) error { seen[w.queue.open]++; return pair(tx, fmt.Sprint(i)) }
	}
	if err := errors.Join(together(w, fns...)...); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 3 {
		t.Errorf("got %d transactions for %d calls, want 3", len(seen), len(fns))
	}
	for _, n := range seen {
		if n > maxBatch {
			t.Errorf("got %d calls in a transaction", n)
		}
	}
}

const killedEnv = "METALWARD_TEST_WRITE_UNTIL_KILLED"

// TestBatchKilled kills a process that writes with eight callers: what it reported as written is there, and nothing
// is there in half.
func TestBatchKilled(t *testing.T) {
	if path := os.Getenv(killedEnv); path != "" {
		_, w := openLite(t, path)
		var wg sync.WaitGroup
		for client := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					name := fmt.Sprintf("c%dn%d", client, i)
					if err := w.Do(context.Background(), func(tx *Tx) error {
						if err := pair(tx, name); err != nil || i%3 > 0 {
							return err
						}
						return fault.New(fault.Conflict, "no")
					}, pass); err == nil {
						fmt.Println("wrote", name)
					}
				}
			})
		}
		wg.Wait()
		return
	}
	path := filepath.Join(t.TempDir(), "db")
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestBatchKilled$")
		cmd.Env = append(os.Environ(), killedEnv+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wrote := map[string]bool{}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "wrote "); ok {
				wrote[name] = true
			}
			if len(wrote) == 50 {
				_ = cmd.Process.Kill()
				break
			}
		}
		rest, _ := io.ReadAll(out) // what it wrote before it died; the last line may be cut off
		for _, line := range strings.SplitAfter(string(rest), "\n") {
			if name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "wrote "); ok && strings.HasSuffix(line, "\n") {
				wrote[name] = true
			}
		}
		_ = cmd.Wait()
		if len(wrote) < 50 {
			t.Fatalf("got %d writes", len(wrote))
		}
		r, w := openLite(t, path)
		there := pairs(t, r)
		for name := range wrote {
			if !there[name] {
				t.Errorf("%s was reported as written and is gone", name)
			}
		}
		if err := w.Do(context.Background(), func(tx *Tx) error { _, err := tx.exec("DELETE FROM pools WHERE id > 0"); return err }, pass); err != nil {
			t.Fatal(err)
		}
	}
}
