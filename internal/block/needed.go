package block

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Need is an address or network that is never blocked, and why.
type Need struct {
	Prefix netip.Prefix `json:"prefix"`
	What   string       `json:"what"` // in words for people, such as "a gateway"
}

// Spare tells quickly whom needs spare, of many.
type Spare struct {
	hosts map[netip.Prefix]string // by what would be blocked of an address
	nets  []Need
}

// NewSpare makes one of needs.
func NewSpare(needs []Need) *Spare {
	s := &Spare{hosts: map[netip.Prefix]string{}}
	for _, n := range needs {
		n.Prefix = Unmap(n.Prefix)
		whom, ok := Whom(n.Prefix.Addr())
		switch {
		case !n.Prefix.IsValid():
		case ok && n.Prefix.Bits() >= whom.Bits():
			s.hosts[whom] = fmt.Sprintf("%s is %s", n.Prefix.Addr(), n.What)
		default:
			s.nets = append(s.nets, n)
		}
	}
	return s
}

// Why says in words for people why an address or network is spared; it is empty when it is not.
func (s *Spare) Why(whom netip.Prefix) string {
	if why := s.hosts[whom]; why != "" {
		return why
	}
	for _, n := range s.nets {
		if n.Prefix.Overlaps(whom) {
			return fmt.Sprintf("%s is %s", n.Prefix, n.What)
		}
	}
	return ""
}

const gateway, nameServer, login = "a gateway", "a name server", "from where somebody is logged in"

// needFiles are what tells of addresses that a host needs, by patterns. Where systemd-resolved is in use, resolv.conf names it alone, and its own file the servers that
// it asks: systemd-resolved.service(8). Newer systems keep no utmp, and logind has a file of each session: sd_session_get_remote_host(3).
var needFiles = []struct {
	path, what string
	read       func(io.Reader) []netip.Addr
}{{"/proc/net/route", gateway, routes}, {"/proc/net/ipv6_route", gateway, routes6}, {"/etc/resolv.conf", nameServer, resolvers}, {"/run/systemd/resolve/resolv.conf", nameServer, resolvers},
	{"/run/utmp", login, sessions}, {"/run/systemd/sessions/*", login, session}}

// Needs are the addresses that this host needs at the moment: its own, its gateways, its name servers, and those from which somebody is logged in. What
// cannot be read adds nothing.
func Needs() (all []Need) {
	add := func(what string, addrs ...netip.Addr) {
		for _, p := range Prefixes(addrs) {
			all = append(all, Need{p, what})
		}
	}
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				add("its own", p.Addr())
			}
		}
	}
	all = append(all, needsIn("/")...)
	if from, _, ok := strings.Cut(os.Getenv("SSH_CONNECTION"), " "); ok { // of who runs this
		if a, err := netip.ParseAddr(from); err == nil {
			add(login, a)
		}
	}
	return all
}

// needsIn reads needFiles below a folder.
func needsIn(root string) (all []Need) {
	for _, x := range needFiles {
		paths, _ := filepath.Glob(filepath.Join(root, x.path)) // an error is a pattern's
		for _, path := range paths {
			if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() { // logind has pipes beside its files
				continue
			}
			f, err := os.Open(path)
			if err != nil {
				continue
			}
			for _, p := range Prefixes(x.read(io.LimitReader(f, 16<<20))) {
				all = append(all, Need{p, x.what})
			}
			f.Close()
		}
	}
	return all
}

// Needed are the addresses of Needs alone.
func Needed() (all []netip.Prefix) {
	for _, n := range Needs() {
		all = append(all, n.Prefix)
	}
	return all
}

// routes reads gateways of the kernel's IPv4 table: the third column, hexadecimal, the low byte first (proc_net_route(5)).
func routes(r io.Reader) (found []netip.Addr) {
	for sc := bufio.NewScanner(r); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) < 4 || len(f[2]) != 8 {
			continue
		}
		b, err := hex.DecodeString(f[2])
		if err != nil || f[2] == "00000000" {
			continue
		}
		found = append(found, netip.AddrFrom4([4]byte{b[3], b[2], b[1], b[0]}))
	}
	return found
}

// routes6 reads gateways of the IPv6 table: the fifth column, 32 hexadecimal digits.
func routes6(r io.Reader) (found []netip.Addr) {
	for sc := bufio.NewScanner(r); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) < 5 || len(f[4]) != 32 {
			continue
		}
		b, err := hex.DecodeString(f[4])
		if err != nil {
			continue
		}
		if a := netip.AddrFrom16([16]byte(b)); !a.IsUnspecified() {
			found = append(found, a)
		}
	}
	return found
}

// resolvers reads resolv.conf(5).
func resolvers(r io.Reader) (found []netip.Addr) {
	for sc := bufio.NewScanner(r); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) >= 2 && f[0] == "nameserver" {
			if a, err := netip.ParseAddr(f[1]); err == nil {
				found = append(found, a)
			}
		}
	}
	return found
}

// Records of utmp(5) on Linux: 384 bytes on 64-bit and 32-bit systems with glibc; the kind is at 0, the address at 348.
const (
	utmpSize    = 384
	utmpAddress = 348
	userProcess = 7
)

// sessions reads from where people are logged in.
func sessions(r io.Reader) (found []netip.Addr) {
	var rec [utmpSize]byte
	for {
		if _, err := io.ReadFull(r, rec[:]); err != nil {
			return found
		}
		if binary.LittleEndian.Uint16(rec[:]) != userProcess {
			continue
		}
		b := [16]byte(rec[utmpAddress : utmpAddress+16])
		a := netip.AddrFrom16(b)
		if [12]byte(b[4:]) == [12]byte{} { // IPv4 has the first four bytes alone
			a = netip.AddrFrom4([4]byte(b[:4]))
		}
		if !a.IsUnspecified() {
			found = append(found, a.Unmap())
		}
	}
}

// session reads logind's file of a session.
func session(r io.Reader) (found []netip.Addr) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "REMOTE_HOST="); ok {
			if a, err := netip.ParseAddr(text); err == nil {
				found = append(found, a)
			}
		}
	}
	return found
}
