package api

import (
	"net/netip"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/blocks"
	"github.com/metalward/metalward/internal/region/store"
)

// bindBlocks binds who is shut out of the site.
func (a *API) bindBlocks() map[string]handler {
	return map[string]handler{
		"blocks.list": a.listBlocks,
		"blocks.observed": func(r *request) (any, error) {
			_, _, limit, err := r.page()
			if err != nil {
				return nil, err
			}
			st, err := a.Blocks.Get(r.ctx, limit)
			return each(st.Wishes, blockWishJSON), err
		},
		"blocks.create": func(r *request) (any, error) {
			b, err := a.Blocks.Add(r.ctx, blocks.Wanted{Address: r.form.Get("address"), Reason: r.form.Get("reason"), For: r.form.Get("for")})
			if err != nil {
				return nil, err
			}
			return a.blockJSON(b), nil
		},
		"blocks.clear": func(r *request) (any, error) {
			n, err := a.Blocks.Clear(r.ctx, r.form.Get("reason"))
			return map[string]any{"ended": n}, err
		},
		"blocks.on": func(r *request) (any, error) {
			if err := a.Blocks.On(r.ctx); err != nil {
				return nil, err
			}
			return a.blockPolicy(r)
		},
		"block.read": func(r *request) (any, error) {
			b, err := a.Blocks.Find(r.ctx, r.path["address"])
			if err != nil {
				return nil, err
			}
			return a.blockJSON(b), nil
		},
		"block.lift": func(r *request) (any, error) {
			return nil, a.Blocks.Lift(r.ctx, r.path["address"], r.form.Get("reason"))
		},
		"blockpolicy.read": a.blockPolicy,
		"blockpolicy.update": func(r *request) (any, error) {
			if _, err := a.Blocks.Change(r.ctx, blocks.Change{Enforce: r.get("enforce"), First: r.get("first"), Longest: r.get("longest"), Most: r.get("most"), Never: r.get("never")}); err != nil {
				return nil, err
			}
			return a.blockPolicy(r)
		},
	}
}

func (a *API) listBlocks(r *request) (any, error) {
	before, _, limit, err := r.page()
	if err != nil {
		return nil, err
	}
	var list []store.Block
	switch r.form.Get("ended") {
	case "true":
		list, err = a.Blocks.Ended(r.ctx, before, limit)
	case "", "false":
		list, err = a.Blocks.List(r.ctx, before, limit)
	default:
		err = fault.Field("ended", "Use true or false.")
	}
	return each(list, a.blockJSON), err
}

func (a *API) blockJSON(b store.Block) any {
	var ended any
	if !b.Ended.IsZero() {
		ended = b.Ended.UTC().Format(time.RFC3339)
	}
	left := 0
	if ended == nil {
		left = max(0, int(b.Until.Sub(a.Now())/time.Second))
	}
	return struct {
		ID       int64        `json:"id"`
		Prefix   netip.Prefix `json:"prefix"`
		Unit     string       `json:"unit"` // "" by a person
		Reason   string       `json:"reason"`
		By       string       `json:"by"`
		From     string       `json:"from"`
		Until    string       `json:"until"`
		Left     int          `json:"left_seconds"`
		Ended    any          `json:"ended"` // null while it lasts
		How      string       `json:"ended_how"`
		EndedBy  string       `json:"ended_by"`
		EndedWhy string       `json:"ended_reason"`
		URI      string       `json:"resource_uri"`
	}{b.ID, b.Prefix, b.Unit, b.Reason, b.By, b.From.UTC().Format(time.RFC3339), b.Until.UTC().Format(time.RFC3339), left, ended, string(b.How), b.EndedBy, b.EndedWhy,
		uri("/blocks/%s/", b.Prefix.Addr())}
}

func blockWishJSON(w store.BlockWish) any {
	return struct {
		Prefix netip.Prefix `json:"prefix"`
		Unit   string       `json:"unit"`
		Reason string       `json:"reason"`
		Why    string       `json:"why_not"`
		First  string       `json:"first"`
		Last   string       `json:"last"`
		Times  int64        `json:"times"`
	}{w.Prefix, w.Unit, w.Reason, w.Why, w.First.UTC().Format(time.RFC3339), w.Last.UTC().Format(time.RFC3339), w.Times}
}

func (a *API) blockPolicy(r *request) (any, error) {
	st, err := a.Blocks.Get(r.ctx, 0)
	if err != nil {
		return nil, err
	}
	type report struct {
		Controller string               `json:"system_id"`
		Hostname   string               `json:"hostname"`
		How        string               `json:"how"`
		Applied    int                  `json:"applied"`
		Refused    []store.BlockRefusal `json:"refused"`
		Problem    string               `json:"problem"`
		Behind     bool                 `json:"behind"`
	}
	p := blocks.Policy(st.Site.Policy).Filled()
	return struct {
		On          bool           `json:"on"`
		OffBy       string         `json:"off_by"`
		Blocks      int            `json:"blocks"`
		Enforce     []string       `json:"enforce"`
		Possible    []string       `json:"enforceable"`
		First       string         `json:"first"`
		Longest     string         `json:"longest"`
		Most        int            `json:"most"`
		Never       []netip.Prefix `json:"never"`
		Controllers []report       `json:"controllers"`
	}{!st.Site.Off, st.Site.OffBy, st.Count, append([]string{}, p.Enforce...), unitIDs(a.Blocks), p.First.String(), p.Longest.String(), p.Most, append([]netip.Prefix{}, p.Never...),
		each(st.Reports, func(x blocks.Report) report {
			return report{x.Controller.SystemID, x.Controller.Hostname, x.How, x.Applied, append([]store.BlockRefusal{}, x.Refused...), x.Problem, x.Behind}
		})}, nil
}

func unitIDs(s *blocks.Service) []string {
	ids := []string{}
	for _, u := range s.Enforceable() {
		ids = append(ids, u.ID)
	}
	return ids
}
