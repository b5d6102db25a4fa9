package web

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/fault"
)

func decode(kind, body string) (map[string][]string, error) {
	r := httptest.NewRequest("POST", "https://localhost/", strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	return ReadForm(httptest.NewRecorder(), r)
}

func TestDecodeForm(t *testing.T) {
	for _, c := range []struct {
		name, kind, body, want string // want is the field "a", or "!" for a refusal
	}{
		{"urlencoded", "application/x-www-form-urlencoded", "a=1%202&b=x", "1 2"},
		{"no type", "", "a=1", "1"},
		{"multipart", "multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nraw\r\n--B--\r\n", "raw"},
		{"base64 part", "multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n--B--\r\n", "hello"},
		{"bad base64 part", "multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\n***\r\n--B--\r\n", "!"},
		{"no parts", "multipart/form-data; boundary=B", "--B--\r\n", ""},
		{"no boundary", "multipart/form-data", "x", "!"},
		{"broken multipart", "multipart/form-data; boundary=B", "--B\r\nnonsense", "!"},
		{"JSON", "application/json", `{"a":true,"b":["x","y"]}`, "true"},
		{"broken JSON", "application/json", `{"a":`, "!"},
		{"JSON with more behind", "application/json", `{"a":1}{}`, "!"},
		{"other type", "text/xml", "<a/>", "!"},
		{"bad escape", "application/x-www-form-urlencoded", "a=%zz", "!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			form, err := decode(c.kind, c.body)
			if c.want == "!" {
				if !fault.Is(err, fault.Invalid) {
					t.Errorf("got %v and %v, want Invalid", form, err)
				}
				return
			}
			if err != nil || strings.Join(form["a"], "") != c.want {
				t.Errorf("got %q and %v, want %q", form["a"], err, c.want)
			}
		})
	}
}

func FuzzDecodeForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", "a=1&b=%20")
	f.Add("multipart/form-data; boundary=B", "--B\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=\r\n--B--\r\n")
	f.Add("application/json", `{"a":["b",1,null,{"c":2}]}`)
	f.Fuzz(func(t *testing.T, kind, body string) {
		form, err := decode(kind, body)
		if err != nil && fault.KindOf(err) == fault.Internal {
			t.Errorf("an error without a kind: %v", err)
		}
		if err == nil && len(form) > maxFields {
			t.Errorf("got %d fields", len(form))
		}
	})
}
