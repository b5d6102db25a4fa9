// Package source reads logs where they lie: files, compressed or not, in whatever way they were rotated, in the order in which they were written, and
// the journal as journalctl exports it. Lines are handed on as they come, however long a file is; nothing is kept of what was read.
package source

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/metalward/metalward/internal/logs"
)

// Limits of reading.
const (
	block     = 1 << 20  // bytes read at once
	maxWindow = 64 << 20 // bytes of memory that a compressed file may ask for
	MaxFiles  = 10_000   // files of one scan
	maxField  = 1 << 20  // bytes of one field of an exported journal; the rest is skipped
)

// A File is one file of a log.
type File struct {
	Path    string
	Size    int64 // bytes on disk
	Changed time.Time
	First   int64 // time of its first line that has one, microseconds; 0 when none has
	Group   string
}

// open opens a file and undoes its compression, which its first bytes tell.
func open(path string) (io.ReadCloser, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	r, err := Decompress(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// Decompress reads through gzip, xz or zstd where the first bytes say so. Memory is bounded; an archive that asks for more is an error.
func Decompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(6)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(b)
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return xz.ReaderConfig{DictCap: maxWindow}.NewReader(b)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return b, nil
}

// Lines hands on each line of r, without its newline. The text lives as long as it is kept. Of a line longer than logs.MaxLine its beginning is handed
// on, one byte more than the limit, so that the parser says that it was cut. The last line counts without a newline too.
func Lines(r io.Reader, each func(line string) error) error {
	buf := make([]byte, 0, block)
	skipping := false // the rest of a line that was too long
	for {
		var err error
		for len(buf) < cap(buf) && err == nil { // not io.ReadFull, which has one error for a short block and for an archive that ends too early
			var n int
			n, err = r.Read(buf[len(buf):cap(buf)])
			buf = buf[:len(buf)+n]
		}
		end := bytes.LastIndexByte(buf, '\n') + 1
		if err == io.EOF {
			end = len(buf)
		} else if end == 0 && len(buf) == cap(buf) { // a line longer than a block
			end = len(buf)
		}
		text := string(buf[:end])
		whole := end > 0 && buf[end-1] == '\n'
		for text != "" {
			line, rest, found := strings.Cut(text, "\n")
			text = rest
			if skipping {
				skipping = !found
				continue
			}
			if !found && !whole && err == nil {
				skipping = true
			}
			if len(line) > logs.MaxLine {
				line = line[:logs.MaxLine+1]
			}
			if e := each(line); e != nil {
				return e
			}
		}
		buf = buf[:copy(buf[:cap(buf)], buf[end:])]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Records reads a stream's records: lines, or the journal's export format, which its first bytes tell. The record is used again for the next one.
func Records(r io.Reader, p *logs.Parser, each func(r *logs.Record, line string) error) error {
	b := bufio.NewReaderSize(r, 64<<10)
	var rec logs.Record
	if head, _ := b.Peek(9); string(head) == "__CURSOR=" {
		return export(b, p, true, func(_ string, r *logs.Record, line string) error { return each(r, line) })
	}
	return Lines(b, func(line string) error {
		p.Parse(line, &rec)
		return each(&rec, line)
	})
}

// export reads journalctl's export format: "NAME=value" lines, an empty line between entries; a value with newlines comes as its name, a newline, its
// length as eight bytes, little end first, the bytes, and a newline (systemd, Journal Export Formats). Last says whether what stands at the end without an empty line is
// an entry: of a program that was stopped it may be half of one.
func export(b *bufio.Reader, p *logs.Parser, last bool, each func(cursor string, r *logs.Record, line string) error) error {
	var rec logs.Record
	known := map[string]bool{"__CURSOR": true} // and what the parser asks for; anybody may put a thousand other fields into an entry
	logs.NewParser(nil, 0).Entry(func(name string) string { known[name] = true; return "" }, &rec)
	fields := make(map[string]string)
	flush := func() error {
		if len(fields) == 0 {
			return nil
		}
		p.Entry(func(name string) string { return fields[name] }, &rec)
		err := each(fields["__CURSOR"], &rec, fields["MESSAGE"])
		clear(fields)
		return err
	}
	for {
		line, err := bounded(b)
		if err != nil && err != io.EOF {
			return err
		}
		name, value, text := strings.Cut(line, "=")
		switch {
		case line == "":
			if e := flush(); e != nil {
				return e
			}
		case text:
		case err == nil:
			var size [8]byte
			if _, e := io.ReadFull(b, size[:]); e != nil {
				return unexpected(e)
			}
			n := binary.LittleEndian.Uint64(size[:])
			if n > 1<<40 {
				return fmt.Errorf("a field of %d bytes", n)
			}
			keep := make([]byte, min(n, logs.MaxLine+1))
			if _, e := io.ReadFull(b, keep); e != nil {
				return unexpected(e)
			}
			if _, e := io.CopyN(io.Discard, b, int64(n)-int64(len(keep))+1); e != nil {
				return unexpected(e)
			}
			value = string(keep)
		}
		if known[name] {
			if _, twice := fields[name]; !twice { // of a field that occurs twice, the first
				fields[name] = value
			}
		}
		if err == io.EOF {
			if last {
				return flush()
			}
			return nil
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// bounded reads a line of at most maxField bytes and skips what is more.
func bounded(b *bufio.Reader) (string, error) {
	var line []byte
	for {
		piece, err := b.ReadSlice('\n')
		if len(line)+len(piece) <= maxField {
			line = append(line, piece...)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		return strings.TrimSuffix(string(line), "\n"), err
	}
}

// Find lists the files of paths: files themselves, and the files in folders, not following links. Files of one log and its rotated pieces are a group;
// groups come by their first line's time, and the files of a group too, since numbers of rotated files run backwards and are not always numbers.
func Find(paths []string, zone *time.Location) ([]File, error) {
	var files []File
	seen := make(map[string]bool)
	add := func(path string, info fs.FileInfo) error {
		if !info.Mode().IsRegular() || seen[path] {
			return nil
		}
		seen[path] = true
		if len(files) == MaxFiles {
			return fmt.Errorf("more than %d files", MaxFiles)
		}
		files = append(files, File{Path: path, Size: info.Size(), Changed: info.ModTime(), Group: stem(path)})
		return nil
	}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if !info.Mode().IsRegular() {
				return nil, fmt.Errorf("%s: not a file or folder", p)
			}
			if err := add(filepath.Clean(p), info); err != nil {
				return nil, err
			}
			continue
		}
		err = filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			if err != nil && d != nil && d.IsDir() && !seen[path] && len(files) < MaxFiles {
				seen[path] = true
				files = append(files, File{Path: path, Group: path}) // a folder that may not be looked into: who opens it is told so
			}
			if err != nil || d.IsDir() || !d.Type().IsRegular() || binaryName(d.Name()) {
				return nil // what cannot be read is told when it is opened
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			return add(path, info)
		})
		if err != nil {
			return nil, err
		}
	}
	for i := range files {
		files[i].First = first(&files[i], zone)
	}
	start := make(map[string]int64)
	for _, f := range files {
		if at, ok := start[f.Group]; !ok || f.First < at {
			start[f.Group] = f.First
		}
	}
	slices.SortStableFunc(files, func(a, b File) int {
		switch {
		case start[a.Group] != start[b.Group]:
			return compare(start[a.Group], start[b.Group])
		case a.Group != b.Group:
			return strings.Compare(a.Group, b.Group)
		case a.First != b.First:
			return compare(a.First, b.First)
		}
		return strings.Compare(a.Path, b.Path)
	})
	return files, nil
}

func compare(a, b int64) int {
	if a < b {
		return -1
	}
	return 1
}

// binaryName tells files of /var/log that are no text.
func binaryName(name string) bool {
	return strings.HasSuffix(name, ".journal") || strings.HasSuffix(name, ".journal~") || name == "wtmp" || name == "btmp" || name == "lastlog" || name == "faillog"
}

// stem is a log's name without what rotation and compression put behind it: numbers, dates, .gz.
func stem(path string) string {
	for _, ext := range []string{".gz", ".xz", ".zst", ".bz2"} {
		path = strings.TrimSuffix(path, ext)
	}
	dir, name := filepath.Split(path)
	for {
		i := strings.LastIndexAny(name, ".-")
		if i <= 0 || i+1 == len(name) || strings.Trim(name[i+1:], "0123456789T") != "" {
			return dir + name
		}
		name = name[:i]
	}
}

// first is the time of a file's first line that has one.
func first(f *File, zone *time.Location) int64 {
	const look = 200
	r, err := open(f.Path)
	if err != nil {
		return 0
	}
	defer r.Close()
	errDone := errors.New("done")
	var at int64
	n := 0
	p := logs.NewParser(zone, 0)
	p.SetYear(f.Changed)
	Records(r, p, func(rec *logs.Record, line string) error {
		if n++; rec.Time == 0 && n < look {
			return nil
		}
		if at = rec.Time; at > f.Changed.Add(24*time.Hour).UnixMicro() {
			at = time.UnixMicro(at).AddDate(-1, 0, 0).UnixMicro()
		}
		return errDone
	})
	return at
}

// Read reads a file's records with the parser of its group. Progress is told of bytes read from disk.
func (f *File) Read(p *logs.Parser, progress func(bytes int64), each func(r *logs.Record, line string) error) error {
	file, err := os.OpenFile(f.Path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if f.First != 0 {
		p.SetYear(time.UnixMicro(f.First))
	}
	r, err := Decompress(&counter{file, progress})
	if err != nil {
		return err
	}
	return Records(r, p, each)
}

type counter struct {
	r    io.Reader
	tell func(int64)
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.tell != nil {
		c.tell(int64(n))
	}
	return n, err
}
