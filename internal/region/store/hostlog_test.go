package store_test

import (
	"net/netip"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// testHostAlerts keeps what controllers find in logs: by controller and origin, with its name and the machine's, and no controller pushes out another's.
func testHostAlerts(d *db) {
	rack := metal.Controller{SystemID: "rack", Hostname: "rack-1", Type: metal.NodeRackController, Created: t0}
	m := metal.Machine{SystemID: "mach", Hostname: "web-1", PoolID: metal.DefaultPoolID, ZoneID: metal.DefaultZoneID}
	d.do(func(tx *store.Tx) error { return tx.AddController(rack) })
	d.do(func(tx *store.Tx) error { return tx.AddMachine(&m) })
	ip, static := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.3")
	nic := metal.Interface{SystemID: m.SystemID, Name: "eth0", MAC: "52:54:00:00:00:01"}
	other := metal.Interface{SystemID: m.SystemID, Name: "eth1", MAC: "52:54:00:00:00:02", IP: static}
	d.do(func(tx *store.Tx) error { return tx.PutInterface(&nic) })
	d.do(func(tx *store.Tx) error { return tx.PutInterface(&other) })
	d.do(func(tx *store.Tx) error {
		return tx.PutLeases("rack", []metal.Lease{{MAC: nic.MAC, IP: ip, Expires: t0.Add(time.Hour)}})
	})
	at := func(rack string, now time.Time) map[netip.Addr]string {
		return read(d, func(v *store.View) (map[netip.Addr]string, error) {
			return v.MachinesAt(rack, []netip.Addr{ip, static, netip.MustParseAddr("10.0.0.77")}, now)
		})
	}
	d.same(at("rack", t0), map[netip.Addr]string{ip: "mach", static: "mach"})
	d.same(at("rack", t0.Add(time.Hour)), map[netip.Addr]string{static: "mach"})
	d.same(at("another rack", t0), map[netip.Addr]string{static: "mach"})

	a := store.Alert{Region: "rack", Origin: store.FromSyslog, Machine: "mach", Unit: "ssh_bruteforce", Severity: detect.Medium, Key: []detect.KeyValue{{Field: "source", Value: "192.0.2.1"}},
		Host: "10.0.0.9", First: t0, Last: t0, Count: 5}
	d.do(func(tx *store.Tx) error { return tx.SeeAlert(a) })
	got := read(d, func(v *store.View) ([]store.Alert, error) {
		return v.Alerts(store.AlertQuery{Unit: "ssh_bruteforce", Limit: 9})
	})
	if len(got) != 1 || got[0].Controller != "rack-1" || got[0].MachineName != "web-1" || got[0].Origin != store.FromSyslog {
		d.t.Errorf("got %+v", got)
	}

	// A controller that reports more than its share loses its own, and what regions found in their events stays.
	for i := range 5 {
		x := a
		x.First, x.Last = t0.Add(time.Duration(i)*time.Second), t0.Add(time.Duration(i)*time.Second)
		d.do(func(tx *store.Tx) error { return tx.SeeAlert(x) })
		x.Region, x.Origin = "region", store.FromEvents
		d.do(func(tx *store.Tx) error { return tx.SeeAlert(x) })
	}
	d.do(func(tx *store.Tx) error { return tx.SettleReported("rack", store.FromSyslog, 2) })
	d.do(func(tx *store.Tx) error { return tx.SettleReported("rack", store.FromLogs, 0) })
	d.do(func(tx *store.Tx) error { return tx.SettleReported("region", store.FromSyslog, 0) })
	kept := map[string]int{}
	for _, x := range read(d, func(v *store.View) ([]store.Alert, error) {
		return v.Alerts(store.AlertQuery{Unit: "ssh_bruteforce", Limit: 99})
	}) {
		kept[x.Region]++
	}
	d.same(kept, map[string]int{"rack": 2, "region": 5})

	// Which logs a controller reads is as it told last.
	h := store.HostLogs{Controller: "rack", Hostname: "rack-1", At: t0.Add(time.Minute), Logs: []detect.LogState{{Name: "/var/log/auth.log", State: detect.LogDenied}}}
	d.do(func(tx *store.Tx) error {
		return tx.SeeHostLogs("rack", []detect.LogState{{Name: "x", State: detect.LogRead}}, t0)
	})
	d.do(func(tx *store.Tx) error { return tx.SeeHostLogs("rack", h.Logs, h.At) })
	d.same(read(d, func(v *store.View) ([]store.HostLogs, error) { return v.HostLogs() }), []store.HostLogs{h})
}
