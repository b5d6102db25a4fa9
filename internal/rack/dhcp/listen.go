package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	serverPort = 67
	clientPort = 68
	readBatch  = 64
	// socketBuffer holds a burst of some 3,000 packets while the reader is busy.
	socketBuffer = 4 << 20
	// sniffTimeout is how soon the reader of the raw socket notices that it is closed.
	sniffTimeout = time.Second
)

// listener is one served interface: a UDP socket for packets to port 67, and a raw socket that answers clients
// without an address and overhears other servers.
type listener struct {
	iface string
	index int
	udp   *net.UDPConn
	mu    sync.RWMutex // guards raw against being closed, and its number reused, under a send
	raw   int          // -1 when closed
	wg    sync.WaitGroup
	stop  context.CancelFunc
	died  atomic.Bool
}

// dead reports whether the listener is to be opened anew: it failed, or its interface was removed and made
// again under the same name, which the old sockets would never notice.
func (l *listener) dead() bool {
	ifi, err := net.InterfaceByName(l.iface)
	return l.died.Load() || err != nil || ifi.Index != l.index
}

// close ends the listener and waits for its goroutines. Grants that still refer to it send into a closed
// socket, which fails harmlessly.
func (l *listener) close() {
	l.stop()
	_ = l.udp.Close()
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = unix.Close(l.raw)
	l.raw = -1
}

// listen opens an interface and starts to serve it.
func (s *Server) listen(ctx context.Context, name string) (*listener, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) {
			serr = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, name))
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) // only an improvement
		})
		return errors.Join(err, serr)
	}}
	pc, err := lc.ListenPacket(ctx, "udp4", fmt.Sprintf(":%d", serverPort))
	if err != nil {
		return nil, err
	}
	l := &listener{iface: name, index: ifi.Index, udp: pc.(*net.UDPConn)}
	if l.raw, err = openRaw(ifi.Index); err != nil {
		_ = pc.Close()
		return nil, fmt.Errorf("cannot open a raw socket: %w", err)
	}
	ctx, l.stop = context.WithCancel(ctx)
	l.wg.Go(func() { s.read(ctx, l) })
	l.wg.Go(func() { s.overhear(ctx, l) })
	l.wg.Go(func() { s.advertise(ctx, ifi) })
	return l, nil
}

// read serves packets until the socket is closed.
func (s *Server) read(ctx context.Context, l *listener) {
	defer l.died.Store(true)
	pc := ipv4.NewPacketConn(l.udp)
	msgs := make([]ipv4.Message, readBatch)
	for i := range msgs {
		msgs[i].Buffers = [][]byte{make([]byte, maxPacket)}
	}
	for ctx.Err() == nil {
		n, err := pc.ReadBatch(msgs, 0)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.complain(ctx, "cannot read dhcp packets", "interface", l.iface, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second): // the interface may be down for a moment
			}
			if _, gone := net.InterfaceByIndex(l.index); gone != nil {
				return
			}
			continue
		}
		for i := range n {
			s.handle(ctx, l, msgs[i].Buffers[0][:msgs[i].N])
		}
	}
}

// send puts a reply on the wire. A failure is a lost packet: clients ask again.
func (l *listener) send(o *outgoing) {
	switch o.to {
	case toRelay:
		_, _ = l.udp.WriteToUDPAddrPort(o.b, addrPort(o.ip, serverPort))
	case toClient:
		_, _ = l.udp.WriteToUDPAddrPort(o.b, addrPort(o.ip, clientPort))
	case toAll:
		_, _ = l.udp.WriteToUDPAddrPort(o.b, addrPort(0xffffffff, clientPort))
	case toOffered:
		var hw [8]byte
		for i := range 6 {
			hw[i] = byte(o.mac >> (40 - 8*i))
		}
		to := unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: l.index, Halen: 6, Addr: hw}
		l.mu.RLock()
		defer l.mu.RUnlock()
		_ = unix.Sendto(l.raw, frame(o.src, o.ip, o.b), 0, &to)
	}
}

// frame puts IPv4 and UDP headers before a payload. Sources: RFC 791, RFC 768.
func frame(src, dst ip4, payload []byte) []byte {
	const ipSize, udpSize = 20, 8
	b := make([]byte, ipSize+udpSize, ipSize+udpSize+len(payload))
	b = append(b, payload...)
	b[0], b[1] = 0x45, 0x10 // no options; low delay, as dhcpd does
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[6] = 0x40 // do not fragment
	b[8], b[9] = 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint32(b[12:], uint32(src))
	binary.BigEndian.PutUint32(b[16:], uint32(dst))
	binary.BigEndian.PutUint16(b[10:], ^sum(0, b[:ipSize]))
	u := b[ipSize:]
	binary.BigEndian.PutUint16(u, serverPort)
	binary.BigEndian.PutUint16(u[2:], clientPort)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	// The checksum covers a pseudo header: addresses, protocol and length.
	c := ^sum(uint32(sum(unix.IPPROTO_UDP+uint32(len(u)), b[12:20])), u)
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(u[6:], c)
	return b
}

// sum adds to a one's complement sum. Source: RFC 1071.
func sum(s uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// serverPackets passes IPv4 UDP packets from port 67 that are BOOTP replies, headers starting at IP.
var serverPackets = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 8},
	bpf.LoadAbsolute{Off: 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x1fff, SkipTrue: 6},
	bpf.LoadMemShift{Off: 0},
	bpf.LoadIndirect{Off: 0, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: serverPort, SkipTrue: 3},
	bpf.LoadIndirect{Off: 8, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: bootReply, SkipTrue: 1},
	bpf.RetConstant{Val: maxPacket},
	bpf.RetConstant{Val: 0},
}

// openRaw opens a packet socket on an interface which receives nothing but what DHCP servers send.
func openRaw(index int) (int, error) {
	// Protocol 0 receives nothing until the filter is in place and bind names the protocol.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	program, err := bpf.Assemble(serverPackets)
	if err == nil {
		filter := make([]unix.SockFilter, len(program))
		for i, in := range program {
			filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
		}
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	}
	if err == nil {
		tv := unix.NsecToTimeval(int64(sniffTimeout))
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: index})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// overhear looks at what other servers send, until ctx ends.
func (s *Server) overhear(ctx context.Context, l *listener) {
	b := make([]byte, maxPacket)
	for ctx.Err() == nil {
		n, from, err := unix.Recvfrom(l.raw, b, 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			select {
			case <-ctx.Done():
			case <-time.After(sniffTimeout):
			}
			continue
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype == unix.PACKET_OUTGOING || n < 28 {
			continue
		}
		head := int(b[0]&15)*4 + 8
		if head > n {
			continue
		}
		var p packet
		if p.parse(b[head:n]) != nil {
			continue
		}
		s.mu.Lock()
		v := s.d.overheard(&p)
		s.mu.Unlock()
		if v.event != nothing {
			s.tell(ctx, l.iface, &p, v)
		}
	}
}
