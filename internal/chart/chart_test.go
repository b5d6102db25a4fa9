package chart_test

import (
	"encoding/xml"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/chart"
)

var begin = time.Date(2026, 11, 7, 6, 0, 0, 0, time.UTC)

// rects are the fields of a picture, which has to be well-formed and draw within itself.
func rects(t *testing.T, svg string) (titles []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	number := func(e xml.StartElement, name string) int {
		for _, a := range e.Attr {
			if a.Name.Local == name {
				n, err := strconv.Atoi(a.Value)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatalf("%s has no %s", e.Name.Local, name)
		return 0
	}
	var wide, tall int
	inTitle := false
	for {
		token, err := d.Token()
		if err == io.EOF {
			return titles
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		switch e := token.(type) {
		case xml.StartElement:
			inTitle = e.Name.Local == "title"
			switch e.Name.Local {
			case "svg":
				for _, a := range e.Attr {
					if f := strings.Fields(a.Value); a.Name.Local == "viewBox" {
						wide, _ = strconv.Atoi(f[2])
						tall, _ = strconv.Atoi(f[3])
					}
				}
			case "rect":
				if x, y := number(e, "x"), number(e, "y"); x < 0 || y < 0 || x+number(e, "width") > wide || y+number(e, "height") > tall {
					t.Fatalf("a field at %d, %d is outside of %d × %d", x, y, wide, tall)
				}
			}
		case xml.CharData:
			if inTitle {
				titles = append(titles, string(e))
			}
		case xml.EndElement:
			inTitle = false
		}
	}
}

func TestPictures(t *testing.T) {
	hours := []chart.Hour{{Hour: begin, Row: "a", N: 1}, {Hour: begin.Add(2 * time.Hour), Row: "b", N: 60}, {Hour: begin.Add(2 * time.Hour), Row: "a", N: 60}}
	if got := strings.Join(rects(t, string(chart.Timeline(hours))), ", "); got != "2026-11-07 06:00: 1, 2026-11-07 08:00: 120" {
		t.Errorf("timeline: got %q", got)
	}
	if got := strings.Join(rects(t, string(chart.HeatMap(hours))), ", "); got != "a 2026-11-07 06:00: 1, a 2026-11-07 08:00: 60, b 2026-11-07 08:00: 60" {
		t.Errorf("heat map: got %q", got)
	}
	if chart.Timeline(nil) != "" || chart.HeatMap(nil) != "" {
		t.Error("nothing is a picture")
	}
}

// Whatever the hours are, the picture is well-formed, bounded and within itself.
func TestAnyHours(t *testing.T) {
	for name, hours := range map[string][]chart.Hour{
		"a hostile row":   {{Hour: begin, Row: `<script>"&'`, N: 1}},
		"thousands years": {{Hour: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), Row: "a", N: 1}, {Hour: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), Row: "a", N: 1}},
		"out of order":    {{Hour: begin.Add(time.Hour), Row: "a", N: 1}, {Hour: begin, Row: "a", N: 1}},
		"no end":          {{Hour: begin, Row: "a", N: math.MaxInt64}},
	} {
		for _, svg := range []string{string(chart.Timeline(hours)), string(chart.HeatMap(hours))} {
			if n := len(rects(t, svg)); n == 0 || n > 168 {
				t.Errorf("%s: %d fields", name, n)
			}
		}
	}
}
