package ui

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

func TestMachineList(t *testing.T) {
	e := newEnv(t)
	for i := range 60 {
		m := metal.Machine{Hostname: fmt.Sprintf("node-%02d", i), Status: metal.Ready, CPUCount: i + 1, MemoryMiB: 2048}
		if i == 7 {
			m.Status, m.Owner = metal.Deployed, "root"
		}
		e.machine(m, metal.MAC(fmt.Sprintf("52:54:00:00:00:%02x", i)))
	}
	e.want(e.get("/machines", e.admin), 200, "node-00", "node-49", "!node-50", "1–50 of 60", `aria-sort="ascending"`, "offset=50", "2 GiB", "52:54:00:00:00:07")
	e.want(e.get("/machines?offset=50", e.admin), 200, "node-50", "!node-49", "51–60 of 60", `rel="prev"`)
	e.want(e.get("/machines?sort=cpu&dir=desc", e.admin), 200, "node-59", "!node-09", `aria-sort="descending"`)
	e.want(e.get("/machines?q=node-1", e.admin), 200, "node-11", "!node-22", "1–10 of 10")
	e.want(e.get("/machines?q=00:2a", e.admin), 200, "node-42", "1–1 of 1")
	e.want(e.get("/machines?status=deployed", e.admin), 200, "node-07", "!node-08")
	e.want(e.get("/machines?q=nothing", e.admin), 200, "No machine fits the search.")
	// Nonsense in the address is not an error and never reaches SQL as it is.
	e.want(e.get("/machines?sort=hostname;drop&dir=x&status=zzz&offset=-7", e.admin), 200, "node-00")
	// Another's machine is hidden.
	e.want(e.get("/machines?status=deployed", e.user), 200, "No machine fits the search.", "!Add machine")
}

func TestAddMachine(t *testing.T) {
	e := newEnv(t)
	e.want(e.get("/machines/new", e.admin), 200, "Power type", "ipmi_power_parameters_power_address", "Resource pool")
	e.want(e.get("/machines/new", e.user), 403)
	e.want(e.post("/machines", e.user, "hostname", "x", "mac_addresses", "52:54:00:00:00:01", "power_type", "manual"), 403, "not allowed")
	e.want(e.post("/machines", e.admin, "hostname", "bad_name!", "mac_addresses", "nonsense", "power_type", "ipmi", "ipmi_power_parameters_power_pass", "s3cret-entered"), 400,
		"is not a valid host name", "is not a valid MAC address", "This field is required.", `value="bad_name!"`, "!s3cret-entered", "Please correct the marked fields")

	w := e.post("/machines", e.admin, "hostname", "node1", "mac_addresses", "52:54:00:00:00:01\n52:54:00:00:00:02", "power_type", "ipmi", "pool", "default", "zone", "default",
		"ipmi_power_parameters_power_address", "10.0.0.9", "ipmi_power_parameters_power_user", "op", "ipmi_power_parameters_power_pass", "s3cret-entered",
		"ipmi_power_parameters_cipher_suite_id", "17", "commission", "on")
	id, _ := strings.CutPrefix(w.Header().Get("Location"), "/machines/")
	id, _, _ = strings.Cut(id, "?")
	e.goes(w, "/machines/"+id+"?notice=created")
	e.want(e.get("/machines/"+id+"?notice=created", e.admin), 200, "node1", "Commissioning", "52:54:00:00:00:02", "The machine was added.", "/abort")

	// Secret parameters go in and never come back.
	e.want(e.get("/machines/"+id+"/edit", e.admin), 200, `value="10.0.0.9"`, "Is set. Leave empty to keep it.", "!s3cret-entered")
	e.goes(e.post("/machines/"+id+"/edit", e.admin, "hostname", "renamed", "power_type", "ipmi", "pool", "default", "zone", "default", "ipmi_power_parameters_power_address", "10.0.0.10"), "/machines/"+id+"?notice=saved")
	plain, set, err := e.ms.PowerParameters(authz.With(t.Context(), authz.Principal{Kind: authz.User, Name: "root", Rights: authz.Everything()}), id)
	if err != nil || plain["power_address"] != "10.0.0.10" || len(set) != 1 || set[0] != "power_pass" {
		t.Errorf("got parameters %v, secrets %v, error %v, want the new address and the kept password", plain, set, err)
	}
	e.want(e.post("/machines/"+id+"/edit", e.admin, "hostname", "renamed", "pool", "nowhere", "power_type", "ipmi"), 400, "is not one of the available choices")
	e.want(e.get("/machines/"+id+"/edit", e.user), 403) // the same for every id
}

// TestMachineActions walks a machine through its life by the buttons.
func TestMachineActions(t *testing.T) {
	e := newEnv(t)
	e.rack("rackrackrackrack", "rack-1", "10.0.0.2/24")
	id := e.machine(metal.Machine{Hostname: "node1", Status: metal.New, PowerType: "manual"}, "52:54:00:00:00:01")
	e.within(id, func(tx *store.Tx) error {
		return tx.PutBlockDevice(&metal.BlockDevice{SystemID: id, Name: "sda", SizeBytes: 1 << 30, Serial: "S1"})
	})
	at := "/machines/" + id
	status := func(want metal.Status) {
		t.Helper()
		d, err := e.ms.Get(authz.With(t.Context(), authz.Principal{Kind: authz.User, Name: "root", Rights: authz.Everything()}), id)
		if err != nil || d.Status != want {
			t.Fatalf("got status %s, error %v, want %s", d.Status, err, want)
		}
	}
	e.want(e.get(at, e.admin), 200, "Accept and commission", at+"/edit", at+"/delete", "!/deploy", "!/release", "sda", "1 GiB")
	// A user sees the unowned machine, but none of what only administrators may do.
	e.want(e.get(at, e.user), 200, "node1", "!/commission", "!/edit", "!/delete", "!Audit trail")
	e.want(e.post(at+"/commission", e.user), 403)
	e.want(e.post(at+"/delete", e.user), 403)

	e.goes(e.post(at+"/commission", e.admin), at+"?notice=accepted")
	status(metal.Commissioning)
	e.want(e.get(at, e.admin), 200, at+"/abort", "Waiting for the machine to boot", "00-metalward-inventory", "Pending", "User starting node commissioning")
	e.goes(e.post(at+"/abort", e.admin), at+"?notice=aborted")
	status(metal.New)

	e.alter(id, func(m *metal.Machine) { m.Status, m.Commissioned = metal.Ready, true })
	e.want(e.get(at, e.user), 200, at+"/allocate", at+"/deploy")
	e.goes(e.post(at+"/allocate", e.user), at+"?notice=allocated")
	status(metal.Allocated)
	e.want(e.post(at+"/allocate", e.user), 409, "This machine cannot be allocated now")
	e.want(e.get(at, e.admin), 200, "alice", "!/deploy")

	e.want(e.get(at+"/deploy", e.user), 200, "There is no complete image")
	e.upload("custom/debian12", []byte("disk"))
	e.want(e.get(at+"/deploy", e.user), 200, `<option value="custom/debian12"`, "user_data")
	e.want(e.post(at+"/deploy", e.user, "distro_series", "custom/debian12", "user_data", "#cloud-config\n: : :"), 400, "is not valid YAML", "#cloud-config")
	e.goes(e.post(at+"/deploy", e.user, "distro_series", "custom/debian12", "user_data", "#cloud-config\npackages: [nginx]"), at+"?notice=deploying")
	status(metal.Deploying)

	e.alter(id, func(m *metal.Machine) { m.Status, m.Deadline = metal.Deployed, time.Time{} })
	e.goes(e.post(at+"/lock", e.user), at+"?notice=locked")
	e.want(e.get(at, e.user), 200, at+"/unlock", "!/release", "!/power/off")
	e.want(e.post(at+"/release", e.user), 403, "is locked")
	e.goes(e.post(at+"/unlock", e.user), at+"?notice=unlocked")
	e.goes(e.post(at+"/power/on", e.user), at+"?notice=power")
	e.goes(e.post(at+"/power/off", e.user), at+"?notice=power")
	e.want(e.post(at+"/power/explode", e.user), 404)
	e.want(e.get(at+"/release", e.user), 200, `name="erase" type="checkbox" checked`)
	e.goes(e.post(at+"/release", e.user, "erase", "on"), at+"?notice=releasing")
	status(metal.DiskErasing)
	e.alter(id, func(m *metal.Machine) { m.Status, m.Owner = metal.Ready, "" })

	e.want(e.get(at+"/delete", e.admin), 200, "Delete machine")
	e.goes(e.post(at+"/delete", e.admin), "/machines?notice=deleted")
	e.want(e.get(at, e.admin), 404)
	e.want(e.post(at+"/delete", e.admin), 404)
}

func TestPowerQuery(t *testing.T) {
	e := newEnv(t)
	id := e.machine(metal.Machine{Hostname: "node1", Status: metal.Ready, PowerType: "ipmi"})
	at := "/machines/" + id
	e.want(e.post(at+"/power/query", e.admin), 503, "No rack controller is connected.", "node1")
	e.rack("rackrackrackrack", "rack-1", "10.0.0.2/24")
	e.goes(e.post(at+"/power/query", e.admin), at+"?notice=queried")
	e.want(e.get(at, e.admin), 200, `<span class="power good">`)
	e.alter(id, func(m *metal.Machine) { m.Status, m.Owner = metal.Deployed, "root" })
	e.want(e.post(at+"/power/query", e.user), 404) // hidden: another's
}

const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>'`

// TestHostileTexts puts markup wherever a machine, a rack or a user can write.
func TestHostileTexts(t *testing.T) {
	e := newEnv(t)
	id := e.machine(metal.Machine{Hostname: hostile, Status: metal.FailedCommissioning, Owner: "root", ErrorText: hostile, PowerError: hostile, Tags: []string{hostile}, Description: hostile,
		OSystem: hostile, DistroSeries: hostile, Hardware: metal.HardwareInfo{SystemVendor: hostile, SystemSerial: hostile, CPUModel: hostile}, PowerType: "ipmi", PowerParameters: metal.PowerParameters{"power_address": hostile}})
	var result int64
	e.within(id, func(tx *store.Tx) error {
		if err := tx.PutInterface(&metal.Interface{SystemID: id, Name: hostile, MAC: "52:54:00:00:00:01", Vendor: hostile, Product: hostile}); err != nil {
			return err
		}
		if err := tx.PutBlockDevice(&metal.BlockDevice{SystemID: id, Name: hostile, Model: hostile, Serial: hostile}); err != nil {
			return err
		}
		set := metal.ScriptSet{SystemID: id, Started: time.Now(), Results: []metal.ScriptResult{{Name: hostile, Status: metal.ScriptRunning}}}
		if err := tx.AddScriptSet(&set, 5); err != nil {
			return err
		}
		result = set.Results[0].ID
		for _, stream := range []string{"stdout", "stderr", "result"} {
			if err := tx.AppendOutput(result, stream, 0, []byte(hostile+"\x1b[31m\x00\xff</pre><script>")); err != nil {
				return err
			}
		}
		return tx.AddEvent(metal.Event{SystemID: id, Type: hostile, Level: metal.LevelError, Description: hostile, Username: hostile, Created: time.Now()})
	})
	e.rack("rackrackrackrack", hostile, "10.0.0.2/24")
	at := "/machines/" + id
	paths := []string{"/machines", at, at + "/row", at + "/live", at + "/edit", at + "/delete", fmt.Sprintf("%s/results/%d", at, result), fmt.Sprintf("%s/results/%d/live", at, result),
		"/controllers", "/controllers/rackrackrackrack/remove", "/audit", "/audit?target=" + url.QueryEscape(hostile), "/machines?q=" + url.QueryEscape(hostile) + "&sort=" + url.QueryEscape(hostile), "/login?next=/" + url.QueryEscape(hostile)}
	for _, path := range paths {
		w := e.get(path, e.admin)
		if strings.HasPrefix(path, "/login") {
			w = e.get(path, nil)
		}
		e.want(w, 200, "!<script>alert", "!<img src=x", "!\x1b", "!\x00")
	}
	e.want(e.get(fmt.Sprintf("%s/results/%d", at, result), e.admin), 200, "&lt;script&gt;", "data-live", "Running")
	e.want(e.post("/login", nil, "username", hostile, "password", "x"), 401, "!<script>alert")
	e.want(e.get(at+"/results/999", e.admin), 404)
}

// upload sends an image as a script does.
func (e *env) upload(name string, body []byte) {
	e.t.Helper()
	sum := sha256.Sum256(body)
	r := e.form("/images", e.admin, "name", name, "filetype", "ddraw", "size", fmt.Sprint(len(body)), "sha256", hex.EncodeToString(sum[:]))
	r.Header.Set("Accept", "application/json")
	w := e.serve(r)
	e.want(w, 201)
	var p progress
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		e.t.Fatal(err)
	}
	for half := range 2 {
		part := body[half*(len(body)/2) : (half+1)*(len(body)/2)]
		r := httptest.NewRequest(http.MethodPut, fmt.Sprintf("https://region.example:5443/images/%d/data", p.ID), bytes.NewReader(part))
		r.Header.Set("Accept", "application/json")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.AddCookie(e.admin)
		w := e.serve(r)
		e.want(w, 200, fmt.Sprintf(`"received":%d`, (half+1)*(len(body)/2)), fmt.Sprintf(`"complete":%v`, half == 1))
	}
}

func TestImages(t *testing.T) {
	e := newEnv(t)
	e.want(e.get("/images", e.user), 200, "There are no images yet.", "!Upload an image")
	e.upload("custom/debian12", []byte("0123456789"))
	e.want(e.get("/images", e.admin), 200, "custom/debian12", "Complete", "10 B", "/images/1/delete", "data-upload")
	e.want(e.get("/images", e.user), 200, "custom/debian12", "!/delete")
	e.want(e.post("/images", e.admin, "name", "BAD NAME", "filetype", "tar", "size", "0"), 400, "Use a name such as", "is not one of ddraw", "Enter the SHA-256")

	r := e.form("/images", e.admin, "name", "custom/x", "filetype", "ddraw", "size", "0", "sha256", "zz")
	r.Header.Set("Accept", "application/json")
	w := e.serve(r)
	e.want(w, 400, `"sha256":["Enter the SHA-256`)
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("got Content-Type %q", got)
	}
	e.want(e.post("/images", e.user, "name", "custom/x"), 403)

	e.want(e.get("/images/1/delete", e.admin), 200, "Delete image")
	e.goes(e.post("/images/1/delete", e.admin), "/images?notice=deleted")
	e.want(e.post("/images/1/delete", e.admin), 404)
}

// TestUploadWithoutScript sends the form as a browser without JavaScript does.
func TestUploadWithoutScript(t *testing.T) {
	e := newEnv(t)
	body := bytes.Repeat([]byte("abcdefgh"), chunkBytes/8+1000) // more than one piece
	sum := sha256.Sum256(body)
	send := func(sha string, withFile bool) *httptest.ResponseRecorder {
		var buf bytes.Buffer
		m := multipart.NewWriter(&buf)
		for _, f := range [][2]string{{"name", "custom/plain"}, {"filetype", "ddraw"}, {"size", fmt.Sprint(len(body))}, {"sha256", sha}} {
			_ = m.WriteField(f[0], f[1])
		}
		if withFile {
			p, _ := m.CreateFormFile("file", "disk.img")
			_, _ = p.Write(body)
		}
		_ = m.Close()
		r := httptest.NewRequest(http.MethodPost, "https://region.example:5443/images/upload", &buf)
		r.Header.Set("Content-Type", m.FormDataContentType())
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.AddCookie(e.admin)
		return e.serve(r)
	}
	e.want(send(hex.EncodeToString(sum[:]), false), 400, "Choose a file.")
	e.want(send(strings.Repeat("0", 64), true), 400, "The uploaded bytes have the SHA-256", `value="custom/plain"`)
	e.goes(send(hex.EncodeToString(sum[:]), true), "/images?notice=uploaded")
	e.want(e.get("/images", e.admin), 200, "custom/plain", "Complete")
}

func TestNetworks(t *testing.T) {
	e := newEnv(t)
	e.rack("rackrackrackrack", "rack-1", "10.20.0.2/24")
	e.want(e.get("/subnets", e.admin), 200, "There are no networks yet.", "Add subnet")
	e.want(e.post("/subnets", e.admin, "cidr", "10.20.0.9/24", "vlan", "0"), 400, "has host bits set", `value="10.20.0.9/24"`)
	e.want(e.post("/subnets", e.admin, "cidr", "nonsense", "gateway_ip", "x"), 400, "is not an IP address")
	e.goes(e.post("/subnets", e.admin, "cidr", "10.20.0.0/24", "vlan", "0"), "/subnets/1?notice=added")
	e.want(e.get("/subnets", e.user), 200, "10.20.0.0/24", "fabric-", "!Add subnet")

	// The switch says why DHCP cannot be turned on yet.
	e.want(e.post("/vlans/1", e.admin, "name", "untagged", "mtu", "1500", "dhcp_on", "on"), 400, "when a primary rack controller is set")
	e.want(e.post("/vlans/1", e.admin, "name", "untagged", "mtu", "1500", "dhcp_on", "on", "primary_rack", "rackrackrackrack"), 400, "when a dynamic IP range is defined")
	e.want(e.post("/subnets/1/ranges", e.admin, "type", "dynamic", "start_ip", "10.20.1.1", "end_ip", "nope"), 400, "is not an IP address")
	e.want(e.post("/subnets/1/ranges", e.admin, "type", "dynamic", "start_ip", "10.20.1.1", "end_ip", "10.20.0.9"), 400, "is not inside 10.20.0.0/24", `name="name" type="text" value="10.20.0.0/24"`)
	e.goes(e.post("/subnets/1/ranges", e.admin, "type", "dynamic", "start_ip", "10.20.0.100", "end_ip", "10.20.0.199"), "/subnets/1?notice=added")
	e.want(e.post("/subnets/1/ranges", e.admin, "type", "dynamic", "start_ip", "10.20.0.150", "end_ip", "10.20.0.160"), 400, "The range overlaps")
	e.goes(e.post("/vlans/1", e.admin, "name", "untagged", "mtu", "1500", "dhcp_on", "on", "primary_rack", "rackrackrackrack"), "/vlans/1?notice=saved")
	e.want(e.get("/vlans/1", e.admin), 200, "DHCP on", "rack-1", `name="dhcp_on" type="checkbox" checked`)
	e.want(e.get("/vlans/1", e.user), 200, "!rack-1", "!dhcp_on")
	e.want(e.get("/subnets", e.admin), 200, ">On<", "100")

	e.goes(e.post("/subnets/1", e.admin, "name", "metal", "gateway_ip", "10.20.0.1", "dns_servers", "10.20.0.53, 9.9.9.9"), "/subnets/1?notice=saved")
	e.want(e.get("/subnets/1", e.admin), 200, `value="10.20.0.53, 9.9.9.9"`, `value="metal"`)
	e.want(e.post("/subnets/1", e.admin, "name", "metal", "gateway_ip", "10.99.0.1"), 400, "is not inside", `value="10.99.0.1"`)
	e.want(e.get("/subnets/1", e.user), 200, "10.20.0.1", "!<form method=\"post\" action=\"/subnets")
	e.want(e.post("/subnets/1/delete", e.admin), 409, "DHCP is on")
	e.goes(e.post("/vlans/1", e.admin, "name", "untagged", "mtu", "1500"), "/vlans/1?notice=saved")
	e.goes(e.post("/subnets/1/ranges/1/delete", e.admin), "/subnets/1?notice=deleted")
	e.want(e.get("/subnets/1/delete", e.admin), 200, "Delete subnet")
	e.goes(e.post("/subnets/1/delete", e.admin), "/subnets?notice=deleted")
	e.want(e.get("/subnets/1", e.admin), 404)
	e.want(e.get("/vlans/99", e.admin), 404)
	for _, path := range []string{"/subnets", "/subnets/1", "/vlans/1", "/subnets/1/ranges"} {
		e.want(e.post(path, e.user), 403)
	}
}

func TestControllers(t *testing.T) {
	e := newEnv(t)
	e.rack("rackrackrackrack", "rack-1", "10.20.0.2/24")
	e.want(e.get("/controllers", e.admin), 200, "rack-1", "Connected", "days left", "10.20.0.2/24", "/controllers/rackrackrackrack/remove")
	e.want(e.get("/controllers", e.user), 403, "!rack-1")
	e.want(e.post("/controllers/new", e.admin, "name", "no good!"), 400, "Enter the rack")
	w := e.post("/controllers/new", e.admin, "name", "rack-2")
	e.want(w, 200, "mwrack1_", "metalward rack enrol --region https://region.example:5443 --token-file -", "Shown only now")
	token := regexp.MustCompile(`mwrack1_[A-Za-z0-9_-]+`).FindString(w.Body.String())
	for _, path := range []string{"/controllers", "/controllers/new", "/audit"} {
		e.want(e.get(path, e.admin), 200, "!"+token)
	}
	e.want(e.post("/controllers/new", e.user, "name", "rack-3"), 403)

	var text string
	if err := e.reader.View(t.Context(), func(v *store.View) error {
		shared, err := e.site.Shared(v)
		text = shared.Text().RevealString()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	e.want(e.get("/controllers/new", e.admin), 200, "!"+text, "Show the shared secret")
	if w := e.get("/controllers/new/secret", e.admin); w.Code < 400 || strings.Contains(w.Body.String(), text) {
		t.Errorf("a GET shows the secret, or got %d", w.Code)
	}
	e.want(e.post("/controllers/new/secret", e.user), 403, "!"+text)
	w = e.post("/controllers/new/secret", e.admin)
	e.want(w, 200, strings.ReplaceAll(text, "+", "&#43;"), "never rotated")
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("got Cache-Control %q", got)
	}
	e.goes(e.post("/controllers/new/secret/rotate", e.admin), "/controllers/new?notice=rotated")
	e.want(e.post("/controllers/new/secret", e.admin), 200, "!"+text, "Rotated")
	e.want(e.get("/audit?action=shared_secret", e.admin), 200, "shared_secret.reveal", "shared_secret.rotate", "!"+text)
	e.want(e.get("/controllers/rackrackrackrack/remove", e.admin), 200, "Its certificates are refused from now on")
	e.goes(e.post("/controllers/rackrackrackrack/remove", e.admin), "/controllers?notice=removed")
	e.want(e.get("/controllers", e.admin), 200, "!rack-1")
	e.want(e.post("/controllers/rackrackrackrack/remove", e.admin), 404)
}

func TestAudit(t *testing.T) {
	e := newEnv(t)
	id := e.machine(metal.Machine{Hostname: "node1", Status: metal.New, PowerType: "manual"})
	e.want(e.post("/machines/"+id+"/commission", e.user), 403)
	e.goes(e.post("/machines/"+id+"/commission", e.admin), "/machines/"+id+"?notice=accepted")
	e.want(e.get("/audit", e.admin), 200, "machine.commission", "user:root", "user:alice", ">denied<", "192.0.2.7", "req-42")
	e.want(e.get("/audit?target=machine:"+id, e.admin), 200, "machine:"+id, "machine.create", "!user.login")
	for i := range 110 {
		e.alter(id, func(m *metal.Machine) { m.Description = fmt.Sprint(i) })
	}
	w := e.get("/audit", e.admin)
	older := regexp.MustCompile(`/audit\?before=\d+`).FindString(w.Body.String())
	e.want(w, 200, "Older", "!Newest")
	e.want(e.get(older, e.admin), 200, "machine.create", "Newest", "!Older")

	e.want(e.get("/audit?principal=alice&outcome=denied", e.admin), 200, "user:alice", "machine.commission", "!badge good")
	e.want(e.get("/audit?from=nonsense", e.admin), 400, "Enter a time", `value="nonsense"`)
	csv := e.post("/audit/export", e.admin, "as", "csv", "principal", "alice", "outcome", "denied")
	if got := csv.Header().Get("Content-Disposition"); csv.Code != 200 || got != `attachment; filename="trail.csv"` || strings.Count(csv.Body.String(), "\n") != 2 {
		t.Errorf("got %d, %q, %q", csv.Code, got, csv.Body)
	}
	e.want(e.get("/audit?action=trail.export", e.admin), 200, "user:root", "trail.export")
	e.want(e.post("/audit/export", e.admin, "as", "xml"), 400)
	e.want(e.post("/audit/export", e.user, "as", "csv"), 403)
}

func TestAccount(t *testing.T) {
	e := newEnv(t)
	w := e.post("/account/keys", e.user, "name", "laptop")
	e.want(w, 200, "shown only now", "laptop")
	key := regexp.MustCompile(`[A-Za-z0-9_-]{18}:([A-Za-z0-9_-]{18}):([A-Za-z0-9_-]+)`).FindStringSubmatch(w.Body.String())
	if key == nil {
		t.Fatalf("got no key in %s", excerpt(w.Body.String()))
	}
	e.want(e.get("/account", e.user), 200, "laptop", key[1], "!"+key[2])
	e.want(e.post("/account/keys/"+key[1]+"/delete", e.admin), 404) // another's
	e.goes(e.post("/account/keys/"+key[1]+"/delete", e.user), "/account?notice=deleted")
	e.want(e.get("/account", e.user), 200, "!laptop")

	e.want(e.post("/account/sshkeys", e.user, "key", "nonsense"), 400, "Invalid SSH public key")
	const pub = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3vXyAP4v7ySS3Tg8lGr9OCKvDgvKDhkU1VsKjDkz5N alice@laptop"
	e.goes(e.post("/account/sshkeys", e.user, "key", pub), "/account?notice=added")
	e.want(e.get("/account", e.user), 200, "alice@laptop")
	e.want(e.post("/account/sshkeys/1/delete", e.admin), 404)
	e.goes(e.post("/account/sshkeys/1/delete", e.user), "/account?notice=deleted")
}

func TestUsers(t *testing.T) {
	e := newEnv(t)
	e.want(e.get("/users", e.admin), 200, "alice", "Add a user")
	e.want(e.get("/users", e.user), 403)
	e.want(e.post("/users", e.admin, "username", "b b", "email", "x", "password", "short"), 400, "Use letters, digits", "Enter a valid email", "Use at least 12 characters", "!value=\"short\"")
	e.goes(e.post("/users", e.admin, "username", "bob@example.org", "password", "bobs long password"), "/users?notice=added")
	e.want(e.get("/users/bob@example.org", e.admin), 200, "Set password", "Delete user")
	e.want(e.post("/users/bob@example.org/password", e.admin, "password", "short"), 400, "Use at least 12 characters")
	e.goes(e.post("/users/bob@example.org/password", e.admin, "password", "bobs other password"), "/users/bob@example.org?notice=saved")
	e.login("bob@example.org", "bobs other password")
	e.want(e.get("/users/root", e.admin), 200, "This is you.", "!Delete user")
	e.want(e.post("/users/root/delete", e.admin), 400, "You cannot delete yourself.")
	e.want(e.post("/users/bob@example.org/delete", e.user), 403)
	e.goes(e.post("/users/bob@example.org/delete", e.admin), "/users?notice=deleted")
	e.want(e.get("/users/bob@example.org", e.admin), 404)
}

func TestSecurity(t *testing.T) {
	e := newEnv(t)
	e.want(e.get("/settings/security", e.admin), 200, "authority of site", e.site.Web.Fingerprint(), "Check and show it", "the database, sealed", "metalward config-vault")
	e.want(e.get("/settings/secrets", e.admin), 200, "site/ca/site", "database", "As it should be", "!PRIVATE")
	e.want(e.get("/settings/secrets", e.user), 403)
	e.want(e.get("/settings/security", e.user), 403)
	e.want(e.post("/settings/security/enable", e.admin, "key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")})), "cert", "my certificate"), 400, "damaged", "my certificate", "!c2VjcmV0")
	e.want(e.post("/settings/security/enable", e.user, "key", "x"), 403)
	e.want(e.post("/settings/security/disable", e.admin), 409, "already")
	e.goes(e.post("/settings/security/renew", e.admin), "/settings/security?notice=saved")
}

func TestSettings(t *testing.T) {
	e := newEnv(t)
	w := e.get("/settings", e.admin)
	for _, s := range metal.Settings {
		e.want(w, 200, `name="`+s.Name+`"`)
	}
	fields := []string{"maas_name", "north", "kernel_opts", "", "node_timeout", "45", "session_length", "1209600", "metalward_session_idle", "3600", "metalward_rack_renewal_grace", "30",
		"metalward_power_poll_interval", "60", "metalward_max_candidates", "256", "metalward_audit_retention_days", "0", "metalward_bmc_rotation_days", "0", "metalward_notify_email", "", "metalward_smtp_server", "", "metalward_smtp_sender", "", "tls_cert_expiration_notification_interval", "30", "metalward_hsts_max_age", "300", "enable_disk_erasing_on_release", "on"}
	e.goes(e.post("/settings", e.admin, fields...), "/settings?notice=saved")
	e.want(e.get("/settings?notice=saved", e.admin), 200, `value="45"`, "north · 1.0-test", "Saved.")
	fields[5] = "99999"
	e.want(e.post("/settings", e.admin, fields...), 400, "takes a whole number from 1 to 1440", `value="99999"`)
	e.want(e.post("/settings", e.user, fields...), 403)
	e.want(e.get("/audit?target=setting:maas_name", e.admin), 200, "setting.edit", "node timeout: 45")
	// A notice is one of ours or none: nobody puts words into the page by a link.
	e.want(e.get("/settings?notice=Your+session+is+void", e.admin), 200, "!session is void")
}

// TestEvents reads the stream of changes: one's own rights decide what is on it.
func TestEvents(t *testing.T) {
	e := newEnv(t)
	base := e.listen()
	open := func(c *http.Cookie) *bufio.Scanner {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		t.Cleanup(cancel)
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, base+"/events", nil)
		r.AddCookie(c)
		resp, err := e.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "text/event-stream" {
			t.Fatalf("got %d, %q", resp.StatusCode, got)
		}
		return bufio.NewScanner(resp.Body)
	}
	next := func(s *bufio.Scanner) string {
		for s.Scan() {
			if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
				return data
			}
		}
		return ""
	}
	admin, user := open(e.admin), open(e.user)
	for e.feed.count() < 2 {
		time.Sleep(5 * time.Millisecond)
	}
	roots := e.machine(metal.Machine{Hostname: "root-only", Status: metal.Deployed, Owner: "root"})
	free := e.machine(metal.Machine{Hostname: "free", Status: metal.Ready})
	for _, want := range []string{roots, free} {
		if got := next(admin); got != `{"noun":"machine","id":"`+want+`"}` {
			t.Errorf("got %s for an administrator, want %s", got, want)
		}
	}
	if got := next(user); got != `{"noun":"machine","id":"`+free+`"}` {
		t.Errorf("got %s for a user, want only the machine that is his to see", got)
	}
	e.want(e.get("/events", nil), http.StatusUnauthorized)
}

func TestStreamsAreBounded(t *testing.T) {
	s := streams{open: map[string]int{}}
	for range maxStreamsOfUser {
		if !s.enter("alice") {
			t.Fatal("got no place below the limit")
		}
	}
	if s.enter("alice") {
		t.Error("got a place beyond the limit of a user")
	}
	if !s.enter("bob") {
		t.Error("got no place for another user")
	}
	s.leave("alice")
	if !s.enter("alice") {
		t.Error("got no place after one was given back")
	}
}

// TestLiveParts asks for the parts that pages refresh.
func TestLiveParts(t *testing.T) {
	e := newEnv(t)
	id := e.machine(metal.Machine{Hostname: "node1", Status: metal.Ready, PowerType: "manual"}, "52:54:00:00:00:01")
	e.within(id, func(tx *store.Tx) error {
		return tx.PutInterface(&metal.Interface{SystemID: id, Name: "eth1", MAC: "52:54:00:00:00:02", IP: netip.MustParseAddr("10.0.0.5")})
	})
	e.want(e.get("/machines/"+id+"/row", e.user), 200, `<tr id="m-`+id+`"`, "node1", "!<html")
	e.want(e.get("/machines/"+id+"/live", e.user), 200, "node1", "10.0.0.5", "!<html", "!<nav")
	e.want(e.get("/machines/"+id+"/row", nil), 401, "!<tr")
}

// TestBMCAccount rotates and shows credentials in the pages: with a POST, for who may, once.
func TestBMCAccount(t *testing.T) {
	e := newEnv(t)
	id := e.machine(metal.Machine{Hostname: "node", Status: metal.Ready, PoolID: metal.DefaultPoolID, PowerType: "ipmi", PowerParameters: metal.PowerParameters{"power_address": "192.0.2.9", "power_user": "root"}})
	path := "/machines/" + id + "/bmc"
	e.want(e.get("/machines/"+id, e.admin), 200, "BMC account")
	e.want(e.get(path, e.admin), 200, "a person", "Show the credentials", "Rotate the BMC account")
	e.want(e.post(path+"/rotate", e.admin), 409, "was given by a person")
	e.want(e.post(path+"/rotate", e.user, "take_over", "on"), 403)
	e.want(e.post(path+"/show", e.user), 403)
	e.goes(e.post(path+"/rotate", e.admin, "take_over", "on"), path+"?notice=rotating")
	e.want(e.get(path, e.admin), 200, "the old one is in use", "!metalward-a")
	w := e.post(path+"/show", e.admin)
	e.want(w, 200, "root", "metalward-a", "Being made")
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("the credentials may be cached")
	}
	e.want(e.get("/audit?action=machine.show_bmc_credentials", e.admin), 200, "machine:"+id)
}

// hostReport has a rack tell what its host has.
func (e *env) hostReport(id string) {
	e.t.Helper()
	r := guard.HostReport{At: time.Now(), Version: "1.2", Account: "metalward", Passed: 30, Findings: []guard.HostFinding{
		{Check: "files-low", Title: "Low one", State: guard.Fail, Severity: guard.Low, Evidence: []string{"seen <b>it</b>"}},
		{Check: "files-bad", Title: "Bad one", Why: "Who reads it has it.", Risk: "A program that read it stops.", State: guard.Fail, Severity: guard.High, Subject: "/x", Evidence: []string{"Mode 0666."}, Fix: []string{"chmod 0600 /x"}, Undo: []string{"chmod 0666 /x"}},
		{Check: "files-dark", Title: "Dark one", State: guard.Unchecked, Severity: guard.High, Evidence: []string{"It could not be found out."}}}}
	if err := e.hosts.Report(authz.With(e.t.Context(), authz.Principal{Kind: authz.Rack, Name: id}), id, r); err != nil {
		e.t.Fatal(err)
	}
}

// The controllers' own hosts: an empty state, findings the worst first with evidence and fix, waivers that stay in sight, and who may do what.
func TestHosts(t *testing.T) {
	e := newEnv(t)
	e.want(e.get("/settings/security", e.admin), 200, "Hosts of the controllers", "Nobody answers for a finding")
	const id = "hostyhostyhosty2"
	e.rack(id, "hosty", "10.0.0.2/24")
	at := "/settings/security/hosts/" + id
	e.want(e.get("/settings/security", e.admin), 200, "hosty", "Not checked yet")
	e.want(e.get(at, e.admin), 200, "was not checked yet", "Check again", "!Waive a check")
	e.want(e.get(at, e.user), 403)
	e.want(e.get("/settings/security/hosts/nobody", e.admin), 404)
	e.hostReport(id)
	page := e.get(at, e.admin)
	e.want(page, 200, "78 of 100 = 100 - 1 high × 20 - 1 low × 2; at most that, for 1 could not be checked", "chmod 0600 /x", "chmod 0666 /x", "<h2>Could not check</h2>", "1 finding<", "Dark one", "seen &lt;b&gt;it",
		`role="img" aria-label="Course of the score: 78 on`, "Waive a check", "On all controllers")
	if text := page.Body.String(); strings.Index(text, "Bad one") > strings.Index(text, "Low one") {
		t.Error("the worst finding is not first")
	}
	e.want(e.get("/settings/security", e.admin), 200, "78 of 100", "1 high", "1 low", at)
	e.want(e.post(at+"/waive", e.user, "check", "files-bad"), 403)
	e.want(e.post(at+"/waive", e.admin, "check", "files-bad", "owner", "Carol", "reason", "", "until", "x"), 400, "Say why it may stay as it is.", "such as 2027-01-31", "Carol")
	e.goes(e.post(at+"/waive", e.admin, "check", "files-bad", "owner", "Carol", "reason", "soon gone", "until", time.Now().UTC().AddDate(0, 1, 0).Format(time.DateOnly), "everywhere", "on"), at+"?notice=saved")
	e.want(e.get(at, e.admin), 200, "98 of 100", "Waived", "Carol answers for it until", "Mode 0666.")
	e.want(e.get("/settings/security", e.admin), 200, "soon gone", "written by", "Delete the waiver of files-bad", "<td>all</td>")
	e.want(e.post(at+"/check", e.admin), 429, "a moment ago")
	e.want(e.post(at+"/check", e.user), 403)
	e.want(e.post("/settings/security/waivers/1/delete", e.user), 403)
	e.goes(e.post("/settings/security/waivers/1/delete", e.admin), "/settings/security?notice=deleted")
	e.want(e.get(at, e.admin), 200, "78 of 100")
	// Who audits finds the pages, and reads them.
	e.goes(e.post("/access", e.admin, "user", "alice", "role", "Auditor", "all_pools", "on"), "/access?notice=added&user=alice")
	e.want(e.get("/settings/security", e.user), 200, `<a href="/settings/security" aria-current="page">`, "hosty")
	e.want(e.get(at, e.user), 200, "Bad one", "!Check again", "!Waive a check")
	e.want(e.post(at+"/check", e.user), 403)
}

// TestBlocks: somebody is shut out and let in again, all at once, and what blocks by itself is chosen, by administrators alone; strangers' texts are text.
func TestBlocks(t *testing.T) {
	e := newEnv(t)
	e.want(e.get("/blocks", e.admin), 200, "Nobody is blocked", "Detections are observed", `<a href="/blocks" aria-current="page">`, "maas_login_bruteforce", "!maas_login_spray_user")
	e.want(e.get("/blocks", e.user), 403)
	e.want(e.get("/blocks?address=198.51.100.7&reason=%3Cb%3E", e.admin), 200, `value="198.51.100.7"`, `value="&lt;b&gt;"`)
	for _, c := range [][]string{{"203.0.113.1", "203.0.113.1 is a gateway of a region"}, {"nobody", "such as 198.51.100.7"}, {"10.0.0.0/8", "Only single addresses"}} {
		e.want(e.post("/blocks", e.admin, "address", c[0], "reason", "x", "for", "1h"), 400, c[1])
	}
	e.want(e.post("/blocks", e.admin, "address", "198.51.100.7", "reason", "", "for", "8d"), 400, "Say why", "to 7 days")
	e.want(e.post("/blocks", e.user, "address", "198.51.100.7", "reason", "x"), 403)
	e.goes(e.post("/blocks", e.admin, "address", "198.51.100.7", "reason", "<i>scans</i>", "for", "2h"), "/blocks?notice=saved")
	e.want(e.get("/blocks", e.admin), 200, "198.51.100.7/32", "&lt;i&gt;scans", "Lift", "!<i>scans")
	e.want(e.post("/blocks", e.admin, "address", "198.51.100.7", "reason", "again"), 409, "blocked already")
	e.want(e.post("/blocks/lift", e.user, "lift", "198.51.100.7/32"), 403)
	e.goes(e.post("/blocks/lift", e.admin, "lift", "198.51.100.7/32"), "/blocks?notice=saved")
	e.want(e.get("/blocks", e.admin), 200, "Nobody is blocked", "lifted by root")

	policy := []string{"first", "5m", "longest", "2d", "most", "20", "never", "192.0.2.0/24"}
	e.want(e.post("/blocks/policy", e.admin, append(policy, "enforce", "maas_login_spray_user")...), 400, "does not prove its source")
	e.goes(e.post("/blocks/policy", e.admin, append(policy, "enforce", "maas_login_bruteforce")...), "/blocks?notice=saved")
	e.want(e.get("/blocks", e.admin), 200, `value="maas_login_bruteforce" type="checkbox" checked`, `value="2d"`, "192.0.2.0/24", "!Detections are observed")

	// What an alert's page says of its source.
	ctx, now := authz.AsSystem(t.Context(), "alerts"), time.Now().UTC()
	if err := e.gate.Observe(ctx, gate.SeenAlerts, func(tx *store.Tx, _ time.Time) error {
		return tx.SeeAlert(store.Alert{Region: "region1", Unit: "maas_login_slow", Severity: detect.High, Proves: true, Key: []detect.KeyValue{{Field: "source", Value: "198.51.100.9"}}, Client: "198.51.100.9", First: now, Last: now, Count: 9})
	}); err != nil {
		t.Fatal(err)
	}
	seen := block.Evidence{Unit: "maas_login_slow", Reason: "r", Source: netip.MustParseAddr("198.51.100.9"), Proves: true, Grave: true}
	if err := e.blocks.Decide(ctx, seen); err != nil {
		t.Fatal(err)
	}
	e.want(e.get("/alerts/1", e.admin), 200, "is not blocked", "observed only", "/blocks?address=198.51.100.9&amp;reason=alert&#43;1")
	e.want(e.get("/blocks", e.admin), 200, "Would have been blocked", "198.51.100.9/32", "observed only")
	seen.Unit = "maas_login_bruteforce"
	if err := e.blocks.Decide(ctx, seen); err != nil {
		t.Fatal(err)
	}
	e.want(e.get("/alerts/1", e.admin), 200, "blocked</a> by alerts, still for 5 min")

	e.want(e.post("/blocks/clear", e.user), 403)
	e.goes(e.post("/blocks/clear", e.admin), "/blocks?notice=saved")
	e.want(e.get("/blocks", e.admin), 200, "Blocking is switched off", "Nobody is blocked", "cleared by root")
	e.want(e.post("/blocks", e.admin, "address", "198.51.100.7", "reason", "x"), 409, "switch it on first")
	e.goes(e.post("/blocks/on", e.admin), "/blocks?notice=saved")
	e.want(e.post("/blocks/on", e.admin), 409, "switched on already")

	// Who audits reads, and changes nothing.
	e.goes(e.post("/access", e.admin, "user", "alice", "role", "Auditor", "all_pools", "on"), "/access?notice=added&user=alice")
	e.want(e.get("/blocks", e.user), 200, "cleared by root", "!Panic switch:", "!Block an address")
	e.want(e.post("/blocks", e.user, "address", "198.51.100.7", "reason", "x"), 403)
}

// TestAlerts: what detections found is listed and worked off; strangers' names are text.
func TestAlerts(t *testing.T) {
	e := newEnv(t)
	e.want(e.get("/alerts", e.admin), 200, "Nothing was found", `<a href="/alerts" aria-current="page">`)
	e.want(e.get("/alerts", e.user), 403)
	e.want(e.get("/alerts/1", e.admin), 404)
	now := time.Now().UTC().Truncate(time.Second)
	if err := e.gate.Observe(authz.AsSystem(t.Context(), "alerts"), gate.SeenAlerts, func(tx *store.Tx, _ time.Time) error {
		for i, sev := range []detect.Severity{detect.Info, detect.High} {
			if err := tx.SeeAlert(store.Alert{Region: "region1", Unit: "maas_login_bruteforce", Severity: sev, Proves: true, Key: []detect.KeyValue{{Field: "source", Value: fmt.Sprint("198.51.100.", i)}},
				Client: fmt.Sprint("198.51.100.", i), User: "<b>eve</b>", Host: "region", First: now, Last: now, Count: int64(i + 5), Lines: []detect.Line{{From: "security events", Text: "<script>x</script>"}}}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	page := e.get("/alerts", e.admin)
	e.want(page, 200, "One client guesses passwords", "198.51.100.1", "Top sources", "By detection", `data-live="alert"`, `aria-label="events by time"`, `aria-label="events by hour and detection"`, ": 11</title>")
	if text := page.Body.String(); strings.Index(text, "/alerts/2") > strings.Index(text, "/alerts/1\"") {
		t.Error("the worst is not first")
	}
	e.want(e.get("/alerts/2", e.admin), 200, "&lt;script&gt;x", "&lt;b&gt;eve", "What to do", "Acknowledge", "Silence it", "!<script>x")
	e.want(e.post("/alerts/2/acknowledge", e.user), 403)
	e.goes(e.post("/alerts/2/acknowledge", e.admin, "reason", "mine"), "/alerts/2?notice=saved")
	e.want(e.get("/alerts/2", e.admin), 200, "acknowledged by", "mine", "!somebody looks after it")
	e.want(e.post("/alerts/2/silence", e.admin, "reason", "", "until", "x"), 400, "Say why nobody has to be told.", "such as 2027-01-31")
	e.goes(e.post("/alerts/2/silence", e.admin, "reason", "a test", "until", now.AddDate(0, 0, 3).Format(time.DateOnly)), "/alerts/2?notice=saved")
	e.want(e.get("/alerts", e.admin), 200, "acknowledged, silenced")
	e.goes(e.post("/alerts/2/unsilence", e.admin), "/alerts/2?notice=saved")
	e.goes(e.post("/alerts/2/resolve", e.admin), "/alerts/2?notice=saved")
	e.want(e.post("/alerts/2/resolve", e.admin), 409, "resolved already")
	e.want(e.get("/alerts", e.admin), 200, "/alerts/1", "!/alerts/2")
	e.want(e.get("/alerts?state=resolved", e.admin), 200, "/alerts/2", `<option selected>resolved`)
	// When a detection fires is looked at, tried and saved.
	const unit = "/detections/maas_login_bruteforce"
	e.want(e.get("/detections", e.admin), 200, unit, "as it came")
	e.want(e.get("/detections", e.user), 403)
	e.want(e.get(unit, e.admin), 200, ">5 within", "Preview", "Save", "!security events:")
	e.want(e.get(unit+"?thresholds=3+within+1m:+high", e.admin), 200, ">3 within 1m: high<", "<strong>0</strong> alerts as it is saved")
	e.want(e.get(unit+"?thresholds=%3Cb%3E", e.admin), 400, "&lt;b&gt;", "write it like", "!<b>")
	e.want(e.get(unit, e.admin), 200, ">5 within")
	e.want(e.post(unit, e.admin, "thresholds", "many"), 400, ">many<", "write it like")
	e.goes(e.post(unit, e.admin, "thresholds", "3 within 1m: high"), unit+"?notice=saved")
	e.want(e.get(unit, e.admin), 200, ">3 within 1m: high<", "by root")
	e.goes(e.post(unit, e.admin, "thresholds", "", "off", "on"), unit+"?notice=saved")
	e.want(e.get("/detections", e.admin), 200, "does not run")
	e.want(e.get("/detections/no_such", e.admin), 404)
	e.want(e.post(unit, e.user, "thresholds", ""), 403)
	// What came by syslog names the controller and the machine's address, and which logs a controller reads has a page.
	if err := e.cs.RegisterRegion(t.Context(), metal.Controller{SystemID: "region1", Hostname: "the-region", Type: metal.NodeRegionController}); err != nil {
		t.Fatal(err)
	}
	if err := e.gate.Observe(authz.AsSystem(t.Context(), "alerts"), gate.SeenAlerts, func(tx *store.Tx, now time.Time) error {
		if err := tx.SeeHostLogs("region1", []detect.LogState{{Name: "/var/log/<b>", State: detect.LogDenied, Note: "note"}, {Name: "/absent", State: detect.LogAbsent}}, now); err != nil {
			return err
		}
		return tx.SeeAlert(store.Alert{Region: "region1", Origin: store.FromSyslog, Unit: "ssh_bruteforce", Severity: detect.Medium, Host: "10.0.0.9", First: now, Last: now, Count: 5})
	}); err != nil {
		t.Fatal(err)
	}
	e.want(e.get("/alerts", e.admin), 200, "syslog that a machine sent")
	e.want(e.get("/alerts/3", e.admin), 200, "syslog that a machine sent", "10.0.0.9", "its evidence names no one source for certain", "region1", "the-region")
	e.want(e.get("/alerts/logs", e.admin), 200, "/var/log/&lt;b&gt;", "may not be read", "Not on this host", "/absent", "!<b>")
	e.want(e.get("/alerts/logs", e.user), 403)
	// Who audits reads them and does nothing about them.
	e.goes(e.post("/access", e.admin, "user", "alice", "role", "Auditor", "all_pools", "on"), "/access?notice=added&user=alice")
	e.want(e.get("/alerts/1", e.user), 200, "What to do", "!Silence it")
	e.want(e.get(unit, e.user), 200, "Preview", "!Save")
	e.want(e.post(unit, e.user, "thresholds", ""), 403)
	e.want(e.post("/alerts/1/resolve", e.user), 403)
}
