package host_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/host/hosttest"
)

// A file of flaws is held against the packages of the host whose files these are.
func TestKnow(t *testing.T) {
	m, err := hosttest.New([]guard.Entry{{Path: "/etc/os-release", Content: "ID=debian\nVERSION_ID=12\n"},
		{Path: "/var/lib/dpkg/status", Content: "Package: libssl3\nStatus: install ok installed\nSource: openssl (3.0.1-1)\nVersion: 3.0.1-1+b1\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n"}})
	if err != nil {
		t.Fatal(err)
	}
	f := host.New(m)
	const text = `{"id": "X-1", "affected": [{"package": {"ecosystem": "Debian:12", "name": "openssl"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0.2-1"}]}]},
		{"package": {"ecosystem": "Debian:12", "name": "gone"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}]}`
	if _, err := f.Flaws(); !errors.Is(err, guard.ErrNoFiles) {
		t.Errorf("got %v, want %v", err, guard.ErrNoFiles)
	}
	if err := f.Know("osv", "x.json", strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	list, err := f.Flaws()
	if err != nil || len(list) != 1 || len(list[0].Matches) != 1 || list[0].Matches[0].Package != "libssl3" || list[0].Matches[0].Installed != "3.0.1-1" {
		t.Errorf("got %+v, %v", list, err)
	}
	if err := f.Know("oval", "x.xml", strings.NewReader(text)); err == nil {
		t.Error("JSON was taken for OVAL")
	}
	if err := host.New(hosttest.Memory{}).Know("osv", "x.json", strings.NewReader(text)); err == nil {
		t.Error("a host without a release was taken for one")
	}
}
