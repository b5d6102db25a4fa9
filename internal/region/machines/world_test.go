package machines_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// world is a region with a rack on 10.0.0.0/24 and a machine beside it.
type world struct {
	*regiontest.Core
	clock *regiontest.Clock
	rack  *regiontest.Rack
	m     *regiontest.Machine
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{clock: regiontest.NewClock()}
	w.Core = regiontest.New(t, w.clock.Now)
	w.rack = w.AddRack(t, "rack0", netip.MustParsePrefix("10.0.0.2/24"))
	w.m = w.machine(1)
	return w
}

// machine is the n-th machine on the rack's VLAN.
func (w *world) machine(n int) *regiontest.Machine {
	return &regiontest.Machine{Core: w.Core, Rack: w.rack, MAC: metal.MAC(fmt.Sprintf("52:54:00:00:01:%02x", n)), IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + n)})}
}

// image uploads a small image.
func (w *world) image(t testing.TB, name string) { w.upload(t, name, "image "+name) }

func (w *world) upload(t testing.TB, name, content string) {
	t.Helper()
	data := []byte(content)
	sum := sha256.Sum256(data)
	b, err := w.Images.Announce(w.Admin(t), metal.BootResource{Name: name, Architecture: "amd64", FileType: "ddraw", SizeBytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:])})
	if err == nil {
		b, err = w.Images.Append(w.Admin(t), b.ID, bytes.NewReader(data), int64(len(data)))
	}
	if err != nil || !b.Complete {
		t.Fatalf("cannot upload image: %+v, %v", b, err)
	}
}

func (w *world) set(t testing.TB, name string, value any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	err = w.Gate.Do(w.Admin(t), authz.SettingEdit, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounSetting, ID: name}); err != nil {
			return err
		}
		return c.Tx().PutSetting(name, string(text))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// power carries out what is due.
func (w *world) power(t testing.TB) {
	t.Helper()
	if _, err := w.Machines.RunDue(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (w *world) expire(t testing.TB) {
	t.Helper()
	if err := w.Machines.Expire(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// events of a machine, oldest first.
func (w *world) events(t testing.TB, id string) (list []metal.Event) {
	t.Helper()
	w.View(t, func(v *store.View) error {
		rows, err := v.Events(store.EventQuery{Machines: store.MachineQuery{Filter: authz.AllMachines, SystemIDs: []string{id}}, Limit: 1 << 20})
		for i := len(rows) - 1; i >= 0; i-- {
			list = append(list, rows[i])
		}
		return err
	})
	return list
}

// security is how many audit events have this kind.
func (w *world) security(t testing.TB, kind string) (n int) {
	t.Helper()
	for _, e := range w.Trail(t) {
		if e.Detail["event"] == kind {
			n++
		}
	}
	return n
}

func (w *world) boot(t testing.TB, id string) (b store.BootRow) {
	t.Helper()
	w.View(t, func(v *store.View) (err error) { b, err = v.Boot(id); return err })
	return b
}

func (w *world) ip(t testing.TB, id string) (ip netip.Addr) {
	t.Helper()
	w.View(t, func(v *store.View) error {
		nics, err := v.Interfaces(id)
		for _, n := range nics {
			if n.IP.IsValid() {
				ip = n.IP
			}
		}
		return err
	})
	return ip
}

// want checks a machine's status and that its reason contains a text.
func (w *world) want(t testing.TB, id string, status metal.Status, reason string) {
	t.Helper()
	m := w.Row(t, id)
	if m.Status != status || !strings.Contains(m.ErrorText, reason) || reason == "" && m.ErrorText != "" {
		t.Errorf("got %s (%q), want %s (%q)", m.Status, m.ErrorText, status, reason)
	}
	if _, working := m.Status.Failed(); working == m.Deadline.IsZero() {
		t.Errorf("in %s the deadline is %v", m.Status, m.Deadline)
	}
}

func wantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("got error %v, want kind %s", err, kind)
	}
}

func wantField(t testing.TB, err error, field, text string) {
	t.Helper()
	f, ok := fault.As(err)
	if !ok || f.Kind != fault.Invalid || !strings.Contains(strings.Join(f.Fields[field], " "), text) {
		t.Errorf("got %v, want a complaint about %s that contains %q", err, field, text)
	}
}

// deploying brings the machine from Ready to a claimed boot of a deployment.
func (w *world) deploying(t testing.TB, id, userData string) {
	t.Helper()
	if _, err := w.Machines.Deploy(w.Admin(t), id, machines.DeployRequest{UserData: userData}); err != nil {
		t.Fatal(err)
	}
	w.power(t)
	w.m.Start(t)
}

var phoneRE = regexp.MustCompile(`https://10\.0\.0\.2:5246` + regexp.QuoteMeta(wire.PhoneHomePath) + `([A-Za-z0-9_-]+)`)

// phone is the credential in a seed.
func phone(t testing.TB, seed wire.SeedResponse) string {
	t.Helper()
	found := phoneRE.FindSubmatch(seed.VendorData)
	if found == nil {
		t.Fatalf("no report address in the vendor data:\n%s", seed.VendorData)
	}
	return string(found[1])
}

// deployed brings the machine from Ready to Deployed.
func (w *world) deployed(t testing.TB, id string) {
	t.Helper()
	w.deploying(t, id, "")
	seed, err := w.Machines.Seed(w.rack.Ctx(), w.m.Ref)
	if err != nil {
		t.Fatal(err)
	}
	w.m.Done(t, "")
	if err := w.Machines.PhoneHome(w.rack.Ctx(), wire.PhoneHomeRequest{Credential: phone(t, seed), IP: w.m.IP}); err != nil {
		t.Fatal(err)
	}
	w.want(t, id, metal.Deployed, "")
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// recommission takes the machine's inventory anew.
func (w *world) recommission(t testing.TB, id string) {
	t.Helper()
	if _, err := w.Machines.Commission(w.Admin(t), id, ""); err != nil {
		t.Fatal(err)
	}
	w.m.Start(t)
	w.m.Found(t)
	w.m.Pass(t)
	w.m.Done(t, "")
	w.want(t, id, metal.Ready, "")
}
