package metal

import (
	"net/netip"
	"time"
)

// Purpose is why a machine boots the ephemeral system.
type Purpose string

// The purposes.
const (
	PurposeEnlist     Purpose = "enlist"
	PurposeCommission Purpose = "commission"
	PurposeDeploy     Purpose = "deploy"
	PurposeErase      Purpose = "erase"
)

// BootState is where an expected boot stands.
type BootState string

// The boot states. Contested and Ended are final.
const (
	BootExpected  BootState = "expected"  // the region waits for this machine to ask
	BootOffered   BootState = "offered"   // a token was minted
	BootClaimed   BootState = "claimed"   // the token was spent for a certificate
	BootContested BootState = "contested" // a second client showed up: the certificate is revoked
	BootEnded     BootState = "ended"
)

// Boot is one expected start of the ephemeral system: the only thing a boot token is minted for.
type Boot struct {
	ID       string // random; names the certificate
	SystemID string // machine; empty for an enlistment until the machine reported
	MAC      MAC    // that the token was given to; empty until offered
	IP       netip.Addr
	RackID   string
	Purpose  Purpose
	State    BootState
	// TokenHash is the SHA-256 of the one valid token; OldHashes are those replaced before they were spent,
	// kept because whoever presents one shows that two clients asked.
	TokenHash string
	OldHashes []string
	CertHash  string // SHA-256 of the certificate given for the token, hex
	ClaimKey  string // SHA-256 of the public key that it was given to, hex
	// PhoneHash is the SHA-256 of the credential that the deployed system reports back with.
	PhoneHash string
	Created   time.Time
	Expires   time.Time
	Ended     time.Time
}

// BootDecision is what a rack answers to a machine that network-boots.
type BootDecision struct {
	Kind BootKind `json:"kind"`
	// Token is present for an ephemeral boot: single use, minutes of life, bound to MAC, lease, rack and boot.
	Token   string  `json:"token,omitempty"`
	BootID  string  `json:"boot_id,omitempty"`
	Purpose Purpose `json:"purpose,omitempty"`
	// KernelArgs are extra arguments set by an operator (the kernel_opts setting).
	KernelArgs string `json:"kernel_args,omitempty"`
	// Reason says to a person at the console why nothing is booted.
	Reason string `json:"reason,omitempty"`
}

// BootKind tells what to boot.
type BootKind string

// The boot kinds.
const (
	BootLocal     BootKind = "local"     // continue with the disk
	BootEphemeral BootKind = "ephemeral" // the in-memory system with the agent
	BootRefuse    BootKind = "refuse"    // nothing: power stays on, a person reads the reason
)
