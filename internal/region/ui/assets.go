package ui

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"
)

//go:embed assets
var assetFiles embed.FS

type asset struct {
	body              []byte
	mediaType, digest string
}

// loadAssets reads the embedded files once.
func loadAssets() (map[string]asset, error) {
	all := map[string]asset{}
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		body, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, err
		}
		// Not from the host's tables, which may lack or change a type: nosniff would then block the file.
		kind := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}[path.Ext(e.Name())]
		if kind == "" {
			return nil, fmt.Errorf("cannot serve asset %s: its type is not known", e.Name())
		}
		sum := sha256.Sum256(body)
		all[e.Name()] = asset{body, kind, hex.EncodeToString(sum[:8])}
	}
	return all, nil
}

// assetURL is the address of an asset; it changes with the content, so that browsers may keep it for ever.
func (u *UI) assetURL(name string) (string, error) {
	a, ok := u.assets[name]
	if !ok {
		return "", fmt.Errorf("no asset %s", name)
	}
	return "/assets/" + name + "?v=" + a.digest, nil
}

func (u *UI) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := u.assets[strings.TrimPrefix(r.URL.Path, "/assets/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.mediaType)
	h.Set("ETag", `"`+a.digest+`"`)
	h.Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == a.digest {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if r.Header.Get("If-None-Match") == `"`+a.digest+`"` {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(a.body)
}
