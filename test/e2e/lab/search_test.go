//go:build linux

package lab

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// pcapOf makes a capture of TCP segments of one stream.
func pcapOf(segments ...segment) []byte {
	var out bytes.Buffer
	head := make([]byte, 24)
	binary.LittleEndian.PutUint32(head, 0xa1b2c3d4)
	binary.LittleEndian.PutUint32(head[20:], 1)
	out.Write(head)
	for _, s := range segments {
		tcp := make([]byte, 20, 20+len(s.data))
		binary.BigEndian.PutUint16(tcp, 40000)
		binary.BigEndian.PutUint16(tcp[2:], 443)
		binary.BigEndian.PutUint32(tcp[4:], s.seq)
		tcp[12] = 5 << 4
		tcp = append(tcp, s.data...)
		ip := make([]byte, 20)
		ip[0], ip[9] = 0x45, 6
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(tcp)))
		copy(ip[12:], []byte{10, 77, 0, 1, 10, 77, 0, 2})
		frame := append(make([]byte, 12), 8, 0)
		frame = append(append(frame, ip...), tcp...)
		rec := make([]byte, 16)
		binary.LittleEndian.PutUint32(rec[8:], uint32(len(frame)))
		out.Write(rec)
		out.Write(frame)
	}
	return out.Bytes()
}

type segment struct {
	seq  uint32
	data string
}

func TestSearchFindsNeedlesAcrossSegments(t *testing.T) {
	const flow = "10.77.0.1:40000 > 10.77.0.2:443"
	for _, test := range []struct {
		name     string
		segments []segment
		want     string // flow of the only match, or ""
	}{
		{"whole, in one packet", []segment{{1, "a swordfish b"}}, "packet"},
		{"split in two", []segment{{1, "a sword"}, {8, "fish b"}}, flow},
		{"split in single bytes", []segment{{1, "s"}, {2, "w"}, {3, "o"}, {4, "r"}, {5, "d"}, {6, "f"}, {7, "i"}, {8, "s"}, {9, "h"}}, flow},
		{"out of order", []segment{{1, "a "}, {8, "fish b"}, {3, "sword"}}, flow},
		{"sent again, overlapping", []segment{{1, "a sw"}, {3, "swor"}, {7, "dfish"}}, flow},
		{"sequence numbers wrap", []segment{{0xfffffffe, "sw"}, {0, "ordfish"}}, flow},
		{"after a lost segment", []segment{{1, "x"}, {100, "sword"}, {105, "fish"}}, flow},
		{"absent", []segment{{1, "sword"}, {6, " fish"}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			matches, err := searchPcap(bytes.NewReader(pcapOf(test.segments...)), [][]byte{[]byte("swordfish")})
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "" {
				if len(matches) != 0 {
					t.Fatalf("found %v, want nothing", matches)
				}
				return
			}
			if len(matches) == 0 || matches[0].Flow != test.want {
				t.Fatalf("found %v, want a match in %s", matches, test.want)
			}
		})
	}
}

func TestSearchRefusesShortNeedlesAndOtherFiles(t *testing.T) {
	if _, err := searchPcap(bytes.NewReader(pcapOf()), [][]byte{[]byte("abc")}); err == nil {
		t.Error("a needle of three bytes was accepted")
	}
	if _, err := searchPcap(bytes.NewReader(make([]byte, 64)), [][]byte{[]byte("swordfish")}); err == nil {
		t.Error("a file that is no capture was accepted")
	}
}

func TestFlows(t *testing.T) {
	for _, test := range []struct {
		name      string
		data      string
		encrypted bool
	}{
		{"a handshake", "\x16\x03\x01\x00\x05hello", true}, {"in the middle of a session", "\x17\x03\x03\x00\x05hello", true}, {"plain", "GET / HTTP/1.1\r\n", false},
		{"PostgreSQL by TLS", "\x00\x00\x00\x08\x04\xd2\x16\x2f\x16\x03\x01\x00\x05", true}, {"PostgreSQL refused", "\x00\x00\x00\x08\x04\xd2\x16\x2f", true},
		{"PostgreSQL that goes on in clear", "\x00\x00\x00\x08\x04\xd2\x16\x2f\x00\x00\x00\x20user", false}, {"plain PostgreSQL", "\x00\x00\x00\x20\x00\x03\x00\x00user", false}, {"nothing", "", true},
	} {
		flows, err := flowsOf(bytes.NewReader(pcapOf(segment{1, test.data})))
		if err != nil || len(flows) != 1 || flows[0].Port != 443 || flows[0].Encrypted() != test.encrypted {
			t.Errorf("%s: got %+v, %v", test.name, flows, err)
		}
	}
}
