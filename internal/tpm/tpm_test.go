package tpm

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/tpm/tpmtest"
)

type soft struct {
	t *testing.T
	*tpmtest.TPM
	device string
}

func newSoft(t *testing.T) *soft {
	t.Helper()
	d := tpmtest.Start(t)
	return &soft{t, d, d.Device}
}

func (s *soft) restart() { s.Restart() }

func (s *soft) do(fn func(t *soft)) { fn(s); s.restart() }

func (s *soft) seal(v secret.Value, pcrs ...uint) (x Sealed) {
	s.t.Helper()
	var err error
	s.do(func(*soft) { x, err = Seal(s.device, v, pcrs) })
	if err != nil {
		s.t.Fatal(err)
	}
	return x
}

func (s *soft) unseal(x Sealed) (v secret.Value, err error) {
	s.do(func(*soft) { v, err = Unseal(s.device, x) })
	return v, err
}

func wantConflict(t *testing.T, what string, v secret.Value, err error) {
	t.Helper()
	if !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), "recovery file") || !v.Empty() {
		t.Errorf("%s: got %v, want a Conflict that names the recovery file", what, err)
	}
}

var key = secret.FromString("0123456789abcdef0123456789abcdef")

func TestSeal(t *testing.T) {
	s := newSoft(t)
	for _, pcrs := range [][]uint{nil, {7}, {0, 7, 23}} {
		x := s.seal(key, pcrs...)
		if bytes.Contains(x.Bytes(), key.Reveal()) {
			t.Error("the file has the secret in clear")
		}
		again, err := Parse(x.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if v, err := s.unseal(again); err != nil || !v.Equal(key) { // after a reboot
			t.Errorf("PCRs %v: %v", pcrs, err)
		}
	}
	other := newSoft(t)
	v, err := other.unseal(s.seal(key))
	wantConflict(t, "another TPM", v, err)
}

func TestPCRChanged(t *testing.T) {
	s := newSoft(t)
	bound, free := s.seal(key, 7), s.seal(key)
	extend := func() {
		d, err := open(s.device)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := (tpm2.PCRExtend{PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(7), Auth: tpm2.PasswordAuth(nil)},
			Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: bytes.Repeat([]byte{1}, 32)}}}}).Execute(d); err != nil {
			t.Fatal(err)
		}
		v, err := Unseal(s.device, bound)
		wantConflict(t, "PCR 7 has changed", v, err)
		if v, err := Unseal(s.device, free); err != nil || !v.Equal(key) {
			t.Errorf("without a condition: %v", err)
		}
	}
	extend()
	s.restart() // what was measured begins anew
	if v, err := s.unseal(bound); err != nil || !v.Equal(key) {
		t.Errorf("after a reboot as then: %v", err)
	}
}

func TestCleared(t *testing.T) {
	s := newSoft(t)
	x := s.seal(key)
	s.do(func(*soft) {
		d, err := open(s.device)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := (tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}).Execute(d); err != nil {
			t.Fatal(err)
		}
	})
	v, err := s.unseal(x)
	wantConflict(t, "a cleared TPM", v, err)
}

func TestDamaged(t *testing.T) {
	s := newSoft(t)
	x := s.seal(key)
	file := x.Bytes()
	for n := range len(file) - 2 { // the last byte is a line's end
		if _, err := Parse(file[:n]); !fault.Is(err, fault.Invalid) {
			t.Fatalf("cut to %d of %d bytes: got %v", n, len(file), err)
		}
	}
	for name, change := range map[string]func(*Sealed){
		"private cut":  func(x *Sealed) { x.Private = x.Private[:len(x.Private)-1] },
		"private bit":  func(x *Sealed) { x.Private[20] ^= 1 },
		"public bit":   func(x *Sealed) { x.Public[len(x.Public)-1] ^= 1 },
		"public empty": func(x *Sealed) { x.Public = []byte{0} },
	} {
		bad := Sealed{x.Format, x.PCRs, bytes.Clone(x.Public), bytes.Clone(x.Private)}
		change(&bad)
		v, err := s.unseal(bad)
		wantConflict(t, name, v, err)
	}
	for name, text := range map[string]string{"twice": string(file) + string(file), "unknown field": strings.Replace(string(file), "{", `{"x":1,`, 1),
		"other format": strings.Replace(string(file), "tpm 1", "tpm 2", 1), "PCR 24": strings.Replace(string(file), `"pcrs": null`, `"pcrs": [24]`, 1)} {
		if _, err := Parse([]byte(text)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, err := range map[string]error{
		"no device": func() error { _, err := Seal(filepath.Join(t.TempDir(), "tpm"), key, nil); return err }(),
		"no TPM":    func() error { _, err := Unseal("unix:"+notATPM(t), Sealed{}); return err }(),
	} {
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, pcrs := range [][]uint{{24}, {7, 7}, {7, 0}} {
		if _, err := Seal("", key, pcrs); !fault.Is(err, fault.Invalid) {
			t.Errorf("PCRs %v: got %v", pcrs, err)
		}
	}
	if _, err := Seal("", secret.FromString(strings.Repeat("x", 129)), nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("too long: got %v", err)
	}
}

// notATPM is a socket that hangs up.
func notATPM(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return path
}

func FuzzParse(f *testing.F) {
	f.Add(Sealed{Format: format, PCRs: []uint{7}, Public: []byte{1}, Private: []byte{2}}.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			return
		}
		if again, err := Parse(s.Bytes()); err != nil || !bytes.Equal(again.Public, s.Public) {
			t.Errorf("does not come back: %v", err)
		}
	})
}
