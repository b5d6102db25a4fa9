package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/metalward/metalward/internal/logs"
)

// Position is how far a log was read: enough to find the place again after rotation, renaming or truncation.
type Position struct {
	Path   string
	Inode  uint64
	Device uint64
	Offset int64  // bytes of whole lines
	Head   uint64 // hash of the first bytes, at most headBytes of them
	HeadN  int    // how many
}

const (
	headBytes = 256
	// maxRead bounds what one look at one file reads, so that a busy log does not keep the others waiting.
	maxRead = 8 << 20
)

// A Follower reads what is appended to logs, through rotation by renaming and by copying, and goes on where it was. It is used by one goroutine.
type Follower struct {
	patterns []string // files, or patterns of files, looked for again at each pass
	open     map[string]*followed
	saved    map[string]Position
	fresh    bool // no position was saved: begin at the ends of files
	buf      []byte
	Errors   map[string]string
}

// followed is one log.
type followed struct {
	file *os.File
	pos  Position
	part []byte // of a line whose end is not there yet
	skip bool   // the rest of a line that was too long
	gone int64  // bytes of it that were passed over: Offset stays where the line begins, since nobody who goes on from there knows that it is the middle of one
}

// NewFollower follows files that match patterns. Without saved positions files that are there are read from their end, and those that come later from
// their beginning.
func NewFollower(patterns []string, saved []Position) *Follower {
	f := &Follower{patterns: patterns, open: make(map[string]*followed), saved: make(map[string]Position), fresh: saved == nil, Errors: make(map[string]string)}
	for _, p := range saved {
		f.saved[p.Path] = p
	}
	return f
}

// Positions are how far everything was read, including logs that are not there at the moment.
func (f *Follower) Positions() []Position {
	all := []Position{}
	for _, o := range f.open {
		all = append(all, o.pos)
	}
	for path, p := range f.saved {
		if f.open[path] == nil {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Position) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// Close closes the files.
func (f *Follower) Close() {
	for _, o := range f.open {
		o.file.Close()
	}
	clear(f.open)
}

// Poll hands on what was appended since the last time, and says how many bytes that was. What cannot be read is told in Errors and tried again.
func (f *Follower) Poll(each func(path, line string)) (read int64) {
	for _, pattern := range f.patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Errors[pattern] = err.Error()
			continue
		}
		for _, path := range paths {
			if f.open[path] == nil && len(f.open) < MaxFiles && !rotated(path) {
				f.begin(path, each)
			}
		}
	}
	f.fresh = false
	paths := make([]string, 0, len(f.open))
	for path := range f.open {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	for _, path := range paths {
		n, err := f.advance(path, each)
		read += n
		if err != nil {
			f.Errors[path] = err.Error()
		} else {
			delete(f.Errors, path)
		}
	}
	return read
}

// rotated tells names that rotation leaves behind: the log's own name is followed instead.
func rotated(path string) bool { return stem(path) != path }

// begin opens a log, at the place that was saved if it is the same log still.
func (f *Follower) begin(path string, each func(path, line string)) {
	file, id, err := openLog(path)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			f.Errors[path] = err.Error()
		}
		return
	}
	o := &followed{file: file, pos: Position{Path: path, Inode: id.inode, Device: id.device}}
	if p, ok := f.saved[path]; ok {
		if f.same(file, p) {
			o.pos.Offset, o.pos.Head, o.pos.HeadN = p.Offset, p.Head, p.HeadN
		} else {
			f.rest(p, each)
		}
	} else if f.fresh {
		o.pos.Offset = id.size
	}
	if _, err := file.Seek(o.pos.Offset, io.SeekStart); err != nil {
		file.Close()
		f.Errors[path] = err.Error()
		return
	}
	f.head(o)
	f.open[path] = o
}

type identity struct {
	inode, device uint64
	size          int64
}

func openLog(path string) (*os.File, identity, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, identity{}, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		file.Close()
		return nil, identity{}, err
	}
	return file, identify(info), nil
}

func identify(info os.FileInfo) identity {
	id := identity{size: info.Size()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		id.inode, id.device = st.Ino, uint64(st.Dev) //nolint:unconvert // int32 on some systems
	}
	return id
}

// head notes the hash of a file's first bytes while they are fewer than it wants.
func (f *Follower) head(o *followed) {
	if o.pos.HeadN == headBytes {
		return
	}
	b := make([]byte, headBytes)
	n, err := o.file.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return
	}
	o.pos.Head, o.pos.HeadN = sum(b[:n]), n
}

func sum(b []byte) uint64 {
	h := fnv.New64a()
	h.Write(b)
	return h.Sum64()
}

// same says whether a file is the log that a position is of: it begins with the same bytes, and is as long at least.
func (f *Follower) same(file io.ReaderAt, p Position) bool {
	b := make([]byte, p.HeadN)
	if n, err := file.ReadAt(b, 0); n < p.HeadN || err != nil && err != io.EOF || sum(b) != p.Head {
		return false
	}
	if p.Offset == 0 {
		return true
	}
	one := make([]byte, 1)
	n, _ := file.ReadAt(one, p.Offset-1)
	return n == 1
}

// rest reads what was appended to a log after a position, before rotation took it away while nobody looked: in the file beside it, compressed or not, that
// begins with the same bytes. A log that was empty at the position cannot be recognised.
func (f *Follower) rest(p Position, each func(path, line string)) {
	if p.HeadN == 0 {
		return
	}
	siblings, err := filepath.Glob(escape(p.Path) + "*")
	if err != nil {
		return
	}
	for _, path := range siblings {
		if path == p.Path || stem(path) != stem(p.Path) {
			continue
		}
		r, err := open(path)
		if err != nil {
			continue
		}
		b := bufio.NewReaderSize(r, 64<<10)
		head, _ := b.Peek(p.HeadN)
		if len(head) == p.HeadN && sum(head) == p.Head {
			if _, err := io.CopyN(io.Discard, b, p.Offset); err == nil {
				if err := Lines(b, func(line string) error { each(p.Path, line); return nil }); err != nil {
					f.Errors[path] = err.Error()
				}
			}
			r.Close()
			return
		}
		r.Close()
	}
}

// escape makes a path a pattern that matches it alone.
func escape(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if strings.IndexByte(`*?[\`, path[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// advance reads what one log has got, and goes over to the file that took its place.
func (f *Follower) advance(path string, each func(path, line string)) (int64, error) {
	o := f.open[path]
	var now identity
	info, err := os.Stat(path)
	if err == nil {
		now = identify(info)
	} else if !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	if now.inode == o.pos.Inode && now.device == o.pos.Device && now.size < o.pos.Offset+int64(len(o.part))+o.gone {
		// Copied away and cut: what came between the last look and the copy is in the copy.
		f.rest(o.pos, each)
		o.pos.Offset, o.pos.HeadN, o.part, o.skip, o.gone = 0, 0, nil, false, 0
		if _, err := o.file.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
	}
	n, err := f.read(o, each)
	f.head(o)
	if err != nil {
		return n, err
	}
	if now.inode != o.pos.Inode || now.device != o.pos.Device {
		if n > 0 { // the writer may not have reopened it yet
			return n, nil
		}
		if now.inode == 0 { // renamed, and nothing in its place yet: keep reading
			return n, nil
		}
		if len(o.part) > 0 {
			each(path, string(o.part))
		}
		o.file.Close()
		delete(f.open, path)
		delete(f.saved, path)
		f.begin(path, each)
		if o := f.open[path]; o != nil {
			more, err := f.read(o, each)
			return n + more, err
		}
	}
	return n, nil
}

// read hands on whole lines that a file has got.
func (f *Follower) read(o *followed, each func(path, line string)) (total int64, err error) {
	if f.buf == nil { // once, not for each file five times a second
		f.buf = make([]byte, 256<<10)
	}
	for total < maxRead {
		n, err := o.file.Read(f.buf)
		total += int64(n)
		o.take(f.buf[:n], each)
		if err == io.EOF || n == 0 {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (o *followed) take(b []byte, each func(path, line string)) {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			if !o.skip && len(o.part)+len(b) <= logs.MaxLine {
				o.part = append(o.part, b...)
				return
			}
			if !o.skip {
				each(o.pos.Path, string(append(o.part, b[:logs.MaxLine+1-len(o.part)]...)))
				o.gone = int64(len(o.part))
				o.part, o.skip = nil, true
			}
			o.gone += int64(len(b))
			return
		}
		if !o.skip {
			line := append(o.part, b[:end]...)
			each(o.pos.Path, string(line[:min(len(line), logs.MaxLine+1)]))
		}
		o.pos.Offset += o.gone + int64(len(o.part)+end+1)
		o.part, o.skip, o.gone = o.part[:0], false, 0
		b = b[end+1:]
	}
}

// Follow polls until the context ends, waiting a moment when nothing came. After each pass it calls rest, for what is due by time.
func (f *Follower) Follow(ctx context.Context, wait time.Duration, each func(path, line string), rest func()) {
	for {
		n := f.Poll(each)
		rest()
		if n >= maxRead && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}
