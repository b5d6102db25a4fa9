package enrich

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
)

// A reader of MaxMind's format: a binary tree over the bits of addresses, whose leaves are places in a section of values. Files come from outside, and the format lets
// values point to values, so that a few bytes can stand for billions: reading is bounded in steps and depth.
// Source: MaxMind DB file format specification 2.0.

// Limits of a record: those of cities have some hundred values.
const (
	maxValues = 2000
	maxDepth  = 16
)

var (
	metadataMark = []byte("\xab\xcd\xefMaxMind.com")
	errDamaged   = errors.New("it is no database in MaxMind's format, or damaged")
)

// metadataRoom is how near the end of the file the metadata begin at least; separator is between tree and values.
const (
	metadataRoom = 128 << 10
	separator    = 16
)

// tree is an open database.
type tree struct {
	nodes  []byte
	values []byte
	count  uint64 // of nodes
	bits   uint64 // of a record: 24, 28 or 32
	ipv6   bool
}

func openTree(file []byte) (*tree, error) {
	from := max(0, len(file)-metadataRoom)
	at := bytes.LastIndex(file[from:], metadataMark)
	if at < 0 {
		return nil, errDamaged
	}
	end := from + at
	d := decoder{data: file[end+len(metadataMark):], left: maxValues}
	v, _, err := d.value(0, 0)
	if err != nil {
		return nil, err
	}
	meta, _ := v.(map[string]any)
	number := func(name string) uint64 { n, _ := meta[name].(uint64); return n }
	t := &tree{count: number("node_count"), bits: number("record_size"), ipv6: number("ip_version") == 6}
	if number("binary_format_major_version") != 2 || t.bits != 24 && t.bits != 28 && t.bits != 32 || t.count == 0 || t.count > uint64(len(file)) {
		return nil, errDamaged
	}
	size := t.count * t.bits / 4
	if size+separator > uint64(end) { //nolint:gosec // a length
		return nil, errDamaged
	}
	t.nodes, t.values = file[:size], file[size+separator:end]
	return t, nil
}

// child is a node's record for a bit: another node, count for nothing, or more for a place among the values.
func (t *tree) child(node uint64, bit byte) uint64 {
	n := t.nodes[node*t.bits/4:]
	switch {
	case t.bits == 32:
		return uint64(binary.BigEndian.Uint32(n[4*bit:]))
	case t.bits == 24:
		n = n[3*bit:]
		return uint64(n[0])<<16 | uint64(n[1])<<8 | uint64(n[2])
	case bit == 0: // 28: the byte in the middle has the highest four bits of both
		return uint64(n[3]>>4)<<24 | uint64(n[0])<<16 | uint64(n[1])<<8 | uint64(n[2])
	}
	return uint64(n[3]&15)<<24 | uint64(n[4])<<16 | uint64(n[5])<<8 | uint64(n[6])
}

// look returns the record of an address; nil where there is none.
func (t *tree) look(a netip.Addr) (map[string]any, error) {
	a = a.WithZone("").Unmap()
	raw := a.AsSlice()
	switch {
	case a.Is4() && t.ipv6:
		raw = append(make([]byte, 12), raw...) // IPv4 is below ::/96
	case !a.Is4() && !t.ipv6:
		return nil, nil
	}
	node := uint64(0)
	for i := range 8 * len(raw) {
		if node = t.child(node, raw[i/8]>>(7-i%8)&1); node >= t.count {
			break
		}
	}
	if node == t.count {
		return nil, nil
	}
	if node < t.count+separator {
		return nil, errDamaged
	}
	d := decoder{data: t.values, left: maxValues}
	v, _, err := d.value(node-t.count-separator, 0)
	if err != nil {
		return nil, err
	}
	record, ok := v.(map[string]any)
	if !ok {
		return nil, errDamaged
	}
	return record, nil
}

// decoder reads values; left is how many more.
type decoder struct {
	data []byte
	left int
}

// take returns n bytes at a place.
func (d *decoder) take(at, n uint64) ([]byte, error) {
	if at > uint64(len(d.data)) || n > uint64(len(d.data))-at {
		return nil, errDamaged
	}
	return d.data[at : at+n], nil
}

// unsigned reads up to eight bytes, the highest first.
func unsigned(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// value reads the value at a place, and returns where the next one begins. Texts are strings, unsigned numbers uint64, maps map[string]any, lists []any; others nil.
func (d *decoder) value(at uint64, depth int) (v any, next uint64, err error) {
	if d.left--; d.left < 0 || depth > maxDepth {
		return nil, 0, errDamaged
	}
	control, err := d.take(at, 1)
	if err != nil {
		return nil, 0, err
	}
	at++
	kind, size := control[0]>>5, uint64(control[0]&31)
	if kind == 1 {
		return d.pointer(at, control[0], depth)
	}
	if kind == 0 {
		b, err := d.take(at, 1)
		if err != nil {
			return nil, 0, err
		}
		at++
		kind = b[0] + 7
	}
	if size >= 29 {
		n := size - 28 // bytes that follow
		b, err := d.take(at, n)
		if err != nil {
			return nil, 0, err
		}
		at += n
		size = []uint64{29, 285, 65821}[n-1] + unsigned(b)
	}
	switch kind {
	case 7:
		m := map[string]any{}
		for range size {
			var key, value any
			if key, at, err = d.value(at, depth+1); err != nil {
				return nil, 0, err
			}
			name, ok := key.(string)
			if !ok {
				return nil, 0, errDamaged
			}
			if value, at, err = d.value(at, depth+1); err != nil {
				return nil, 0, err
			}
			m[name] = value
		}
		return m, at, nil
	case 11:
		var list []any
		for range size {
			if v, at, err = d.value(at, depth+1); err != nil {
				return nil, 0, err
			}
			list = append(list, v)
		}
		return list, at, nil
	case 14: // a truth, which is its size
		return nil, at, nil
	}
	b, err := d.take(at, size)
	if err != nil {
		return nil, 0, err
	}
	switch {
	case kind == 2:
		v = string(b[:min(len(b), maxText)])
	case (kind == 5 || kind == 6 || kind == 9) && size <= 8:
		v = unsigned(b)
	}
	return v, at + size, nil
}

// pointer reads the value that a pointer names. A pointer to a pointer is not allowed.
func (d *decoder) pointer(at uint64, control byte, depth int) (any, uint64, error) {
	n := uint64(control>>3&3) + 1 // bytes that follow
	b, err := d.take(at, n)
	if err != nil {
		return nil, 0, err
	}
	to := unsigned(b)
	if n < 4 {
		to += uint64(control&7)<<(8*n) + []uint64{0, 2048, 526336}[n-1]
	}
	target, err := d.take(to, 1)
	if err != nil || target[0]>>5 == 1 {
		return nil, 0, errDamaged
	}
	v, _, err := d.value(to, depth+1)
	return v, at + n, err
}
