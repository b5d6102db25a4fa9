//go:build linux

package lab

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
)

// Match is one place where a needle was found in a capture.
type Match struct {
	Needle int    // index of the needle
	Flow   string // "source > destination" of a TCP stream, or "packet"
	Packet int    // number of the packet (from 1) that completed it
}

// Search looks for byte strings in a stopped capture: in every packet as it is,
// and in every TCP stream put together, where a needle may span segments. Each
// needle is reported once per stream and once for packets. IP fragments and
// IPv6 extension headers are not put together.
func (c *Capture) Search(needles ...[]byte) ([]Match, error) {
	f, err := os.Open(c.path)
	if err != nil {
		return nil, fmt.Errorf("cannot search the capture: %w", err)
	}
	defer f.Close()
	return searchPcap(bufio.NewReaderSize(f, 1<<20), needles)
}

func searchPcap(r io.Reader, needles [][]byte) ([]Match, error) {
	s := &search{needles: needles, flows: map[flowKey]*flow{}, seen: map[Match]bool{}}
	for i, n := range needles {
		if len(n) < 4 {
			return nil, fmt.Errorf("cannot search for needle %d: shorter than 4 bytes, it would be found by chance", i)
		}
		s.longest = max(s.longest, len(n))
	}
	if err := frames(r, func(frame []byte) {
		s.packet++
		s.look("packet", frame)
		s.segment(frame)
	}); err != nil {
		return nil, err
	}
	for key, f := range s.flows {
		s.flush(key, f)
	}
	return s.matches, nil
}

// frames calls fn with each frame of a capture.
func frames(r io.Reader, fn func([]byte)) error {
	var head [24]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("cannot read the capture's header: %w", err)
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch binary.LittleEndian.Uint32(head[:]) {
	case 0xa1b2c3d4, 0xa1b23c4d: // times in microseconds, in nanoseconds
	case 0xd4c3b2a1, 0x4d3cb2a1:
		order = binary.BigEndian
	default:
		return errors.New("cannot read the capture: not a pcap file")
	}
	if link := order.Uint32(head[20:]); link != 1 {
		return fmt.Errorf("cannot read the capture: link type %d is not Ethernet", link)
	}
	for n := 1; ; n++ {
		var rec [16]byte
		if _, err := io.ReadFull(r, rec[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("cannot read packet %d: %w", n, err)
		}
		size := order.Uint32(rec[8:])
		if size > 1<<20 {
			return fmt.Errorf("cannot read packet %d: %d bytes is no packet", n, size)
		}
		frame := make([]byte, size)
		if _, err := io.ReadFull(r, frame); err != nil {
			return fmt.Errorf("cannot read packet %d: %w", n, err)
		}
		fn(frame)
	}
}

type search struct {
	needles [][]byte
	longest int
	packet  int
	flows   map[flowKey]*flow
	seen    map[Match]bool
	matches []Match
}

type flowKey struct{ src, dst netip.AddrPort }

func (k flowKey) String() string { return k.src.String() + " > " + k.dst.String() }

// flow is one direction of a TCP connection. Only as much as a needle could
// begin in is kept of what has passed.
type flow struct {
	next    uint32 // sequence number expected next
	tail    []byte
	pending map[uint32][]byte // segments that came too early
}

// maxPending bounds the early segments of a flow; a hole that is still open
// then was not captured.
const maxPending = 1024

func (s *search) look(where string, b []byte) {
	for i, n := range s.needles {
		if key := (Match{Needle: i, Flow: where}); !s.seen[key] && bytes.Contains(b, n) {
			s.seen[key] = true
			s.matches = append(s.matches, Match{i, where, s.packet})
		}
	}
}

// segment adds a frame's TCP payload to its stream.
func (s *search) segment(frame []byte) {
	key, seq, syn, payload, ok := parseTCP(frame)
	if !ok {
		return
	}
	f := s.flows[key]
	if f == nil || syn { // a SYN may reuse the ports of an old connection
		if f != nil {
			s.flush(key, f)
		}
		f = &flow{next: seq, pending: map[uint32][]byte{}}
		if syn {
			f.next++
			seq++
		}
		s.flows[key] = f
	}
	if len(payload) == 0 {
		return
	}
	if old := f.pending[seq]; len(payload) > len(old) {
		f.pending[seq] = payload
	}
	s.drain(key, f)
	if len(f.pending) > maxPending {
		s.flush(key, f)
	}
}

// drain moves pending segments that continue the stream into it.
func (s *search) drain(key flowKey, f *flow) {
	for moved := true; moved; {
		moved = false
		for seq, b := range f.pending {
			ahead := int32(seq - f.next) // sequence numbers wrap
			if ahead > 0 {
				continue
			}
			delete(f.pending, seq)
			moved = true
			if fresh := int(-ahead); fresh < len(b) {
				s.advance(key, f, b[fresh:])
			}
		}
	}
}

func (s *search) advance(key flowKey, f *flow, b []byte) {
	f.next += uint32(len(b))
	joined := append(f.tail, b...)
	s.look(key.String(), joined)
	f.tail = slices.Clone(joined[max(0, len(joined)-s.longest+1):])
}

// flush gives up on holes: what is pending is searched in order.
func (s *search) flush(key flowKey, f *flow) {
	seqs := make([]uint32, 0, len(f.pending))
	for seq := range f.pending {
		seqs = append(seqs, seq)
	}
	slices.SortFunc(seqs, func(a, b uint32) int { return int(int32(a - b)) })
	for _, seq := range seqs {
		if _, waiting := f.pending[seq]; !waiting {
			continue
		}
		f.next, f.tail = seq, nil
		s.drain(key, f)
	}
}

// parseIP takes apart an Ethernet frame that carries the IP protocol of a number.
func parseIP(b []byte, protocol byte) (src, dst netip.Addr, payload []byte, ok bool) {
	if len(b) < 14 {
		return
	}
	kind := binary.BigEndian.Uint16(b[12:])
	b = b[14:]
	for kind == 0x8100 && len(b) >= 4 { // VLAN tag
		kind = binary.BigEndian.Uint16(b[2:])
		b = b[4:]
	}
	switch {
	case kind == 0x0800 && len(b) >= 20:
		header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if total == 0 {
			total = len(b) // a large send, cut up by the card later
		}
		if b[9] != protocol || header < 20 || total < header || total > len(b) || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
			return
		}
		// Without the padding of short frames.
		return netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[header:total], true
	case kind == 0x86dd && len(b) >= 40:
		total := int(binary.BigEndian.Uint16(b[4:]))
		if total == 0 {
			total = len(b) - 40
		}
		if b[6] != protocol || 40+total > len(b) {
			return
		}
		return netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), b[40 : 40+total], true
	}
	return
}

// parseTCP takes apart a frame that carries TCP.
func parseTCP(frame []byte) (key flowKey, seq uint32, syn bool, payload []byte, ok bool) {
	src, dst, b, ok := parseIP(frame, 6)
	if !ok || len(b) < 20 {
		return key, 0, false, nil, false
	}
	header := int(b[12]>>4) * 4
	if header < 20 || header > len(b) {
		return key, 0, false, nil, false
	}
	key = flowKey{
		netip.AddrPortFrom(src, binary.BigEndian.Uint16(b)),
		netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:])),
	}
	return key, binary.BigEndian.Uint32(b[4:]), b[13]&2 != 0, b[header:], true
}

// Flow is what two ends sent each other over TCP, or what one sent to a UDP port, whoever answered.
type Flow struct {
	Ends  string // "client > server"
	UDP   bool
	Port  uint16 // the server's: the one that the first packet went to; of UDP the lower one
	Begin []byte // of what the client sent, at most 16 bytes
	TFTP  bool   // an answer to a request to port 69, from a port of its own, as TFTP does
	Sent  int    // bytes that the client sent by TCP
}

func (f Flow) String() string {
	if f.UDP {
		return "UDP " + f.Ends
	}
	return "TCP " + f.Ends
}

// postgresSSL asks a PostgreSQL for TLS. Source: PostgreSQL 15, "SSLRequest" in the message formats.
var postgresSSL = []byte{0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f}

// Encrypted reports whether the client sent TLS records, or nothing; of PostgreSQL's protocol, after its request for TLS.
func (f Flow) Encrypted() bool {
	b := bytes.TrimPrefix(f.Begin, postgresSSL)
	return !f.UDP && (f.Sent == 0 || len(b) > 2 && b[0] >= 0x14 && b[0] <= 0x17 && b[1] == 3 || len(b) == 0 && f.Sent == len(postgresSSL))
}

// Flows lists the flows of a stopped capture.
func (c *Capture) Flows() ([]Flow, error) {
	f, err := os.Open(c.path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the capture: %w", err)
	}
	defer f.Close()
	return flowsOf(bufio.NewReaderSize(f, 1<<20))
}

// flowsOf reads them. A TCP connection that began before the capture did is told by its first packet with data, from whichever end.
func flowsOf(r io.Reader) ([]Flow, error) {
	tcp, udp := map[flowKey]*Flow{}, map[flowKey]*Flow{}
	asked := map[netip.AddrPort]bool{} // who sent a request to port 69
	var list []*Flow
	err := frames(r, func(frame []byte) {
		if key, _, syn, payload, ok := parseTCP(frame); ok {
			back := flowKey{key.dst, key.src}
			f := tcp[key]
			if answer := tcp[back]; f == nil && answer != nil {
				return // the server's side
			}
			if f == nil || syn && f.Sent > 0 { // its ports may be used again
				f = &Flow{Ends: key.String(), Port: key.dst.Port()}
				tcp[key], list = f, append(list, f)
			}
			if room := 16 - len(f.Begin); room > 0 {
				f.Begin = append(f.Begin, payload[:min(room, len(payload))]...)
			}
			f.Sent += len(payload)
			return
		}
		src, dst, b, ok := parseIP(frame, 17)
		if !ok || len(b) < 8 {
			return
		}
		key := flowKey{netip.AddrPortFrom(src, binary.BigEndian.Uint16(b)), netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))}
		if key.dst.Port() == 69 {
			asked[key.src] = true
		}
		if udp[key] == nil && udp[flowKey{key.dst, key.src}] == nil {
			f := &Flow{Ends: key.String(), UDP: true, Port: min(key.src.Port(), key.dst.Port()), TFTP: asked[key.dst], Begin: bytes.Clone(b[8:min(24, len(b))])}
			udp[key], list = f, append(list, f)
		}
	})
	out := make([]Flow, 0, len(list))
	for _, f := range list {
		out = append(out, *f)
	}
	return out, err
}
