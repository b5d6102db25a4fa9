package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkWatchLive follows an access log and sshd's that grow by 20,000 lines a second together, in which a new source of five refused logins comes twice a
// second, and measures how long after the fifth is written the alert arrives. The floor is a fifth of a second: how often logs are looked at.
func BenchmarkWatchLive(b *testing.B) {
	const (
		rate = 20_000 // lines a second
		tick = 10 * time.Millisecond
		span = 5 * time.Second
	)
	dir := b.TempDir()
	program := filepath.Join(dir, "metalward")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", program, "github.com/metalward/metalward/cmd/metalward")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	var waits []time.Duration
	var lines, took float64
	for run := range b.N {
		ssh, web := filepath.Join(dir, fmt.Sprint(run, "auth.log")), filepath.Join(dir, fmt.Sprint(run, "access.log"))
		var files [2]*os.File
		for i, path := range []string{ssh, web} {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			files[i] = f
		}
		cmd := exec.Command(program, "watch", "live", "--format", "json", "--only", "ssh_bruteforce,web_sqli,web_burst,web_probe", ssh, web)
		out, err := cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		said, err := cmd.StderrPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		bufio.NewScanner(said).Scan() // "Watching …"
		var mu sync.Mutex
		written := map[string]time.Time{}
		read := make(chan struct{})
		go func() {
			defer close(read)
			for sc := bufio.NewScanner(out); sc.Scan(); {
				var e struct{ Unit, Source, Severity string }
				if json.Unmarshal(sc.Bytes(), &e) == nil && e.Unit == "ssh_bruteforce" && e.Severity == "medium" {
					mu.Lock()
					if at, ok := written[e.Source]; ok {
						waits = append(waits, time.Since(at))
						delete(written, e.Source)
					}
					mu.Unlock()
				}
			}
		}()
		began := time.Now()
		for n, next := 0, began; time.Since(began) < span; n++ {
			var text [2][]byte
			now := time.Now()
			for i := range int(rate * tick / time.Second) {
				if i%2 == 0 {
					text[0] = fmt.Appendf(text[0], "%s h sshd[%d]: Received disconnect from 192.0.2.%d: 11: Bye Bye [preauth]\n", now.Format(time.Stamp), n*200+i, i%250+1)
				} else {
					text[1] = fmt.Appendf(text[1], "192.0.2.%d - - [%s] \"GET /MAAS/api/2.0/machines/?hostname=node-%d HTTP/1.1\" 200 42 \"-\" \"agent\"\n", i%250+1, now.Format("02/Jan/2006:15:04:05 -0700"), i)
				}
			}
			source := fmt.Sprintf("198.51.100.%d", n/50+1)
			if n%50 == 0 {
				for i := range 5 {
					text[0] = fmt.Appendf(text[0], "%s h sshd[%d]: Failed password for root from %s port %d ssh2\n", now.Format(time.Stamp), 1_000_000+n*5+i, source, 1000+i)
				}
				mu.Lock()
				written[source] = time.Now()
				mu.Unlock()
			}
			for i, f := range files {
				if _, err := f.Write(text[i]); err != nil {
					b.Fatal(err)
				}
			}
			lines += float64(rate * tick / time.Second)
			next = next.Add(tick)
			time.Sleep(time.Until(next))
		}
		took += time.Since(began).Seconds()
		time.Sleep(2 * time.Second) // for the last
		_ = cmd.Process.Signal(os.Interrupt)
		<-read
		_ = cmd.Wait()
		if len(written) > 0 {
			b.Errorf("%d alerts did not come within two seconds", len(written))
		}
	}
	slices.Sort(waits)
	b.ReportMetric(lines/took, "lines/s")
	b.ReportMetric(float64(waits[len(waits)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(waits[len(waits)-1].Milliseconds()), "max-ms")
	b.ReportMetric(waits[len(waits)-1].Seconds()/0.2, "max/floor")
	b.ReportMetric(0, "ns/op")
}
