package authz

import (
	"fmt"
	"math/bits"
	"strings"
)

// Permission is one thing that a role may allow. Those that MAAS has too carry the names of its entitlements;
// source: MAAS 3.8, user groups and entitlements. The others are ours and finer.
type Permission uint8

// The permissions. The first seven are held on a pool or on all of them; the rest concern the whole instance.
const (
	noPermission       Permission = iota
	ViewAvailable                 // see the machines of nobody, and one's own
	ViewMachines                  // see every machine
	DeployMachines                // allocate and deploy free machines, use one's own
	AdministerMachines            // everything with machines, whoever owns them
	EditPools                     // change pools themselves
	EditMachines                  // the last two in one
	ReadSecrets                   // read power parameters
	ViewGlobalEntities            // the next three that view, in one
	EditGlobalEntities            // the next three that edit, in one
	ViewNetworks
	EditNetworks
	ViewZones
	EditZones
	ViewDNS
	EditDNS
	ViewControllers
	EditControllers
	ViewIdentities // users, groups, roles, identity providers
	EditIdentities
	ViewConfigurations
	EditConfigurations
	ViewNotifications
	EditNotifications
	ViewBootEntities // images and where they come from
	EditBootEntities
	ViewLicenseKeys
	EditLicenseKeys
	ViewOperations
	EditOperations
	ViewDevices
	ViewIPAddresses
	ViewDNSRecords
	ViewTrail
	ExecuteCode // upload what runs as root on other people's machines: scripts, preseeds, DHCP snippets
	permissions // how many there are, and one
)

// permissionTable has a row for each permission.
var permissionTable = [permissions]struct {
	name    string
	doc     string
	implies []Permission
	pool    bool // held on a pool
	entitle bool // MAAS has it
}{
	ViewAvailable:      {name: "can_view_available_machines", doc: "See free machines and one's own.", pool: true, entitle: true},
	ViewMachines:       {name: "can_view_machines", doc: "See all machines.", implies: []Permission{ViewAvailable}, pool: true, entitle: true},
	DeployMachines:     {name: "can_deploy_machines", doc: "Allocate and deploy free machines, use and release one's own.", implies: []Permission{ViewAvailable}, pool: true, entitle: true},
	AdministerMachines: {name: "can_administer_machines", doc: "Do everything with machines, whoever owns them.", implies: []Permission{ViewMachines, DeployMachines}, pool: true},
	EditPools:          {name: "can_edit_pools", doc: "Change a pool's name and description; on all pools, add and delete pools, too.", pool: true},
	EditMachines:       {name: "can_edit_machines", doc: "Do everything with machines, whoever owns them, and change their pools.", implies: []Permission{AdministerMachines, EditPools}, pool: true, entitle: true},
	ReadSecrets:        {name: "can_read_secrets", doc: "Read power parameters.", implies: []Permission{ViewMachines}, pool: true},
	ViewGlobalEntities: {name: "can_view_global_entities", doc: "See networks, zones and DNS.", implies: []Permission{ViewNetworks, ViewZones, ViewDNS}, entitle: true},
	EditGlobalEntities: {name: "can_edit_global_entities", doc: "Change networks, zones and DNS.", implies: []Permission{ViewGlobalEntities, EditNetworks, EditZones, EditDNS}, entitle: true},
	ViewNetworks:       {name: "can_view_networks", doc: "See fabrics, VLANs, subnets and ranges."},
	EditNetworks:       {name: "can_edit_networks", doc: "Change fabrics, VLANs, subnets and ranges, turn DHCP on and off.", implies: []Permission{ViewNetworks}},
	ViewZones:          {name: "can_view_zones", doc: "See zones."},
	EditZones:          {name: "can_edit_zones", doc: "Change zones.", implies: []Permission{ViewZones}},
	ViewDNS:            {name: "can_view_dns", doc: "See domains."},
	EditDNS:            {name: "can_edit_dns", doc: "Change domains and records.", implies: []Permission{ViewDNS}},
	ViewControllers:    {name: "can_view_controllers", doc: "See region and rack controllers.", entitle: true},
	EditControllers:    {name: "can_edit_controllers", doc: "Add, change and remove rack controllers.", implies: []Permission{ViewControllers}, entitle: true},
	ViewIdentities:     {name: "can_view_identities", doc: "See users, groups, roles and identity providers.", entitle: true},
	EditIdentities:     {name: "can_edit_identities", doc: "Change users, groups, roles and identity providers; give what one holds oneself.", implies: []Permission{ViewIdentities}, entitle: true},
	ViewConfigurations: {name: "can_view_configurations", doc: "See settings.", entitle: true},
	EditConfigurations: {name: "can_edit_configurations", doc: "Change settings.", implies: []Permission{ViewConfigurations}, entitle: true},
	ViewNotifications:  {name: "can_view_notifications", doc: "See all notifications.", entitle: true},
	EditNotifications:  {name: "can_edit_notifications", doc: "Change notifications.", implies: []Permission{ViewNotifications}, entitle: true},
	ViewBootEntities:   {name: "can_view_boot_entities", doc: "See images.", entitle: true},
	EditBootEntities:   {name: "can_edit_boot_entities", doc: "Upload and delete images.", implies: []Permission{ViewBootEntities}, entitle: true},
	ViewLicenseKeys:    {name: "can_view_license_keys", doc: "See license keys.", entitle: true},
	EditLicenseKeys:    {name: "can_edit_license_keys", doc: "Change license keys.", implies: []Permission{ViewLicenseKeys}, entitle: true},
	ViewOperations:     {name: "can_view_operations", doc: "See operations under way.", entitle: true},
	EditOperations:     {name: "can_edit_operations", doc: "Change operations under way.", entitle: true},
	ViewDevices:        {name: "can_view_devices", doc: "See all devices.", entitle: true},
	ViewIPAddresses:    {name: "can_view_ipaddresses", doc: "See all IP addresses.", entitle: true},
	ViewDNSRecords:     {name: "can_view_dnsrecords", doc: "See all DNS records.", entitle: true},
	ViewTrail:          {name: "can_view_trail", doc: "Read and export the audit trail."},
	ExecuteCode:        {name: "can_execute_code", doc: "Upload what runs as root on machines: scripts, preseeds, DHCP snippets."},
}

func (p Permission) String() string { return permissionTable[p].name }

// Doc says in a sentence what a permission allows.
func (p Permission) Doc() string { return permissionTable[p].doc }

// OfPool reports whether the permission is held on a pool; else it concerns the whole instance.
func (p Permission) OfPool() bool { return permissionTable[p].pool }

// Entitlement reports whether MAAS has the permission too, under the same name.
func (p Permission) Entitlement() bool { return permissionTable[p].entitle }

// ParsePermission finds a permission by its name.
func ParsePermission(name string) (Permission, bool) {
	for p := noPermission + 1; p < permissions; p++ {
		if permissionTable[p].name == name {
			return p, true
		}
	}
	return noPermission, false
}

// Permissions lists all permissions in the table's order.
func Permissions() []Permission { return all.List() }

// Set is a set of permissions.
type Set uint64

var _ = [1]struct{}{}[permissions/64] // they fit

// NewSet makes a set, with all that its members imply.
func NewSet(list ...Permission) Set {
	var s Set
	for _, p := range list {
		s |= 1<<p | NewSet(permissionTable[p].implies...)
	}
	return s
}

// Has reports whether the set holds a permission.
func (s Set) Has(p Permission) bool { return p != noPermission && s&(1<<p) != 0 }

// Covers reports whether the set holds all of another.
func (s Set) Covers(t Set) bool { return t&^s == 0 }

// List is the set in the table's order.
func (s Set) List() []Permission {
	list := make([]Permission, 0, bits.OnesCount64(uint64(s)))
	for p := noPermission + 1; p < permissions; p++ {
		if s.Has(p) {
			list = append(list, p)
		}
	}
	return list
}

// String is the names of the set's permissions, separated by spaces.
func (s Set) String() string {
	var names []string
	for _, p := range s.List() {
		names = append(names, p.String())
	}
	return strings.Join(names, " ")
}

// ParseSet reads names separated by spaces or commas. The error names the first that is unknown.
func ParseSet(text string) (Set, error) {
	var s Set
	for _, name := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' }) {
		p, ok := ParsePermission(name)
		if !ok {
			return 0, fmt.Errorf("%.60q is not a permission", name)
		}
		s |= NewSet(p)
	}
	return s, nil
}

var (
	all = func() (s Set) {
		for p := noPermission + 1; p < permissions; p++ {
			s |= 1 << p
		}
		return s
	}()
	ofPool = func() (s Set) {
		for _, p := range all.List() {
			if p.OfPool() {
				s |= 1 << p
			}
		}
		return s
	}()
	// viewing are the permissions that change nothing and reveal no secret.
	viewing = func() (s Set) {
		for _, p := range all.List() {
			if strings.HasPrefix(p.String(), "can_view_") {
				s |= 1 << p
			}
		}
		return s
	}()
	// withAny are the permissions on the instance that come with a role on a single pool already: what one has
	// to see to work there. All others take effect with a grant on all pools only.
	withAny = NewSet(ViewGlobalEntities, ViewBootEntities)
)
