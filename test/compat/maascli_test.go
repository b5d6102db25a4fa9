package compat

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/canonical/gomaasclient/entity"
)

// call is a request as the maas command line and python-libmaas write it: signed by oauthlib, forms as
// multipart with every part in base64. Sources: MAAS API 2.0, authentication and requests.
type call struct {
	method, path string // path begins behind /MAAS/api/2.0
	body         string
	mime         string
	key          string // site.key if empty, none if "-"
}

var nonce int

// do sends the call without following redirects or tidying its path.
func (c call) do(t *testing.T) (*http.Response, string) {
	t.Helper()
	base, err := url.Parse(site.url)
	ok(t, "URL", err)
	path, query, _ := strings.Cut(c.path, "?")
	u := &url.URL{Scheme: base.Scheme, Host: base.Host, Opaque: "//" + base.Host + "/MAAS/api/2.0" + path, RawQuery: query}
	r := &http.Request{Method: c.method, URL: u, Header: http.Header{}, Host: base.Host}
	if c.body != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(c.body)), int64(len(c.body))
	}
	if c.mime != "" {
		r.Header.Set("Content-Type", c.mime)
	}
	key := c.key
	if key == "" {
		key = site.key
	}
	if parts := strings.Split(key, ":"); len(parts) == 3 {
		nonce++
		r.Header.Set("Authorization", fmt.Sprintf(`OAuth oauth_nonce="%d%d", oauth_timestamp="%d", oauth_version="1.0", oauth_signature_method="PLAINTEXT", oauth_consumer_key="%s", oauth_token="%s", oauth_signature="%%26%s"`,
			time.Now().UnixNano(), nonce, time.Now().Unix(), parts[0], parts[1], parts[2]))
	}
	resp, err := httpClient().Do(r)
	ok(t, c.method+" "+c.path, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ok(t, "body of "+c.path, err)
	return resp, string(body)
}

const boundary = "===============7330845974216740156=="

// multipart writes fields as Python's email package does, with the headers in the maas command line's order.
func multipart(fields ...[2]string) (body, mime string) {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "--%s\r\nContent-Type: text/plain; charset=\"utf-8\"\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\n\r\n",
			boundary, f[0], base64.StdEncoding.EncodeToString([]byte(f[1])))
	}
	b.WriteString("--" + boundary + "--\r\n")
	return b.String(), "multipart/form-data; boundary=\"" + boundary + "\""
}

type description struct {
	Hash      string `json:"hash"`
	Resources []struct {
		Name string   `json:"name"`
		Anon *handler `json:"anon"`
		Auth *handler `json:"auth"`
	} `json:"resources"`
	Handlers []handler `json:"handlers"`
}

type handler struct {
	Name    string   `json:"name"`
	Path    string   `json:"path"`
	URI     string   `json:"uri"`
	Params  []string `json:"params"`
	Actions []struct {
		Name    string  `json:"name"`
		Method  string  `json:"method"`
		Op      *string `json:"op"`
		Restful bool    `json:"restful"`
		Doc     string  `json:"doc"`
	} `json:"actions"`
}

func TestDescribe(t *testing.T) {
	resp, body := call{method: "GET", path: "/describe/", key: "-"}.do(t)
	same(t, "status", resp.StatusCode, 200)
	same(t, "Content-Type", resp.Header.Get("Content-Type"), "application/json") // the command line compares the whole header
	var d description
	ok(t, "describe", json.Unmarshal([]byte(body), &d))
	if len(d.Hash) != 40 || len(d.Handlers) == 0 {
		t.Errorf("got hash %q and %d handlers", d.Hash, len(d.Handlers))
	}
	last := ""
	for _, r := range d.Resources {
		if r.Name <= last {
			t.Errorf("%s comes after %s", r.Name, last)
		}
		last = r.Name
		for _, h := range []*handler{r.Anon, r.Auth} {
			if h == nil {
				continue
			}
			if h.Params == nil || !strings.HasSuffix(h.URI, h.Path) || !strings.HasPrefix(h.URI, "https://") {
				t.Errorf("%s: got params %v, uri %s, path %s", h.Name, h.Params, h.URI, h.Path)
			}
			for _, p := range h.Params {
				if !strings.Contains(h.Path, "{"+p+"}") {
					t.Errorf("%s: %s is not in %s", h.Name, p, h.Path)
				}
			}
			for _, a := range h.Actions {
				if a.Restful != (a.Op == nil) || a.Op != nil && *a.Op != a.Name {
					t.Errorf("%s.%s: restful %t, op %v", h.Name, a.Name, a.Restful, a.Op)
				}
			}
		}
	}
	resp, _ = call{method: "GET", path: "/users/?op=whoami"}.do(t)
	same(t, "X-MAAS-API-Hash", resp.Header.Get("X-MAAS-API-Hash"), d.Hash)
}

func TestLoginChecks(t *testing.T) {
	resp, body := call{method: "GET", path: "/users/?op=whoami"}.do(t)
	same(t, "status", resp.StatusCode, 200)
	if !strings.Contains(body, `"username": "admin"`) && !strings.Contains(body, `"username":"admin"`) {
		t.Errorf("whoami: got %s", body)
	}
	parts := strings.Split(site.key, ":")
	for name, key := range map[string]string{"wrong secret": parts[0] + ":" + parts[1] + ":x", "unknown key": "a:b:c", "none": "-"} {
		resp, body := call{method: "GET", path: "/users/?op=whoami", key: key}.do(t)
		same(t, name+": status", resp.StatusCode, 401)
		if at, err := http.ParseTime(resp.Header.Get("Date")); err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("%s: Date is %q; clients correct their clocks by it", name, resp.Header.Get("Date"))
		}
		same(t, name+": WWW-Authenticate", resp.Header.Get("WWW-Authenticate"), `OAuth realm="OAuth"`)
		if key == "a:b:c" {
			same(t, name+": body", body, "Authorization Error: Invalid API key.")
		}
	}
}

func TestBase64Multipart(t *testing.T) {
	body, mime := multipart([2]string{"name", "küste"}, [2]string{"description", strings.Repeat("long ", 40)})
	// Python wraps base64 at 76 characters.
	lines := strings.Split(body, "\r\n")
	for i, l := range lines {
		if len(l) > 77 && !strings.Contains(l, ":") {
			var wrapped strings.Builder
			for l = strings.TrimSpace(l); len(l) > 76; l = l[76:] {
				wrapped.WriteString(l[:76] + "\n")
			}
			lines[i] = wrapped.String() + l + "\n"
		}
	}
	resp, text := call{method: "POST", path: "/resourcepools/", body: strings.Join(lines, "\r\n"), mime: mime}.do(t)
	same(t, "status", resp.StatusCode, 200)
	var pool struct {
		Name, Description string
		URI               string `json:"resource_uri"`
	}
	ok(t, "pool", json.Unmarshal([]byte(text), &pool))
	same(t, "name", pool.Name, "küste")
	same(t, "description", strings.TrimSpace(pool.Description), strings.TrimSpace(strings.Repeat("long ", 40)))
	if strings.Contains(text, `\u00fc`) {
		t.Error("the answer escapes what is not ASCII")
	}
	if ct := resp.Header.Get("Content-Type"); ct != "application/json; charset=utf-8" {
		t.Errorf("got Content-Type %s", ct)
	}
	path := strings.TrimPrefix(pool.URI, "/MAAS/api/2.0")
	body, mime = multipart([2]string{"description", ""})
	resp, text = call{method: "PUT", path: path, body: body, mime: mime}.do(t)
	same(t, "status of update", resp.StatusCode, 200)
	if !strings.Contains(text, "resource_uri") || strings.Contains(text, "long") {
		t.Errorf("update: got %s", text)
	}
	resp, text = call{method: "DELETE", path: path}.do(t)
	same(t, "status of delete", resp.StatusCode, 204)
	same(t, "body of delete", text, "")
}

// Ways to address one operation. libmaas sends a multipart body without a part when there is no parameter.
func TestAddressing(t *testing.T) {
	form := "application/x-www-form-urlencoded"
	none, mime := "--"+boundary+"--\r\n", `multipart/form-data; boundary="`+boundary+`"`
	for name, tt := range map[string]struct {
		call call
		want int
	}{
		"op in the query":        {call{method: "POST", path: "/machines/?op=accept_all"}, 200},
		"op in the body":         {call{method: "POST", path: "/machines/", body: "op=accept_all", mime: form}, 200},
		"op as a suffix":         {call{method: "POST", path: "/machines/op-accept_all"}, 200},
		"zero parts":             {call{method: "POST", path: "/machines/?op=accept_all", body: none, mime: mime}, 200},
		"empty op":               {call{method: "POST", path: "/zones/?op=", body: "name=", mime: form}, 400},
		"empty op of a read":     {call{method: "GET", path: "/zones/?op="}, 200},
		"slash missing":          {call{method: "GET", path: "/zones"}, 200},
		"slashes doubled":        {call{method: "GET", path: "//zones//default//"}, 200},
		"slash missing, op":      {call{method: "GET", path: "/users?op=whoami"}, 200},
		"no such op":             {call{method: "GET", path: "/zones/?op=explode"}, 400},
		"no such method":         {call{method: "PUT", path: "/zones/", body: "name=x", mime: form}, 405},
		"no such path":           {call{method: "GET", path: "/nothing/"}, 404},
		"format":                 {call{method: "GET", path: "/zones/?format=json"}, 200},
		"parameter of a list":    {call{method: "GET", path: "/machines/?explode=1"}, 400},
		"fabric by id":           {call{method: "GET", path: "/fabrics/1/"}, 200},
		"VLAN by fabric and VID": {call{method: "GET", path: "/fabrics/1/vlans/0/"}, 200},
		"VLAN by id":             {call{method: "GET", path: "/vlans/1/"}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(tt.call.path, "fabrics") || strings.Contains(tt.call.path, "vlans") {
				f, v := fabric(t)
				tt.call.path = strings.Replace(strings.Replace(tt.call.path, "fabrics/1", fmt.Sprintf("fabrics/%d", f), 1), "/vlans/1/", fmt.Sprintf("/vlans/%d/", v), 1)
			}
			resp, body := tt.call.do(t)
			if resp.StatusCode != tt.want {
				t.Errorf("got %d %s, want %d", resp.StatusCode, body, tt.want)
			}
			switch tt.want {
			case 405:
				if resp.Header.Get("Allow") == "" || body != "" {
					t.Errorf("got Allow %q and body %q", resp.Header.Get("Allow"), body)
				}
			case 404:
				same(t, "body", body, "Unknown API endpoint: /MAAS/api/2.0/nothing/.")
			}
			if name == "no such op" {
				same(t, "body", body, "Unrecognised signature: method=GET op=explode")
			}
			if name == "empty op" {
				same(t, "body", strings.Join(strings.Fields(body), ""), `{"name":["Thisfieldisrequired."]}`)
			}
		})
	}
}

// fabric makes sure that there is one, and returns its id and that of its VLAN.
func fabric(t *testing.T) (id, vlan int) {
	t.Helper()
	c := maasClient(t)
	list, err := c.Fabrics.Get()
	ok(t, "fabrics", err)
	if len(list) == 0 {
		f, err := c.Fabrics.Create(&entity.FabricParams{Name: "addressing"})
		ok(t, "create fabric", err)
		return f.ID, f.VLANs[0].ID
	}
	return list[0].ID, list[0].VLANs[0].ID
}

// An image is announced, sent in two chunks that each get exactly 200, and complete with the right digest.
func TestUpload(t *testing.T) {
	image := bytes.Repeat([]byte("metal"), 1000)
	sum := sha256.Sum256(image)
	body, mime := multipart([2]string{"name", "custom/compat"}, [2]string{"architecture", "amd64/generic"}, [2]string{"filetype", "ddraw"}, [2]string{"title", "Compat"},
		[2]string{"sha256", hex.EncodeToString(sum[:])}, [2]string{"size", fmt.Sprint(len(image))})
	resp, text := call{method: "POST", path: "/boot-resources/", body: body, mime: mime}.do(t)
	if resp.StatusCode != 201 {
		t.Fatalf("create: got %d %s", resp.StatusCode, text)
	}
	to, complete := uploadState(t, text)
	if complete || to == "" {
		t.Fatalf("create: got %s", text)
	}
	for _, chunk := range [][]byte{image[:3000], image[3000:]} {
		resp, text := call{method: "PUT", path: to, body: string(chunk), mime: "application/octet-stream"}.do(t)
		if resp.StatusCode != 200 {
			t.Fatalf("chunk: got %d %s", resp.StatusCode, text)
		}
	}
	var made struct {
		URI string `json:"resource_uri"`
	}
	ok(t, "resource", json.Unmarshal([]byte(text), &made))
	path := strings.TrimPrefix(made.URI, "/MAAS/api/2.0")
	resp, text = call{method: "GET", path: path}.do(t)
	if resp.StatusCode != 200 {
		t.Fatalf("read: got %d %s", resp.StatusCode, text)
	}
	if _, complete = uploadState(t, text); !complete {
		t.Errorf("after the upload: got %s", text)
	}
	resp, _ = call{method: "PUT", path: to, body: "more", mime: "application/octet-stream"}.do(t)
	same(t, "a chunk too many", resp.StatusCode, 400)
	resp, _ = call{method: "DELETE", path: path}.do(t)
	same(t, "delete", resp.StatusCode, 204)
}

// uploadState reads the highest set as the maas command line does.
func uploadState(t *testing.T, text string) (path string, complete bool) {
	t.Helper()
	var b struct {
		Sets map[string]struct {
			Complete bool
			Files    map[string]struct {
				UploadURI string `json:"upload_uri"`
			}
		}
	}
	ok(t, "boot resource", json.Unmarshal([]byte(text), &b))
	newest := ""
	for v := range b.Sets {
		newest = max(newest, v)
	}
	same(t, "files", len(b.Sets[newest].Files), 1)
	for _, f := range b.Sets[newest].Files {
		path = strings.TrimPrefix(f.UploadURI, "/MAAS/api/2.0")
	}
	return path, b.Sets[newest].Complete
}
