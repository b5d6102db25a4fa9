package netboot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// The boot files: nothing else leaves the directory, whatever else lies in it.
const (
	fileBIOS   = "undionly.kpxe"
	fileUEFI   = "snponly.efi"
	fileKernel = "vmlinuz"
	fileInitrd = "initrd.zst"
)

var (
	tftpFiles = map[string]bool{fileBIOS: true, fileUEFI: true}
	httpFiles = map[string]bool{fileBIOS: true, fileUEFI: true, fileKernel: true, fileInitrd: true}
)

// maxTFTPFile bounds a file sent by TFTP, which is held in memory: iPXE is below 1 MiB.
const maxTFTPFile = 16 << 20

// cleanName turns a requested path into a file name: firmware asks for "/x", "//x" and "\x".
func cleanName(name string) string {
	name = strings.ReplaceAll(name, `\`, "/")
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}

// Files is the directory of boot files. Symbolic links that lead out of it are not followed. Safe for
// concurrent use.
type Files struct{ root *os.Root }

// OpenFiles opens the directory.
func OpenFiles(dir string) (*Files, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the boot files: %w", err)
	}
	return &Files{root}, nil
}

// Close closes the directory.
func (f *Files) Close() error { return f.root.Close() }

// open returns a regular file.
func (f *Files) open(name string) (*os.File, fs.FileInfo, error) {
	file, err := f.root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// read returns the content of a file for TFTP.
func (f *Files) read(name string) ([]byte, error) {
	file, info, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info.Size() > maxTFTPFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxTFTPFile)
	}
	return io.ReadAll(io.LimitReader(file, maxTFTPFile))
}
