// Package telemetry is what operators' programs see of a controller: metrics in Prometheus' text form, the health of what it depends
// on, and the profiler.
//
// Nobody sees any of it by chance: metrics are served on the loopback or to who has a token, and the profiler on a socket in the state
// folder. Labels come from small fixed sets: never the name of a machine or a person.
package telemetry

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Metrics is a set of metrics. Safe for concurrent use.
type Metrics struct {
	mu       sync.Mutex
	families []*family // guarded by mu
}

// family is a metric with all its label values.
type family struct {
	name, help, kind string
	labels           []string
	bounds           []float64 // of a histogram, rising

	mu     sync.Mutex
	series map[string]*series // by label values; guarded by mu
	read   func(ctx context.Context, set func(value float64, labels ...string)) error
}

type series struct {
	labels []string
	value  float64 // of a histogram: the sum
	counts []uint64
	count  uint64
}

// maxSeries bounds the label values of one metric; what comes later is not counted.
const maxSeries = 1000

func (m *Metrics) add(f *family) *family {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.series = map[string]*series{}
	m.families = append(m.families, f)
	return f
}

// at is the series of some label values; nil when there are too many. The family is locked.
func (f *family) at(labels []string) *series {
	if len(labels) != len(f.labels) {
		panic(fmt.Sprintf("metric %s has %d labels, not %d", f.name, len(f.labels), len(labels)))
	}
	key := strings.Join(labels, "\xff")
	s := f.series[key]
	if s == nil && len(f.series) < maxSeries {
		s = &series{labels: slices.Clone(labels), counts: make([]uint64, len(f.bounds))}
		f.series[key] = s
	}
	return s
}

// Counter counts what happens. Safe for concurrent use.
type Counter struct{ f *family }

// Counter makes a counter; its name ends with "_total".
func (m *Metrics) Counter(name, help string, labels ...string) Counter {
	return Counter{m.add(&family{name: name, help: help, kind: "counter", labels: labels})}
}

// Add counts n more with some label values.
func (c Counter) Add(n float64, labels ...string) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	if s := c.f.at(labels); s != nil {
		s.value += n
	}
}

// Histogram counts how long things take. Safe for concurrent use.
type Histogram struct{ f *family }

// Histogram makes a histogram of durations with upper bounds in seconds, rising.
func (m *Metrics) Histogram(name, help string, bounds []float64, labels ...string) Histogram {
	return Histogram{m.add(&family{name: name, help: help, kind: "histogram", labels: labels, bounds: bounds})}
}

// Observe counts one duration.
func (h Histogram) Observe(d time.Duration, labels ...string) {
	seconds := d.Seconds()
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	s := h.f.at(labels)
	if s == nil {
		return
	}
	s.value += seconds
	s.count++
	if i, _ := slices.BinarySearch(h.f.bounds, seconds); i < len(s.counts) {
		s.counts[i]++
	}
}

// Gauge makes a gauge that is read when somebody looks. read sets the values that there are; one that fails leaves the gauge out.
func (m *Metrics) Gauge(name, help string, labels []string, read func(ctx context.Context, set func(value float64, labels ...string)) error) {
	m.add(&family{name: name, help: help, kind: "gauge", labels: labels, read: read})
}

// Write writes all metrics. Source: Prometheus, exposition formats, text format 0.0.4.
func (m *Metrics) Write(ctx context.Context, w io.Writer) error {
	m.mu.Lock()
	families := slices.Clone(m.families)
	m.mu.Unlock()
	out := bufio.NewWriter(w)
	for _, f := range families {
		f.write(ctx, out)
	}
	return out.Flush()
}

func (f *family) write(ctx context.Context, w *bufio.Writer) {
	g := f
	if f.read != nil { // into a family of this reading's own
		g = &family{name: f.name, labels: f.labels, series: map[string]*series{}}
		if err := f.read(ctx, func(value float64, labels ...string) {
			if s := g.at(labels); s != nil {
				s.value = value
			}
		}); err != nil {
			return
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.series) == 0 {
		return
	}
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", f.name, helpEscape.Replace(f.help), f.name, f.kind)
	list := make([]*series, 0, len(g.series))
	for _, s := range g.series {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *series) int { return slices.CompareFunc(a.labels, b.labels, cmp.Compare) })
	for _, s := range list {
		if f.kind != "histogram" {
			f.line(w, "", s.labels, "", s.value)
			continue
		}
		var below uint64
		for i, bound := range f.bounds {
			below += s.counts[i]
			f.line(w, "_bucket", s.labels, number(bound), float64(below))
		}
		f.line(w, "_bucket", s.labels, "+Inf", float64(s.count))
		f.line(w, "_sum", s.labels, "", s.value)
		f.line(w, "_count", s.labels, "", float64(s.count))
	}
}

var (
	helpEscape  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	labelEscape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

func (f *family) line(w *bufio.Writer, suffix string, labels []string, le string, value float64) {
	w.WriteString(f.name + suffix)
	sep := byte('{')
	pair := func(name, value string) {
		w.WriteByte(sep)
		sep = ','
		w.WriteString(name + `="` + labelEscape.Replace(strings.ToValidUTF8(value, "\uFFFD")) + `"`)
	}
	for i, l := range labels {
		pair(f.labels[i], l)
	}
	if le != "" {
		pair("le", le)
	}
	if sep == ',' {
		w.WriteByte('}')
	}
	w.WriteString(" " + number(value) + "\n")
}

func number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
