package store_test

import (
	"net/netip"
	"slices"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// testBlocks keeps one block of an address at a time, counts those before it, and lists what the site needs.
func testBlocks(d *db) {
	p := netip.MustParsePrefix("198.51.100.7/32")
	version := func() int64 { d.t.Helper(); return read(d, (*store.View).BlockVersion) }
	block := func(from, until time.Time) store.Block {
		return store.Block{Prefix: p, Unit: "maas_x", Reason: "r", By: "alerts", From: from, Until: until}
	}
	b, v := block(t0, t0.Add(time.Hour)), version()
	touched := d.do(func(tx *store.Tx) error { return tx.AddBlock(&b) })
	d.same(touched, []store.Touch{{Target: store.BlockTarget(p), Created: true}})
	if version() <= v {
		d.t.Error("nobody learns of the block")
	}
	_, err := d.try(func(tx *store.Tx) error { again := block(t0, t0.Add(time.Hour)); return tx.AddBlock(&again) })
	d.want(err, fault.Conflict)
	active := func(now time.Time) []store.Block {
		d.t.Helper()
		return read(d, func(v *store.View) ([]store.Block, error) { return v.ActiveBlocks(now, 0, 10) })
	}
	d.same(active(t0), []store.Block{b})
	d.same(len(active(t0.Add(time.Hour))), 0)

	// The next after the end of the first; a lifted one lets the count begin anew.
	second := block(t0.Add(2*time.Hour), t0.Add(4*time.Hour))
	d.do(func(tx *store.Tx) error { return tx.AddBlock(&second) })
	times := func() int {
		d.t.Helper()
		return read(d, func(v *store.View) (int, error) { return v.TimesBlocked(p, t0.Add(-time.Hour)) })
	}
	d.same(times(), 2)
	d.do(func(tx *store.Tx) error { return tx.LiftBlock(second, "root", "a mistake", t0.Add(3*time.Hour)) })
	d.same(times(), 0)
	ended := read(d, func(v *store.View) ([]store.Block, error) { return v.EndedBlocks(t0.Add(3*time.Hour), 0, 10) })
	if len(ended) != 2 || ended[0].How != store.BlockLifted || ended[0].EndedBy != "root" || ended[0].EndedWhy != "a mistake" || ended[1].How != store.BlockOver || !ended[1].Ended.Equal(b.Until) {
		d.t.Errorf("got %+v", ended)
	}

	// All at once.
	third := block(t0.Add(5*time.Hour), t0.Add(6*time.Hour))
	other := third
	other.Prefix = netip.MustParsePrefix("2001:db8:7::/64")
	d.do(func(tx *store.Tx) error { return tx.AddBlock(&third) })
	d.do(func(tx *store.Tx) error { return tx.AddBlock(&other) })
	d.same(read(d, func(v *store.View) (int, error) { return v.CountBlocks(t0.Add(5 * time.Hour)) }), 2)
	d.same(read(d, func(v *store.View) ([]store.Block, error) { return v.ActiveBlocks(t0.Add(5*time.Hour), other.ID, 10) }), []store.Block{third})
	d.do(func(tx *store.Tx) error {
		n, err := tx.ClearBlocks("root", "panic", t0.Add(5*time.Hour))
		d.same(n, int64(2))
		return err
	})
	d.same(len(active(t0.Add(5*time.Hour))), 0)
	d.do(func(tx *store.Tx) error {
		return tx.PutBlockSite(store.BlockSite{Off: true, OffBy: "root", OffAt: t0, Policy: store.BlockPolicy{Enforce: []string{"maas_x"}, First: time.Minute, Never: []netip.Prefix{p}}})
	})
	site := read(d, (*store.View).BlockSite)
	site.Version = 0
	d.same(site, store.BlockSite{Off: true, OffBy: "root", OffAt: t0, Policy: store.BlockPolicy{Enforce: []string{"maas_x"}, First: time.Minute, Never: []netip.Prefix{p}}})

	// Of what ended, and of wishes, the latest are kept.
	wish := func(last time.Time, prefix string) {
		d.do(func(tx *store.Tx) error {
			return tx.SeeBlockWish(store.BlockWish{Prefix: netip.MustParsePrefix(prefix), Unit: "u", Reason: "r", Why: "observed only", Last: last})
		})
	}
	wish(t0, "192.0.2.1/32")
	wish(t0.Add(time.Minute), "192.0.2.1/32")
	wish(t0.Add(2*time.Minute), "192.0.2.2/32")
	list := read(d, func(v *store.View) ([]store.BlockWish, error) { return v.BlockWishes(netip.Prefix{}, 10) })
	if len(list) != 2 || list[1].Times != 2 || !list[1].First.Equal(t0) || !list[1].Last.Equal(t0.Add(time.Minute)) {
		d.t.Errorf("got %+v", list)
	}
	d.do(func(tx *store.Tx) error { return tx.SettleBlocks(t0.Add(7*time.Hour), t0.Add(-time.Hour), 3, 1) })
	d.same(len(read(d, func(v *store.View) ([]store.BlockWish, error) { return v.BlockWishes(netip.Prefix{}, 10) })), 1)
	ended = read(d, func(v *store.View) ([]store.Block, error) { return v.EndedBlocks(t0.Add(7*time.Hour), 0, 10) })
	d.same(len(ended), 3)
	d.do(func(tx *store.Tx) error { return tx.SettleBlocks(t0.Add(7*time.Hour), t0.Add(8*time.Hour), 3, 1) })
	d.same(len(read(d, func(v *store.View) ([]store.Block, error) { return v.EndedBlocks(t0.Add(7*time.Hour), 0, 10) })), 0)

	// What controllers told.
	r := store.BlockReport{Controller: "r1", Seen: t0, Version: 7, How: "listeners", Applied: 2, Refused: []store.BlockRefusal{{Prefix: p, Why: "its own"}}, Needs: []store.BlockNeed{{Prefix: p, What: "a gateway"}}}
	d.do(func(tx *store.Tx) error { return tx.SeeBlockReport(r, t0.Add(-time.Hour)) })
	d.same(read(d, (*store.View).BlockReports), []store.BlockReport{r})

	// Whom the site needs, by an address and all of them.
	d.do(func(tx *store.Tx) error {
		f := metal.Fabric{Name: "blocks"}
		if err := tx.AddFabric(&f); err != nil {
			return err
		}
		vlan := metal.VLAN{FabricID: f.ID, VID: 77, Name: "n", DHCPOn: true}
		if err := tx.AddVLAN(&vlan); err != nil {
			return err
		}
		if err := tx.AddSubnet(&metal.Subnet{VLANID: vlan.ID, Name: "net", CIDR: netip.MustParsePrefix("10.77.0.0/24")}); err != nil {
			return err
		}
		m := metal.Machine{SystemID: "blocks", Hostname: "web3", PoolID: metal.DefaultPoolID, ZoneID: 1, Architecture: "amd64", PowerType: "ipmi", PowerParameters: metal.PowerParameters{"power_address": "198.51.100.20:623"}}
		if err := tx.AddMachine(&m); err != nil {
			return err
		}
		if err := tx.PutInterface(&metal.Interface{SystemID: m.SystemID, Name: "eth0", MAC: "02:00:00:00:77:01", IP: netip.MustParseAddr("198.51.100.21")}); err != nil {
			return err
		}
		if err := tx.PutLeases("r1", []metal.Lease{{IP: netip.MustParseAddr("2001:db8:77::5"), MAC: "02:00:00:00:77:02", Expires: t0.Add(time.Hour)}, {IP: netip.MustParseAddr("198.51.100.2"), MAC: "02:00:00:00:77:03", Expires: t0}}); err != nil {
			return err
		}
		return tx.AddController(metal.Controller{SystemID: "blocks-rack", Hostname: "rack9", Type: metal.NodeRackController,
			Interfaces: []metal.ControllerInterface{{Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.22/24")}}}})
	})
	all := read(d, func(v *store.View) ([]store.BlockNeed, error) { return v.BlockNeeds(netip.Prefix{}, t0) })
	for address, what := range map[string]string{"198.51.100.20/32": "the BMC of machine web3", "198.51.100.21/32": "an address of machine web3", "198.51.100.22/32": "an address of controller rack9",
		"10.77.0.9/32": "in subnet net, where racks serve machines", "2001:db8:77::/64": "leased by a rack to 02:00:00:00:77:02", "198.51.100.2/32": "", "198.51.100.7/32": ""} {
		whom := netip.MustParsePrefix(address)
		said := ""
		for _, n := range read(d, func(v *store.View) ([]store.BlockNeed, error) { return v.BlockNeeds(whom, t0) }) {
			said = n.What
		}
		if said != what {
			d.t.Errorf("%s: got %q, want %q", address, said, what)
		}
		if got := slices.ContainsFunc(all, func(n store.BlockNeed) bool { return n.Prefix.Overlaps(whom) }); got != (what != "") {
			d.t.Errorf("%s: is among all %v", address, got)
		}
	}
}
