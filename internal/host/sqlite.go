package host

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/metalward/metalward/internal/guard"
)

// Limits of a command line's profiles. A profile has the description of the whole API in it, some hundred kilobytes.
const (
	maxProfiles     = 32 << 20 // bytes of the file
	maxRows         = 1_000
	maxSQLiteDepth  = 20 // pages on the way to a row
	maxSQLiteValues = 64 // columns of a row
)

var errSQLite = errors.New("it is no database of SQLite, or a damaged one")

// Profiles implements guard.Host. The file belongs to any user of the host, who may have made it to break whoever reads it as root: it is read
// by the little that follows rather than by the whole of SQLite. Source of the table: MAAS's source code, src/maascli/config.py.
func (f *Facts) Profiles(path string) ([]guard.Profile, error) {
	for _, end := range []string{"-wal", "-journal"} {
		if _, err := f.follow(path + end); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s%s is there: the last change of %s is not in it yet", path, end, path)
		}
	}
	data, err := f.read(path, maxProfiles)
	if err != nil {
		return nil, err
	}
	rows, err := sqliteTable(data, "profiles")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	list := make([]guard.Profile, 0, len(rows))
	for _, row := range rows {
		var about struct {
			URL string `json:"url"`
		}
		if len(row) < 3 || json.Unmarshal(row[2], &about) != nil { // the error may quote the credentials
			return nil, fmt.Errorf("%s: a profile is not as the maas command writes it", path)
		}
		list = append(list, guard.Profile{Name: string(row[1]), URL: about.URL})
	}
	return list, nil
}

// sqliteFile is a database in memory. Source of the format: https://www.sqlite.org/fileformat2.html.
type sqliteFile struct {
	data  []byte
	page  int          // bytes of a page
	using int          // bytes of a page that are used
	seen  map[int]bool // pages that were read: a page has one place
	left  int          // bytes that contents may have yet: those of all together are fewer than the file's
}

// sqliteTable returns the rows of a table in the order of their numbers. Numbers and absent values are empty.
func sqliteTable(data []byte, table string) ([][][]byte, error) {
	const header = 100
	if len(data) == 0 {
		return nil, nil // SQLite takes an empty file for an empty database
	}
	if len(data) < header || string(data[:16]) != "SQLite format 3\x00" {
		return nil, errSQLite
	}
	s := &sqliteFile{data: data, page: int(binary.BigEndian.Uint16(data[16:])), seen: map[int]bool{}, left: len(data)}
	if s.page == 1 {
		s.page = 64 << 10
	}
	s.using = s.page - int(data[20])
	if s.page < 512 || s.page&(s.page-1) != 0 || s.using < 480 {
		return nil, errSQLite
	}
	if encoding := binary.BigEndian.Uint32(data[56:]); encoding > 1 {
		return nil, errors.New("its texts are not UTF-8")
	}
	schema, err := s.rows(1, 0) // type, name, table, root page, SQL
	if err != nil {
		return nil, err
	}
	for _, row := range schema {
		if len(row) < 4 || string(row[0]) != "table" || string(row[1]) != table {
			continue
		}
		root := 0
		for _, b := range row[3] { // of at most 8 bytes
			root = root<<8 | int(b)
		}
		return s.rows(root, 0)
	}
	return nil, nil
}

// at is a page, which is read once.
func (s *sqliteFile) at(number int) ([]byte, error) {
	if number < 1 || number > len(s.data)/s.page || s.seen[number] {
		return nil, errSQLite
	}
	s.seen[number] = true
	return s.data[(number-1)*s.page:][:s.using], nil
}

// rows are those of the tree below a page.
func (s *sqliteFile) rows(number, depth int) (list [][][]byte, err error) {
	const leaf, inner = 0x0d, 0x05
	p, err := s.at(number)
	if err != nil || depth > maxSQLiteDepth {
		return nil, errSQLite
	}
	head := p
	if number == 1 {
		head = p[100:]
	}
	count, cells := int(binary.BigEndian.Uint16(head[3:])), head[8:]
	if head[0] == inner {
		cells = head[12:]
	}
	if head[0] != leaf && head[0] != inner || count*2 > len(cells) {
		return nil, errSQLite
	}
	for i := range count {
		at := int(binary.BigEndian.Uint16(cells[2*i:]))
		if at+4 > len(p) {
			return nil, errSQLite
		}
		var more [][][]byte
		if head[0] == inner {
			more, err = s.rows(int(binary.BigEndian.Uint32(p[at:])), depth+1)
		} else {
			var row [][]byte
			row, err = s.row(p[at:])
			more = [][][]byte{row}
		}
		if list = append(list, more...); err != nil || len(list) > maxRows {
			return nil, errors.Join(errSQLite, err)
		}
	}
	if head[0] == inner {
		more, err := s.rows(int(binary.BigEndian.Uint32(head[8:])), depth+1)
		return append(list, more...), err
	}
	return list, nil
}

// row reads a cell of a leaf: the size of its content, the row's number, the content, and where that goes on.
func (s *sqliteFile) row(cell []byte) ([][]byte, error) {
	size, n := varint(cell)
	_, m := varint(cell[n:])
	if cell = cell[n+m:]; n == 0 || m == 0 || size > uint64(s.left) {
		return nil, errSQLite
	}
	s.left -= int(size)
	local, most, least := int(size), s.using-35, (s.using-12)*32/255-23
	if local > most {
		if local = least + (int(size)-least)%(s.using-4); local > most {
			local = least
		}
	}
	if local > len(cell) {
		return nil, errSQLite
	}
	content := append([]byte(nil), cell[:local]...)
	if local < int(size) {
		if len(cell) < local+4 {
			return nil, errSQLite
		}
		for next := int(binary.BigEndian.Uint32(cell[local:])); len(content) < int(size); {
			p, err := s.at(next)
			if err != nil {
				return nil, err
			}
			next = int(binary.BigEndian.Uint32(p))
			content = append(content, p[4:][:min(len(p)-4, int(size)-len(content))]...)
		}
	}
	return columns(content)
}

// columns takes a record apart: the kinds of its values, then the values.
func columns(record []byte) (list [][]byte, err error) {
	head, n := varint(record)
	if n == 0 || head > uint64(len(record)) || head < uint64(n) {
		return nil, errSQLite
	}
	kinds, rest := record[n:head], record[head:]
	for len(kinds) > 0 {
		kind, n := varint(kinds)
		if kinds = kinds[n:]; n == 0 || len(list) >= maxSQLiteValues {
			return nil, errSQLite
		}
		size := []uint64{0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0}[min(kind, 11)]
		if kind >= 12 {
			size = (kind - 12) / 2 // a blob, or a text where the kind is odd
		}
		if size > uint64(len(rest)) {
			return nil, errSQLite
		}
		list, rest = append(list, rest[:size]), rest[size:]
	}
	return list, nil
}

// varint reads a number of up to nine bytes, and tells how many it has; 0 where there is none.
func varint(b []byte) (v uint64, n int) {
	for n < len(b) && n < 8 {
		v = v<<7 | uint64(b[n]&0x7f)
		if n++; b[n-1] < 0x80 {
			return v, n
		}
	}
	if n == 8 && len(b) > 8 {
		return v<<8 | uint64(b[8]), 9
	}
	return 0, 0
}
