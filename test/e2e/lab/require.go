//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
)

// Missing says why the lab cannot run here, or returns "". Tests skip with it.
func Missing() string {
	if os.Geteuid() != 0 {
		return "the lab makes network namespaces, so it needs root"
	}
	for _, tool := range []string{"ip", "qemu-system-x86_64", "ipmi_sim", "ipmitool", "tcpdump", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Sprintf("the lab needs %s, which is not installed", tool)
		}
	}
	for _, file := range []string{"/dev/net/tun", ovmf + "OVMF_CODE_4M.fd"} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Sprintf("the lab needs %s, which is not there", file)
		}
	}
	return ""
}
