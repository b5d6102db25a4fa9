// Package regiontest builds the core of a region over a temporary store, for tests: the gate and every service,
// with racks that answer from memory, a clock that tests set, and databases on both engines.
//
// Nothing outside tests imports it. Start with New; Machine is a machine that boots and reports as an agent would.
package regiontest

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/controllers"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/hostchecks"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/images"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/networks"
	"github.com/metalward/metalward/internal/region/notify"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/region/site"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// Clock is a clock that tests set. Safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

// Start is where clocks begin.
var Start = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// NewClock makes a clock that shows Start.
func NewClock() *Clock { return &Clock{now: Start} }

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Silent is a log that goes nowhere.
var Silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// RegionID is the system id of the region under test.
const RegionID = "regionregion2345"

// Core is a region without its listeners.
type Core struct {
	Dir    string // state folder: root.key, images
	DSN    string
	Reader *store.Reader
	Writer *store.Writer
	Keys   *secret.Safe
	Shared []byte // the shared secret at the start
	Site   *site.Site
	Link   *secrets.Link // follows vault.json in Dir

	Gate        *gate.Gate
	Identity    *identity.Service
	Networks    *networks.Service
	Controllers *controllers.Service
	Images      *images.Service
	Machines    *machines.Service
	Hosts       *hostchecks.Service
	Notify      *notify.Service
	Secrets     *secrets.Service

	now func() time.Time
}

// SQL does something to the database that no service does, beside those that run: it waits for them.
func (c *Core) SQL(t testing.TB, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+c.DSN+"?_pragma=busy_timeout(60000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// New builds a core with an empty store on SQLite; now is its clock.
func New(t testing.TB, now func() time.Time) *Core {
	t.Helper()
	dir := t.TempDir()
	return Open(t, dir, filepath.Join(dir, "metalward.db"), now)
}

// Open builds a core over a state folder and a database, which may exist already.
func Open(t testing.TB, dir, dsn string, now func() time.Time) *Core {
	t.Helper()
	ctx := context.Background()
	c := &Core{Dir: dir, DSN: dsn, now: now}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	ring, err := secret.OpenKeyring(filepath.Join(dir, "root.key"))
	must(err)
	c.Keys = secret.NewSafe(ring, now, nil)
	_, benchmark := t.(*testing.B)
	c.Reader, c.Writer, err = store.OpenWith(ctx, store.Database{DSN: dsn, Rehearse: !benchmark})
	must(err)
	t.Cleanup(func() {
		if err := errors.Join(c.Reader.Close(), c.Writer.Close()); err != nil {
			t.Error(err)
		}
	})
	c.Link = secrets.NewLink(dir, c.Keys, now, nil)
	must(c.Link.Open(ctx, c.Reader))
	c.Gate = gate.New(gate.Config{Region: RegionID, Reader: c.Reader, Writer: c.Writer, Log: Silent, Now: now, Key: c.TrailKey(), Settle: c.Keys.Settle, Changed: func(touched []authz.Target) {
		if c.Identity != nil {
			c.Identity.Changed(touched)
		}
		if c.Networks != nil {
			c.Networks.Changed(touched)
		}
	}})
	c.Secrets = secrets.New(secrets.Config{Gate: c.Gate, Keys: c.Keys, Now: now, Log: Silent, Link: c.Link, Region: RegionID})
	c.Site, err = site.Load(ctx, c.Gate, c.Keys, now())
	must(err)
	must(c.Site.LoadShared(ctx, dir))
	must(c.Reader.View(ctx, func(v *store.View) error {
		shared, err := c.Site.Shared(v)
		c.Shared = shared.Current.Reveal()
		return err
	}))
	c.Identity = identity.New(identity.Config{Gate: c.Gate, Now: now, Keys: c.Keys, Origin: "https://region.example:5443"})
	c.Networks = networks.New(c.Gate, now, Silent, c.Site.Machines.PEM())
	c.Notify = notify.New(notify.Config{Gate: c.Gate, Log: Silent, Now: now, Keys: c.Keys})
	c.Controllers = controllers.New(controllers.Config{Gate: c.Gate, Site: c.Site, Network: c.Networks, Now: now, Log: Silent, Joined: c.Networks.Joined})
	c.Networks.SetRacks(c.Controllers)
	c.Hosts = hostchecks.New(hostchecks.Config{Gate: c.Gate, Now: now, Log: Silent, Region: RegionID, Racks: c.Controllers, Tell: c.Notify})
	c.Images, err = images.New(c.Gate, filepath.Join(dir, "images"))
	must(err)
	c.Machines = machines.New(machines.Config{Gate: c.Gate, Site: c.Site, Keys: c.Keys, Racks: c.Controllers, Snapshots: c.Networks, Now: now, Log: Silent, MetadataPort: 5246})
	return c
}

// TrailKey signs the trail's checkpoints.
func (c *Core) TrailKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(c.Keys.Derive("trail checkpoints"))
}

// Admin acts as an administrator, who has a row in the store.
func (c *Core) Admin(t testing.TB) context.Context { return c.User(t, "root", true) }

// User acts as a user, who is created when first named.
func (c *Core) User(t testing.TB, name string, admin bool) context.Context {
	t.Helper()
	ctx := authz.WithOrigin(context.Background(), authz.Origin{Source: "192.0.2.10", RequestID: "test"})
	u, err := c.Identity.User(authz.AsSystem(ctx, "test"), name)
	if err != nil {
		u, err = c.addUser(name, admin)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := authz.Principal{}
	c.View(t, func(v *store.View) error { p, err = identity.Principal(v, u); return err })
	return authz.With(ctx, p)
}

// addUser makes a user without a password: hashing one takes longer than most tests.
func (c *Core) addUser(name string, admin bool) (metal.User, error) {
	u := store.UserRow{User: metal.User{Name: name, Admin: admin}}
	err := c.Gate.Do(authz.AsSystem(context.Background(), "test"), authz.UserEdit, func(call *gate.Call) error {
		if err := call.Require(store.NewUserTarget); err != nil {
			return err
		}
		u.Created = call.Now()
		if err := call.Tx().AddUser(&u); err != nil {
			return err
		}
		group := metal.GroupUsers
		if admin {
			group = metal.GroupAdministrators
		}
		g, err := call.Tx().GroupByName(group)
		if err != nil {
			return err
		}
		if err := call.Require(store.GroupTarget(g.ID)); err != nil {
			return err
		}
		return call.Tx().AddMember(g.ID, u.ID)
	})
	return u.User, err
}

// View reads the store past the gate.
func (c *Core) View(t testing.TB, fn func(v *store.View) error) {
	t.Helper()
	if err := c.Reader.View(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

// Trail is the trail so far, oldest first.
func (c *Core) Trail(t testing.TB) (list []metal.AuditEvent) {
	t.Helper()
	c.View(t, func(v *store.View) error {
		rows, err := v.AuditEvents(store.AuditQuery{Limit: 1 << 20})
		for i := len(rows) - 1; i >= 0; i-- {
			list = append(list, rows[i].AuditEvent)
		}
		return err
	})
	return list
}

// Row is a machine's record.
func (c *Core) Row(t testing.TB, systemID string) (m metal.Machine) {
	t.Helper()
	c.View(t, func(v *store.View) (err error) { m, err = v.Machine(systemID); return err })
	return m
}

// Rack is a connected rack that answers from memory.
type Rack struct {
	ID   string
	core *Core

	mu     sync.Mutex
	power  func(context.Context, wire.PowerRequest) (wire.PowerResponse, error)   // guarded by mu
	rotate func(context.Context, wire.RotateRequest) (wire.RotateResponse, error) // guarded by mu
	calls  []wire.PowerRequest                                                    // guarded by mu
	snap   metal.RackSnapshot                                                     // guarded by mu
	closed bool                                                                   // guarded by mu
}

// AddRack makes a rack controller with an interface in a network, for example "10.0.0.2/24", serves DHCP
// there from a dynamic range, and connects it.
func (c *Core) AddRack(t testing.TB, name string, address netip.Prefix) *Rack {
	t.Helper()
	r := &Rack{ID: metal.NewSystemID(), core: c}
	admin := c.Admin(t)
	err := c.Gate.Do(authz.AsSystem(admin, "test"), authz.RackEnrol, func(call *gate.Call) error {
		if err := call.Require(store.ControllerTarget(r.ID)); err != nil {
			return err
		}
		return call.Tx().AddController(metal.Controller{SystemID: r.ID, Hostname: name, Type: metal.NodeRackController, Created: call.Now(), LastSeen: call.Now(),
			CertExpires: call.Now().Add(24 * time.Hour)})
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Serve(t, r.ID, address)
	c.Controllers.Attach(r.ID, r)
	return r
}

// Serve has a rack say that it has an address, and turns DHCP on in that network.
func (c *Core) Serve(t testing.TB, rackID string, address netip.Prefix) {
	t.Helper()
	hello := wire.HelloRequest{Protocol: wire.Protocol, Version: "1", Hostname: rackID,
		Interfaces: []metal.ControllerInterface{{Name: "eth0", MAC: "52:54:00:00:ff:01", Up: true, Addresses: []netip.Prefix{address}}}}
	if err := c.Controllers.Hello(RackCtx(rackID), rackID, hello); err != nil {
		t.Fatal(err)
	}
	admin := c.Admin(t)
	model, err := c.Networks.Model(admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range model.Subnets {
		if sub.CIDR != address.Masked() {
			continue
		}
		first := sub.CIDR.Addr().As4()
		first[3] = 100
		last := first
		last[3] = 199
		if _, err := c.Networks.CreateRange(admin, metal.IPRange{SubnetID: sub.ID, Type: metal.RangeDynamic, Start: netip.AddrFrom4(first), End: netip.AddrFrom4(last)}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Networks.UpdateVLAN(admin, sub.VLANID, func(v *metal.VLAN) { v.DHCPOn, v.PrimaryRack = true, rackID }); err != nil {
			t.Fatal(err)
		}
	}
}

// RackCtx acts as a rack.
func RackCtx(id string) context.Context {
	ctx := authz.WithOrigin(context.Background(), authz.Origin{Source: "198.51.100.7"})
	return authz.With(ctx, authz.Principal{Kind: authz.Rack, Name: id})
}

// Ctx acts as this rack.
func (r *Rack) Ctx() context.Context { return RackCtx(r.ID) }

// OnPower sets how the rack answers power commands; nil means that every BMC obeys.
func (r *Rack) OnPower(fn func(context.Context, wire.PowerRequest) (wire.PowerResponse, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.power = fn
}

// OnRotate sets how the rack answers steps of rotations.
func (r *Rack) OnRotate(fn func(context.Context, wire.RotateRequest) (wire.RotateResponse, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rotate = fn
}

// Power lists the power commands that came, queries aside.
func (r *Rack) Power() []wire.PowerRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]wire.PowerRequest(nil), r.calls...)
}

// Snapshot is the last snapshot that came.
func (r *Rack) Snapshot() metal.RackSnapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snap
}

// Closed reports whether the region ended the session.
func (r *Rack) Closed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// Close ends the session.
func (r *Rack) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return nil
}

// Call answers a message of the region.
func (r *Rack) Call(ctx context.Context, m wire.Message, req, resp any) error {
	switch req := req.(type) {
	case metal.RackSnapshot:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.snap = req
		return nil
	case wire.RotateRequest:
		r.mu.Lock()
		fn := r.rotate
		r.mu.Unlock()
		if fn == nil {
			return fault.New(fault.Unavailable, "No BMC answers.")
		}
		out, err := fn(ctx, req)
		if p, ok := resp.(*wire.RotateResponse); ok {
			*p = out
		}
		return err
	case wire.PowerRequest:
		r.mu.Lock()
		fn := r.power
		if req.Action != metal.ActionQuery {
			r.calls = append(r.calls, req)
		}
		r.mu.Unlock()
		out, err := wire.PowerResponse{State: metal.PowerOn}, error(nil)
		if fn != nil {
			out, err = fn(ctx, req)
		} else if req.Action == metal.ActionOff {
			out.State = metal.PowerOff
		}
		if p, ok := resp.(*wire.PowerResponse); ok {
			*p = out
		}
		return err
	}
	return errors.New("regiontest: a rack does not answer " + m.Name)
}

// Slow marks a test of many steps after each other, in which the race detector finds nothing that others do not show it: make test
// runs it without the detector, which would take ten times as long.
func Slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("slow with the race detector: run without -short")
	}
}
