package store

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/detect"
)

// HostLogs is which logs of its host a controller reads, as it told last.
type HostLogs struct {
	Controller string
	Hostname   string
	At         time.Time
	Logs       []detect.LogState
}

// HostLogs lists them for the controllers that were not removed and told any.
func (v *View) HostLogs() ([]HostLogs, error) {
	return all(v, func(scan func(...any) error) (h HostLogs, err error) {
		var at int64
		var logs string
		if err = scan(&h.Controller, &h.Hostname, &at, &logs); err != nil {
			return h, err
		}
		h.At = fromMicros(at)
		if err = json.Unmarshal([]byte(logs), &h.Logs); err != nil {
			err = fmt.Errorf("cannot read the logs of controller %s: %w", h.Controller, err)
		}
		return h, err
	}, "SELECT l.controller, c.hostname, l.at, l.logs FROM host_logs l JOIN controllers c ON c.system_id = l.controller WHERE c.revoked = 0 ORDER BY c.created, c.system_id")
}

// SeeHostLogs stores which logs a controller reads: an observation.
func (t *Tx) SeeHostLogs(controller string, logs []detect.LogState, now time.Time) error {
	_, err := t.exec("INSERT INTO host_logs (controller, at, logs) VALUES (?, ?, ?) ON CONFLICT (controller) DO UPDATE SET at = excluded.at, logs = excluded.logs",
		controller, micros(now), toJSON(append([]detect.LogState{}, logs...)))
	return err
}

// MachinesAt finds the machines that have addresses: by what is configured, or by a lease that a rack gave and that has not ended. Their system ids by
// address. Whoever can send with a foreign address appears as its machine.
func (v *View) MachinesAt(rackID string, addresses []netip.Addr, now time.Time) (map[netip.Addr]string, error) {
	found := map[netip.Addr]string{}
	for list := range slices.Chunk(addresses, 100) {
		var texts []any
		for _, a := range list {
			texts = append(texts, addrText(a))
		}
		in := " IN (?" + strings.Repeat(", ?", len(list)-1) + ")"
		args := append(append(slices.Clone(texts), rackID, micros(now)), texts...)
		_, err := all(v, func(scan func(...any) error) (none struct{}, err error) {
			var ip, id string
			var leased int
			err = scan(&leased, &ip, &id)
			found[addr(ip)] = id // a lease comes last: it is what the machine has now
			return none, err
		}, "SELECT 0, ip, system_id FROM interfaces WHERE ip"+in+
			" UNION ALL SELECT 1, l.ip, i.system_id FROM leases l JOIN interfaces i ON i.mac = l.mac WHERE l.rack_id = ? AND l.expires > ? AND l.ip"+in+" ORDER BY 1, 3", args...)
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
