// Package authz decides who may do what. It is pure: a principal, an action and a target go in, a decision
// comes out, and the whole of policy is the table in actions.go.
//
// Two rules hold everywhere. An action that is not in the table is denied. A target that the principal may not
// see is hidden: callers answer exactly as if it did not exist.
package authz

import (
	"context"
	"strconv"

	"github.com/metalward/metalward/internal/fault"
)

// Kind is what sort of thing acts.
type Kind string

// The kinds of principals.
const (
	Anonymous Kind = "anonymous"
	User      Kind = "user"
	Rack      Kind = "rack"
	Machine   Kind = "machine" // an agent with the certificate of a boot
	System    Kind = "system"  // the region itself: timers, jobs, the command line on its host
)

// Principal is who acts.
type Principal struct {
	Kind   Kind
	Name   string // user name, system id of the rack or machine, or the part of the system
	UserID int64
	Admin  bool
	Epoch  int64
}

// String is the form that the trail records, such as "user:alice".
func (p Principal) String() string {
	if p.Kind == Anonymous || p.Kind == "" {
		return string(Anonymous)
	}
	return string(p.Kind) + ":" + p.Name
}

// Noun is a kind of object.
type Noun string

// The nouns.
const (
	NounMachine    Noun = "machine" // with its interfaces, disks, results, events, boots, commands and secrets
	NounPool       Noun = "pool"
	NounZone       Noun = "zone"
	NounUser       Noun = "user" // with his keys and sessions
	NounFabric     Noun = "fabric"
	NounVLAN       Noun = "vlan"
	NounSubnet     Noun = "subnet" // with its ranges
	NounController Noun = "controller"
	NounEnrolment  Noun = "enrolment"
	NounImage      Noun = "image"
	NounSetting    Noun = "setting"
	NounSite       Noun = "site" // the instance: its keys and certificates
	NounTrail      Noun = "trail"
)

// Target is the object of an action. For an object about to be created the ID is empty.
type Target struct {
	Noun  Noun
	ID    string
	Pool  int64  // machines: the resource pool
	Owner string // machines: owner's name, empty when unowned; users and their keys: the user's name
	Rack  string // machines: the rack that serves it, when a rack acts
}

// String is the form that the trail records, such as "machine:abc".
func (t Target) String() string {
	if t.Noun == "" {
		return ""
	}
	if t.ID == "" {
		return string(t.Noun)
	}
	return string(t.Noun) + ":" + t.ID
}

// ID writes a number as a target's id.
func ID(n int64) string { return strconv.FormatInt(n, 10) }

// Decision is an answer.
type Decision int

// The decisions. Deny is the zero value.
const (
	Deny Decision = iota
	Hide          // answer as if the target did not exist
	Allow
)

// Decide answers whether a principal may take an action on a target.
func Decide(p Principal, a Action, t Target) Decision {
	row, ok := table[a]
	if !ok {
		return Deny
	}
	if allowed(p, row, t) {
		return Allow
	}
	if p.Kind == User && t.Noun == NounMachine && t.ID != "" && !seesMachine(p, t) {
		return Hide
	}
	if p.Kind == User && row.rule == ruleOwn && t.ID != "" {
		return Hide // another person's key: whether it exists is private
	}
	return Deny
}

// May reports whether a principal could take an action on any object at all: what a read checks before it
// filters.
func May(p Principal, a Action) bool {
	row, ok := table[a]
	if !ok {
		return false
	}
	switch p.Kind {
	case System:
		return row.system
	case Rack:
		return row.rack
	case Machine:
		return row.machine
	case User:
		return row.rule != ruleNobody && (row.rule != ruleAdmin || p.Admin)
	default:
		return row.rule == ruleAnyone
	}
}

func allowed(p Principal, row row, t Target) bool {
	switch p.Kind {
	case System:
		return row.system
	case Rack:
		return row.rack && (t.Noun != NounMachine || t.Rack == p.Name) && (t.Noun != NounController || t.ID == p.Name)
	case Machine:
		return row.machine && t.Noun == NounMachine && t.ID == p.Name
	case Anonymous:
		return row.rule == ruleAnyone
	case User:
	default:
		return false
	}
	switch row.rule {
	case ruleAnyone, ruleUser:
		return true
	case ruleAdmin:
		return p.Admin
	case ruleOwn:
		return t.Owner == p.Name
	case ruleOwnOrAdmin:
		return p.Admin || t.Owner == p.Name
	case ruleView:
		return seesMachine(p, t)
	case ruleEdit:
		return p.Admin || t.Owner == "" || t.Owner == p.Name
	}
	return false
}

// seesMachine is the one predicate behind reading a machine and listing machines; MachineFilter says the same
// to the store.
func seesMachine(p Principal, t Target) bool {
	return p.Kind == System || p.Kind == User && (p.Admin || t.Owner == "" || t.Owner == p.Name)
}

// MachineFilter narrows a list to the machines that a principal may see.
type MachineFilter struct {
	All   bool
	Owner string // when not All: unowned machines and this user's
}

// Machines returns the filter of a principal. For one who sees nothing the filter matches only unowned
// machines of an impossible owner.
func Machines(p Principal) (f MachineFilter, any bool) {
	switch {
	case p.Kind == System, p.Kind == User && p.Admin:
		return MachineFilter{All: true}, true
	case p.Kind == User:
		return MachineFilter{Owner: p.Name}, true
	}
	return MachineFilter{}, false
}

// Err turns a decision into the fault that a caller sees; nil for Allow.
func (d Decision) Err(t Target) error {
	switch d {
	case Allow:
		return nil
	case Hide:
		return NotFound(t.Noun)
	default:
		return fault.New(fault.Forbidden, "You are not allowed to do this.")
	}
}

// NotFound is the fault for an absent or hidden object, the same for both. The text is MAAS's.
func NotFound(n Noun) error {
	names := map[Noun]string{NounMachine: "Machine", NounPool: "ResourcePool", NounZone: "Zone", NounUser: "User", NounFabric: "Fabric",
		NounVLAN: "VLAN", NounSubnet: "Subnet", NounController: "RackController", NounImage: "BootResource"}
	name := names[n]
	if name == "" {
		name = string(n)
	}
	return fault.New(fault.NotFound, "No %s matches the given query.", name)
}

// Origin is where a call came from, for the trail.
type Origin struct {
	Source    string // peer address
	RequestID string
}

type ctxKey int

const (
	principalKey ctxKey = iota
	originKey
)

// With puts the principal into a context.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey, p)
}

// From returns the context's principal; Anonymous when there is none.
func From(ctx context.Context) Principal {
	if p, ok := ctx.Value(principalKey).(Principal); ok {
		return p
	}
	return Principal{Kind: Anonymous}
}

// WithOrigin puts the origin into a context.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey, o)
}

// OriginFrom returns the context's origin.
func OriginFrom(ctx context.Context) Origin {
	o, _ := ctx.Value(originKey).(Origin)
	return o
}

// AsSystem acts as a part of the region, such as "jobs".
func AsSystem(ctx context.Context, part string) context.Context {
	return With(ctx, Principal{Kind: System, Name: part})
}
