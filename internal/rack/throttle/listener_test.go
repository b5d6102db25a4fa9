package throttle

import (
	"errors"
	"io"
	"net"
	"testing"
)

// from is a connection that says where it comes from.
type from struct {
	net.Conn
	source string
}

func (f from) RemoteAddr() net.Addr { a, _ := net.ResolveTCPAddr("tcp", f.source); return a }

// queue is a listener of connections that have come already.
type queue struct {
	net.Listener
	conns []net.Conn
}

func (q *queue) Accept() (net.Conn, error) {
	if len(q.conns) == 0 {
		return nil, net.ErrClosed
	}
	c := q.conns[0]
	q.conns = q.conns[1:]
	return c, nil
}

func TestPerSource(t *testing.T) {
	q := &queue{}
	l := PerSource(q, 2)
	var far []net.Conn
	come := func(sources ...string) {
		for _, s := range sources {
			a, b := net.Pipe()
			q.conns, far = append(q.conns, from{a, s}), append(far, b)
		}
	}
	come("10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "[fe80::1]:1", "10.0.0.1:4", "10.0.0.2:1")
	var got []net.Conn
	for {
		c, err := l.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
			break
		}
		got = append(got, c)
	}
	if len(got) != 4 || got[2].RemoteAddr().String() != "[fe80::1]:1" || got[3].RemoteAddr().String() != "10.0.0.2:1" {
		t.Fatalf("got %v, want two of the first and one each of the others", got)
	}
	for _, i := range []int{2, 4} {
		if _, err := far[i].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("connection %d: got %v, want it closed", i, err)
		}
	}
	for range 2 { // closing twice makes room once
		_ = got[0].Close()
	}
	come("10.0.0.1:5", "10.0.0.1:6", "10.0.0.3:1")
	for _, want := range []string{"10.0.0.1:5", "10.0.0.3:1"} {
		if c, err := l.Accept(); err != nil || c.RemoteAddr().String() != want {
			t.Errorf("got %v, %v, want %s", c, err, want)
		}
	}
}
