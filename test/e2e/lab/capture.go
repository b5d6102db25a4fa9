//go:build linux

package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// Capture is a running or finished packet capture of one interface.
type Capture struct {
	path    string
	process *Process
}

// Capture records all packets on an interface of the node into Dir()/NAME.pcap.
// It returns when the recording has begun.
func (n *Network) Capture(ctx context.Context, node Node, iface, name string) (*Capture, error) {
	c := &Capture{path: filepath.Join(n.dir, name+".pcap")}
	// -U and --immediate-mode: nothing lingers in a buffer. -Z root: the file
	// is in a directory that the tcpdump user cannot write to.
	p, err := n.Start(node, name+"-tcpdump", nil, "tcpdump", "-i", iface, "-n", "-s", "0",
		"-U", "--immediate-mode", "-B", "65536", "-Z", "root", "-w", c.path)
	if err != nil {
		return nil, err
	}
	c.process = p
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := p.WaitLog(ctx, "listening on"); err != nil {
		return nil, err
	}
	return c, nil
}

// Path is the pcap file.
func (c *Capture) Path() string { return c.path }

var droppedLine = regexp.MustCompile(`(\d+) packets? dropped by (?:kernel|interface)`)

// Stop ends the capture. It fails when packets were lost, because then nothing
// can be said about what was not seen.
func (c *Capture) Stop(ctx context.Context) error {
	// Packets sent just before are still on their way to tcpdump.
	if err := sleep(ctx, 300*time.Millisecond); err != nil {
		return err
	}
	if err := c.process.Stop(ctx); err != nil {
		return err
	}
	log, err := readLog(c.process)
	if err != nil {
		return err
	}
	for _, m := range droppedLine.FindAllStringSubmatch(log, -1) {
		if lost, _ := strconv.Atoi(m[1]); lost > 0 {
			return fmt.Errorf("cannot trust capture %s: %d packets were lost", filepath.Base(c.path), lost)
		}
	}
	return nil
}
