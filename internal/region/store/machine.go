package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

const machineCols = `id, system_id, hostname, description, owner, pool_id, zone_id, status, previous_status, locked, architecture, hardware_uuid,
	cpu_count, cpu_speed, memory, uefi, tpm, power_type, power_state, power_error, power_checked, power_plain, osystem, distro_series,
	boot_disk_id, agent_name, error_text, tags, rack_id, commissioned, created, updated, deadline, revision`

// selectMachines reads whole machines, which are in two tables: what is large is apart from what lists look through.
const selectMachines = "SELECT " + machineCols + ", hardware, owner_data FROM machines m JOIN machine_wide ON machine_id = m.id"

// machineSets is "system_id = ?, hostname = ?, …" for all but id and revision.
var machineSets = func() string {
	cols := strings.FieldsFunc(machineCols, func(r rune) bool { return strings.ContainsRune(", \n\t", r) })
	return strings.Join(cols[1:len(cols)-1], " = ?, ") + " = ?"
}()

func scanMachine(scan func(...any) error) (m metal.Machine, err error) {
	var hardware, plain, tags, data string
	var checked, created, updated, deadline int64
	err = scan(&m.ID, &m.SystemID, &m.Hostname, &m.Description, &m.Owner, &m.PoolID, &m.ZoneID, &m.Status, &m.PreviousStatus, &m.Locked,
		&m.Architecture, &m.HardwareUUID, &m.CPUCount, &m.CPUSpeedMHz, &m.MemoryMiB, &m.FirmwareUEFI, &m.TPM, &m.PowerType, &m.PowerState,
		&m.PowerError, &checked, &plain, &m.OSystem, &m.DistroSeries, &m.BootDiskID, &m.AgentName, &m.ErrorText, &tags, &m.RackID,
		&m.Commissioned, &created, &updated, &deadline, &m.Revision, &hardware, &data)
	if err != nil {
		return m, err
	}
	m.PowerChecked, m.Created, m.Updated, m.Deadline = fromMicros(checked), fromMicros(created), fromMicros(updated), fromMicros(deadline)
	for _, f := range []struct {
		text string
		into any
	}{{hardware, &m.Hardware}, {plain, &m.PowerParameters}, {tags, &m.Tags}, {data, &m.OwnerData}} {
		if f.text == "" || f.text == "null" {
			continue
		}
		if err := json.Unmarshal([]byte(f.text), f.into); err != nil {
			return m, fmt.Errorf("cannot read machine %s: %w", m.SystemID, err)
		}
	}
	return m, nil
}

// MachineTarget is a machine, with all that belongs to it, as the object of an action.
func MachineTarget(m metal.Machine) authz.Target {
	return authz.Target{Noun: authz.NounMachine, ID: m.SystemID, Pool: m.PoolID, Owner: m.Owner, Rack: m.RackID}
}

// Machine returns a machine. Kinds: NotFound.
func (v *View) Machine(systemID string) (metal.Machine, error) {
	return one(v, authz.NounMachine, scanMachine, selectMachines+" WHERE system_id = ?", systemID)
}

// MachineFor returns a machine that a principal may see. A machine that is hidden from a user is not found, by
// the same statement as one that does not exist. Kinds: NotFound.
func (v *View) MachineFor(p authz.Principal, systemID string) (metal.Machine, error) {
	if p.Kind != authz.User {
		return v.Machine(systemID)
	}
	cond, args := sight(authz.Machines(p, authz.MachineView), systemID)
	return one(v, authz.NounMachine, scanMachine, selectMachines+" WHERE "+cond, args...)
}

// sight selects the machine of an id if a filter lets it through. It takes the same path for one that is hidden and for one
// that is not there: the machine whose id comes next is read, from one index, put to the filter, and only then is asked
// whether it is the one.
func sight(f authz.MachineFilter, systemID string) (string, []any) {
	cond, args := permitted(f)
	if cond != "" {
		cond += " AND "
	}
	return `m.id IN (WITH m AS MATERIALIZED (SELECT id, system_id, pool_id, owner FROM machines WHERE system_id >= ? ORDER BY system_id LIMIT 1)
		SELECT m.id FROM m WHERE ` + cond + "m.system_id = ?)", slices.Concat([]any{systemID}, args, []any{systemID})
}

// MachineByMAC returns the machine with an interface of this address. Kinds: NotFound.
func (v *View) MachineByMAC(mac metal.MAC) (metal.Machine, error) {
	return one(v, authz.NounMachine, scanMachine, selectMachines+" WHERE system_id = (SELECT system_id FROM interfaces WHERE mac = ?)", string(mac))
}

// HostnameTaken reports whether another machine has the name.
func (v *View) HostnameTaken(name, butSystemID string) (bool, error) {
	var n int
	err := v.row("SELECT COUNT(*) FROM machines WHERE hostname = ? AND system_id <> ?", name, butSystemID).Scan(&n)
	return n > 0, err
}

// CountMachines counts the machines in a status.
func (v *View) CountMachines(s metal.Status) (n int, err error) {
	err = v.row("SELECT COUNT(*) FROM machines WHERE status = ?", int(s)).Scan(&n)
	return n, err
}

// StatusCount is how many machines are in a status.
type StatusCount struct {
	Status metal.Status
	Count  int
}

// CountByStatus counts the machines by status; statuses without any are left out.
func (v *View) CountByStatus() ([]StatusCount, error) {
	return all(v, func(scan func(...any) error) (c StatusCount, err error) {
		err = scan(&c.Status, &c.Count)
		return c, err
	}, "SELECT status, COUNT(*) FROM machines GROUP BY status ORDER BY status")
}

// MachineQuery selects machines. Zero fields select all.
type MachineQuery struct {
	Filter    authz.MachineFilter
	SystemIDs []string
	Hostnames []string
	MACs      []string
	Statuses  []metal.Status
	Zones     []string
	Pools     []string
	Owners    []string
	Arches    []string // "amd64" or "amd64/generic"
	Tags      []string // each must be present
	Power     []string
	AgentName string
	MinCPU    int
	MinMemory int64 // MiB
	IDs       []int64
	After     int64 // machines with higher ids only
	// Text finds machines whose name, MAC, owner or tag contains it.
	Text string
	// Brief leaves out hardware and owner data, which are large.
	Brief bool
	// NotZones … exclude.
	NotZones, NotPools, NotTags, NotSystemIDs, NotStatuses, NotOwners []string
	OrderBy                                                           string // a key of machineOrders; default id
	Descending                                                        bool
	Limit, Offset                                                     int
}

// machineOrders are the columns that a list may be sorted by.
var machineOrders = map[string]string{
	"": "m.id", "hostname": "m.hostname", "status": "m.status", "owner": "m.owner", "power": "m.power_state", "cpu": "m.cpu_count",
	"memory": "m.memory", "pool": "(SELECT name FROM pools WHERE id = m.pool_id)", "zone": "(SELECT name FROM zones WHERE id = m.zone_id)",
	"cost": "m.cpu_count, m.memory",
}

// permitted is MachineFilter.Match in SQL; empty when it leaves none out.
func permitted(f authz.MachineFilter) (string, []any) {
	if f.Any.All {
		return "", nil
	}
	or, args := []string{}, []any{}
	reach := func(s authz.PoolSet, who string, a ...any) {
		switch {
		case s.None():
			return
		case s.All:
			or = append(or, who)
		case who == "":
			or = append(or, "m.pool_id IN ("+marks(len(s.IDs))+")")
		default:
			or = append(or, who+" AND m.pool_id IN ("+marks(len(s.IDs))+")")
		}
		args = append(args, a...)
		if !s.All {
			for _, id := range s.IDs {
				args = append(args, id)
			}
		}
	}
	if f.Free.Equal(f.Own) && f.Owner != "" {
		reach(f.Free, "(m.owner = '' OR m.owner = ?)", f.Owner)
	} else {
		reach(f.Free, "m.owner = ''")
		reach(f.Own, "m.owner <> '' AND m.owner = ?", f.Owner)
	}
	reach(f.Any, "") // last: it may be long
	if len(or) == 0 {
		return "1 = 0", nil
	}
	return "(" + strings.Join(or, " OR ") + ")", args
}

// where renders the query's conditions over the table alias m.
func (q *MachineQuery) where() (string, []any) {
	var conds []string
	var args []any
	add := func(cond string, a ...any) { conds, args = append(conds, cond), append(args, a...) }
	ids := q.SystemIDs
	if len(ids) == 1 {
		cond, a := sight(q.Filter, ids[0])
		add(cond, a...)
		ids = nil
	} else if cond, a := permitted(q.Filter); cond != "" {
		add(cond, a...)
	}
	in := func(format string, vals []string) {
		if len(vals) == 0 {
			return
		}
		a := make([]any, len(vals))
		for i, s := range vals {
			a[i] = s
		}
		add(fmt.Sprintf(format, marks(len(vals))), a...)
	}
	in("m.system_id IN (%s)", ids)
	in("m.system_id NOT IN (%s)", q.NotSystemIDs)
	in("m.hostname IN (%s)", q.Hostnames)
	in("m.system_id IN (SELECT system_id FROM interfaces WHERE mac IN (%s))", q.MACs)
	in("m.zone_id IN (SELECT id FROM zones WHERE name IN (%s))", q.Zones)
	in("m.zone_id NOT IN (SELECT id FROM zones WHERE name IN (%s))", q.NotZones)
	in("m.pool_id IN (SELECT id FROM pools WHERE name IN (%s))", q.Pools)
	in("m.pool_id NOT IN (SELECT id FROM pools WHERE name IN (%s))", q.NotPools)
	in("m.owner IN (%s)", q.Owners)
	in("m.owner NOT IN (%s)", q.NotOwners)
	in("m.power_state IN (%s)", q.Power)
	if len(q.Arches) > 0 {
		var or []string
		var a []any
		for _, arch := range q.Arches {
			if !strings.Contains(arch, "/") {
				or, a = append(or, "m.architecture LIKE ? ESCAPE '\\'"), append(a, like(arch)+"/%")
			} else {
				or, a = append(or, "m.architecture = ?"), append(a, arch)
			}
		}
		add("("+strings.Join(or, " OR ")+")", a...)
	}
	for _, tag := range q.Tags {
		add("m.tags LIKE ? ESCAPE '\\'", "%"+like(toJSON(tag))+"%")
	}
	for _, tag := range q.NotTags {
		add("m.tags NOT LIKE ? ESCAPE '\\'", "%"+like(toJSON(tag))+"%")
	}
	if len(q.Statuses) > 0 {
		a := make([]any, len(q.Statuses))
		for i, s := range q.Statuses {
			a[i] = int(s)
		}
		add("m.status IN ("+marks(len(a))+")", a...)
	}
	for _, s := range q.NotStatuses {
		if st, ok := metal.ParseStatus(s); ok {
			add("m.status <> ?", int(st))
		}
	}
	if q.AgentName != "" {
		add("m.agent_name = ?", q.AgentName)
	}
	if q.MinCPU > 0 {
		add("m.cpu_count >= ?", q.MinCPU)
	}
	if q.MinMemory > 0 {
		add("m.memory >= ?", q.MinMemory)
	}
	if len(q.IDs) > 0 {
		a := make([]any, len(q.IDs))
		for i, id := range q.IDs {
			a[i] = id
		}
		add("m.id IN ("+marks(len(a))+")", a...)
	}
	if q.After > 0 {
		add("m.id > ?", q.After)
	}
	if q.Text != "" {
		pat := "%" + like(strings.ToLower(q.Text)) + "%"
		cond, a := `m.hostname ILIKE ? ESCAPE '\' OR m.owner ILIKE ? ESCAPE '\' OR m.tags ILIKE ? ESCAPE '\'`, []any{pat, pat, pat}
		if strings.Trim(strings.ToLower(q.Text), "0123456789abcdef:") == "" { // else it is in no MAC address
			cond, a = cond+` OR m.system_id IN (SELECT system_id FROM interfaces WHERE mac LIKE ? ESCAPE '\')`, append(a, pat)
		}
		add("("+cond+")", a...)
	}
	if len(conds) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(conds, " AND "), args
}

func (q *MachineQuery) tail() string {
	order, ok := machineOrders[q.OrderBy]
	if !ok {
		order = "m.id"
	}
	if q.Descending {
		order += " DESC"
	}
	s := " ORDER BY " + order + ", m.id"
	if q.OrderBy == "" {
		s = " ORDER BY " + order
	}
	if q.Limit > 0 {
		s += fmt.Sprintf(" LIMIT %d OFFSET %d", q.Limit, q.Offset)
	}
	return s
}

// like escapes LIKE's wildcards.
func like(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

// Machines lists machines, without what belongs to them.
func (v *View) Machines(q MachineQuery) ([]metal.Machine, error) {
	from := selectMachines
	if q.Brief {
		from = "SELECT " + machineCols + ", '', '' FROM machines m"
	}
	where, args := q.where()
	if q.Limit == 0 {
		return all(v, scanMachine, from+where+q.tail(), args...)
	}
	// A page is chosen by id first: sorting ids is cheap, sorting wide rows is not.
	page := "SELECT m.id FROM machines m" + q.scan() + where + q.tail()
	q.Limit, q.Offset = 0, 0
	return all(v, scanMachine, from+" WHERE m.id IN ("+page+")"+q.tail(), args...)
}

// CountMatching counts the machines that a query selects, whatever its limit.
func (v *View) CountMatching(q MachineQuery) (n int, err error) {
	where, args := q.where()
	scan := q.scan()
	if scan != "" && q.unfiltered() {
		scan = " INDEXED BY machines_pool" // who may see what follows from it alone
	}
	err = v.row("SELECT COUNT(*) FROM machines m"+scan+where, args...).Scan(&n)
	return n, err
}

// scan tells SQLite how to walk through a list for one page of it. The list as it opens is walked by name, in an index
// that knows who may see what. A list that filters loosely and sorts by any column is read from the table: a walk through
// an index would cost a look-up for each of most machines, several times as much.
func (q *MachineQuery) scan() string {
	switch {
	case !q.Brief || q.Limit == 0 || len(q.SystemIDs)+len(q.Hostnames)+len(q.MACs)+len(q.IDs) > 0:
		return ""
	case q.OrderBy == "hostname" && q.unfiltered():
		return " INDEXED BY machines_by_name"
	}
	return " NOT INDEXED"
}

// unfiltered reports whether a query asks for all that its filter lets through.
func (q *MachineQuery) unfiltered() bool {
	all := *q
	all.Filter = authz.AllMachines
	where, _ := all.where()
	return where == ""
}

// OverdueMachines lists the machines whose working status has passed its deadline.
func (v *View) OverdueMachines(now time.Time) ([]metal.Machine, error) {
	return all(v, scanMachine, selectMachines+" WHERE deadline > 0 AND deadline < ? ORDER BY id LIMIT 1000", micros(now))
}

// DueForPowerQuery lists machines with a BMC that was last asked before a moment, the longest ago first.
func (v *View) DueForPowerQuery(before time.Time, limit int) ([]metal.Machine, error) {
	return all(v, scanMachine, selectMachines+" WHERE power_type NOT IN ('', 'manual') AND power_checked < ? ORDER BY power_checked, id LIMIT ?",
		micros(before), limit)
}

func machineArgs(m metal.Machine) []any {
	tags := m.Tags
	if tags == nil {
		tags = []string{}
	}
	return []any{m.SystemID, m.Hostname, m.Description, m.Owner, m.PoolID, m.ZoneID, int(m.Status), int(m.PreviousStatus), bit(m.Locked), m.Architecture,
		m.HardwareUUID, m.CPUCount, m.CPUSpeedMHz, m.MemoryMiB, bit(m.FirmwareUEFI), m.TPM, m.PowerType, string(m.PowerState),
		m.PowerError, micros(m.PowerChecked), toJSON(m.PowerParameters), m.OSystem, m.DistroSeries, m.BootDiskID, m.AgentName, m.ErrorText, toJSON(tags),
		m.RackID, bit(m.Commissioned), micros(m.Created), micros(m.Updated), micros(m.Deadline)}
}

// AddMachine inserts a machine and sets its ID. Kinds: Conflict when the host name is taken.
func (t *Tx) AddMachine(m *metal.Machine) (err error) {
	t.touch(MachineTarget(*m), true)
	m.Revision = 1
	cols := strings.TrimPrefix(machineCols, "id, ")
	args := append(machineArgs(*m), m.Revision)
	m.ID, err = t.insert("INSERT INTO machines ("+cols+") VALUES ("+marks(len(args))+")", args...)
	if err == nil {
		_, err = t.exec("INSERT INTO machine_wide (machine_id, hardware, owner_data) VALUES (?, ?, ?)", m.ID, toJSON(m.Hardware), toJSON(m.OwnerData))
	}
	t.know(m.SystemID, true, err)
	return err
}

// PutMachine updates a machine and counts its revision up. The machine as it was is touched too, so a move
// between pools needs rights on both.
func (t *Tx) PutMachine(m metal.Machine) error {
	if err := t.touchMachine(m.SystemID); err != nil {
		return err
	}
	t.touch(MachineTarget(m), false)
	_, err := t.exec("UPDATE machines SET "+machineSets+", revision = revision + 1 WHERE id = ?", append(machineArgs(m), m.ID)...)
	t.know(m.SystemID, true, err)
	if err == nil { // most changes leave the large ones alone: comparing costs less than writing
		h, d := toJSON(m.Hardware), toJSON(m.OwnerData)
		_, err = t.exec("UPDATE machine_wide SET hardware = ?, owner_data = ? WHERE machine_id = ? AND (hardware <> ? OR owner_data <> ?)", h, d, m.ID, h, d)
	}
	return err
}

func (t *Tx) know(systemID string, bumped bool, err error) {
	if t.known == nil {
		t.known = map[string]bool{}
	}
	if err == nil {
		t.known[systemID] = bumped
	}
}

// touchMachine records a change of something that belongs to a machine. Whatever writes a machine's pool, owner or
// rack says so with know, so the machine as it is now was touched if it is known.
func (t *Tx) touchMachine(systemID string) error {
	if _, ok := t.known[systemID]; ok {
		return nil
	}
	target := authz.Target{Noun: authz.NounMachine, ID: systemID}
	err := t.row("SELECT pool_id, owner, rack_id FROM machines WHERE system_id = ?", systemID).Scan(&target.Pool, &target.Owner, &target.Rack)
	if err != nil {
		return fmt.Errorf("cannot find machine %s: %w", systemID, err)
	}
	t.touch(target, false)
	t.know(systemID, false, nil)
	return nil
}

// bump counts a machine's revision up, because something shown with it changed: once in a transaction.
func (t *Tx) bump(systemID string) error {
	if t.known[systemID] {
		return nil
	}
	_, err := t.exec("UPDATE machines SET revision = revision + 1 WHERE system_id = ?", systemID)
	t.know(systemID, true, err)
	return err
}

// SetPower records a BMC's answer: an observation. The rendered text has a slot for it, so the revision stays.
func (t *Tx) SetPower(systemID string, state metal.PowerState, problem string, now time.Time) error {
	_, err := t.exec("UPDATE machines SET power_state = ?, power_error = ?, power_checked = ? WHERE system_id = ?", string(state), problem, micros(now), systemID)
	return err
}

// DeleteMachine deletes a machine with all that belongs to it.
func (t *Tx) DeleteMachine(m metal.Machine) error {
	t.touch(MachineTarget(m), false)
	delete(t.known, m.SystemID)
	for _, q := range []string{"DELETE FROM commands WHERE system_id = ?", "DELETE FROM boots WHERE system_id = ?", "DELETE FROM events WHERE system_id = ?",
		"DELETE FROM machines WHERE system_id = ?"} {
		if _, err := t.exec(q, m.SystemID); err != nil {
			return err
		}
	}
	_, err := t.exec("DELETE FROM secrets WHERE ref LIKE ? ESCAPE '\\'", "machine/"+like(m.SystemID)+"/%")
	return err
}

// interfaceDetails is what an interface's row keeps as JSON.
type interfaceDetails struct {
	Enabled                                  bool
	Driver, Vendor, Product, FirmwareVersion string
	LinkUp                                   bool
	SpeedMbps, LinkSpeedMbps, MTU, NUMANode  int
}

const interfaceCols = "id, system_id, name, mac, vlan_id, boot, ip, subnet_id, details"

func scanInterface(scan func(...any) error) (i metal.Interface, err error) {
	var ip, details string
	if err = scan(&i.ID, &i.SystemID, &i.Name, &i.MAC, &i.VLANID, &i.Boot, &ip, &i.SubnetID, &details); err != nil {
		return i, err
	}
	i.IP = addr(ip)
	var d interfaceDetails
	err = json.Unmarshal([]byte(details), &d)
	i.Enabled, i.Driver, i.Vendor, i.Product, i.FirmwareVersion = d.Enabled, d.Driver, d.Vendor, d.Product, d.FirmwareVersion
	i.LinkUp, i.SpeedMbps, i.LinkSpeedMbps, i.MTU, i.NUMANode = d.LinkUp, d.SpeedMbps, d.LinkSpeedMbps, d.MTU, d.NUMANode
	return i, err
}

// Interfaces lists the interfaces of machines, in order of machine and name; of all machines if none is named.
func (v *View) Interfaces(systemIDs ...string) ([]metal.Interface, error) {
	q, args := inMachines("SELECT "+interfaceCols+" FROM interfaces", systemIDs)
	return all(v, scanInterface, q+" ORDER BY system_id, id", args...)
}

// InterfaceByMAC returns the interface with an address. Kinds: NotFound of a machine.
func (v *View) InterfaceByMAC(mac metal.MAC) (metal.Interface, error) {
	return one(v, authz.NounMachine, scanInterface, "SELECT "+interfaceCols+" FROM interfaces WHERE mac = ?", string(mac))
}

func inMachines(q string, systemIDs []string) (string, []any) {
	if len(systemIDs) == 0 {
		return q, nil
	}
	args := make([]any, len(systemIDs))
	for i, s := range systemIDs {
		args[i] = s
	}
	return q + " WHERE system_id IN (" + marks(len(args)) + ")", args
}

// PutInterface inserts an interface (ID 0) or updates it. Kinds: Conflict when another interface has the address.
func (t *Tx) PutInterface(i *metal.Interface) error {
	if err := t.touchMachine(i.SystemID); err != nil {
		return err
	}
	d := toJSON(interfaceDetails{i.Enabled, i.Driver, i.Vendor, i.Product, i.FirmwareVersion, i.LinkUp, i.SpeedMbps, i.LinkSpeedMbps, i.MTU, i.NUMANode})
	args := []any{i.SystemID, i.Name, string(i.MAC), i.VLANID, bit(i.Boot), addrText(i.IP), i.SubnetID, d}
	var err error
	if i.ID == 0 {
		i.ID, err = t.insert("INSERT INTO interfaces (system_id, name, mac, vlan_id, boot, ip, subnet_id, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", args...)
	} else {
		_, err = t.exec("UPDATE interfaces SET system_id = ?, name = ?, mac = ?, vlan_id = ?, boot = ?, ip = ?, subnet_id = ?, details = ? WHERE id = ?", append(args, i.ID)...)
	}
	if err != nil {
		return err
	}
	return t.bump(i.SystemID)
}

// DeleteInterface deletes an interface.
func (t *Tx) DeleteInterface(i metal.Interface) error {
	if err := t.touchMachine(i.SystemID); err != nil {
		return err
	}
	if _, err := t.exec("DELETE FROM interfaces WHERE id = ?", i.ID); err != nil {
		return err
	}
	return t.bump(i.SystemID)
}

type diskDetails struct {
	IDPath, FirmwareVersion string
	BlockSize, NUMANode     int
	Rotational              bool
	Tags                    []string
}

func scanDisk(scan func(...any) error) (b metal.BlockDevice, err error) {
	var details string
	if err = scan(&b.ID, &b.SystemID, &b.Name, &b.Model, &b.Serial, &b.SizeBytes, &details); err != nil {
		return b, err
	}
	var d diskDetails
	err = json.Unmarshal([]byte(details), &d)
	b.IDPath, b.FirmwareVersion, b.BlockSize, b.NUMANode, b.Rotational, b.Tags = d.IDPath, d.FirmwareVersion, d.BlockSize, d.NUMANode, d.Rotational, d.Tags
	return b, err
}

// BlockDevices lists the disks of machines, in order of machine and id; of all machines if none is named.
func (v *View) BlockDevices(systemIDs ...string) ([]metal.BlockDevice, error) {
	q, args := inMachines("SELECT id, system_id, name, model, serial, size, details FROM block_devices", systemIDs)
	return all(v, scanDisk, q+" ORDER BY system_id, id", args...)
}

// PutBlockDevice inserts a disk (ID 0) or updates it.
func (t *Tx) PutBlockDevice(b *metal.BlockDevice) error {
	if err := t.touchMachine(b.SystemID); err != nil {
		return err
	}
	d := toJSON(diskDetails{b.IDPath, b.FirmwareVersion, b.BlockSize, b.NUMANode, b.Rotational, b.Tags})
	args := []any{b.SystemID, b.Name, b.Model, b.Serial, b.SizeBytes, d}
	var err error
	if b.ID == 0 {
		b.ID, err = t.insert("INSERT INTO block_devices (system_id, name, model, serial, size, details) VALUES (?, ?, ?, ?, ?, ?)", args...)
	} else {
		_, err = t.exec("UPDATE block_devices SET system_id = ?, name = ?, model = ?, serial = ?, size = ?, details = ? WHERE id = ?", append(args, b.ID)...)
	}
	if err != nil {
		return err
	}
	return t.bump(b.SystemID)
}

// DeleteBlockDevice deletes a disk that is gone from its machine.
func (t *Tx) DeleteBlockDevice(b metal.BlockDevice) error {
	if err := t.touchMachine(b.SystemID); err != nil {
		return err
	}
	if _, err := t.exec("DELETE FROM block_devices WHERE id = ?", b.ID); err != nil {
		return err
	}
	return t.bump(b.SystemID)
}
