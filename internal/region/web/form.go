package web

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/metalward/metalward/internal/fault"
)

// Limits of forms.
const (
	MaxForm   = 4 << 20 // bytes of a body: user data as base64 fits
	maxFields = 4096
)

// ReadForm reads the fields of a body: urlencoded, multipart (with or without base64 parts, and with none
// at all), or a JSON object. Kinds: Invalid, TooLarge.
func ReadForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Body == nil {
		return url.Values{}, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxForm))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, fault.New(fault.TooLarge, "The request body is larger than %d bytes.", MaxForm)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "The request body broke off.")
	}
	return decodeForm(r.Header.Get("Content-Type"), body)
}

// decodeForm decodes a body. Kinds: Invalid, TooLarge.
func decodeForm(contentType string, body []byte) (form url.Values, err error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil && contentType != "" {
		return nil, fault.New(fault.Invalid, "The Content-Type cannot be read.")
	}
	switch kind {
	case "multipart/form-data":
		form, err = decodeMultipart(string(body), params["boundary"])
	case "application/json":
		form, err = decodeJSON(body)
	case "application/x-www-form-urlencoded", "":
		if form, err = url.ParseQuery(string(body)); err != nil {
			err = fault.New(fault.Invalid, "The form is not properly encoded.")
		}
	default:
		return nil, fault.New(fault.Invalid, "Send a form: application/x-www-form-urlencoded or multipart/form-data, not %.64q.", kind)
	}
	if err == nil && len(form) > maxFields {
		err = fault.New(fault.TooLarge, "The form has more than %d fields.", maxFields)
	}
	return form, err
}

// decodeMultipart undoes the base64 transfer encoding that the maas command line puts on every part, which
// mime/multipart leaves alone.
func decodeMultipart(body, boundary string) (url.Values, error) {
	form := url.Values{}
	if boundary == "" {
		return nil, fault.New(fault.Invalid, "The multipart body has no boundary.")
	}
	if strings.TrimSpace(body) == "--"+boundary+"--" {
		return form, nil // libmaas sends this when there are no parameters
	}
	mr := multipart.NewReader(strings.NewReader(body), boundary)
	for n := 0; ; n++ {
		part, err := mr.NextRawPart()
		if errors.Is(err, io.EOF) {
			return form, nil
		}
		if err != nil || n > maxFields {
			return nil, fault.New(fault.Invalid, "The multipart body is malformed or has too many parts.")
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return nil, fault.New(fault.Invalid, "The multipart body is malformed.")
		}
		switch enc := strings.ToLower(part.Header.Get("Content-Transfer-Encoding")); enc {
		case "base64":
			if data, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(data)), "")); err != nil {
				return nil, fault.Field(part.FormName(), "The part is not valid base64.")
			}
		case "", "7bit", "8bit", "binary":
		default:
			return nil, fault.Field(part.FormName(), "The transfer encoding %.32q is not supported.", enc)
		}
		if name := part.FormName(); name != "" {
			form.Add(name, string(data))
		}
	}
}

// decodeJSON takes an object of plain values and lists of them: a superset of what MAAS accepts.
func decodeJSON(body []byte) (url.Values, error) {
	form := url.Values{}
	if len(body) == 0 {
		return form, nil
	}
	var doc map[string]any
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil || dec.More() {
		return nil, fault.New(fault.Invalid, "The body is not a JSON object.")
	}
	for name, v := range doc {
		list, ok := v.([]any)
		if !ok {
			list = []any{v}
		}
		for _, e := range list {
			switch e := e.(type) {
			case nil:
				form.Add(name, "")
			case string:
				form.Add(name, e)
			case bool, json.Number:
				form.Add(name, fmt.Sprint(e))
			default:
				b, err := json.Marshal(e)
				if err != nil {
					return nil, err
				}
				form.Add(name, string(b))
			}
		}
	}
	return form, nil
}
