package netboot

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func serveTFTP(t testing.TB) *net.UDPAddr {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s := NewTFTP(bootFiles(t), slog.New(slog.DiscardHandler), nil)
	go func() { defer close(done); _ = s.Serve(ctx, conn) }()
	t.Cleanup(func() { cancel(); <-done })
	return conn.LocalAddr().(*net.UDPAddr)
}

// fetch is a TFTP client that loses every dropth packet it receives; it returns the file or the error packet's
// text, and the acknowledged options.
func fetch(t testing.TB, server *net.UDPAddr, request []byte, block, window, drop int) (file []byte, options, refused string) {
	t.Helper()
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.WriteToUDP(request, server)
	buf := make([]byte, 2048)
	want, inWindow, received := uint16(1), 0, 0
	var peer *net.UDPAddr
	ackBlock := func(n uint16) {
		_, _ = c.WriteToUDP(binary.BigEndian.AppendUint16([]byte{0, opAck}, n), peer)
	}
	for {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, from, err := c.ReadFromUDP(buf)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(file), err)
		}
		peer = from
		if received++; drop > 0 && received%drop == 0 {
			continue
		}
		switch p := buf[:n]; p[1] {
		case opError:
			return nil, "", string(bytes.TrimRight(p[4:], "\x00"))
		case opOptions:
			options = strings.ReplaceAll(string(p[2:len(p)-1]), "\x00", " ")
			ackBlock(0)
		case opData:
			if got := binary.BigEndian.Uint16(p[2:]); got != want {
				if inWindow = 0; got == want+1 || window == 1 { // lost one: say where we are
					ackBlock(want - 1)
				}
				continue
			}
			file = append(file, p[4:]...)
			want++
			last := len(p)-4 < block
			if inWindow++; inWindow == window || last {
				ackBlock(want - 1)
				inWindow = 0
			}
			if last {
				return file, options, ""
			}
		}
	}
}

func rrq(fields ...string) []byte {
	return []byte("\x00\x01" + strings.Join(fields, "\x00") + "\x00")
}

func TestTFTP(t *testing.T) {
	server := serveTFTP(t)
	tests := []struct {
		name          string
		request       []byte
		block, window int
		drop          int
		size          int
		options       string
		refused       string
	}{
		{"plain", rrq(fileBIOS, "octet"), 512, 1, 0, 4000, "", ""},
		{"leading slashes", rrq("//"+fileBIOS, "OCTET"), 512, 1, 0, 4000, "", ""},
		{"block size", rrq(fileUEFI, "octet", "blksize", "1468"), 1468, 1, 0, 160_000, "blksize 1468", ""},
		{"block size too big", rrq(fileUEFI, "octet", "blksize", "65464"), 1468, 1, 0, 160_000, "blksize 1468", ""},
		{"exact multiple", rrq(fileBIOS, "octet", "blksize", "1000"), 1000, 1, 0, 4000, "blksize 1000", ""},
		{"window", rrq(fileUEFI, "octet", "tsize", "0", "blksize", "1024", "windowsize", "16"), 1024, 16, 0, 160_000, "tsize 160000 blksize 1024 windowsize 16", ""},
		{"window with losses", rrq(fileUEFI, "octet", "blksize", "1468", "windowsize", "8", "timeout", "1"), 1468, 8, 61, 160_000, "blksize 1468 windowsize 8 timeout 1", ""},
		{"unknown options", rrq(fileBIOS, "octet", "multicast", "", "blksize", "x"), 512, 1, 0, 4000, "", ""},
		{"many blocks roll over", rrq(fileUEFI, "octet", "blksize", "8", "windowsize", "64"), 8, 64, 0, 160_000, "blksize 8 windowsize 64", ""},
		{"absent", rrq("revocations_sku.efi", "octet"), 512, 1, 0, 0, "", textNotFound},
		{"not a boot program", rrq("secret", "octet"), 512, 1, 0, 0, "", textNotFound},
		{"kernel is not for TFTP", rrq(fileKernel, "octet"), 512, 1, 0, 0, "", textNotFound},
		{"climbing", rrq("../secret", "octet"), 512, 1, 0, 0, "", textNotFound},
		{"mail", rrq(fileBIOS, "mail"), 512, 1, 0, 0, "", textIllegal},
		{"write", []byte("\x00\x02x\x00octet\x00"), 512, 1, 0, 0, "", textOnlyReading},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file, options, refused := fetch(t, server, tt.request, tt.block, tt.window, tt.drop)
			if len(file) != tt.size || options != tt.options || refused != tt.refused {
				t.Errorf("got %d bytes, options %q, refusal %q; want %d, %q, %q", len(file), options, refused, tt.size, tt.options, tt.refused)
			}
			if tt.size == 160_000 && string(file) != strings.Repeat("uefi", 40_000) {
				t.Error("the content is not the file's")
			}
		})
	}
}

// TestTFTPCurl lets another implementation judge.
func TestTFTPCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	if v, _ := exec.Command(curl, "--version").Output(); !bytes.Contains(v, []byte(" tftp ")) {
		t.Skip("this curl was built without TFTP")
	}
	out := filepath.Join(t.TempDir(), "out")
	b, err := exec.Command(curl, "-sS", "--max-time", "20", "--tftp-blksize", "1428", "-o", out, fmt.Sprintf("tftp://%s/%s", serveTFTP(t), fileUEFI)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if cmpOut, err := exec.Command("wc", "-c", out).Output(); err != nil || !bytes.HasPrefix(cmpOut, []byte("160000")) {
		t.Errorf("got %s", cmpOut)
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add(rrq(fileBIOS, "octet", "blksize", "1468", "windowsize", "16"))
	f.Add(rrq(`..\..\etc\passwd`, "octet"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxRequest {
			return
		}
		r, err := parseRequest(b)
		if err != nil {
			return
		}
		if strings.HasPrefix(r.name, "/") || strings.Contains("/"+r.name+"/", "/../") {
			t.Errorf("the name %q leaves the directory", r.name)
		}
		if r.block < minBlock || r.block > maxBlock || r.window < 1 || r.window > maxWindow {
			t.Errorf("got %+v", r)
		}
		if o := r.options(1); len(o) > 4*maxRequest {
			t.Errorf("%d bytes of options", len(o))
		}
	})
}
