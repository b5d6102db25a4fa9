package store_test

import (
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// testBMC holds that accounts come back as they were, are found when they are due, and go with their machine.
func testBMC(d *db) {
	later, past := t0.Add(time.Hour), t0.Add(-time.Hour)
	rows := map[string]metal.BMCAccount{
		"setting":  {State: metal.RotationSetting, NotUntil: t0, Attempts: 2, Deadline: later, Problem: "no"},
		"retiring": {State: metal.RotationRetiring, NotUntil: past, Managed: true},
		"waits":    {State: metal.RotationSetting, NotUntil: later},
		"aged":     {Managed: true, Rotated: past, KeepUntil: past},
		"young":    {Managed: true, Rotated: t0, KeepUntil: later},
		"wanted":   {Managed: true, Rotated: later, Wanted: true},
		"put off":  {Managed: true, Rotated: past, NotUntil: later},
		"person's": {Rotated: past},
	}
	names := map[string]string{}
	for name, a := range rows {
		m := d.machine("bmc-"+metal.NewSystemID(), nil)
		a.SystemID, names[m.SystemID] = m.SystemID, name
		d.do(func(tx *store.Tx) error { b := a; return tx.PutBMCAccount(&b) })
		a.Revision = 1
		d.same(read(d, func(v *store.View) (metal.BMCAccount, error) { return v.BMCAccount(m.SystemID) }), a)
		rows[name] = a
	}
	find := func(fn func(v *store.View) ([]metal.BMCAccount, error)) (got []string) {
		for _, a := range read(d, fn) {
			got = append(got, names[a.SystemID])
		}
		return got
	}
	d.same(find(func(v *store.View) ([]metal.BMCAccount, error) { return v.DueRotations(t0, 10) }), []string{"retiring", "setting"})
	d.same(find(func(v *store.View) ([]metal.BMCAccount, error) { return v.DueRotations(t0, 1) }), []string{"retiring"})
	d.same(find(func(v *store.View) ([]metal.BMCAccount, error) { return v.AgedBMCAccounts(t0, t0, 10) }), []string{"aged", "wanted"})
	d.same(find(func(v *store.View) ([]metal.BMCAccount, error) { return v.AgedBMCAccounts(time.Time{}, t0, 10) }), []string{"wanted"})
	d.same(find(func(v *store.View) ([]metal.BMCAccount, error) { return v.KeptTooLong(t0, 10) }), []string{"aged"})

	one := d.machine("bmc-"+metal.NewSystemID(), func(m *metal.Machine) {
		m.PowerType, m.PowerParameters = "ipmi", metal.PowerParameters{"power_address": "BMC_1.example:623", "power_user": `\"power_address":"other"`}
	})
	for address, want := range map[string]bool{"bmc_1.example:623": true, "BMC-1.example:623": false, "bmc_1.example:62": false, "other": false, "": false} {
		d.same(read(d, func(v *store.View) (bool, error) { return v.SharesBMC("another", "ipmi", address) }), want)
	}
	d.same(read(d, func(v *store.View) (bool, error) { return v.SharesBMC(one.SystemID, "ipmi", "bmc_1.example:623") }), false)
	d.same(read(d, func(v *store.View) (bool, error) { return v.SharesBMC("another", "webhook", "bmc_1.example:623") }), false)

	a := rows["setting"]
	a.State, a.Wanted = metal.RotationNone, true
	d.do(func(tx *store.Tx) error { b := a; return tx.PutBMCAccount(&b) })
	a.Revision++
	d.same(read(d, func(v *store.View) (metal.BMCAccount, error) { return v.BMCAccount(a.SystemID) }), a)
	m := read(d, func(v *store.View) (metal.Machine, error) { return v.Machine(a.SystemID) })
	d.do(func(tx *store.Tx) error { return tx.DeleteMachine(m) })
	d.same(read(d, func(v *store.View) (metal.BMCAccount, error) { return v.BMCAccount(a.SystemID) }), metal.BMCAccount{SystemID: a.SystemID})
}
