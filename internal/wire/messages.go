package wire

import (
	"net/netip"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
)

// Class is who may send a message: what a certificate must prove.
type Class string

// The classes.
const (
	FromRack    Class = "rack"    // a rack with a valid certificate
	FromExpired Class = "expired" // also a rack whose certificate ended within the renewal grace
	FromRegion  Class = "region"  // the region, over the connection the rack dialled
)

// Message is a row of the table.
type Message struct {
	Name  string
	From  Class
	Limit int64 // largest request body in bytes
	Doc   string
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// The calls.
var (
	Hello     = Message{"hello", FromRack, 256 * kib, "A rack introduces itself and its interfaces; again whenever they change, and every 15 seconds as a sign of life."}
	Renew     = Message{"renew", FromExpired, 16 * kib, "A new certificate for the rack's new key."}
	ServeCert = Message{"serve-certificate", FromRack, 16 * kib, "A server certificate for the rack's HTTPS on its boot VLANs."}
	Boot      = Message{"boot", FromRack, 16 * kib, "What a machine that network-boots should do."}
	Claim     = Message{"claim", FromRack, 32 * kib, "An agent spends its boot token for a certificate of that boot."}
	Task      = Message{"task", FromRack, 4 * kib, "What the agent of a boot is to do."}
	Found     = Message{"inventory", FromRack, mib, "The agent's inventory."}
	Output    = Message{"output", FromRack, 256 * kib, "A piece of a script's output, or its end."}
	Progress  = Message{"progress", FromRack, 16 * kib, "What the agent is doing, for people who wait."}
	Seed      = Message{"seed", FromRack, 4 * kib, "Cloud-init seed, user data and SSH keys of a deployment; uncontested boots only."}
	Done      = Message{"done", FromRack, 16 * kib, "The agent's task is finished or failed."}
	PhoneHome = Message{"phone-home", FromRack, 16 * kib, "A deployed system reports with its one-time credential."}
	Leases    = Message{"leases", FromRack, mib, "Leases that the rack's DHCP server gave or renewed."}
	PowerKey  = Message{"power-key", FromRack, 4 * kib, "The power parameters, secrets included, that one command needs."}
	Security  = Message{"security", FromRack, 16 * kib, "Something that an attack would look like, seen by the rack."}
	Image     = Message{"image", FromRack, 4 * kib, "Bytes of an image by digest, with Range."}

	HostChecks = Message{"host-checks", FromRack, 768 * kib, "What the rack's checks of its own host found."}

	HostAlerts = Message{"host-alerts", FromRack, mib, "What detections found in the logs that the rack reads, and which logs it reads."}

	Snapshot  = Message{"snapshot", FromRegion, 16 * mib, "A new snapshot for the rack to serve from."}
	Power     = Message{"power", FromRegion, 16 * kib, "A power command."}
	Rotate    = Message{"rotate", FromRegion, 16 * kib, "A step of the rotation of a BMC's account."}
	Blocks    = Message{"blocks", FromRegion, 8 * mib, "Who is shut out of the site. The answer says what the rack does with the list."}
	CheckHost = Message{"check-host", FromRegion, 1 * kib, "Somebody wants the rack's host checked again. The answer says that it is noted."}
)

// Messages is the table: every call there is.
var Messages = []Message{Hello, Renew, ServeCert, Boot, Claim, Task, Found, Output, Progress, Seed, Done, PhoneHome, Leases, PowerKey,
	Security, Image, HostChecks, HostAlerts, Snapshot, Power, Rotate, Blocks, CheckHost}

// HelloRequest introduces a rack.
type HelloRequest struct {
	Protocol   int                         `json:"protocol"`
	Version    string                      `json:"version"`
	Hostname   string                      `json:"hostname"`
	Interfaces []metal.ControllerInterface `json:"interfaces"`
	// SnapshotVersion is the one the rack serves from; the region sends a newer one if there is.
	SnapshotVersion int64 `json:"snapshot_version"`
}

// HelloResponse tells a rack who it is.
type HelloResponse struct {
	SystemID string    `json:"system_id"`
	Now      time.Time `json:"now"`
	// Thresholds are what the site has other than detections in logs came with. Left out where there are none, so that older racks understand the answer.
	Thresholds []detect.Threshold `json:"thresholds,omitempty"`
}

// CertificateRequest asks for a certificate. Of the CSR only the public key is used: the region decides the
// whole profile (security requirement 5).
type CertificateRequest struct {
	CSR []byte `json:"csr"` // DER
}

// CertificateResponse is a certificate and what it chains to.
type CertificateResponse struct {
	Certificate []byte    `json:"certificate"` // PEM, leaf first
	CA          []byte    `json:"ca"`          // PEM of the anchor
	Expires     time.Time `json:"expires"`
}

// BootRequest asks what a machine should boot.
type BootRequest struct {
	MAC  metal.MAC  `json:"mac"`
	IP   netip.Addr `json:"ip"`
	UEFI bool       `json:"uefi"`
	UUID string     `json:"uuid"` // as the firmware says; untrusted
}

// ClaimRequest spends a boot token. The rack fills in IP, the address the request came from, and LeaseMAC,
// the holder of that address by its own leases.
type ClaimRequest struct {
	Token    string     `json:"token"`
	MAC      metal.MAC  `json:"mac"`
	CSR      []byte     `json:"csr"` // DER
	IP       netip.Addr `json:"ip"`
	LeaseMAC metal.MAC  `json:"lease_mac"`
}

// ClaimResponse is the certificate of one boot, and the time, which the agent sets its clock from.
type ClaimResponse struct {
	BootID      string        `json:"boot_id"`
	Purpose     metal.Purpose `json:"purpose"`
	Certificate []byte        `json:"certificate"` // PEM
	Now         time.Time     `json:"now"`
}

// BootRef names the boot that a relayed call belongs to, from the agent's certificate.
type BootRef struct {
	BootID   string `json:"boot_id"`
	CertHash string `json:"cert_hash"` // SHA-256 of the presented certificate, hex
}

// TaskResponse is the agent's work order.
type TaskResponse struct {
	SystemID string         `json:"system_id"`
	Hostname string         `json:"hostname"`
	Purpose  metal.Purpose  `json:"purpose"`
	Scripts  []metal.Script `json:"scripts,omitempty"`
	Deploy   *DeployTask    `json:"deploy,omitempty"`
	Erase    *EraseTask     `json:"erase,omitempty"`
	// Then is what to do at the end: reboot, or power off.
	Then EndAction `json:"then"`
}

// EndAction is what the agent does when its task is over.
type EndAction string

// The end actions.
const (
	ThenReboot   EndAction = "reboot"
	ThenPowerOff EndAction = "poweroff"
)

// DeployTask names the image and the disk.
type DeployTask struct {
	ImageSHA256 string `json:"image_sha256"` // of the packed file, hex
	ImageSize   int64  `json:"image_size"`   // of the packed file, bytes
	Compression string `json:"compression"`  // "", "gzip", "xz" or "zstd"
	DiskSerial  string `json:"disk_serial"`  // of the boot disk; empty if it has none
	DiskName    string `json:"disk_name"`    // kernel name at commissioning, used when there is no serial
}

// EraseTask says how thoroughly.
type EraseTask struct {
	Disks []string `json:"disks"` // serials or names; empty means all
	Quick bool     `json:"quick"` // only the first and last MiB
}

// FoundRequest carries an inventory.
type FoundRequest struct {
	BootRef
	Inventory metal.Inventory `json:"inventory"`
}

// OutputRequest carries a piece of a script's output. Pieces of a stream come in order; Offset guards
// against doubles after a retry. The last one has Status set.
type OutputRequest struct {
	BootRef
	Script   string             `json:"script"`
	Stream   string             `json:"stream"` // stdout, stderr or result
	Offset   int64              `json:"offset"`
	Data     []byte             `json:"data"`
	Status   metal.ScriptStatus `json:"status"` // ScriptRunning, or the final status
	ExitCode int                `json:"exit_code"`
}

// ProgressRequest tells people what happens.
type ProgressRequest struct {
	BootRef
	Stage   string `json:"stage"`   // short and constant: "writing image"
	Percent int    `json:"percent"` // 0 to 100, or -1
}

// SeedResponse is the NoCloud seed of a deployment, received over the agent's own TLS session. It is secret.
type SeedResponse struct {
	MetaData      []byte `json:"meta_data"`
	UserData      []byte `json:"user_data"`
	VendorData    []byte `json:"vendor_data"`
	NetworkConfig []byte `json:"network_config"`
	MetadataCA    []byte `json:"metadata_ca"` // PEM, name-constrained
}

// DoneRequest ends a task.
type DoneRequest struct {
	BootRef
	OK    bool   `json:"ok"`
	Error string `json:"error"`
}

// PhoneHomeRequest relays a deployed system's report.
type PhoneHomeRequest struct {
	Credential string     `json:"credential"`
	IP         netip.Addr `json:"ip"`
	Hostname   string     `json:"hostname"`
}

// LeasesRequest reports leases: observations, applied in order.
type LeasesRequest struct {
	Leases []metal.Lease `json:"leases"`
}

// PowerRequest is a command to a machine's BMC. It carries a reference, not the parameters.
type PowerRequest struct {
	CommandID int64             `json:"command_id"`
	SystemID  string            `json:"system_id"`
	PowerType string            `json:"power_type"`
	Action    metal.PowerAction `json:"action"`
	Boot      metal.BootDevice  `json:"boot"`
	UEFI      bool              `json:"uefi"`
	Timeout   time.Duration     `json:"timeout"`
}

// PowerResponse is what the BMC said.
type PowerResponse struct {
	State metal.PowerState `json:"state"`
	Error string           `json:"error,omitempty"` // for people; empty when it worked
}

// RotateRequest is a step of the rotation of the account of a machine's BMC: metal.RotationSetting or RotationRetiring. Like a
// power command it carries a reference.
type RotateRequest struct {
	CommandID int64               `json:"command_id"`
	SystemID  string              `json:"system_id"`
	PowerType string              `json:"power_type"`
	Step      metal.RotationState `json:"step"`
	Timeout   time.Duration       `json:"timeout"`
}

// RotateResponse is how a step ended that did not fail.
type RotateResponse struct {
	// PasswordBytes is how much of the new password the BMC took.
	PasswordBytes int `json:"password_bytes,omitempty"`
	// Lost says that the account in use is gone from the BMC and that the old one works; Stays that the old one cannot be shut out.
	Lost  bool `json:"lost,omitempty"`
	Stays bool `json:"stays,omitempty"`
}

// PowerKeyRequest asks for the parameters of a command under way.
type PowerKeyRequest struct {
	CommandID int64  `json:"command_id"`
	SystemID  string `json:"system_id"`
}

// PowerKeyResponse reveals power parameters to the rack that carries out the command. It is secret.
type PowerKeyResponse struct {
	Parameters metal.PowerParameters `json:"parameters"`
	// Other is the account to make, or to shut out, in a step of a rotation.
	Other *metal.BMCCredentials `json:"other,omitempty"`
}

// SecurityKinds are the kinds of security events that racks report.
var SecurityKinds = []string{"boot_mac_mismatch", "claim_flood", "dhcp_starvation", "image_cache_corrupt", "metadata_handshake_failed", "metadata_scraping", "phone_home_flood", "rogue_dhcp", "tftp_scraping"}

// SecurityRequest reports a security event seen by the rack.
type SecurityRequest struct {
	Kind   string     `json:"kind"` // one of SecurityKinds
	Source netip.Addr `json:"source"`
	MAC    metal.MAC  `json:"mac"`
	Detail string     `json:"detail"`
}

// BlocksRequest tells a rack who is shut out.
type BlocksRequest struct {
	Version int64 `json:"version"` // of the list
	// All says that the list is here: it takes the place of the one before. Else the rack answers which version it has, and takes nothing.
	All    bool      `json:"all"`
	Blocks []Blocked `json:"blocks"`
}

// Blocked is an IPv4 address or the /64 of an IPv6 address, and when it is let in again.
type Blocked struct {
	Prefix netip.Prefix `json:"prefix"`
	Until  time.Time    `json:"until"`
}

// BlocksResponse is what a rack does with the list.
type BlocksResponse struct {
	Version int64          `json:"version"` // that it has
	How     string         `json:"how"`     // where it enforces it: a BlocksHow
	Applied int            `json:"applied"` // blocks
	Refused []RefusedBlock `json:"refused"` // at most MaxRefused of them
	Problem string         `json:"problem"` // in words for people; "" for none
}

// MaxRefused is how many refused blocks a rack names.
const MaxRefused = 100

// Where blocks are enforced.
const (
	BlocksListeners = "listeners" // the controller's own
	BlocksNFTables  = "nftables"  // the packet filter of its host, and its listeners
)

// RefusedBlock is one that the rack does not carry out, and why.
type RefusedBlock struct {
	Prefix netip.Prefix `json:"prefix"`
	Why    string       `json:"why"`
}

// HostChecksRequest reports what the rack's checks of its own host found.
type HostChecksRequest struct {
	Report guard.HostReport `json:"report"`
}

// HostAlertsRequest reports what the rack found in logs. Times are the rack's, or of the lines.
type HostAlertsRequest struct {
	Report detect.HostReport `json:"report"`
}

// Paths of the rack's HTTPS for agents (port 5246). All but ClaimPath and PhoneHomePath need the certificate of the
// boot. Bodies are the messages above without BootRef, which the rack fills in from the certificate.
const (
	ClaimPath     = "/agent/v1/claim"     // POST ClaimRequest → ClaimResponse
	TaskPath      = "/agent/v1/task"      // GET → TaskResponse
	FoundPath     = "/agent/v1/inventory" // POST FoundRequest
	OutputPath    = "/agent/v1/output"    // POST OutputRequest
	ProgressPath  = "/agent/v1/progress"  // POST ProgressRequest
	SeedPath      = "/agent/v1/seed"      // GET → SeedResponse
	DonePath      = "/agent/v1/done"      // POST DoneRequest
	ImagePath     = "/agent/v1/image/"    // GET with Range, followed by the digest in hex
	PhoneHomePath = "/phone-home/"        // POST, followed by the credential
)

// Kernel arguments of the ephemeral system. Nothing here is secret but the token, which travels in clear
// because TLS cannot exist yet: see SECURITY.md.
const (
	ArgRack    = "metalward.rack"  // URL of the rack's HTTPS, such as https://10.0.0.2:5246
	ArgCA      = "metalward.ca"    // SHA-256 of the rack's metadata CA certificate (DER), hex
	ArgToken   = "metalward.token" // boot token
	ArgBootMAC = "BOOTIF"          // 01-aa-bb-cc-dd-ee-ff, as PXELINUX writes it
)
