package host

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/guard"
)

// maxHello is how long a port of this host may take to answer; maxAnswer is how many bytes of it are read.
const (
	maxHello  = 2 * time.Second
	maxAnswer = 16 << 10
)

// Handshake implements guard.Host. Three connections are made: one with TLS, one with TLS below 1.2, one without.
func (f *Facts) Handshake(address netip.AddrPort) (guard.Handshake, error) {
	if s, ok := f.src.(interface {
		Handshake(netip.AddrPort) (guard.Handshake, error)
	}); ok {
		return s.Handshake(address)
	}
	if live, ok := f.src.(Live); !ok || !live.Running() {
		return guard.Handshake{}, guard.ErrNotAsked
	}
	return handshake(address)
}

func handshake(address netip.AddrPort) (h guard.Handshake, err error) {
	if addr := address.Addr(); addr.IsUnspecified() { // it listens on the loopback, too
		address = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), address.Port())
	}
	// The certificate is compared with the file's: whether it is trusted is not what is asked.
	hello := func(low, high uint16) (version string, sum string, err error) {
		c, err := dial(address)
		if err != nil {
			return "", "", err
		}
		defer func() { _ = c.Close() }()
		config := &tls.Config{InsecureSkipVerify: true, MinVersion: low, MaxVersion: high}
		if high == tls.VersionTLS11 {
			for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
				config.CipherSuites = append(config.CipherSuites, s.ID)
			}
		}
		t := tls.Client(c, config)
		if err := t.Handshake(); err != nil {
			return "", "", nil
		}
		state := t.ConnectionState()
		shown := sha256.Sum256(state.PeerCertificates[0].Raw)
		return tls.VersionName(state.Version), hex.EncodeToString(shown[:]), nil
	}
	if h.Version, h.Sum, err = hello(tls.VersionTLS12, tls.VersionTLS13); err != nil {
		return h, err
	}
	if h.Old, _, err = hello(tls.VersionTLS10, tls.VersionTLS11); err != nil {
		return h, err
	}
	h.Plain, err = plain(address)
	return h, err
}

func dial(address netip.AddrPort) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", address.String(), maxHello)
	if err == nil {
		err = c.SetDeadline(time.Now().Add(maxHello))
	}
	return c, err
}

// plain reports whether a request without TLS is answered with more than a refusal or the way to https.
func plain(address netip.AddrPort) (bool, error) {
	c, err := dial(address)
	if err != nil {
		return false, err
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, "GET /MAAS/ HTTP/1.0\r\nHost: localhost\r\n\r\n"); err != nil {
		return false, nil
	}
	r, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, maxAnswer)), nil)
	if err != nil {
		return false, nil // what is no answer tells nothing
	}
	_ = r.Body.Close()
	return r.StatusCode != http.StatusBadRequest && !strings.HasPrefix(r.Header.Get("Location"), "https://"), nil
}

// Tunnels implements guard.Host.
func (f *Facts) Tunnels() (t guard.Tunnels, err error) {
	if s, ok := f.src.(interface{ Tunnels() (guard.Tunnels, error) }); ok {
		return s.Tunnels()
	}
	live, ok := f.src.(Live)
	if !ok || !live.Running() {
		return t, errCopy
	}
	found, err := f.Glob("/sys/class/net/*/uevent")
	for _, at := range found {
		text, bad := f.Read(at)
		if err == nil {
			err = bad
		}
		for line := range strings.Lines(string(text)) {
			if strings.TrimSpace(line) == "DEVTYPE=wireguard" {
				t.WireGuard = append(t.WireGuard, path.Base(path.Dir(at)))
			}
		}
	}
	t.IPsec, t.IPsecErr = policies()
	return t, err
}

// policies reports whether the kernel has any policy of IPsec. Source: the kernel's include/uapi/linux/xfrm.h; only who has
// CAP_NET_ADMIN is told.
func policies() (bool, error) {
	const getPolicy, newPolicy = 0x15, 0x13
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_XFRM)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	limit := unix.NsecToTimeval(maxHello.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return false, err
	}
	ask := unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: getPolicy, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP, Seq: 1}
	if err := unix.Sendto(fd, (*[unix.SizeofNlMsghdr]byte)(unsafe.Pointer(&ask))[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, err
	}
	b := make([]byte, maxACL)
	n, _, err := unix.Recvfrom(fd, b, 0)
	if err != nil {
		return false, err
	}
	if n < unix.SizeofNlMsghdr+4 {
		return false, errors.New("the kernel's answer is too short")
	}
	switch head := (*unix.NlMsghdr)(unsafe.Pointer(&b[0])); head.Type {
	case newPolicy:
		return true, nil
	case unix.NLMSG_ERROR:
		return false, unix.Errno(-*(*int32)(unsafe.Pointer(&b[unix.SizeofNlMsghdr])))
	}
	return false, nil
}
