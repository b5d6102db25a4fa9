package ipmi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/power"
)

var fresh = power.Account{User: "metalward-a", Password: "Abcdefgh12345678WXYZ"} // 20 bytes

func adminBMC(t *testing.T, b *testBMC) (*testBMC, power.Parameters) {
	t.Helper()
	b.suites, b.privilege = []suite{suite17}, privilegeAdmin
	startBMC(t, b)
	return b, power.NewParameters(b.parameters())
}

// as is a BMC's parameters with another account.
func as(p metal.PowerParameters, a power.Account) metal.PowerParameters {
	return with(p, "power_user", a.User, "power_pass", a.Password)
}

// soon bounds what should fail at once.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestRotate makes an account beside the one in use, then shuts that out, and back: two slots suffice for any number of
// rotations.
func TestRotate(t *testing.T) {
	for name, tt := range map[string]struct {
		bmc  *testBMC
		used int // bytes of the password that the BMC takes
	}{
		"20 bytes":         {&testBMC{}, 20},
		"refuses 20":       {&testBMC{refuses20: true}, 16},
		"cuts to 16, mute": {&testBMC{truncates: true}, 16},
	} {
		t.Run(name, func(t *testing.T) {
			b, p := adminBMC(t, tt.bmc)
			d, old := New(), power.Account{User: testUser, Password: testPassword}
			for i := range 4 {
				next := fresh
				next.User = "metalward-" + string(rune('a'+i%2))
				next.Password = fmt.Sprintf("Abcdefgh1234567%dWXYZ", i)
				used, err := d.SetAccount(soon(t), p, next)
				if err != nil || used.User != next.User || used.Password != next.Password[:tt.used] {
					t.Fatalf("got %d bytes, %v; want %d", len(used.Password), err, tt.used)
				}
				for _, a := range []power.Account{old, used} { // both work between the steps
					if err := query(t, as(b.parameters(), a)); err != nil {
						t.Errorf("%s between the steps: %v", a.User, err)
					}
				}
				p = power.NewParameters(as(b.parameters(), used))
				for range 2 { // a second time is no harm
					if err := d.RetireAccount(soon(t), p, old); err != nil {
						t.Fatal(err)
					}
				}
				if err := query(t, as(b.parameters(), old)); !fault.Is(err, fault.Forbidden) {
					t.Errorf("the old account: got %v", err)
				}
				old = used
			}
		})
	}
}

// TestRotateBrokenOff ends each step after every number of commands, as a rack that is killed or a BMC that resets does:
// the account in use works always, and another try ends well.
func TestRotateBrokenOff(t *testing.T) {
	d := New()
	for n := range 16 {
		t.Run(fmt.Sprint("set, ", n), func(t *testing.T) {
			t.Parallel()
			b, p := adminBMC(t, &testBMC{})
			b.mu.Lock()
			b.left = n
			b.mu.Unlock()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, first := d.SetAccount(ctx, p, fresh)
			if err := query(t, b.parameters()); err != nil {
				t.Fatalf("the account in use, after %v: %v", first, err)
			}
			b.mu.Lock()
			b.left = -1
			b.mu.Unlock()
			if _, err := d.SetAccount(soon(t), p, fresh); err != nil {
				t.Fatalf("again: %v", err)
			}
			b.mu.Lock()
			b.left = n
			b.mu.Unlock()
			next := power.NewParameters(as(b.parameters(), fresh))
			ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_ = d.RetireAccount(ctx, next, power.Account{User: testUser, Password: testPassword})
			if err := query(t, as(b.parameters(), fresh)); err != nil {
				t.Fatalf("the new account: %v", err)
			}
			b.mu.Lock()
			b.left = -1
			b.mu.Unlock()
			if err := d.RetireAccount(soon(t), next, power.Account{User: testUser, Password: testPassword}); err != nil {
				t.Fatalf("retire again: %v", err)
			}
		})
	}
}

// TestRotateGoneWrong leaves the account in use alone whatever the BMC does.
func TestRotateGoneWrong(t *testing.T) {
	full := func() []testAccount {
		list := []testAccount{{}, {testUser, testPassword, true, privilegeAdmin}}
		for i := range 3 {
			list = append(list, testAccount{name: fmt.Sprint("user", i), privilege: 3})
		}
		return list
	}
	for name, tt := range map[string]struct {
		bmc     *testBMC
		account power.Account
		kind    fault.Kind
		says    string
	}{
		"wrong password after success": {&testBMC{forgets: true}, fresh, fault.Unavailable, "does not accept it"},
		"no free slot":                 {&testBMC{users: full()}, fresh, fault.Conflict, "no room"},
		"account is no administrator":  {&testBMC{users: []testAccount{{}, {testUser, testPassword, true, 3}, {}}}, fresh, fault.Forbidden, "ADMIN"},
		"password too short":           {&testBMC{}, power.Account{User: "a", Password: "short"}, fault.Invalid, "16 to 20"},
		"name too long":                {&testBMC{}, power.Account{User: strings.Repeat("x", 17), Password: fresh.Password}, fault.Invalid, "1 to 16"},
	} {
		t.Run(name, func(t *testing.T) {
			b, p := adminBMC(t, tt.bmc)
			_, err := New().SetAccount(soon(t), p, tt.account)
			if !fault.Is(err, tt.kind) || !strings.Contains(fault.Message(err), tt.says) {
				t.Errorf("got %v; want %v that says %q", err, tt.kind, tt.says)
			}
			if strings.Contains(fmt.Sprint(err), fresh.Password[:8]) {
				t.Error("the error has the password")
			}
			if err := query(t, b.parameters()); err != nil {
				t.Errorf("the account in use: %v", err)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, u := range b.users {
				if u.name == fresh.User && u.enabled {
					t.Error("an account whose password nobody knows is open")
				}
			}
		})
	}
}

// TestRetireGoneWrong tells the cases apart in which an old account is needed still, or cannot be shut out.
func TestRetireGoneWrong(t *testing.T) {
	old := power.Account{User: testUser, Password: testPassword}
	t.Run("the BMC was reset", func(t *testing.T) {
		b, _ := adminBMC(t, &testBMC{})
		err := New().RetireAccount(soon(t), power.NewParameters(as(b.parameters(), fresh)), old)
		if !errors.Is(err, power.ErrLost) {
			t.Errorf("got %v, want ErrLost", err)
		}
		if err := query(t, b.parameters()); err != nil {
			t.Errorf("the old account: %v", err)
		}
	})
	t.Run("it stays", func(t *testing.T) {
		b, p := adminBMC(t, &testBMC{stubborn: true})
		b.mu.Lock()
		b.users[2] = testAccount{fresh.User, fresh.Password, true, privilegeAdmin}
		b.mu.Unlock()
		_ = p
		if err := New().RetireAccount(soon(t), power.NewParameters(as(b.parameters(), fresh)), old); !errors.Is(err, power.ErrStays) {
			t.Errorf("got %v, want ErrStays", err)
		}
	})
	t.Run("the one in use", func(t *testing.T) {
		_, p := adminBMC(t, &testBMC{})
		if err := New().RetireAccount(soon(t), p, old); !fault.Is(err, fault.Invalid) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("neither works", func(t *testing.T) {
		b, _ := adminBMC(t, &testBMC{})
		err := New().RetireAccount(soon(t), power.NewParameters(as(b.parameters(), fresh)), power.Account{User: "x", Password: "y"})
		if !fault.Is(err, fault.Forbidden) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("set, when only the new one works", func(t *testing.T) {
		b, p := adminBMC(t, &testBMC{})
		b.mu.Lock()
		b.users[1].enabled = false
		b.users[2] = testAccount{fresh.User, fresh.Password[:16], true, privilegeAdmin}
		b.mu.Unlock()
		if used, err := New().SetAccount(soon(t), p, fresh); err != nil || used.Password != fresh.Password[:16] {
			t.Errorf("got %v", err)
		}
	})
}

// TestRotateOpenIPMI rotates at OpenIPMI's simulator, twice, and finds every account that was retired shut out.
func TestRotateOpenIPMI(t *testing.T) {
	good, _ := openIPMI(t)
	d, old := New(), power.Account{User: good["power_user"], Password: good["power_pass"]}
	for i := range 3 {
		p := power.NewParameters(as(good, old))
		used, err := d.SetAccount(soon(t), p, power.Account{User: "metalward-" + string(rune('a'+i%2)), Password: fmt.Sprintf("Abcdefgh1234567%dWXYZ", i)})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []power.Account{old, used} {
			if err := query(t, as(good, a)); err != nil {
				t.Errorf("%s between the steps: %v", a.User, err)
			}
		}
		if err := d.RetireAccount(soon(t), power.NewParameters(as(good, used)), old); err != nil {
			t.Fatal(err)
		}
		if err := query(t, as(good, old)); !fault.Is(err, fault.Forbidden) {
			t.Errorf("the old account: got %v", err)
		}
		t.Logf("%d bytes of a password", len(used.Password))
		old = used
	}
}
