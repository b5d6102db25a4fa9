package api

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/networks"
)

// The JSON forms of nouns. Field names, types and null rules are MAAS's. Source: MAAS API 2.0, objects.

func uri(format string, args ...any) string { return maasapi.Root + fmt.Sprintf(format, args...) }

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// stamp is a model's time: milliseconds, no fraction when zero.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	s := t.UTC().Format("2006-01-02T15:04:05.000")
	if s[len(s)-4:] == ".000" {
		s = s[:len(s)-4]
	}
	return s + "Z"
}

// mailTime is a script result's time. Source: RFC 2822.
func mailTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0000")
}

type namedJSON struct {
	ID          int64  `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	URI         string `json:"resource_uri"`
}

func poolJSON(p metal.ResourcePool) namedJSON {
	return namedJSON{p.ID, p.Name, p.Description, uri("/resourcepool/%d/", p.ID)}
}

func zoneJSON(z metal.Zone) namedJSON {
	return namedJSON{z.ID, z.Name, z.Description, uri("/zones/%s/", z.Name)}
}

func sshKeyJSON(k metal.SSHKey) any {
	return struct {
		ID        int64  `json:"id"`
		Key       string `json:"key"`
		KeySource string `json:"keysource"`
		URI       string `json:"resource_uri"`
	}{k.ID, k.Key, "", uri("/account/prefs/sshkeys/%d/", k.ID)}
}

type vlanJSON struct {
	ID            int64   `json:"id"`
	VID           int     `json:"vid"`
	FabricID      int64   `json:"fabric_id"`
	Fabric        string  `json:"fabric"`
	Name          string  `json:"name"`
	MTU           int     `json:"mtu"`
	DHCPOn        bool    `json:"dhcp_on"`
	ExternalDHCP  *string `json:"external_dhcp"`
	PrimaryRack   any     `json:"primary_rack"`
	SecondaryRack *string `json:"secondary_rack"`
	RelayVLAN     *string `json:"relay_vlan"`
	Space         string  `json:"space"`
	URI           string  `json:"resource_uri"`
}

type subnetJSON struct {
	ID          int64        `json:"id"`
	Name        string       `json:"name"`
	Description string       `json:"description"`
	VLAN        vlanJSON     `json:"vlan"`
	Space       string       `json:"space"`
	CIDR        string       `json:"cidr"`
	Gateway     any          `json:"gateway_ip"`
	DNSServers  []netip.Addr `json:"dns_servers"`
	RDNSMode    int          `json:"rdns_mode"`
	Discovery   bool         `json:"active_discovery"`
	AllowDNS    bool         `json:"allow_dns"`
	AllowProxy  bool         `json:"allow_proxy"`
	Managed     bool         `json:"managed"`
	Disabled    []string     `json:"disabled_boot_architectures"`
	URI         string       `json:"resource_uri"`
}

type fabricJSON struct {
	ID        int64      `json:"id"`
	Name      string     `json:"name"`
	ClassType any        `json:"class_type"`
	VLANs     []vlanJSON `json:"vlans"`
	URI       string     `json:"resource_uri"`
}

// model renders the network nouns, which refer to each other.
type model struct{ networks.Model }

func (m model) fabricName(id int64) string {
	for _, f := range m.Fabrics {
		if f.ID == id {
			return f.Name
		}
	}
	return ""
}

func (m model) vlan(v metal.VLAN) vlanJSON {
	return vlanJSON{ID: v.ID, VID: v.VID, FabricID: v.FabricID, Fabric: m.fabricName(v.FabricID), Name: v.Name, MTU: v.MTU, DHCPOn: v.DHCPOn,
		PrimaryRack: orNull(v.PrimaryRack), Space: "undefined", URI: uri("/vlans/%d/", v.ID)}
}

func (m model) vlanByID(id int64) vlanJSON {
	for _, v := range m.VLANs {
		if v.ID == id {
			return m.vlan(v)
		}
	}
	return vlanJSON{}
}

func (m model) subnet(s metal.Subnet) subnetJSON {
	dns := s.DNSServers
	if dns == nil {
		dns = []netip.Addr{}
	}
	j := subnetJSON{ID: s.ID, Name: s.Name, Description: s.Description, VLAN: m.vlanByID(s.VLANID), Space: "undefined", CIDR: s.CIDR.String(), DNSServers: dns,
		RDNSMode: 2, AllowDNS: true, AllowProxy: true, Managed: s.Managed, Disabled: []string{}, URI: uri("/subnets/%d/", s.ID)}
	if s.Gateway.IsValid() {
		j.Gateway = s.Gateway.String()
	}
	return j
}

func (m model) subnetByID(id int64) subnetJSON {
	for _, s := range m.Subnets {
		if s.ID == id {
			return m.subnet(s)
		}
	}
	return subnetJSON{}
}

func (m model) fabric(f metal.Fabric) fabricJSON {
	j := fabricJSON{ID: f.ID, Name: f.Name, ClassType: orNull(f.ClassType), VLANs: []vlanJSON{}, URI: uri("/fabrics/%d/", f.ID)}
	for _, v := range m.VLANs {
		if v.FabricID == f.ID {
			j.VLANs = append(j.VLANs, m.vlan(v))
		}
	}
	return j
}

func (m model) ipRange(r metal.IPRange) any {
	type user struct {
		Username string `json:"username"`
	}
	j := struct {
		ID      int64      `json:"id"`
		Type    string     `json:"type"`
		Start   string     `json:"start_ip"`
		End     string     `json:"end_ip"`
		Comment string     `json:"comment"`
		User    *user      `json:"user"`
		Subnet  subnetJSON `json:"subnet"`
		URI     string     `json:"resource_uri"`
	}{r.ID, string(r.Type), r.Start.String(), r.End.String(), r.Comment, nil, m.subnetByID(r.SubnetID), uri("/ipranges/%d/", r.ID)}
	if r.User != "" {
		j.User = &user{r.User}
	}
	return j
}

func imageJSON(b metal.BootResource, withSets bool) any {
	type file struct {
		Filename  string   `json:"filename"`
		FileType  string   `json:"filetype"`
		SHA256    string   `json:"sha256"`
		Size      int64    `json:"size"`
		Complete  bool     `json:"complete"`
		OnDisk    string   `json:"filename_on_disk"`
		Progress  *float64 `json:"progress,omitempty"`
		UploadURI string   `json:"upload_uri,omitempty"`
	}
	type set struct {
		Version  string          `json:"version"`
		Label    string          `json:"label"`
		Size     int64           `json:"size"`
		Complete bool            `json:"complete"`
		Progress *float64        `json:"progress,omitempty"`
		Files    map[string]file `json:"files"`
	}
	j := struct {
		ID           int64          `json:"id"`
		Type         string         `json:"type"`
		Name         string         `json:"name"`
		Title        string         `json:"title"`
		Architecture string         `json:"architecture"`
		Subarches    string         `json:"subarches"`
		KFlavor      string         `json:"kflavor"`
		LastDeployed any            `json:"last_deployed"`
		Sets         map[string]set `json:"sets,omitempty"`
		URI          string         `json:"resource_uri"`
	}{ID: b.ID, Type: "Uploaded", Name: b.Name, Title: b.Title, Architecture: b.Architecture, Subarches: "generic", LastDeployed: orNull(stamp(b.LastDeployed)),
		URI: uri("/boot-resources/%d/", b.ID)}
	if !withSets {
		return j
	}
	f := file{Filename: b.StoredFileType(), FileType: b.StoredFileType(), SHA256: b.SHA256, Size: b.SizeBytes, Complete: b.Complete, OnDisk: b.SHA256}
	version := b.Created.UTC().Format("20060102") + ".1"
	s := set{Version: version, Label: "uploaded", Size: b.SizeBytes, Complete: b.Complete}
	if !b.Complete {
		p := float64(b.Received) / float64(b.SizeBytes) * 100
		f.Progress, s.Progress = &p, &p
		f.UploadURI = uri("/boot-resources/%d/upload/%d/", b.ID, b.ID)
	}
	s.Files = map[string]file{f.Filename: f}
	j.Sets = map[string]set{version: s}
	if v := b.Serving; v.SHA256 != "" { // clients upload to the set with the highest version
		f := file{Filename: v.StoredFileType(), FileType: v.StoredFileType(), SHA256: v.SHA256, Size: v.SizeBytes, Complete: true, OnDisk: v.SHA256}
		version := b.Created.UTC().Format("20060102") + ".0"
		j.Sets[version] = set{Version: version, Label: "uploaded", Size: v.SizeBytes, Complete: true, Files: map[string]file{f.Filename: f}}
	}
	return j
}

func controllerJSON(c metal.Controller, now time.Time) any {
	type service struct {
		Name   string `json:"name"`
		Status string `json:"status"`
		Info   string `json:"status_info"`
	}
	status := "dead"
	if c.Connected(now) || c.Type != metal.NodeRackController {
		status = "running"
	}
	ips := []string{}
	for _, n := range c.Interfaces {
		for _, p := range n.Addresses {
			ips = append(ips, p.Addr().String())
		}
	}
	j := map[string]any{
		"system_id": c.SystemID, "hostname": c.Hostname, "fqdn": c.Hostname + "." + metal.DefaultDomain, "description": "", "architecture": "amd64/generic",
		"osystem": "", "distro_series": "", "power_type": "", "power_state": "unknown", "node_type": int(c.Type), "node_type_name": c.Type.String(),
		"hardware_uuid": nil, "version": c.Version, "domain": domainJSON(), "zone": zoneJSON(metal.Zone{ID: metal.DefaultZoneID, Name: "default"}),
		"cpu_count": 0, "cpu_speed": 0, "memory": 0, "swap_size": nil, "ip_addresses": ips, "interface_set": []any{}, "status_action": "", "tag_names": []string{},
		"hardware_info": map[string]string{}, "resource_uri": uri("/rackcontrollers/%s/", c.SystemID),
		"current_commissioning_result_id": nil, "current_testing_result_id": nil, "current_installation_result_id": nil,
	}
	if c.Type == metal.NodeRegionController {
		j["resource_uri"] = uri("/regioncontrollers/%s/", c.SystemID)
	} else {
		j["service_set"] = []service{{"rackd", status, ""}, {"dhcpd", status, ""}, {"tftp", status, ""}, {"http", status, ""}}
	}
	for _, t := range testStatuses {
		j[t] = -1
		j[t+"_name"] = "Unknown"
	}
	return j
}

var testStatuses = []string{"commissioning_status", "testing_status", "cpu_test_status", "memory_test_status", "network_test_status", "storage_test_status",
	"interface_test_status", "other_test_status"}

func domainJSON() any {
	return map[string]any{"id": 0, "name": metal.DefaultDomain, "ttl": nil, "authoritative": true, "resource_record_count": 0, "is_default": true,
		"resource_uri": uri("/domains/0/")}
}

func powerTypeJSON(t metal.PowerType) any {
	type field struct {
		Name     string      `json:"name"`
		Label    string      `json:"label"`
		Required bool        `json:"required"`
		Type     string      `json:"field_type"`
		Choices  [][2]string `json:"choices"`
		Default  string      `json:"default"`
		Scope    string      `json:"scope"`
		Secret   bool        `json:"secret"`
	}
	fields := []field{}
	for _, f := range t.Fields {
		choices := f.Choices
		if choices == nil {
			choices = [][2]string{}
		}
		fields = append(fields, field{f.Name, f.Label, f.Required, f.Type, choices, f.Default, "bmc", f.Secret})
	}
	return map[string]any{"driver_type": "power", "name": t.Name, "description": t.Description, "chassis": false, "can_probe": false, "queryable": t.Queryable,
		"missing_packages": []string{}, "fields": fields}
}

func scriptSetJSON(s metal.ScriptSet, output bool) any {
	results := []any{}
	for _, r := range s.Results {
		j := map[string]any{"id": r.ID, "created": mailTime(r.Created), "updated": mailTime(r.Updated), "name": r.Name, "status": int(r.Status), "status_name": r.Status.String(),
			"exit_status": nil, "started": mailTime(r.Started), "ended": mailTime(r.Ended), "runtime": runtime(r.Started, r.Ended), "starttime": seconds(r.Started),
			"endtime": seconds(r.Ended), "estimated_runtime": "", "parameters": map[string]any{}, "script_id": nil, "script_revision_id": nil, "suppressed": false}
		if r.HasExit {
			j["exit_status"] = r.ExitCode
		}
		if output {
			j["output"], j["stdout"], j["stderr"], j["result"] = append(append([]byte{}, r.Stdout...), r.Stderr...), nonNil(r.Stdout), nonNil(r.Stderr), nonNil(r.Result)
		}
		results = append(results, j)
	}
	st := s.Status()
	return map[string]any{"id": s.ID, "system_id": s.SystemID, "type": int(s.Type), "type_name": s.Type.String(), "last_ping": mailTime(s.LastPing), "started": mailTime(s.Started),
		"ended": mailTime(s.Ended), "status": int(st), "status_name": st.String(), "runtime": runtime(s.Started, s.Ended), "suppressed": false, "results": results,
		"resource_uri": uri("/nodes/%s/results/%d/", s.SystemID, s.ID)}
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func runtime(from, to time.Time) string {
	if from.IsZero() || to.IsZero() {
		return ""
	}
	d := to.Sub(from).Round(time.Second)
	return fmt.Sprintf("%d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}

func seconds(t time.Time) any {
	if t.IsZero() {
		return ""
	}
	return json.Number(strconv.FormatFloat(float64(t.UnixMicro())/1e6, 'f', 6, 64))
}
