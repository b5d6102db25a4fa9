package host

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// Limits of the walk through processes: more is left unknown.
const (
	maxSockets = 64 << 20 // bytes of a list in /proc/net: 400,000 connections
	maxHeld    = 2_000_000
)

// proc is where the lists are of the network namespace that asks.
const proc = "/proc/thread-self/net/"

// socket is a line of /proc/net.
type socket struct {
	addr  netip.AddrPort
	uid   uint32
	inode uint64
}

// States of a socket that takes what is sent to it. Source: the kernel's include/net/tcp_states.h: TCP_LISTEN; of UDP TCP_CLOSE, which
// one that is connected to nobody has.
var listening = map[string]string{"tcp": "0A", "udp": "07"}

// parseSockets reads those lines of /proc/net/tcp, udp and their like of IPv6 that listen. Lines that are none are left out. Source: the
// kernel's Documentation/networking/proc_net_tcp.rst.
func parseSockets(text, protocol string) (list []socket) {
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) < 10 || w[3] != listening[protocol] {
			continue
		}
		addr, ok := socketAddress(w[1])
		uid, err1 := strconv.ParseUint(w[7], 10, 32)
		inode, err2 := strconv.ParseUint(w[9], 10, 64)
		if ok && err1 == nil && err2 == nil {
			list = append(list, socket{addr, uint32(uid), inode})
		}
	}
	return list
}

// socketAddress reads an address as words of 32 bits in the host's order of bytes, and a port: "0100007F:1538".
func socketAddress(s string) (a netip.AddrPort, ok bool) {
	addr, port, _ := strings.Cut(s, ":")
	raw, err1 := hex.DecodeString(addr)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if err1 != nil || err2 != nil || len(raw) != 4 && len(raw) != 16 {
		return a, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), true
}

// listeners lists what listens, with whose it is as far as it may be seen: the open files of another user's process are root's to see.
func (f *Facts) listeners() ([]guard.Listener, error) {
	var list []guard.Listener
	wanted := map[uint64][]int{}
	for _, file := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := f.read(proc+file, maxSockets)
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(file, "6") {
			continue // a host without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("what listens is not known: %w", err)
		}
		protocol := file[:3]
		for _, s := range parseSockets(string(text), protocol) {
			wanted[s.inode] = append(wanted[s.inode], len(list))
			list = append(list, guard.Listener{Protocol: protocol, Address: s.addr, UID: s.uid})
		}
	}
	delete(wanted, 0) // a socket that no file is of any more
	f.holders(wanted, list)
	accounts, _ := f.Accounts() // without them, users have numbers
	for i := range list {
		if u := slices.IndexFunc(accounts.Users, func(u guard.User) bool { return u.UID == list[i].UID }); u >= 0 {
			list[i].User = accounts.Users[u].Name
		}
	}
	return list, nil
}

// holders looks for the processes that hold sockets, once, the oldest first.
func (f *Facts) holders(wanted map[uint64][]int, list []guard.Listener) {
	names, _ := f.src.List("/proc")
	var pids []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	seen := 0
	for _, pid := range pids {
		if len(wanted) == 0 || seen > maxHeld {
			return
		}
		dir := path.Join("/proc", strconv.Itoa(pid))
		files, _ := f.src.List(dir + "/fd") // a process that has ended, or is another's
		seen += len(files)
		var holds []int
		for _, fd := range files {
			target, _ := f.src.Readlink(dir + "/fd/" + fd)
			rest, _ := strings.CutPrefix(target, "socket:[")
			if inode, err := strconv.ParseUint(strings.TrimSuffix(rest, "]"), 10, 64); err == nil {
				holds = append(holds, wanted[inode]...)
				delete(wanted, inode)
			}
		}
		if len(holds) == 0 {
			continue
		}
		name, unit := f.process(dir)
		for _, i := range holds {
			list[i].PID, list[i].Process, list[i].Unit = pid, name, unit
		}
	}
}

// process is a process's name and unit.
func (f *Facts) process(dir string) (name, unit string) {
	comm, _ := f.src.Read(dir+"/comm", 4096)
	cgroup, _ := f.src.Read(dir+"/cgroup", 64<<10)
	return strings.TrimSuffix(string(comm), "\n"), parseUnit(string(cgroup))
}

// parseUnit is the innermost service or scope in /proc/PID/cgroup. Source: cgroups(7); systemd.unit(5) for the names.
func parseUnit(text string) string {
	for line := range strings.Lines(text) {
		w := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(w) != 3 || w[1] != "" && w[1] != "name=systemd" {
			continue
		}
		for _, part := range slices.Backward(strings.Split(w[2], "/")) {
			if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
				return part
			}
		}
	}
	return ""
}
