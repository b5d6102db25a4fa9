package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/firewall"
)

// tables lists nftables' tables on a host that has no nft.
type tables interface {
	Tables() ([]string, error)
}

// without reads the rules on a host that has no nft: nftables has none if the kernel has not loaded it, and else iptables-save has to know
// all of its tables. Sources: proc(5) for /proc/modules; kmod's modules.builtin.
func (f *Facts) without(live Live) (*firewall.Ruleset, error) {
	loaded, err := f.read("/proc/modules", maxConfig)
	release, err2 := f.Read("/proc/sys/kernel/osrelease")
	builtin, err3 := f.read("/lib/modules/"+strings.TrimSpace(string(release))+"/modules.builtin", maxConfig)
	if err == nil && err2 == nil && err3 == nil && !strings.Contains(string(loaded), "nf_tables ") && !strings.Contains(string(builtin), "/nf_tables.ko") {
		return &firewall.Ruleset{Chains: map[string]*firewall.Chain{}}, nil
	}
	asked, ok := live.(tables)
	if !ok {
		return nil, errNoNFT
	}
	names, err := asked.Tables()
	if err != nil {
		return nil, fmt.Errorf("%w, and the kernel says: %w", errNoNFT, err)
	}
	var all *firewall.Ruleset
	for _, family := range []string{"ip", "ip6"} {
		mine := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !strings.HasPrefix(n, family+" ") })
		if len(mine) == 0 {
			continue
		}
		saved, err := f.saved(live, family, "nft")
		if err != nil {
			return nil, err
		}
		for _, n := range mine {
			if len(saved.Table(n).Chains) == 0 {
				return nil, fmt.Errorf("%w: it has the table %s", errNoNFT, n)
			}
		}
		all = firewall.Join(all, saved)
	}
	if i := slices.IndexFunc(names, func(n string) bool { return !strings.HasPrefix(n, "ip ") && !strings.HasPrefix(n, "ip6 ") }); i >= 0 {
		return nil, fmt.Errorf("%w: it has the table %s", errNoNFT, names[i])
	}
	return firewall.Join(all), nil
}

var errNoNFT = errors.New("the rules of nftables are not known: nft is not installed")

// Numbers of the kernel. Sources: linux/netfilter/nfnetlink.h, nf_tables.h; linux/netfilter.h for the families.
const (
	subsystem   = 10 // NFNL_SUBSYS_NFTABLES
	getTable    = 1  // NFT_MSG_GETTABLE
	tableName   = 1  // NFTA_TABLE_NAME
	header      = 4  // bytes of struct nfgenmsg: family, version, resource
	maxTables   = 10_000
	tableBuffer = 1 << 16
)

var tableFamilies = map[byte]string{1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}

// Tables asks the kernel for the names of nftables' tables, such as "inet filter". It needs root's rights over the network.
func (d *disk) Tables() (names []string, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	ask := make([]byte, unix.SizeofNlMsghdr+header)
	binary.NativeEndian.PutUint32(ask, uint32(len(ask)))
	binary.NativeEndian.PutUint16(ask[4:], subsystem<<8|getTable)
	binary.NativeEndian.PutUint16(ask[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err := errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}), unix.Sendto(fd, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})); err != nil {
		return nil, err
	}
	b := make([]byte, tableBuffer)
	for len(names) < maxTables {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			return nil, err
		}
		more, done, err := parseTables(b[:n])
		if names = append(names, more...); done || err != nil {
			return names, err
		}
	}
	return nil, fmt.Errorf("there are more than %d tables", maxTables)
}

// parseTables reads a part of the kernel's answer. done means that there is no more.
func parseTables(b []byte) (names []string, done bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return nil, false, err
	}
	for _, m := range messages {
		switch {
		case m.Header.Type == unix.NLMSG_DONE:
			return names, true, nil
		case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
			return nil, true, unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
		case len(m.Data) < header:
			return nil, true, errors.New("an answer is too short")
		}
		for rest := m.Data[header:]; len(rest) >= unix.SizeofNlAttr; {
			size := int(binary.NativeEndian.Uint16(rest))
			if size < unix.SizeofNlAttr || size > len(rest) {
				return nil, true, errors.New("an answer is cut short")
			}
			if binary.NativeEndian.Uint16(rest[2:]) == tableName {
				names = append(names, tableFamilies[m.Data[0]]+" "+strings.TrimRight(string(rest[unix.SizeofNlAttr:size]), "\x00"))
			}
			rest = rest[min((size+3)&^3, len(rest)):]
		}
	}
	return names, false, nil
}
