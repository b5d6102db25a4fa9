package secret

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"
)

var made = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestKeyset(t *testing.T) {
	ctx, value := t.Context(), FromString(canary)
	root := bytes.Repeat([]byte{7}, 32)
	first := FirstKeyset(root).Keyring()
	old := must[[]byte](t)(must[*Keyring](t)(NewKeyring(root)).Seal("a", value))
	if got, err := first.Open("a", old); err != nil || !got.Equal(value) || !first.Current(old) {
		t.Fatalf("the first keyset does not open what its root key sealed: %v", err)
	}

	// A new key seals; the old one opens, until it is retired.
	second := must[Keyset](t)(first.Keyset().Add(made))
	before, fresh := first.Derive("x"), first.DeriveFresh("x")
	first.Replace(second)
	sealed := must[[]byte](t)(first.Seal("a", value))
	for _, s := range [][]byte{old, sealed} {
		if got, err := first.Open("a", s); err != nil || !got.Equal(value) {
			t.Errorf("got %v, want the secret", err)
		}
	}
	if key, remote := Where(sealed); key != 1 || remote || first.Current(old) || !first.Current(sealed) {
		t.Errorf("got key %d, remote %v", key, remote)
	}
	if !bytes.Equal(before, first.Derive("x")) {
		t.Error("a derived key that must stay changes with the rotation")
	}
	if now := first.DeriveFresh("x"); len(now) != 2 || bytes.Equal(now[0], fresh[0]) || !bytes.Equal(now[1], fresh[0]) {
		t.Error("keys that change with the rotation: want the new one first, then the old one")
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := first.Open("a", bad); err == nil {
			t.Errorf("opened with byte %d changed", i)
		}
	}
	for n := range sealed {
		if _, err := first.Open("a", sealed[:n]); err == nil {
			t.Errorf("opened when cut to %d bytes", n)
		}
	}
	first.Replace(second.Only())
	if _, err := first.Open("a", old); !errors.Is(err, errUnknownKey) {
		t.Errorf("got %v for a retired key", err)
	}
	if _, err := first.Open("a", sealed); err != nil || first.Keyset().Oldest() != 1 {
		t.Errorf("got %v after retiring", err)
	}

	full := NewKeyset(made)
	for range maxKeys - 1 {
		full = must[Keyset](t)(full.Add(made))
	}
	if _, err := full.Add(made); err == nil {
		t.Error("a keyset grows without a bound")
	}

	// Wrapped by a root, and by nobody else; nothing shows.
	r := must[*KeyRoot](t)(NewKeyRoot(root))
	wrapped := must[[]byte](t)(second.Wrap(ctx, r))
	if bytes.Contains(wrapped, second.Base) || bytes.Contains([]byte(r.ID()), root) {
		t.Error("the wrapping shows the keys")
	}
	back, err := UnwrapKeyset(ctx, r, wrapped)
	if id, when := back.Newest(); err != nil || id != 1 || !when.Equal(made) || !bytes.Equal(back.Base, second.Base) {
		t.Errorf("got key %d of %v, %v", id, when, err)
	}
	other := must[*KeyRoot](t)(NewKeyRoot(bytes.Repeat([]byte{8}, 32)))
	if _, err := UnwrapKeyset(ctx, other, wrapped); err == nil || other.ID() == r.ID() {
		t.Error("another root opens the keyset")
	}
	for i := range wrapped {
		bad := bytes.Clone(wrapped)
		bad[i] ^= 1
		if _, err := UnwrapKeyset(ctx, r, bad); err == nil {
			t.Errorf("unwrapped with byte %d changed", i)
		}
	}
	for _, text := range []string{"", "{}", `{"base":"","keys":[]}`, `{"base":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","keys":[]}`, `{"base":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=","keys":[{"id":1,"key":"AA=="}]}`} {
		if _, err := UnwrapKeyset(ctx, r, must[[]byte](t)(r.Wrap(ctx, []byte(text)))); err == nil {
			t.Errorf("took the keyset %s", text)
		}
	}
}

// elsewhere is a back end in memory that can be away.
type elsewhere struct {
	held  map[string]Value
	known map[string]bool // what Peek answers
	away  bool
	calls int
}

func (e *elsewhere) Seal(_ context.Context, ref Ref, v Value) ([]byte, error) {
	if e.calls++; e.away {
		return nil, errAway
	}
	name := remoteText + string(ref) + v.Hash()
	e.held[name] = v
	return []byte(name), nil
}

func (e *elsewhere) Open(_ context.Context, _ Ref, sealed []byte) (Value, error) {
	if e.calls++; e.away {
		return Value{}, errAway
	}
	e.known[string(sealed)] = true
	return e.held[string(sealed)], nil
}

func (e *elsewhere) Fetch(ctx context.Context, ref Ref, sealed []byte) (Value, error) {
	return e.Open(ctx, ref, sealed)
}

func (e *elsewhere) Peek(_ Ref, sealed []byte) (Value, bool) {
	return e.held[string(sealed)], e.known[string(sealed)]
}

// remoteText begins what elsewhere seals.
const remoteText = string(rune(RemoteFormat))

var errAway = errors.New("away")

// TestSafe: nobody is asked in what stands for a transaction, and it runs again with what it needs.
func TestSafe(t *testing.T) {
	ctx, now := t.Context(), made
	s := NewSafe(NewKeyset(made).Keyring(), func() time.Time { return now }, nil)
	value := FromString(canary)
	local := must[[]byte](t)(s.Seal("a", value))
	if !s.Current(local) {
		t.Error("what was just sealed is not as wanted")
	}
	e := &elsewhere{held: map[string]Value{}, known: map[string]bool{}}
	s.Use(e, true)
	if s.Current(local) {
		t.Error("what is in the database is as wanted while the back end is elsewhere")
	}
	runs := 0
	var sealed []byte
	transaction := func() (err error) {
		runs++
		before := e.calls
		defer func() {
			if e.calls != before {
				t.Error("the back end was asked inside the transaction")
			}
		}()
		if sealed, err = s.Seal("a", value); err != nil {
			return err
		}
		_, err = s.Open("a", sealed)
		return err
	}
	if err := s.Settle(ctx, transaction); err != nil || runs != 3 || e.calls != 2 || !s.Current(sealed) {
		t.Errorf("got %v after %d runs and %d calls, want 3 and 2: one to write, one to read", err, runs, e.calls)
	}
	if got, err := s.Open("a", local); err != nil || !got.Equal(value) {
		t.Errorf("what stayed in the database does not open: %v", err)
	}
	if b, err := s.SealLocal("flow", value); err != nil || b[0] == RemoteFormat {
		t.Errorf("what lives for minutes went elsewhere: %v", err)
	}

	// A staged value is used for a while, by whoever seals the same for the same name.
	calls := e.calls
	if again := must[[]byte](t)(s.SealNow(ctx, "a", value)); !bytes.Equal(again, sealed) || e.calls != calls {
		t.Error("the same value was written twice within a moment")
	}
	now = now.Add(stageLife)
	if _, err := s.SealNow(ctx, "a", value); err != nil || e.calls != calls+1 {
		t.Errorf("a value of long ago was taken for written: %v", err)
	}

	// Away: what is asked for fails with its words, and what fn fails with is fn's.
	e.away, e.known = true, map[string]bool{}
	if err := s.Settle(ctx, transaction); !errors.Is(err, errAway) {
		t.Errorf("got %v", err)
	}
	own := errors.New("own")
	if err := s.Settle(ctx, func() error { return own }); !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
	// A transaction that makes another value each time must end.
	e.away = false
	if err := s.Settle(ctx, func() error { _, err := s.Seal("b", Random(8)); return err }); err == nil {
		t.Error("it never needs nothing more, and yet it ended well")
	}
	s.Use(nil, false)
	if _, err := s.Open("a", sealed); err == nil {
		t.Error("opened without the back end")
	}
}

// TestSafeReloads: another process has added a key, or retired one.
func TestSafeReloads(t *testing.T) {
	ctx, value := t.Context(), FromString(canary)
	shared := NewKeyset(made)
	reads := 0
	a := NewSafe(shared.Keyring(), time.Now, nil)
	b := NewSafe(shared.Keyring(), time.Now, func(context.Context) (Keyset, error) { reads++; return shared, nil })
	shared = must[Keyset](t)(shared.Add(made))
	a.Keyring().Replace(shared)
	sealed := must[[]byte](t)(a.Seal("a", value))
	if got, err := b.OpenNow(ctx, "a", sealed); err != nil || !got.Equal(value) || reads != 1 {
		t.Errorf("got %v after %d reads of the keyset", err, reads)
	}
	shared = must[Keyset](t)(shared.Add(made)).Only()
	err := b.Settle(ctx, func() error { // as the store refuses what a retired key sealed
		s, err := b.Seal("a", value)
		if key, _ := Where(s); err == nil && key < shared.Oldest() {
			err = ErrOutdated
		}
		return err
	})
	if err != nil || reads != 2 {
		t.Errorf("got %v after %d reads of the keyset", err, reads)
	}
	tries := 0
	err = b.Settle(ctx, func() error { tries++; return ErrOutdated })
	if !errors.Is(err, ErrOutdated) || tries != 2 || reads != 3 {
		t.Errorf("outdated whatever is read: got %v after %d tries and %d reads of the keyset", err, tries, reads)
	}
	gone := must[[]byte](t)(a.Seal("a", value)) // under a key that is in no keyset any more
	if _, err := b.OpenNow(ctx, "a", gone); !errors.Is(err, errUnknownKey) {
		t.Errorf("got %v", err)
	}
}
