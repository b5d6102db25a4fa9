package region

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// op is an OpenID provider over TLS: authorization code flow with PKCE, rotating keys, RP-initiated and back-channel
// logout. It holds its client to the standard, and can be told to break it itself.
type op struct {
	t        *testing.T
	srv      *httptest.Server
	ca       string // PEM file of its certificate
	id, key  string // of the client
	redirect string // registered
	clock    func() time.Time

	mu    sync.Mutex
	who   map[string]any // claims of who is logged in here; guarded by mu, as is what follows
	spoil func(map[string]any)
	alg   jose.SignatureAlgorithm
	keys  []jose.JSONWebKey // the last one signs
	codes map[string]url.Values
	// info answers UserInfo; nil: there is none. bearer is the access token that was handed out last.
	info   http.HandlerFunc
	bearer string
	// device is what the token endpoint says of the one device code: an error of RFC 8628, or "" for tokens; asked counts.
	device string
	asked  int
	used   []string // tokens and codes that were handed out
	down   bool
}

func newOP(t *testing.T) *op {
	t.Helper()
	o := &op{t: t, id: "metalward", key: "canary-client-secret", alg: jose.RS256, codes: map[string]url.Values{}, clock: time.Now}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		doc := map[string]any{"issuer": o.srv.URL, "authorization_endpoint": o.srv.URL + "/authorize", "token_endpoint": o.srv.URL + "/token", "jwks_uri": o.srv.URL + "/keys",
			"end_session_endpoint": o.srv.URL + "/logout", "backchannel_logout_supported": true, "authorization_response_iss_parameter_supported": true,
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "none"}, "token_endpoint_auth_methods_supported": []string{"client_secret_basic"}, "device_authorization_endpoint": o.srv.URL + "/device"}
		if o.info != nil {
			doc["userinfo_endpoint"] = o.srv.URL + "/userinfo"
		}
		o.answer(w, doc)
	})
	mux.HandleFunc("POST /device", o.beginDevice)
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		info, good := o.info, r.Header.Get("Authorization") == "Bearer "+o.bearer
		o.bearer = "" // once
		o.mu.Unlock()
		if !good {
			o.t.Errorf("UserInfo was asked for with %q", r.Header.Get("Authorization"))
		}
		info(w, r)
	})
	mux.HandleFunc("GET /authorize", o.authorize)
	mux.HandleFunc("POST /token", o.token)
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		set := jose.JSONWebKeySet{}
		for _, k := range o.keys {
			set.Keys = append(set.Keys, k.Public())
		}
		o.answer(w, set)
	})
	o.srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		down := o.down
		o.mu.Unlock()
		if down {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(o.srv.Close)
	o.ca = filepath.Join(t.TempDir(), "op.pem")
	if err := os.WriteFile(o.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	o.rotate(jose.RS256)
	return o
}

func (o *op) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// rotate withdraws the keys and signs with a new one.
func (o *op) rotate(alg jose.SignatureAlgorithm) {
	var key any
	var err error
	if key, err = rsa.GenerateKey(rand.Reader, 2048); alg == jose.ES256 {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.alg, o.keys = alg, []jose.JSONWebKey{{Key: key, KeyID: fmt.Sprintf("k%d", time.Now().UnixNano()), Algorithm: string(alg), Use: "sig"}}
}

// is says who is logged in at the provider.
func (o *op) is(claims map[string]any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.who = claims
}

// spoils changes the claims of the tokens to come; nil stops that.
func (o *op) spoils(fn func(map[string]any)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spoil = fn
}

func (o *op) setDown(down bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = down
}

// authorize sends who is logged in back with a code. What a client gets wrong ends here.
func (o *op) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name, want := range map[string]string{"client_id": o.id, "redirect_uri": o.redirect, "response_type": "code", "code_challenge_method": "S256"} {
		if q.Get(name) != want {
			o.t.Errorf("authorization request: got %s %q, want %q", name, q.Get(name), want)
			http.Error(w, "invalid_request", http.StatusBadRequest)
			return
		}
	}
	if len(q.Get("state")) < 32 || len(q.Get("nonce")) < 32 || len(q.Get("code_challenge")) != 43 || q.Get("state") == q.Get("nonce") {
		o.t.Errorf("authorization request: state, nonce or challenge is weak: %v", q)
	}
	code := rand.Text()
	o.mu.Lock()
	o.codes[code] = q
	o.used = append(o.used, code)
	o.mu.Unlock()
	back := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {o.srv.URL}}
	http.Redirect(w, r, o.redirect+"?"+back.Encode(), http.StatusFound)
}

// token trades a code, once, for tokens. Source: RFC 6749 section 4.1.3, RFC 7636 section 4.6.
func (o *op) token(w http.ResponseWriter, r *http.Request) {
	id, key, _ := r.BasicAuth()
	if r.PostFormValue("grant_type") == "urn:ietf:params:oauth:grant-type:device_code" {
		o.deviceToken(w, r)
		return
	}
	code := r.PostFormValue("code")
	o.mu.Lock()
	q, ok := o.codes[code]
	delete(o.codes, code)
	o.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if id != o.id || key != o.key || !ok || r.PostFormValue("redirect_uri") != o.redirect || base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge") {
		w.WriteHeader(http.StatusBadRequest)
		o.answer(w, map[string]string{"error": "invalid_grant", "error_description": "canary-description"})
		return
	}
	o.grant(w, map[string]any{"nonce": q.Get("nonce")})
}

// grant answers with tokens of who is logged in.
func (o *op) grant(w http.ResponseWriter, claims map[string]any) {
	now := o.clock()
	maps.Copy(claims, map[string]any{"iss": o.srv.URL, "aud": o.id, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()})
	access := rand.Text()
	o.mu.Lock()
	o.bearer = access
	maps.Copy(claims, o.who)
	if o.spoil != nil {
		o.spoil(claims)
	}
	o.mu.Unlock()
	o.answer(w, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": o.sign(claims), "refresh_token": o.remember(rand.Text())})
	o.remember(access)
}

const deviceCode = "canary-device-code"

// beginDevice hands out a code. Source: RFC 8628 section 3.2.
func (o *op) beginDevice(w http.ResponseWriter, r *http.Request) {
	if id, key, _ := r.BasicAuth(); id != o.id || key != o.key || r.PostFormValue("scope") == "" {
		o.t.Errorf("device authorization request: got %q, %v", id, r.PostForm)
	}
	o.answer(w, map[string]any{"device_code": o.remember(deviceCode), "user_code": "WDJB-MJHT", "verification_uri": o.srv.URL + "/enter", "verification_uri_complete": o.srv.URL + "/enter?code=WDJB-MJHT",
		"expires_in": 1800, "interval": 5})
}

// deviceToken says what became of the code. Source: RFC 8628 section 3.5.
func (o *op) deviceToken(w http.ResponseWriter, r *http.Request) {
	id, key, _ := r.BasicAuth()
	o.mu.Lock()
	said := o.device
	o.asked++
	o.mu.Unlock()
	if id != o.id || key != o.key || r.PostFormValue("device_code") != deviceCode {
		said = "invalid_grant"
	}
	if said != "" {
		w.WriteHeader(http.StatusBadRequest)
		o.answer(w, map[string]string{"error": said})
		return
	}
	o.grant(w, map[string]any{})
}

// says sets what becomes of the device code.
func (o *op) says(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.device = what
}

func (o *op) remember(s string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.used = append(o.used, s)
	return s
}

// sign makes a JWT; with the algorithm "none", one without a signature.
func (o *op) sign(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		o.t.Error(err)
	}
	o.mu.Lock()
	alg, key := o.alg, o.keys[len(o.keys)-1]
	o.mu.Unlock()
	if alg == "none" {
		b64 := base64.RawURLEncoding
		return o.remember(b64.EncodeToString([]byte(`{"alg":"none"}`)) + "." + b64.EncodeToString(payload) + ".")
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		o.t.Error(err)
		return ""
	}
	jws, err := s.Sign(payload)
	if err != nil {
		o.t.Error(err)
		return ""
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		o.t.Error(err)
	}
	return o.remember(text)
}
