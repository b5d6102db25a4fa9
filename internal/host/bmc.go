package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/guard"
)

// Limits of asking BMCs.
const (
	MaxBMCs      = 256 // that may be named
	bmcsAtOnce   = 16
	bmcTries     = 3 // sendings of a packet, each waited for as long
	bmcPatience  = time.Second
	bmcPort      = 623
	webPort      = 443
	maxBMCPacket = 512
)

// AskBMC asks a BMC what it tells anybody: how it authenticates, whether it agrees to a session of cipher suite 0, and the certificate of its
// pages. It logs in to nothing and tries no password. A session that was agreed to and is not gone on with ends by itself. The address is
// an IP address or a name, with or without a port.
func AskBMC(ctx context.Context, address string) guard.BMC { return askBMC(ctx, address, webPort) }

func askBMC(ctx context.Context, address string, web int) (b guard.BMC) {
	b.Address = address
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		name, port = address, strconv.Itoa(bmcPort)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", net.JoinHostPort(name, port))
	if err != nil {
		b.Auth.Err, b.Zero.Err = err, err
	} else {
		defer func() { _ = conn.Close() }()
		b.Auth.Value, b.Auth.Err = authentication(ctx, conn)
		b.Zero.Value, b.Zero.Err = suiteZero(ctx, conn)
	}
	b.Web.Value, b.Web.Err = webCertificate(ctx, net.JoinHostPort(name, strconv.Itoa(web)))
	return b
}

// AskBMCs asks some at once, in their order.
func AskBMCs(ctx context.Context, addresses []string) []guard.BMC {
	list := make([]guard.BMC, len(addresses))
	places := make(chan bool, bmcsAtOnce)
	var wait sync.WaitGroup
	for i, a := range addresses {
		places <- true
		wait.Go(func() { // ends within the tries' time: askBMC is bounded
			defer func() { <-places }()
			list[i] = AskBMC(ctx, a)
		})
	}
	wait.Wait()
	return list
}

// Heard takes in what BMCs have said.
func (f *Facts) Heard(list []guard.BMC) { f.bmcs = list }

// BMCs implements guard.Host.
func (f *Facts) BMCs() []guard.BMC {
	if s, ok := f.src.(interface{ BMCs() []guard.BMC }); ok {
		return s.BMCs()
	}
	return f.bmcs
}

var (
	errSilent  = errors.New("it does not answer by IPMI")
	rmcpHeader = []byte{0x06, 0x00, 0xff, 0x07} // RMCP, no acknowledgement, class IPMI: IPMI 2.0, table 13-8
)

// exchange sends a packet until one comes that is an answer to it.
func exchange(ctx context.Context, conn net.Conn, packet []byte, answer func([]byte) bool) error {
	buffer := make([]byte, maxBMCPacket)
	for range bmcTries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := conn.Write(packet); err != nil {
			return err
		}
		until := time.Now().Add(bmcPatience)
		for {
			if err := conn.SetReadDeadline(until); err != nil {
				return err
			}
			n, err := conn.Read(buffer)
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				break
			}
			if err != nil {
				return fmt.Errorf("%w: %w", errSilent, err) // nothing listens there
			}
			if answer(buffer[:n]) {
				return nil
			}
		}
	}
	return errSilent
}

// authentication is the command Get Channel Authentication Capabilities, outside of any session: IPMI 2.0, sections 13.6 and 22.13.
func authentication(ctx context.Context, conn net.Conn) (a guard.BMCAuth, err error) {
	const bmcAddress, ours, netFn, sequence, command, thisChannel, administrator = 0x20, 0x81, 0x06 << 2, 1 << 2, 0x38, 0x8e, 4
	head, body := []byte{bmcAddress, netFn}, []byte{ours, sequence, command, thisChannel, administrator}
	message := append(append(append(head, checksum(head)), body...), checksum(body))
	packet := append(append(bytes.Clone(rmcpHeader), 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(message))), message...) // no authentication, session 0
	var code byte
	err = exchange(ctx, conn, packet, func(p []byte) bool {
		got, of, ok := parseAuthentication(p)
		a, code = got, of
		return ok
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("it refuses to say how it authenticates: completion code %#02x", code)
	}
	return a, err
}

// checksum is that of IPMI's messages: all bytes and it add up to 0.
func checksum(b []byte) (sum byte) {
	for _, c := range b {
		sum -= c
	}
	return sum
}

// parseAuthentication reads the answer. Source: IPMI 2.0, tables 13-8 and 22-15; ipmitool's include/ipmitool/ipmi_channel.h.
func parseAuthentication(p []byte) (a guard.BMCAuth, code byte, ok bool) {
	const start = 4 + 10 // RMCP, and the session's header without authentication
	if len(p) < start+8 || !bytes.Equal(p[:4], rmcpHeader) || p[4] != 0 || int(p[13]) > len(p)-start {
		return a, 0, false
	}
	m := p[start : start+int(p[13])]
	if len(m) < 8 || m[1]>>2 != 0x07 || m[5] != 0x38 || checksum(m[:3]) != 0 || checksum(m[3:]) != 0 {
		return a, 0, false
	}
	if code = m[6]; code != 0 {
		return a, code, true
	}
	data := m[7 : len(m)-1]
	if len(data) < 4 {
		return a, 0, false
	}
	kinds, status, extended := data[1], data[2], data[3]
	for bit, name := range []string{"none", "MD2", "MD5", "", "password", "OEM"} {
		if name != "" && kinds>>bit&1 != 0 {
			a.Kinds = append(a.Kinds, name)
		}
	}
	a.Anonymous, a.Nameless, a.KG = status&0x01 != 0, status&0x02 != 0, status&0x20 != 0
	a.V15 = true // without the extended data it is the only kind of session
	if kinds&0x80 != 0 {
		a.V15, a.V20 = extended&0x01 != 0, extended&0x02 != 0
	}
	return a, 0, true
}

// suiteZero asks for a session with no authentication, no integrity and no encryption, which is cipher suite 0: IPMI 2.0, section 13.17,
// tables 13-9 and 22-20. It is not gone on with.
func suiteZero(ctx context.Context, conn net.Conn) (agreed bool, err error) {
	random := make([]byte, 5)
	_, _ = rand.Read(random)
	tag, own := random[0], binary.LittleEndian.Uint32(random[1:])|1 // 0 means no session
	payload := append([]byte{tag, 0, 0, 0}, binary.LittleEndian.AppendUint32(nil, own)...)
	payload = append(payload, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0, 0, 8, 0, 0, 0, 0, 2, 0, 0, 8, 0, 0, 0, 0)
	packet := append(bytes.Clone(rmcpHeader), 0x06, 0x10, 0, 0, 0, 0, 0, 0, 0, 0)
	packet = append(binary.LittleEndian.AppendUint16(packet, uint16(len(payload))), payload...)
	err = exchange(ctx, conn, packet, func(p []byte) bool {
		got, ok := parseOpen(p, tag, own)
		agreed = got
		return ok
	})
	return agreed, err
}

// parseOpen reads the answer: agreed is that a session of the asked kind was given. Source: IPMI 2.0, section 13.18, table 13-10.
func parseOpen(p []byte, tag byte, own uint32) (agreed, ok bool) {
	if len(p) < 16+2 || !bytes.Equal(p[:4], rmcpHeader) || p[4] != 0x06 || p[5] != 0x11 {
		return false, false
	}
	body := p[16:]
	if n := int(binary.LittleEndian.Uint16(p[14:])); n > len(body) || n < 2 || body[0] != tag {
		return false, false
	} else if body = body[:n]; body[1] != 0 {
		return false, true // a refusal, in which some leave the session out
	}
	if len(body) < 36 || binary.LittleEndian.Uint32(body[4:]) != own {
		return false, false
	}
	return body[16]&0x3f == 0 && body[24]&0x3f == 0 && body[32]&0x3f == 0, true
}

// webCertificate is that of a BMC's pages. It is looked at, not trusted: nothing is sent after it.
func webCertificate(ctx context.Context, address string) (c guard.Certificate, err error) {
	ctx, cancel := context.WithTimeout(ctx, bmcTries*bmcPatience)
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}} //nolint:gosec // what it shows is what is asked
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return c, fmt.Errorf("its pages do not answer by TLS at %s: %w", address, err)
	}
	defer func() { _ = conn.Close() }()
	return describeCertificate(conn.(*tls.Conn).ConnectionState().PeerCertificates[0]), nil
}
