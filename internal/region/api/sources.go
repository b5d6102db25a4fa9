package api

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/enrich"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/sources"
)

// bindSources binds who the sources of alerts are.
func (a *API) bindSources() map[string]handler {
	return map[string]handler{
		"alertsources.list": func(r *request) (any, error) {
			names, err := metal.ParseBool(r.form.Get("names"))
			if err != nil {
				return nil, fault.Field("names", "%s", fault.Message(err))
			}
			list, err := a.Sources.List(r.ctx, sources.MaxList, names)
			return each(list, sourceJSON), err
		},
		"alert.ask": func(r *request) (any, error) {
			id, err := r.id("id", authz.NounAlert)
			if err != nil {
				return nil, err
			}
			x, err := a.Sources.Ask(r.ctx, id, r.form.Get("our_address"))
			if err != nil {
				return nil, err
			}
			return struct {
				Address string   `json:"address"`
				Known   any      `json:"known"`
				Names   []string `json:"names"`
				Server  string   `json:"registry"`
				Range   string   `json:"range"`
				Network string   `json:"network"`
				Holder  string   `json:"holder"`
				Country string   `json:"country"`
				Abuse   string   `json:"abuse"`
				Report  string   `json:"report"`
			}{x.Address, networkJSON(x.Known), append([]string{}, x.Names...), x.Who.Server, x.Who.Range, x.Who.Network, x.Who.Holder, x.Who.Country, x.Who.Abuse, x.Report}, nil
		},
	}
}

func networkJSON(k enrich.Known) any {
	return struct {
		ASN     uint   `json:"asn"` // 0 when it is not known
		Holder  string `json:"holder"`
		Country string `json:"country"`
	}{k.ASN, k.Holder, k.Country}
}

func sourceJSON(s sources.Source) any {
	return struct {
		Address string          `json:"address"`
		Alerts  int             `json:"alerts"`
		Events  int64           `json:"events"`
		Worst   detect.Severity `json:"worst"`
		Known   any             `json:"known"`
		Names   []string        `json:"names"`
		Domain  string          `json:"domain"`
	}{s.Client, int(s.Alerts), s.Events, s.Worst, networkJSON(s.Known), append([]string{}, s.Names...), s.Domain}
}
