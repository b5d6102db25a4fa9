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
	Epoch  int64
	Rights *Rights // of a user
	// limited marks a user by an API key that does less than he may: it changes nothing of his own.
	limited, readOnly bool
}

// Limited is the principal by an API key that only reads, or that works only in some pools (none given: in all
// of his).
func (p Principal) Limited(readOnly bool, pools []int64) Principal {
	if readOnly {
		p.Rights, p.readOnly = p.Rights.viewOnly(), true
	}
	if len(pools) > 0 {
		p.Rights, p.limited = p.Rights.onPools(pools), true
	}
	return p
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
	NounMachine      Noun = "machine" // with its interfaces, disks, results, events, boots, commands and secrets
	NounPool         Noun = "pool"
	NounZone         Noun = "zone"
	NounUser         Noun = "user" // with his keys, sessions and grants
	NounFabric       Noun = "fabric"
	NounVLAN         Noun = "vlan"
	NounSubnet       Noun = "subnet" // with its ranges
	NounController   Noun = "controller"
	NounEnrolment    Noun = "enrolment"
	NounImage        Noun = "image"
	NounSetting      Noun = "setting"
	NounSite         Noun = "site"  // the instance: its keys and certificates
	NounGroup        Noun = "group" // with its members and grants
	NounRole         Noun = "role"
	NounProvider     Noun = "provider"     // of identities
	NounNotification Noun = "notification" // with what is still to be sent of it
	NounTrail        Noun = "trail"
	NounHostWaiver   Noun = "host_waiver" // of what a check of a controller's host finds
	NounAlert        Noun = "alert"       // of a detection
	NounDetection    Noun = "detection"   // when it fires
	NounBlock        Noun = "block"       // of an address; with the switch and the policy of all
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
	if p.Kind == User && t.ID != "" && !sees(p, row, t) {
		return Hide
	}
	return Deny
}

// sees reports whether a user may know that a target exists.
func sees(p Principal, row row, t Target) bool {
	switch {
	case t.Noun == NounMachine:
		return allowed(p, table[MachineView], t)
	case t.Noun == NounPool:
		return allowed(p, table[PoolView], t)
	case t.Noun == NounUser && row.rule == ruleOwn:
		return false // another person's key: whether it exists is private
	case t.Noun == NounUser:
		return allowed(p, table[UserView], t)
	}
	return true
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
	default:
		return row.rule == ruleAnyone
	}
	if p.barred(row) {
		return false
	}
	if a == MachineView || a == PoolView {
		return true // who sees none gets an empty list
	}
	switch row.rule {
	case ruleNobody:
		return false
	case ruleGlobal:
		return p.Rights.Has(row.perm)
	case rulePool:
		return p.Rights.Anywhere(row.perm)
	case ruleMachine:
		return p.Rights.Anywhere(row.reach.any) || p.Rights.Anywhere(row.reach.free) || p.Rights.Anywhere(row.reach.own)
	}
	return true
}

// barred reports whether the API key that a user came with rules out an action that needs no right: nobody
// makes himself a wider key with a narrow one.
func (p Principal) barred(row row) bool {
	return len(row.nouns) > 0 && (p.readOnly || p.limited && (row.rule == ruleOwn || row.rule == ruleOwnOr))
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
	if p.barred(row) {
		return false
	}
	own := p.Name != "" && t.Owner == p.Name
	switch row.rule {
	case ruleAnyone, ruleUser:
		return true
	case ruleOwn:
		return own
	case ruleOwnOr:
		return own || p.Rights.Has(row.perm)
	case ruleGlobal:
		return p.Rights.Has(row.perm)
	case rulePool:
		return p.Rights.In(t.pool(), row.perm)
	case ruleMachine:
		if t.Noun != NounMachine {
			return p.Rights.Has(row.perm)
		}
		return row.reach.allows(p, t)
	}
	return false
}

// pool is the pool that a target is, or is in.
func (t Target) pool() int64 {
	if t.Noun != NounPool {
		return t.Pool
	}
	id, err := strconv.ParseInt(t.ID, 10, 64)
	if err != nil {
		return AllPools // no right is held on it but those held everywhere
	}
	return id
}

// reach says which permission, held on a machine's pool, allows an action on it: whoever owns it, while nobody
// does, while one does so oneself. It is the one predicate behind reading a machine and listing machines.
type reach struct{ any, free, own Permission }

func (r reach) allows(p Principal, t Target) bool {
	return p.Rights.In(t.Pool, r.any) || t.Owner == "" && p.Rights.In(t.Pool, r.free) ||
		t.Owner != "" && t.Owner == p.Name && p.Rights.In(t.Pool, r.own)
}

// MachineFilter narrows a list to machines: those of some pools whoever owns them, and of others only the free
// ones and the ones of an owner. The zero filter matches none.
type MachineFilter struct {
	Any, Free, Own PoolSet
	Owner          string
}

// AllMachines is the filter that leaves none out.
var AllMachines = MachineFilter{Any: PoolSet{All: true}}

// Match reports whether the filter lets a machine through. The store says the same in SQL.
func (f MachineFilter) Match(t Target) bool {
	return f.Any.Has(t.Pool) || t.Owner == "" && f.Free.Has(t.Pool) || t.Owner != "" && t.Owner == f.Owner && f.Own.Has(t.Pool)
}

// Machines returns the filter that lets through just the machines on which Decide allows a user or the system an
// action.
func Machines(p Principal, a Action) MachineFilter {
	row := table[a]
	switch {
	case p.Kind == System && row.system:
		return AllMachines
	case p.Kind != User || row.rule != ruleMachine || p.barred(row):
		return MachineFilter{}
	}
	f := MachineFilter{Any: p.Rights.Pools(row.reach.any), Free: p.Rights.Pools(row.reach.free), Own: p.Rights.Pools(row.reach.own), Owner: p.Name}
	f.Free, f.Own = f.Free.without(f.Any), f.Own.without(f.Any) // of a thousand pools, the store need not hear thrice
	return f
}

// Pools returns the pools that a principal may see.
func Pools(p Principal) PoolSet {
	switch p.Kind {
	case System:
		return PoolSet{All: true}
	case User:
		return p.Rights.Pools(table[PoolView].perm)
	}
	return PoolSet{}
}

// OnMachines reports whether an action is one that users take on machines.
func OnMachines(a Action) bool { return table[a].rule == ruleMachine }

// ForUsers reports whether an action is one that users take, not racks, machines or the system alone.
func ForUsers(a Action) bool { return table[a].rule != ruleNobody && table[a].rule != ruleAnyone }

// OnPools reports whether an action is one on a pool.
func OnPools(a Action) bool { return table[a].rule == rulePool }

// Needs says which permission an action on a target wants of a user; its name is empty when it wants none.
func Needs(a Action, t Target, user string) Permission {
	row := table[a]
	switch {
	case row.rule != ruleMachine:
		return row.perm
	case t.Owner == "" && row.reach.free != noPermission:
		return row.reach.free
	case t.Owner != "" && t.Owner == user && row.reach.own != noPermission:
		return row.reach.own
	}
	return row.reach.any
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
		NounVLAN: "VLAN", NounSubnet: "Subnet", NounController: "RackController", NounImage: "BootResource", NounGroup: "UserGroup", NounRole: "Role", NounProvider: "OIDCProvider", NounNotification: "Notification", NounHostWaiver: "HostCheckWaiver", NounAlert: "Alert", NounDetection: "Detection", NounBlock: "Block"}
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
	// Of a request over HTTP, bounded and without control characters.
	TraceID, Method, Path, UserAgent string
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
