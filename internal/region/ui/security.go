package ui

import (
	"strings"

	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/region/certs"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/telemetry"
)

type security struct {
	certs.Status
	Checks []telemetry.Check
	Vault  secrets.VaultStatus
	Disks  []host.Disk
	Hosts  hosts
}

func (q *request) securityAgain(cause error) error {
	st, err := q.ui.Certs.Status(q.http.Context())
	if err != nil {
		return err
	}
	data := security{Status: st, Checks: q.ui.Health.Checks(q.http.Context()), Disks: q.ui.Disks(q.http.Context())}
	if data.Vault, err = q.ui.Secrets.VaultStatus(q.http.Context()); err != nil {
		return err
	}
	if data.Hosts, err = q.hosts(); err != nil {
		return err
	}
	if cause != nil {
		return q.again(cause, "security", "Security", data)
	}
	return q.show("security", "Security", data)
}

// security is the page of the certificate that people see, and of all that the site depends on.
func (q *request) security() error { return q.securityAgain(nil) }

func (q *request) enableCertificate() error {
	var parts []certs.Part
	for _, name := range []string{"key", "cert", "cacert"} {
		if text := q.form.Get(name); text != "" {
			parts = append(parts, certs.Part{Name: name, Data: []byte(text)})
		}
	}
	if len(parts) == 0 {
		parts = []certs.Part{{Name: "key"}}
	}
	if _, err := q.ui.Certs.Enable(q.http.Context(), parts...); err != nil {
		q.form.Del("key") // is not sent back
		return q.securityAgain(err)
	}
	return q.redirect("/settings/security", "saved")
}

func (q *request) acmeCertificate() error {
	_, err := q.ui.Certs.SetACME(q.http.Context(), certs.ACME{Directory: q.form.Get("directory"), Email: q.form.Get("email"), Challenge: q.form.Get("challenge"),
		Names: strings.Fields(q.form.Get("names")), EABKid: q.form.Get("eab_kid"), EABKey: secret.FromString(q.form.Get("eab_key")), AgreeTOS: q.form.Get("agree_tos") == "true"})
	if err != nil {
		q.form.Del("eab_key") // is not sent back
		return q.securityAgain(err)
	}
	return q.redirect("/settings/security", "saved")
}

func (q *request) disableCertificate() error {
	if err := q.ui.Certs.Disable(q.http.Context()); err != nil {
		return q.securityAgain(err)
	}
	return q.redirect("/settings/security", "saved")
}

func (q *request) renewCertificate() error {
	if err := q.ui.Certs.Renew(q.http.Context()); err != nil {
		return q.securityAgain(err)
	}
	return q.redirect("/settings/security", "saved")
}
