package macaroons

import "testing"

func TestAbsolute(t *testing.T) {
	for ref, want := range map[string]string{
		"/login?id=1":                "https://candid.example/login?id=1",
		"https://other.example/x":    "https://other.example/x",
		"http://candid.example/x":    "",
		"https://a:b@candid.example": "",
		"/login?\u009b31m":           "", // an escape sequence to a terminal
		"/login?\u202e":              "",
		"":                           "",
	} {
		if got := absolute("https://candid.example/", ref); got != want {
			t.Errorf("%q: got %q, want %q", ref, got, want)
		}
	}
}
