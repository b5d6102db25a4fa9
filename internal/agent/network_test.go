package agent

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// A server that is away when the lease is half over is asked again long before the lease ends.
func TestKeepLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ack, err := dhcpv4.New(dhcpv4.WithLeaseTime(600))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		start := time.Now()
		var asked []time.Duration
		go keepLease(ctx, NewConsole(io.Discard), &nclient4.Lease{ACK: ack}, func(_ context.Context, l *nclient4.Lease) (*nclient4.Lease, error) {
			asked = append(asked, time.Since(start))
			if len(asked) < 3 {
				return nil, errors.New("no answer")
			}
			return l, nil
		})
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		want := []time.Duration{5 * time.Minute, 5*time.Minute + 30*time.Second, 6 * time.Minute, 11 * time.Minute}
		if len(asked) != len(want) {
			t.Fatalf("asked after %v, want %v", asked, want)
		}
		for i := range want {
			if asked[i] != want[i] {
				t.Errorf("asked after %v, want %v", asked, want)
			}
		}
	})
}
