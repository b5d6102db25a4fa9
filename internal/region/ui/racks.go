package ui

import (
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/controllers"
)

// controllerLine is a controller with what the list says of it.
type controllerLine struct {
	metal.Controller
	Up       bool
	Session  bool // connected to this very region
	IsRack   bool
	DaysLeft int  // of its certificate
	Soon     bool // within a month, or over
}

func (q *request) controllers() error {
	list, err := q.ui.Controllers.List(q.http.Context())
	if err != nil {
		return err
	}
	up, now := q.ui.Controllers.Connected(), time.Now()
	lines := make([]controllerLine, len(list))
	for i, c := range list {
		session := slices.Contains(up, c.SystemID)
		left := int(c.CertExpires.Sub(now).Hours() / 24)
		lines[i] = controllerLine{Controller: c, Session: session, Up: session || c.Connected(now) || c.Type == metal.NodeRegionController,
			IsRack: c.Type == metal.NodeRackController, DaysLeft: left, Soon: !c.CertExpires.IsZero() && left < 30}
	}
	return q.show("controllers", "Controllers", lines)
}

// rackToken is the page that shows an enrolment token, once, or the shared secret, when asked.
type rackToken struct {
	BaseURL, CAFingerprint string
	Name, Token, Command   string
	Expires                time.Time
	Secret                 string
	Rotated                time.Time // of the shared secret; zero if it never was
}

func (q *request) newRack() error {
	return q.show("rack_new", "Add rack controller", rackToken{})
}

// mintToken answers with the token itself instead of a redirect: it is nowhere to be read again.
func (q *request) mintToken() error {
	t, err := q.ui.Controllers.MintToken(q.http.Context(), q.get("name"))
	if err != nil {
		return q.again(err, "rack_new", "Add rack controller", rackToken{})
	}
	return q.show("rack_new", "Add rack controller", rackToken{BaseURL: q.ui.BaseURL, CAFingerprint: colons(q.ui.CAFingerprint), Name: t.RackName,
		Token: t.Text().RevealString(), Command: controllers.EnrolCommand(q.ui.BaseURL), Expires: t.Expires})
}

// showShared shows the shared secret, once for each click: the event is written first.
func (q *request) showShared() error {
	s, err := q.ui.Controllers.RevealShared(q.http.Context())
	if err != nil {
		return err
	}
	return q.show("rack_new", "Add rack controller", rackToken{Secret: s.Text().RevealString(), Rotated: s.Rotated})
}

func (q *request) rotateShared() error {
	if _, err := q.ui.Controllers.RotateShared(q.http.Context(), q.form.Has("refuse_tokens")); err != nil {
		return q.again(err, "rack_new", "Add rack controller", rackToken{})
	}
	return q.redirect("/controllers/new", "rotated")
}

// colons writes a fingerprint as other programs show it.
func colons(hex string) string {
	var parts []string
	for i := 0; i+2 <= len(hex); i += 2 {
		parts = append(parts, strings.ToUpper(hex[i:i+2]))
	}
	return strings.Join(parts, ":")
}

func (q *request) removeRackForm() error {
	c, err := q.ui.Controllers.Get(q.http.Context(), q.http.PathValue("id"))
	if err != nil {
		return err
	}
	return q.show("rack_remove", "Remove "+c.Hostname, c)
}

func (q *request) removeRack() error {
	c, err := q.ui.Controllers.Get(q.http.Context(), q.http.PathValue("id"))
	if err != nil {
		return err
	}
	if err := q.ui.Controllers.Remove(q.http.Context(), c.SystemID); err != nil {
		return q.again(err, "rack_remove", "Remove "+c.Hostname, c)
	}
	return q.redirect("/controllers", "removed")
}
