package authz

import (
	"maps"
	"slices"
)

// Action is something that can be done. Its name is what the trail records.
type Action string

// The actions.
const (
	MachineView         Action = "machine.view"
	MachineCreate       Action = "machine.create"
	MachineUpdate       Action = "machine.update"
	MachineDelete       Action = "machine.delete"
	MachineCommission   Action = "machine.commission"
	MachineAllocate     Action = "machine.allocate"
	MachineDeploy       Action = "machine.deploy"
	MachineRelease      Action = "machine.release"
	MachineAbort        Action = "machine.abort"
	MachinePower        Action = "machine.power"
	MachineLock         Action = "machine.lock"
	MachineReadPower    Action = "machine.read_power_parameters"
	MachineRotateBMC    Action = "machine.rotate_bmc"
	MachineShowBMC      Action = "machine.show_bmc_credentials"
	MachineEnlist       Action = "machine.enlist"        // a rack reports an unknown machine
	MachineBoot         Action = "machine.boot"          // a rack asks what to boot, mints a token
	MachineClaim        Action = "machine.claim"         // an agent spends its token
	MachineReport       Action = "machine.report"        // an agent reports inventory, results, its end
	MachineSeed         Action = "machine.read_seed"     // an agent fetches user data and keys
	MachinePhoneHome    Action = "machine.phone_home"    // a deployed system reports
	MachinePowerKey     Action = "machine.use_power_key" // a rack uses power parameters
	MachinePowerResult  Action = "machine.power_result"  // a power command ended
	MachineExpire       Action = "machine.expire"        // a deadline passed
	PoolView            Action = "pool.view"
	PoolEdit            Action = "pool.edit"
	PoolCreate          Action = "pool.create"
	PoolDelete          Action = "pool.delete"
	ZoneView            Action = "zone.view"
	ZoneEdit            Action = "zone.edit"
	UserView            Action = "user.view"
	UserEdit            Action = "user.edit"
	UserInspect         Action = "user.inspect" // who has a second factor, keys and sessions, of everybody at once
	UserLogin           Action = "user.login"
	UserSignOn          Action = "user.sign_on" // a login by an identity provider
	UserRights          Action = "user.rights"  // what an RBAC service says that he may do
	UserLogout          Action = "user.logout"
	FirstAdmin          Action = "user.first_admin"
	KeyView             Action = "user.view_keys" // API keys and SSH keys of one's own
	KeyEdit             Action = "user.edit_keys"
	AccessView          Action = "access.view" // groups, roles, grants and what they amount to
	GroupEdit           Action = "group.edit"
	RoleEdit            Action = "role.edit"
	GrantEdit           Action = "grant.edit"
	ProviderView        Action = "identity_provider.view"
	ProviderEdit        Action = "identity_provider.edit"
	NetworkView         Action = "network.view"
	NetworkEdit         Action = "network.edit"
	ImageView           Action = "image.view"
	ImageEdit           Action = "image.edit"
	SettingView         Action = "setting.view"
	SettingEdit         Action = "setting.edit"
	ControllerView      Action = "controller.view"
	ControllerEdit      Action = "controller.edit"
	RackToken           Action = "rack.mint_token"
	SharedSecretReveal  Action = "shared_secret.reveal" // what enrolment tokens are minted with
	SharedSecretRotate  Action = "shared_secret.rotate"
	RackEnrol           Action = "rack.enrol"
	RackRenew           Action = "rack.renew"
	RackHello           Action = "rack.hello"   // a rack's interfaces changed: the network model follows
	SiteKeys            Action = "site.keys"    // certificates and keys of the instance
	SecretsView         Action = "secrets.view" // which secrets there are, and how they are kept; never what they are
	SecretsEdit         Action = "secrets.edit" // how they are kept
	TLSView             Action = "tls.view"
	TLSEdit             Action = "tls.edit"        // the certificate that pages and API show
	HostCheckView       Action = "host_check.view" // what the checks of controllers' own hosts find, and the waivers
	HostCheckRun        Action = "host_check.run"
	HostCheckWaive      Action = "host_check.waive"
	AlertView           Action = "alert.view"        // what detections found in security events: names and addresses, as the trail has them
	AlertEdit           Action = "alert.edit"        // acknowledge, resolve, silence
	AlertAsk            Action = "alert.ask"         // who a source is, of others: they see that we ask
	AlertThreshold      Action = "alert.threshold"   // when detections fire, and which run
	BlockView           Action = "block.view"        // who is shut out, why, and who would have been
	BlockEdit           Action = "block.edit"        // shut out, let in again, the panic switch, what is enforced
	BlockDecide         Action = "block.decide"      // the region itself, on an alert whose detection is enforced
	NotificationRead    Action = "notification.read" // what one is told
	NotificationTest    Action = "notification.test"
	NotificationView    Action = "notification.view" // what others are
	NotificationEdit    Action = "notification.edit"
	NotificationDismiss Action = "notification.dismiss"
	TrailView           Action = "trail.view"
	TrailExport         Action = "trail.export"
	TrailPrune          Action = "trail.prune"    // the oldest part has been kept long enough
	SecurityEvent       Action = "security.event" // recorded, changes nothing
	PublicView          Action = "public.view"    // version, description, login page
)

type rule int

const (
	ruleNobody  rule = iota // no person; racks, machines or the system only
	ruleAnyone              // even without credentials
	ruleUser                // any active user
	ruleOwn                 // the object's owner only, not even an administrator
	ruleOwnOr               // the object's owner, or who holds the permission on the instance
	ruleGlobal              // who holds the permission on the instance
	rulePool                // who holds the permission on the pool that the object is
	ruleMachine             // who holds what reach says on the machine's pool; on what else the call touches, the permission
)

type row struct {
	rule                  rule
	perm                  Permission
	reach                 reach
	system, rack, machine bool
	// nouns are the kinds of objects that a call with this action may change.
	nouns []Noun
}

// What actions on machines want.
var (
	see        = reach{any: ViewMachines, free: ViewAvailable, own: ViewAvailable}
	take       = reach{any: AdministerMachines, free: DeployMachines, own: DeployMachines}
	use        = reach{any: AdministerMachines, own: DeployMachines}
	administer = reach{any: AdministerMachines}
	reveal     = reach{any: ReadSecrets}
)

// table is the policy. Every action has a row; the golden matrix in testdata shows what it amounts to.
var table = map[Action]row{
	MachineView:         {rule: ruleMachine, reach: see, system: true},
	MachineCreate:       {rule: ruleMachine, reach: administer, system: true, nouns: []Noun{NounMachine}},
	MachineUpdate:       {rule: ruleMachine, reach: administer, nouns: []Noun{NounMachine}},
	MachineDelete:       {rule: ruleMachine, reach: administer, nouns: []Noun{NounMachine}},
	MachineCommission:   {rule: ruleMachine, reach: administer, system: true, nouns: []Noun{NounMachine}},
	MachineAllocate:     {rule: ruleMachine, reach: take, nouns: []Noun{NounMachine}},
	MachineDeploy:       {rule: ruleMachine, reach: take, perm: ViewBootEntities, nouns: []Noun{NounMachine, NounImage}},
	MachineRelease:      {rule: ruleMachine, reach: use, nouns: []Noun{NounMachine}},
	MachineAbort:        {rule: ruleMachine, reach: use, nouns: []Noun{NounMachine}},
	MachinePower:        {rule: ruleMachine, reach: use, system: true, nouns: []Noun{NounMachine}},
	MachineLock:         {rule: ruleMachine, reach: use, nouns: []Noun{NounMachine}},
	MachineReadPower:    {rule: ruleMachine, reach: reveal},
	MachineRotateBMC:    {rule: ruleMachine, reach: administer, system: true, nouns: []Noun{NounMachine}},
	MachineShowBMC:      {rule: ruleGlobal, perm: EditConfigurations}, // besides MachineReadPower: keeping machines is not knowing passwords
	MachineEnlist:       {rack: true, nouns: []Noun{NounMachine}},
	MachineBoot:         {rack: true, nouns: []Noun{NounMachine}},
	MachineClaim:        {rack: true, nouns: []Noun{NounMachine}},
	MachineReport:       {machine: true, nouns: []Noun{NounMachine}},
	MachineSeed:         {machine: true, nouns: []Noun{NounMachine}},
	MachinePhoneHome:    {rack: true, nouns: []Noun{NounMachine}},
	MachinePowerKey:     {rack: true},
	MachinePowerResult:  {system: true, nouns: []Noun{NounMachine}},
	MachineExpire:       {system: true, nouns: []Noun{NounMachine}},
	PoolView:            {rule: rulePool, perm: ViewAvailable, system: true},
	PoolEdit:            {rule: rulePool, perm: EditPools, nouns: []Noun{NounPool}},
	PoolCreate:          {rule: ruleGlobal, perm: EditPools, nouns: []Noun{NounPool}},
	PoolDelete:          {rule: ruleGlobal, perm: EditPools, nouns: []Noun{NounPool}},
	ZoneView:            {rule: ruleGlobal, perm: ViewZones, system: true},
	ZoneEdit:            {rule: ruleGlobal, perm: EditZones, nouns: []Noun{NounZone}},
	UserView:            {rule: ruleOwnOr, perm: ViewIdentities, system: true},
	UserInspect:         {rule: ruleGlobal, perm: ViewIdentities, system: true},                                                  // not one's own: a key that may only read does for whoever audits
	UserEdit:            {rule: ruleGlobal, perm: EditIdentities, system: true, nouns: []Noun{NounUser, NounGroup, NounMachine}}, // machines: a deleted user's go to another
	UserLogin:           {rule: ruleAnyone, system: true, nouns: []Noun{NounUser}},
	UserSignOn:          {rule: ruleAnyone, nouns: []Noun{NounUser, NounGroup}}, // groups: those that the provider says
	UserRights:          {system: true, nouns: []Noun{NounUser}},
	UserLogout:          {rule: ruleOwn, nouns: []Noun{NounUser}},
	FirstAdmin:          {rule: ruleAnyone, nouns: []Noun{NounUser, NounGroup}},
	KeyView:             {rule: ruleOwn},
	KeyEdit:             {rule: ruleOwn, system: true, nouns: []Noun{NounUser}},
	AccessView:          {rule: ruleGlobal, perm: ViewIdentities, system: true},
	GroupEdit:           {rule: ruleGlobal, perm: EditIdentities, nouns: []Noun{NounGroup}},
	RoleEdit:            {rule: ruleGlobal, perm: EditIdentities, nouns: []Noun{NounRole}},
	GrantEdit:           {rule: ruleGlobal, perm: EditIdentities, nouns: []Noun{NounUser, NounGroup}},
	ProviderView:        {rule: ruleGlobal, perm: ViewIdentities, system: true},
	ProviderEdit:        {rule: ruleGlobal, perm: EditIdentities, system: true, nouns: []Noun{NounProvider}},
	NetworkView:         {rule: ruleGlobal, perm: ViewNetworks, system: true},
	NetworkEdit:         {rule: ruleGlobal, perm: EditNetworks, system: true, nouns: []Noun{NounFabric, NounVLAN, NounSubnet}},
	ImageView:           {rule: ruleGlobal, perm: ViewBootEntities, system: true, rack: true},
	ImageEdit:           {rule: ruleGlobal, perm: EditBootEntities, nouns: []Noun{NounImage}},
	SettingView:         {rule: ruleGlobal, perm: ViewConfigurations, system: true},
	SettingEdit:         {rule: ruleGlobal, perm: EditConfigurations, nouns: []Noun{NounSetting}},
	ControllerView:      {rule: ruleGlobal, perm: ViewControllers, system: true},
	ControllerEdit:      {rule: ruleGlobal, perm: EditControllers, system: true, nouns: []Noun{NounController, NounVLAN}},
	RackToken:           {rule: ruleGlobal, perm: EditControllers, system: true, nouns: []Noun{NounEnrolment}},
	SharedSecretReveal:  {rule: ruleGlobal, perm: EditControllers},
	SharedSecretRotate:  {rule: ruleGlobal, perm: EditControllers, system: true, nouns: []Noun{NounSite}},
	RackEnrol:           {system: true, nouns: []Noun{NounEnrolment, NounController}},
	RackRenew:           {rack: true, nouns: []Noun{NounController}},
	RackHello:           {rack: true, nouns: []Noun{NounController, NounFabric, NounVLAN, NounSubnet}},
	SiteKeys:            {system: true, nouns: []Noun{NounSite}},
	SecretsView:         {rule: ruleGlobal, perm: ViewConfigurations, system: true},
	SecretsEdit:         {rule: ruleGlobal, perm: EditConfigurations, system: true, nouns: []Noun{NounSite}},
	TLSView:             {rule: ruleGlobal, perm: ViewConfigurations, system: true},
	TLSEdit:             {rule: ruleGlobal, perm: EditConfigurations, system: true, nouns: []Noun{NounSite}},
	HostCheckView:       {rule: ruleGlobal, perm: ViewConfigurations, system: true},
	HostCheckRun:        {rule: ruleGlobal, perm: EditControllers, nouns: []Noun{NounController}},
	HostCheckWaive:      {rule: ruleGlobal, perm: EditConfigurations, nouns: []Noun{NounHostWaiver}},
	AlertView:           {rule: ruleGlobal, perm: ViewTrail, system: true},
	AlertEdit:           {rule: ruleGlobal, perm: EditConfigurations, nouns: []Noun{NounAlert}},
	AlertAsk:            {rule: ruleGlobal, perm: EditConfigurations},
	AlertThreshold:      {rule: ruleGlobal, perm: EditConfigurations, nouns: []Noun{NounDetection}},
	BlockView:           {rule: ruleGlobal, perm: ViewTrail, system: true},
	BlockEdit:           {rule: ruleGlobal, perm: EditConfigurations, nouns: []Noun{NounBlock}},
	BlockDecide:         {system: true, nouns: []Noun{NounBlock}},
	NotificationRead:    {rule: ruleUser},
	NotificationTest:    {rule: ruleGlobal, perm: EditConfigurations},
	NotificationView:    {rule: ruleGlobal, perm: ViewNotifications, system: true},
	NotificationEdit:    {rule: ruleGlobal, perm: EditNotifications, system: true, nouns: []Noun{NounNotification}},
	NotificationDismiss: {rule: ruleOwn, nouns: []Noun{NounUser}},
	TrailView:           {rule: ruleGlobal, perm: ViewTrail, system: true},
	TrailExport:         {rule: ruleGlobal, perm: ViewTrail, system: true},
	TrailPrune:          {system: true, nouns: []Noun{NounTrail}},
	SecurityEvent:       {rule: ruleAnyone, system: true, rack: true, machine: true},
	PublicView:          {rule: ruleAnyone, system: true},
}

// Known reports whether the action has a row. A route that names another does not start.
func Known(a Action) bool { _, ok := table[a]; return ok }

// Actions lists all actions in alphabetical order.
func Actions() []Action { return slices.Sorted(maps.Keys(table)) }

// MayTouch reports whether a call with this action may change objects of a noun at all.
func MayTouch(a Action, n Noun) bool { return slices.Contains(table[a].nouns, n) }

// Mutates reports whether a call with this action may change anything.
func Mutates(a Action) bool { return len(table[a].nouns) > 0 }
