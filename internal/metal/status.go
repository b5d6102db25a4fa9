package metal

import (
	"slices"

	"github.com/metalward/metalward/internal/fault"
)

// Status is a machine's place in its life cycle. Numbers and labels are part of MAAS API 2.0: clients poll
// the label. Source: MAAS API 2.0, node status enumeration.
type Status int

// The statuses, with MAAS's numbers.
const (
	New                 Status = 0
	Commissioning       Status = 1
	FailedCommissioning Status = 2
	Missing             Status = 3
	Ready               Status = 4
	Reserved            Status = 5
	Deployed            Status = 6
	Retired             Status = 7
	Broken              Status = 8
	Deploying           Status = 9
	Allocated           Status = 10
	FailedDeployment    Status = 11
	Releasing           Status = 12
	FailedReleasing     Status = 13
	DiskErasing         Status = 14
	FailedDiskErasing   Status = 15
	RescueMode          Status = 16
	EnteringRescueMode  Status = 17
	FailedEnteringMode  Status = 18
	ExitingRescueMode   Status = 19
	FailedExitingMode   Status = 20
	Testing             Status = 21
	FailedTesting       Status = 22
)

// statuses is indexed by Status: MAAS's label, and the lower-case constant name used by list filters.
var statuses = [...]struct{ label, constant string }{
	{"New", "new"}, {"Commissioning", "commissioning"}, {"Failed commissioning", "failed_commissioning"},
	{"Missing", "missing"}, {"Ready", "ready"}, {"Reserved", "reserved"}, {"Deployed", "deployed"},
	{"Retired", "retired"}, {"Broken", "broken"}, {"Deploying", "deploying"}, {"Allocated", "allocated"},
	{"Failed deployment", "failed_deployment"}, {"Releasing", "releasing"}, {"Releasing failed", "failed_releasing"},
	{"Disk erasing", "disk_erasing"}, {"Failed disk erasing", "failed_disk_erasing"}, {"Rescue mode", "rescue_mode"},
	{"Entering rescue mode", "entering_rescue_mode"}, {"Failed to enter rescue mode", "failed_entering_rescue_mode"},
	{"Exiting rescue mode", "exiting_rescue_mode"}, {"Failed to exit rescue mode", "failed_exiting_rescue_mode"},
	{"Testing", "testing"}, {"Failed testing", "failed_testing"},
}

// String returns MAAS's label, such as "Ready" or "Releasing failed".
func (s Status) String() string {
	if s < 0 || int(s) >= len(statuses) {
		return "Unknown"
	}
	return statuses[s].label
}

// Constant returns the lower-case name that list filters use, such as "failed_testing".
func (s Status) Constant() string {
	if s < 0 || int(s) >= len(statuses) {
		return ""
	}
	return statuses[s].constant
}

// ParseStatus finds a status by its filter name.
func ParseStatus(constant string) (Status, bool) {
	i := slices.IndexFunc(statuses[:], func(e struct{ label, constant string }) bool { return e.constant == constant })
	return Status(i), i >= 0
}

// moves is the life cycle: from each status, the statuses that may follow. The part of MAAS's table that
// Metalward's operations use so far; a move outside it is a Conflict.
// Source: MAAS API 2.0, node status transitions.
var moves = map[Status][]Status{
	New:                 {Commissioning, Testing, Missing, Ready, Retired, Broken, EnteringRescueMode},
	Commissioning:       {FailedCommissioning, Ready, Retired, Missing, New, Broken, Testing},
	FailedCommissioning: {Commissioning, Missing, Retired, Broken, EnteringRescueMode, Testing},
	Ready:               {EnteringRescueMode, Commissioning, Allocated, Reserved, Retired, Missing, Broken, Testing},
	Reserved:            {Ready, Allocated, Retired, Missing, Broken, DiskErasing, Releasing, EnteringRescueMode, Testing},
	Allocated:           {Ready, Retired, Missing, Broken, Deploying, DiskErasing, Releasing, EnteringRescueMode, Testing},
	Deploying:           {Allocated, Missing, Broken, FailedDeployment, Deployed, Ready, DiskErasing, Releasing},
	FailedDeployment:    {Allocated, Missing, Broken, Ready, DiskErasing, Releasing, EnteringRescueMode, Testing},
	Deployed:            {Allocated, Missing, Broken, Ready, DiskErasing, Releasing, EnteringRescueMode, Testing},
	Releasing:           {New, Allocated, Reserved, Deployed, Ready, Broken, Missing, FailedDeployment, FailedDiskErasing, FailedReleasing},
	FailedReleasing:     {Releasing, DiskErasing, Ready, Broken, Testing},
	DiskErasing:         {Broken, FailedDiskErasing, Ready, Releasing},
	FailedDiskErasing:   {DiskErasing, Releasing, Broken, Allocated, Ready, EnteringRescueMode, Testing},
	Broken:              {Commissioning, Ready, DiskErasing, Releasing, EnteringRescueMode, Testing, Deployed},
	Missing:             {New, Ready, Allocated, Commissioning, Broken, EnteringRescueMode, Testing},
	Retired:             {New, Ready, Missing, Broken, EnteringRescueMode, Testing},
	EnteringRescueMode:  {Ready, Broken, Deployed, RescueMode, FailedEnteringMode, ExitingRescueMode},
	FailedEnteringMode:  {Broken, EnteringRescueMode, ExitingRescueMode, Testing},
	RescueMode:          {Broken, ExitingRescueMode, Testing},
	ExitingRescueMode: {New, Broken, FailedCommissioning, Ready, Reserved, Allocated, FailedDeployment, Deployed, Missing, Retired,
		FailedReleasing, FailedDiskErasing, RescueMode, FailedEnteringMode, FailedExitingMode, FailedTesting},
	FailedExitingMode: {Broken, ExitingRescueMode, Testing},
	Testing: {Broken, New, Ready, Reserved, Allocated, Deployed, Commissioning, FailedDeployment, Missing, Retired, FailedReleasing,
		FailedDiskErasing, FailedEnteringMode, FailedExitingMode, FailedTesting},
	FailedTesting: {Commissioning, Broken, Missing, EnteringRescueMode, Testing, Ready, Deployed},
}

// CanMove reports whether the life cycle has a move from one status to another.
func CanMove(from, to Status) bool { return slices.Contains(moves[from], to) }

// failures pairs a status in which a controller works on a machine with the status that says it failed.
var failures = map[Status]Status{
	Commissioning: FailedCommissioning, Deploying: FailedDeployment, Releasing: FailedReleasing, DiskErasing: FailedDiskErasing,
	EnteringRescueMode: FailedEnteringMode, ExitingRescueMode: FailedExitingMode, Testing: FailedTesting,
}

// Failed returns the failure status that belongs to a working status; false when nothing is under way.
func (s Status) Failed() (Status, bool) {
	f, ok := failures[s]
	return f, ok
}

func errMove(from, to Status) error {
	return fault.New(fault.Conflict, "Invalid transition: %s -> %s.", from, to)
}
