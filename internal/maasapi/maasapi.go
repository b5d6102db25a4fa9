// Package maasapi is the MAAS API 2.0 surface as data: one row per operation, with method, path, op, action,
// parameters and documentation. There are no handlers here; region/api binds each row by its ID.
//
// Routing, form decoding, the describe/ document, the reference page, the command line and the coverage tests
// all derive from this table. Names, paths and parameters are MAAS's. Source: MAAS API 2.0.
package maasapi

import (
	"crypto/sha1" //nolint:gosec // not for security: clients compare the hash of the description with a header
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

// Root is where the API lives.
const Root = "/MAAS/api/2.0"

// Operation is a row.
type Operation struct {
	ID      string // "machines.allocate": unique, what handlers are bound by
	Handler string // MAAS's class name, which clients turn into command names
	Method  string
	Path    string // below Root, with {parameters}
	Op      string // empty for the plain create, read, update and delete
	// Anonymous operations need no credentials.
	Anonymous bool
	Action    authz.Action
	Params    []Param
	// Compat names parameters that MAAS's clients send and that have no effect here yet.
	Compat []string
	// Prefix names families of parameters by their common beginning.
	Prefix  []string
	Status  int // of success; 200 if zero
	Returns string
	Doc     string
	// RawBody is set for uploads whose body is not a form.
	RawBody bool
	// Audited marks a row that records in the trail although it only reads.
	Audited bool
}

// Param is a parameter of an operation.
type Param struct {
	Name     string
	Required bool
	Secret   bool // never logged, and read from standard input by the command line
	Doc      string
	// Unruled says why request rules are not shown the parameter, besides secret ones, which they never are.
	Unruled string
}

// Name is the action's name in the description: create, read, update, delete, or the op.
func (o *Operation) Name() string {
	if o.Op != "" {
		return o.Op
	}
	return map[string]string{"GET": "read", "POST": "create", "PUT": "update", "DELETE": "delete"}[o.Method]
}

// Accepts reports whether the operation knows a parameter.
func (o *Operation) Accepts(name string) bool {
	return slices.ContainsFunc(o.Params, func(p Param) bool { return p.Name == name }) || slices.Contains(o.Compat, name) ||
		slices.ContainsFunc(o.Prefix, func(p string) bool { return strings.HasPrefix(name, p) })
}

// Opaque reports whether request rules are not shown a parameter. A machine's power parameters are told apart by its power type.
func (o *Operation) Opaque(name string) bool {
	if slices.ContainsFunc(o.Params, func(p Param) bool { return p.Name == name && (p.Secret || p.Unruled != "") }) {
		return true
	}
	for _, prefix := range o.Prefix {
		if rest, ok := strings.CutPrefix(name, prefix); ok && slices.ContainsFunc(metal.PowerTypes, func(t metal.PowerType) bool { return slices.Contains(t.Secrets(), rest) }) {
			return true
		}
	}
	return false
}

// OpaqueAnywhere reports whether any operation has such a parameter: pages and logins have fields of the same names.
func OpaqueAnywhere(name string) bool {
	return slices.ContainsFunc(Operations, func(o Operation) bool { return o.Opaque(name) })
}

// PathParams are the names in the path, in order.
func (o *Operation) PathParams() []string {
	var names []string
	for seg := range strings.SplitSeq(o.Path, "/") {
		if name, ok := strings.CutPrefix(seg, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}

// Documentation is the text that clients show as help: parameters as ":param NAME: …" lines, without which
// the maas command line accepts none.
func (o *Operation) Documentation() string {
	var b strings.Builder
	b.WriteString(o.Doc + "\n")
	for _, p := range o.Params {
		opt := "Optional. "
		if p.Required {
			opt = "Required. "
		}
		b.WriteString("\n:param " + p.Name + ": " + opt + p.Doc)
	}
	for _, p := range o.Prefix {
		b.WriteString("\n:param " + p + "NAME: Optional. One parameter of this family.")
	}
	for _, name := range o.Compat {
		b.WriteString("\n:param " + name + ": Optional. Accepted for compatibility; it has no effect.")
	}
	if o.Returns != "" {
		b.WriteString("\n\nReturns " + o.Returns + ".")
	}
	return b.String()
}

// Find returns the row of an ID.
func Find(id string) (*Operation, bool) {
	for i := range Operations {
		if Operations[i].ID == id {
			return &Operations[i], true
		}
	}
	return nil, false
}

// HandlerInfo documents a resource.
var HandlerInfo = withProviders(map[string]string{
	"VersionHandler": "Information about this instance's version and abilities.", "AccountHandler": "Manage the current logged-in user.",
	"UsersHandler": "Manage the user accounts.", "UserHandler": "Manage a user account.", "MaasHandler": "Manage the site's settings.",
	"MachinesHandler": "Manage the collection of all machines.", "MachineHandler": "Manage an individual machine.",
	"EventsHandler": "Retrieve events of machines.", "NodeScriptResultsHandler": "Script results of a machine.",
	"NodeScriptResultHandler": "One set of script results of a machine.", "ResourcePoolsHandler": "Manage resource pools.",
	"ResourcePoolHandler": "Manage a resource pool.", "ZonesHandler": "Manage zones.", "ZoneHandler": "Manage a zone.",
	"SSHKeysHandler": "Manage the SSH keys of the current user.", "SSHKeyHandler": "Manage an SSH key of the current user.",
	"FabricsHandler": "Manage fabrics.", "FabricHandler": "Manage a fabric.", "VlansHandler": "Manage the VLANs of a fabric.",
	"VlanHandler": "Manage a VLAN.", "SubnetsHandler": "Manage subnets.", "SubnetHandler": "Manage a subnet.",
	"IPRangesHandler": "Manage IP ranges.", "IPRangeHandler": "Manage an IP range.", "BootResourcesHandler": "Manage boot resources.",
	"BootResourceHandler": "Manage a boot resource.", "BootResourceFileUploadHandler": "Upload a boot resource file.",
	"RackControllersHandler": "Manage rack controllers.", "RackControllerHandler": "Manage a rack controller.",
	"UserGroupsHandler": "Manage user groups.", "UserGroupHandler": "Manage a user group.", "RolesHandler": "Manage roles.", "RoleHandler": "Manage a role.",
	"GrantsHandler": "Manage who is granted what.", "GrantHandler": "Manage a grant.", "NotificationsHandler": "Manage notifications.", "NotificationHandler": "Manage a notification.",
	"SecretsHandler":    "See how secrets are kept.",
	"VaultHandler":      "See where secrets are kept, and how Vault is.",
	"TLSHandler":        "Manage the certificate that pages and API show.",
	"HostChecksHandler": "See how the controllers' own hosts stand.", "HostCheckHandler": "See what the checks of a controller's own host found.",
	"HostCheckWaiversHandler": "Manage who answers for which findings.", "HostCheckWaiverHandler": "Manage a waiver.",
	"AlertsHandler": "See what detections found in security events and logs.", "HostLogsHandler": "See which logs the controllers read.", "AlertHandler": "Work off an alert.", "AlertSourcesHandler": "See where alerts come from.", "AlertUnitsHandler": "See which detections run.", "AlertUnitHandler": "See and change when a detection fires.",
	"BlocksHandler": "Manage who is shut out of the site.", "BlockHandler": "Manage the block of an address.", "BlockPolicyHandler": "Manage what is enforced against whom.",
	"HealthHandler": "Tell how what the region depends on stands.",
	"TrailHandler":  "Read and export the audit trail.", "AccessHandler": "Find out who can do what, and why.",
	"RegionControllersHandler": "Manage region controllers.", "RegionControllerHandler": "Manage a region controller.",
})

// Description is the describe/ document.
type Description struct {
	Doc       string     `json:"doc"`
	Hash      string     `json:"hash"`
	Resources []Resource `json:"resources"`
	Handlers  []*Handler `json:"handlers"`
}

// Resource is a class of the description.
type Resource struct {
	Name string   `json:"name"`
	Anon *Handler `json:"anon"`
	Auth *Handler `json:"auth"`
}

// Handler is what can be done with a resource, with or without credentials.
type Handler struct {
	Name    string   `json:"name"`
	Doc     string   `json:"doc"`
	Path    string   `json:"path"`
	URI     string   `json:"uri"`
	Params  []string `json:"params"`
	Actions []Action `json:"actions"`
}

// Action is one operation of a handler.
type Action struct {
	Name    string  `json:"name"`
	Method  string  `json:"method"`
	Op      *string `json:"op"`
	Restful bool    `json:"restful"`
	Doc     string  `json:"doc"`
}

// Describe makes the description for clients that reach the instance at base, such as "https://host:5443".
func Describe(base string) Description {
	d := Description{Doc: "Metalward API (MAAS API 2.0)", Hash: Hash()}
	byName := map[string]*Resource{}
	var names []string
	for i := range Operations {
		o := &Operations[i]
		r := byName[o.Handler]
		if r == nil {
			r = &Resource{Name: o.Handler}
			byName[o.Handler] = r
			names = append(names, o.Handler)
		}
		slot := &r.Auth
		if o.Anonymous {
			slot = &r.Anon
		}
		if *slot == nil {
			*slot = &Handler{Name: o.Handler, Doc: HandlerInfo[o.Handler], Path: Root + o.Path, URI: base + Root + o.Path, Params: append([]string{}, o.PathParams()...)}
		}
		a := Action{Name: o.Name(), Method: o.Method, Restful: o.Op == "", Doc: o.Documentation()}
		if o.Op != "" {
			a.Op = &o.Op
		}
		if !slices.ContainsFunc((*slot).Actions, func(b Action) bool { return b.Name == a.Name }) { // one spelling of a path is enough for clients
			(*slot).Actions = append((*slot).Actions, a)
		}
	}
	slices.Sort(names)
	var anon, auth []*Handler
	for _, name := range names {
		r := byName[name]
		for _, h := range []*Handler{r.Anon, r.Auth} {
			if h != nil {
				slices.SortFunc(h.Actions, func(a, b Action) int { return strings.Compare(a.Name, b.Name) })
			}
		}
		if r.Anon != nil {
			anon = append(anon, r.Anon)
		}
		if r.Auth != nil {
			auth = append(auth, r.Auth)
		}
		d.Resources = append(d.Resources, *r)
	}
	d.Handlers = append(anon, auth...)
	return d
}

// Hash identifies this version of the surface; it is the X-MAAS-API-Hash header too.
var Hash = sync.OnceValue(func() string {
	h := sha1.New() //nolint:gosec // see the import
	for i := range Operations {
		o := &Operations[i]
		_, _ = io.WriteString(h, o.Method+"\n"+o.Path+"\n"+o.Op+"\n"+o.Documentation()+"\n")
	}
	return hex.EncodeToString(h.Sum(nil))
})
