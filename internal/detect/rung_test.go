package detect_test

import (
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
)

// What every shipped unit's thresholds are written as is read as the same.
func TestRungText(t *testing.T) {
	for _, u := range units.Every {
		for _, r := range u.Rungs {
			if got, err := detect.ParseRungs(r.Text()); err != nil || len(got) != 1 || got[0] != r {
				t.Errorf("%s: %q is read as %+v, %v", u.ID, r.Text(), got, err)
			}
		}
	}
	got, err := detect.ParseRungs(" 5 within 60s: medium \n\n20 and 5 different within 1h: high")
	want := []detect.Rung{{Count: 5, Window: time.Minute, Severity: detect.Medium}, {Count: 20, Distinct: 5, Window: time.Hour, Severity: detect.High}}
	if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "x", "5", "5 within 1m", "5 within 1m: grave", "0 within 1m: low", "1001 within 1m: low", "5 within 25h: low", "5 within -1m: low", "5 within 1: low", "5 different and 5 within 1m: low",
		"1 and 2 within 1m: low", "1 and 2 different and 3 different within 1m: low", "1\n1\n1"} {
		if got, err := detect.ParseRungs(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, got)
		}
	}
}

// FuzzRungs: what is read is within limits, and the same when it is written and read again.
func FuzzRungs(f *testing.F) {
	f.Add("5 within 60s: medium\n20 and 5 different within 1h: high")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := detect.ParseRungs(text)
		if err != nil {
			return
		}
		for _, r := range list {
			again, err := detect.ParseRungs(r.Text())
			if err != nil || len(again) != 1 || again[0] != r {
				t.Fatalf("%+v is written as %q and read as %+v, %v", r, r.Text(), again, err)
			}
			u := detect.Unit{ID: "x", Title: "x", Do: "x", Key: []detect.Field{detect.Source}, Distinct: detect.User, Rungs: []detect.Rung{r}}
			if why := u.Problem(); why != "" {
				t.Fatalf("%+v: %s", r, why)
			}
		}
	})
}
