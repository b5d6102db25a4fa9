package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/secret"
)

// Logins of the command line by an identity provider. Source of the fields and errors: RFC 8628 sections 3.2 and 3.5; they
// are not MAAS's.

// maxDeviceForm bounds a form of a device login, in bytes.
const maxDeviceForm = 16 << 10

// beginDevice starts a login: form "provider".
func (a *API) beginDevice(w http.ResponseWriter, r *http.Request) error {
	d, err := a.Providers.BeginDevice(r.Context(), r.PostFormValue("provider"))
	if err != nil {
		return err
	}
	return sendJSON(w, map[string]any{"device_code": d.Handle.RevealString(), "provider": d.Provider, "user_code": d.UserCode, "verification_uri": d.URL,
		"verification_uri_complete": d.FullURL, "expires_in": int(d.Life.Seconds()), "interval": int(d.Interval.Seconds())})
}

// pollDevice answers with an API key when the login has ended well: form "device_code", and "name" of the key.
func (a *API) pollDevice(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	l, err := a.Providers.PollDevice(ctx, secret.FromString(r.PostFormValue("device_code")))
	var wait *providers.Pending
	switch {
	case errors.As(err, &wait):
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		return json.NewEncoder(w).Encode(map[string]string{"error": wait.Code})
	case err != nil:
		return err
	}
	k, err := a.Identity.DeviceKey(ctx, l, r.PostFormValue("name"))
	if err != nil {
		return err
	}
	return sendJSON(w, map[string]string{"consumer_key": k.ConsumerKey, "token_key": k.TokenKey, "token_secret": k.Secret.RevealString(), "name": k.Name})
}

// bounded reads the form of a fixed path.
func bounded(fn func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		r.Body = http.MaxBytesReader(w, r.Body, maxDeviceForm)
		if err := r.ParseForm(); err != nil {
			return fault.New(fault.Invalid, "The form cannot be read.")
		}
		return fn(w, r)
	}
}
