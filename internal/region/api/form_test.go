package api

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

func decode(kind, body string) (map[string][]string, error) {
	r := httptest.NewRequest("POST", "https://localhost/", strings.NewReader(body))
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	return decodeForm(httptest.NewRecorder(), r)
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

// TestSlotsCannotBeForged renders a text that tries to look like a slot: it comes out as it went in.
func TestSlotsCannotBeForged(t *testing.T) {
	p := machineParts{m: &metal.Machine{SystemID: "x", Description: "\x01P0\x02 slot-00-P0", OwnerData: map[string]string{"k": "\x01Z1\x02"}}}
	body, err := marshal(p.json())
	if err != nil {
		t.Fatal(err)
	}
	text := toSlots(body)
	if n := bytes.Count(text, []byte{slotStart}); n != 3 { // zone, pool, power
		t.Errorf("got %d slots, want 3", n)
	}
	out, err := fillers{"P0": []byte(`"P"`), "Z0": []byte(`"Z"`)}.splice(nil, text, metal.PowerOn)
	if err != nil || bytes.IndexByte(out, slotStart) >= 0 || !bytes.Contains(out, []byte(`\u0001P0\u0002 slot-00-P0`)) || !bytes.Contains(out, []byte(`"power_state":"on"`)) {
		t.Errorf("got %s, %v", out, err)
	}
}
