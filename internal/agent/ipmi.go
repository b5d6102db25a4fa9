package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/metal"
)

// In-band IPMI. Sources: linux/ipmi.h for the device, IPMI 2.0 section 23.2 for Get LAN Configuration Parameters.
const (
	ipmiDevice        = "/dev/ipmi0"
	ipmiSend          = 0x8028690d // _IOR('i', 13, struct ipmi_req)
	ipmiReceive       = 0xc030690b // _IOWR('i', 11, struct ipmi_recv), cuts what is too long
	ipmiTransport     = 0x0c
	ipmiGetLAN        = 0x02
	ipmiParamIP       = 3
	ipmiParamMAC      = 5
	ipmiTimeout       = 5 * time.Second
	ipmiMaxLANChannel = 8
)

type ipmiAddress struct {
	kind    int32
	channel int16
	lun     uint8
	_       uint8
}

type ipmiMessage struct {
	netfn, cmd uint8
	length     uint16
	data       *byte
}

type ipmiRequest struct {
	address       *ipmiAddress
	addressLength uint32
	id            int
	message       ipmiMessage
}

type ipmiAnswer struct {
	kind          int32
	address       *ipmiAddress
	addressLength uint32
	id            int
	message       ipmiMessage
}

// readBMC asks the BMC for the address and MAC of its first configured LAN channel; nil if there is none.
func readBMC(ctx context.Context) (*metal.InventoryBMC, error) {
	f, err := os.OpenFile(ipmiDevice, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	fd := int(f.Fd())
	for channel := byte(1); channel <= ipmiMaxLANChannel && ctx.Err() == nil; channel++ {
		ip, err := askIPMI(ctx, fd, int(channel), ipmiTransport, ipmiGetLAN, []byte{channel, ipmiParamIP, 0, 0})
		if err != nil || len(ip) < 5 {
			if errors.Is(err, context.DeadlineExceeded) {
				return nil, err
			}
			continue // not a LAN channel
		}
		address := netip.AddrFrom4([4]byte(ip[1:5]))
		if address.IsUnspecified() {
			continue
		}
		found := &metal.InventoryBMC{PowerType: "ipmi", Address: address.String()}
		if mac, err := askIPMI(ctx, fd, int(channel)<<8, ipmiTransport, ipmiGetLAN, []byte{channel, ipmiParamMAC, 0, 0}); err == nil && len(mac) >= 7 {
			found.MAC = net.HardwareAddr(mac[1:7]).String()
		}
		return found, nil
	}
	return nil, ctx.Err()
}

// askIPMI sends a command to the BMC and returns the answer after its completion code.
func askIPMI(ctx context.Context, fd, id int, netfn, cmd byte, data []byte) ([]byte, error) {
	deadline := time.Now().Add(ipmiTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	buf := make([]byte, 272)                           // IPMI_MAX_MSG_LENGTH
	address := &ipmiAddress{kind: 0x0c, channel: 0x0f} // IPMI_SYSTEM_INTERFACE_ADDR_TYPE, IPMI_BMC_CHANNEL
	from := &[2]ipmiAddress{}                          // any kind of address fits
	var pin runtime.Pinner                             // the kernel follows pointers inside what we pass
	for _, p := range []any{&buf[0], &data[0], address, from} {
		pin.Pin(p)
	}
	defer pin.Unpin()
	req := ipmiRequest{address: address, addressLength: uint32(unsafe.Sizeof(*address)), id: id,
		message: ipmiMessage{netfn: netfn, cmd: cmd, length: uint16(len(data)), data: &data[0]}}
	if err := ioctl(uintptr(fd), ipmiSend, unsafe.Pointer(&req)); err != nil {
		return nil, fmt.Errorf("cannot send to the BMC: %w", err)
	}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return nil, context.DeadlineExceeded
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, int(min(left, time.Second).Milliseconds())+1); n == 0 || errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return nil, err
		}
		answer := ipmiAnswer{address: &from[0], addressLength: uint32(unsafe.Sizeof(*from)),
			message: ipmiMessage{length: uint16(len(buf)), data: &buf[0]}}
		if err := ioctl(uintptr(fd), ipmiReceive, unsafe.Pointer(&answer)); errors.Is(err, unix.EAGAIN) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("cannot receive from the BMC: %w", err)
		}
		if answer.id != id || answer.message.length < 1 {
			continue // a late answer to an earlier question, or an event
		}
		if buf[0] != 0 {
			return nil, fmt.Errorf("the BMC answered with completion code 0x%02x", buf[0])
		}
		return buf[1:min(int(answer.message.length), len(buf))], nil
	}
}
