package bench

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// watchLogs writes a log of sshd and an access log, each of about so many bytes, with attacks in them. The shares of sshd's lines are those of three days of a
// real host under attack: six of ten say goodbye, one and a half refuse a name. They are written bit by bit: a program's greatest memory, as the kernel counts
// it, begins with that of who started it.
func watchLogs(b *testing.B, dir string, size int) (ssh, web string) {
	b.Helper()
	start := time.Date(2026, 11, 7, 0, 0, 0, 0, time.UTC)
	write := func(name string, line func(i int) string) string {
		path := filepath.Join(dir, name)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		w, n := bufio.NewWriter(f), 0
		for i := 0; n < size; i++ {
			l := line(i)
			n += len(l)
			if _, err := w.WriteString(l); err != nil {
				b.Fatal(err)
			}
		}
		if err := errors.Join(w.Flush(), f.Close()); err != nil {
			b.Fatal(err)
		}
		return path
	}
	ssh = write("auth.log", func(i int) string {
		at, pid := start.Add(time.Duration(i)*100*time.Millisecond).Format(time.Stamp), 1000+i/20%60000
		ip := fmt.Sprintf("198.51.100.%d", i/500%251)
		text := fmt.Sprintf("Received disconnect from %s: 11: Bye Bye [preauth]", ip)
		switch i % 20 {
		case 0, 7, 14:
			text = fmt.Sprintf("Invalid user nagios%d from %s", i%40, ip)
		case 1, 8, 15:
			text = fmt.Sprintf("input_userauth_request: invalid user nagios%d [preauth]", i%40)
		case 19:
			text = fmt.Sprintf("reverse mapping checking getaddrinfo for host%d.example.net [%s] failed - POSSIBLE BREAK-IN ATTEMPT!", i, ip)
		case 10:
			return fmt.Sprintf("%s ip-203-0-113-153 CRON[%d]: pam_unix(cron:session): session opened for user root by (uid=0)\n", at, pid)
		}
		return fmt.Sprintf("%s ip-203-0-113-153 sshd[%d]: %s\n", at, pid, text)
	})
	web = write("access.log", func(i int) string {
		target := fmt.Sprintf("/MAAS/api/2.0/machines/?hostname=node-%d&limit=50", i)
		switch i % 10 {
		case 0:
			target = fmt.Sprintf("/item?id=%d%%27%%20UNION%%20ALL%%20SELECT%%20NULL,version()--%%20-", i)
		case 1, 2, 3:
			target = fmt.Sprintf("/MAAS/r/assets/index-%d.js", i%40)
		case 4, 5:
			target = fmt.Sprintf("/search?q=rack+%d+of+the+second+row&sort=name", i)
		}
		return fmt.Sprintf("198.51.%d.%d - - [%s] \"GET %s HTTP/1.1\" 200 %d \"https://maas.example/MAAS/r/machines\" \"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\"\n",
			i/97%256, i%251, start.Add(time.Duration(i)*200*time.Millisecond).Format("02/Jan/2006:15:04:05 -0700"), target, 1000+i%9000)
	})
	return ssh, web
}

// BenchmarkWatch scans a log of sshd and an access log of 100 MB each on one core, beside fail2ban-regex and GoAccess where they are installed (of
// fail2ban a hundredth of the log, which it takes as long for). The floor is reading the same bytes with wc.
func BenchmarkWatch(b *testing.B) {
	const size = 100 << 20
	dir := b.TempDir()
	program := filepath.Join(dir, "metalward")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "github.com/metalward/metalward/cmd/metalward")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	ssh, web := watchLogs(b, dir, size)
	small, _ := watchLogs(b, b.TempDir(), size/100)
	run := func(exits int, name string, args ...string) (float64, float64) {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
		start := time.Now()
		out, err := cmd.CombinedOutput()
		took := time.Since(start).Seconds()
		if cmd.ProcessState == nil || exits >= 0 && cmd.ProcessState.ExitCode() != exits {
			b.Fatalf("%v: %.2000s", err, out)
		}
		return took, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024
	}
	var rate [2][]float64
	var rss, floor []float64
	b.ResetTimer()
	for range b.N {
		f, _ := run(0, "wc", "-l", ssh)
		floor = append(floor, size/1e6/f)
		for i, path := range []string{ssh, web} {
			took, mib := run(1, program, "watch", "scan", path, "--format", "json", "--output", filepath.Join(dir, "out.json"))
			rate[i], rss = append(rate[i], size/1e6/took), append(rss, mib)
		}
	}
	b.ReportMetric(median(rate[0]), "sshd-MB/s")
	b.ReportMetric(median(rate[1]), "access-MB/s")
	b.ReportMetric(median(floor), "wc-MB/s")
	b.ReportMetric(median(rss), "MiB")
	if path, err := exec.LookPath("fail2ban-regex"); err == nil {
		took, _ := run(-1, path, small, "/etc/fail2ban/filter.d/sshd.conf")
		b.ReportMetric(median(rate[0])/(size/100/1e6/took), "×fail2ban-regex")
	}
	if path, err := exec.LookPath("goaccess"); err == nil {
		took, _ := run(-1, path, web, "--log-format=COMBINED", "--no-global-config", "-o", filepath.Join(dir, "out.html"))
		b.ReportMetric(median(rate[1])/(size/1e6/took), "×goaccess")
	}
}
