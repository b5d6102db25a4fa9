package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

var (
	ctx   = context.Background()
	t0    = time.Date(2027, 3, 1, 12, 0, 0, 123456000, time.UTC)
	empty = cmpopts.EquateEmpty()
	addrs = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), empty}
)

// db is a store under test.
type db struct {
	t *testing.T
	r *store.Reader
	w *store.Writer
}

func open(t *testing.T, dsn string) *db {
	t.Helper()
	r, w, err := store.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), w.Close()); err != nil {
			t.Error(err)
		}
	})
	return &db{t, r, w}
}

// try runs a write transaction and returns its error and what it touched.
func (d *db) try(fn func(*store.Tx) error) (touches []store.Touch, err error) {
	err = d.w.Do(ctx, func(tx *store.Tx) error { touches = nil; return fn(tx) }, func(tx *store.Tx) error { touches = tx.Touches(); return nil })
	return touches, err
}

func (d *db) do(fn func(*store.Tx) error) []store.Touch {
	d.t.Helper()
	touches, err := d.try(fn)
	if err != nil {
		d.t.Fatal(err)
	}
	return touches
}

func (d *db) view(fn func(*store.View) error) {
	d.t.Helper()
	if err := d.r.View(ctx, fn); err != nil {
		d.t.Fatal(err)
	}
}

// read returns what a reading method of two results gives.
func read[T any](d *db, fn func(*store.View) (T, error)) (x T) {
	d.t.Helper()
	d.view(func(v *store.View) (err error) { x, err = fn(v); return err })
	return x
}

func (d *db) want(err error, kind fault.Kind) {
	d.t.Helper()
	if !fault.Is(err, kind) {
		d.t.Errorf("got error %v, want one of kind %s", err, kind)
	}
}

func (d *db) same(got, want any, opts ...cmp.Option) {
	d.t.Helper()
	if diff := cmp.Diff(want, got, append(opts, addrs)...); diff != "" {
		d.t.Errorf("got different from want (-want +got):\n%s", diff)
	}
}

// machine inserts a machine and returns it as stored.
func (d *db) machine(name string, set func(*metal.Machine)) metal.Machine {
	d.t.Helper()
	m := metal.Machine{SystemID: metal.NewSystemID(), Hostname: name, PoolID: metal.DefaultPoolID, ZoneID: metal.DefaultZoneID, Architecture: "amd64/generic",
		PowerState: metal.PowerUnknown, Created: t0, Updated: t0}
	if set != nil {
		set(&m)
	}
	d.do(func(tx *store.Tx) error { return tx.AddMachine(&m) })
	return m
}

// suites is the store's contract, run on each engine.
var suites = map[string]func(*db){
	"migrate": testMigrated, "pools and zones": testNamed, "users": testUsers, "logins": testLogins, "demanded roles": testDemandedRoles, "groups": testGroups, "roles": testRoles, "grants": testGrants, "providers": testProviders, "rbac": testRBAC, "machine filter": testFilter, "networks": testNetworks, "controllers": testControllers, "machines": testMachines,
	"machine query": testQuery, "machine text": testText, "events": testEvents, "boots": testBoots, "commands": testCommands, "BMC accounts": testBMC, "scripts": testScripts,
	"images": testImages, "secrets and settings": testSecrets, "vault": testVault, "host checks": testHostChecks, "alerts": testAlerts, "alerts of hosts": testHostAlerts, "blocks": testBlocks, "leases": testLeases, "audit": testAudit, "touches": testTouches, "hostile text": testHostile,
	"one transaction at a time": testConcurrent, "collision in disguise": testDisguised, "rollback": testRollback, "crowd": testCrowd,
}

func TestStore(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, _ string) {
		for name, fn := range suites {
			t.Run(name, func(t *testing.T) {
				dsn := ""
				if strings.Contains(t.Name(), "/postgres/") {
					dsn = regiontest.Postgres(t)
				} else {
					dsn = regiontest.SQLite(t)
				}
				fn(open(t, dsn))
			})
		}
	})
}

func TestOpenTwice(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		first := open(t, dsn)
		m := first.machine("kept", nil)
		second := open(t, dsn)
		if got := read(second, func(v *store.View) (metal.Machine, error) { return v.Machine(m.SystemID) }); got.Hostname != "kept" {
			t.Errorf("got %q after opening again, want kept", got.Hostname)
		}
	})
}

// TestOpenTogether starts several regions on one empty database at once: one migrates, all open.
func TestOpenTogether(t *testing.T) {
	dsn := regiontest.Postgres(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			r, w, err := store.Open(ctx, dsn)
			if err != nil {
				t.Error(err)
				return
			}
			_ = r.Close()
			_ = w.Close()
		})
	}
	wg.Wait()
}

func TestOpenFails(t *testing.T) {
	if _, _, err := store.Open(ctx, t.TempDir()+"/absent/x.db"); err == nil {
		t.Error("got no error for a folder that does not exist")
	}
	if _, _, err := store.Open(ctx, "postgres://nobody@127.0.0.1:1/none?connect_timeout=1"); err == nil {
		t.Error("got no error for a server that is not there")
	}
}

func testMigrated(d *db) {
	p := read(d, func(v *store.View) (metal.ResourcePool, error) { return v.Pool(metal.DefaultPoolID) })
	if p.Name != "default" {
		d.t.Errorf("got default pool %+v", p)
	}
	z := read(d, func(v *store.View) (metal.Zone, error) { return v.ZoneByName("default") })
	if z.ID != metal.DefaultZoneID {
		d.t.Errorf("got default zone %+v, want id %d", z, metal.DefaultZoneID)
	}
}

func testNamed(d *db) {
	p, z := metal.ResourcePool{Name: "alpha", Description: "a"}, metal.Zone{Name: "east"}
	d.do(func(tx *store.Tx) error { return errors.Join(tx.AddPool(&p), tx.AddZone(&z)) })
	if p.ID == 0 || z.ID == 0 || z.ID == metal.DefaultZoneID {
		d.t.Fatalf("got ids %d and %d", p.ID, z.ID)
	}
	_, err := d.try(func(tx *store.Tx) error { return tx.AddPool(&metal.ResourcePool{Name: "alpha"}) })
	d.want(err, fault.Conflict)
	if !errors.Is(err, store.ErrTaken) {
		d.t.Errorf("got %v, want ErrTaken", err)
	}
	_, err = d.try(func(tx *store.Tx) error { return tx.AddZone(&metal.Zone{Name: "default"}) })
	d.want(err, fault.Conflict)
	p.Name, z.Description = "beta", "seen"
	d.do(func(tx *store.Tx) error { return errors.Join(tx.PutPool(p), tx.PutZone(z)) })
	d.same(read(d, (*store.View).Pools), []metal.ResourcePool{p, {ID: 0, Name: "default", Description: "Default pool"}})
	d.same(read(d, (*store.View).Zones), []metal.Zone{{ID: 1, Name: "default", Description: "Default zone"}, z})
	d.same(read(d, func(v *store.View) (metal.ResourcePool, error) { return v.PoolByName("beta") }), p)
	d.machine("in-beta", func(m *metal.Machine) { m.PoolID, m.ZoneID = p.ID, z.ID })
	_, err = d.try(func(tx *store.Tx) error { return tx.DeletePool(p.ID) })
	d.want(err, fault.Conflict)
	_, err = d.try(func(tx *store.Tx) error { return tx.DeleteZone(z.ID) })
	d.want(err, fault.Conflict)
	_, err = d.try(func(tx *store.Tx) error {
		return tx.AddMachine(&metal.Machine{SystemID: metal.NewSystemID(), Hostname: "nowhere", PoolID: 4711, ZoneID: 1})
	})
	d.want(err, fault.Conflict)
	q := metal.ResourcePool{Name: "gone"}
	d.do(func(tx *store.Tx) error { return tx.AddPool(&q) })
	d.do(func(tx *store.Tx) error { return tx.DeletePool(q.ID) })
	_, err = d.try(func(tx *store.Tx) error { _, err := tx.Pool(q.ID); return err })
	d.want(err, fault.NotFound)
	zz := metal.Zone{Name: "west"}
	d.do(func(tx *store.Tx) error { return tx.AddZone(&zz) })
	d.do(func(tx *store.Tx) error { return tx.DeleteZone(zz.ID) })
}

func (d *db) user(name string, admin bool) store.UserRow {
	d.t.Helper()
	u := store.UserRow{User: metal.User{Name: name, Email: name + "@example.net", Admin: admin, Created: t0}, Password: "hash of " + name}
	d.do(func(tx *store.Tx) error {
		if err := tx.AddUser(&u); err != nil || !admin {
			return err
		}
		return tx.AddGrant(&store.GrantRow{UserID: u.ID, User: u.Name, Role: authz.Administrator, Pool: authz.AllPools})
	})
	return u
}

// aliceSees is what somebody may see who has the role User on all pools.
var aliceSees = authz.MachineFilter{Free: authz.PoolSet{All: true}, Own: authz.PoolSet{All: true}, Owner: "alice"}

func testUsers(d *db) {
	alice, root := d.user("alice", false), d.user("root", true)
	_, err := d.try(func(tx *store.Tx) error { return tx.AddUser(&store.UserRow{User: metal.User{Name: "alice"}}) })
	d.want(err, fault.Conflict)
	d.same(read(d, (*store.View).Users), []store.UserRow{alice, root})
	if got := read(d, (*store.View).CountAdministrators); got != 1 {
		d.t.Errorf("got %d administrators, want 1", got)
	}
	alice.Email, alice.Disabled, alice.Epoch, alice.Password = "", true, 7, "other"
	d.do(func(tx *store.Tx) error { return tx.PutUser(alice) })
	d.same(read(d, func(v *store.View) (store.UserRow, error) { return v.User(alice.ID) }), alice)
	d.same(read(d, func(v *store.View) (store.UserRow, error) { return v.UserByName("alice") }), alice)

	k := metal.APIKey{UserID: alice.ID, Name: "laptop", ConsumerKey: "c", TokenKey: "tok", SecretHash: "h", Created: t0}
	d.do(func(tx *store.Tx) error { return tx.AddAPIKey(alice.User, &k) })
	_, err = d.try(func(tx *store.Tx) error {
		return tx.AddAPIKey(root.User, &metal.APIKey{UserID: root.ID, TokenKey: "tok"})
	})
	d.want(err, fault.Conflict)
	d.do(func(tx *store.Tx) error {
		return errors.Join(tx.RenameAPIKey(alice.User, k.ID, "desk"), tx.RenameAPIKey(root.User, k.ID, "stolen"))
	})
	k.Name = "desk"
	d.same(read(d, func(v *store.View) (metal.APIKey, error) { return v.APIKeyByToken("tok") }), k)
	d.do(func(tx *store.Tx) error { return tx.DeleteAPIKey(root.User, k.ID) })
	d.same(read(d, func(v *store.View) ([]metal.APIKey, error) { return v.APIKeys(alice.ID) }), []metal.APIKey{k})

	s := metal.Session{Hash: "s1", UserID: alice.ID, Epoch: 7, Address: "192.0.2.1", Created: t0, LastSeen: t0, Expires: t0.Add(time.Hour)}
	later := s
	later.Hash, later.Created, later.LastSeen, later.Expires = "s2", t0.Add(2*time.Hour), t0.Add(2*time.Hour), t0.Add(3*time.Hour)
	d.do(func(tx *store.Tx) error { return tx.AddSession(alice.User, s) })
	d.do(func(tx *store.Tx) error { return tx.SeeSession("s1", t0.Add(time.Minute)) })
	s.LastSeen = t0.Add(time.Minute)
	d.same(read(d, func(v *store.View) (metal.Session, error) { return v.Session("s1") }), s)
	d.do(func(tx *store.Tx) error { return tx.AddSession(alice.User, later) })
	_, err = d.try(func(tx *store.Tx) error { _, err := tx.Session("s1"); return err })
	d.want(err, fault.NotFound) // it ended, so the next login dropped it
	d.do(func(tx *store.Tx) error { return tx.DeleteSession(root.User, "s2") })
	d.same(read(d, func(v *store.View) (metal.Session, error) { return v.Session("s2") }), later)
	d.do(func(tx *store.Tx) error { return tx.DeleteSession(alice.User, "s2") })

	key := metal.SSHKey{UserID: alice.ID, Key: "ssh-ed25519 AAAA"}
	d.do(func(tx *store.Tx) error { return tx.AddSSHKey(alice.User, &key) })
	_, err = d.try(func(tx *store.Tx) error {
		return tx.AddSSHKey(alice.User, &metal.SSHKey{UserID: alice.ID, Key: key.Key})
	})
	d.want(err, fault.Conflict)
	d.do(func(tx *store.Tx) error {
		return tx.AddSSHKey(root.User, &metal.SSHKey{UserID: root.ID, Key: key.Key})
	})
	d.same(read(d, func(v *store.View) ([]metal.SSHKey, error) { return v.SSHKeys(alice.ID) }), []metal.SSHKey{key})
	d.same(read(d, func(v *store.View) ([]metal.SSHKey, error) { return v.SSHKeysOf("alice") }), []metal.SSHKey{key})
	d.same(read(d, func(v *store.View) ([]metal.SSHKey, error) { return v.SSHKeysOf("stranger") }), []metal.SSHKey(nil))
	d.do(func(tx *store.Tx) error {
		if ok, err := tx.DeleteSSHKey(root.User, key.ID); err != nil || ok {
			return fmt.Errorf("deleted another user's key: %v %v", ok, err)
		}
		ok, err := tx.DeleteSSHKey(alice.User, key.ID)
		if !ok {
			d.t.Error("own key was not deleted")
		}
		return err
	})

	d.machine("owned", func(m *metal.Machine) { m.Owner = "alice" })
	if n := read(d, func(v *store.View) (int, error) { return v.CountOwned("alice") }); n != 1 {
		d.t.Errorf("got %d owned, want 1", n)
	}
	d.do(func(tx *store.Tx) error { return tx.DeleteUser(alice.User) })
	d.same(read(d, func(v *store.View) ([]metal.APIKey, error) { return v.APIKeys(alice.ID) }), []metal.APIKey(nil))
	_, err = d.try(func(tx *store.Tx) error { _, err := tx.UserByName("alice"); return err })
	d.want(err, fault.NotFound)
}

func testNetworks(d *db) {
	f, named := metal.Fabric{}, metal.Fabric{Name: "lab", ClassType: "10g"}
	d.do(func(tx *store.Tx) error { return errors.Join(tx.AddFabric(&f), tx.AddFabric(&named)) })
	if f.Name != "fabric-"+authz.ID(f.ID) {
		d.t.Errorf("got fabric name %q", f.Name)
	}
	_, err := d.try(func(tx *store.Tx) error { return tx.AddFabric(&metal.Fabric{Name: "lab"}) })
	d.want(err, fault.Conflict)
	named.Name = "lab2"
	d.do(func(tx *store.Tx) error { return tx.PutFabric(named) })
	d.same(read(d, func(v *store.View) (metal.Fabric, error) { return v.Fabric(named.ID) }), named)
	d.same(read(d, (*store.View).Fabrics), []metal.Fabric{f, named})

	v := metal.VLAN{FabricID: f.ID, VID: 10, Name: "ten", MTU: 1500, DHCPOn: true, PrimaryRack: "rack"}
	d.do(func(tx *store.Tx) error { return tx.AddVLAN(&v) })
	_, err = d.try(func(tx *store.Tx) error { return tx.AddVLAN(&metal.VLAN{FabricID: f.ID, VID: 10}) })
	d.want(err, fault.Conflict)
	_, err = d.try(func(tx *store.Tx) error { return tx.AddVLAN(&metal.VLAN{FabricID: 999, VID: 10}) })
	d.want(err, fault.Conflict)
	v.MTU, v.DHCPOn, v.PrimaryRack = 9000, false, ""
	d.do(func(tx *store.Tx) error { return tx.PutVLAN(v) })
	d.same(read(d, func(x *store.View) (metal.VLAN, error) { return x.VLAN(v.ID) }), v)
	d.same(read(d, (*store.View).VLANs), []metal.VLAN{v})

	s := metal.Subnet{VLANID: v.ID, Name: "n", Description: "d", CIDR: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("10.0.0.1"),
		DNSServers: []netip.Addr{netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("2001:db8::1")}, Managed: true}
	d.do(func(tx *store.Tx) error { return tx.AddSubnet(&s) })
	_, err = d.try(func(tx *store.Tx) error { return tx.AddSubnet(&metal.Subnet{VLANID: v.ID, CIDR: s.CIDR}) })
	d.want(err, fault.Conflict)
	s.Gateway, s.DNSServers = netip.Addr{}, nil
	d.do(func(tx *store.Tx) error { return tx.PutSubnet(s) })
	d.same(read(d, func(x *store.View) (metal.Subnet, error) { return x.Subnet(s.ID) }), s)
	d.same(read(d, (*store.View).Subnets), []metal.Subnet{s})

	r := metal.IPRange{SubnetID: s.ID, Type: metal.RangeDynamic, Start: netip.MustParseAddr("10.0.0.100"), End: netip.MustParseAddr("10.0.0.200"), Comment: "c", User: "root"}
	d.do(func(tx *store.Tx) error { return tx.AddIPRange(&r) })
	r.Type, r.Comment = metal.RangeReserved, "%_'\""
	d.do(func(tx *store.Tx) error { return tx.PutIPRange(r) })
	d.same(read(d, func(x *store.View) (metal.IPRange, error) { return x.IPRange(r.ID) }), r)
	d.same(read(d, func(x *store.View) ([]metal.IPRange, error) { return x.IPRanges(0) }), []metal.IPRange{r})
	d.same(read(d, func(x *store.View) ([]metal.IPRange, error) { return x.IPRanges(s.ID + 1) }), []metal.IPRange(nil))

	for _, del := range []func(*store.Tx) error{func(tx *store.Tx) error { return tx.DeleteFabric(f.ID) }, func(tx *store.Tx) error { return tx.DeleteVLAN(v.ID) }} {
		_, err = d.try(del)
		d.want(err, fault.Conflict)
	}
	second := metal.IPRange{SubnetID: s.ID, Type: metal.RangeDynamic, Start: r.Start, End: r.End}
	d.do(func(tx *store.Tx) error { return errors.Join(tx.DeleteIPRange(r), tx.AddIPRange(&second)) })
	d.do(func(tx *store.Tx) error { return tx.DeleteSubnet(s.ID) })
	d.same(read(d, func(x *store.View) ([]metal.IPRange, error) { return x.IPRanges(0) }), []metal.IPRange(nil))
	d.do(func(tx *store.Tx) error { return tx.DeleteVLAN(v.ID) })
	d.do(func(tx *store.Tx) error { return tx.DeleteFabric(f.ID) })
	for _, get := range []func(*store.Tx) error{func(tx *store.Tx) error { _, err := tx.Fabric(f.ID); return err }, func(tx *store.Tx) error { _, err := tx.VLAN(v.ID); return err },
		func(tx *store.Tx) error { _, err := tx.Subnet(s.ID); return err }, func(tx *store.Tx) error { _, err := tx.IPRange(r.ID); return err }} {
		_, err = d.try(get)
		d.want(err, fault.NotFound)
	}
}

func testControllers(d *db) {
	c := metal.Controller{SystemID: "rackrackrackrack", Hostname: "r1", Type: metal.NodeRackController, Version: "1", Created: t0, LastSeen: t0, CertSerial: "ab", CertExpires: t0.Add(time.Hour),
		Interfaces: []metal.ControllerInterface{{Name: "eth0", MAC: "52:54:00:00:00:01", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}}}}
	d.do(func(tx *store.Tx) error { return tx.AddController(c) })
	_, err := d.try(func(tx *store.Tx) error { return tx.AddController(c) })
	d.want(err, fault.Conflict)
	d.do(func(tx *store.Tx) error { return tx.SeeController(c.SystemID, t0.Add(time.Minute)) })
	c.LastSeen = t0.Add(time.Minute)
	d.same(read(d, (*store.View).Controllers), []metal.Controller{c})
	c.Revoked, c.Interfaces = true, nil
	d.do(func(tx *store.Tx) error { return tx.PutController(c) })
	d.same(read(d, (*store.View).Controllers), []metal.Controller(nil))
	d.same(read(d, func(v *store.View) (metal.Controller, error) { return v.Controller(c.SystemID) }), c)

	old := metal.EnrolmentToken{ID: "old", RackName: "r0", Created: t0.Add(-48 * time.Hour), Expires: t0.Add(-47 * time.Hour)}
	e := metal.EnrolmentToken{ID: "tok", RackName: "r1", Created: t0, Expires: t0.Add(time.Minute)}
	d.do(func(tx *store.Tx) error { return tx.AddEnrolment(old) })
	d.do(func(tx *store.Tx) error { return tx.AddEnrolment(e) })
	_, err = d.try(func(tx *store.Tx) error { _, err := tx.Enrolment("old"); return err })
	d.want(err, fault.NotFound)
	for i, want := range []bool{true, false} {
		d.do(func(tx *store.Tx) error {
			ok, err := tx.SpendEnrolment("tok")
			if ok != want {
				d.t.Errorf("spending %d: got %v, want %v", i+1, ok, want)
			}
			return err
		})
	}
	e.Spent = true
	d.same(read(d, func(v *store.View) (metal.EnrolmentToken, error) { return v.Enrolment("tok") }), e)
}

// full is a machine with every field set to something of its own.
func full(t *testing.T) metal.Machine {
	m := metal.Machine{}
	fill(t, reflect.ValueOf(&m).Elem(), 1)
	m.PoolID, m.ZoneID, m.ID = metal.DefaultPoolID, metal.DefaultZoneID, 0
	m.Status, m.PreviousStatus = metal.Deployed, metal.Deploying
	return m
}

func fill(t *testing.T, v reflect.Value, n int) int {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(t0.Add(time.Duration(n) * time.Second)))
		return n + 1
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			n = fill(t, v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(fmt.Sprint("k", n)).Convert(v.Type().Key()), reflect.ValueOf(fmt.Sprint("v", n)).Convert(v.Type().Elem()))
	case reflect.Struct:
		for i := range v.NumField() {
			n = fill(t, v.Field(i), n)
		}
	default:
		t.Fatalf("a field of kind %s: teach fill about it", v.Kind())
	}
	return n + 1
}

func testMachines(d *db) {
	m := full(d.t)
	d.do(func(tx *store.Tx) error { return tx.AddMachine(&m) })
	if m.ID == 0 || m.Revision != 1 {
		d.t.Fatalf("got id %d, revision %d", m.ID, m.Revision)
	}
	get := func() metal.Machine {
		return read(d, func(v *store.View) (metal.Machine, error) { return v.Machine(m.SystemID) })
	}
	d.same(get(), m)
	_, err := d.try(func(tx *store.Tx) error {
		return tx.AddMachine(&metal.Machine{SystemID: metal.NewSystemID(), Hostname: m.Hostname, ZoneID: 1})
	})
	d.want(err, fault.Conflict)
	m.Owner, m.Tags, m.OwnerData, m.Deadline, m.PowerParameters = "", nil, nil, time.Time{}, nil
	d.do(func(tx *store.Tx) error { return tx.PutMachine(m) })
	m.Revision = 2
	d.same(get(), m)
	_, err = d.try(func(tx *store.Tx) error { return tx.PutMachine(metal.Machine{SystemID: "absent", ID: 99}) })
	if err == nil {
		d.t.Error("got no error for a machine that is not there")
	}

	nic := metal.Interface{SystemID: m.SystemID, Name: "eth0", MAC: "52:54:00:00:00:01", VLANID: 3, Boot: true, IP: netip.MustParseAddr("10.0.0.9"), SubnetID: 4, Enabled: true,
		Driver: "d", Vendor: "v", Product: "p", FirmwareVersion: "f", LinkUp: true, SpeedMbps: 1, LinkSpeedMbps: 2, MTU: 3, NUMANode: 4}
	d.do(func(tx *store.Tx) error { return tx.PutInterface(&nic) })
	d.same(read(d, func(v *store.View) (metal.Interface, error) { return v.InterfaceByMAC(nic.MAC) }), nic)
	other := d.machine("other", nil)
	_, err = d.try(func(tx *store.Tx) error {
		return tx.PutInterface(&metal.Interface{SystemID: other.SystemID, MAC: nic.MAC})
	})
	d.want(err, fault.Conflict)
	nic.IP, nic.Boot = netip.Addr{}, false
	d.do(func(tx *store.Tx) error { return tx.PutInterface(&nic) })
	d.same(read(d, func(v *store.View) ([]metal.Interface, error) { return v.Interfaces() }), []metal.Interface{nic})
	d.same(read(d, func(v *store.View) (metal.Machine, error) { return v.MachineByMAC(nic.MAC) }).SystemID, m.SystemID)

	disk := metal.BlockDevice{SystemID: m.SystemID, Name: "sda", Model: "m", Serial: "s", IDPath: "by-id/x", FirmwareVersion: "1", SizeBytes: 1 << 40, BlockSize: 4096,
		Rotational: true, NUMANode: 1, Tags: []string{"rotary"}}
	d.do(func(tx *store.Tx) error { return tx.PutBlockDevice(&disk) })
	disk.Name = "sdb"
	d.do(func(tx *store.Tx) error { return tx.PutBlockDevice(&disk) })
	d.same(read(d, func(v *store.View) ([]metal.BlockDevice, error) { return v.BlockDevices(m.SystemID) }), []metal.BlockDevice{disk})
	if got := get().Revision; got != 6 {
		d.t.Errorf("got revision %d after four changes of what belongs to it, want 6", got)
	}
	d.do(func(tx *store.Tx) error {
		return tx.SetPower(m.SystemID, metal.PowerError, "no answer", t0.Add(time.Hour))
	})
	got := get()
	if got.PowerState != metal.PowerError || got.PowerError != "no answer" || !got.PowerChecked.Equal(t0.Add(time.Hour)) || got.Revision != 6 {
		d.t.Errorf("got %s, %q, %s, revision %d after an observation", got.PowerState, got.PowerError, got.PowerChecked, got.Revision)
	}
	d.do(func(tx *store.Tx) error { return errors.Join(tx.DeleteInterface(nic), tx.DeleteBlockDevice(disk)) })
	for _, x := range []bool{
		read(d, func(v *store.View) (bool, error) { return v.HostnameTaken(m.Hostname, "") }),
		!read(d, func(v *store.View) (bool, error) { return v.HostnameTaken(m.Hostname, m.SystemID) }),
		read(d, func(v *store.View) (int, error) { return v.CountMachines(metal.Deployed) }) == 1,
		slices.Contains(read(d, (*store.View).CountByStatus), store.StatusCount{Status: metal.Deployed, Count: 1}),
	} {
		if !x {
			d.t.Error("HostnameTaken, CountMachines or CountByStatus is wrong")
		}
	}

	// What belongs to a machine goes with it, and nothing of others.
	fillMachine := func(m metal.Machine, mac metal.MAC) {
		d.do(func(tx *store.Tx) error {
			return errors.Join(tx.PutInterface(&metal.Interface{SystemID: m.SystemID, MAC: mac}), tx.PutBlockDevice(&metal.BlockDevice{SystemID: m.SystemID, Name: "sda"}),
				tx.AddEvent(metal.Event{SystemID: m.SystemID, Type: "x", Level: metal.LevelInfo, Created: t0}),
				tx.PutBoot(store.BootRow{Boot: metal.Boot{ID: "b" + m.SystemID, SystemID: m.SystemID, Created: t0}}),
				tx.AddCommand(&store.CommandRow{Command: metal.Command{SystemID: m.SystemID, Action: metal.ActionOn}}),
				tx.AddScriptSet(&metal.ScriptSet{SystemID: m.SystemID, BootID: "b" + m.SystemID, Results: []metal.ScriptResult{{Name: "s"}}}, 10),
				tx.PutSecret(store.MachineTarget(m), "machine/"+ref(m.SystemID)+"/power", []byte("sealed"), t0))
		})
	}
	fillMachine(m, "52:54:00:00:00:11")
	fillMachine(other, "52:54:00:00:00:12")
	d.do(func(tx *store.Tx) error { return tx.DeleteMachine(m) })
	d.view(func(v *store.View) error {
		for id, want := range map[string]int{m.SystemID: 0, other.SystemID: 1} {
			nics, err1 := v.Interfaces(id)
			disks, err2 := v.BlockDevices(id)
			sets, err3 := v.ScriptSets(id)
			events, err4 := v.Events(store.EventQuery{Machines: store.MachineQuery{Filter: authz.AllMachines, SystemIDs: []string{id}}, Limit: 10})
			_, boot, err5 := v.OpenBoot(id)
			_, sealed, err6 := v.Secret("machine/" + ref(id) + "/power")
			if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
				return err
			}
			n := 0
			for _, ok := range []bool{boot, sealed} {
				if ok {
					n++
				}
			}
			if len(nics) != want || len(disks) != want || len(sets) != want || len(events) != want || n != 2*want {
				d.t.Errorf("%s: got %d interfaces, %d disks, %d sets, %d events, %d of boot and secret; want %d of each", id, len(nics), len(disks), len(sets), len(events), n, want)
			}
		}
		return nil
	})

	dl := d.machine("late", func(m *metal.Machine) { m.Deadline = t0 })
	d.machine("early", func(m *metal.Machine) { m.Deadline = t0.Add(time.Hour) })
	over := read(d, func(v *store.View) ([]metal.Machine, error) { return v.OverdueMachines(t0.Add(time.Minute)) })
	if len(over) != 1 || over[0].SystemID != dl.SystemID {
		d.t.Errorf("got %d overdue machines, want the one", len(over))
	}
	for name, kind := range map[string]string{"p-ipmi": "ipmi", "p-manual": "manual"} {
		d.machine(name, func(m *metal.Machine) { m.PowerType, m.PowerChecked = kind, t0 })
	}
	d.machine("p-recent", func(m *metal.Machine) { m.PowerType, m.PowerChecked = "ipmi", t0.Add(time.Hour) })
	due := read(d, func(v *store.View) ([]metal.Machine, error) { return v.DueForPowerQuery(t0.Add(time.Minute), 10) })
	if len(due) != 1 || due[0].Hostname != "p-ipmi" {
		d.t.Errorf("got %v due for a power query, want p-ipmi", names(due))
	}
}

func names(list []metal.Machine) (out []string) {
	for _, m := range list {
		out = append(out, m.Hostname)
	}
	return out
}

func testQuery(d *db) {
	east, alpha := metal.Zone{Name: "east"}, metal.ResourcePool{Name: "alpha"}
	d.do(func(tx *store.Tx) error { return errors.Join(tx.AddZone(&east), tx.AddPool(&alpha)) })
	m1 := d.machine("m1", func(m *metal.Machine) {
		m.Status, m.CPUCount, m.MemoryMiB, m.Tags, m.PowerState = metal.Ready, 8, 4096, []string{"gpu", "a_b"}, metal.PowerOn
	})
	m2 := d.machine("m2", func(m *metal.Machine) {
		m.Status, m.CPUCount, m.MemoryMiB, m.Owner, m.ZoneID, m.AgentName = metal.Allocated, 4, 8192, "alice", east.ID, "juju"
		m.Tags = []string{"axb"}
	})
	m3 := d.machine("m3", func(m *metal.Machine) {
		m.Status, m.CPUCount, m.MemoryMiB, m.Owner, m.PoolID, m.Architecture = metal.Deployed, 4, 2048, "bob", alpha.ID, "arm64/generic"
	})
	d.do(func(tx *store.Tx) error {
		return tx.PutInterface(&metal.Interface{SystemID: m2.SystemID, MAC: "52:54:00:00:00:22"})
	})
	all := authz.AllMachines
	for name, c := range map[string]struct {
		q    store.MachineQuery
		want string
	}{
		"all":              {store.MachineQuery{Filter: all}, "m1 m2 m3"},
		"by nobody":        {store.MachineQuery{}, ""},
		"alice sees":       {store.MachineQuery{Filter: aliceSees}, "m1 m2"},
		"system id":        {store.MachineQuery{Filter: all, SystemIDs: []string{m1.SystemID, m3.SystemID}}, "m1 m3"},
		"not system id":    {store.MachineQuery{Filter: all, NotSystemIDs: []string{m1.SystemID}}, "m2 m3"},
		"hidden system id": {store.MachineQuery{Filter: aliceSees, SystemIDs: []string{m3.SystemID}}, ""},
		"hostname":         {store.MachineQuery{Filter: all, Hostnames: []string{"m2", "absent"}}, "m2"},
		"mac":              {store.MachineQuery{Filter: all, MACs: []string{"52:54:00:00:00:22"}}, "m2"},
		"status":           {store.MachineQuery{Filter: all, Statuses: []metal.Status{metal.Ready, metal.Deployed}}, "m1 m3"},
		"not status":       {store.MachineQuery{Filter: all, NotStatuses: []string{"ready", "nonsense"}}, "m2 m3"},
		"zone":             {store.MachineQuery{Filter: all, Zones: []string{"east"}}, "m2"},
		"not zone":         {store.MachineQuery{Filter: all, NotZones: []string{"east"}}, "m1 m3"},
		"pool":             {store.MachineQuery{Filter: all, Pools: []string{"alpha"}}, "m3"},
		"not pool":         {store.MachineQuery{Filter: all, NotPools: []string{"alpha", "absent"}}, "m1 m2"},
		"owner":            {store.MachineQuery{Filter: all, Owners: []string{"bob", "alice"}}, "m2 m3"},
		"not owner":        {store.MachineQuery{Filter: all, NotOwners: []string{"bob"}}, "m1 m2"},
		"arch":             {store.MachineQuery{Filter: all, Arches: []string{"amd64"}}, "m1 m2"},
		"full arch":        {store.MachineQuery{Filter: all, Arches: []string{"arm64/generic", "riscv"}}, "m3"},
		"tag":              {store.MachineQuery{Filter: all, Tags: []string{"gpu"}}, "m1"},
		"tag, no wildcard": {store.MachineQuery{Filter: all, Tags: []string{"a_b"}}, "m1"},
		"part of a tag":    {store.MachineQuery{Filter: all, Tags: []string{"gp"}}, ""},
		"both tags":        {store.MachineQuery{Filter: all, Tags: []string{"gpu", "a_b"}}, "m1"},
		"not tag":          {store.MachineQuery{Filter: all, NotTags: []string{"gpu"}}, "m2 m3"},
		"power":            {store.MachineQuery{Filter: all, Power: []string{"on"}}, "m1"},
		"agent":            {store.MachineQuery{Filter: all, AgentName: "juju"}, "m2"},
		"cpu":              {store.MachineQuery{Filter: all, MinCPU: 5}, "m1"},
		"memory":           {store.MachineQuery{Filter: all, MinMemory: 4096}, "m1 m2"},
		"ids":              {store.MachineQuery{Filter: all, IDs: []int64{m3.ID}}, "m3"},
		"text in name":     {store.MachineQuery{Filter: all, Text: "M2"}, "m2"},
		"text in owner":    {store.MachineQuery{Filter: all, Text: "Bo"}, "m3"},
		"text in mac":      {store.MachineQuery{Filter: all, Text: "00:22"}, "m2"},
		"text in tag":      {store.MachineQuery{Filter: all, Text: "GPU"}, "m1"},
		"text is literal":  {store.MachineQuery{Filter: all, Text: "%"}, ""},
		"text underscore":  {store.MachineQuery{Filter: all, Text: "m_"}, ""},
		"together":         {store.MachineQuery{Filter: all, MinCPU: 4, Statuses: []metal.Status{metal.Allocated}, Zones: []string{"east"}}, "m2"},
		"by cost":          {store.MachineQuery{Filter: all, OrderBy: "cost"}, "m3 m2 m1"},
		"by memory down":   {store.MachineQuery{Filter: all, OrderBy: "memory", Descending: true}, "m2 m1 m3"},
		"by hostname down": {store.MachineQuery{Filter: all, OrderBy: "hostname", Descending: true}, "m3 m2 m1"},
		"by owner":         {store.MachineQuery{Filter: all, OrderBy: "owner"}, "m1 m2 m3"},
		"by pool":          {store.MachineQuery{Filter: all, OrderBy: "pool"}, "m3 m1 m2"},
		"by zone down":     {store.MachineQuery{Filter: all, OrderBy: "zone", Descending: true}, "m2 m1 m3"},
		"by status":        {store.MachineQuery{Filter: all, OrderBy: "status"}, "m1 m3 m2"},
		"by cpu":           {store.MachineQuery{Filter: all, OrderBy: "cpu"}, "m2 m3 m1"},
		"by power":         {store.MachineQuery{Filter: all, OrderBy: "power"}, "m1 m2 m3"},
		"down":             {store.MachineQuery{Filter: all, Descending: true}, "m3 m2 m1"},
		"injected order":   {store.MachineQuery{Filter: all, OrderBy: "id; DROP TABLE machines"}, "m1 m2 m3"},
		"first page":       {store.MachineQuery{Filter: all, Limit: 2}, "m1 m2"},
		"second page":      {store.MachineQuery{Filter: all, Limit: 2, Offset: 2}, "m3"},
		"page of an order": {store.MachineQuery{Filter: all, OrderBy: "cost", Limit: 1, Offset: 1}, "m2"},
	} {
		d.view(func(v *store.View) error {
			list, err := v.Machines(c.q)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if got := strings.Join(names(list), " "); got != c.want {
				d.t.Errorf("%s: got %q, want %q", name, got, c.want)
			}
			page := c.q // the same as the page of a list, which is read in another way
			if page.Brief = true; page.Limit == 0 {
				page.Limit = 100
			}
			brief, err := v.Machines(page)
			if err != nil {
				return fmt.Errorf("%s, brief: %w", name, err)
			}
			for i := range list {
				list[i].OwnerData, list[i].Hardware = nil, metal.HardwareInfo{}
			}
			d.same(brief, list)
			if n, err := v.CountMatching(page); err != nil || c.q.Limit == 0 && n != len(list) {
				d.t.Errorf("%s, brief: counted %d, %v", name, n, err)
			}
			n, err := v.CountMatching(c.q)
			if whole := len(strings.Fields(c.want)); c.q.Limit == 0 && n != whole || c.q.Limit > 0 && n != 3 {
				d.t.Errorf("%s: counted %d", name, n)
			}
			return err
		})
	}
}

func testText(d *db) {
	a, b := d.machine("a", nil), d.machine("b", nil)
	all := store.MachineQuery{Filter: authz.AllMachines}
	texts := func() map[string]string {
		got := map[string]string{}
		d.view(func(v *store.View) error {
			return v.EachMachineText(all, func(m *store.MachineText) error {
				got[m.SystemID] = fmt.Sprintf("%d %s", m.Revision, m.Text)
				return nil
			})
		})
		return got
	}
	stale := func() []string {
		return names(read(d, func(v *store.View) ([]metal.Machine, error) { return v.StaleMachines(all, 10) }))
	}
	d.same(stale(), []string{"a", "b"})
	d.same(texts(), map[string]string{a.SystemID: "1 ", b.SystemID: "1 "})
	touches := d.do(func(tx *store.Tx) error { return tx.PutMachineText(a.ID, 1, []byte(`{"a":1}`)) })
	if len(touches) != 0 {
		d.t.Errorf("a rendered text touches %v", touches)
	}
	d.same(stale(), []string{"b"})
	d.do(func(tx *store.Tx) error { return tx.PutMachine(a) })
	d.same(stale(), []string{"a", "b"})
	d.same(texts()[a.SystemID], "2 ") // the old text is not shown
	d.do(func(tx *store.Tx) error { return tx.PutMachineText(a.ID, 2, []byte(`{"a":2}`)) })
	d.do(func(tx *store.Tx) error { return tx.PutMachineText(a.ID, 1, []byte(`{"a":"late"}`)) })
	d.same(texts()[a.SystemID], `2 {"a":2}`)
	d.do(func(tx *store.Tx) error { return tx.SetPower(a.SystemID, metal.PowerOn, "", t0) })
	d.same(stale(), []string{"b"})
	some := all
	some.Hostnames = []string{"a"}
	d.same(len(read(d, func(v *store.View) ([]metal.Machine, error) { return v.StaleMachines(some, 10) })), 0)
	stop := errors.New("enough")
	n := 0
	err := d.r.View(ctx, func(v *store.View) error {
		return v.EachMachineText(all, func(*store.MachineText) error { n++; return stop })
	})
	if !errors.Is(err, stop) || n != 1 {
		d.t.Errorf("got %v after %d rows, want the callback's error after one", err, n)
	}
}

func testEvents(d *db) {
	a := d.machine("a", nil)
	b := d.machine("b", func(m *metal.Machine) { m.Owner = "bob" })
	for i, m := range []metal.Machine{a, b, a, b, a} {
		d.do(func(tx *store.Tx) error {
			return tx.AddEvent(metal.Event{SystemID: m.SystemID, Type: fmt.Sprint("e", i), Level: []metal.Level{metal.LevelInfo, metal.LevelDebug}[i/4], Description: "x\x1b[31my", Username: "u", Created: t0})
		})
	}
	types := func(q store.EventQuery) (out []string) {
		for _, e := range read(d, func(v *store.View) ([]metal.Event, error) { return v.Events(q) }) {
			out = append(out, e.Type)
		}
		return out
	}
	all := store.MachineQuery{Filter: authz.AllMachines}
	list := read(d, func(v *store.View) ([]metal.Event, error) {
		return v.Events(store.EventQuery{Machines: all, Limit: 10})
	})
	if list[0].Description != "x[31my" {
		d.t.Errorf("got description %q, want no control characters", list[0].Description)
	}
	id := func(i int) int64 { return list[len(list)-1-i].ID }
	d.same(types(store.EventQuery{Machines: all, Limit: 10}), []string{"e4", "e3", "e2", "e1", "e0"})
	d.same(types(store.EventQuery{Machines: all, Level: metal.LevelInfo, Limit: 10}), []string{"e3", "e2", "e1", "e0"})
	d.same(types(store.EventQuery{Machines: store.MachineQuery{Filter: aliceSees}, Limit: 10}), []string{"e4", "e2", "e0"})
	d.same(types(store.EventQuery{Machines: all, Before: id(3), Limit: 2}), []string{"e2", "e1"})
	d.same(types(store.EventQuery{Machines: all, After: id(1), Limit: 2}), []string{"e3", "e2"})
	latest := read(d, func(v *store.View) ([]metal.Event, error) { return v.LatestEvents(a.SystemID, b.SystemID) })
	slices.SortFunc(latest, func(x, y metal.Event) int { return strings.Compare(x.Type, y.Type) })
	if len(latest) != 2 || latest[0].Type != "e2" || latest[1].Type != "e3" {
		d.t.Errorf("got latest %v, want e2 and e3", latest)
	}
	d.same(read(d, func(v *store.View) ([]metal.Event, error) { return v.LatestEvents() }), []metal.Event(nil))
	rev := read(d, func(v *store.View) (metal.Machine, error) { return v.Machine(a.SystemID) }).Revision
	if rev != 3 { // two of level info: a debug event shows nowhere
		d.t.Errorf("got revision %d, want 3", rev)
	}
	d.do(func(tx *store.Tx) error {
		for i := range store.MaxMachineEvents + 200 {
			if err := tx.AddEvent(metal.Event{SystemID: a.SystemID, Type: fmt.Sprint("n", i), Level: metal.LevelDebug, Created: t0}); err != nil {
				return err
			}
		}
		return nil
	})
	only := all
	only.SystemIDs = []string{a.SystemID}
	if n := len(types(store.EventQuery{Machines: only, Limit: 5000})); n > store.MaxMachineEvents+64 || n < store.MaxMachineEvents {
		d.t.Errorf("got %d events kept, want about %d", n, store.MaxMachineEvents)
	}
	only.SystemIDs = []string{b.SystemID}
	d.same(types(store.EventQuery{Machines: only, Limit: 10}), []string{"e3", "e1"})
}

func testBoots(d *db) {
	m := d.machine("m", nil)
	b := store.BootRow{Boot: metal.Boot{ID: "b1", SystemID: m.SystemID, MAC: "52:54:00:00:00:01", IP: netip.MustParseAddr("10.0.0.9"), RackID: "r", Purpose: metal.PurposeDeploy,
		State: metal.BootOffered, TokenHash: "new", OldHashes: []string{"old1", "old_2"}, CertHash: "c", PhoneHash: "ph", Created: t0, Expires: t0.Add(time.Hour)}, Task: []byte(`{"x":1}`)}
	d.do(func(tx *store.Tx) error { return tx.PutBoot(b) })
	d.same(read(d, func(v *store.View) (store.BootRow, error) { return v.Boot("b1") }), b)
	found := func(fn func(*store.View) (store.BootRow, bool, error)) string {
		id := "none"
		d.view(func(v *store.View) error {
			b, ok, err := fn(v)
			if ok {
				id = b.ID
			}
			return err
		})
		return id
	}
	for want, fns := range map[string][]func(*store.View) (store.BootRow, bool, error){
		"b1": {
			func(v *store.View) (store.BootRow, bool, error) { return v.OpenBoot(m.SystemID) },
			func(v *store.View) (store.BootRow, bool, error) { return v.OpenBootByMAC("52:54:00:00:00:01") },
			func(v *store.View) (store.BootRow, bool, error) { return v.BootByPhone("ph") },
			func(v *store.View) (store.BootRow, bool, error) { return v.BootByToken("new") },
			func(v *store.View) (store.BootRow, bool, error) { return v.BootByToken("old1") },
			func(v *store.View) (store.BootRow, bool, error) { return v.BootByToken("old_2") },
		},
		"none": {
			func(v *store.View) (store.BootRow, bool, error) { return v.OpenBoot("x") },
			func(v *store.View) (store.BootRow, bool, error) { return v.BootByPhone("") },
			func(v *store.View) (store.BootRow, bool, error) { return v.BootByToken("") },
			func(v *store.View) (store.BootRow, bool, error) { return v.BootByToken("old") },
			func(v *store.View) (store.BootRow, bool, error) { return v.BootByToken("old12") },
			func(v *store.View) (store.BootRow, bool, error) { return v.BootByToken("%") },
			func(v *store.View) (store.BootRow, bool, error) { return v.BootByToken("____") },
		},
	} {
		for i, fn := range fns {
			if got := found(fn); got != want {
				d.t.Errorf("lookup %d: got %s, want %s", i, got, want)
			}
		}
	}
	b.State, b.IP, b.Task = metal.BootClaimed, netip.MustParseAddr("10.0.0.10"), nil
	d.do(func(tx *store.Tx) error { return tx.PutBoot(b) })
	d.same(read(d, func(v *store.View) (store.BootRow, error) { return v.Boot("b1") }), b)
	newer := store.BootRow{Boot: metal.Boot{ID: "b0", SystemID: m.SystemID, Created: t0.Add(time.Second), State: metal.BootExpected}}
	d.do(func(tx *store.Tx) error { return tx.PutBoot(newer) })
	if got := found(func(v *store.View) (store.BootRow, bool, error) { return v.OpenBoot(m.SystemID) }); got != "b0" {
		d.t.Errorf("got open boot %s, want the newest", got)
	}
	d.do(func(tx *store.Tx) error { return tx.EndBoots(m.SystemID, t0.Add(time.Minute)) })
	got := read(d, func(v *store.View) (store.BootRow, error) { return v.Boot("b1") })
	if got.State != metal.BootEnded || got.TokenHash != "" || got.PhoneHash != "" || len(got.Task) != 0 || got.Ended.IsZero() {
		d.t.Errorf("got %+v after the end", got)
	}
	if got := found(func(v *store.View) (store.BootRow, bool, error) { return v.OpenBoot(m.SystemID) }); got != "none" {
		d.t.Errorf("got open boot %s after the end", got)
	}
	stranger := store.BootRow{Boot: metal.Boot{ID: "s", MAC: "52:54:00:00:00:99", Created: t0, Expires: t0.Add(time.Minute)}}
	d.do(func(tx *store.Tx) error { return tx.PutBoot(stranger) })
	for at, want := range map[time.Time]int{t0: 1, t0.Add(2 * time.Minute): 0} {
		if n := read(d, func(v *store.View) (int, error) { return v.CountEnlistments(at) }); n != want {
			d.t.Errorf("got %d enlistments at %s, want %d", n, at, want)
		}
	}
	d.do(func(tx *store.Tx) error { return tx.DropOldBoots(t0.Add(time.Hour)) })
	for _, id := range []string{"b0", "b1", "s"} {
		_, err := d.try(func(tx *store.Tx) error { _, err := tx.Boot(id); return err })
		d.want(err, fault.NotFound)
	}
}

func testCommands(d *db) {
	a, b := d.machine("a", nil), d.machine("b", nil)
	add := func(m metal.Machine, action metal.PowerAction, until time.Time) store.CommandRow {
		c := store.CommandRow{Command: metal.Command{SystemID: m.SystemID, Action: action, Boot: metal.BootNetwork, Created: t0, Deadline: t0.Add(time.Minute), NotUntil: until}}
		d.do(func(tx *store.Tx) error { return tx.AddCommand(&c) })
		return c
	}
	old := add(a, metal.ActionOn, time.Time{})
	c := add(a, metal.ActionCycle, t0) // replaces it
	later := add(b, metal.ActionOff, t0.Add(time.Hour))
	_, err := d.try(func(tx *store.Tx) error { _, err := tx.Command(old.ID); return err })
	d.want(err, fault.NotFound)
	d.same(read(d, func(v *store.View) ([]store.CommandRow, error) { return v.Commands(t0, 10) }), []store.CommandRow{c})
	c.RackID, c.Attempts, c.NotUntil = "r", 3, t0.Add(time.Second)
	d.do(func(tx *store.Tx) error { return tx.PutCommand(c) })
	d.same(read(d, func(v *store.View) (store.CommandRow, error) { return v.Command(c.ID) }), c)
	d.same(read(d, func(v *store.View) ([]store.CommandRow, error) { return v.Commands(t0.Add(2*time.Hour), 10) }), []store.CommandRow{c, later})
	d.same(read(d, func(v *store.View) ([]store.CommandRow, error) { return v.Commands(t0.Add(2*time.Hour), 1) }), []store.CommandRow{c})
	for i, want := range []bool{true, false} {
		d.do(func(tx *store.Tx) error {
			ok, err := tx.DeleteCommand(c)
			if ok != want {
				d.t.Errorf("deletion %d: got %v, want %v", i+1, ok, want)
			}
			return err
		})
	}
}

func testScripts(d *db) {
	m := d.machine("m", nil)
	add := func(kind metal.ResultType, boot string) metal.ScriptSet {
		s := metal.ScriptSet{SystemID: m.SystemID, Type: kind, BootID: boot, Started: t0, Results: []metal.ScriptResult{{Name: "one"}, {Name: "two"}}}
		d.do(func(tx *store.Tx) error { return tx.AddScriptSet(&s, 2) })
		for i := range s.Results {
			s.Results[i].Created, s.Results[i].Updated = t0, t0
		}
		return s
	}
	s1, s2, test := add(metal.ResultCommissioning, "b1"), add(metal.ResultCommissioning, "b2"), add(metal.ResultTesting, "b3")
	d.same(read(d, func(v *store.View) ([]metal.ScriptSet, error) { return v.ScriptSets(m.SystemID) }), []metal.ScriptSet{test, s2, s1})
	d.same(read(d, func(v *store.View) ([]metal.ScriptSet, error) { return v.LatestScriptSets(m.SystemID) }), []metal.ScriptSet{s2, test})
	d.same(read(d, func(v *store.View) ([]metal.ScriptSet, error) { return v.LatestScriptSets() }), []metal.ScriptSet(nil))
	s4 := add(metal.ResultCommissioning, "b4")
	d.same(read(d, func(v *store.View) ([]metal.ScriptSet, error) { return v.ScriptSets(m.SystemID) }), []metal.ScriptSet{s4, test, s2}) // two of a type are kept

	r := s4.Results[0]
	r.Status, r.ExitCode, r.HasExit, r.Started, r.Ended, r.Updated = metal.ScriptFailed, 3, true, t0, t0.Add(time.Second), t0.Add(time.Second)
	d.do(func(tx *store.Tx) error { return tx.PutScriptResult(m.SystemID, r) })
	touches := d.do(func(tx *store.Tx) error {
		return errors.Join(tx.AppendOutput(r.ID, "stdout", 5, []byte("world")), tx.AppendOutput(r.ID, "stdout", 0, []byte("hello")), tx.AppendOutput(r.ID, "stdout", 0, []byte("again")),
			tx.AppendOutput(r.ID, "stderr", 0, []byte{0xff, 0, '%'}), tx.AppendOutput(r.ID, "result", 0, []byte("{}")))
	})
	if len(touches) != 0 {
		d.t.Errorf("output touches %v", touches)
	}
	if n := read(d, func(v *store.View) (int64, error) { return v.OutputSize(r.ID, "stdout") }); n != 10 {
		d.t.Errorf("got %d bytes of stdout, want 10", n)
	}
	got := r
	d.view(func(v *store.View) error { return v.LoadOutput(&got) })
	if string(got.Stdout) != "helloworld" || string(got.Stderr) != "\xff\x00%" || string(got.Result) != "{}" {
		d.t.Errorf("got output %q, %q, %q", got.Stdout, got.Stderr, got.Result)
	}
	d.do(func(tx *store.Tx) error { return tx.EndScriptSet(s4, t0.Add(time.Minute)) })
	d.view(func(v *store.View) error {
		end, ok, err := v.ScriptSetOfBoot("b4")
		if !ok || end.Ended.IsZero() || end.Results[0].Status != metal.ScriptFailed || end.Results[1].Status != metal.ScriptAborted {
			d.t.Errorf("got %+v after the end", end)
		}
		if _, ok, _ := v.ScriptSetOfBoot("none"); ok {
			d.t.Error("found a set of a boot that has none")
		}
		return err
	})
}

func testImages(d *db) {
	b := metal.BootResource{Name: "custom/a", Title: "A", Architecture: "amd64/generic", FileType: "ddgz", SizeBytes: 5, SHA256: "aa", Created: t0}
	d.do(func(tx *store.Tx) error { return tx.AddBootResource(&b) })
	_, err := d.try(func(tx *store.Tx) error {
		return tx.AddBootResource(&metal.BootResource{Name: b.Name, Architecture: b.Architecture})
	})
	d.want(err, fault.Conflict)
	needed := func(sha256 string) bool {
		return read(d, func(v *store.View) (bool, error) { return v.ImageNeeded(sha256) })
	}
	d.same(needed("aa"), false) // not complete
	b.Serving = metal.ImageVersion{FileType: "ddraw", SizeBytes: 4, SHA256: "00"}
	b.Received, b.Complete, b.LastDeployed = 5, true, t0.Add(time.Hour)
	d.do(func(tx *store.Tx) error { return tx.PutBootResource(b) })
	for _, get := range []func(*store.View) (metal.BootResource, error){
		func(v *store.View) (metal.BootResource, error) { return v.BootResource(b.ID) },
		func(v *store.View) (metal.BootResource, error) { return v.BootResourceByName(b.Name, b.Architecture) },
	} {
		d.same(read(d, get), b)
	}
	d.same(read(d, (*store.View).BootResources), []metal.BootResource{b})
	boot := store.BootRow{Boot: metal.Boot{ID: "deploys", RackID: "r"}, Task: []byte(`{"image_sha256":"bb"}`)}
	d.do(func(tx *store.Tx) error { return tx.PutBoot(boot) })
	for sha256, want := range map[string]bool{"aa": true, "00": true, "bb": true, "b": false, "b_": false, "%": false, "": false} {
		if needed(sha256) != want {
			d.t.Errorf("%q is needed: got %v, want %v", sha256, !want, want)
		}
	}
	boot.Ended = t0
	d.do(func(tx *store.Tx) error { return tx.PutBoot(boot) })
	d.same(needed("bb"), false)
	d.do(func(tx *store.Tx) error { return tx.DeleteBootResource(b.ID) })
	_, err = d.try(func(tx *store.Tx) error { _, err := tx.BootResource(b.ID); return err })
	d.want(err, fault.NotFound)
}

func testSecrets(d *db) {
	of := authz.Target{Noun: authz.NounSite, ID: "site"}
	get := func() (s string) {
		d.view(func(v *store.View) error {
			b, ok, err := v.Secret("x/1")
			s = fmt.Sprintf("%v %x", ok, b)
			return err
		})
		return s
	}
	d.same(get(), "false ")
	for _, b := range [][]byte{{0, 1, 0xff}, {2}} {
		d.do(func(tx *store.Tx) error { return tx.PutSecret(of, "x/1", b, t0) })
		d.same(get(), fmt.Sprintf("true %x", b))
	}
	d.do(func(tx *store.Tx) error { return tx.DeleteSecret(of, "x/1") })
	// What is written without an audit event cannot be a secret of an object.
	_, err := d.try(func(tx *store.Tx) error { return tx.PutNote("x/1", []byte("x"), t0) })
	d.want(err, fault.Internal)
	_, err = d.try(func(tx *store.Tx) error { return tx.DropNote("x/1") })
	d.want(err, fault.Internal)
	d.same(get(), "false ")

	if n := read(d, func(v *store.View) (int, error) { return v.SettingInt("node_timeout") }); n != 30 {
		d.t.Errorf("got node_timeout %d, want the default", n)
	}
	for _, text := range []string{"45", "50"} {
		d.do(func(tx *store.Tx) error { return tx.PutSetting("node_timeout", text) })
		if n := read(d, func(v *store.View) (int, error) { return v.SettingInt("node_timeout") }); fmt.Sprint(n) != text {
			d.t.Errorf("got node_timeout %d, want %s", n, text)
		}
	}
	d.do(func(tx *store.Tx) error {
		return errors.Join(tx.PutSetting("enlist_commissioning", "true"), tx.PutSetting("maas_name", `"it's 100%"`))
	})
	if !read(d, func(v *store.View) (bool, error) { return v.SettingBool("enlist_commissioning") }) {
		d.t.Error("got enlist_commissioning false")
	}
	d.same(read(d, func(v *store.View) (any, error) { return v.SettingValue("maas_name") }), "it's 100%")
	d.view(func(v *store.View) error {
		_, err := v.SettingValue("nonsense")
		d.want(err, fault.Invalid)
		if _, err := v.SettingInt("maas_name"); err == nil {
			d.t.Error("a text passed as a number")
		}
		if _, err := v.SettingBool("maas_name"); err == nil {
			d.t.Error("a text passed as true or false")
		}
		return nil
	})
}

func testLeases(d *db) {
	ip := netip.MustParseAddr("10.0.0.9")
	l := metal.Lease{MAC: "52:54:00:00:00:01", IP: ip, Hostname: "h\x07", Expires: t0.Add(time.Hour)}
	put := func(rack string, list ...metal.Lease) {
		if touches := d.do(func(tx *store.Tx) error { return tx.PutLeases(rack, list) }); len(touches) != 0 {
			d.t.Errorf("leases touch %v", touches)
		}
	}
	put("r1", l, metal.Lease{MAC: "52:54:00:00:00:02", IP: netip.MustParseAddr("10.0.0.10"), Expires: t0})
	l.Hostname = "h"
	get := func(rack string) []metal.Lease {
		return read(d, func(v *store.View) ([]metal.Lease, error) { return v.Leases(rack, t0) })
	}
	d.same(get("r1"), []metal.Lease{l})
	d.same(get("r2"), []metal.Lease(nil))
	l.MAC, l.Expires = "52:54:00:00:00:03", t0.Add(2*time.Hour)
	put("r2", l) // the address has a new holder
	d.same(get("r1"), []metal.Lease(nil))
	d.same(get(""), []metal.Lease{l})
}

func testAudit(d *db) {
	for i := range 3 {
		d.do(func(tx *store.Tx) error {
			return tx.AppendAudit(metal.AuditEvent{Region: "r", Time: t0, Principal: "user:a", Action: "x", Target: fmt.Sprint("t", i%2), Outcome: "success", Detail: map[string]string{"i": fmt.Sprint(i)}})
		})
	}
	waiting := read(d, func(v *store.View) ([]store.AuditRow, error) { return v.UnsealedAudit("r", 2) })
	if len(waiting) != 2 || waiting[0].Detail["i"] != "0" {
		d.t.Fatalf("got %+v waiting", waiting)
	}
	d.do(func(tx *store.Tx) error {
		return errors.Join(tx.SealAudit(waiting[0].ID, 1, "h1"), tx.SealAudit(waiting[1].ID, 2, "h2"), tx.SealAudit(waiting[0].ID, 9, "again"))
	})
	d.view(func(v *store.View) error {
		seq, hash, err := v.AuditHead("r")
		if seq != 2 || hash != "h2" {
			d.t.Errorf("got head %d %s", seq, hash)
		}
		if seq, hash, _ := v.AuditHead("none"); seq != 0 || hash != "" {
			d.t.Errorf("got head %d %s of an empty chain", seq, hash)
		}
		return err
	})
	chain := read(d, func(v *store.View) ([]store.AuditRow, error) { return v.AuditChain("r", 1, waiting[0].ID, 10) })
	if len(chain) != 1 || chain[0].Sequence != 2 || !chain[0].Time.Equal(t0) {
		d.t.Errorf("got chain %+v", chain)
	}
	d.same(read(d, (*store.View).AuditRegions), []string{"r"})
	list := read(d, func(v *store.View) ([]store.AuditRow, error) {
		return v.AuditEvents(store.AuditQuery{Target: "t0", Limit: 10})
	})
	if len(list) != 2 || list[0].Detail["i"] != "2" {
		d.t.Errorf("got events %+v", list)
	}
	list = read(d, func(v *store.View) ([]store.AuditRow, error) {
		return v.AuditEvents(store.AuditQuery{Before: list[0].ID, Limit: 1})
	})
	if len(list) != 1 || list[0].Detail["i"] != "1" {
		d.t.Errorf("got events %+v", list)
	}
	c := store.Checkpoint{Region: "r", Sequence: 2, Time: t0, Hash: "h2", Signature: "s"}
	d.do(func(tx *store.Tx) error { return tx.AddCheckpoint(c) })
	d.same(read(d, func(v *store.View) ([]store.Checkpoint, error) { return v.Checkpoints("r") }), []store.Checkpoint{c})
}

// testTouches holds every method that changes an object to what the gate sees of it.
func testTouches(d *db) {
	alpha := metal.ResourcePool{Name: "alpha"}
	d.do(func(tx *store.Tx) error { return tx.AddPool(&alpha) })
	u := d.user("alice", false)
	f := metal.Fabric{Name: "f"}
	d.do(func(tx *store.Tx) error { return tx.AddFabric(&f) })
	v := metal.VLAN{FabricID: f.ID, VID: 5, MTU: 1500}
	d.do(func(tx *store.Tx) error { return tx.AddVLAN(&v) })
	sub := metal.Subnet{VLANID: v.ID, CIDR: netip.MustParsePrefix("10.0.0.0/24")}
	d.do(func(tx *store.Tx) error { return tx.AddSubnet(&sub) })
	rng := metal.IPRange{SubnetID: sub.ID, Type: metal.RangeDynamic, Start: netip.MustParseAddr("10.0.0.5"), End: netip.MustParseAddr("10.0.0.6")}
	m := d.machine("m", func(m *metal.Machine) { m.Owner, m.RackID = "alice", "r" })
	nic := metal.Interface{SystemID: m.SystemID, MAC: "52:54:00:00:00:01"}
	disk := metal.BlockDevice{SystemID: m.SystemID, Name: "sda"}
	set := metal.ScriptSet{SystemID: m.SystemID, Results: []metal.ScriptResult{{Name: "s"}}}
	cmd := store.CommandRow{Command: metal.Command{SystemID: m.SystemID}}
	img := metal.BootResource{Name: "n", Architecture: "a"}
	ctl := metal.Controller{SystemID: "c"}
	one := func(n authz.Noun, id string) string { return fmt.Sprintf("%s:%s", n, id) }
	mach := fmt.Sprintf("machine:%s pool 0 owner alice rack r", m.SystemID)
	moved := m
	moved.PoolID, moved.Owner = alpha.ID, "bob"
	user := one(authz.NounUser, authz.ID(u.ID)) + " owner alice"
	k, ssh, factor := metal.APIKey{UserID: u.ID, TokenKey: "t"}, metal.SSHKey{UserID: u.ID, Key: "k"}, metal.Factor{Kind: metal.FactorTOTP}
	pool, zone := metal.ResourcePool{Name: "p2"}, metal.Zone{Name: "z2"}
	newUser, newFabric := store.UserRow{User: metal.User{Name: "n"}}, metal.Fabric{Name: "nf"}
	newVLAN, newSub := metal.VLAN{FabricID: f.ID, VID: 6}, metal.Subnet{VLANID: v.ID, CIDR: netip.MustParsePrefix("10.1.0.0/24")}
	told := metal.Notification{Message: "m", Category: "info"}
	hostWaiver := store.HostWaiver{Check: "files-a"}
	prov := metal.Provider{Name: "p", Issuer: "i"}
	group, grant := metal.Group{Name: "g"}, store.GrantRow{UserID: u.ID, User: u.Name, Role: authz.Auditor, Pool: authz.AllPools}
	newMachine := metal.Machine{SystemID: "abcdabcdabcdabcd", Hostname: "nm", PoolID: alpha.ID, ZoneID: 1}
	for _, c := range []struct {
		name string
		fn   func(*store.Tx) error
		want func() []string
	}{
		{"AddPool", func(t *store.Tx) error { return t.AddPool(&pool) }, func() []string { return []string{one(authz.NounPool, authz.ID(pool.ID)) + " new"} }},
		{"PutPool", func(t *store.Tx) error { return t.PutPool(pool) }, func() []string { return []string{one(authz.NounPool, authz.ID(pool.ID))} }},
		{"DeletePool", func(t *store.Tx) error { return t.DeletePool(pool.ID) }, func() []string { return []string{one(authz.NounPool, authz.ID(pool.ID))} }},
		{"AddZone", func(t *store.Tx) error { return t.AddZone(&zone) }, func() []string { return []string{one(authz.NounZone, authz.ID(zone.ID)) + " new"} }},
		{"PutZone", func(t *store.Tx) error { return t.PutZone(zone) }, func() []string { return []string{one(authz.NounZone, authz.ID(zone.ID))} }},
		{"DeleteZone", func(t *store.Tx) error { return t.DeleteZone(zone.ID) }, func() []string { return []string{one(authz.NounZone, authz.ID(zone.ID))} }},
		{"AddUser", func(t *store.Tx) error { return t.AddUser(&newUser) }, func() []string { return []string{one(authz.NounUser, authz.ID(newUser.ID)) + " owner n new"} }},
		{"PutUser", func(t *store.Tx) error { return t.PutUser(u) }, func() []string { return []string{user} }},
		{"AddAPIKey", func(t *store.Tx) error { return t.AddAPIKey(u.User, &k) }, func() []string { return []string{user} }},
		{"RenameAPIKey", func(t *store.Tx) error { return t.RenameAPIKey(u.User, k.ID, "x") }, func() []string { return []string{user} }},
		{"DeleteAPIKey", func(t *store.Tx) error { return t.DeleteAPIKey(u.User, k.ID) }, func() []string { return []string{user} }},
		{"AddSession", func(t *store.Tx) error { return t.AddSession(u.User, metal.Session{Hash: "h", UserID: u.ID}) }, func() []string { return []string{user} }},
		{"SeeSession", func(t *store.Tx) error { return t.SeeSession("h", t0) }, func() []string { return nil }},
		{"DeleteSession", func(t *store.Tx) error { return t.DeleteSession(u.User, "h") }, func() []string { return []string{user} }},
		{"AddSSHKey", func(t *store.Tx) error { return t.AddSSHKey(u.User, &ssh) }, func() []string { return []string{user} }},
		{"DeleteSSHKey", func(t *store.Tx) error { _, err := t.DeleteSSHKey(u.User, ssh.ID); return err }, func() []string { return []string{user} }},
		{"DeleteSessions", func(t *store.Tx) error { return t.DeleteSessions(u.User, "", t0) }, func() []string { return []string{user} }},
		{"SeeAPIKey", func(t *store.Tx) error { _, err := t.SeeAPIKey(k.ID, "10.0.0.1", "10.0.0.0/24", t0); return err }, func() []string { return nil }},
		{"PutLink for the first administrator", func(t *store.Tx) error { return t.PutLink(metal.User{}, "l", t0) }, func() []string { return []string{"user: new"} }},
		{"PutLink", func(t *store.Tx) error { return t.PutLink(u.User, "l2", t0) }, func() []string { return []string{user} }},
		{"AddFactor", func(t *store.Tx) error { return t.AddFactor(u.User, &factor) }, func() []string { return []string{user} }},
		{"UseFactor", func(t *store.Tx) error { return t.UseFactor(u.User, factor) }, func() []string { return []string{user} }},
		{"DeleteFactor", func(t *store.Tx) error { _, err := t.DeleteFactor(u.User, factor.ID); return err }, func() []string { return []string{user} }},
		{"PutRecoveryCodes", func(t *store.Tx) error { return t.PutRecoveryCodes(u.User, []string{"h"}) }, func() []string { return []string{user} }},
		{"SpendRecoveryCode", func(t *store.Tx) error { _, err := t.SpendRecoveryCode(u.User, "h"); return err }, func() []string { return []string{user} }},
		{"PutStep", func(t *store.Tx) error { return t.PutStep(u.User, store.Step{Hash: "h"}, t0) }, func() []string { return []string{user} }},
		{"DeleteStep", func(t *store.Tx) error { _, err := t.DeleteStep(u.User, "h"); return err }, func() []string { return []string{user} }},
		{"AddProvider", func(t *store.Tx) error { return t.AddProvider(&prov) }, func() []string { return []string{one(authz.NounProvider, authz.ID(prov.ID)) + " new"} }},
		{"PutProvider", func(t *store.Tx) error { return t.PutProvider(prov) }, func() []string { return []string{one(authz.NounProvider, authz.ID(prov.ID))} }},
		{"PutIdentity", func(t *store.Tx) error {
			return t.PutIdentity(u.User, metal.ExternalIdentity{Issuer: "i", Subject: "s", ProviderID: prov.ID})
		}, func() []string { return []string{user} }},
		{"Spend", func(t *store.Tx) error { _, err := t.Spend(u.User, "h", t0, t0); return err }, func() []string { return []string{user} }},
		{"EndMacaroons", func(t *store.Tx) error { return t.EndMacaroons(prov.ID) }, func() []string { return []string{one(authz.NounProvider, authz.ID(prov.ID))} }},
		{"EndProviderSessions", func(t *store.Tx) error { return t.EndProviderSessions(prov.ID) }, func() []string { return []string{one(authz.NounProvider, authz.ID(prov.ID))} }},
		{"AskAgain", func(t *store.Tx) error { return t.AskAgain(prov.ID) }, func() []string { return []string{one(authz.NounProvider, authz.ID(prov.ID))} }},
		{"DeleteProviderSessions", func(t *store.Tx) error { return t.DeleteProviderSessions(u.User, prov.ID, "x") }, func() []string { return []string{user} }},
		{"DeleteIdentity", func(t *store.Tx) error {
			_, err := t.DeleteIdentity(u.User, metal.ExternalIdentity{Issuer: "i", Subject: "s"})
			return err
		}, func() []string { return []string{user, user} }},
		{"PutRBACSync", func(t *store.Tx) error { return t.PutRBACSync(prov.ID, store.RBACSync{}) }, func() []string { return nil }},
		{"DropRBACChanges", func(t *store.Tx) error { return t.DropRBACChanges([]store.RBACChange{{ID: 1}}) }, func() []string { return nil }},
		{"PutRightsAsked", func(t *store.Tx) error { return t.PutRightsAsked(u.ID, t0) }, func() []string { return nil }},
		{"DeleteProvider", func(t *store.Tx) error { return t.DeleteProvider(prov.ID) }, func() []string { return []string{one(authz.NounProvider, authz.ID(prov.ID))} }},
		{"DeleteUser", func(t *store.Tx) error { return t.DeleteUser(newUser.User) }, func() []string { return []string{one(authz.NounUser, authz.ID(newUser.ID)) + " owner n"} }},
		{"AddGroup", func(t *store.Tx) error { return t.AddGroup(&group) }, func() []string { return []string{one(authz.NounGroup, authz.ID(group.ID)) + " new"} }},
		{"PutGroup", func(t *store.Tx) error { return t.PutGroup(group) }, func() []string { return []string{one(authz.NounGroup, authz.ID(group.ID))} }},
		{"AddMember", func(t *store.Tx) error { return t.AddMember(group.ID, u.ID) }, func() []string { return []string{one(authz.NounGroup, authz.ID(group.ID))} }},
		{"RemoveMember", func(t *store.Tx) error { _, err := t.RemoveMember(group.ID, u.ID); return err }, func() []string { return []string{one(authz.NounGroup, authz.ID(group.ID))} }},
		{"AddGrant to a group", func(t *store.Tx) error {
			return t.AddGrant(&store.GrantRow{GroupID: group.ID, Role: authz.Auditor, Pool: authz.AllPools})
		}, func() []string { return []string{one(authz.NounGroup, authz.ID(group.ID))} }},
		{"AddGrant to a user", func(t *store.Tx) error { return t.AddGrant(&grant) }, func() []string { return []string{user} }},
		{"DeleteGrant", func(t *store.Tx) error { return t.DeleteGrant(grant) }, func() []string { return []string{user} }},
		{"DeleteGroup", func(t *store.Tx) error { return t.DeleteGroup(group.ID) }, func() []string { return []string{one(authz.NounGroup, authz.ID(group.ID))} }},
		{"AddRole", func(t *store.Tx) error { return t.AddRole(authz.Role{Name: "r"}) }, func() []string { return []string{"role:r new"} }},
		{"PutRole", func(t *store.Tx) error { return t.PutRole(authz.Role{Name: "r"}) }, func() []string { return []string{"role:r"} }},
		{"DeleteRole", func(t *store.Tx) error { return t.DeleteRole("r") }, func() []string { return []string{"role:r"} }},
		{"AddFabric", func(t *store.Tx) error { return t.AddFabric(&newFabric) }, func() []string { return []string{one(authz.NounFabric, authz.ID(newFabric.ID)) + " new"} }},
		{"PutFabric", func(t *store.Tx) error { return t.PutFabric(newFabric) }, func() []string { return []string{one(authz.NounFabric, authz.ID(newFabric.ID))} }},
		{"DeleteFabric", func(t *store.Tx) error { return t.DeleteFabric(newFabric.ID) }, func() []string { return []string{one(authz.NounFabric, authz.ID(newFabric.ID))} }},
		{"AddVLAN", func(t *store.Tx) error { return t.AddVLAN(&newVLAN) }, func() []string { return []string{one(authz.NounVLAN, authz.ID(newVLAN.ID)) + " new"} }},
		{"PutVLAN", func(t *store.Tx) error { return t.PutVLAN(newVLAN) }, func() []string { return []string{one(authz.NounVLAN, authz.ID(newVLAN.ID))} }},
		{"DeleteVLAN", func(t *store.Tx) error { return t.DeleteVLAN(newVLAN.ID) }, func() []string { return []string{one(authz.NounVLAN, authz.ID(newVLAN.ID))} }},
		{"AddSubnet", func(t *store.Tx) error { return t.AddSubnet(&newSub) }, func() []string { return []string{one(authz.NounSubnet, authz.ID(newSub.ID)) + " new"} }},
		{"PutSubnet", func(t *store.Tx) error { return t.PutSubnet(newSub) }, func() []string { return []string{one(authz.NounSubnet, authz.ID(newSub.ID))} }},
		{"DeleteSubnet", func(t *store.Tx) error { return t.DeleteSubnet(newSub.ID) }, func() []string { return []string{one(authz.NounSubnet, authz.ID(newSub.ID))} }},
		{"AddIPRange", func(t *store.Tx) error { return t.AddIPRange(&rng) }, func() []string { return []string{one(authz.NounSubnet, authz.ID(sub.ID))} }},
		{"PutIPRange", func(t *store.Tx) error { return t.PutIPRange(rng) }, func() []string { return []string{one(authz.NounSubnet, authz.ID(sub.ID))} }},
		{"DeleteIPRange", func(t *store.Tx) error { return t.DeleteIPRange(rng) }, func() []string { return []string{one(authz.NounSubnet, authz.ID(sub.ID))} }},
		{"AddFirstKeyset", func(t *store.Tx) error { return t.AddFirstKeyset(store.Keyset{Root: "r", Wrapped: []byte("x")}) }, func() []string { return nil }},
		{"PutKeyset", func(t *store.Tx) error {
			return t.PutKeyset(authz.Target{Noun: authz.NounSite, ID: "site"}, store.Keyset{Root: "r", Wrapped: []byte("x")})
		}, func() []string { return []string{"site:site"} }},
		{"DropKeyset", func(t *store.Tx) error {
			return t.DropKeyset(authz.Target{Noun: authz.NounSite, ID: "site"}, "r")
		}, func() []string { return []string{"site:site"} }},
		{"ResealSecret", func(t *store.Tx) error {
			_, err := t.ResealSecret(authz.Target{Noun: authz.NounSite, ID: "site"}, "x", []byte("x"), []byte("y"))
			return err
		}, func() []string { return []string{"site:site"} }},
		{"PutSecretBackend", func(t *store.Tx) error {
			return t.PutSecretBackend(authz.Target{Noun: authz.NounSite, ID: "site"}, "vault", t0)
		}, func() []string { return []string{"site:site"} }},
		{"PutVaultRegion", func(t *store.Tx) error {
			return t.PutVaultRegion(authz.Target{Noun: authz.NounSite, ID: "site"}, store.VaultRegion{Region: "r"})
		}, func() []string { return []string{"site:site"} }},
		{"SeeVault", func(t *store.Tx) error { return t.SeeVault("r", "ok", "", t0, t0) }, func() []string { return nil }},
		{"DropVaultRegion", func(t *store.Tx) error {
			return t.DropVaultRegion(authz.Target{Noun: authz.NounSite, ID: "site"}, "r")
		}, func() []string { return []string{"site:site"} }},
		{"PutNote", func(t *store.Tx) error { return t.PutNote(store.NotePrefix+"x", []byte("x"), t0) }, func() []string { return nil }},
		{"DropNote", func(t *store.Tx) error { return t.DropNote(store.NotePrefix + "x") }, func() []string { return nil }},
		{"PutLeases", func(t *store.Tx) error { return t.PutLeases("r", []metal.Lease{{IP: rng.Start}}) }, func() []string { return nil }},
		{"AddController", func(t *store.Tx) error { return t.AddController(ctl) }, func() []string { return []string{"controller:c new"} }},
		{"WantHostCheck", func(t *store.Tx) error { return t.WantHostCheck("c", t0) }, func() []string { return []string{one(authz.NounController, "c")} }},
		{"PutHostCheck", func(t *store.Tx) error { return t.PutHostCheck("c", guard.HostReport{}, &store.HostPoint{}, t0) }, func() []string { return nil }},
		{"SeeHostTold", func(t *store.Tx) error { return t.SeeHostTold("c", nil) }, func() []string { return nil }},
		{"PutThreshold", func(t *store.Tx) error {
			return t.PutThreshold(store.Threshold{Threshold: detect.Threshold{Unit: "u"}})
		}, func() []string { return []string{one(authz.NounDetection, "u")} }},
		{"DeleteThreshold", func(t *store.Tx) error { return t.DeleteThreshold("u") }, func() []string { return []string{one(authz.NounDetection, "u")} }},
		{"AddBlock", func(t *store.Tx) error {
			return t.AddBlock(&store.Block{Prefix: netip.MustParsePrefix("192.0.2.200/32"), From: t0, Until: t0.Add(time.Hour)})
		}, func() []string { return []string{one(authz.NounBlock, "192.0.2.200/32") + " new"} }},
		{"LiftBlock", func(t *store.Tx) error {
			return t.LiftBlock(store.Block{ID: 1, Prefix: netip.MustParsePrefix("192.0.2.200/32")}, "", "", t0)
		}, func() []string { return []string{one(authz.NounBlock, "192.0.2.200/32")} }},
		{"ClearBlocks", func(t *store.Tx) error { _, err := t.ClearBlocks("", "", t0); return err }, func() []string { return []string{one(authz.NounBlock, "all")} }},
		{"PutBlockSite", func(t *store.Tx) error { return t.PutBlockSite(store.BlockSite{}) }, func() []string { return []string{one(authz.NounBlock, "all")} }},
		{"SettleBlocks", func(t *store.Tx) error { return t.SettleBlocks(t0, t0, 10, 10) }, func() []string { return nil }},
		{"SeeBlockWish", func(t *store.Tx) error { return t.SeeBlockWish(store.BlockWish{Last: t0}) }, func() []string { return nil }},
		{"SeeBlockReport", func(t *store.Tx) error { return t.SeeBlockReport(store.BlockReport{Controller: "r", Seen: t0}, t0) }, func() []string { return nil }},
		{"AddHostWaiver", func(t *store.Tx) error { return t.AddHostWaiver(&hostWaiver) }, func() []string { return []string{one(authz.NounHostWaiver, authz.ID(hostWaiver.ID)) + " new"} }},
		{"DeleteHostWaiver", func(t *store.Tx) error { return t.DeleteHostWaiver(hostWaiver.ID) }, func() []string { return []string{one(authz.NounHostWaiver, authz.ID(hostWaiver.ID))} }},
		{"SeeAlert", func(t *store.Tx) error { return t.SeeAlert(store.Alert{Unit: "u", Severity: detect.Info}) }, func() []string { return nil }},
		{"SeeAlertsTold", func(t *store.Tx) error { return t.SeeAlertsTold("u", detect.Info, t0) }, func() []string { return nil }},
		{"SettleAlerts", func(t *store.Tx) error { return t.SettleAlerts(t0, t0, 10) }, func() []string { return nil }},
		{"SettleReported", func(t *store.Tx) error { return t.SettleReported("c", store.FromLogs, 10) }, func() []string { return nil }},
		{"SeeHostLogs", func(t *store.Tx) error { return t.SeeHostLogs("c", nil, t0) }, func() []string { return nil }},
		{"PutAlert", func(t *store.Tx) error { return t.PutAlert(store.Alert{ID: 3}) }, func() []string { return []string{one(authz.NounAlert, "3")} }},
		{"PutController", func(t *store.Tx) error { return t.PutController(ctl) }, func() []string { return []string{"controller:c"} }},
		{"SeeController", func(t *store.Tx) error { return t.SeeController("c", t0) }, func() []string { return nil }},
		{"AddEnrolment", func(t *store.Tx) error { return t.AddEnrolment(metal.EnrolmentToken{ID: "e", Created: t0}) }, func() []string { return []string{"enrolment:e new"} }},
		{"SpendEnrolment", func(t *store.Tx) error { _, err := t.SpendEnrolment("e"); return err }, func() []string { return []string{"enrolment:e"} }},
		{"AddBootResource", func(t *store.Tx) error { return t.AddBootResource(&img) }, func() []string { return []string{one(authz.NounImage, authz.ID(img.ID)) + " new"} }},
		{"PutBootResource", func(t *store.Tx) error { return t.PutBootResource(img) }, func() []string { return []string{one(authz.NounImage, authz.ID(img.ID))} }},
		{"DeleteBootResource", func(t *store.Tx) error { return t.DeleteBootResource(img.ID) }, func() []string { return []string{one(authz.NounImage, authz.ID(img.ID))} }},
		{"PutSetting", func(t *store.Tx) error { return t.PutSetting("node_timeout", "5") }, func() []string { return []string{"setting:node_timeout"} }},
		{"PutSecret", func(t *store.Tx) error {
			return t.PutSecret(authz.Target{Noun: authz.NounSite, ID: "site"}, "x", []byte{1}, t0)
		}, func() []string { return []string{"site:site"} }},
		{"DeleteSecret", func(t *store.Tx) error {
			return t.DeleteSecret(authz.Target{Noun: authz.NounSite, ID: "site"}, "x")
		}, func() []string { return []string{"site:site"} }},
		{"AddMachine", func(t *store.Tx) error { return t.AddMachine(&newMachine) }, func() []string { return []string{fmt.Sprintf("machine:%s pool %d new", newMachine.SystemID, alpha.ID)} }},
		{"PutInterface", func(t *store.Tx) error { return t.PutInterface(&nic) }, func() []string { return []string{mach} }},
		{"DeleteInterface", func(t *store.Tx) error { return t.DeleteInterface(nic) }, func() []string { return []string{mach} }},
		{"PutBlockDevice", func(t *store.Tx) error { return t.PutBlockDevice(&disk) }, func() []string { return []string{mach} }},
		{"DeleteBlockDevice", func(t *store.Tx) error { return t.DeleteBlockDevice(disk) }, func() []string { return []string{mach} }},
		{"AddEvent", func(t *store.Tx) error { return t.AddEvent(metal.Event{SystemID: m.SystemID}) }, func() []string { return []string{mach} }},
		{"PutBoot", func(t *store.Tx) error {
			return t.PutBoot(store.BootRow{Boot: metal.Boot{ID: "b", SystemID: m.SystemID}})
		}, func() []string { return []string{mach} }},
		{"PutBoot of a stranger", func(t *store.Tx) error { return t.PutBoot(store.BootRow{Boot: metal.Boot{ID: "b2", RackID: "r9"}}) }, func() []string { return []string{"machine: pool 0 rack r9 new"} }},
		{"EndBoots", func(t *store.Tx) error { return t.EndBoots(m.SystemID, t0) }, func() []string { return []string{mach} }},
		{"DropOldBoots", func(t *store.Tx) error { return t.DropOldBoots(t0) }, func() []string { return nil }},
		{"AddCommand", func(t *store.Tx) error { return t.AddCommand(&cmd) }, func() []string { return []string{mach} }},
		{"PutBMCAccount", func(t *store.Tx) error {
			return t.PutBMCAccount(&metal.BMCAccount{SystemID: m.SystemID, State: metal.RotationSetting})
		}, func() []string { return []string{mach} }},
		{"PutCommand", func(t *store.Tx) error { return t.PutCommand(cmd) }, func() []string { return []string{mach} }},
		{"DeleteCommand", func(t *store.Tx) error { _, err := t.DeleteCommand(cmd); return err }, func() []string { return []string{mach} }},
		{"AddScriptSet", func(t *store.Tx) error { return t.AddScriptSet(&set, 3) }, func() []string { return []string{mach} }},
		{"PutScriptResult", func(t *store.Tx) error { return t.PutScriptResult(m.SystemID, set.Results[0]) }, func() []string { return []string{mach} }},
		{"EndScriptSet", func(t *store.Tx) error { return t.EndScriptSet(set, t0) }, func() []string { return []string{mach} }},
		{"AppendOutput", func(t *store.Tx) error { return t.AppendOutput(set.Results[0].ID, "stdout", 0, []byte("x")) }, func() []string { return nil }},
		{"SetPower", func(t *store.Tx) error { return t.SetPower(m.SystemID, metal.PowerOn, "", t0) }, func() []string { return nil }},
		{"PutMachineText", func(t *store.Tx) error { return t.PutMachineText(m.ID, 1, []byte("{}")) }, func() []string { return nil }},
		{"AppendAudit", func(t *store.Tx) error { return t.AppendAudit(metal.AuditEvent{Region: "r"}) }, func() []string { return nil }},
		{"SealAudit", func(t *store.Tx) error { return t.SealAudit(1, 1, "h") }, func() []string { return nil }},
		{"AddNotification", func(t *store.Tx) error { return t.AddNotification(&told) }, func() []string { return []string{one(authz.NounNotification, authz.ID(told.ID)) + " new"} }},
		{"PutNotification", func(t *store.Tx) error { return t.PutNotification(told) }, func() []string { return []string{one(authz.NounNotification, authz.ID(told.ID))} }},
		{"AddDelivery", func(t *store.Tx) error { return t.AddDelivery(told, "webhook") }, func() []string { return []string{one(authz.NounNotification, authz.ID(told.ID))} }},
		{"PutDelivery", func(t *store.Tx) error { return t.PutDelivery(store.Delivery{ID: 1}) }, func() []string { return nil }},
		{"EndDelivery", func(t *store.Tx) error { return t.EndDelivery(1) }, func() []string { return nil }},
		{"DismissNotification", func(t *store.Tx) error { return t.DismissNotification(u.User, told.ID) }, func() []string { return []string{user} }},
		{"DeleteNotification", func(t *store.Tx) error { return t.DeleteNotification(told) }, func() []string { return []string{one(authz.NounNotification, authz.ID(told.ID))} }},
		{"PruneAudit", func(t *store.Tx) error {
			_, err := t.PruneAudit(store.Checkpoint{Region: "r", Sequence: 1})
			return err
		}, func() []string { return []string{"trail:r"} }},
		{"AddCheckpoint", func(t *store.Tx) error { return t.AddCheckpoint(store.Checkpoint{Region: "r", Sequence: 1}) }, func() []string { return nil }},
		{"PutMachine to another pool", func(t *store.Tx) error { return t.PutMachine(moved) },
			func() []string {
				return []string{mach, fmt.Sprintf("machine:%s pool %d owner bob rack r", m.SystemID, alpha.ID)}
			}},
		{"DeleteMachine", func(t *store.Tx) error { return t.DeleteMachine(moved) }, func() []string {
			return []string{fmt.Sprintf("machine:%s pool %d owner bob rack r", m.SystemID, alpha.ID)}
		}},
	} {
		var got []string
		for _, x := range d.do(c.fn) {
			s := one(x.Noun, x.ID)
			if x.Noun == authz.NounMachine {
				s += fmt.Sprintf(" pool %d", x.Pool)
			}
			if x.Owner != "" {
				s += " owner " + x.Owner
			}
			if x.Rack != "" {
				s += " rack " + x.Rack
			}
			if x.Created {
				s += " new"
			}
			got = append(got, s)
		}
		if diff := cmp.Diff(c.want(), got, empty); diff != "" {
			d.t.Errorf("%s touches (-want +got):\n%s", c.name, diff)
		}
		delete(writing, strings.Fields(c.name)[0])
	}
	for name := range writing {
		d.t.Errorf("%s is not in the table of touches", name)
	}
	writing = writers()
}

// writing are the methods of Tx that View does not have.
var writing = writers()

func writers() map[string]bool {
	out := map[string]bool{}
	tx, view := reflect.TypeFor[*store.Tx](), reflect.TypeFor[*store.View]()
	for i := range tx.NumMethod() {
		name := tx.Method(i).Name
		if _, reads := view.MethodByName(name); !reads && name != "Touches" {
			out[name] = true
		}
	}
	return out
}

func testHostile(d *db) {
	for _, s := range []string{"%", "_", `\`, `'`, `"`, `'; DROP TABLE machines; --`, "$1", "?", "a\nb", "\u2028", "ünï", `{"a":"b"}`, strings.Repeat("x", 4000)} {
		m := d.machine("h"+metal.NewSystemID(), func(m *metal.Machine) {
			m.Description, m.Owner, m.Tags, m.OwnerData = s, s, []string{s}, map[string]string{s: s}
		})
		got := read(d, func(v *store.View) (metal.Machine, error) { return v.Machine(m.SystemID) })
		if got.Description != s || got.Owner != s || got.Tags[0] != s || got.OwnerData[s] != s {
			d.t.Errorf("%.20q comes back as %q, %q, %q", s, got.Description, got.Owner, got.Tags)
		}
		list := read(d, func(v *store.View) ([]metal.Machine, error) {
			return v.Machines(store.MachineQuery{Filter: authz.AllMachines, Owners: []string{s}, Tags: []string{s}})
		})
		if len(list) != 1 || list[0].SystemID != m.SystemID {
			d.t.Errorf("%.20q finds %d machines, want its own", s, len(list))
		}
		d.view(func(v *store.View) error {
			_, err := v.Machines(store.MachineQuery{Text: s, Hostnames: []string{s}, MACs: []string{s}, Zones: []string{s}, Pools: []string{s}, Arches: []string{s}, NotTags: []string{s}, AgentName: s})
			return err
		})
	}
	// What PostgreSQL cannot store is refused by both, and the transaction may go on to other things.
	for _, s := range []string{"a\x00b", "\xff", "\xc3("} {
		_, err := d.try(func(tx *store.Tx) error { return tx.AddPool(&metal.ResourcePool{Name: s}) })
		d.want(err, fault.Invalid)
		err = d.r.View(ctx, func(v *store.View) error { _, err := v.UserByName(s); return err })
		d.want(err, fault.Invalid)
		err = d.r.View(ctx, func(v *store.View) error { _, err := v.Machines(store.MachineQuery{Owners: []string{s}}); return err })
		d.want(err, fault.Invalid)
		p := metal.ResourcePool{Name: "after" + metal.NewSystemID()}
		d.do(func(tx *store.Tx) error {
			_, err := tx.PoolByName(s)
			d.want(err, fault.Invalid)
			return tx.AddPool(&p)
		})
	}
}

// testConcurrent has writers read and raise one number: none is lost, whoever collides runs again.
func testConcurrent(d *db) {
	const writers, rounds = 8, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range rounds {
				_, err := d.try(func(tx *store.Tx) error {
					n, err := tx.SettingInt("node_timeout")
					if err != nil {
						return err
					}
					return tx.PutSetting("node_timeout", fmt.Sprint(n+1))
				})
				if err != nil {
					d.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := read(d, func(v *store.View) (int, error) { return v.SettingInt("node_timeout") }); n != 30+writers*rounds {
		d.t.Errorf("got %d, want %d", n, 30+writers*rounds)
	}
}

// testDisguised has two transactions write the same rows in opposite reads, while their code answers every
// failed read with an error of its own: a collision must still lead to another try, never to that error.
func testDisguised(d *db) {
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for range 10 {
				_, err := d.try(func(tx *store.Tx) error {
					name := []string{"node_timeout", "session_length"}[i%2]
					other := []string{"session_length", "node_timeout"}[i%2]
					n, err := tx.SettingInt(other)
					if err != nil {
						return fault.Field("name", "No such setting.")
					}
					if err := tx.PutSetting(name, fmt.Sprint(n%1000+1)); err != nil {
						return fault.Field("name", "Cannot be set.")
					}
					if _, err := tx.SettingInt(name); err != nil {
						return fault.Field("name", "No such setting.")
					}
					return nil
				})
				if err != nil {
					d.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func testRollback(d *db) {
	boom := errors.New("boom")
	add := func(tx *store.Tx) error { return tx.AddPool(&metal.ResourcePool{Name: "half"}) }
	if _, err := d.try(func(tx *store.Tx) error { return errors.Join(add(tx), boom) }); !errors.Is(err, boom) {
		d.t.Errorf("got %v, want fn's error", err)
	}
	if err := d.w.Do(ctx, add, func(*store.Tx) error { return boom }); !errors.Is(err, boom) {
		d.t.Errorf("got %v, want check's error", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				d.t.Error("the panic did not come through")
			}
		}()
		_, _ = d.try(func(tx *store.Tx) error { _ = add(tx); panic("boom") })
	}()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := d.w.Do(gone, add, func(*store.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		d.t.Errorf("got %v of a caller who is gone", err)
	}
	if pools := read(d, (*store.View).Pools); len(pools) != 1 {
		d.t.Errorf("got pools %v, want the default alone", pools)
	}
	d.do(add) // the writer is free again
	err := d.r.View(ctx, func(v *store.View) error { return boom })
	if !errors.Is(err, boom) {
		d.t.Errorf("got %v from a view", err)
	}
}

func ref(s string) secret.Ref { return secret.Ref(s) }

// testCrowd has many callers add machines at once, each looking first whether the name is free: they collide, and each
// gets done all the same.
func testCrowd(d *db) {
	var wg sync.WaitGroup
	for client := range 8 {
		wg.Go(func() {
			for i := range 15 {
				_, err := d.try(func(tx *store.Tx) error {
					m := metal.Machine{SystemID: metal.NewSystemID(), Hostname: fmt.Sprintf("m%d-%d", i, client), PoolID: metal.DefaultPoolID, ZoneID: metal.DefaultZoneID, Created: t0, Updated: t0}
					if taken, err := tx.HostnameTaken(m.Hostname, m.SystemID); err != nil || taken {
						return errors.Join(err, errors.New("taken"))
					}
					if err := tx.AddMachine(&m); err != nil {
						return err
					}
					return tx.AddEvent(metal.Event{SystemID: m.SystemID, Type: "New", Level: metal.LevelInfo, Created: t0})
				})
				if err != nil {
					d.t.Errorf("caller %d, machine %d: %v", client, i, err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(read(d, func(v *store.View) ([]metal.Machine, error) {
		return v.Machines(store.MachineQuery{Filter: authz.AllMachines})
	})); n != 8*15 {
		d.t.Errorf("got %d machines, want %d", n, 8*15)
	}
}
