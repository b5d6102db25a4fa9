package enrich

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// writer makes a database in MaxMind's format, as far as the tests need it: IPv6 with IPv4 below ::/96, maps of texts and numbers.
// Source: MaxMind DB file format specification 2.0.
type writer struct {
	nodes [][2]int // a child: a node's number, or -1-n for record n, or none
	data  bytes.Buffer
	at    []int // where each record begins
}

const none = 1 << 30

func newWriter() *writer { return &writer{nodes: [][2]int{{none, none}}} }

type pair struct {
	key   string
	value any // string, uint32 or []pair
}

func (w *writer) put(network string, record []pair) {
	p := netip.MustParsePrefix(network)
	bits, raw := p.Bits(), p.Addr().As16()
	if p.Addr().Is4() {
		bits += 96
		raw = [16]byte{}
		four := p.Addr().As4()
		copy(raw[12:], four[:])
	}
	w.at = append(w.at, w.data.Len())
	encode(&w.data, record)
	node := 0
	for i := range bits {
		side := int(raw[i/8] >> (7 - i%8) & 1)
		if i == bits-1 {
			w.nodes[node][side] = -len(w.at)
			return
		}
		if w.nodes[node][side] == none {
			w.nodes = append(w.nodes, [2]int{none, none})
			w.nodes[node][side] = len(w.nodes) - 1
		}
		node = w.nodes[node][side]
	}
}

func (w *writer) bytes(bits int) []byte {
	var b bytes.Buffer
	for _, n := range w.nodes {
		for side, child := range n {
			switch {
			case child == none:
				n[side] = len(w.nodes)
			case child < 0:
				n[side] = len(w.nodes) + 16 + w.at[-child-1]
			}
		}
		l, r := n[0], n[1]
		switch bits {
		case 24:
			b.Write([]byte{byte(l >> 16), byte(l >> 8), byte(l), byte(r >> 16), byte(r >> 8), byte(r)})
		case 28:
			b.Write([]byte{byte(l >> 16), byte(l >> 8), byte(l), byte(l>>24<<4 | r>>24&15), byte(r >> 16), byte(r >> 8), byte(r)})
		default:
			b.Write([]byte{byte(l >> 24), byte(l >> 16), byte(l >> 8), byte(l), byte(r >> 24), byte(r >> 16), byte(r >> 8), byte(r)})
		}
	}
	b.Write(make([]byte, 16))
	b.Write(w.data.Bytes())
	b.WriteString("\xab\xcd\xefMaxMind.com")
	encode(&b, []pair{{"node_count", uint32(len(w.nodes))}, {"record_size", uint32(bits)}, {"ip_version", uint32(6)}, {"database_type", "Test"}, //nolint:gosec // small
		{"binary_format_major_version", uint32(2)}, {"binary_format_minor_version", uint32(0)}, {"build_epoch", uint32(1)}})
	return b.Bytes()
}

func encode(b *bytes.Buffer, v any) {
	control := func(kind, size int) {
		if size < 29 {
			b.WriteByte(byte(kind<<5 | size))
			return
		}
		b.Write([]byte{byte(kind<<5 | 29), byte(size - 29)}) // up to 284
	}
	switch v := v.(type) {
	case string:
		control(2, len(v))
		b.WriteString(v)
	case uint32:
		control(6, 4)
		_ = binary.Write(b, binary.BigEndian, v) // to memory
	case []pair:
		control(7, len(v))
		for _, p := range v {
			encode(b, p.key)
			encode(b, p.value)
		}
	}
}
