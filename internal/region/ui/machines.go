package ui

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/store"
)

const pageSize = 50

// machineLine is a row of the list.
type machineLine struct {
	metal.Machine
	Pool, Zone string
	BootMAC    metal.MAC
	NICs       int
	Disks      int
	DiskBytes  int64
	Stage      machines.Stage
	Working    bool
}

// column is a heading that sorts.
type column struct {
	Key, Label string
	Number     bool
	Href       string
	Sorted     string // "ascending", "descending" or "": aria-sort
}

type machinesData struct {
	Lines             []machineLine
	Columns           []column
	Statuses          []metal.Status
	Text, Status      string
	Sort, Dir         string
	Total, From, To   int
	Prev, Next, Clear string
	Filtered          bool
}

var machineColumns = []column{{Key: "hostname", Label: "Machine"}, {Key: "status", Label: "Status"}, {Key: "power", Label: "Power"}, {Key: "owner", Label: "Owner"},
	{Key: "pool", Label: "Pool"}, {Key: "zone", Label: "Zone"}, {Key: "cpu", Label: "CPUs", Number: true}, {Key: "memory", Label: "Memory", Number: true},
	{Label: "Disks", Number: true}, {Label: "Tags"}}

// allStatuses are what the filter offers: those that the life cycle uses so far.
var allStatuses = []metal.Status{metal.New, metal.Commissioning, metal.FailedCommissioning, metal.Ready, metal.Allocated, metal.Deploying, metal.Deployed,
	metal.FailedDeployment, metal.Releasing, metal.FailedReleasing, metal.DiskErasing, metal.FailedDiskErasing, metal.Broken}

func (q *request) machines() error {
	in := q.http.URL.Query()
	d := machinesData{Statuses: allStatuses, Text: metal.Printable(in.Get("q"), 128), Status: in.Get("status"), Sort: in.Get("sort"), Dir: in.Get("dir")}
	offset, _ := strconv.Atoi(in.Get("offset"))
	offset = min(max(0, offset), 1<<30) / pageSize * pageSize
	query := store.MachineQuery{Brief: true, Text: d.Text, OrderBy: "hostname", Limit: pageSize, Offset: offset, Descending: d.Dir == "desc"}
	if i := slices.IndexFunc(machineColumns, func(c column) bool { return c.Key == d.Sort }); i >= 0 && d.Sort != "" {
		query.OrderBy = d.Sort
	} else {
		d.Sort = "hostname"
	}
	if st, ok := metal.ParseStatus(d.Status); ok && d.Status != "" {
		query.Statuses = []metal.Status{st}
	} else {
		d.Status = ""
	}
	list, total, err := q.ui.Machines.List(q.http.Context(), query)
	if err != nil {
		return err
	}
	if d.Lines, err = q.lines(list); err != nil {
		return err
	}
	d.Total, d.From, d.To = total, offset+1, offset+len(list)
	d.Filtered, d.Clear = d.Text != "" || d.Status != "", "/machines"
	d.links(offset)
	return q.show("machines", "Machines", d)
}

// links fills in the addresses of the headings and of the neighbouring pages.
func (d *machinesData) links(offset int) {
	href := func(sort, dir string, offset int) string {
		v := url.Values{}
		for name, value := range map[string]string{"q": d.Text, "status": d.Status, "sort": sort, "dir": dir} {
			if value != "" {
				v.Set(name, value)
			}
		}
		if offset > 0 {
			v.Set("offset", strconv.Itoa(offset))
		}
		if len(v) == 0 {
			return "/machines"
		}
		return "/machines?" + v.Encode()
	}
	d.Columns = slices.Clone(machineColumns)
	for i := range d.Columns {
		c := &d.Columns[i]
		if c.Key == "" {
			continue
		}
		dir := ""
		if c.Key == d.Sort {
			c.Sorted, dir = "ascending", "desc"
			if d.Dir == "desc" {
				c.Sorted, dir = "descending", ""
			}
		}
		c.Href = href(c.Key, dir, 0)
	}
	if offset > 0 {
		d.Prev = href(d.Sort, d.Dir, max(0, offset-pageSize))
	}
	if d.To < d.Total {
		d.Next = href(d.Sort, d.Dir, offset+pageSize)
	}
}

// lines adds to machines what the list shows of their neighbours, in a fixed number of queries. The machines
// must be ones that the caller may see.
func (q *request) lines(list []metal.Machine) ([]machineLine, error) {
	if len(list) == 0 {
		return nil, nil // no ids would select everybody's interfaces
	}
	out, at, ids := make([]machineLine, len(list)), map[string]*machineLine{}, make([]string, len(list))
	for i, m := range list {
		out[i].Machine = m
		out[i].Stage, out[i].Working = q.ui.Machines.Stage(m.SystemID)
		at[m.SystemID], ids[i] = &out[i], m.SystemID
	}
	err := q.ui.Gate.View(q.http.Context(), authz.MachineView, func(v *gate.Viewing) error {
		nics, err := v.Interfaces(ids...)
		if err != nil {
			return err
		}
		for _, n := range nics {
			l := at[n.SystemID]
			l.NICs++
			if l.BootMAC == "" || n.Boot {
				l.BootMAC = n.MAC
			}
		}
		disks, err := v.BlockDevices(ids...)
		if err != nil {
			return err
		}
		for _, b := range disks {
			at[b.SystemID].Disks++
			at[b.SystemID].DiskBytes += b.SizeBytes
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	pools, zones, err := q.places()
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].Pool, out[i].Zone = poolName(pools, out[i].PoolID), zoneName(zones, out[i].ZoneID)
	}
	return out, nil
}

// places reads the pools and zones.
func (q *request) places() (pools []metal.ResourcePool, zones []metal.Zone, err error) {
	err = q.ui.Gate.View(q.http.Context(), authz.PoolView, func(v *gate.Viewing) (err error) {
		pools, err = v.PoolsIn(authz.Pools(v.Principal()))
		return err
	})
	if err != nil || !authz.May(q.who, authz.ZoneView) {
		return pools, nil, err
	}
	err = q.ui.Gate.View(q.http.Context(), authz.ZoneView, func(v *gate.Viewing) (err error) { zones, err = v.Zones(); return err })
	return pools, zones, err
}

func poolName(pools []metal.ResourcePool, id int64) string {
	if i := slices.IndexFunc(pools, func(p metal.ResourcePool) bool { return p.ID == id }); i >= 0 {
		return pools[i].Name
	}
	return ""
}

func zoneName(zones []metal.Zone, id int64) string {
	if i := slices.IndexFunc(zones, func(z metal.Zone) bool { return z.ID == id }); i >= 0 {
		return zones[i].Name
	}
	return ""
}

// machineRow is one row of the list again, after a change.
func (q *request) machineRow() error {
	d, err := q.ui.Machines.Get(q.http.Context(), q.http.PathValue("id"))
	if err != nil {
		return err
	}
	lines, err := q.lines([]metal.Machine{d.Machine})
	if err != nil {
		return err
	}
	return q.fragment("machines", "one", lines[0])
}

// machineForm is what the forms for a new machine and for an existing one offer.
type machineForm struct {
	Machine    metal.Machine // zero for a new one
	Pool, Zone string
	Pools      []metal.ResourcePool
	Zones      []metal.Zone
	PowerTypes []metal.PowerType
	Parameters metal.PowerParameters
	Set        map[string]bool // secret parameters that have a value: their names, never the values
}

func (q *request) machineForm() (d machineForm, err error) {
	d.PowerTypes, d.Pool, d.Zone = metal.PowerTypes, "default", "default"
	d.Pools, d.Zones, err = q.places()
	return d, err
}

func (q *request) newMachine() error {
	d, err := q.machineForm()
	if err != nil {
		return err
	}
	return q.show("machine_new", "Add machine", d)
}

// sentMachine reads the fields that both forms have. Inputs of other power types than the chosen one are left
// out: without JavaScript the form has them all.
func (q *request) sentMachine() machines.NewMachine {
	text := func(name string) *string { v := q.get(name); return &v }
	n := machines.NewMachine{Hostname: text("hostname"), Description: text("description"), Pool: text("pool"), Zone: text("zone"), PowerType: text("power_type")}
	t, ok := metal.FindPowerType(*n.PowerType)
	if !ok {
		return n
	}
	n.PowerParameters = metal.PowerParameters{}
	for _, f := range t.Fields {
		value := q.form.Get(t.Name + "_power_parameters_" + f.Name)
		if f.Secret && value == "" {
			continue // left empty: keeps what it was
		}
		n.PowerParameters[f.Name] = value
	}
	return n
}

func (q *request) createMachine() error {
	n := q.sentMachine()
	arch := "amd64/generic"
	n.Architecture, n.MACs = &arch, strings.Fields(q.form.Get("mac_addresses"))
	m, err := q.ui.Machines.Create(q.http.Context(), n)
	if err != nil {
		d, formErr := q.machineForm()
		if formErr != nil {
			return formErr
		}
		return q.again(err, "machine_new", "Add machine", d)
	}
	if q.form.Has("commission") { // a step of its own: if it cannot start, the machine is there all the same
		if _, err := q.ui.Machines.Commission(q.http.Context(), m.SystemID, ""); err != nil {
			return q.machineAgain(m.SystemID, err)
		}
	}
	return q.redirect("/machines/"+m.SystemID, "created")
}
