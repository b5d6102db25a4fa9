package macaroons_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/macaroons/macaroonstest"
	"github.com/metalward/metalward/internal/secret"
)

// TestAgent asks about people as an agent does, and as strangers to the discharger.
func TestAgent(t *testing.T) {
	candid := macaroonstest.New(t)
	candid.Set("ann", "staff", "admins")
	good := candid.Agent("maas@candid")
	stranger, thief := good, good
	stranger.Username = "other@candid"
	thief.Key = macaroons.NewKey()
	for _, c := range []struct {
		name  string
		agent macaroons.Agent
		user  string
		want  int // groups, or -1
		kind  fault.Kind
	}{
		{"an agent", good, "ann", 2, 0},
		{"of an unknown person", good, "bob", -1, 0},
		{"an unknown agent", stranger, "ann", -1, fault.Unavailable},
		{"another key", thief, "ann", -1, fault.Unavailable},
	} {
		client, err := macaroons.NewClient(candid.Client(), c.agent)
		if err != nil {
			t.Fatal(err)
		}
		groups := []string{}
		err = client.Call(t.Context(), http.MethodGet, candid.URL+"/v1/u/"+c.user+"/groups", nil, &groups)
		if (err == nil) != (c.want >= 0) || err == nil && len(groups) != c.want || c.kind != 0 && !fault.Is(err, c.kind) {
			t.Errorf("%s: got %v, %v, want %d groups or %s", c.name, groups, err, c.want, c.kind)
		}
	}
}

// TestAgentLogsInOnce keeps what it acquired.
func TestAgentLogsInOnce(t *testing.T) {
	candid := macaroonstest.New(t)
	candid.Set("ann", "staff")
	client, err := macaroons.NewClient(candid.Client(), candid.Agent("maas@candid"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := client.Call(t.Context(), http.MethodGet, candid.URL+"/v1/u/ann", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if candid.Discharges != 2 { // the question, and the answer with a token
		t.Errorf("got %d discharges for three calls, want 2", candid.Discharges)
	}
}

// TestAgentLogsInAtItsOwnDischarger is not led elsewhere: another server may ask for a discharge by whomever it likes.
func TestAgentLogsInAtItsOwnDischarger(t *testing.T) {
	candid, other := macaroonstest.New(t), macaroonstest.New(t)
	other.Set("ann", "staff")
	a := candid.Agent("maas@candid")
	other.Agents[a.Username] = a.Key.Public()
	client, err := macaroons.NewClient(candid.Client(), a)
	if err != nil {
		t.Fatal(err)
	}
	err = client.Call(t.Context(), http.MethodGet, other.URL+"/v1/u/ann", nil, nil)
	if err == nil || other.Asked > 0 {
		t.Errorf("got %v and %d answers, want none", err, other.Asked)
	}
}

// TestHostileServer bounds what a server sends, and says nothing of its own words.
func TestHostileServer(t *testing.T) {
	const noise = "a-word-of-the-server"
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large":
			_, _ = w.Write(make([]byte, 2<<20))
		case "/no-macaroon":
			w.Header().Set("WWW-Authenticate", "Macaroon")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"Code":"macaroon discharge required","Message":"` + noise + `","Info":{}}`))
		case "/other":
			w.Header().Set("WWW-Authenticate", "Macaroon")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"Code":"` + noise + `","Message":"` + noise + `"}`))
		case "/nonsense":
			_, _ = w.Write([]byte("<" + noise))
		}
	}))
	t.Cleanup(s.Close)
	client, err := macaroons.NewClient(s.Client(), macaroons.Agent{URL: s.URL, Username: "a", Key: macaroons.NewKey()})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/large", "/no-macaroon", "/other", "/nonsense"} {
		var out any
		err := client.Call(t.Context(), http.MethodGet, s.URL+path, nil, &out)
		if _, ok := fault.As(err); !ok || strings.Contains(err.Error(), noise) {
			t.Errorf("%s: got %v, want a fault without the server's words", path, err)
		}
	}
}

// TestDischargeWithoutMacaroon gets an error, and no panic, from a discharger whose answers have no macaroon in them.
func TestDischargeWithoutMacaroon(t *testing.T) {
	keys, err := secret.NewKeyring(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for _, discharge := range []string{`{}`, `null`, `{"Macaroon":null}`} {
		mux := http.NewServeMux()
		s := httptest.NewTLSServer(mux)
		t.Cleanup(s.Close)
		bakery, site := macaroons.New(keys, time.Now, s.Client()), macaroons.Discharger{Location: s.URL, Realm: "test"}
		mux.HandleFunc("/discharge/info", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"Version":3,"PublicKey":%q}`, macaroons.NewKey().Public())
		})
		mux.HandleFunc("/discharge", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(discharge))
		})
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			body, err := bakery.Challenge(r.Context(), site, 3)
			if err != nil {
				t.Error(err)
			}
			macaroons.Challenged(w.Header())
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write(body)
		})
		client, err := macaroons.NewClient(s.Client(), macaroons.Agent{URL: s.URL, Username: "a", Key: macaroons.NewKey()})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Call(t.Context(), http.MethodGet, s.URL+"/question", nil, nil); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s, to an agent: got %v, want Unavailable", discharge, err)
		}
		if _, err := bakery.Begin(t.Context(), site); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s, to a login: got %v, want Unavailable", discharge, err)
		}
	}
}

// TestUnreachable says why a server cannot be reached.
func TestUnreachable(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	for _, c := range []struct {
		name, want string
		client     *http.Client
	}{
		{"its certificate", "certificate is not trusted", http.DefaultClient},
		{"the way out", "not allowed", egress.Config{}.Client()},
	} {
		client, err := macaroons.NewClient(c.client, macaroons.Agent{URL: s.URL, Username: "a", Key: macaroons.NewKey()})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Call(t.Context(), http.MethodGet, s.URL, nil, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// TestParseAgentFile takes what Candid writes, and nothing else.
func TestParseAgentFile(t *testing.T) {
	k := macaroons.NewKey()
	file := func(private, public, agents string) string {
		return `{"key":{"public":"` + public + `","private":"` + private + `"},"agents":` + agents + `}`
	}
	const one = `[{"url":"https://candid.example/","username":"maas@candid"}]`
	private := k.Private().RevealString()
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"a file", file(private, k.Public(), one), true},
		{"without the public key", file(private, "", one), true},
		{"another public key", file(private, macaroons.NewKey().Public(), one), false},
		{"no private key", file("", k.Public(), one), false},
		{"no agent", file(private, k.Public(), "[]"), false},
		{"plain HTTP", file(private, k.Public(), `[{"url":"http://candid.example","username":"a"}]`), false},
		{"a blank in the name", file(private, k.Public(), `[{"url":"https://candid.example","username":"a b"}]`), false},
		{"no JSON", "agents", false},
		{"too large", file(private, k.Public(), one) + strings.Repeat(" ", macaroons.MaxAgentFile), false},
	} {
		a, err := macaroons.ParseAgentFile([]byte(c.text))
		if (err == nil) != c.ok || err == nil && (a.URL != "https://candid.example" || a.Username != "maas@candid" || a.Key.Public() != k.Public()) {
			t.Errorf("%s: got %v, %v", c.name, a, err)
		}
		if err != nil && strings.Contains(err.Error(), private) {
			t.Errorf("%s: the error tells the private key", c.name)
		}
	}
}
