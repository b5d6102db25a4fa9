package ui

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/browsertest"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

var screens = flag.String("screens", "", "folder for screenshots of pages with sample data")

// listen serves the pages over TLS, as the cookie demands, with origins as the region's listener sets them.
func (e *env) listen() string {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.ui.ServeHTTP(w, r.WithContext(authz.WithOrigin(r.Context(), authz.Origin{Source: "127.0.0.1", RequestID: "req-43", UserAgent: r.UserAgent()})))
	}))
	e.t.Cleanup(srv.Close)
	e.t.Cleanup(srv.CloseClientConnections) // live pages keep streams open
	e.client = srv.Client()
	return srv.URL
}

func logIn(base, name, password string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(chromedp.Navigate(base+"/login"), chromedp.SendKeys("#f-username", name), chromedp.SendKeys("#f-password", password),
		chromedp.Click("form button.main"), chromedp.WaitVisible("#machine-list"))
}

// TestBrowser walks through the pages as a person does: log in, add a machine, watch it change, upload an image.
func TestBrowser(t *testing.T) {
	e := newEnv(t)
	ctx, complaints := browsertest.Start(t)
	base := e.listen()
	image := []byte(strings.Repeat("not a real disk image ", 300000)) // 6.6 MB: more than one piece
	sum := sha256.Sum256(image)
	file := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(file, image, 0o600); err != nil {
		t.Fatal(err)
	}
	err := chromedp.Do(ctx, logIn(base, "root", adminPassword),
		chromedp.Click(`a[href="/machines/new"]`), chromedp.WaitVisible("#f-hostname"),
		chromedp.WaitNotVisible("[data-power=ipmi]"), // no power type is chosen yet
		chromedp.SendKeys("#f-hostname", "node01"), chromedp.SendKeys("#f-mac_addresses", "52:54:00:12:34:56"),
		chromedp.SetValue("#f-power_type", "manual"), chromedp.Click("#f-commission"), chromedp.Click("form.card button.main"),
		chromedp.WaitVisible("#machine"))
	if err != nil {
		t.Fatal(err)
	}
	attr, err := chromedp.Run(ctx, chromedp.AttributeValue("#machine", "data-id"))
	if err != nil {
		t.Fatal(err)
	}
	id := attr.Value
	const rackID = "rackrackrackrack"
	e.rack(rackID, "rack-1", "10.20.0.2/24")
	e.hostReport(rackID)
	// A change elsewhere shows without a reload, long before the clock's round.
	for deadline := time.Now().Add(time.Minute); e.feed.count() == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the page did not open its stream")
		}
	}
	if _, err := e.ms.Commission(authz.With(t.Context(), authz.Principal{Kind: authz.User, Name: "root", Rights: authz.Everything()}), id, ""); err != nil {
		t.Fatal(err)
	}
	err = chromedp.Do(ctx, chromedp.WaitVisible(`form[action="/machines/`+id+`/abort"]`),
		chromedp.Navigate(base+"/machines"), chromedp.WaitVisible("#m-"+id))
	if err != nil {
		t.Fatal(err)
	}
	e.alter(id, func(m *metal.Machine) { m.Hostname = "renamed" })
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`document.getElementById("m-`+id+`")?.textContent.includes("renamed")`)); err != nil {
		t.Fatal(err)
	}
	err = chromedp.Do(ctx, chromedp.Navigate(base+"/images"), chromedp.SendKeys("#f-name", "custom/debian12"), chromedp.SetValue("#f-filetype", "ddraw"),
		chromedp.SetUploadFiles("#f-file", []string{file}), chromedp.Click("form[data-upload] button.main"),
		chromedp.WaitVisible("#image-list .badge.good"))
	if err != nil {
		t.Fatalf("%v; the page complained: %q", err, complaints())
	}
	list, err := e.is.List(authz.AsSystem(t.Context(), "test"))
	if err != nil || len(list) != 1 || list[0].SHA256 != hex.EncodeToString(sum[:]) || !list[0].Complete {
		t.Errorf("got images %+v, error %v, want one with the digest that the browser computed", list, err)
	}
	for _, path := range []string{"/subnets", "/subnets/new", "/controllers", "/controllers/new", "/audit", "/account", "/users", "/settings", "/settings/security", "/settings/security/hosts/" + rackID, "/machines/" + id + "/edit"} {
		if err := chromedp.Do(ctx, chromedp.Navigate(base+path), chromedp.WaitVisible("main h1")); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if got := complaints(); len(got) > 0 {
		t.Errorf("got complaints in the browser's console: %s", strings.Join(got, "\n"))
	}
}

// TestScreens takes pictures of pages with sample data, for people to look at.
func TestScreens(t *testing.T) {
	if *screens == "" {
		t.Skip("takes screenshots for people: name a folder with -screens")
	}
	e := newEnv(t)
	id := e.sample()
	ctx, _ := browsertest.Start(t)
	base := e.listen()
	if err := chromedp.Do(ctx, shot("login", base+"/login"), logIn(base, "root", adminPassword)); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"machines": "/machines", "machine": "/machines/" + id, "new": "/machines/new", "images": "/images", "subnets": "/subnets",
		"subnet": "/subnets/1", "vlan": "/vlans/1", "controllers": "/controllers", "audit": "/audit", "account": "/account", "users": "/users", "user": "/users/alice", "settings": "/settings", "security": "/settings/security", "host": "/settings/security/hosts/rackrackrackrack", "secrets": "/settings/secrets", "providers": "/providers?kind=ldap", "deploy": "/machines/" + id + "/release"} {
		if err := chromedp.Do(ctx, shot(name, base+path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(420, 800), shot("phone", base+"/machines"), shot("phone-machine", base+"/machines/"+id)); err != nil {
		t.Fatal(err)
	}
}

func shot(name, url string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(chromedp.Navigate(url), chromedp.Sleep(300*time.Millisecond), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		png, err := chromedp.CaptureScreenshot()(ctx, t)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(*screens, name+".png"), png, 0o600)
	}))
}

// sample fills a region with what one looks like in use and returns a machine with something to show.
func (e *env) sample() string {
	e.rack("rackrackrackrack", "rack-1", "10.20.0.2/24")
	e.hostReport("rackrackrackrack")
	admin := authz.With(e.t.Context(), authz.Principal{Kind: authz.User, Name: "root", UserID: 1, Rights: authz.Everything()})
	sub, err := e.ns.CreateSubnet(admin, metal.Subnet{CIDR: netip.MustParsePrefix("10.20.0.0/24"), Name: "metal", Gateway: netip.MustParseAddr("10.20.0.1"), DNSServers: []netip.Addr{netip.MustParseAddr("10.20.0.53")}, Managed: true})
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := e.ns.CreateRange(admin, metal.IPRange{SubnetID: sub.ID, Type: metal.RangeDynamic, Start: netip.MustParseAddr("10.20.0.100"), End: netip.MustParseAddr("10.20.0.199")}); err != nil {
		e.t.Fatal(err)
	}
	if _, err := e.ns.UpdateVLAN(admin, sub.VLANID, func(v *metal.VLAN) { v.DHCPOn, v.PrimaryRack = true, "rackrackrackrack" }); err != nil {
		e.t.Fatal(err)
	}
	hw := metal.HardwareInfo{SystemVendor: "Dell Inc.", SystemProduct: "PowerEdge R650", SystemSerial: "7XK2QJ3", CPUModel: "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", MainboardVendor: "Dell Inc.", MainboardProduct: "0PYXKY", MainboardFirmwareVersion: "1.12.1", MainboardFirmwareDate: "11/02/2025"}
	statuses := []metal.Status{metal.Deployed, metal.Ready, metal.Commissioning, metal.FailedCommissioning, metal.Allocated, metal.New, metal.Deploying, metal.FailedDeployment, metal.DiskErasing}
	var id string
	for i := range 64 {
		m := metal.Machine{Hostname: fmt.Sprintf("node-%02d", i+1), Status: statuses[i%len(statuses)], CPUCount: 64, MemoryMiB: 256 << 10, PowerType: "ipmi",
			PowerState: []metal.PowerState{metal.PowerOn, metal.PowerOff, metal.PowerError}[i%3], FirmwareUEFI: true, TPM: "2.0", Hardware: hw, HardwareUUID: "4c4c4544-0058-4b10-8032-b7c04f514a33", PowerParameters: metal.PowerParameters{"power_address": "10.30.0.7"}, Deadline: time.Now().Add(20 * time.Minute)}
		switch m.Status {
		case metal.Deployed, metal.Deploying:
			m.Owner, m.OSystem, m.DistroSeries, m.Tags = "alice", "custom", "debian12", []string{"gpu", "nvme"}
		case metal.Allocated:
			m.Owner = "root"
		case metal.FailedCommissioning, metal.FailedDeployment:
			m.ErrorText = "Timed out: the machine did not network-boot. Check that it is powered on, boots from the network first, and is on a VLAN with DHCP on."
		}
		n := e.machine(m, metal.MAC(fmt.Sprintf("52:54:00:00:%02x:01", i)), metal.MAC(fmt.Sprintf("52:54:00:00:%02x:02", i)))
		e.within(n, func(tx *store.Tx) error {
			for d := range 2 {
				if err := tx.PutBlockDevice(&metal.BlockDevice{SystemID: n, Name: fmt.Sprintf("nvme%dn1", d), Model: "Micron 7450 MTFDKCC3T8TFR", Serial: fmt.Sprintf("22333F%04X", i*7+d), SizeBytes: 3840755982336, BlockSize: 512}); err != nil {
					return err
				}
			}
			return nil
		})
		if i == 0 {
			id = n
		}
	}
	e.within(id, func(tx *store.Tx) error {
		set := metal.ScriptSet{SystemID: id, Type: metal.ResultCommissioning, BootID: "b1", Started: time.Now().Add(-time.Hour)}
		for _, s := range metal.CommissioningScripts {
			set.Results = append(set.Results, metal.ScriptResult{Name: s.Name, Status: metal.ScriptPassed})
		}
		if err := tx.AddScriptSet(&set, 10); err != nil {
			return err
		}
		for _, ev := range []metal.Event{{Type: "New", Level: metal.LevelInfo}, {Type: "Ready", Level: metal.LevelInfo}, {Type: "User starting deployment", Level: metal.LevelDebug, Username: "alice", Description: "(alice)"}, {Type: "Failed to power on node", Level: metal.LevelError, Description: "the BMC did not answer"}} {
			ev.SystemID, ev.Created = id, time.Now()
			if err := tx.AddEvent(ev); err != nil {
				return err
			}
		}
		return nil
	})
	err = e.gate.Do(admin, authz.ImageEdit, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounImage}); err != nil {
			return err
		}
		for i, b := range []metal.BootResource{{Name: "custom/debian12", Title: "Debian 12 with our agents", FileType: "ddgz", SizeBytes: 734003200, Complete: true}, {Name: "custom/ubuntu24", FileType: "ddraw", SizeBytes: 2361393152, Received: 1361393152}} {
			b.Architecture, b.SHA256, b.Created = "amd64/generic", strings.Repeat(fmt.Sprint(i+3, "a"), 32), time.Now()
			if err := c.Tx().AddBootResource(&b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return id
}
