package dhcp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
)

// Limits of a packet.
const (
	headerSize = 240 // BOOTP header with magic cookie, RFC 2131 section 2
	// maxPacket is the largest packet read; a larger one is cut by the kernel and fails to parse.
	maxPacket = 1500
	// maxHops is where a relayed packet counts as looping, RFC 1542 section 4.1.1.
	maxHops = 16
	// minReply is what replies are padded to: old BOOTP relays drop anything shorter, RFC 1542 section 2.1.
	minReply = 300
	// minClientSize is what every client must accept, RFC 2131 section 2: nothing bigger is sent.
	minClientSize = 576 - 20 - 8
)

// Message types. Source: RFC 2132 section 9.6.
const (
	discover = 1
	offer    = 2
	request  = 3
	decline  = 4
	ack      = 5
	nak      = 6
	release  = 7
	inform   = 8
)

// Options. Source: IANA BOOTP and DHCP parameters; 175 is iPXE's encapsulation (ipxe.org/howto/dhcpd).
const (
	optSubnetMask    = 1
	optRouter        = 3
	optDNS           = 6
	optHostname      = 12
	optMTU           = 26
	optRequestedIP   = 50
	optLeaseTime     = 51
	optMessageType   = 53
	optServerID      = 54
	optMessage       = 56
	optRenewal       = 58
	optRebinding     = 59
	optVendorClass   = 60
	optClientID      = 61
	optTFTPServer    = 66
	optBootFile      = 67
	optUserClass     = 77
	optRelayInfo     = 82
	optArchitecture  = 93
	optClientUUID    = 97
	optIPXE          = 175
	optEnd           = 255
	ipxeNoProxyDHCP  = 176 // inside option 175: do not wait for ProxyDHCP offers
	maxHostname      = 63  // of what a client calls itself; a label
	maxEchoed        = 64  // bytes of client id and UUID
	maxRelayInfo     = 128 // bytes of option 82
	bootRequest      = 1
	bootReply        = 2
	broadcastFlag    = 0x8000
	ethernet         = 1
	noArchitecture   = -1
	archBIOS         = 0
	archUEFI         = 7
	archUEFIAlt      = 9 // EFI BC by number, but what x64 firmware sends: RFC 4578 errata 4625
	archUEFIHTTP     = 16
	vendorHTTPClient = "HTTPClient"
)

var magic = []byte{99, 130, 83, 99}

var errPacket = errors.New("not a DHCP packet for Ethernet")

// mac is a hardware address in the low 48 bits.
type mac uint64

// ip4 is an IPv4 address as a number; 0 is none.
type ip4 uint32

func toIP4(a netip.Addr) ip4 {
	if a = a.Unmap(); !a.Is4() {
		return 0
	}
	b := a.As4()
	return ip4(binary.BigEndian.Uint32(b[:]))
}

// Addr returns the address; invalid for none.
func (a ip4) Addr() netip.Addr {
	if a == 0 {
		return netip.Addr{}
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(a))
	return netip.AddrFrom4(b)
}

// packet is what is read of a DHCP packet. Its byte slices point into the buffer it was parsed from.
type packet struct {
	op     byte
	kind   byte // message type
	xid    uint32
	flags  uint16
	ciaddr ip4
	yiaddr ip4
	giaddr ip4
	mac    mac
	chaddr []byte // 16 bytes, to be copied into the reply

	requested ip4
	serverID  ip4
	arch      int // noArchitecture, or option 93's first
	ipxe      bool
	vendor    []byte
	hostname  []byte
	clientID  []byte
	uuid      []byte
	relay     []byte
	wants     []byte // parameter request list
}

// parse reads a packet strictly: what is cut short or has no message type is an error. Options inside the
// file and sname fields (overload) are not looked at: no firmware puts there what is read here.
func (p *packet) parse(b []byte) error {
	if len(b) < headerSize || b[1] != ethernet || b[2] != 6 || b[3] > maxHops || !bytes.Equal(b[236:240], magic) {
		return errPacket
	}
	*p = packet{
		op: b[0], xid: binary.BigEndian.Uint32(b[4:]), flags: binary.BigEndian.Uint16(b[10:]),
		ciaddr: ip4(binary.BigEndian.Uint32(b[12:])), yiaddr: ip4(binary.BigEndian.Uint32(b[16:])),
		giaddr: ip4(binary.BigEndian.Uint32(b[24:])), chaddr: b[28:44], arch: noArchitecture,
	}
	for _, c := range b[28:34] {
		p.mac = p.mac<<8 | mac(c)
	}
	if p.mac == 0 || b[28]&1 == 1 {
		return errPacket // nobody's address
	}
	for b = b[headerSize:]; len(b) > 0 && b[0] != optEnd; {
		if b[0] == 0 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return errPacket
		}
		tag, v := b[0], b[2:2+int(b[1])]
		b = b[2+len(v):]
		if err := p.option(tag, v); err != nil {
			return err
		}
	}
	if p.kind == 0 {
		return errPacket
	}
	return nil
}

func (p *packet) option(tag byte, v []byte) error {
	switch tag {
	case optMessageType:
		if len(v) != 1 {
			return errPacket
		}
		p.kind = v[0]
	case optRequestedIP, optServerID:
		if len(v) != 4 {
			return errPacket
		}
		a := ip4(binary.BigEndian.Uint32(v))
		if tag == optServerID {
			p.serverID = a
		} else {
			p.requested = a
		}
	case optArchitecture:
		if len(v) < 2 || len(v)%2 != 0 {
			return errPacket
		}
		p.arch = int(binary.BigEndian.Uint16(v))
	case optUserClass: // iPXE writes the bare text, others the length before it (RFC 3004)
		p.ipxe = p.ipxe || string(v) == "iPXE" || string(v) == "\x04iPXE"
	case optIPXE:
		p.ipxe = true
	case optVendorClass:
		p.vendor = v
	case optHostname:
		p.hostname = v[:min(len(v), maxHostname)]
	case optClientID:
		if len(v) <= maxEchoed {
			p.clientID = v
		}
	case optClientUUID:
		if len(v) <= maxEchoed {
			p.uuid = v
		}
	case optRelayInfo:
		if len(v) <= maxRelayInfo {
			p.relay = v
		}
	}
	return nil
}

// builder writes a reply into a buffer that is used again and again.
type builder struct{ b []byte }

// start writes the header of an answer to p.
func (w *builder) start(p *packet, kind byte, yiaddr, server ip4) {
	w.b = append(w.b[:0], bootReply, ethernet, 6, 0)
	w.b = binary.BigEndian.AppendUint32(w.b, p.xid)
	w.b = append(w.b, 0, 0)
	w.b = binary.BigEndian.AppendUint16(w.b, p.flags)
	ciaddr := p.ciaddr
	if kind == nak {
		ciaddr = 0
	}
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(ciaddr))
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(yiaddr))
	siaddr := server
	if kind == nak {
		siaddr = 0
	}
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(siaddr))
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(p.giaddr))
	w.b = append(w.b, p.chaddr...)
	w.b = append(w.b, zeros[:64+128]...)
	w.b = append(w.b, magic...)
	w.b = append(w.b, optMessageType, 1, kind)
	w.address(optServerID, server)
}

var zeros [minReply]byte

func (w *builder) bytes(tag byte, v []byte) {
	w.b = append(append(w.b, tag, byte(len(v))), v...)
}

func (w *builder) text(tag byte, v string) {
	w.b = append(append(w.b, tag, byte(len(v))), v...)
}

func (w *builder) address(tag byte, a ip4) {
	w.b = binary.BigEndian.AppendUint32(append(w.b, tag, 4), uint32(a))
}

func (w *builder) seconds(tag byte, s uint32) {
	w.b = binary.BigEndian.AppendUint32(append(w.b, tag, 4), s)
}

// file writes the boot file's name where every client looks: in the header, if it fits, and as option 67.
func (w *builder) file(name string) {
	if len(name) < 128 {
		copy(w.b[108:236], name)
	}
	w.text(optBootFile, name)
}

// finish ends the options. The relay's own option comes last, as RFC 3046 section 2.2 wants it.
func (w *builder) finish(p *packet) []byte {
	if p.relay != nil {
		w.bytes(optRelayInfo, p.relay)
	}
	w.b = append(w.b, optEnd)
	if n := minReply - len(w.b); n > 0 {
		w.b = append(w.b, zeros[:n]...)
	}
	return w.b
}
