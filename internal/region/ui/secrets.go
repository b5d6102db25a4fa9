package ui

import (
	"net/url"

	"github.com/metalward/metalward/internal/region/secrets"
)

const secretsPage = 100

// secrets shows how the secrets are kept, and never what they are.
func (q *request) secrets() error {
	l, err := q.ui.Secrets.List(q.http.Context(), q.http.URL.Query().Get("after"), secretsPage)
	if err != nil {
		return err
	}
	d := struct {
		secrets.Listing
		Next string
	}{Listing: l}
	if l.More {
		d.Next = "/settings/secrets?after=" + url.QueryEscape(l.Secrets[len(l.Secrets)-1].Name)
	}
	return q.show("secrets", "Secrets", d)
}
