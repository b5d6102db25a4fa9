package machines

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// keepSets is how many script sets of a type are kept of a machine.
const keepSets = 10

// Commission boots a machine to take its inventory and run the commissioning scripts. A New machine is
// accepted by it. Kinds: NotFound, Forbidden, Invalid.
func (s *Service) Commission(ctx context.Context, systemID, comment string) (metal.Machine, error) {
	return s.change(ctx, authz.MachineCommission, systemID, func(c *gate.Call, m *metal.Machine) error {
		return s.commission(c, m, comment)
	})
}

func (s *Service) commission(c *gate.Call, m *metal.Machine, comment string) error {
	if err := powerConfigured(m); err != nil {
		return err
	}
	until, err := deadline(c)
	if err != nil {
		return err
	}
	from, owner := m.Status, ""
	if c.Principal().Kind == authz.User {
		owner = c.Principal().Name
	}
	if err := m.StartCommissioning(owner, c.Now(), until); err != nil {
		return err
	}
	if err := request(c, m, "User starting node commissioning", comment); err != nil {
		return err
	}
	if err := c.Tx().PutMachine(*m); err != nil {
		return err
	}
	b, err := s.expectBoot(c, m, metal.PurposeCommission, nil)
	if err != nil {
		return err
	}
	set := metal.ScriptSet{SystemID: m.SystemID, Type: metal.ResultCommissioning, BootID: b.ID, Started: c.Now()}
	for _, script := range metal.CommissioningScripts {
		set.Results = append(set.Results, metal.ScriptResult{Name: script.Name, Status: metal.ScriptPending})
	}
	if err := c.Tx().AddScriptSet(&set, keepSets); err != nil {
		return err
	}
	return moved(c, m, from)
}

func powerConfigured(m *metal.Machine) error {
	t, ok := metal.FindPowerType(m.PowerType)
	if !ok {
		return fault.Field("power_type", "Set a power type first: power must be configured.")
	}
	_, err := t.Validate(m.PowerParameters, false)
	return err
}

// Allocate gives the caller a Ready machine that the query selects: the first by cost whose taking succeeds.
// Kinds: Conflict with MAAS's text when there is none, Forbidden.
func (s *Service) Allocate(ctx context.Context, q store.MachineQuery, agentName, comment string, dryRun bool, described string) (m metal.Machine, err error) {
	none := fault.New(fault.Conflict, "%s", described)
	err = s.gate.Do(ctx, authz.MachineAllocate, func(c *gate.Call) error {
		if !authz.May(c.Principal(), authz.MachineAllocate) {
			return authz.Deny.Err(authz.Target{})
		}
		filter := authz.Machines(c.Principal(), authz.MachineAllocate)
		q.Filter, q.Statuses, q.OrderBy, q.Limit = filter, []metal.Status{metal.Ready}, "cost", 16
		list, err := c.Tx().Machines(q)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(list, func(m metal.Machine) bool { return !m.Locked && c.Can(store.MachineTarget(m)) })
		if i < 0 {
			return none
		}
		m = list[i]
		if err := c.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		if err := m.Allocate(c.Principal().Name, c.Now()); err != nil || dryRun {
			return err
		}
		m.AgentName = metal.Printable(agentName, 255)
		if err := c.Tx().PutMachine(m); err != nil {
			return err
		}
		if err := request(c, &m, "User acquiring node", comment); err != nil {
			return err
		}
		return moved(c, &m, metal.Ready)
	})
	if dryRun && err == nil {
		m.Status, m.Owner = metal.Ready, ""
	}
	return m, err
}

// DeployRequest says what to deploy.
type DeployRequest struct {
	Series    string // "debian12", "custom/debian12", or empty for the only image
	UserData  string // as sent: base64 or verbatim
	AgentName string
	Comment   string
}

// MaxUserData bounds user data, decoded, in bytes: cloud-init's own practical limit is far below.
const MaxUserData = 1 << 20

// Deploy installs an image on a machine that the caller owns; a Ready one is allocated first, as in MAAS.
// Kinds: NotFound, Forbidden, Conflict, Invalid.
func (s *Service) Deploy(ctx context.Context, systemID string, r DeployRequest) (metal.Machine, error) {
	userData, err := decodeUserData(r.UserData)
	if err != nil {
		return metal.Machine{}, err
	}
	return s.change(ctx, authz.MachineDeploy, systemID, func(c *gate.Call, m *metal.Machine) error {
		from := m.Status
		if m.Status == metal.Ready {
			if err := m.Allocate(c.Principal().Name, c.Now()); err != nil {
				return err
			}
			if err := moved(c, m, from); err != nil {
				return err
			}
			from = metal.Allocated
		}
		if m.Status != metal.Allocated {
			return fault.New(fault.Conflict, "Can't deploy a machine that is in the '%s' state", m.Status)
		}
		if m.Owner != c.Principal().Name {
			return fault.New(fault.Conflict, "Machine %s is allocated to another user.", m.Hostname)
		}
		if err := powerConfigured(m); err != nil {
			return err
		}
		image, err := s.pickImage(c, m, r.Series)
		if err != nil {
			return err
		}
		disk, err := bootDisk(c, m)
		if err != nil {
			return err
		}
		until, err := deadline(c)
		if err != nil {
			return err
		}
		if err := m.StartDeploying(image.OSystem(), image.Series(), c.Now(), until); err != nil {
			return err
		}
		if r.AgentName != "" {
			m.AgentName = metal.Printable(r.AgentName, 255)
		}
		if err := c.Tx().PutMachine(*m); err != nil {
			return err
		}
		if err := s.seal(c, m, userDataRef(m.SystemID), userData); err != nil {
			return err
		}
		version, _ := image.Deployable() // pickImage chose it for that
		task, err := json.Marshal(wire.DeployTask{ImageSHA256: version.SHA256, ImageSize: version.SizeBytes, Compression: version.Compression(), DiskSerial: disk.Serial, DiskName: disk.Name})
		if err != nil {
			return err
		}
		if _, err := s.expectBoot(c, m, metal.PurposeDeploy, task); err != nil {
			return err
		}
		image.LastDeployed = c.Now()
		if err := c.Require(store.ImageTarget(image.ID)); err != nil {
			return err
		}
		if err := c.Tx().PutBootResource(image); err != nil {
			return err
		}
		c.Note("image", image.Name)
		if err := request(c, m, "User starting deployment", r.Comment); err != nil {
			return err
		}
		return moved(c, m, from)
	})
}

// seal stores a secret of a machine, or removes it when it is empty.
func (s *Service) seal(c *gate.Call, m *metal.Machine, ref secret.Ref, v secret.Value) error {
	if v.Empty() {
		return c.Tx().DeleteSecret(store.MachineTarget(*m), ref)
	}
	sealed, err := s.keys.Seal(ref, v)
	if err != nil {
		return err
	}
	return c.Tx().PutSecret(store.MachineTarget(*m), ref, sealed, c.Now())
}

// unseal reads a secret of a machine; empty when it has none.
func (s *Service) unseal(v *store.View, ref secret.Ref) (secret.Value, error) {
	sealed, ok, err := v.Secret(ref)
	if err != nil || !ok {
		return secret.Value{}, err
	}
	return s.keys.Open(ref, sealed)
}

// decodeUserData undoes base64 when decoding and encoding again gives the same text, as MAAS does.
func decodeUserData(text string) (secret.Value, error) {
	data := []byte(text)
	squeezed := strings.Join(strings.Fields(text), "")
	if raw, err := base64.StdEncoding.DecodeString(squeezed); err == nil && base64.StdEncoding.EncodeToString(raw) == squeezed {
		data = raw
	}
	if len(data) > MaxUserData {
		return secret.Value{}, fault.Field("user_data", "User data has %d bytes; at most %d are accepted.", len(data), MaxUserData)
	}
	// cloud-init lets user data replace what we send as vendor data: then nobody would tell us of the end.
	if strings.HasPrefix(string(data), "#cloud-config") {
		var doc map[string]any
		if err := yaml.Unmarshal(data, &doc); err != nil {
			return secret.Value{}, fault.Field("user_data", "The cloud-config is not valid YAML: %.200s", err.Error())
		}
		if _, ok := doc["phone_home"]; ok {
			return secret.Value{}, fault.Field("user_data", "Leave phone_home out: it would replace the report that ends the deployment. Use runcmd to tell others.")
		}
	}
	return secret.NewValue(data), nil
}

func (s *Service) pickImage(c *gate.Call, m *metal.Machine, series string) (metal.BootResource, error) {
	all, err := c.Tx().BootResources()
	if err != nil {
		return metal.BootResource{}, err
	}
	var found []metal.BootResource
	for _, b := range all {
		if _, ok := b.Deployable(); ok && b.Architecture == m.Architecture && (series == "" || b.Name == series || b.Series() == series) {
			found = append(found, b)
		}
	}
	switch {
	case len(found) == 1, len(found) > 1 && series != "":
		return found[0], nil
	case len(found) > 1:
		return metal.BootResource{}, fault.Field("distro_series", "There are %d images: name one of them.", len(found))
	case series != "":
		return metal.BootResource{}, fault.Field("distro_series", "'%.64s' is not a complete image for %s. Upload it under Images first.", series, m.Architecture)
	default:
		return metal.BootResource{}, fault.Field("distro_series", "There is no complete image for %s. Upload one under Images first.", m.Architecture)
	}
}

// bootDisk is the disk that an image goes to: the chosen one, else the first.
func bootDisk(c *gate.Call, m *metal.Machine) (metal.BlockDevice, error) {
	disks, err := c.Tx().BlockDevices(m.SystemID)
	if err != nil {
		return metal.BlockDevice{}, err
	}
	if len(disks) == 0 {
		return metal.BlockDevice{}, fault.Field("storage", "The machine has no disk. Add one and commission it again.")
	}
	if i := slices.IndexFunc(disks, func(d metal.BlockDevice) bool { return d.ID == m.BootDiskID }); i >= 0 {
		return disks[i], nil
	}
	return disks[0], nil
}

// ReleaseRequest says how to release.
type ReleaseRequest struct {
	Erase   *bool // nil: as the site's setting says
	Quick   bool
	Comment string
}

// Release takes a machine back: erased by default, powered off, Ready. Kinds: NotFound, Forbidden, Conflict.
func (s *Service) Release(ctx context.Context, systemID string, r ReleaseRequest) (metal.Machine, error) {
	return s.change(ctx, authz.MachineRelease, systemID, func(c *gate.Call, m *metal.Machine) error {
		work, err := m.Releasable()
		if err != nil || !work {
			return err
		}
		erase, err := c.Tx().SettingBool("enable_disk_erasing_on_release")
		if err != nil {
			return err
		}
		asked := r.Erase != nil && *r.Erase
		if r.Erase != nil {
			erase = *r.Erase
		} else if m.Status == metal.Allocated {
			erase = false // nothing of its user was ever written to it
		}
		if err := request(c, m, "User releasing node", r.Comment); err != nil {
			return err
		}
		if err := s.endWork(c, m); err != nil {
			return err
		}
		from := m.Status
		until, err := deadline(c)
		if err != nil {
			return err
		}
		// Clients fail on a status that they do not expect: only an erasure they asked for shows as one.
		to := metal.Releasing
		if erase && asked {
			to = metal.DiskErasing
		}
		if err := m.Move(to, c.Now(), until); err != nil {
			return err
		}
		if err := c.Tx().PutMachine(*m); err != nil {
			return err
		}
		if err := moved(c, m, from); err != nil {
			return err
		}
		if erase {
			task, err := json.Marshal(wire.EraseTask{Disks: []string{}, Quick: r.Quick})
			if err != nil {
				return err
			}
			_, err = s.expectBoot(c, m, metal.PurposeErase, task)
			return err
		}
		if m.PowerType == "manual" || m.PowerType == "" || m.PowerState == metal.PowerOff {
			return s.finishRelease(c, m)
		}
		return s.enqueue(c, m, metal.ActionOff, metal.BootKeep)
	})
}

func (s *Service) finishRelease(c *gate.Call, m *metal.Machine) error {
	from := m.Status
	if err := m.FinishRelease(c.Now()); err != nil {
		return err
	}
	if err := s.endWork(c, m); err != nil {
		return err
	}
	if err := c.Tx().PutMachine(*m); err != nil {
		return err
	}
	nics, err := c.Tx().Interfaces(m.SystemID)
	if err != nil {
		return err
	}
	for i := range nics {
		if nics[i].IP.IsValid() { // the next owner starts with an address of his own
			nics[i].IP = netip.Addr{}
			if err := c.Tx().PutInterface(&nics[i]); err != nil {
				return err
			}
		}
	}
	if err := s.released(c, m); err != nil {
		return err
	}
	if err := event(c, m, metal.LevelInfo, "Released", ""); err != nil {
		return err
	}
	return moved(c, m, from)
}

// Abort ends what is under way. Kinds: NotFound, Forbidden, Conflict.
func (s *Service) Abort(ctx context.Context, systemID, comment string) (metal.Machine, error) {
	return s.change(ctx, authz.MachineAbort, systemID, func(c *gate.Call, m *metal.Machine) error {
		from := m.Status
		if err := m.Abort(c.Now()); err != nil {
			return err
		}
		if err := request(c, m, "User aborting "+strings.ToLower(from.String()), comment); err != nil {
			return err
		}
		if err := s.endWork(c, m); err != nil {
			return err
		}
		if err := c.Tx().PutMachine(*m); err != nil {
			return err
		}
		if m.PowerType != "manual" && m.PowerType != "" {
			if err := s.enqueue(c, m, metal.ActionOff, metal.BootKeep); err != nil {
				return err
			}
		}
		return moved(c, m, from)
	})
}
