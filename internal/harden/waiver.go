package harden

import (
	"fmt"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
)

// Limits of the files that people hand over.
const (
	MaxFile  = 4 << 20 // bytes
	maxWords = 2_000   // bytes of an owner or a reason
)

// Waiver says that somebody answers for a finding until a day. It hides nothing: the finding stays in each report, with the waiver.
type Waiver struct {
	Check   string        `json:"check"`
	Product guard.Product `json:"product"`
	Subject string        `json:"subject"` // as reports show it
	Owner   string        `json:"owner"`
	Reason  string        `json:"reason"`
	Until   string        `json:"until"` // the last day, in UTC, such as 2027-01-31
}

// Waivers reads a file of waivers: {"waivers": […]}. Kinds: Invalid, naming the waiver and what is wrong with it.
func Waivers(text []byte) ([]Waiver, error) {
	var file struct {
		Waivers []Waiver `json:"waivers"`
	}
	if err := strict(text, &file); err != nil {
		return nil, fault.New(fault.Invalid, "waivers: The file cannot be read: %s.", guard.Show(err.Error()))
	}
	seen := map[Waiver]bool{}
	for i, w := range file.Waivers {
		bad := func(format string, args ...any) error {
			return fault.New(fault.Invalid, "waivers: Number %d: %s", i+1, fmt.Sprintf(format, args...))
		}
		checks, err := Select([]string{w.Check})
		switch {
		case w.Check == "" || err != nil || len(checks) != 1:
			return nil, bad("there is no check %s.", guard.Quote(w.Check))
		case checks[0].Versions[w.Product] == "":
			return nil, bad("the check is not for the product %s.", guard.Quote(string(w.Product)))
		case w.Subject == "":
			return nil, bad("say what it is about, in \"subject\", as the report shows it.")
		case w.Owner == "" || w.Reason == "" || len(w.Owner) > maxWords || len(w.Reason) > maxWords:
			return nil, bad("say who answers for it, in \"owner\", and why, in \"reason\".")
		}
		if _, err := time.Parse(time.DateOnly, w.Until); err != nil {
			return nil, bad("%s is no day such as 2027-01-31: say until when, in \"until\".", guard.Quote(w.Until))
		}
		one := Waiver{Check: w.Check, Product: w.Product, Subject: w.Subject}
		if seen[one] {
			return nil, bad("there is one of the same check, product and subject before.")
		}
		seen[one] = true
		w.Owner, w.Reason = guard.Show(w.Owner), guard.Show(w.Reason)
		file.Waivers[i] = w
	}
	return file.Waivers, nil
}

// Waive marks what is waived. A waiver that has ended is a note, and its finding counts again; so is one that nothing needs.
func (r *Report) Waive(list []Waiver) {
	for _, w := range list {
		used := false
		today := r.Time.Format(time.DateOnly)
		for i := range r.Findings {
			f := &r.Findings[i]
			if f.Check != w.Check || f.Product != w.Product || f.Subject != w.Subject || f.State != guard.Fail && f.State != guard.Unchecked {
				continue
			}
			used = true
			if today > w.Until {
				f.Evidence = append(f.Evidence[:len(f.Evidence):len(f.Evidence)], fmt.Sprintf("A waiver of %s for it ended on %s.", w.Owner, w.Until))
				continue
			}
			f.Waiver = &w
		}
		if !used {
			r.Remarks = append(r.Remarks, fmt.Sprintf("The waiver of %s for %s (%s) of %s is not needed: there is no such finding.", w.Owner, guard.Show(w.Subject), w.Product, w.Check))
		}
	}
	r.settle()
}

// strict reads a file of one JSON value that has nothing unknown in it and nothing after it.
func strict(text []byte, into any) error {
	if len(text) > MaxFile {
		return fmt.Errorf("it has more than %d bytes", MaxFile)
	}
	return decode(text, into)
}
