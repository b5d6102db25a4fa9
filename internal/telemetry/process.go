package telemetry

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// Process adds what a process is made of: under the names that Prometheus' own library gives them, so that dashboards know them.
func (m *Metrics) Process(role, version string, started time.Time) {
	one := func(name, help string, read func() (float64, bool)) {
		m.Gauge(name, help, nil, func(_ context.Context, set func(float64, ...string)) error {
			if v, ok := read(); ok {
				set(v)
			}
			return nil
		})
	}
	sample := func(name string) func() (float64, bool) {
		return func() (float64, bool) {
			s := []metrics.Sample{{Name: name}}
			if metrics.Read(s); s[0].Value.Kind() != metrics.KindUint64 {
				return 0, false
			}
			return float64(s[0].Value.Uint64()), true
		}
	}
	m.Gauge("metalward_build_info", "Role and version of this process.", []string{"role", "version", "go"}, func(_ context.Context, set func(float64, ...string)) error {
		set(1, role, version, runtime.Version())
		return nil
	})
	one("process_start_time_seconds", "When this process started, in seconds since 1970.", func() (float64, bool) { return float64(started.UnixMilli()) / 1000, true })
	one("process_resident_memory_bytes", "Resident memory.", resident)
	one("go_goroutines", "Goroutines.", sample("/sched/goroutines:goroutines"))
	one("go_memstats_heap_inuse_bytes", "Bytes of objects on the heap.", sample("/memory/classes/heap/objects:bytes"))
	one("go_memstats_sys_bytes", "Bytes that the runtime has of the system.", sample("/memory/classes/total:bytes"))
	one("go_gc_cycles", "Collections of garbage so far.", sample("/gc/cycles/total:gc-cycles"))
}

// resident is this process's resident memory. Source: proc(5), /proc/self/statm: the second number, in pages.
func resident() (float64, bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	return float64(pages) * float64(os.Getpagesize()), err == nil
}
