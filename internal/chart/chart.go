// Package chart draws what happened when, as SVG that stands in a page: a timeline of all events, and a heat map of them by row and hour. The pictures need no
// script, take their colours from the page, and say in words what each field is. It is pure.
package chart

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"
)

// Sizes, in units of the picture.
const (
	most   = 168 // fields across: a week of hours; a longer time has longer fields
	cell   = 5
	label  = 220
	row    = 16
	height = 60 // of the timeline's bars
	foot   = 18
)

// Hour is how many events of a row were in an hour.
type Hour struct {
	Hour time.Time // its beginning, UTC
	Row  string
	N    int64
}

// span lays hours out: the first one's beginning, how long a field is, and how many there are.
func span(hours []Hour) (first time.Time, step time.Duration, width int) {
	first, last := hours[0].Hour, hours[0].Hour
	for _, h := range hours {
		if h.Hour.Before(first) {
			first = h.Hour
		}
		if h.Hour.After(last) {
			last = h.Hour
		}
	}
	step = time.Hour
	for last.Sub(first)/step >= most {
		step *= 2
	}
	return first, step, int(last.Sub(first)/step) + 1
}

// foots writes the first and the last moment below a picture.
func foots(b *strings.Builder, first time.Time, step time.Duration, width, y int) {
	last := first.Add(time.Duration(width) * step)
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text><text x="%d" y="%d" text-anchor="end">%s</text></svg>`, label, y, first.Format("2006-01-02 15:04"), label+max(width*cell, 260), y, last.Format("2006-01-02 15:04"))
}

func open(b *strings.Builder, what string, tall int) {
	fmt.Fprintf(b, `<svg class="chart" role="img" aria-label="%s" viewBox="0 0 %d %d" font-family="monospace" font-size="11" fill="currentColor">`, what, label+most*cell+8, tall)
}

// Timeline draws all events by time: a bar for each field of an hour or more. Nothing for no hours.
func Timeline(hours []Hour) template.HTML {
	if len(hours) == 0 {
		return ""
	}
	first, step, width := span(hours)
	sums := make([]int64, width)
	var peak int64 = 1
	for _, h := range hours {
		at := int(h.Hour.Sub(first) / step)
		sums[at] += h.N
		peak = max(peak, sums[at])
	}
	var b strings.Builder
	open(&b, "events by time", height+foot)
	fmt.Fprintf(&b, `<text x="0" y="12">most: %d</text>`, peak)
	for x, n := range sums {
		if n == 0 {
			continue
		}
		tall := max(1, int(height*float64(n)/float64(peak)))
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="#b00020"><title>%s: %d</title></rect>`, label+x*cell, height-tall, cell-1, tall, first.Add(time.Duration(x)*step).Format("2006-01-02 15:04"), n)
	}
	foots(&b, first, step, width, height+foot-4)
	return template.HTML(b.String())
}

// HeatMap draws events by row and time: a line for each row, a field for each hour or more, darker for more. Nothing for no hours.
func HeatMap(hours []Hour) template.HTML {
	if len(hours) == 0 {
		return ""
	}
	first, step, width := span(hours)
	var rows []string
	grid := make(map[string][]int64)
	for _, h := range hours {
		if grid[h.Row] == nil {
			grid[h.Row] = make([]int64, width)
			rows = append(rows, h.Row)
		}
		grid[h.Row][int(h.Hour.Sub(first)/step)] += h.N
	}
	slices.Sort(rows)
	var b strings.Builder
	open(&b, "events by hour and detection", len(rows)*row+foot)
	for y, name := range rows {
		escaped := template.HTMLEscapeString(name)
		fmt.Fprintf(&b, `<text x="0" y="%d">%s</text>`, y*row+12, escaped)
		for x, n := range grid[name] {
			if n == 0 {
				continue
			}
			shade := 0.25
			for limit := int64(1); limit < n && shade < 1; limit *= 8 {
				shade += 0.15
			}
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" fill="#b00020" fill-opacity="%.2f"><title>%s %s: %d</title></rect>`, label+x*cell, y*row+2, cell, row-4, min(shade, 1), escaped,
				first.Add(time.Duration(x)*step).Format("2006-01-02 15:04"), n)
		}
	}
	foots(&b, first, step, width, len(rows)*row+foot-4)
	return template.HTML(b.String())
}
