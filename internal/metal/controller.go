package metal

import (
	"net/netip"
	"time"
)

// SiteProtocol is what racks and command lines that know an instance's own authority say (ALPN) to see a certificate of it,
// whatever other people are shown.
const SiteProtocol = "metalward-site"

// SiteAuthority begins the name of an instance's own authority.
const SiteAuthority = "Metalward site "

// Controller is a region or rack controller.
type Controller struct {
	SystemID   string
	Hostname   string
	Type       NodeType // NodeRackController, NodeRegionController or NodeRegionAndRack
	Version    string
	Interfaces []ControllerInterface
	LastSeen   time.Time
	Created    time.Time
	// CertSerial is the serial number of the newest certificate issued to a rack, hex; CertExpires its end.
	CertSerial  string
	CertExpires time.Time
	// PreviousSerial is the certificate that the newest was issued to, while the newest has not been used: the rack
	// may have lost it on its way. Every other certificate of the rack is refused.
	PreviousSerial string
	// Revoked is set when the controller was removed: its certificates are refused from then on.
	Revoked bool
}

// ControllerInterface is a network interface of a rack as the rack sees it.
type ControllerInterface struct {
	Name      string         `json:"name"`
	MAC       MAC            `json:"mac"`
	Up        bool           `json:"up"`
	Addresses []netip.Prefix `json:"addresses"` // address and prefix length; global unicast only
}

// Connected reports whether the controller was heard of lately.
func (c *Controller) Connected(now time.Time) bool { return now.Sub(c.LastSeen) < 45*time.Second }

// EnrolmentToken is the region's record of a minted token: what it may be used for, and that it was.
type EnrolmentToken struct {
	ID       string
	RackName string
	Created  time.Time
	Expires  time.Time
	Spent    bool
}

// Command is a power command on its way to a rack: durable, so a crash between deciding and sending loses
// nothing.
type Command struct {
	ID       int64
	SystemID string // machine
	Action   PowerAction
	Boot     BootDevice
	Created  time.Time
	Deadline time.Time
	Attempts int
	NotUntil time.Time
}
