package passwords

import (
	"crypto/sha1" //nolint:gosec // the format of the lists; what is looked up is thrown away
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

// The file of breached passwords has a line a password: its SHA-1 in hex, and whatever after a colon, sorted by
// hash. Have I Been Pwned's downloads "ordered by hash" are such files, of 40 GB and more, so it is searched on
// the disk. Source: haveibeenpwned.com/Passwords.
const (
	hashLength = 2 * sha1.Size
	maxLine    = 128 // bytes
)

// CheckFile reports whether a file looks like a sorted list of hashes: at its beginning, in the middle and at its end.
func CheckFile(path string) error {
	f, size, err := open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	last := ""
	for _, at := range []int64{0, size / 2, max(0, size-maxLine)} {
		line, err := lineAt(f, size, at)
		switch {
		case err != nil:
			return err
		case line == "" && at > 0:
			continue
		case len(line) != hashLength || strings.Trim(line, "0123456789ABCDEF") != "":
			return fmt.Errorf("cannot use %s: a line does not begin with a SHA-1 hash in hex", path)
		case line < last:
			return fmt.Errorf("cannot use %s: it is not sorted by hash", path)
		}
		last = line
	}
	return nil
}

func open(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("cannot use %s: not a file", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// inFile reports whether a file has a password's hash. The file is opened each time: operators replace it.
func inFile(path, password string) (bool, error) {
	f, size, err := open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	sum := sha1.Sum([]byte(password)) //nolint:gosec // see the import
	want := strings.ToUpper(hex.EncodeToString(sum[:]))
	var failed error
	at := sort.Search(int(size), func(at int) bool {
		line, err := lineAt(f, size, int64(at))
		if err != nil {
			failed = err
		}
		return line == "" || line >= want
	})
	if failed != nil {
		return false, failed
	}
	line, err := lineAt(f, size, int64(at))
	return line == want, err
}

// lineAt returns the hash of the first line that begins at a place or after it; empty at the end of the file.
func lineAt(f io.ReaderAt, size, at int64) (string, error) {
	if at >= size {
		return "", nil
	}
	from := max(0, at-1) // a line begins here if a line ended just before
	b := make([]byte, 2*maxLine)
	n, err := f.ReadAt(b, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	text := string(b[:n])
	if at > 0 {
		_, rest, ok := strings.Cut(text, "\n")
		if !ok {
			if from+int64(n) < size {
				return "", fmt.Errorf("cannot use the list of breached passwords: a line is longer than %d bytes", maxLine)
			}
			return "", nil
		}
		text = rest
	}
	line, _, _ := strings.Cut(text, "\n")
	line, _, _ = strings.Cut(strings.TrimRight(line, "\r"), ":")
	return strings.ToUpper(line), nil
}
