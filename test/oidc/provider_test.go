package oidc

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// What the provider knows.
const (
	clientID     = "metalward"
	clientSecret = "canary-client-secret"
	person       = "kim"
	password     = "canary-provider-password"
	group        = "lab-ops"
)

// provider is a provider with one person and one client. Its ID tokens have a subject and nothing else: names, addresses and
// groups are in UserInfo.
type provider struct {
	*storage.Storage
	srv *httptest.Server
	ca  string // file of its certificate
	out string // where a logout may return to

	mu   sync.Mutex
	key  signingKey // guarded by mu
	info int        // questions to UserInfo, guarded by mu
}

// newProvider starts a provider; its handler waits for connect, because the client's addresses are not known yet.
func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{}
	p.srv = httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(p.srv.Close)
	p.ca = filepath.Join(t.TempDir(), "provider.pem")
	if err := os.WriteFile(p.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	p.rotate(t, "first")
	return p
}

// connect registers the region as the provider's client.
func (p *provider) connect(redirect, out string) {
	p.Storage = storage.NewStorageWithClients(people{}, map[string]*storage.Client{clientID: storage.WebClient(clientID, clientSecret, redirect)})
	p.out = out
	p.srv.Config.Handler = exampleop.SetupServer(p.srv.URL, p, slog.New(slog.NewTextHandler(io.Discard, nil)), false)
}

// rotate withdraws the key and signs with a new one.
func (p *provider) rotate(t *testing.T, id string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key = signingKey{id, key}
}

type people struct{}

var kim = &storage.User{ID: person, Username: person, Password: password, Email: "kim@example.org", EmailVerified: true}

func (people) GetUserByID(id string) *storage.User {
	if id == person {
		return kim
	}
	return nil
}
func (p people) GetUserByUsername(name string) *storage.User { return p.GetUserByID(name) }
func (people) ExampleClientID() string                       { return "service" }

// client is the example's with what it has no settings for.
type client struct {
	op.Client
	out string
}

func (c client) PostLogoutRedirectURIs() []string { return []string{c.out} }
func (c client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeDeviceCode}
}

func (p *provider) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := p.Storage.GetClientByClientID(ctx, id)
	return client{c, p.out}, err
}

func (p *provider) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	err := p.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin)
	info.AppendClaims("groups", []string{"staff", group})
	p.mu.Lock()
	p.info++
	p.mu.Unlock()
	return err
}

type signingKey struct {
	id  string
	key *rsa.PrivateKey
}

func (k signingKey) ID() string                                  { return k.id }
func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k signingKey) Key() any                                    { return k.key }

type publicKey struct{ signingKey }

func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return &k.key.PublicKey }

func (p *provider) SigningKey(context.Context) (op.SigningKey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.key, nil
}

func (p *provider) KeySet(context.Context) ([]op.Key, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return []op.Key{publicKey{p.key}}, nil
}
