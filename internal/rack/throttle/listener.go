package throttle

import (
	"net"
	"sync"
)

// PerSource makes a listener that closes connections beyond each from one address as soon as they are accepted, so that
// one machine cannot take all that a server has room for.
func PerSource(l net.Listener, each int) net.Listener {
	return &listener{Listener: l, each: each, open: map[string]int{}}
}

type listener struct {
	net.Listener
	each int

	mu   sync.Mutex // guards open
	open map[string]int
}

// Accept returns the next connection that its source has room for.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := sourceOf(c)
		if l.enter(source) {
			return &conn{c, sync.OnceFunc(func() { l.leave(source) })}, nil
		}
		_ = c.Close()
	}
}

func sourceOf(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return host
}

func (l *listener) enter(source string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[source] >= l.each {
		return false
	}
	l.open[source]++
	return true
}

func (l *listener) leave(source string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[source]--; l.open[source] == 0 {
		delete(l.open, source)
	}
}

// conn makes room when it is closed.
type conn struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
