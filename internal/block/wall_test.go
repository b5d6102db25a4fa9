package block

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// from is a connection from an address.
type from struct {
	net.Conn
	addr net.Addr
}

func (c from) RemoteAddr() net.Addr { return c.addr }

// callers is a listener of connections that come from anywhere.
type callers chan net.Conn

func (l callers) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, errors.New("closed")
}
func (callers) Close() error   { return nil }
func (callers) Addr() net.Addr { return nil }

// call is a client's end of a connection from an address.
func (l callers) call(address string) net.Conn {
	here, there := net.Pipe()
	l <- from{there, &net.TCPAddr{IP: net.ParseIP(address), Port: 4711}}
	return here
}

// closed reports whether the other end hung up.
func closed(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	var late net.Error
	return err != nil && !(errors.As(err, &late) && late.Timeout())
}

func listOf(until time.Time, prefixes ...string) *List {
	l := &List{Format: listFormat}
	for _, p := range prefixes {
		l.Blocks = append(l.Blocks, Block{Prefix: netip.MustParsePrefix(p), Until: until})
	}
	return l
}

// TestSet: an IPv4 address, an IPv6 address by its /64, and the end of a block.
func TestSet(t *testing.T) {
	s := NewSet(listOf(start.Add(time.Minute), "198.51.100.7/32", "2001:db8:7::/64"))
	for address, want := range map[string]bool{"198.51.100.7": true, "::ffff:198.51.100.7": true, "198.51.100.8": false, "2001:db8:7::1": true, "2001:db8:7:0:f::": true, "2001:db8:7:1::1": false} {
		a := netip.MustParseAddr(address)
		if got := s.Has(a, start); got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
		if s.Has(a, start.Add(time.Minute)) {
			t.Errorf("%s: blocked after the end", address)
		}
	}
	off := listOf(start.Add(time.Minute), "198.51.100.7/32")
	off.Off = true
	if NewSet(off).Has(netip.MustParseAddr("198.51.100.7"), start) || s.Has(netip.Addr{}, start) {
		t.Error("blocked although switched off, or nobody")
	}
}

// TestWall: who is blocked is not accepted, and cut off where he was; others, and who is spared, are not.
func TestWall(t *testing.T) {
	w, in := &Wall{Now: func() time.Time { return start }}, make(callers, 10)
	l := w.Listener(in, func(a netip.Addr) bool { return a == netip.MustParseAddr("198.51.100.9") })
	attacker, friend, rack := in.call("198.51.100.7"), in.call("198.51.100.8"), in.call("198.51.100.9")
	for range 3 {
		if _, err := l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	w.Use(NewSet(listOf(start.Add(time.Minute), "198.51.100.7/32", "198.51.100.9/32")))
	if !closed(attacker) || closed(friend) || closed(rack) {
		t.Errorf("got the attacker's closed %v, the friend's %v, the rack's %v", closed(attacker), closed(friend), closed(rack))
	}
	again, other := in.call("198.51.100.7"), in.call("198.51.100.8")
	c, err := l.Accept()
	if err != nil || c.RemoteAddr().String() != "198.51.100.8:4711" {
		t.Fatalf("got %v, %v", c, err)
	}
	if !closed(again) || closed(other) || w.Refused() != 2 {
		t.Errorf("got %v %v %d", closed(again), closed(other), w.Refused())
	}
	w.Use(NewSet(&List{}))
	in.call("198.51.100.7")
	if c, err := l.Accept(); err != nil || c.Close() != nil || len(w.held) != 3 {
		t.Errorf("after the block: %v, %d are held", err, len(w.held))
	}
}

// BenchmarkSet is what each request pays with as many blocks as there can be.
func BenchmarkSet(b *testing.B) {
	l := &List{}
	for i := range HardMost {
		p := fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&255, i&255)
		if i%2 == 1 {
			p = fmt.Sprintf("2001:db8:%x:%x::/64", i>>8, i&255)
		}
		l.Blocks = append(l.Blocks, Block{Prefix: netip.MustParsePrefix(p), Until: start.Add(time.Hour)})
	}
	s := NewSet(l)
	var ask []netip.Addr
	for i := range 1024 {
		ask = append(ask, l.Blocks[i*31%HardMost].Prefix.Addr(), netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}))
	}
	b.ResetTimer()
	for i := range b.N {
		s.Has(ask[i%len(ask)], start)
	}
}
