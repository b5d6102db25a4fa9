package dhcp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The lease file is a journal of text lines, the last line about an address and client being the truth:
//
//	metalward-leases 1
//	10.0.0.9 52:54:00:00:00:01 7 1795300000 b host-name 1c291ca3
//
// followed by NUL bytes up to the end: room that is laid out ahead, because a write that does not change the
// file's size needs no file system journal to be durable, which makes it two to three times as fast on ext4.
//
// A line is address, MAC, VLAN, end of the lease, state, the client's name for itself or "-", and a CRC-32 of all
// before it. A line that is cut short or changed is skipped and counted: after a crash that is among the last,
// which no client was told about. Reading ends at the first NUL: nothing acknowledged lies behind one.
const (
	fileHeader = "metalward-leases 1\n"
	maxLine    = 200
	// The journal is rewritten when it has compactRatio times as many lines as there are leases, and at least
	// compactMin: a rewrite of 10,000 leases takes some 10 ms, and then not again for minutes.
	compactRatio = 4
	compactMin   = 50_000
	// chunk is how much room is laid out at a time: some 15,000 lines.
	chunk = 1 << 20
	// maxFile bounds what is read at start: eight times what compaction lets the journal grow to.
	maxFile = 8 * maxLine * compactRatio * maxLeases
)

func appendRecord(b []byte, l *lease) []byte {
	start := len(b)
	b = l.ip.Addr().AppendTo(b)
	b = append(b, ' ')
	b = append(b, l.mac.MAC()...)
	b = append(b, ' ')
	b = strconv.AppendInt(b, l.vlan, 10)
	b = append(b, ' ')
	b = strconv.AppendInt(b, l.expires, 10)
	b = append(b, ' ', byte(l.state), ' ')
	if l.hostname == "" {
		b = append(b, '-')
	} else {
		b = append(b, l.hostname...)
	}
	sum := crc32.ChecksumIEEE(b[start:])
	b = append(b, ' ')
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, hexDigits[sum>>shift&15])
	}
	return append(b, '\n')
}

func parseRecord(line string) (l lease, ok bool) {
	cut := strings.LastIndexByte(line, ' ')
	if cut < 0 || len(line)-cut != 9 {
		return l, false
	}
	sum, err := strconv.ParseUint(line[cut+1:], 16, 32)
	if err != nil || uint32(sum) != crc32.ChecksumIEEE([]byte(line[:cut])) {
		return l, false
	}
	f := strings.Split(line[:cut], " ")
	if len(f) != 6 || len(f[4]) != 1 {
		return l, false
	}
	addr, err := netip.ParseAddr(f[0])
	if err != nil || !addr.Is4() {
		return l, false
	}
	var errMAC, errVLAN, errTime error
	l.ip = toIP4(addr)
	l.mac, errMAC = parseMACText(f[1])
	l.vlan, errVLAN = strconv.ParseInt(f[2], 10, 64)
	l.expires, errTime = strconv.ParseInt(f[3], 10, 64)
	l.state = leaseState(f[4][0])
	if f[5] != "-" {
		l.hostname = cleanHostname([]byte(f[5]))
	}
	known := l.state == bound || l.state == declined || l.state == released
	return l, l.ip != 0 && known && errors.Join(errMAC, errVLAN, errTime) == nil
}

// readLeases reads a journal into empty tables and returns how many lines it skipped.
func readLeases(r io.Reader, t *leases) (lines, skipped int, err error) {
	in := bufio.NewReaderSize(io.LimitReader(r, maxFile), 1<<16)
	head := make([]byte, len(fileHeader))
	if n, err := io.ReadFull(in, head); n == 0 && err == io.EOF {
		return 0, 0, nil
	} else if string(head) != fileHeader {
		if bytes.HasPrefix([]byte(fileHeader), head[:n]) {
			return 0, 0, nil // cut short while it was made
		}
		return 0, 0, errors.New("not a lease file of a version this program knows")
	}
	for {
		line, err := in.ReadSlice('\n')
		if i := bytes.IndexByte(line, 0); i >= 0 {
			if i > 0 {
				skipped++
			}
			return lines, skipped, nil
		}
		switch {
		case err == nil && len(line) <= maxLine:
			lines++
			if l, ok := parseRecord(string(line[:len(line)-1])); ok && len(t.byIP) < maxLeases {
				t.put(l)
			} else {
				skipped++
			}
		case err == io.EOF:
			if len(line) > 0 {
				skipped++
			}
			return lines, skipped, nil
		case err == nil || errors.Is(err, bufio.ErrBufferFull):
			skipped++
		default:
			return lines, skipped, err
		}
	}
}

// journal is the open lease file. Not safe for concurrent use.
type journal struct {
	path  string
	f     *os.File
	end   int64 // of the lines
	size  int64 // of the file
	lines int
	torn  bool // the last write failed: what it left of a line must be ended first
	buf   []byte
}

// openJournal reads the file at path, if there is one, into the tables, and rewrites it compactly.
func openJournal(path string, t *leases) (j *journal, skipped int, err error) {
	j = &journal{path: path}
	if f, err := os.Open(path); err == nil {
		_, skipped, err = readLeases(f, t)
		_ = f.Close()
		if err != nil {
			return nil, skipped, fmt.Errorf("cannot read leases from %s: %w", path, err)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("cannot read leases: %w", err)
	}
	all := make([]lease, 0, len(t.byIP))
	for _, l := range t.byIP {
		all = append(all, *l)
	}
	return j, skipped, j.rewrite(all)
}

// rewrite replaces the file with the leases given, all or nothing.
func (j *journal) rewrite(all []lease) error {
	tmp, err := os.OpenFile(j.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write leases: %w", err)
	}
	b, lines := append(j.buf[:0], fileHeader...), 0
	for i := range all {
		if all[i].state != offered {
			b = appendRecord(b, &all[i])
			lines++
		}
	}
	size := (int64(len(b))/chunk + 1) * chunk
	_, err = tmp.Write(append(b, make([]byte, size-int64(len(b)))...))
	if err = errors.Join(err, tmp.Sync()); err == nil {
		err = os.Rename(tmp.Name(), j.path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(j.path))
	}
	if err != nil {
		_ = tmp.Close()
		return fmt.Errorf("cannot write leases: %w", err)
	}
	if j.f != nil {
		_ = j.f.Close()
	}
	j.f, j.lines, j.end, j.size, j.buf = tmp, lines, int64(len(b)), size, nil // the buffer was large for once
	return nil
}

// append writes leases and returns once they are on disk.
func (j *journal) append(batch []lease) error {
	b := j.buf[:0]
	if j.torn {
		b = append(b, '\n')
	}
	for i := range batch {
		b = appendRecord(b, &batch[i])
	}
	j.buf = b
	if j.end+int64(len(b)) > j.size {
		more := max(chunk, int64(len(b)))
		if _, err := j.f.WriteAt(make([]byte, more), j.size); err != nil {
			return fmt.Errorf("cannot write leases: %w", err)
		}
		j.size += more
	}
	n, err := j.f.WriteAt(b, j.end)
	j.end += int64(n) // whatever happens: lines stay in the order they were decided in
	j.torn = true
	if err != nil {
		return fmt.Errorf("cannot write leases: %w", err)
	}
	if err := unix.Fdatasync(int(j.f.Fd())); err != nil { // flushes a changed size as well
		return fmt.Errorf("cannot write leases to disk: %w", err)
	}
	j.torn = false
	j.lines += len(batch)
	return nil
}

// grown reports whether it is time to rewrite for n leases.
func (j *journal) grown(n int) bool { return j.lines > max(compactMin, compactRatio*n) }

func (j *journal) close() error { return j.f.Close() }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
