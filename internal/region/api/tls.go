package api

import (
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/certs"
	"github.com/metalward/metalward/internal/secret"
)

// bindTLS binds the certificate of the pages and the API.
func (a *API) bindTLS() map[string]handler {
	read := func(r *request) (any, error) {
		st, err := a.Certs.Status(r.ctx)
		return tlsJSON(st), err
	}
	return map[string]handler{
		"tls.read": read,
		"tls.enable": func(r *request) (any, error) {
			var parts []certs.Part
			for _, name := range []string{"key", "cert", "cacert"} {
				if text := r.get(name); text != nil && *text != "" {
					parts = append(parts, certs.Part{Name: name, Data: []byte(*text)})
				}
			}
			st, err := a.Certs.Enable(r.ctx, parts...)
			return tlsJSON(st), err
		},
		"tls.acme": func(r *request) (any, error) {
			agree, err := metal.ParseBool(r.form.Get("agree_tos"))
			if err != nil {
				return nil, fault.Field("agree_tos", "Say true or false.")
			}
			st, err := a.Certs.SetACME(r.ctx, certs.ACME{Directory: r.form.Get("directory"), Email: r.form.Get("email"), Challenge: r.form.Get("challenge"),
				Names: strings.Fields(r.form.Get("names")), EABKid: r.form.Get("eab_kid"), EABKey: secret.FromString(r.form.Get("eab_key")), AgreeTOS: agree})
			return tlsJSON(st), err
		},
		"tls.disable": func(r *request) (any, error) {
			if yes, err := metal.ParseBool(r.form.Get("confirm")); err != nil || !yes {
				return nil, fault.Field("confirm", "Say true: people who trust the other authority only will be refused from now on.")
			}
			if err := a.Certs.Disable(r.ctx); err != nil {
				return nil, err
			}
			return read(r)
		},
		"tls.renew": func(r *request) (any, error) {
			if err := a.Certs.Renew(r.ctx); err != nil {
				return nil, err
			}
			return read(r)
		},
	}
}

type certificateJSON struct {
	Subject     string   `json:"subject"`
	Issuer      string   `json:"issuer"`
	Names       []string `json:"names"`
	NotBefore   string   `json:"not_before"`
	NotAfter    string   `json:"not_after"`
	Fingerprint string   `json:"sha256"`
	Key         string   `json:"key"`
}

type knownJSON struct {
	What string `json:"what"`
	certificateJSON
	Renews bool   `json:"renews_itself"`
	State  string `json:"state"`
	Days   int    `json:"days"`
}

func certJSON(d certs.Described) certificateJSON {
	return certificateJSON{d.Subject, d.Issuer, orEmpty(d.Names), d.NotBefore.UTC().Format(time.RFC3339), d.NotAfter.UTC().Format(time.RFC3339), d.Fingerprint, d.Key}
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

type acmeJSON struct {
	Directory string   `json:"directory"`
	Email     string   `json:"email"`
	Challenge string   `json:"challenge"`
	Names     []string `json:"names"`
	Pending   bool     `json:"pending"`
	Failures  int      `json:"failures"`
	Error     string   `json:"error"`
	RetryAt   string   `json:"retry_at"`
	RenewAt   string   `json:"renew_at"`
}

func acmeStatusJSON(a *certs.ACMEStatus) *acmeJSON {
	if a == nil {
		return nil
	}
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	return &acmeJSON{a.Directory, a.Email, a.Challenge, orEmpty(a.Names), a.Pending, a.Failures, a.Error, at(a.RetryAt), at(a.RenewAt)}
}

func tlsJSON(st certs.Status) any {
	source := "own"
	switch {
	case st.Given && st.ACME != nil:
		source = "acme"
	case st.Given:
		source = "given"
	}
	return struct {
		Source    string            `json:"source"`
		Host      string            `json:"host"`
		Chain     []certificateJSON `json:"chain"`
		PEM       string            `json:"certificate"`
		Authority string            `json:"own_authority_sha256"`
		Warnings  []string          `json:"warnings"`
		Known     []knownJSON       `json:"known"`
		ACME      *acmeJSON         `json:"acme"`
	}{source, st.Host, each(st.Chain, certJSON), string(st.PEM), st.Authority, orEmpty(st.Warnings), each(st.Known, func(k certs.Known) knownJSON {
		return knownJSON{k.What, certJSON(k.Described), k.Renews, string(k.State), k.Days}
	}), acmeStatusJSON(st.ACME)}
}
