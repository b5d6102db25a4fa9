package metal

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/metalward/metalward/internal/fault"
)

func FuzzParseMAC(f *testing.F) {
	for _, s := range []string{"52:54:00:12:34:56", "52-54-00-12-34-56", "5254.0012.3456", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", " 52:54:00:12:34:56\n", "52:54:00:12:34:56:78:9a", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mac, err := ParseMAC(s)
		if err != nil {
			if mac != "" || !fault.Is(err, fault.Invalid) || len(err.Error()) > 600 {
				t.Errorf("got %q, %v for %q", mac, err, s)
			}
			return
		}
		if again, err := ParseMAC(string(mac)); err != nil || again != mac || len(mac) != 17 || strings.ToLower(string(mac)) != string(mac) {
			t.Errorf("got %q of %q, and of that %q, %v", mac, s, again, err)
		}
	})
}

func FuzzParseSSHKey(f *testing.F) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
	for _, s := range []string{key, key + " me@host", key + " a\tb", `command="x" ` + key, "no-pty " + key, key + "\n" + key, "ssh-rsa AAAA", "# " + key, key + " \u2028", key + " \u009b2J", key + " \xff", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line, err := ParseSSHKey(s)
		if err != nil {
			if line != "" || !fault.Is(err, fault.Invalid) {
				t.Errorf("got %q, %v for %q", line, err, s)
			}
			return
		}
		if !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl) || strings.HasPrefix(line, "#") {
			t.Errorf("got %q, which is not one printable line", line)
		}
		if again, err := ParseSSHKey(line); err != nil || again != line {
			t.Errorf("got %q, and of that %q, %v", line, again, err)
		}
	})
}

func FuzzInventoryClean(f *testing.F) {
	for _, v := range []Inventory{{}, {Architecture: "amd64", CPUCount: 4, MemoryMiB: 1, Interfaces: []InventoryInterface{{Name: "e\x1b", MAC: "52:54:00:00:00:01"}}, Disks: []InventoryDisk{{Name: "sda", SizeBytes: 1}}},
		{Architecture: "amd64", BMC: &InventoryBMC{PowerType: "ipmi", Address: "10.0.0.1"}}, {Architecture: "amd64", Disks: []InventoryDisk{{Name: "\x00"}}}} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v Inventory
		if json.Unmarshal(data, &v) != nil {
			return
		}
		if err := v.Clean(); err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v, want Invalid", err)
			}
			return
		}
		texts := []string{v.HardwareUUID, v.CPUModel, v.TPM, v.DMI.SystemVendor, v.DMI.ChassisVersion}
		for _, n := range v.Interfaces {
			texts = append(texts, n.Name, n.Driver, n.Vendor, n.Product, n.FirmwareVersion)
			if _, err := ParseMAC(n.MAC); err != nil {
				t.Errorf("kept the address %q", n.MAC)
			}
		}
		for _, d := range v.Disks {
			texts = append(texts, d.Model, d.Serial, d.IDPath, d.FirmwareVersion)
			if d.Name == "" || d.SizeBytes < 0 {
				t.Errorf("kept the disk %+v", d)
			}
			texts = append(texts, d.Name)
		}
		if v.BMC != nil {
			texts = append(texts, v.BMC.Address, v.BMC.MAC)
			if v.BMC.Address == "" {
				t.Error("kept a BMC without an address")
			}
		}
		for _, s := range texts {
			if len(s) > MaxInventoryText || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
				t.Errorf("kept the text %q", s)
			}
		}
		if len(v.Interfaces) > MaxInventoryInterfaces || len(v.Disks) > MaxInventoryDisks || v.CPUCount < 0 || v.MemoryMiB < 0 {
			t.Errorf("kept %d interfaces, %d disks, %d threads, %d MiB", len(v.Interfaces), len(v.Disks), v.CPUCount, v.MemoryMiB)
		}
	})
}
