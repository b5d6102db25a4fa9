package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"

	"github.com/metalward/metalward/internal/fault"
)

// SQLite has one writer at a time, and a commit waits for the disk. So the calls that wait for their turn share a
// transaction: each runs inside a savepoint of its own, in its own goroutine, and hands the transaction on to the
// next in the queue. The last one, or the maxBatch-th, commits for all.
//
// What a call can rely on is as if it were alone: its failure, its panic or its caller's departure undo its own work
// only, and no call hears how it went, be it well or not, before what it saw is on disk. If the commit fails, it fails
// for all.

// maxBatch bounds the calls that share a commit, and so how long the first of them waits for it.
const maxBatch = 32

// batch is a transaction under way. Its fields belong to the goroutine whose turn it is, until done is closed.
type batch struct {
	tx    *sql.Tx
	calls int
	kept  int   // calls whose work is to be committed
	lost  error // what a statement failed with that may have undone the whole transaction
	done  chan struct{}
	err   error // of the commit; read it after done
}

// errLost tells a call that the transaction was lost by another one's doing: it is run again.
var errLost = fault.New(fault.Unavailable, "The change was undone by the failure of another one; try again.")

// writer is the queue to SQLite's one writer.
type writer struct {
	mu      sync.Mutex
	taken   bool            // guarded by mu
	waiting []chan struct{} // guarded by mu; closed to give the turn to who waits

	open *batch // nil when no transaction is open; of the goroutine whose turn it is
}

// take waits for the turn.
func (w *writer) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.Lock()
	if !w.taken {
		w.taken = true
		w.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	w.waiting = append(w.waiting, turn)
	w.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.waiting, turn); i >= 0 {
		w.waiting = slices.Delete(w.waiting, i, i+1)
		return ctx.Err()
	}
	return nil // it was given to us meanwhile, perhaps with others' work: it must be passed on
}

// pass gives the turn to the next who waits. If there is nobody it returns false, and the turn is kept or given up.
func (w *writer) pass(orFree bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.taken = !orFree
		return false
	}
	close(w.waiting[0])
	w.waiting = slices.Delete(w.waiting, 0, 1)
	return true
}

// together runs fn and check as one of the calls of a batch, and returns after the batch has ended.
func (w *Writer) together(ctx context.Context, fn, check func(*Tx) error) error {
	q := w.queue
	if err := q.take(ctx); err != nil {
		return err
	}
	b := q.open
	if b == nil {
		// Nobody's departure may end a transaction that others share.
		tx, err := w.db.BeginTx(context.WithoutCancel(ctx), nil)
		if err != nil {
			q.pass(true)
			return unavailable(err)
		}
		b = &batch{tx: tx, done: make(chan struct{})}
		q.open = b
	}
	err, lost := q.call(ctx, b, fn, check, w.rehearse)
	<-b.done
	if b.err != nil && !lost {
		return b.err
	}
	return err
}

// call runs fn and check inside the batch and passes the turn on, also when they panic. It reports whether the batch
// was lost by this call.
func (w *writer) call(ctx context.Context, b *batch, fn, check func(*Tx) error, rehearse bool) (err error, lost bool) { //nolint:revive // the error is the result, lost qualifies it
	defer func() { w.next(b) }()
	b.calls++
	if err := ctx.Err(); err != nil {
		return err, false
	}
	if err := b.exec("SAVEPOINT one"); err != nil {
		b.lost = err
		return err, true
	}
	tx := &Tx{View: View{ctx: ctx, run: context.WithoutCancel(ctx), tx: b.tx, d: sqliteDialect}}
	released := false
	defer func() {
		if released {
			return
		}
		undo := tx.lost
		if undo == nil {
			undo = b.exec("ROLLBACK TO one", "RELEASE one")
		}
		if b.lost = undo; undo != nil {
			err, lost = undo, true
		}
	}()
	err = attempt(tx, fn, check)
	if rehearse && tx.lost == nil {
		first, was := tx, err
		if err := b.exec("ROLLBACK TO one"); err != nil {
			tx.lost = err
			return err, true
		}
		tx = &Tx{View: View{ctx: ctx, run: context.WithoutCancel(ctx), tx: b.tx, d: sqliteDialect}}
		err = same(first, tx, was, attempt(tx, fn, check))
	}
	if err == nil {
		err = ctx.Err() // a caller who left is not served
	}
	if err != nil || tx.lost != nil {
		return err, false
	}
	if err := b.exec("RELEASE one"); err != nil {
		tx.lost = err
		return err, true
	}
	released = true
	b.kept++
	return nil, false
}

// exec runs statements that belong to no call.
func (b *batch) exec(statements ...string) error {
	for _, q := range statements {
		if _, err := b.tx.ExecContext(context.Background(), q); err != nil {
			return err
		}
	}
	return nil
}

// next hands the batch to who waits, or ends it.
func (w *writer) next(b *batch) {
	if b.lost == nil && b.calls < maxBatch && w.pass(false) {
		return
	}
	w.open = nil
	switch {
	case b.lost != nil:
		_ = b.tx.Rollback() // SQLite may have done it by itself
		b.err = fmt.Errorf("%w: %w", errLost, b.lost)
	case b.kept == 0:
		_ = b.tx.Rollback() // there is nothing in it
	default:
		if err := b.tx.Commit(); err != nil {
			b.err = fmt.Errorf("cannot commit: %w", err)
		}
	}
	close(b.done)
	w.pass(true)
}
