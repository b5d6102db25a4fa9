//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace calls f on a thread that has entered the node's namespace. A
// socket belongs to the namespace it was made in for all its life, so only its
// creation has to happen here.
func (n *Network) inNamespace(node Node, f func() error) error {
	target, err := unix.Open("/run/netns/"+n.Namespace(node), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open the namespace of %s: %w", node, err)
	}
	defer unix.Close(target)
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer unix.Close(home)
		if err := unix.Setns(target, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("cannot enter the namespace of %s: %w", node, err)
			return
		}
		err = f()
		// A thread that cannot go home stays locked and ends with its goroutine.
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// Dialer returns a dial function for http.Transport and the like, whose
// connections start in the node's namespace. Addresses must be numeric: a name
// would be looked up outside.
func (n *Network) Dialer(node Node) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var conn net.Conn
		err := n.inNamespace(node, func() (err error) {
			// No fallback: it would dial on another thread.
			d := net.Dialer{FallbackDelay: -1, Timeout: 30 * time.Second}
			conn, err = d.DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
}

// Listen listens on a stream address in the node's namespace.
func (n *Network) Listen(ctx context.Context, node Node, network, addr string) (net.Listener, error) {
	var l net.Listener
	err := n.inNamespace(node, func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, network, addr)
		return err
	})
	return l, err
}

// ListenPacket listens on a datagram address in the node's namespace.
func (n *Network) ListenPacket(ctx context.Context, node Node, network, addr string) (net.PacketConn, error) {
	var c net.PacketConn
	err := n.inNamespace(node, func() (err error) {
		c, err = new(net.ListenConfig).ListenPacket(ctx, network, addr)
		return err
	})
	return c, err
}

// Forward makes addr in the node's namespace reachable from the host, for a
// browser say, and returns the loopback address to use. It ends with ctx.
func (n *Network) Forward(ctx context.Context, node Node, addr string) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot forward to %s: %w", addr, err)
	}
	context.AfterFunc(ctx, func() { l.Close() })
	dial := n.Dialer(node)
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := dial(ctx, "tcp", addr)
				if err != nil {
					return
				}
				defer out.Close()
				stop := context.AfterFunc(ctx, func() { in.Close(); out.Close() })
				defer stop()
				pipe(in, out)
			}()
		}
	}()
	return l.Addr().String(), nil
}

// pipe copies both ways until both directions have ended.
func pipe(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, d := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, err := io.Copy(d[0], d[1])
			if tcp, ok := d[0].(*net.TCPConn); ok && !errors.Is(err, net.ErrClosed) {
				tcp.CloseWrite()
			}
		})
	}
	wg.Wait()
}
