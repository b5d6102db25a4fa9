package ipmi

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"net"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// Limits of an exchange with a BMC.
const (
	// A request is sent again after firstRetry, then after twice as long, and so on: maxTries sendings within
	// about 11 seconds, after which the BMC counts as unreachable. Slow BMCs take 1-2 s for a chassis command.
	firstRetry = 700 * time.Millisecond
	maxTries   = 4
	// maxDatagram is far above any RMCP+ packet of the commands used here.
	maxDatagram = 1024
	maxUser     = 16 // bytes, IPMI 2.0 table 13-11
	maxPassword = 20 // bytes, IPMI 2.0 section 22.30
	maxKg       = 20 // bytes, IPMI 2.0 section 13.33
)

// suite is a cipher suite: algorithm numbers and lengths. Source: IPMI 2.0 tables 13-17 to 13-19 and 22-20.
// Both suites authenticate, check integrity and encrypt with AES-CBC-128; no other suite is ever offered.
type suite struct {
	id              int
	auth, integrity byte
	hash            func() hash.Hash
	size            int // bytes of the hash
	icv             int // bytes that an integrity code is cut to
}

const cryptAES = 1

var (
	suite17 = suite{id: 17, auth: 3, integrity: 4, hash: sha256.New, size: sha256.Size, icv: 16}
	suite3  = suite{id: 3, auth: 1, integrity: 1, hash: sha1.New, size: sha1.Size, icv: 12}
)

func (s suite) mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(s.hash, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// Payload types of RMCP+. Source: IPMI 2.0 table 13-16.
const (
	payloadIPMI         = 0x00
	payloadOpenRequest  = 0x10
	payloadOpenResponse = 0x11
	payloadRAKP1        = 0x12
	payloadRAKP2        = 0x13
	payloadRAKP3        = 0x14
	payloadRAKP4        = 0x15

	encrypted     = 0x80
	authenticated = 0x40
)

var rmcpHeader = []byte{0x06, 0x00, 0xff, 0x07}

// errPrivilege says that the user may log in, but not with the privilege asked for.
var errPrivilege = fault.New(fault.Forbidden, "The BMC does not give this user the privilege: lower privilege_level, or raise the user's on the BMC.")

// errNoSuite says that the BMC does not support the cipher suite offered.
var errNoSuite = errors.New("cipher suite not supported")

// session is an RMCP+ session. Every packet after the handshake is encrypted, and every answer that is not
// encrypted and authenticated with the session's keys is dropped, as is one that repeats a sequence number.
// Source of all formats: IPMI 2.0 chapter 13.
type session struct {
	conn      net.Conn
	suite     suite
	own, peer uint32 // session ids: ours and the BMC's
	k1, k2    []byte
	sequence  uint32 // of the last packet sent in the session
	received  uint32 // highest sequence number taken from the BMC
	rq        byte   // IPMI request sequence, 6 bits
	tag       byte   // of handshake messages
}

// credentials are what a session is opened with.
type credentials struct {
	user, password string
	kg             []byte // nil in one-key mode
	privilege      byte
}

// open makes a session over an established conn, which the caller closes. It returns errNoSuite when the BMC
// does not know the suite.
func open(ctx context.Context, conn net.Conn, su suite, c credentials) (*session, error) {
	s := &session{conn: conn, suite: su}
	random := make([]byte, 4+16)
	_, _ = rand.Read(random)
	s.own = binary.LittleEndian.Uint32(random) | 1 // 0 means no session
	consoleRandom := random[4:]

	req := []byte{s.nextTag(), 0, 0, 0}
	req = binary.LittleEndian.AppendUint32(req, s.own)
	req = append(req, 0, 0, 0, 8, su.auth, 0, 0, 0, 1, 0, 0, 8, su.integrity, 0, 0, 0, 2, 0, 0, 8, cryptAES, 0, 0, 0)
	res, err := s.handshake(ctx, payloadOpenRequest, req, payloadOpenResponse, 36)
	if err != nil {
		return nil, err
	}
	// A BMC, or somebody in between, that answers with weaker algorithms than those asked for is refused.
	if res[16] != su.auth || res[24] != su.integrity || res[32] != cryptAES {
		return nil, errNoSuite
	}
	s.peer = binary.LittleEndian.Uint32(res[8:])

	// Name-only lookup (bit 4): the BMC finds the user whatever privilege it asks for.
	role := []byte{c.privilege | 0x10, byte(len(c.user))}
	user := append(role, c.user...)
	req = []byte{s.nextTag(), 0, 0, 0}
	req = binary.LittleEndian.AppendUint32(req, s.peer)
	req = append(append(append(req, consoleRandom...), role[0], 0, 0), user[1:]...)
	if res, err = s.handshake(ctx, payloadRAKP1, req, payloadRAKP2, 40+su.size); err != nil {
		return nil, err
	}
	bmcRandom, guid := res[8:24], res[24:40]
	var ids [8]byte
	binary.LittleEndian.PutUint32(ids[:], s.own)
	binary.LittleEndian.PutUint32(ids[4:], s.peer)
	key := []byte(c.password)
	if !hmac.Equal(res[40:40+su.size], su.mac(key, ids[:], consoleRandom, bmcRandom, guid, user)) {
		return nil, fault.New(fault.Forbidden, "The BMC does not accept the credentials: correct power_pass, or power_user.")
	}

	sessionKey := key
	if len(c.kg) > 0 {
		sessionKey = c.kg
	}
	sik := su.mac(sessionKey, consoleRandom, bmcRandom, user)
	s.k1 = su.mac(sik, bytes.Repeat([]byte{1}, 20))
	s.k2 = su.mac(sik, bytes.Repeat([]byte{2}, 20))
	req = []byte{s.nextTag(), 0, 0, 0}
	req = binary.LittleEndian.AppendUint32(req, s.peer)
	req = append(req, su.mac(key, bmcRandom, ids[:4], user)...)
	if res, err = s.handshake(ctx, payloadRAKP3, req, payloadRAKP4, 8+su.icv); err != nil {
		return nil, err
	}
	if !hmac.Equal(res[8:8+su.icv], su.mac(sik, consoleRandom, ids[4:], guid)[:su.icv]) {
		return nil, fault.New(fault.Forbidden, "The BMC's key does not match: correct k_g, or power_pass if the BMC has no key.")
	}
	return s, nil
}

func (s *session) nextTag() byte { s.tag++; return s.tag }

// handshake sends a message of the session set-up and returns the answer, at least size bytes long. A refusal
// comes back as a fault, or as errNoSuite.
func (s *session) handshake(ctx context.Context, kind byte, payload []byte, want byte, size int) ([]byte, error) {
	packet := append([]byte{}, rmcpHeader...)
	packet = append(packet, 0x06, kind, 0, 0, 0, 0, 0, 0, 0, 0)
	packet = binary.LittleEndian.AppendUint16(packet, uint16(len(payload)))
	packet = append(packet, payload...)
	return exchange(ctx, s.conn, func() []byte { return packet }, func(p []byte) ([]byte, error) {
		if len(p) < 16+2 || !bytes.Equal(p[4:14], []byte{0x06, want, 0, 0, 0, 0, 0, 0, 0, 0}) {
			return nil, nil
		}
		body := p[16:]
		n := int(binary.LittleEndian.Uint16(p[14:]))
		if n > len(body) || n < 2 || body[0] != payload[0] {
			return nil, nil // not for us, or the answer to something earlier
		}
		if err := statusError(body[1]); err != nil {
			return nil, err // OpenIPMI's simulator leaves the session id out of a refusal
		}
		if n < size || binary.LittleEndian.Uint32(body[4:]) != s.own {
			return nil, nil
		}
		return body[:n], nil
	})
}

// statusError explains an RMCP+ status code. Source: IPMI 2.0 table 13-15.
func statusError(code byte) error {
	switch code {
	case 0x00:
		return nil
	case 0x04, 0x05, 0x10, 0x11:
		return errNoSuite
	case 0x01, 0x0b:
		return fault.New(fault.Unavailable, "The BMC has no free session: close other sessions to it, or reset the BMC.")
	case 0x09, 0x0a:
		return errPrivilege
	case 0x0c, 0x0d:
		return fault.New(fault.Forbidden, "The BMC has no such user, or it may not log in over the network: correct power_user.")
	case 0x0f:
		return fault.New(fault.Forbidden, "The BMC does not accept the credentials: correct power_pass, or k_g if the BMC has a key.")
	default:
		return fault.New(fault.Unavailable, "The BMC refused the session with RMCP+ status %#02x.", code)
	}
}

// command sends an IPMI request and returns the data of its answer. A completion code other than 0 is returned
// as a code error.
func (s *session) command(ctx context.Context, netFn, cmd byte, data ...byte) ([]byte, error) {
	s.rq = (s.rq + 1) & 0x3f
	rq := s.rq
	message := ipmiMessage(netFn, rq, cmd, data)
	return exchange(ctx, s.conn, func() []byte { return s.seal(message) }, func(p []byte) ([]byte, error) {
		m := s.unseal(p)
		if len(m) < 8 || m[1] != (netFn|1)<<2 || m[4]>>2 != rq || m[5] != cmd {
			return nil, nil
		}
		if m[6] != 0 {
			return nil, code(m[6])
		}
		return m[7 : len(m)-1], nil
	})
}

// ipmiMessage frames a request to the BMC (address 20h) from a remote console (81h). Source: table 13-8.
func ipmiMessage(netFn, rq, cmd byte, data []byte) []byte {
	m := []byte{0x20, netFn << 2, 0, 0x81, rq << 2, cmd}
	m[2] = checksum(m[:2])
	m = append(m, data...)
	return append(m, checksum(m[3:]))
}

func checksum(b []byte) (sum byte) {
	for _, c := range b {
		sum -= c
	}
	return sum
}

// seal encrypts and authenticates a message. Source: sections 13.28.4 and 13.29.
func (s *session) seal(message []byte) []byte {
	s.sequence++
	pad := (aes.BlockSize - (len(message)+1)%aes.BlockSize) % aes.BlockSize
	plain := append([]byte{}, message...)
	for i := range pad {
		plain = append(plain, byte(i+1))
	}
	plain = append(plain, byte(pad))
	body := make([]byte, aes.BlockSize+len(plain))
	_, _ = rand.Read(body[:aes.BlockSize])
	block, _ := aes.NewCipher(s.k2[:16]) // 16 bytes is a valid key size
	cipher.NewCBCEncrypter(block, body[:aes.BlockSize]).CryptBlocks(body[aes.BlockSize:], plain)

	packet := append([]byte{}, rmcpHeader...)
	packet = append(packet, 0x06, payloadIPMI|encrypted|authenticated)
	packet = binary.LittleEndian.AppendUint32(packet, s.peer)
	packet = binary.LittleEndian.AppendUint32(packet, s.sequence)
	packet = binary.LittleEndian.AppendUint16(packet, uint16(len(body)))
	packet = append(packet, body...)
	fill := (4 - (len(packet)-4+2)%4) % 4
	for range fill {
		packet = append(packet, 0xff)
	}
	packet = append(packet, byte(fill), 0x07)
	return append(packet, s.suite.mac(s.k1, packet[4:])[:s.suite.icv]...)
}

// unseal returns the message inside a packet of this session, or nil for anything else.
func (s *session) unseal(p []byte) []byte {
	const header = 4 + 12
	if len(p) < header+2*aes.BlockSize+2+s.suite.icv || p[4] != 0x06 || p[5] != payloadIPMI|encrypted|authenticated ||
		binary.LittleEndian.Uint32(p[6:]) != s.own {
		return nil
	}
	signed, icv := p[4:len(p)-s.suite.icv], p[len(p)-s.suite.icv:]
	if !hmac.Equal(icv, s.suite.mac(s.k1, signed)[:s.suite.icv]) {
		return nil
	}
	sequence := binary.LittleEndian.Uint32(p[10:])
	n := int(binary.LittleEndian.Uint16(p[14:]))
	if sequence <= s.received || n < 2*aes.BlockSize || n%aes.BlockSize != 0 || header+n > len(p)-s.suite.icv {
		return nil
	}
	s.received = sequence
	body := p[header : header+n]
	plain := make([]byte, n-aes.BlockSize)
	block, _ := aes.NewCipher(s.k2[:16])
	cipher.NewCBCDecrypter(block, body[:aes.BlockSize]).CryptBlocks(plain, body[aes.BlockSize:])
	pad := int(plain[len(plain)-1])
	if pad >= aes.BlockSize {
		return nil
	}
	return plain[:len(plain)-1-pad]
}

// exchange sends what packet makes until accept takes an answer: accept returns nil and no error for datagrams
// that are not the answer. It ends with ctx. Kinds: Unavailable when no answer comes.
func exchange(ctx context.Context, conn net.Conn, packet func() []byte, accept func([]byte) ([]byte, error)) ([]byte, error) {
	// Closing would end a blocked read as well, but the session is still to be closed politely.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, maxDatagram)
	wait := firstRetry
	for range maxTries {
		_, werr := conn.Write(packet())
		until := time.Now().Add(wait)
		wait *= 2
		_ = conn.SetReadDeadline(until)
		for {
			if err := ctx.Err(); err != nil {
				return nil, unreachable(err)
			}
			n, err := conn.Read(buf)
			var timeout net.Error
			switch {
			case err == nil && n >= 4 && bytes.Equal(buf[:4], rmcpHeader):
				res, err := accept(buf[:n])
				if res != nil || err != nil {
					return res, err
				}
				continue
			case err == nil:
				continue
			case errors.As(err, &timeout) && timeout.Timeout():
			default: // port unreachable: the BMC may be restarting
				select {
				case <-ctx.Done():
				case <-time.After(time.Until(until)):
				}
			}
			break
		}
		_ = werr // a failed write shows as no answer; the next try may work
	}
	return nil, unreachable(ctx.Err())
}

// unreachable is the fault for silence; it wraps why the wait ended, if not by itself.
func unreachable(cause error) error {
	f := fault.New(fault.Unavailable, "The BMC does not answer: check power_address, its network and that IPMI over LAN is on.")
	if cause != nil {
		return errors.Join(f, cause)
	}
	return f
}
