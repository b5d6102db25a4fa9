package block

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

const (
	listFormat  = 1
	maxListFile = 32 << 20 // bytes
	maxHistory  = 16 << 20 // bytes of the history; then it is begun anew, and the old one kept beside it
)

// File is a list on disk, beside a history of what was done with it. Several processes may use it: each change locks it.
type File struct {
	Path string // the history is Path with ".log" behind
	Now  func() time.Time
	Save func(path string, data []byte) error // all or nothing, mode 0600
}

// Entry is one line of the history.
type Entry struct {
	Time   time.Time `json:"time"`
	What   string    `json:"what"` // blocked, ended, lifted, cleared, switched off, switched on
	By     string    `json:"by"`
	Prefix string    `json:"prefix,omitempty"`
	Unit   string    `json:"unit,omitempty"`
	Reason string    `json:"reason,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

// Read is the list as it is on disk; none is an empty one. Kinds: Invalid for a file that was not written by this program.
func (f *File) Read() (*List, error) {
	file, err := os.Open(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return &List{Format: listFormat}, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var l List
	d := json.NewDecoder(io.LimitReader(file, maxListFile))
	d.DisallowUnknownFields()
	if err = d.Decode(&l); err == nil && l.Format != listFormat {
		err = fmt.Errorf("format %d, this program writes %d", l.Format, listFormat)
	}
	if err == nil {
		err = l.Bound(f.Now())
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "blocks: %s cannot be used (%s). Move it away to begin anew: nobody is blocked then.", f.Path, err)
	}
	return &l, nil
}

// Change reads the list, has it changed, and writes it and the history. Nobody else changes it meanwhile.
func (f *File) Change(change func(*List) ([]Entry, error)) (*List, error) {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(f.Path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer lock.Close() // which unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("cannot lock the list of blocks: %w", err)
	}
	l, err := f.Read()
	if err != nil {
		return nil, err
	}
	entries, err := change(l)
	if err != nil || len(entries) == 0 {
		return l, err
	}
	if err := f.history(entries); err != nil { // first: a change without its line in the history is not made
		return nil, err
	}
	data, err := json.MarshalIndent(l, "", " ")
	if err != nil {
		return nil, err
	}
	return l, f.Save(f.Path, append(data, '\n'))
}

func (f *File) history(entries []Entry) error {
	path := f.Path + ".log"
	if info, err := os.Stat(path); err == nil && info.Size() > maxHistory {
		if err := os.Rename(path, path+".1"); err != nil {
			return err
		}
	}
	h, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer h.Close()
	for _, e := range entries {
		e.Time = f.Now().UTC()
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if _, err := h.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return h.Sync()
}

// About makes an entry of a block.
func About(what, by string, b Block) Entry {
	return Entry{What: what, By: by, Prefix: b.Prefix.String(), Unit: b.Unit, Reason: b.Reason, Until: b.Until}
}
