package enrich

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"sync"
	"time"
)

// maxDatabase bounds a database file: those of cities have some 60 MiB.
const maxDatabase = 256 << 20

// lookAgain is how often a file is looked at for a newer one.
const lookAgain = time.Minute

// Known is what the databases know of an address; empty fields where they know nothing.
type Known struct {
	ASN     uint
	Holder  string // of the AS
	Country string // ISO 3166
}

// String is all of it in a line; empty where nothing is known.
func (k Known) String() string {
	s := k.Country
	if k.ASN != 0 {
		if s != "" {
			s += ", "
		}
		s += fmt.Sprintf("AS%d %s", k.ASN, k.Holder)
	}
	return s
}

// Databases are files in MaxMind's format that an operator supplies: of AS numbers, countries or cities, of MaxMind or of others with the same fields.
// A file that is replaced is read anew. Safe for concurrent use; nil knows nothing.
type Databases struct {
	Log *slog.Logger
	Now func() time.Time

	mu    sync.Mutex
	files []*database // guarded by mu
}

type database struct {
	path   string
	looked time.Time // at the file
	was    os.FileInfo
	tree   *tree
}

// OpenDatabases reads the files. A file that cannot be used is an error now, and later a warning: the one before goes on.
func OpenDatabases(paths []string, now func() time.Time, log *slog.Logger) (*Databases, error) {
	d := &Databases{Log: log, Now: now}
	for _, path := range paths {
		f := &database{path: path}
		if err := f.read(now()); err != nil {
			return nil, fmt.Errorf("cannot use the address database %s: %w", path, err)
		}
		d.files = append(d.files, f)
	}
	return d, nil
}

// read reads the file if it is another one than before.
func (f *database) read(now time.Time) error {
	f.looked = now
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	switch {
	case err != nil:
		return err
	case f.was != nil && os.SameFile(f.was, info) && f.was.ModTime().Equal(info.ModTime()) && f.was.Size() == info.Size():
		return nil
	case !info.Mode().IsRegular() || info.Size() > maxDatabase:
		return fmt.Errorf("it is no file of at most %d MiB", maxDatabase>>20)
	}
	f.was = info
	// Into memory: a mapped file that is truncated under us would end the program.
	data, err := io.ReadAll(io.LimitReader(file, maxDatabase))
	if err != nil {
		return err
	}
	t, err := openTree(data)
	if err == nil {
		f.tree = t
	}
	return err
}

// Look says what is known of an address, without asking anybody.
func (d *Databases) Look(a netip.Addr) (k Known) {
	if d == nil || !a.IsValid() {
		return k
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.files {
		if now := d.Now(); now.Sub(f.looked) >= lookAgain {
			if err := f.read(now); err != nil {
				d.Log.Warn("cannot use the address database; the one before goes on", "file", f.path, "error", err)
			}
		}
		r := f.look(a)
		if k.ASN == 0 {
			k.ASN, k.Holder = r.ASN, r.Holder
		}
		if k.Country == "" {
			k.Country = r.Country
		}
	}
	return k
}

// look is what one file says; a damaged record, nothing. Source of the names: MaxMind, GeoIP and GeoLite binary databases.
func (f *database) look(a netip.Addr) (k Known) {
	record, err := f.tree.look(a)
	if err != nil {
		return k
	}
	if n, _ := record["autonomous_system_number"].(uint64); n != 0 && n <= math.MaxUint32 {
		holder, _ := record["autonomous_system_organization"].(string)
		k.ASN, k.Holder = uint(n), show(holder)
	}
	for _, name := range []string{"country", "registered_country"} {
		in, _ := record[name].(map[string]any)
		if code, _ := in["iso_code"].(string); k.Country == "" && len(code) == 2 {
			k.Country = show(code)
		}
	}
	return k
}
