package transit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// engine is the fake Vault, with the real transit engine in the place of its own.
type engine struct {
	*vaulttest.Fake
	backend logical.Backend
	storage logical.Storage
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	storage := &logical.InmemStorage{}
	conf := &logical.BackendConfig{StorageView: storage, System: &logical.StaticSystemView{DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: time.Hour}}
	b, err := transit.Backend(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range b.Paths { // the released sdk is stricter than the one that the engine was made with: it panics without
		if p.ExistenceCheck == nil {
			p.ExistenceCheck = func(context.Context, *logical.Request, *framework.FieldData) (bool, error) { return false, nil }
		}
	}
	if err := b.Setup(t.Context(), conf); err != nil {
		t.Fatal(err)
	}
	return &engine{vaulttest.NewFake(), b, storage}
}

// MakeKey makes a key, or its next version.
func (e *engine) MakeKey(t testing.TB, name string) {
	t.Helper()
	e.Fake.MakeKey(t, name) // so that it knows which keys there are
	path := "keys/" + name
	if k, err := e.storage.Get(t.Context(), "policy/"+name); err != nil {
		t.Fatal(err)
	} else if k != nil {
		path += "/rotate"
	}
	resp, err := e.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.UpdateOperation, Path: path, Storage: e.storage, Data: map[string]any{}})
	if err != nil || resp.IsError() {
		t.Fatalf("cannot make a key: %v, %v", resp, err)
	}
}

// ServeHTTP has the fake decide on the token and its rights, and the real engine answer.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/transit/")
	if !ok {
		e.Fake.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "{}", http.StatusBadRequest)
		return
	}
	if !e.allowed(r) {
		r.Body = io.NopCloser(bytes.NewReader(body))
		e.Fake.ServeHTTP(w, r)
		return
	}
	var data map[string]any
	if err := json.Unmarshal(body, &data); err != nil {
		http.Error(w, "{}", http.StatusBadRequest)
		return
	}
	resp, err := e.backend.HandleRequest(r.Context(), &logical.Request{Operation: logical.UpdateOperation, Path: path, Storage: e.storage, Data: data})
	// What the core makes of an engine's errors.
	status := http.StatusOK
	var coded logical.HTTPCodedError
	switch {
	case errors.As(err, &coded):
		status = coded.Code()
	case errors.Is(err, logical.ErrInvalidRequest) || err == nil && resp.IsError():
		status = http.StatusBadRequest
	case err != nil:
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	out := map[string]any{}
	if status != http.StatusOK {
		out["errors"] = []string{"refused"}
	} else if resp != nil {
		out["data"] = resp.Data
	}
	_ = json.NewEncoder(w).Encode(out) // a test reads it
}

// allowed asks the fake whether the token may use a path: it refuses, or has a look at the request.
func (e *engine) allowed(r *http.Request) bool {
	probe := r.Clone(r.Context())
	probe.Body, probe.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
	rec := httptest.NewRecorder()
	e.Fake.ServeHTTP(rec, probe)
	return rec.Code != http.StatusForbidden && rec.Code != http.StatusServiceUnavailable
}

// TestReal runs the suite against the real engine; internal/vault runs it against the one in memory.
func TestReal(t *testing.T) { vaulttest.TransitSuite(t, newEngine(t)) }
