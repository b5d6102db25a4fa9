package metal

import (
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// NodeType tells the kinds of nodes apart. Source: MAAS API 2.0, node_type.
type NodeType int

// The node types, with MAAS's numbers.
const (
	NodeMachine          NodeType = 0
	NodeDevice           NodeType = 1
	NodeRackController   NodeType = 2
	NodeRegionController NodeType = 3
	NodeRegionAndRack    NodeType = 4
)

// String returns MAAS's node_type_name.
func (t NodeType) String() string {
	return [...]string{"Machine", "Device", "Rack controller", "Region controller", "Region and rack controller"}[t]
}

// Machine is a server that Metalward commissions and deploys. Its interfaces, disks and hardware details are
// nouns of their own, kept beside it.
type Machine struct {
	ID          int64 // internal number, for joins and order
	SystemID    string
	Hostname    string
	Description string
	Owner       string // user name; empty when nobody's
	PoolID      int64
	ZoneID      int64
	Status      Status
	// PreviousStatus is where an aborted or failed working status goes back to.
	PreviousStatus Status
	Locked         bool

	Architecture string // "amd64/generic"
	HardwareUUID string // from the firmware, lower case; empty when unknown
	CPUCount     int
	CPUSpeedMHz  int
	MemoryMiB    int64
	FirmwareUEFI bool // boot mode last seen
	TPM          string
	Hardware     HardwareInfo

	PowerType string // empty until known
	// PowerParameters are those that are not secret; the secret ones are sealed in the store.
	PowerParameters PowerParameters
	PowerState      PowerState
	PowerChecked    time.Time // when a BMC last answered or failed to
	RackID          string    // the rack that serves it: set when it boots on that rack's VLAN
	// PowerError is what the last power command or query complained about; empty when it worked.
	PowerError string

	OSystem      string // "" unless deploying or deployed
	DistroSeries string
	BootDiskID   int64
	AgentName    string
	ErrorText    string // MAAS's error_description: why the last stage failed
	Tags         []string
	OwnerData    map[string]string
	Created      time.Time
	Updated      time.Time
	Deadline     time.Time // when the working status fails by itself; zero when none
	Revision     int64     // counts changes of anything shown in the machine's API form
	Commissioned bool      // true once commissioning has passed: a release then ends in Ready, else in New
}

// HardwareInfo is what the firmware says of itself, from DMI. Empty fields show as Unknown.
// Source: DMTF DSP0134 (SMBIOS); names are MAAS's hardware_info keys.
type HardwareInfo struct {
	SystemVendor, SystemProduct, SystemFamily, SystemVersion, SystemSKU, SystemSerial string
	CPUModel                                                                          string
	MainboardVendor, MainboardProduct, MainboardSerial, MainboardVersion              string
	MainboardFirmwareVendor, MainboardFirmwareDate, MainboardFirmwareVersion          string
	ChassisVendor, ChassisType, ChassisSerial, ChassisVersion                         string
}

// Move changes the status along the life cycle and sets the deadline of a working status (zero for none).
// A move to the same status is a no-op. Kinds: Conflict for a move that the life cycle does not have.
func (m *Machine) Move(to Status, now, deadline time.Time) error {
	if m.Status == to {
		return nil
	}
	if !CanMove(m.Status, to) {
		return errMove(m.Status, to)
	}
	m.PreviousStatus, m.Status, m.Updated, m.Deadline = m.Status, to, now, deadline
	return nil
}

// Allocate gives a Ready machine to a user. Kinds: Conflict.
func (m *Machine) Allocate(user string, now time.Time) error {
	if m.Status != Ready {
		return fault.New(fault.Conflict, "Machine %s is %s; only a Ready machine can be allocated.", m.Hostname, m.Status)
	}
	if err := m.Move(Allocated, now, time.Time{}); err != nil {
		return err
	}
	m.Owner, m.ErrorText = user, ""
	return nil
}

// StartCommissioning begins commissioning. Kinds: Invalid for a status in which MAAS refuses it.
func (m *Machine) StartCommissioning(user string, now, deadline time.Time) error {
	switch m.Status {
	case New, FailedCommissioning, Ready, Broken:
	default:
		return &fault.Error{Kind: fault.Invalid, Fields: map[string][]string{"__all__": {
			"Cannot commission a machine that is " + m.Status.String() + "; release or abort it first."}}}
	}
	if err := m.Move(Commissioning, now, deadline); err != nil {
		return err
	}
	m.Owner, m.ErrorText = user, ""
	return nil
}

// StartDeploying begins a deployment by the machine's owner. Kinds: Conflict.
func (m *Machine) StartDeploying(osystem, series string, now, deadline time.Time) error {
	if m.Status != Allocated {
		return fault.New(fault.Conflict, "Can't deploy a machine that is in the '%s' state", m.Status)
	}
	if err := m.Move(Deploying, now, deadline); err != nil {
		return err
	}
	m.OSystem, m.DistroSeries, m.ErrorText = osystem, series, ""
	return nil
}

// Releasable reports whether a release changes anything; Ready and Releasing machines are a no-op.
// Kinds: Conflict where MAAS refuses.
func (m *Machine) Releasable() (bool, error) {
	switch m.Status {
	case Allocated, Reserved, Broken, Deploying, Deployed, FailedDeployment, FailedReleasing, FailedDiskErasing:
		return true, nil
	case Ready, Releasing, DiskErasing:
		return false, nil
	default:
		return false, fault.New(fault.Conflict, "Machine %s cannot be released in its current state ('%s').", m.Hostname, m.Status)
	}
}

// FinishRelease returns the machine to the stock: Ready, or New when it never passed commissioning.
func (m *Machine) FinishRelease(now time.Time) error {
	to := Ready
	if !m.Commissioned {
		to = New
	}
	if err := m.Move(to, now, time.Time{}); err != nil {
		return err
	}
	m.Owner, m.AgentName, m.OSystem, m.DistroSeries, m.ErrorText, m.OwnerData = "", "", "", "", "", nil
	return nil
}

// Fail ends a working status in its failure status, with the reason shown to users. It does nothing when the
// machine is not working on anything.
func (m *Machine) Fail(reason string, now time.Time) (bool, error) {
	to, ok := m.Status.Failed()
	if !ok {
		return false, nil
	}
	if err := m.Move(to, now, time.Time{}); err != nil {
		return false, err
	}
	m.ErrorText = reason
	return true, nil
}

// Abort ends a working status at a user's wish. Kinds: Conflict when nothing can be aborted.
func (m *Machine) Abort(now time.Time) error {
	to, ok := map[Status]Status{Commissioning: New, Deploying: Allocated, DiskErasing: FailedDiskErasing, Testing: m.PreviousStatus}[m.Status]
	if !ok {
		return fault.New(fault.Conflict, "Cannot abort in the '%s' state.", m.Status)
	}
	if to == New && m.Commissioned {
		m.Commissioned = false
	}
	if err := m.Move(to, now, time.Time{}); err != nil {
		return err
	}
	if to == New {
		m.Owner = ""
	}
	if to == Allocated {
		m.OSystem, m.DistroSeries = "", ""
	}
	return nil
}

// FQDN is the machine's name in the default domain.
func (m *Machine) FQDN() string { return m.Hostname + "." + DefaultDomain }

// DefaultDomain is the domain machines belong to until DNS domains are managed. Source: MAAS's default.
const DefaultDomain = "maas"

// Arch is the architecture without its sub-architecture: "amd64" of "amd64/generic".
func (m *Machine) Arch() string { a, _, _ := strings.Cut(m.Architecture, "/"); return a }

// ParseArchitecture reads "amd64" or "amd64/generic" into the full form. Kinds: Invalid on "architecture".
func ParseArchitecture(arch, sub string) (string, error) {
	a, s, ok := strings.Cut(strings.TrimSpace(arch), "/")
	if !ok {
		s = sub
	}
	if s == "" {
		s = "generic"
	}
	if a != "amd64" || s != "generic" {
		return "", fault.Field("architecture", "'%s' is not a valid architecture. It should be one of: 'amd64/generic'.", clip(arch))
	}
	return a + "/" + s, nil
}
