package certs

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/metal"
)

// TestSeen follows what is known of another server's certificate: while it is good, after its end, and when nobody looks any more.
func TestSeen(t *testing.T) {
	t0 := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	now := t0
	s := NewSeen(func() time.Time { return now })
	svc := New(Config{Now: func() time.Time { return now }})
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: t0, NotAfter: t0.Add(10 * day)}
	state := func() State {
		list := s.list()
		if len(list) != 1 {
			return ""
		}
		return svc.judge(list[0], 3).State
	}
	s.Saw("idp", nil)
	if got := s.list(); len(got) != 0 {
		t.Errorf("nothing was seen: got %v", got)
	}
	s.Saw("idp", leaf)
	for _, c := range []struct {
		name string
		at   time.Duration
		saw  bool
		want State
	}{
		{"good", day, false, OK},
		{"within three days", 8 * day, false, Soon},
		{"ended, and nobody looked since", 10 * day, false, ""},
		{"ended, and refused for it", 11 * day, true, Expired},
		{"not seen for a month", 42 * day, false, ""},
	} {
		if now = t0.Add(c.at); c.saw {
			s.Saw("idp", leaf)
		}
		if got := state(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	for i := range 2 * maxSeen {
		now = now.Add(time.Second)
		s.Saw(fmt.Sprint("server ", i), &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: now.Add(day)})
	}
	if got := s.list(); len(got) != maxSeen || got[0].What != "server 100" {
		t.Errorf("got %d servers from %q on, want the %d seen last", len(got), got[0].What, maxSeen)
	}
}

// TestTogether makes one notice of many racks, as bad as the worst of them.
func TestTogether(t *testing.T) {
	t0 := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	svc := New(Config{Now: func() time.Time { return t0 }})
	var all []metal.Controller
	for i, left := range []time.Duration{5 * time.Hour, -time.Hour, 3 * time.Hour, 20 * time.Hour} {
		all = append(all, metal.Controller{SystemID: fmt.Sprint(i), Hostname: fmt.Sprint("rack", i), CertSerial: "1", CertExpires: t0.Add(left)})
	}
	all = append(all, metal.Controller{SystemID: "region", Hostname: "region"}) // has none
	var list []Known
	for _, k := range racks(all, day) {
		list = append(list, svc.judge(k, 30))
	}
	got := together(list)
	if len(got) != 1 || got[0].State != Expired || got[0].What != "rack controller rack1 and 1 more" {
		t.Errorf("got %+v", got)
	}
	if got := together(list[2:]); len(got) != 1 || got[0].State != OK {
		t.Errorf("racks that have time to renew: got %+v", got)
	}
	for i := range 2 * maxRacks {
		all = append(all, metal.Controller{SystemID: fmt.Sprint("x", i), CertSerial: "1", CertExpires: t0.Add(day)})
	}
	if got := racks(all, day); len(got) != maxRacks || got[0].What != "rack controller rack1" {
		t.Errorf("got %d racks from %s on", len(got), got[0].What)
	}
}
