package netboot

import (
	"fmt"
	"log/slog"
	"net"
	"testing"

	"github.com/metalward/metalward/internal/wire"
)

// Who asks for fifty different names that are not there is told of, once; a loader that tries its forty names, and fifty machines that ask for the same few, are not.
func TestGuesses(t *testing.T) {
	var told []wire.SecurityRequest
	s := NewTFTP(bootFiles(t), slog.New(slog.DiscardHandler), func(e wire.SecurityRequest) { told = append(told, e) })
	peer := func(last byte) *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, last), Port: 9} }
	ask := func(last byte, name string) {
		s.transfer(t.Context(), net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, peer(last), readRequest{name: name, block: defaultBlock, window: 1})
	}
	for range 3 {
		for n := range 40 {
			ask(2, fmt.Sprint("pxelinux.cfg/", n))
		}
	}
	for last := range byte(50) {
		ask(10+last, "revocations.efi")
		ask(10+last, "shim_certificate.efi")
	}
	if len(told) != 0 {
		t.Fatalf("got %+v", told)
	}
	for n := range 200 {
		ask(3, fmt.Sprintf("SEP%012X.cnf.xml", n))
	}
	if len(told) != 1 || told[0].Kind != "tftp_scraping" || told[0].Source.String() != "127.0.0.3" {
		t.Errorf("got %+v", told)
	}
}
