package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/guard/catalog"
	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/wire"
)

// The committed pages are those that the tables make.
func TestCommitted(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "reference")
	for name, page := range pages {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%v: run go run ./cmd/gen-reference", err)
			continue
		}
		if d := cmp.Diff(page(), string(got)); d != "" {
			t.Errorf("%s is not up to date; run go run ./cmd/gen-reference (- wanted, + committed):\n%s", name, d)
		}
	}
}

// A unit that is gone has no page.
func TestNoOthers(t *testing.T) {
	files, err := os.ReadDir(filepath.Join("..", "..", "docs", "reference", detectionsFolder))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if pages[filepath.Join(detectionsFolder, f.Name())] == nil {
			t.Errorf("%s is of no unit; run go run ./cmd/gen-reference", f.Name())
		}
	}
}

// What a reader needs is there for every row.
func TestComplete(t *testing.T) {
	for _, o := range maasapi.Operations {
		if o.Doc == "" || maasapi.HandlerInfo[o.Handler] == "" || o.Action == "" {
			t.Errorf("%s: Doc, Action, or the handler's documentation is missing", o.ID)
		}
		for _, p := range o.Params {
			if !strings.HasSuffix(p.Doc, ".") {
				t.Errorf("%s: %s is not documented by a sentence", o.ID, p.Name)
			}
		}
	}
	for _, m := range wire.Messages {
		if senders[m.From] == "" || m.Limit <= 0 || m.Doc == "" {
			t.Errorf("message %s: sender, limit or documentation is missing", m.Name)
		}
	}
}

// The detections that the guide's page names are there.
func TestGuideDetections(t *testing.T) {
	for _, a := range catalog.Guide {
		for _, id := range a.Detections {
			if !slices.ContainsFunc(units.Every, func(u detect.Unit) bool { return u.ID == id }) {
				t.Errorf("%q: there is no detection %s", a.Text, id)
			}
		}
	}
}
