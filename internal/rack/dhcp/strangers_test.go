package dhcp

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Hundreds of new hardware addresses within a minute are told, once an hour; fifty machines that boot at once are not, nor is one that asks a thousand times, nor are
// known machines.
func TestStarvation(t *testing.T) {
	s, now, told := server(t, slog.DiscardHandler)
	if err := s.SetSnapshot(lab()); err != nil {
		t.Fatal(err)
	}
	l := &listener{iface: "lab0", raw: -1}
	discover := func(n int) {
		t.Helper()
		c := &client{t: t, hw: fmt.Sprintf("02:00:00:00:%02x:%02x", n/256, n%256)}
		s.handle(t.Context(), l, c.packet(dhcpv4.MessageTypeDiscover))
	}
	for range 20 { // each asks anew as firmware, iPXE and system
		for n := range 50 {
			discover(n)
		}
	}
	for range 1000 {
		discover(1)
	}
	for minute := range 10 { // slowly
		*now = now.Add(strangersWithin)
		for n := range maxStrangers - 1 {
			discover(1000*minute + n)
		}
	}
	if len(*told) != 0 {
		t.Fatalf("got %+v", *told)
	}
	*now = now.Add(strangersWithin)
	for n := range 10 * maxStrangers {
		discover(20_000 + n)
	}
	if len(*told) != 1 || (*told)[0].Kind != "dhcp_starvation" || (*told)[0].Detail != "256 new hardware addresses within a minute on lab0" {
		t.Errorf("got %+v, want one report", *told)
	}
	*now = now.Add(time.Hour)
	for n := range maxStrangers {
		discover(40_000 + n)
	}
	if len(*told) != 2 {
		t.Errorf("got %d reports after an hour, want a second one", len(*told))
	}
}
