package watch

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/logs/source"
)

// engineOver runs all units over a text once.
func engineOver(b *testing.B, text []byte) *detect.Engine {
	g, err := detect.New(units.Every, detect.Site{}, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	p := logs.NewParser(time.UTC, 2026)
	if err := source.Records(bytes.NewReader(text), p, func(r *logs.Record, line string) error { g.Take(r, detect.Line{From: "bench", Text: line}); return nil }); err != nil && err != io.EOF {
		b.Fatal(err)
	}
	return g
}

func sshText(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		at := time.Date(2026, 11, 7, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * 200 * time.Millisecond).Format(time.Stamp)
		ip := fmt.Sprintf("198.51.%d.%d", i/97%256, i%251)
		switch i % 5 {
		case 0:
			fmt.Fprintf(&b, "%s host sshd[%d]: Failed password for root from %s port %d ssh2\n", at, 1000+i%60000, ip, 1024+i%60000)
		case 1:
			fmt.Fprintf(&b, "%s host sshd[%d]: Received disconnect from %s port %d:11: Bye Bye [preauth]\n", at, 1000+i%60000, ip, 1024+i%60000)
		case 2:
			fmt.Fprintf(&b, "%s host sshd[%d]: Invalid user admin%d from %s port %d\n", at, 1000+i%60000, i%50, ip, 1024+i%60000)
		case 3:
			fmt.Fprintf(&b, "%s host sshd[%d]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=%s  user=root\n", at, 1000+i%60000, ip)
		case 4:
			fmt.Fprintf(&b, "%s host CRON[%d]: pam_unix(cron:session): session opened for user root by (uid=0)\n", at, 1000+i%60000)
		}
	}
	return b.Bytes()
}

func webText(n int, hostile bool) []byte {
	var b bytes.Buffer
	for i := range n {
		at := time.Date(2026, 11, 7, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * 300 * time.Millisecond).Format("02/Jan/2006:15:04:05 -0700")
		ip := fmt.Sprintf("198.51.%d.%d", i/97%256, i%251)
		target := fmt.Sprintf("/MAAS/api/2.0/machines/?hostname=node-%d&limit=50", i)
		switch {
		case hostile && i%2 == 0:
			target = fmt.Sprintf("/item?id=%d%%27%%20UNION%%20ALL%%20SELECT%%20NULL,version(),%d--%%20-&x=%%3Cscript%%3Ealert(%d)%%3C/script%%3E", i, i, i)
		case hostile:
			target = "/x?q=" + strings.Repeat("(", 200) + fmt.Sprint(i)
		case i%4 == 0:
			target = fmt.Sprintf("/search?q=rack+%d+of+the+second+row&sort=name", i)
		case i%4 == 1:
			target = fmt.Sprintf("/MAAS/r/assets/index-%d.js", i%40)
		}
		fmt.Fprintf(&b, "%s - - [%s] \"GET %s HTTP/1.1\" 200 %d \"https://maas.example/MAAS/r/machines\" \"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\"\n", ip, at, target, 1000+i%9000)
	}
	return b.Bytes()
}

func benchText(b *testing.B, text []byte) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		engineOver(b, text)
	}
}

func BenchmarkSSH(b *testing.B)        { benchText(b, sshText(100_000)) }
func BenchmarkWeb(b *testing.B)        { benchText(b, webText(50_000, false)) }
func BenchmarkWebHostile(b *testing.B) { benchText(b, webText(50_000, true)) }

func benchFile(b *testing.B, name string) {
	root := os.Getenv("METALWARD_LOGS")
	if root == "" {
		root = labelled
	}
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		b.Skip("the labelled logs are not beside the project")
	}
	benchText(b, bytes.Repeat(text, 20))
}

func BenchmarkRealSSH(b *testing.B) { benchFile(b, "sshd/secrepo-auth.log") }
func BenchmarkRealWeb(b *testing.B) { benchFile(b, "web/zanbil-access.log") }

// BenchmarkSources has a million sources, each with a name of its own: no line finds anything in the processor's caches.
func BenchmarkSources(b *testing.B) {
	var t bytes.Buffer
	for i := range 1_000_000 {
		fmt.Fprintf(&t, "Nov  7 06:%02d:%02d h sshd[%d]: Failed password for invalid user u%d from %d.%d.%d.%d port %d ssh2\n", i/30000, i/500%60, i%60000+1, i, 11+i%7, i>>16, i>>8&255, i&255, 1024+i%60000)
	}
	benchText(b, t.Bytes())
}
