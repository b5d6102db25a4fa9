package authz

import (
	"maps"
	"slices"
)

// Action is something that can be done. Its name is what the trail records.
type Action string

// The actions.
const (
	MachineView        Action = "machine.view"
	MachineCreate      Action = "machine.create"
	MachineUpdate      Action = "machine.update"
	MachineDelete      Action = "machine.delete"
	MachineCommission  Action = "machine.commission"
	MachineAllocate    Action = "machine.allocate"
	MachineDeploy      Action = "machine.deploy"
	MachineRelease     Action = "machine.release"
	MachineAbort       Action = "machine.abort"
	MachinePower       Action = "machine.power"
	MachineLock        Action = "machine.lock"
	MachineReadPower   Action = "machine.read_power_parameters"
	MachineEnlist      Action = "machine.enlist"        // a rack reports an unknown machine
	MachineBoot        Action = "machine.boot"          // a rack asks what to boot, mints a token
	MachineClaim       Action = "machine.claim"         // an agent spends its token
	MachineReport      Action = "machine.report"        // an agent reports inventory, results, its end
	MachineSeed        Action = "machine.read_seed"     // an agent fetches user data and keys
	MachinePhoneHome   Action = "machine.phone_home"    // a deployed system reports
	MachinePowerKey    Action = "machine.use_power_key" // a rack uses power parameters
	MachinePowerResult Action = "machine.power_result"  // a power command ended
	MachineExpire      Action = "machine.expire"        // a deadline passed
	PoolView           Action = "pool.view"
	PoolEdit           Action = "pool.edit"
	ZoneView           Action = "zone.view"
	ZoneEdit           Action = "zone.edit"
	UserView           Action = "user.view"
	UserEdit           Action = "user.edit"
	UserLogin          Action = "user.login"
	UserLogout         Action = "user.logout"
	FirstAdmin         Action = "user.first_admin"
	KeyView            Action = "user.view_keys" // API keys and SSH keys of one's own
	KeyEdit            Action = "user.edit_keys"
	NetworkView        Action = "network.view"
	NetworkEdit        Action = "network.edit"
	ImageView          Action = "image.view"
	ImageEdit          Action = "image.edit"
	SettingView        Action = "setting.view"
	SettingEdit        Action = "setting.edit"
	ControllerView     Action = "controller.view"
	ControllerEdit     Action = "controller.edit"
	RackToken          Action = "rack.mint_token"
	RackEnrol          Action = "rack.enrol"
	RackRenew          Action = "rack.renew"
	RackHello          Action = "rack.hello" // a rack's interfaces changed: the network model follows
	SiteKeys           Action = "site.keys"  // certificates and keys of the instance
	TrailView          Action = "trail.view"
	SecurityEvent      Action = "security.event" // recorded, changes nothing
	PublicView         Action = "public.view"    // version, description, login page
)

type rule int

const (
	ruleNobody     rule = iota // no person; racks, machines or the system only
	ruleAnyone                 // even without credentials
	ruleUser                   // any active user
	ruleOwn                    // the object's owner only, not even an administrator
	ruleOwnOrAdmin             // the object's owner, or an administrator
	ruleView                   // whoever may see the machine
	ruleEdit                   // the machine is unowned or his own, or an administrator
	ruleAdmin
)

type row struct {
	rule                  rule
	system, rack, machine bool
	// nouns are the kinds of objects that a call with this action may change.
	nouns []Noun
}

// table is the policy. Every action has a row; the golden matrix in testdata shows what it amounts to.
var table = map[Action]row{
	MachineView:        {rule: ruleView, system: true},
	MachineCreate:      {rule: ruleAdmin, system: true, nouns: []Noun{NounMachine}},
	MachineUpdate:      {rule: ruleAdmin, nouns: []Noun{NounMachine}},
	MachineDelete:      {rule: ruleAdmin, nouns: []Noun{NounMachine}},
	MachineCommission:  {rule: ruleAdmin, system: true, nouns: []Noun{NounMachine}},
	MachineAllocate:    {rule: ruleEdit, nouns: []Noun{NounMachine}},
	MachineDeploy:      {rule: ruleEdit, nouns: []Noun{NounMachine, NounImage}},
	MachineRelease:     {rule: ruleEdit, nouns: []Noun{NounMachine}},
	MachineAbort:       {rule: ruleEdit, nouns: []Noun{NounMachine}},
	MachinePower:       {rule: ruleEdit, system: true, nouns: []Noun{NounMachine}},
	MachineLock:        {rule: ruleEdit, nouns: []Noun{NounMachine}},
	MachineReadPower:   {rule: ruleAdmin},
	MachineEnlist:      {rack: true, nouns: []Noun{NounMachine}},
	MachineBoot:        {rack: true, nouns: []Noun{NounMachine}},
	MachineClaim:       {rack: true, nouns: []Noun{NounMachine}},
	MachineReport:      {machine: true, nouns: []Noun{NounMachine}},
	MachineSeed:        {machine: true, nouns: []Noun{NounMachine}},
	MachinePhoneHome:   {rack: true, nouns: []Noun{NounMachine}},
	MachinePowerKey:    {rack: true},
	MachinePowerResult: {system: true, nouns: []Noun{NounMachine}},
	MachineExpire:      {system: true, nouns: []Noun{NounMachine}},
	PoolView:           {rule: ruleUser, system: true},
	PoolEdit:           {rule: ruleAdmin, nouns: []Noun{NounPool}},
	ZoneView:           {rule: ruleUser, system: true},
	ZoneEdit:           {rule: ruleAdmin, nouns: []Noun{NounZone}},
	UserView:           {rule: ruleUser, system: true},
	UserEdit:           {rule: ruleAdmin, system: true, nouns: []Noun{NounUser}},
	UserLogin:          {rule: ruleAnyone, system: true, nouns: []Noun{NounUser}},
	UserLogout:         {rule: ruleOwn, nouns: []Noun{NounUser}},
	FirstAdmin:         {rule: ruleAnyone, nouns: []Noun{NounUser}},
	KeyView:            {rule: ruleOwn},
	KeyEdit:            {rule: ruleOwn, system: true, nouns: []Noun{NounUser}},
	NetworkView:        {rule: ruleUser, system: true},
	NetworkEdit:        {rule: ruleAdmin, system: true, nouns: []Noun{NounFabric, NounVLAN, NounSubnet}},
	ImageView:          {rule: ruleUser, system: true, rack: true},
	ImageEdit:          {rule: ruleAdmin, nouns: []Noun{NounImage}},
	SettingView:        {rule: ruleUser, system: true},
	SettingEdit:        {rule: ruleAdmin, nouns: []Noun{NounSetting}},
	ControllerView:     {rule: ruleUser, system: true},
	ControllerEdit:     {rule: ruleAdmin, system: true, nouns: []Noun{NounController, NounVLAN}},
	RackToken:          {rule: ruleAdmin, system: true, nouns: []Noun{NounEnrolment}},
	RackEnrol:          {system: true, nouns: []Noun{NounEnrolment, NounController}},
	RackRenew:          {rack: true, nouns: []Noun{NounController}},
	RackHello:          {rack: true, nouns: []Noun{NounController, NounFabric, NounVLAN, NounSubnet}},
	SiteKeys:           {system: true, nouns: []Noun{NounSite}},
	TrailView:          {rule: ruleAdmin, system: true},
	SecurityEvent:      {rule: ruleAnyone, system: true, rack: true, machine: true},
	PublicView:         {rule: ruleAnyone, system: true},
}

// Known reports whether the action has a row. A route that names another does not start.
func Known(a Action) bool { _, ok := table[a]; return ok }

// Actions lists all actions in alphabetical order.
func Actions() []Action { return slices.Sorted(maps.Keys(table)) }

// MayTouch reports whether a call with this action may change objects of a noun at all.
func MayTouch(a Action, n Noun) bool { return slices.Contains(table[a].nouns, n) }

// Mutates reports whether a call with this action may change anything.
func Mutates(a Action) bool { return len(table[a].nouns) > 0 }
