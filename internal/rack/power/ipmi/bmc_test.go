package ipmi

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/power/powertest"
)

// testAccount is a user of a testBMC.
type testAccount struct {
	name, password string
	enabled        bool
	privilege      byte // the highest; 0x0f is none
}

// testBMC is a BMC with one session at a time, for what other simulators do not keep: all bits of the boot
// flags, K_g and the refusal of cipher suites. It shares the driver's sealing, so that the two agree proves
// little about the format; the suite run against OpenIPMI's ipmi_sim does that.
type testBMC struct {
	conn      net.PacketConn
	suites    []suite
	kg        []byte
	privilege byte // the user's highest
	// What it does wrong: cuts passwords to 16 bytes and says nothing, refuses longer ones, keeps another password than it
	// was given, and users that it does not shut out.
	truncates, refuses20, forgets, stubborn bool

	mu    sync.Mutex    // guards all below
	users []testAccount // by slot, from 1
	level byte          // of the session
	// left is how many commands on accounts it carries out before it dies; negative for any number.
	left  int
	on    bool
	flags []byte // boot flags parameter
	s     *session
	rakp  struct{ console, bmc, user []byte }
}

const (
	testUser     = "admin"
	testPassword = "correct horse"
)

func startBMC(t *testing.T, b *testBMC) *testBMC {
	t.Helper()
	if b.users == nil { // the first is the one without a name
		b.users = append([]testAccount{{}, {testUser, testPassword, true, b.privilege}}, make([]testAccount, 3)...)
	}
	b.left = -1
	var err error
	if b.conn, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = b.conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, maxDatagram)
		for {
			n, peer, err := b.conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n > 16 {
				if res := b.answer(buf[:n]); res != nil {
					_, _ = b.conn.WriteTo(res, peer)
				}
			}
		}
	}()
	return b
}

func (b *testBMC) answer(p []byte) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p[5] == payloadIPMI|encrypted|authenticated && b.s != nil {
		return b.command(p)
	}
	body := p[16:]
	res := append([]byte{}, body[0], 0, 0, 0)
	reply := func(kind byte) []byte {
		packet := append(append([]byte{}, rmcpHeader...), 6, kind, 0, 0, 0, 0, 0, 0, 0, 0)
		return append(binary.LittleEndian.AppendUint16(packet, uint16(len(res))), res...)
	}
	switch p[5] {
	case payloadOpenRequest:
		res = append(res, body[4:8]...)
		for _, su := range b.suites {
			if su.auth == body[12] && su.integrity == body[20] {
				// The session as the BMC sees it: own and peer change places.
				b.s = &session{suite: su, own: 77, peer: binary.LittleEndian.Uint32(body[4:])}
				res = binary.LittleEndian.AppendUint32(res, b.s.own)
				res = append(res, body[8:32]...)
				return reply(payloadOpenResponse)
			}
		}
		res[1] = 0x11
		return reply(payloadOpenResponse)
	case payloadRAKP1:
		res = binary.LittleEndian.AppendUint32(res, b.s.peer)
		b.rakp.console = bytes.Clone(body[8:24])
		b.rakp.user = append([]byte{body[24], body[27]}, body[28:28+int(body[27])]...)
		b.rakp.bmc = make([]byte, 16)
		_, _ = rand.Read(b.rakp.bmc)
		u := b.user()
		switch {
		case u == nil || !u.enabled || u.privilege == privilegeNone:
			res[1] = 0x0d
		case body[24]&0x0f > u.privilege:
			res[1] = 0x0a
		default:
			guid := bytes.Repeat([]byte{9}, 16)
			code := b.s.suite.mac([]byte(u.password), b.ids(), b.rakp.console, b.rakp.bmc, guid, b.rakp.user)
			res = append(append(append(res, b.rakp.bmc...), guid...), code...)
		}
		return reply(payloadRAKP2)
	case payloadRAKP3:
		res = binary.LittleEndian.AppendUint32(res, b.s.peer)
		u := b.user()
		if u == nil {
			return nil
		}
		su, key := b.s.suite, []byte(u.password)
		if !hmac.Equal(body[8:], su.mac(key, b.rakp.bmc, b.ids()[:4], b.rakp.user)) {
			res[1] = 0x0f
			return reply(payloadRAKP4)
		}
		if b.kg != nil {
			key = b.kg
		}
		sik := su.mac(key, b.rakp.console, b.rakp.bmc, b.rakp.user)
		b.s.k1, b.s.k2 = su.mac(sik, bytes.Repeat([]byte{1}, 20)), su.mac(sik, bytes.Repeat([]byte{2}, 20))
		res = append(res, su.mac(sik, b.rakp.console, b.ids()[4:], bytes.Repeat([]byte{9}, 16))[:su.icv]...)
		return reply(payloadRAKP4)
	}
	return nil
}

// user is who logs in. Needs mu.
func (b *testBMC) user() *testAccount {
	for i := range b.users {
		if len(b.rakp.user) > 2 && b.users[i].name == string(b.rakp.user[2:]) {
			return &b.users[i]
		}
	}
	return nil
}

// account carries out a command on accounts. Needs mu.
func (b *testBMC) account(cmd byte, data []byte) []byte {
	if b.left == 0 {
		return nil
	}
	b.left--
	if b.level != privilegeAdmin {
		return []byte{ccInsufficientRights}
	}
	slot := data[0] & 0x3f
	if cmd == cmdSetUserAccess || cmd == cmdGetUserAccess {
		slot = data[1] & 0x3f
	}
	if slot == 0 || int(slot) > len(b.users) {
		return []byte{0xc9}
	}
	u := &b.users[slot-1]
	switch cmd {
	case cmdGetUserAccess:
		return []byte{0, byte(len(b.users)), 2, 0, u.privilege}
	case cmdGetUserName:
		if u.name == "" {
			return []byte{0xcc}
		}
		return append([]byte{0}, pad(u.name, maxUser)...)
	case cmdSetUserName:
		u.name = strings.TrimRight(string(data[1:]), "\x00")
	case cmdSetUserAccess:
		if !b.stubborn {
			u.privilege = data[2]
		}
	case cmdSetUserPassword:
		switch data[1] {
		case passwordDisable, passwordEnable:
			if !b.stubborn || data[1] == passwordEnable {
				u.enabled = data[1] == passwordEnable
			}
		case passwordSet:
			if data[0]&longPassword != 0 && b.refuses20 {
				return []byte{0xc7}
			}
			p := strings.TrimRight(string(data[2:]), "\x00")
			if b.truncates {
				p = p[:min(len(p), 16)]
			}
			if b.forgets {
				p = "something else"
			}
			if b.stubborn && u.name == testUser {
				return []byte{0xd5}
			}
			u.password = p
		}
	}
	return []byte{0}
}

// ids are the console's and the BMC's session ids, in that order.
func (b *testBMC) ids() []byte {
	ids := binary.LittleEndian.AppendUint32(nil, b.s.peer)
	return binary.LittleEndian.AppendUint32(ids, b.s.own)
}

func (b *testBMC) command(p []byte) []byte {
	m := b.s.unseal(p)
	if len(m) < 7 {
		return nil
	}
	data, out := m[6:len(m)-1], []byte{0}
	switch netFn, cmd := m[1]>>2, m[5]; {
	case netFn == netFnApp && cmd == cmdSetPrivilege:
		if u := b.user(); u == nil || data[0] > u.privilege {
			out[0] = 0x81
		} else {
			b.level = data[0]
		}
	case netFn == netFnApp && cmd >= cmdSetUserAccess && cmd <= cmdSetUserPassword:
		if out = b.account(cmd, data); out == nil {
			return nil
		}
	case netFn == netFnApp && cmd == cmdCloseSession:
	case netFn == netFnChassis && cmd == cmdChassisStatus:
		out = append(out, 0, 0, 0)
		if b.on {
			out[1] = 1
		}
	case netFn == netFnChassis && cmd == cmdChassisControl && data[0] == controlCycle && !b.on:
		out[0] = ccNotNow
	case netFn == netFnChassis && cmd == cmdChassisControl:
		b.on = data[0] != controlOff
	case netFn == netFnChassis && cmd == cmdSetBootOptions && data[0] == bootFlags:
		b.flags = bytes.Clone(data[1:])
	default:
		out[0] = 0xc1
	}
	reply := []byte{0x81, m[1] | 4, 0, 0x20, m[4], m[5]}
	reply[2] = checksum(reply[:2])
	reply = append(reply, out...)
	return b.s.seal(append(reply, checksum(reply[3:])))
}

func (b *testBMC) parameters() metal.PowerParameters {
	return metal.PowerParameters{"power_address": b.conn.LocalAddr().String(), "power_user": testUser, "power_pass": testPassword}
}

func (b *testBMC) fixture(t *testing.T) *powertest.BMC {
	get := func(f func() bool) func() bool {
		return func() bool { b.mu.Lock(); defer b.mu.Unlock(); return f() }
	}
	return &powertest.BMC{
		Driver: New(), Good: b.parameters(), Secret: testPassword,
		WrongPassword: with(b.parameters(), "power_pass", "wrong battery"),
		Unreachable:   with(b.parameters(), "power_address", silent(t)),
		Power:         get(func() bool { return b.on }),
		SetPower:      func(on bool) { b.mu.Lock(); defer b.mu.Unlock(); b.on, b.flags = on, nil },
		Boot: func() metal.BootDevice {
			b.mu.Lock()
			defer b.mu.Unlock()
			if len(b.flags) != 5 || b.flags[0]&bootFlagsValid == 0 {
				return metal.BootKeep
			}
			return map[byte]metal.BootDevice{0x04: metal.BootNetwork, 0x08: metal.BootDisk}[b.flags[1]]
		},
		UEFI:       get(func() bool { return b.flags[0]&0x20 != 0 }),
		Persistent: get(func() bool { return b.flags[0]&0x40 != 0 }),
	}
}
