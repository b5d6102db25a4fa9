package ui

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/alerts"
	"github.com/metalward/metalward/internal/region/blocks"
	"github.com/metalward/metalward/internal/region/store"
)

// Bounds of the page of blocks.
const (
	blockPage = 500
	wishPage  = 100
	endedPage = 50
)

type blockList struct {
	blocks.Standing
	Rows   []blockLine
	Ended  []blockLine
	Wishes []wishLine
	Units  []enforced
	Policy policyText
	// Address and Reason fill the form to block somebody, when another page sends its reader here.
	Address, Reason string
}

// blockLine is a block for people.
type blockLine struct {
	store.Block
	Title string // of the detection; "" by a person
	Left  string
}

type wishLine struct {
	store.BlockWish
	Title string
}

// enforced is a detection, and whether it blocks.
type enforced struct {
	ID, Title string
	On        bool
}

type policyText struct {
	First, Longest, Most, Never string
	Observing                   bool // no detection blocks
}

// left says in words how long something lasts still.
func left(d time.Duration) string {
	switch {
	case d <= 0:
		return "over"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds())+1)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes())+1)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours())+1)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24)+1)
}

// span writes a time as forms take it.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.String()
}

func newBlockLines(list []store.Block, now time.Time) (lines []blockLine) {
	for _, b := range list {
		l := blockLine{Block: b, Left: left(b.Until.Sub(now))}
		if b.Unit != "" {
			l.Title = alerts.Unit(b.Unit).Title
		}
		lines = append(lines, l)
	}
	return lines
}

func (q *request) blockData() (d blockList, err error) {
	ctx, s := q.http.Context(), q.ui.Blocks
	if d.Standing, err = s.Get(ctx, wishPage); err != nil {
		return d, err
	}
	active, err := s.List(ctx, 0, blockPage)
	if err != nil {
		return d, err
	}
	ended, err := s.Ended(ctx, 0, endedPage)
	if err != nil {
		return d, err
	}
	now := time.Now()
	d.Rows, d.Ended = newBlockLines(active, now), newBlockLines(ended, now)
	for _, w := range d.Standing.Wishes {
		d.Wishes = append(d.Wishes, wishLine{w, alerts.Unit(w.Unit).Title})
	}
	p := blocks.Policy(d.Site.Policy).Filled()
	for _, u := range s.Enforceable() {
		d.Units = append(d.Units, enforced{u.ID, u.Title, slices.Contains(p.Enforce, u.ID)})
	}
	var never []string
	for _, n := range p.Never {
		never = append(never, n.String())
	}
	d.Policy = policyText{span(p.First), span(p.Longest), fmt.Sprint(p.Most), strings.Join(never, ", "), len(p.Enforce) == 0}
	query := q.http.URL.Query()
	d.Address, d.Reason = query.Get("address"), query.Get("reason")
	return d, nil
}

// blocks shows who is shut out.
func (q *request) blocks() error {
	d, err := q.blockData()
	if err != nil {
		return err
	}
	return q.show("blocks", "Blocks", d)
}

// onBlocks does something and shows the page again.
func (q *request) onBlocks(err error) error {
	if err == nil {
		return q.redirect("/blocks", "saved")
	}
	d, failed := q.blockData()
	if failed != nil {
		return failed
	}
	return q.again(err, "blocks", "Blocks", d)
}

func (q *request) addBlock() error {
	_, err := q.ui.Blocks.Add(q.http.Context(), blocks.Wanted{Address: q.get("address"), Reason: q.get("reason"), For: q.get("for")})
	return q.onBlocks(err)
}

func (q *request) liftBlock() error {
	err := q.ui.Blocks.Lift(q.http.Context(), q.get("lift"), "")
	if fault.Is(err, fault.NotFound) { // it ended while the page was open
		err = nil
	}
	return q.onBlocks(err)
}

func (q *request) clearBlocks() error {
	_, err := q.ui.Blocks.Clear(q.http.Context(), "")
	return q.onBlocks(err)
}

func (q *request) switchBlocksOn() error { return q.onBlocks(q.ui.Blocks.On(q.http.Context())) }

func (q *request) saveBlockPolicy() error {
	text := func(name string) *string { s := q.get(name); return &s }
	enforce := strings.Join(q.form["enforce"], " ")
	_, err := q.ui.Blocks.Change(q.http.Context(), blocks.Change{Enforce: &enforce, First: text("first"), Longest: text("longest"), Most: text("most"), Never: text("never")})
	return q.onBlocks(err)
}

// alertBlock is what an alert's page says of its source.
type alertBlock struct {
	Address string // that could be blocked; "" when the alert names nobody
	Block   *blockLine
	Wishes  []store.BlockWish // why it is not blocked
	Link    string            // to the form that blocks it
}

func (q *request) alertBlock(a store.Alert) (x alertBlock, err error) {
	if a.Client == "" || q.ui.Blocks == nil {
		return x, nil
	}
	x.Address = a.Client
	x.Link = "/blocks?" + url.Values{"address": {a.Client}, "reason": {fmt.Sprintf("alert %d: %s", a.ID, alerts.Unit(a.Unit).Title)}}.Encode()
	b, err := q.ui.Blocks.Find(q.http.Context(), a.Client)
	switch {
	case err == nil:
		x.Block = &newBlockLines([]store.Block{b}, time.Now())[0]
	case fault.Is(err, fault.NotFound):
		if x.Wishes, err = q.ui.Blocks.Observed(q.http.Context(), a.Client); err != nil {
			return x, err
		}
	case fault.Is(err, fault.Invalid): // nothing that could be blocked
		x.Address = ""
	default:
		return x, err
	}
	return x, nil
}
