package netboot

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

// Pauses of the scripts, in seconds: retry is for what passes by itself, ask for what a person has to change.
const (
	retrySeconds = 10
	askSeconds   = 60
)

// place is where the rack answers a machine: the address that the machine itself reached it at.
type place struct {
	ip                  netip.Addr
	httpPort, httpsPort int
}

func (p place) http() string {
	return "http://" + netip.AddrPortFrom(p.ip, uint16(p.httpPort)).String()
}

func (p place) https() string {
	return "https://" + netip.AddrPortFrom(p.ip, uint16(p.httpsPort)).String()
}

// Everything that goes into a script passes one of the two functions below: iPXE expands ${…}, splits at
// blanks, && and ||, and ends comments and quotes by its own rules, so only characters without any meaning to
// it are let through. Source: ipxe.org/scripting and the parser in core/exec.c.

const wordMarks = "=,._:/+@%-"

func safe(s, marks string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(marks, c) >= 0) {
			return false
		}
	}
	return true
}

// maxArgs bounds what an operator adds to the kernel's command line; x86 kernels take 2048 bytes in all.
const maxArgs = 1024

// spoken makes a text fit for echo: strange characters become question marks.
func spoken(s string) string {
	b := []byte(s[:min(len(s), 200)])
	for i, c := range b {
		if !safe(string(c), wordMarks+" ") {
			b[i] = '?'
		}
	}
	return string(b)
}

// stageScript makes iPXE ask again with what only it knows.
func stageScript(p place) string {
	return fmt.Sprintf("#!ipxe\n:wait\nchain --replace %s/boot.ipxe?mac=${netX/mac}&platform=${platform}&uuid=${uuid} || sleep %d\ngoto wait\n",
		p.http(), retrySeconds)
}

// localScript goes on with the disk. On UEFI a plain exit would end in the firmware's menu.
func localScript() string {
	return "#!ipxe\necho Metalward: this machine boots from its disk.\niseq ${platform} efi && exit 1 || exit\n"
}

// waitScript says why nothing is booted and asks again: the machine never stands still for ever.
func waitScript(p place, reason string, seconds int) string {
	return fmt.Sprintf("#!ipxe\n:wait\necho Metalward: %s\necho Asking again in %d seconds.\nsleep %d\nchain --replace %s/boot.ipxe || goto wait\n",
		spoken(reason), seconds, seconds, p.http())
}

// ephemeralScript boots the in-memory system with the agent. Kinds: Internal if the decision holds what must
// not reach a script.
func ephemeralScript(p place, mac metal.MAC, d metal.BootDecision, ca string) (string, error) {
	if d.Token == "" || !safe(d.Token, "-_.") || len(d.Token) > 256 {
		return "", fault.New(fault.Internal, "The boot token is not usable.")
	}
	if len(ca) != 64 || !safe(ca, "") {
		return "", fault.New(fault.Internal, "This rack has no certificate to serve machines with yet.")
	}
	if len(d.KernelArgs) > maxArgs || !safe(d.KernelArgs, wordMarks+" ") {
		return "", fault.New(fault.Invalid, "The kernel_opts setting has a character that cannot be passed on.")
	}
	args := []string{
		"initrd=" + fileInitrd, // UEFI: the kernel finds the image by this name
		"console=tty0", "console=ttyS0,115200n8",
		"no_timer_check", // emulated machines on a busy host fail the timer check
		wire.ArgBootMAC + "=01-" + strings.ReplaceAll(string(mac), ":", "-"),
		wire.ArgRack + "=" + p.https(), wire.ArgCA + "=" + ca, wire.ArgToken + "=" + d.Token,
	}
	if extra := strings.Join(strings.Fields(d.KernelArgs), " "); extra != "" {
		args = append(args, extra)
	}
	return fmt.Sprintf(`#!ipxe
echo Metalward: %s
kernel %s/%s %s || goto failed
initrd %s/%s || goto failed
boot || goto failed
:failed
imgfree
echo Metalward: the boot files could not be loaded. Asking again in %d seconds.
sleep %d
chain --replace %s/boot.ipxe || goto failed
`, spoken(string(d.Purpose)), p.http(), fileKernel, strings.Join(args, " "), p.http(), fileInitrd, retrySeconds, retrySeconds, p.http()), nil
}
