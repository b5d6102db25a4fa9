package ipmi

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"
)

func testSession(su suite) *session {
	key := bytes.Repeat([]byte{7}, 32)
	return &session{suite: su, own: 5, peer: 5, k1: key[:su.size], k2: key[:su.size]}
}

func TestSealUnseal(t *testing.T) {
	for _, su := range []suite{suite17, suite3} {
		s := testSession(su)
		for n := 8; n < 60; n++ {
			message := bytes.Repeat([]byte{byte(n)}, n)
			packet := s.seal(message)
			if got := s.unseal(packet); !bytes.Equal(got, message) {
				t.Fatalf("suite %d, %d bytes: got %x", su.id, n, got)
			}
			if s.unseal(packet) != nil {
				t.Fatal("a replayed packet was accepted")
			}
			changed := s.seal(message)
			changed[len(changed)/2] ^= 1
			if s.unseal(changed) != nil {
				t.Fatal("a changed packet was accepted")
			}
		}
	}
}

// TestDowngrade answers the open request with weaker algorithms than asked for.
func TestDowngrade(t *testing.T) {
	for name, algorithms := range map[string][3]byte{"RAKP-none": {0, 4, 1}, "no integrity": {3, 0, 1}, "no encryption": {3, 4, 0}} {
		t.Run(name, func(t *testing.T) {
			rogue, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer rogue.Close()
			go func() {
				buf := make([]byte, 1024)
				_, peer, err := rogue.ReadFrom(buf)
				if err != nil {
					return
				}
				res := append([]byte{}, rmcpHeader...)
				res = append(res, 6, payloadOpenResponse, 0, 0, 0, 0, 0, 0, 0, 0, 36, 0)
				res = append(res, buf[16], 0, 4, 0)
				res = append(res, buf[20:24]...)
				res = append(res, 1, 0, 0, 0)
				for i, a := range algorithms {
					res = append(res, byte(i), 0, 0, 8, a, 0, 0, 0)
				}
				_, _ = rogue.WriteTo(res, peer)
			}()
			conn, err := net.Dial("udp", rogue.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := open(ctx, conn, suite17, credentials{user: "u", password: "p", privilege: 3}); err != errNoSuite {
				t.Fatalf("got %v; want a refusal", err)
			}
		})
	}
}

// FuzzUnseal feeds packets that carry a right integrity code, as a hostile BMC can make them.
func FuzzUnseal(f *testing.F) {
	s := testSession(suite17)
	f.Add(s.seal([]byte("message of some length")))
	f.Fuzz(func(t *testing.T, p []byte) {
		s := testSession(suite17)
		s.unseal(p)
		if len(p) > 20 {
			signed := append([]byte{}, p...)
			copy(signed, rmcpHeader)
			signed[4], signed[5] = 6, payloadIPMI|encrypted|authenticated
			binary.LittleEndian.PutUint32(signed[6:], s.own)
			s.unseal(append(signed, s.suite.mac(s.k1, signed[4:])[:s.suite.icv]...))
		}
	})
}
