package maasapi

import (
	"slices"

	"github.com/metalward/metalward/internal/authz"
)

func req(name, doc string) Param { return Param{Name: name, Required: true, Doc: doc} }
func opt(name, doc string) Param { return Param{Name: name, Doc: doc} }

var takeOver = opt("take_over", "Also replace an account that a person gave, and shut it out.")
var comment = opt("comment", "A comment for the event log.")

// machineFields are what create and update share. What Terraform sends to one it sends to the other.
var machineFields = []Param{
	opt("hostname", "Host name, unique. A machine without one is given one."),
	opt("description", "Free text."),
	opt("architecture", "Such as amd64/generic."),
	opt("mac_addresses", "MAC addresses of its interfaces; repeat the field. Needed to create, ignored by update."),
	opt("power_type", "How its BMC is spoken to: ipmi or manual."),
	{Name: "power_parameters", Doc: "All power parameters as one JSON object.", Unruled: "it holds the BMC's password"},
	opt("pool", "Name of its resource pool."),
	opt("zone", "Name of its zone."),
	opt("cpu_count", "Number of CPU threads; commissioning finds it out."),
	opt("memory", "Memory in MiB; commissioning finds it out."),
	opt("commission", "Commission the machine once it is created (true by default)."),
}

var machineCompat = []string{"domain", "subarchitecture", "min_hwe_kernel", "hwe_kernel", "swap_size", "disable_ipv4", "osystem", "distro_series",
	"license_key", "ephemeral_deploy", "enable_kernel_crash_dump", "enable_hw_sync", "is_dpu", "power_parameters_skip_check",
	"commissioning_scripts", "testing_scripts", "enable_ssh", "skip_bmc_config", "skip_networking", "skip_storage", "deployed", "dynamic"}

// listFilters select machines in lists.
var listFilters = []Param{
	opt("id", "System ids."), opt("system_id", "System ids."), opt("hostname", "Host names."), opt("mac_address", "MAC addresses."),
	opt("zone", "Names of zones."), opt("pool", "Names of pools."), opt("owner", "Names of owners."), opt("arch", "Architectures."),
	opt("tags", "Names of tags; all must be there."), opt("status", "Statuses such as ready or failed_testing."), opt("power_state", "Power states."),
	opt("agent_name", "Agent name."), opt("cpu_count", "At least so many CPU threads."), opt("mem", "At least so much memory, MiB."),
	opt("not_in_zone", "Names of zones to leave out."), opt("not_in_pool", "Names of pools to leave out."), opt("not_tags", "Names of tags to leave out."),
	opt("not_id", "System ids to leave out."), opt("not_system_id", "System ids to leave out."), opt("not_owner", "Owners to leave out."),
	opt("not_status", "Statuses to leave out."), opt("domain", "Names of domains."),
}

// constraints select a machine to allocate.
var constraints = []Param{
	opt("name", "Host name, with or without domain."), opt("system_id", "System id."), opt("arch", "Architecture, such as amd64 or amd64/generic."),
	opt("cpu_count", "At least so many CPU threads."), opt("mem", "At least so much memory, MiB."), opt("tags", "Tags; all must be there."),
	opt("not_tags", "Tags that must not be there."), opt("zone", "Name of the zone."), opt("not_in_zone", "Names of zones to leave out."),
	opt("pool", "Name of the resource pool."), opt("not_in_pool", "Names of pools to leave out."), opt("agent_name", "Name of the tool that allocates."),
	comment, opt("dry_run", "Find a machine, but do not allocate it."),
}

// Operations is the table.
var Operations = slices.Concat(coreOperations, accountOperations, userOperations, accessOperations, trailOperations, notificationOperations, providerOperations, tlsOperations, secretsOperations, hostCheckOperations, alertOperations, blockOperations, healthOperations)

var coreOperations = []Operation{
	{ID: "version.read", Handler: "VersionHandler", Method: "GET", Path: "/version/", Anonymous: true, Action: authz.PublicView,
		Returns: "version and capabilities", Doc: "Read the version and the capabilities of this instance."},

	{ID: "maas.get_config", Handler: "MaasHandler", Method: "GET", Path: "/maas/", Op: "get_config", Action: authz.SettingView,
		Params: []Param{req("name", "Name of the setting.")}, Returns: "its value", Doc: "Read a setting of the site."},
	{ID: "maas.set_config", Handler: "MaasHandler", Method: "POST", Path: "/maas/", Op: "set_config", Action: authz.SettingEdit,
		Params: []Param{req("name", "Name of the setting."), opt("value", "Its new value.")}, Doc: "Change a setting of the site."},

	{ID: "machines.list", Handler: "MachinesHandler", Method: "GET", Path: "/machines/", Action: authz.MachineView, Params: listFilters, Returns: "a list of machines",
		Doc: "List the machines that the current user may see."},
	{ID: "machines.create", Handler: "MachinesHandler", Method: "POST", Path: "/machines/", Action: authz.MachineCreate, Params: machineFields, Compat: machineCompat,
		Prefix: []string{"power_parameters_"}, Returns: "the machine", Doc: "Create a machine and, unless commission is false, commission it."},
	{ID: "machines.accept", Handler: "MachinesHandler", Method: "POST", Path: "/machines/", Op: "accept", Action: authz.MachineCommission,
		Params: []Param{req("machines", "System ids of New machines; repeat the field.")}, Returns: "the machines that changed", Doc: "Accept New machines: they are commissioned."},
	{ID: "machines.accept_all", Handler: "MachinesHandler", Method: "POST", Path: "/machines/", Op: "accept_all", Action: authz.MachineCommission,
		Returns: "the machines that changed", Doc: "Accept all New machines: they are commissioned."},
	{ID: "machines.allocate", Handler: "MachinesHandler", Method: "POST", Path: "/machines/", Op: "allocate", Action: authz.MachineAllocate, Params: constraints,
		Compat: []string{"bridge_all", "bridge_type", "bridge_stp", "bridge_fd", "verbose"}, Returns: "the machine, with constraints_by_type",
		Doc: "Allocate a Ready machine that satisfies the constraints."},
	{ID: "machines.list_allocated", Handler: "MachinesHandler", Method: "GET", Path: "/machines/", Op: "list_allocated", Action: authz.MachineView,
		Params: []Param{opt("id", "System ids.")}, Returns: "a list of machines", Doc: "List the machines that the current user has allocated."},
	{ID: "machines.release", Handler: "MachinesHandler", Method: "POST", Path: "/machines/", Op: "release", Action: authz.MachineRelease,
		Params: []Param{req("machines", "System ids; repeat the field."), comment}, Returns: "the system ids that were released", Doc: "Release several machines."},
	{ID: "machines.rotate_bmc", Handler: "MachinesHandler", Method: "POST", Path: "/machines/", Op: "rotate_bmc", Action: authz.MachineRotateBMC,
		Params:  []Param{opt("machines", "System ids; repeat the field."), opt("pool", "Names of pools."), opt("all", "All machines that the caller administers."), takeOver, comment},
		Returns: "the system ids of the machines whose rotation has begun, and why others were skipped", Doc: "Rotate the BMC accounts of several machines; a few at a time."},

	{ID: "machine.read", Handler: "MachineHandler", Method: "GET", Path: "/machines/{system_id}/", Action: authz.MachineView, Returns: "the machine", Doc: "Read a machine."},
	{ID: "machine.update", Handler: "MachineHandler", Method: "PUT", Path: "/machines/{system_id}/", Action: authz.MachineUpdate, Params: machineFields,
		Compat: machineCompat, Prefix: []string{"power_parameters_"}, Returns: "the machine", Doc: "Change a machine."},
	{ID: "machine.delete", Handler: "MachineHandler", Method: "DELETE", Path: "/machines/{system_id}/", Action: authz.MachineDelete, Status: 204, Compat: []string{"force"},
		Doc: "Delete a machine."},
	{ID: "machine.abort", Handler: "MachineHandler", Method: "POST", Path: "/machines/{system_id}/", Op: "abort", Action: authz.MachineAbort, Params: []Param{comment},
		Returns: "the machine", Doc: "Abort what is under way with a machine."},
	{ID: "machine.commission", Handler: "MachineHandler", Method: "POST", Path: "/machines/{system_id}/", Op: "commission", Action: authz.MachineCommission,
		Params: []Param{comment}, Compat: []string{"enable_ssh", "skip_bmc_config", "skip_networking", "skip_storage", "commissioning_scripts", "testing_scripts"},
		Returns: "the machine", Doc: "Commission a machine: take its inventory and run the commissioning scripts."},
	{ID: "machine.deploy", Handler: "MachineHandler", Method: "POST", Path: "/machines/{system_id}/", Op: "deploy", Action: authz.MachineDeploy,
		Params: []Param{opt("distro_series", "Name of the image, such as debian12 or custom/debian12. May be left out when there is one only."),
			{Name: "user_data", Secret: true, Doc: "User data for cloud-init, base64."}, opt("agent_name", "Name of the tool that deploys."), comment},
		Compat: []string{"hwe_kernel", "osystem", "license_key", "bridge_all", "bridge_type", "bridge_stp", "bridge_fd", "ephemeral_deploy", "enable_hw_sync",
			"enable_kernel_crash_dump", "vcenter_registration", "install_rackd", "install_kvm", "register_vmhost"},
		Returns: "the machine", Doc: "Deploy an image to a machine. A Ready machine is allocated first."},
	{ID: "machine.details", Handler: "MachineHandler", Method: "GET", Path: "/machines/{system_id}/", Op: "details", Action: authz.MachineView,
		Returns: "hardware details as BSON", Doc: "Read the hardware details that commissioning found."},
	{ID: "machine.lock", Handler: "MachineHandler", Method: "POST", Path: "/machines/{system_id}/", Op: "lock", Action: authz.MachineLock, Params: []Param{comment},
		Returns: "the machine", Doc: "Lock a deployed machine against changes."},
	{ID: "machine.unlock", Handler: "MachineHandler", Method: "POST", Path: "/machines/{system_id}/", Op: "unlock", Action: authz.MachineLock, Params: []Param{comment},
		Returns: "the machine", Doc: "Unlock a machine."},
	{ID: "machine.power_off", Handler: "MachineHandler", Method: "POST", Path: "/machines/{system_id}/", Op: "power_off", Action: authz.MachinePower,
		Params: []Param{comment}, Compat: []string{"stop_mode"}, Returns: "the machine", Doc: "Power a machine off."},
	{ID: "machine.power_on", Handler: "MachineHandler", Method: "POST", Path: "/machines/{system_id}/", Op: "power_on", Action: authz.MachinePower,
		Params: []Param{{Name: "user_data", Secret: true, Doc: "User data for cloud-init, base64: an Allocated machine is deployed."}, comment},
		Compat: []string{"distro_series", "hwe_kernel"}, Returns: "the machine", Doc: "Power a machine on. An Allocated machine is deployed."},
	{ID: "machine.power_parameters", Handler: "MachineHandler", Method: "GET", Path: "/machines/{system_id}/", Op: "power_parameters", Action: authz.MachineReadPower,
		Returns: "the parameters; secret ones are left out", Doc: "Read a machine's power parameters. Passwords and keys are written, never read back."},
	{ID: "machine.query_power_state", Handler: "MachineHandler", Method: "GET", Path: "/machines/{system_id}/", Op: "query_power_state", Action: authz.MachineView,
		Returns: "the power state", Doc: "Ask a machine's BMC for its power state now."},
	{ID: "machine.bmc_account", Handler: "MachineHandler", Method: "GET", Path: "/machines/{system_id}/", Op: "bmc_account", Action: authz.MachineView,
		Returns: "who made the account, when it was rotated, how far a rotation is and what went wrong", Doc: "Read how the rotation of a machine's BMC account stands."},
	{ID: "machine.rotate_bmc", Handler: "MachineHandler", Method: "POST", Path: "/machines/{system_id}/", Op: "rotate_bmc", Action: authz.MachineRotateBMC,
		Params: []Param{takeOver, comment}, Returns: "how the rotation stands",
		Doc: "Replace the account by which a machine's BMC is spoken to: another one is made and proved, then the old one is shut out."},
	{ID: "machine.show_bmc_credentials", Handler: "MachineHandler", Method: "POST", Path: "/machines/{system_id}/", Op: "show_bmc_credentials", Action: authz.MachineShowBMC, Audited: true,
		Returns: "the accounts with their passwords: in_use, next and previous", Doc: "Show the accounts of a machine's BMC, for when it has to be reached by hand. Each time leaves an event in the trail."},
	{ID: "machine.release", Handler: "MachineHandler", Method: "POST", Path: "/machines/{system_id}/", Op: "release", Action: authz.MachineRelease,
		Params: []Param{opt("erase", "Erase the disks. By default as the setting enable_disk_erasing_on_release says (true)."),
			opt("quick_erase", "Erase only the beginning and the end of each disk."), comment},
		Compat: []string{"secure_erase", "force", "scripts"}, Returns: "the machine", Doc: "Release a machine: it is erased and returns to Ready."},

	{ID: "events.query", Handler: "EventsHandler", Method: "GET", Path: "/events/", Op: "query", Action: authz.MachineView,
		Params: []Param{opt("hostname", "Host names."), opt("mac_address", "MAC addresses."), opt("id", "System ids."), opt("zone", "Names of zones."), opt("pool", "Names of pools."),
			opt("agent_name", "Agent name."), opt("owner", "Names of owners."), opt("level", "Lowest level: DEBUG, INFO, WARNING or ERROR. INFO by default."),
			opt("limit", "How many, 1 to 1000; 100 by default."), opt("before", "Only events before this id."), opt("after", "Only events after this id.")},
		Compat: []string{"domain"}, Returns: "a page of events, newest first", Doc: "List events of machines."},

	{ID: "results.list", Handler: "NodeScriptResultsHandler", Method: "GET", Path: "/nodes/{system_id}/results/", Action: authz.MachineView,
		Params: []Param{opt("type", "Kinds of results: commissioning, installation, testing, release."), opt("include_output", "Include the output, base64."),
			opt("filters", "Names of scripts, separated by commas.")}, Compat: []string{"hardware_type"}, Returns: "a list of sets of results", Doc: "List a machine's script results."},
	{ID: "result.read", Handler: "NodeScriptResultHandler", Method: "GET", Path: "/nodes/{system_id}/results/{id}/", Action: authz.MachineView,
		Params: []Param{opt("include_output", "Include the output, base64."), opt("filters", "Names of scripts, separated by commas.")}, Compat: []string{"hardware_type"},
		Returns: "the set of results", Doc: "Read a set of script results by id, or current-commissioning."},

	{ID: "pools.list", Handler: "ResourcePoolsHandler", Method: "GET", Path: "/resourcepools/", Action: authz.PoolView, Returns: "a list of pools", Doc: "List the resource pools."},
	{ID: "pools.create", Handler: "ResourcePoolsHandler", Method: "POST", Path: "/resourcepools/", Action: authz.PoolCreate,
		Params: []Param{req("name", "Name, unique."), opt("description", "Free text.")}, Returns: "the pool", Doc: "Create a resource pool."},
	{ID: "pool.read", Handler: "ResourcePoolHandler", Method: "GET", Path: "/resourcepool/{id}/", Action: authz.PoolView, Returns: "the pool", Doc: "Read a resource pool."},
	{ID: "pool.update", Handler: "ResourcePoolHandler", Method: "PUT", Path: "/resourcepool/{id}/", Action: authz.PoolEdit,
		Params: []Param{opt("name", "New name."), opt("description", "Free text.")}, Returns: "the pool", Doc: "Change a resource pool."},
	{ID: "pool.delete", Handler: "ResourcePoolHandler", Method: "DELETE", Path: "/resourcepool/{id}/", Action: authz.PoolDelete, Status: 204, Doc: "Delete an empty resource pool."},

	{ID: "zones.list", Handler: "ZonesHandler", Method: "GET", Path: "/zones/", Action: authz.ZoneView, Returns: "a list of zones", Doc: "List the zones."},
	{ID: "zones.create", Handler: "ZonesHandler", Method: "POST", Path: "/zones/", Action: authz.ZoneEdit,
		Params: []Param{req("name", "Name, unique."), opt("description", "Free text.")}, Returns: "the zone", Doc: "Create a zone."},
	{ID: "zone.read", Handler: "ZoneHandler", Method: "GET", Path: "/zones/{name}/", Action: authz.ZoneView, Returns: "the zone", Doc: "Read a zone."},
	{ID: "zone.update", Handler: "ZoneHandler", Method: "PUT", Path: "/zones/{name}/", Action: authz.ZoneEdit,
		Params: []Param{opt("name", "New name."), opt("description", "Free text.")}, Returns: "the zone", Doc: "Change a zone."},
	{ID: "zone.delete", Handler: "ZoneHandler", Method: "DELETE", Path: "/zones/{name}/", Action: authz.ZoneEdit, Status: 204, Doc: "Delete an empty zone."},

	{ID: "sshkeys.list", Handler: "SSHKeysHandler", Method: "GET", Path: "/account/prefs/sshkeys/", Action: authz.KeyView, Returns: "a list of keys", Doc: "List the current user's SSH keys."},
	{ID: "sshkeys.create", Handler: "SSHKeysHandler", Method: "POST", Path: "/account/prefs/sshkeys/", Action: authz.KeyEdit, Params: []Param{{Name: "key", Required: true, Doc: "A public key, one line.", Unruled: "base64 is arbitrary text; the key is parsed"}},
		Status: 201, Returns: "the key", Doc: "Add an SSH key. It is placed on machines that the user deploys from then on."},
	{ID: "sshkey.read", Handler: "SSHKeyHandler", Method: "GET", Path: "/account/prefs/sshkeys/{id}/", Action: authz.KeyView, Returns: "the key", Doc: "Read one of the current user's SSH keys."},
	{ID: "sshkey.delete", Handler: "SSHKeyHandler", Method: "DELETE", Path: "/account/prefs/sshkeys/{id}/", Action: authz.KeyEdit, Status: 204, Doc: "Delete one of the current user's SSH keys."},

	{ID: "fabrics.list", Handler: "FabricsHandler", Method: "GET", Path: "/fabrics/", Action: authz.NetworkView, Returns: "a list of fabrics", Doc: "List the fabrics."},
	{ID: "fabrics.create", Handler: "FabricsHandler", Method: "POST", Path: "/fabrics/", Action: authz.NetworkEdit, Params: []Param{opt("name", "Name, unique."), opt("class_type", "Class.")},
		Compat: []string{"description"}, Returns: "the fabric", Doc: "Create a fabric with its untagged VLAN."},
	{ID: "fabric.read", Handler: "FabricHandler", Method: "GET", Path: "/fabrics/{id}/", Action: authz.NetworkView, Returns: "the fabric", Doc: "Read a fabric."},
	{ID: "fabric.update", Handler: "FabricHandler", Method: "PUT", Path: "/fabrics/{id}/", Action: authz.NetworkEdit, Params: []Param{opt("name", "New name."), opt("class_type", "Class.")},
		Compat: []string{"description"}, Returns: "the fabric", Doc: "Change a fabric."},
	{ID: "fabric.delete", Handler: "FabricHandler", Method: "DELETE", Path: "/fabrics/{id}/", Action: authz.NetworkEdit, Status: 204, Doc: "Delete a fabric without subnets."},

	{ID: "vlans.list", Handler: "VlansHandler", Method: "GET", Path: "/fabrics/{fabric_id}/vlans/", Action: authz.NetworkView, Returns: "a list of VLANs", Doc: "List the VLANs of a fabric."},
	{ID: "vlans.create", Handler: "VlansHandler", Method: "POST", Path: "/fabrics/{fabric_id}/vlans/", Action: authz.NetworkEdit, Params: append([]Param{req("vid", "VID, 0 to 4094.")}, vlanFields...),
		Compat: vlanCompat, Returns: "the VLAN", Doc: "Create a VLAN."},
	{ID: "vlan.read", Handler: "VlanHandler", Method: "GET", Path: "/fabrics/{fabric_id}/vlans/{vid}/", Action: authz.NetworkView, Returns: "the VLAN", Doc: "Read a VLAN."},
	{ID: "vlan.update", Handler: "VlanHandler", Method: "PUT", Path: "/fabrics/{fabric_id}/vlans/{vid}/", Action: authz.NetworkEdit, Params: append([]Param{opt("vid", "New VID.")}, vlanFields...),
		Compat: vlanCompat, Returns: "the VLAN", Doc: "Change a VLAN; turn DHCP on and off."},
	{ID: "vlan.delete", Handler: "VlanHandler", Method: "DELETE", Path: "/fabrics/{fabric_id}/vlans/{vid}/", Action: authz.NetworkEdit, Status: 204, Doc: "Delete a VLAN without subnets."},
	{ID: "vlanid.read", Handler: "VlanHandler", Method: "GET", Path: "/vlans/{vlan_id}/", Action: authz.NetworkView, Returns: "the VLAN", Doc: "Read a VLAN."},
	{ID: "vlanid.update", Handler: "VlanHandler", Method: "PUT", Path: "/vlans/{vlan_id}/", Action: authz.NetworkEdit, Params: append([]Param{opt("vid", "New VID.")}, vlanFields...),
		Compat: vlanCompat, Returns: "the VLAN", Doc: "Change a VLAN; turn DHCP on and off."},
	{ID: "vlanid.delete", Handler: "VlanHandler", Method: "DELETE", Path: "/vlans/{vlan_id}/", Action: authz.NetworkEdit, Status: 204, Doc: "Delete a VLAN without subnets."},

	{ID: "subnets.list", Handler: "SubnetsHandler", Method: "GET", Path: "/subnets/", Action: authz.NetworkView, Returns: "a list of subnets", Doc: "List the subnets."},
	{ID: "subnets.create", Handler: "SubnetsHandler", Method: "POST", Path: "/subnets/", Action: authz.NetworkEdit, Params: append([]Param{req("cidr", "The network, such as 10.0.0.0/24.")}, subnetFields...),
		Compat: subnetCompat, Returns: "the subnet", Doc: "Create a subnet."},
	{ID: "subnet.read", Handler: "SubnetHandler", Method: "GET", Path: "/subnets/{id}/", Action: authz.NetworkView, Returns: "the subnet", Doc: "Read a subnet by id, name or CIDR."},
	{ID: "subnet.update", Handler: "SubnetHandler", Method: "PUT", Path: "/subnets/{id}/", Action: authz.NetworkEdit, Params: append([]Param{opt("cidr", "The network.")}, subnetFields...),
		Compat: subnetCompat, Returns: "the subnet", Doc: "Change a subnet."},
	{ID: "subnet.delete", Handler: "SubnetHandler", Method: "DELETE", Path: "/subnets/{id}/", Action: authz.NetworkEdit, Status: 204, Compat: []string{"force"}, Doc: "Delete a subnet with its ranges."},

	{ID: "ipranges.list", Handler: "IPRangesHandler", Method: "GET", Path: "/ipranges/", Action: authz.NetworkView, Returns: "a list of ranges", Doc: "List the IP ranges."},
	{ID: "ipranges.create", Handler: "IPRangesHandler", Method: "POST", Path: "/ipranges/", Action: authz.NetworkEdit,
		Params: []Param{req("type", "dynamic (handed out by DHCP) or reserved."), req("start_ip", "First address."), req("end_ip", "Last address."),
			opt("subnet", "The subnet, by id, name or CIDR; found by the addresses if left out."), opt("comment", "Free text.")}, Compat: []string{"user"},
		Returns: "the range", Doc: "Create an IP range."},
	{ID: "iprange.read", Handler: "IPRangeHandler", Method: "GET", Path: "/ipranges/{id}/", Action: authz.NetworkView, Returns: "the range", Doc: "Read an IP range."},
	{ID: "iprange.update", Handler: "IPRangeHandler", Method: "PUT", Path: "/ipranges/{id}/", Action: authz.NetworkEdit,
		Params: []Param{opt("type", "dynamic or reserved."), opt("start_ip", "First address."), opt("end_ip", "Last address."), opt("comment", "Free text.")}, Compat: []string{"subnet", "user"},
		Returns: "the range", Doc: "Change an IP range."},
	{ID: "iprange.delete", Handler: "IPRangeHandler", Method: "DELETE", Path: "/ipranges/{id}/", Action: authz.NetworkEdit, Status: 204, Doc: "Delete an IP range."},

	{ID: "images.list", Handler: "BootResourcesHandler", Method: "GET", Path: "/boot-resources/", Action: authz.ImageView, Compat: []string{"type"}, Returns: "a list of boot resources",
		Doc: "List the images."},
	{ID: "images.create", Handler: "BootResourcesHandler", Method: "POST", Path: "/boot-resources/", Action: authz.ImageEdit, Status: 201,
		Params: []Param{req("name", "Name, such as custom/debian12."), req("architecture", "Such as amd64/generic."), req("sha256", "SHA-256 of the file, hex."), req("size", "Size of the file in bytes."),
			opt("title", "A title for people."), opt("filetype", "How the whole-disk image is packed: ddraw, ddgz, ddxz or ddzst.")}, Compat: []string{"base_image", "keep_old"},
		Returns: "the boot resource with its upload_uri", Doc: "Announce an image, which is then uploaded in chunks to its upload_uri."},
	{ID: "image.read", Handler: "BootResourceHandler", Method: "GET", Path: "/boot-resources/{id}/", Action: authz.ImageView, Returns: "the boot resource", Doc: "Read an image."},
	{ID: "image.delete", Handler: "BootResourceHandler", Method: "DELETE", Path: "/boot-resources/{id}/", Action: authz.ImageEdit, Status: 204, Doc: "Delete an image."},
	{ID: "image.upload", Handler: "BootResourceFileUploadHandler", Method: "PUT", Path: "/boot-resources/{resource_id}/upload/{id}/", Action: authz.ImageEdit, RawBody: true,
		Doc: "Upload the next chunk of an image as application/octet-stream."},

	{ID: "racks.list", Handler: "RackControllersHandler", Method: "GET", Path: "/rackcontrollers/", Action: authz.ControllerView, Returns: "a list of rack controllers", Doc: "List the rack controllers."},
	{ID: "racks.describe_power_types", Handler: "RackControllersHandler", Method: "GET", Path: "/rackcontrollers/", Op: "describe_power_types", Action: authz.MachineView,
		Returns: "a list of power types", Doc: "Describe the power types and their parameters."},
	{ID: "racks.generate_token", Handler: "RackControllersHandler", Method: "POST", Path: "/rackcontrollers/", Op: "generate_token", Action: authz.RackToken,
		Params: []Param{req("name", "Host name of the rack that may use it.")}, Returns: "the token, when it expires, and the command to run on the rack, which reads the token from standard input",
		Doc: "Make an enrolment token for one rack controller. It works once, for 15 minutes, and is shown only now."},
	{ID: "racks.show_shared_secret", Handler: "RackControllersHandler", Method: "POST", Path: "/rackcontrollers/", Op: "show_shared_secret", Action: authz.SharedSecretReveal, Audited: true,
		Returns: "the secret and when it was rotated", Doc: "Show the shared secret that enrolment tokens are minted with. Each time leaves an event in the trail."},
	{ID: "racks.rotate_shared_secret", Handler: "RackControllersHandler", Method: "POST", Path: "/rackcontrollers/", Op: "rotate_shared_secret", Action: authz.SharedSecretRotate,
		Params:  []Param{opt("refuse_tokens", "Refuse tokens that are out already; by default they work until they expire, 15 minutes at most.")},
		Returns: "when it was rotated and until when tokens of before work", Doc: "Replace the shared secret. Racks that have joined are not concerned."},
	{ID: "rack.read", Handler: "RackControllerHandler", Method: "GET", Path: "/rackcontrollers/{system_id}/", Action: authz.ControllerView, Returns: "the rack controller", Doc: "Read a rack controller."},
	{ID: "rack.delete", Handler: "RackControllerHandler", Method: "DELETE", Path: "/rackcontrollers/{system_id}/", Action: authz.ControllerEdit, Status: 204, Compat: []string{"force"},
		Doc: "Remove a rack controller: its certificates are refused from then on."},
	{ID: "regions.list", Handler: "RegionControllersHandler", Method: "GET", Path: "/regioncontrollers/", Action: authz.ControllerView, Returns: "a list of region controllers",
		Doc: "List the region controllers."},
	{ID: "region.read", Handler: "RegionControllerHandler", Method: "GET", Path: "/regioncontrollers/{system_id}/", Action: authz.ControllerView, Returns: "the region controller",
		Doc: "Read a region controller."},
}

var vlanFields = []Param{opt("name", "Name."), opt("mtu", "MTU in bytes, 552 to 65535."), opt("dhcp_on", "Whether the primary rack serves DHCP and network boot on it."),
	opt("primary_rack", "System id of the rack controller that serves it.")}
var vlanCompat = []string{"description", "space", "secondary_rack", "relay_vlan", "fabric"}

var subnetFields = []Param{opt("name", "Name; the CIDR by default."), opt("description", "Free text."), opt("vlan", "The VLAN's id; a new fabric's if left out."),
	opt("gateway_ip", "Gateway."), opt("dns_servers", "DNS servers, separated by commas or blanks."), opt("managed", "Whether Metalward hands out its addresses.")}
var subnetCompat = []string{"fabric", "vid", "rdns_mode", "allow_dns", "allow_proxy", "active_discovery", "disabled_boot_architectures"}
