package ui

import (
	"github.com/metalward/metalward/internal/enrich"
	"github.com/metalward/metalward/internal/region/sources"
)

// alertSource is the part of an alert's page that tells who its source is.
type alertSource struct {
	Client string
	Known  enrich.Known
	Public bool // others can be asked
}

func (q *request) sourceOf(client string) alertSource {
	return alertSource{client, q.ui.Sources.Look(client), sources.Public(client)}
}

// sources lists the sources of alerts; their names, if the reader asks for them.
func (q *request) sources() error {
	named := q.http.URL.Query().Get("names") == "1"
	list, err := q.ui.Sources.List(q.http.Context(), sources.MaxList, named)
	if err != nil {
		return err
	}
	return q.show("sources", "Sources of alerts", struct {
		Named bool
		Rows  []sources.Source
	}{named, list})
}

// askSource asks others who the source of an alert is, and shows what they say.
func (q *request) askSource() error {
	x, err := q.ui.Sources.Ask(q.http.Context(), q.pathID("id"), q.get("our_address"))
	if err != nil {
		return q.alertAgain(err)
	}
	return q.show("source", "Who "+x.Address+" is", struct {
		ID string
		sources.Answer
	}{q.http.PathValue("id"), x})
}
