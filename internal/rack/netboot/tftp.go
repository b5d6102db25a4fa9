package netboot

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/metalward/metalward/internal/rack/throttle"
	"github.com/metalward/metalward/internal/wire"
)

// Limits of TFTP.
const (
	maxRequest = 512 // bytes of a request, RFC 2347
	// maxBlock keeps a block in one Ethernet frame of 1500 bytes: fragments are lost too easily by firmware.
	minBlock, defaultBlock, maxBlock = 8, 512, 1468
	maxWindow                        = 64 // blocks in flight, RFC 7440; about 90 KiB
	// A window is sent again after resendAfter without progress, and given up after maxResends in a row.
	resendAfter = time.Second
	maxResends  = 5
	// maxTransfer ends a transfer however slow: a client that acknowledges one block a second is not booting.
	maxTransfer = 5 * time.Minute
	// Transfers at the same time, in all and for one client. Firmware makes one at a time, and leaves the
	// occasional dead one behind.
	maxTransfers, maxClientTransfers = 256, 4
	// requestEvery and requestBurst bound a client's requests: shim asks for a handful of absent files at once.
	requestEvery, requestBurst, maxClients = 200 * time.Millisecond, 20, 8192
	// So many different names that are not there, asked for by one client within ten minutes, are guesses: loaders try some dozen.
	maxAbsent, absentWithin, absentRest, absentClients = 50, 10 * time.Minute, time.Hour, 1024
)

// Opcodes and error codes. Source: RFC 1350, RFC 2347.
const (
	opRead, opData, opAck, opError, opOptions  = 1, 3, 4, 5, 6
	codeNotFound, codeIllegal, codeBadOptions  = 1, 4, 8
	textNotFound, textIllegal, textOnlyReading = "file not found", "only octet mode", "read only"
)

// TFTP serves the network boot programs by TFTP, read only, with the options blksize, tsize (RFC 2348, 2349),
// timeout and windowsize (RFC 7440). Safe for concurrent use.
//
// It is written here because the TFTP module at hand has no windowsize, which decides the speed over a real
// network, and starts a goroutine and a socket for each request before anybody can refuse it.
type TFTP struct {
	files *Files
	log   *slog.Logger
	tell  func(wire.SecurityRequest)
	guess *throttle.Crowd[netip.Addr, string]
	limit *throttle.Limiter[netip.Addr]

	mu     sync.Mutex // guards active and total
	active map[netip.Addr]int
	total  int
	wg     sync.WaitGroup
}

// NewTFTP makes a server of the boot programs in files. Security, which may be nil, is told of what an attack would look like: kind "tftp_scraping". It must
// return soon.
func NewTFTP(files *Files, log *slog.Logger, security func(wire.SecurityRequest)) *TFTP {
	if security == nil {
		security = func(wire.SecurityRequest) {}
	}
	return &TFTP{
		tell: security, guess: throttle.NewCrowd[netip.Addr, string](maxAbsent, absentWithin, absentRest, absentClients),
		files: files, log: log, active: map[netip.Addr]int{},
		limit: throttle.New[netip.Addr](requestEvery, requestBurst, maxClients),
	}
}

// Serve answers requests that come in on an IPv4 socket, usually port 69, until ctx ends; it closes the socket
// and waits for the transfers to end.
func (s *TFTP) Serve(ctx context.Context, conn *net.UDPConn) error {
	defer s.wg.Wait()
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	pc := ipv4.NewPacketConn(conn)
	// The answer must come from the address that was asked, also on a wildcard socket.
	if err := pc.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return err
	}
	buf := make([]byte, maxRequest+1)
	for {
		n, cm, from, err := pc.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		peer, ok := from.(*net.UDPAddr)
		if !ok || n > maxRequest {
			continue
		}
		addr := peer.AddrPort()
		client := addr.Addr().Unmap()
		if !s.limit.Allow(client, time.Now()) {
			continue
		}
		req, perr := parseRequest(buf[:n])
		if perr != nil {
			if perr.code != 0 {
				_, _ = conn.WriteToUDPAddrPort(perr.packet(), addr)
			}
			continue
		}
		if !s.enter(client) {
			continue // it asks again in a second
		}
		local := net.UDPAddr{}
		if cm != nil && cm.Dst != nil && !cm.Dst.IsMulticast() && !cm.Dst.Equal(net.IPv4bcast) {
			local.IP = cm.Dst
		}
		s.wg.Go(func() {
			defer s.leave(client)
			s.transfer(ctx, local, peer, req)
		})
	}
}

func (s *TFTP) enter(client netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxTransfers || s.active[client] >= maxClientTransfers {
		return false
	}
	s.total++
	s.active[client]++
	return true
}

func (s *TFTP) leave(client netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.active[client]--; s.active[client] == 0 {
		delete(s.active, client)
	}
}

// tftpError is a refusal; code 0 means silence.
type tftpError struct {
	code byte
	text string
}

func (e *tftpError) packet() []byte {
	return append(append([]byte{0, opError, 0, e.code}, e.text...), 0)
}

// readRequest is a parsed request to read. Options that were not asked for have their zero value.
type readRequest struct {
	name           string
	block, window  int
	timeout        int
	size           bool
	acknowledgment []string // names of the options to acknowledge, in the client's order
}

// parseRequest reads a request. Options with values out of range are left out, as RFC 2347 allows.
func parseRequest(b []byte) (readRequest, *tftpError) {
	if len(b) < 4 || b[0] != 0 || b[len(b)-1] != 0 {
		return readRequest{}, &tftpError{}
	}
	if b[1] != opRead {
		if b[1] == 2 {
			return readRequest{}, &tftpError{codeIllegal, textOnlyReading}
		}
		return readRequest{}, &tftpError{}
	}
	f := strings.Split(string(b[2:len(b)-1]), "\x00")
	if len(f) < 2 || !strings.EqualFold(f[1], "octet") {
		return readRequest{}, &tftpError{codeIllegal, textIllegal}
	}
	r := readRequest{name: cleanName(f[0]), block: defaultBlock, window: 1}
	for f = f[2:]; len(f) >= 2; f = f[2:] {
		name := strings.ToLower(f[0])
		n, err := strconv.Atoi(f[1])
		if err != nil || n < 0 {
			continue
		}
		switch {
		case name == "blksize" && n >= minBlock:
			r.block = min(n, maxBlock)
		case name == "windowsize" && n >= 1:
			r.window = min(n, maxWindow)
		case name == "tsize":
			r.size = true
		case name == "timeout" && n >= 1 && n <= 255:
			r.timeout = n
		default:
			continue
		}
		r.acknowledgment = append(r.acknowledgment, name)
	}
	return r, nil
}

// options is the acknowledgment of the client's options; nil if it had none.
func (r *readRequest) options(size int) []byte {
	if len(r.acknowledgment) == 0 {
		return nil
	}
	b := []byte{0, opOptions}
	for _, name := range r.acknowledgment {
		value := map[string]int{"blksize": r.block, "windowsize": r.window, "tsize": size, "timeout": r.timeout}[name]
		b = append(append(b, name...), 0)
		b = append(strconv.AppendInt(b, int64(value), 10), 0)
	}
	return b
}

// transfer sends one file from a socket of its own.
func (s *TFTP) transfer(ctx context.Context, local net.UDPAddr, peer *net.UDPAddr, r readRequest) {
	conn, err := net.DialUDP("udp4", &local, peer) // connected: packets of others do not reach it
	if err != nil {
		s.log.WarnContext(ctx, "cannot answer tftp", "client", peer.IP.String(), "error", err)
		return
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, maxTransfer)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var data []byte
	if err = fs.ErrNotExist; tftpFiles[r.name] {
		data, err = s.files.read(r.name)
	}
	if err != nil {
		if tftpFiles[r.name] {
			s.log.WarnContext(ctx, "cannot read a boot file", "file", r.name, "error", err)
		}
		_, _ = conn.Write((&tftpError{codeNotFound, textNotFound}).packet())
		if from := peer.AddrPort().Addr().Unmap(); !tftpFiles[r.name] && s.guess.Note(from, r.name, time.Now()) {
			s.tell(wire.SecurityRequest{Kind: "tftp_scraping", Source: from, Detail: strconv.Itoa(maxAbsent) + " different files that are not there"})
		}
		return
	}
	begin := time.Now()
	if err := send(conn, data, r); err != nil {
		s.log.DebugContext(ctx, "tftp transfer ended early", "file", r.name, "client", peer.IP.String(), "error", err)
		return
	}
	s.log.InfoContext(ctx, "boot file sent by tftp", "file", r.name, "client", peer.IP.String(), "bytes", len(data), "duration", time.Since(begin))
}

// errAborted is the client's own end of a transfer: firmware opens a file only to learn its size, then aborts.
var errAborted = errors.New("ended by the client")

// send is the sender's half of RFC 1350 with windows: it sends a window of blocks, waits for the
// acknowledgment of a block in it, and goes on behind that block.
func send(conn *net.UDPConn, data []byte, r readRequest) error {
	in := make([]byte, 4+maxRequest)
	resend := resendAfter
	if r.timeout > 0 {
		resend = time.Duration(r.timeout) * time.Second
	}
	if oack := r.options(len(data)); oack != nil {
		if _, err := confirm(conn, in, resend, 0, 0, func() error { _, err := conn.Write(oack); return err }); err != nil {
			return err
		}
	}
	blocks := len(data)/r.block + 1 // the last one is short, or empty
	out := make([]byte, 4+r.block)
	for done := 0; done < blocks; {
		last := min(done+r.window, blocks)
		n, err := confirm(conn, in, resend, done, last, func() error {
			for b := done + 1; b <= last; b++ {
				from := (b - 1) * r.block
				binary.BigEndian.PutUint16(out, opData)
				binary.BigEndian.PutUint16(out[2:], uint16(b)) // rolls over to 0 after 65535
				size := copy(out[4:], data[from:])
				if _, err := conn.Write(out[:4+size]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		done = n
	}
	return nil
}

// confirm sends and waits until a block in (after, last] is acknowledged, or block 0 if there is none; it sends
// again when nothing comes. An acknowledgment of block after itself means that the window was lost; repeating
// on each such one would double the traffic for ever (RFC 1123 section 4.2.3.1), so only the clock repeats.
func confirm(conn *net.UDPConn, in []byte, resend time.Duration, after, last int, emit func() error) (int, error) {
	for range maxResends {
		if err := emit(); err != nil {
			return 0, err
		}
		_ = conn.SetReadDeadline(time.Now().Add(resend))
		for {
			n, err := conn.Read(in)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				break
			}
			if err != nil {
				return 0, err
			}
			if n < 4 || in[0] != 0 {
				continue
			}
			switch in[1] {
			case opError:
				return 0, errAborted
			case opAck:
				ahead := int(binary.BigEndian.Uint16(in[2:]) - uint16(after))
				if last == 0 && ahead == 0 {
					return 0, nil
				}
				if ahead >= 1 && after+ahead <= last {
					return after + ahead, nil
				}
			}
		}
	}
	return 0, errors.New("the client stopped answering")
}
