package api

import (
	"net/http"
	"strconv"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

func (a *API) createImage(r *request) (any, error) {
	size, err := strconv.ParseInt(r.form.Get("size"), 10, 64)
	if err != nil {
		return nil, fault.Field("size", "Enter the size of the file in bytes.")
	}
	kind := r.form.Get("filetype")
	if kind == "" {
		kind = "tgz" // MAAS's default, which says clearly what is not supported
	}
	b, err := a.Images.Announce(r.ctx, metal.BootResource{Name: r.form.Get("name"), Title: metal.Printable(r.form.Get("title"), 255), Architecture: r.form.Get("architecture"),
		FileType: kind, SHA256: r.form.Get("sha256"), SizeBytes: size})
	return imageJSON(b, true), err
}

func (a *API) uploadImage(r *request) (any, error) {
	id, err := r.id("resource_id", authz.NounImage)
	if err != nil {
		return nil, err
	}
	if r.path["id"] != r.path["resource_id"] {
		return nil, authz.NotFound(authz.NounImage)
	}
	if _, err := a.Images.Append(r.ctx, id, r.http.Body, r.http.ContentLength); err != nil {
		return nil, err
	}
	return text{http.StatusOK, "OK"}, nil
}
