package host

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPolicies asks the kernel, in a network of its own, before and after there is a policy of IPsec.
func TestPolicies(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may make a network namespace and ask for its policies")
	}
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("ip is not here, which makes the policy; install the package iproute2")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test, and its network with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace may be made here: %v", err)
	}
	if found, err := policies(); found || err != nil {
		t.Errorf("without a policy: got %v, %v", found, err)
	}
	out, err := exec.Command(ip, "xfrm", "policy", "add", "src", "10.0.0.1", "dst", "10.0.0.2", "dir", "out", "tmpl", "src", "10.0.0.1", "dst", "10.0.0.2", "proto", "esp", "mode", "tunnel").CombinedOutput()
	if err != nil {
		t.Skipf("this kernel takes no policy of IPsec: %v: %s", err, out)
	}
	if found, err := policies(); !found || err != nil {
		t.Errorf("with a policy: got %v, %v", found, err)
	}
}
