package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/unix"
)

const (
	efivarsDir = "/sys/firmware/efi/efivars"
	// efiGlobal is the GUID of the variables that the UEFI specification names.
	efiGlobal = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	// bootLabel is how we know our entry again.
	bootLabel = "Metalward deployed"
	// bootPath is where every bootable image has its loader, for lack of an entry made by an installer.
	bootPath = `\EFI\BOOT\BOOTX64.EFI`
	// efiAttributes: non-volatile, for boot services and at run time.
	efiAttributes = 7
	fsImmutable   = 0x10 // FS_IMMUTABLE_FL, linux/fs.h
)

// efiVars are the firmware's variables as efivarfs shows them: a file each, four bytes of attributes in front.
type efiVars string

func (v efiVars) path(name string) string { return filepath.Join(string(v), name+"-"+efiGlobal) }

func (v efiVars) get(name string) ([]byte, error) {
	data, err := os.ReadFile(v.path(name))
	if err != nil || len(data) < 4 {
		return nil, err
	}
	return data[4:], nil
}

// set writes a variable, which must happen in one call.
func (v efiVars) set(name string, value []byte) error {
	v.unlock(name)
	f, err := os.OpenFile(v.path(name), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	data := append(binary.LittleEndian.AppendUint32(nil, efiAttributes), value...)
	if _, err = f.Write(data); err == nil {
		_ = f.Truncate(int64(len(data))) // efivarfs replaces the value by itself, other file systems do not
	}
	return errors.Join(err, f.Close())
}

func (v efiVars) remove(name string) error {
	v.unlock(name)
	if err := os.Remove(v.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// unlock clears the immutable flag that efivarfs protects variables with.
func (v efiVars) unlock(name string) {
	f, err := os.Open(v.path(name))
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil && flags&fsImmutable != 0 {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^fsImmutable)
	}
}

// order returns the numbers in BootOrder, none if there is no such variable. One that cannot be read is an error: an
// order written in its place would lose the network, and with it the machine.
func (v efiVars) order() (order []uint16, err error) {
	data, err := v.get("BootOrder")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read BootOrder: %w", err)
	}
	for ; len(data) >= 2; data = data[2:] {
		order = append(order, binary.LittleEndian.Uint16(data))
	}
	return order, nil
}

func (v efiVars) setOrder(order []uint16) error {
	var data []byte
	for _, n := range order {
		data = binary.LittleEndian.AppendUint16(data, n)
	}
	return v.set("BootOrder", data)
}

func bootName(n uint16) string { return fmt.Sprintf("Boot%04X", n) }

// ours returns the numbers of the entries with our label, and all that are taken.
func (v efiVars) ours() (ours, taken []uint16) {
	entries, _ := os.ReadDir(string(v))
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), "-"+efiGlobal)
		digits, isBoot := strings.CutPrefix(name, "Boot")
		n, err := strconv.ParseUint(digits, 16, 16)
		if !ok || !isBoot || len(digits) != 4 || err != nil {
			continue
		}
		taken = append(taken, uint16(n))
		if data, err := v.get(name); err == nil && loadOptionLabel(data) == bootLabel {
			ours = append(ours, uint16(n))
		}
	}
	return ours, taken
}

// setBoot puts our entry for the partition first in the boot order, or removes it if esp is nil.
func (v efiVars) setBoot(esp *Partition) error {
	ours, taken := v.ours()
	order, err := v.order()
	if err != nil {
		return err
	}
	order = slices.DeleteFunc(order, func(n uint16) bool { return slices.Contains(ours, n) })
	if esp == nil {
		if len(ours) == 0 {
			return nil
		}
		// The order first: an order that names a missing entry is harmless, but not to every firmware.
		err := v.setOrder(order)
		for _, n := range ours {
			err = errors.Join(err, v.remove(bootName(n)))
		}
		return err
	}
	var number uint16
	if len(ours) > 0 {
		number = ours[0]
		for _, n := range ours[1:] {
			_ = v.remove(bootName(n))
		}
	} else {
		for slices.Contains(taken, number) || slices.Contains(order, number) {
			number++
		}
	}
	if err := v.set(bootName(number), loadOption(*esp)); err != nil {
		return fmt.Errorf("cannot write %s: %w", bootName(number), err)
	}
	if err := v.setOrder(append([]uint16{number}, order...)); err != nil {
		return fmt.Errorf("cannot write BootOrder: %w", err)
	}
	return nil
}

// loadOption encodes EFI_LOAD_OPTION for the loader on a partition of a GPT disk. Source: UEFI specification
// 2.10, sections 3.1.3, 10.3.5.1 (hard drive) and 10.3.5.4 (file path).
func loadOption(p Partition) []byte {
	le := binary.LittleEndian
	drive := []byte{4, 1, 42, 0}
	drive = le.AppendUint32(drive, uint32(p.Number))
	drive = le.AppendUint64(drive, p.First)
	drive = le.AppendUint64(drive, p.Last-p.First+1)
	drive = append(drive, p.GUID[:]...)
	drive = append(drive, 2, 2) // GPT, signature is a GUID
	name := utf16Bytes(bootPath)
	file := le.AppendUint16([]byte{4, 4}, uint16(4+len(name)))
	file = append(file, name...)
	devicePath := slices.Concat(drive, file, []byte{0x7f, 0xff, 4, 0})
	option := le.AppendUint32(nil, 1) // active
	option = le.AppendUint16(option, uint16(len(devicePath)))
	return slices.Concat(option, utf16Bytes(bootLabel), devicePath)
}

// loadOptionLabel returns the description in an EFI_LOAD_OPTION.
func loadOptionLabel(option []byte) string {
	if len(option) < 6 {
		return ""
	}
	var text []uint16
	for rest := option[6:]; len(rest) >= 2 && !bytes.Equal(rest[:2], []byte{0, 0}); rest = rest[2:] {
		text = append(text, binary.LittleEndian.Uint16(rest))
	}
	return string(utf16.Decode(text))
}

func utf16Bytes(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return append(b, 0, 0)
}
