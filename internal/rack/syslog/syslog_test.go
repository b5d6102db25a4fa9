package syslog

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/logs"
)

// server is a Server that listens everywhere on the loopback.
type server struct {
	*Server
	udp, tcp, tls string
	roots         *x509.CertPool
	stop          context.CancelFunc
	mu            sync.Mutex
	lines         []logs.Sent // guarded by mu
}

func serve(t *testing.T, allowed func(netip.Addr) bool) *server {
	t.Helper()
	s := &server{}
	s.Server = New(Config{Log: slog.New(slog.DiscardHandler), Allowed: allowed, Now: time.Now, Take: func(l logs.Sent) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lines = append(s.lines, l)
		return true
	}})
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s.roots = x509.NewCertPool()
	s.roots.AddCert(leaf)
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	var wg sync.WaitGroup
	listen := func(profile *tls.Config) string {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _ = s.Serve(ctx, l, profile) })
		return l.Addr().String()
	}
	s.udp, s.tcp, s.tls = conn.LocalAddr().String(), listen(nil), listen(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	wg.Go(func() { _ = s.ServeUDP(ctx, conn) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s
}

func everybody(netip.Addr) bool { return true }

// until waits for lines that say something.
func (s *server) until(t *testing.T, want string) logs.Sent {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		for _, l := range s.lines {
			if strings.Contains(l.Text, want) {
				s.mu.Unlock()
				return l
			}
		}
		s.mu.Unlock()
	}
	t.Fatalf("timed out waiting for %q", want)
	return logs.Sent{}
}

// What Debian's logger sends is read, in each form it knows, and is its message.
func TestLogger(t *testing.T) {
	program, err := exec.LookPath("logger")
	if err != nil {
		t.Skip("no logger (Debian package bsdutils): TestShare and TestFrames have lines of the same forms")
	}
	s := serve(t, everybody)
	for i, args := range [][]string{
		{"--udp", "--rfc5424"}, {"--udp", "--rfc3164"}, {"--tcp", "--rfc5424"}, {"--tcp", "--rfc3164"}, {"--tcp", "--rfc5424", "--octet-count"}, {"--tcp", "--rfc3164", "--octet-count"},
	} {
		at := s.tcp
		if args[0] == "--udp" {
			at = s.udp
		}
		host, port, err := net.SplitHostPort(at)
		if err != nil {
			t.Fatal(err)
		}
		message := fmt.Sprintf("Failed password for root from 198.51.100.%d port 4 ssh2", i+1)
		out, err := exec.CommandContext(t.Context(), program, append(args, "--server", host, "--port", port, "--tag", "sshd", "--priority", "auth.info", "--id=4711", "--", message)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		line := s.until(t, message)
		var r logs.Record
		p := logs.NewParser(time.UTC, time.Now().Year())
		p.Sent = line
		p.Parse(line.Text, &r)
		if r.Kind != logs.SSH || r.Source != netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}) || r.Host != "127.0.0.1" || r.PID != 4711 || r.Time != line.At.UnixMicro() || line.From.String() != "127.0.0.1" {
			t.Errorf("%v: got %q, read as %+v", args, line.Text, r)
		}
	}
}

// What rsyslog forwards is read, whole and in its order, by each of its forms.
func TestRsyslog(t *testing.T) {
	program, err := exec.LookPath("rsyslogd")
	if err != nil {
		t.Skip("no rsyslogd (Debian package rsyslog): TestLogger has another sender")
	}
	for name, form := range map[string]string{
		"TCP, counted":    `protocol="tcp" TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format"`,
		"TCP, line feeds": `protocol="tcp" TCP_Framing="traditional" template="RSYSLOG_ForwardFormat"`,
		"UDP":             `protocol="udp" template="RSYSLOG_TraditionalForwardFormat"`,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, everybody)
			at := s.tcp
			if name == "UDP" {
				at = s.udp
			}
			host, port, err := net.SplitHostPort(at)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			socket, config := filepath.Join(dir, "log"), filepath.Join(dir, "conf")
			if err := os.WriteFile(config, fmt.Appendf(nil, "module(load=\"imuxsock\" SysSock.Use=\"off\")\ninput(type=\"imuxsock\" Socket=%q)\naction(type=\"omfwd\" target=%q port=%q %s)\n", socket, host, port, form), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), program, "-n", "-i", filepath.Join(dir, "pid"), "-f", config)
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Signal(syscall.SIGTERM) // it heeds no other
				_ = cmd.Wait()
				if t.Failed() {
					t.Log(out.String())
				}
			}()
			var conn net.Conn
			for deadline := time.Now().Add(time.Minute); conn == nil; time.Sleep(20 * time.Millisecond) {
				if conn, err = net.Dial("unixgram", socket); err != nil && time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
			const lines = 200
			for i := range lines {
				if _, err := fmt.Fprintf(conn, "<38>Nov  7 06:00:00 sshd[%d]: Failed password for root from 198.51.100.7 port %d ssh2", 1000+i, i+1); err != nil {
					t.Fatal(err)
				}
			}
			s.until(t, fmt.Sprintf(" port %d ssh2", lines))
			s.mu.Lock()
			defer s.mu.Unlock()
			p, next := logs.NewParser(time.UTC, time.Now().Year()), 1
			for _, line := range s.lines {
				var r logs.Record
				p.Sent = line
				if p.Parse(line.Text, &r); r.Kind != logs.SSH { // rsyslog's own words
					continue
				}
				if int(r.Sport) != next && name != "UDP" || r.Source.String() != "198.51.100.7" {
					t.Fatalf("got %q, want port %d", line.Text, next)
				}
				next++
			}
			if next <= lines && name != "UDP" {
				t.Errorf("got %d lines", next-1)
			}
		})
	}
}

// Over TLS the same; what is no TLS ends, and who may not send is not heard.
func TestTLSAndNetworks(t *testing.T) {
	s := serve(t, everybody)
	conn, err := tls.Dial("tcp", s.tls, &tls.Config{RootCAs: s.roots})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, "19 <34>1 - - - - - - s"); err != nil {
		t.Fatal(err)
	}
	s.until(t, "<34>1 - - - - - - s")
	_ = conn.Close()
	plain, err := net.Dial("tcp", s.tls)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprint(plain, "<34>plain\n")
	_ = plain.SetReadDeadline(time.Now().Add(time.Minute))
	for b := make([]byte, 512); err == nil; {
		_, err = plain.Read(b)
	}
	closed := serve(t, func(netip.Addr) bool { return false })
	for _, c := range []struct{ network, at string }{{"udp", closed.udp}, {"tcp", closed.tcp}} {
		conn, err := net.Dial(c.network, c.at)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprint(conn, "<34>stranger\n")
		if c.network == "tcp" {
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("a stranger's connection is kept")
			}
		}
	}
	for _, x := range []*server{s, closed} {
		x.mu.Lock()
		for _, l := range x.lines {
			if strings.Contains(l.Text, "plain") || strings.Contains(l.Text, "stranger") {
				t.Errorf("got %q", l.Text)
			}
		}
		x.mu.Unlock()
	}
}

// The end may come just when a handshake is done. The race detector is what sees it.
func TestEnd(t *testing.T) {
	for range 10 {
		t.Run("", func(t *testing.T) {
			s := serve(t, everybody)
			conn, err := tls.Dial("tcp", s.tls, &tls.Config{RootCAs: s.roots})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() }) // before the server ends
			s.stop()
		})
	}
}

// A source that sends more than its share has the rest left out and counted, and another one is heard all the same.
func TestShare(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	heard := map[netip.Addr]int{}
	s := New(Config{Log: slog.New(slog.DiscardHandler), Allowed: everybody, Now: func() time.Time { return now }, Take: func(l logs.Sent) bool { heard[l.From]++; return true }})
	loud, quiet := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	for range lineBurst + 1000 {
		s.take(t.Context(), loud, "x")
	}
	s.take(t.Context(), quiet, "x")
	if heard[loud] != lineBurst || heard[quiet] != 1 || s.Lost() != 1000 {
		t.Errorf("got %v, %d lost", heard, s.Lost())
	}
	now = now.Add(100 * lineEvery)
	for range 1000 {
		s.take(t.Context(), loud, "x")
	}
	if heard[loud] != lineBurst+100 {
		t.Errorf("got %d", heard[loud]-lineBurst)
	}
}

// One address holds no more connections than its share.
func TestConnections(t *testing.T) {
	s := serve(t, everybody)
	var open []net.Conn
	for range maxPerSource + 3 {
		c, err := net.Dial("tcp", s.tcp)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	for _, c := range open[maxPerSource:] {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a connection beyond the share is kept")
		}
	}
	if _, err := fmt.Fprint(open[0], "<34>still here\n"); err != nil {
		t.Error(err)
	}
	s.until(t, "still here")
}
