package metal

import "time"

// RotationState is how far the rotation of a BMC's account is.
type RotationState string

// The states. Whatever breaks off in one is done again from its beginning.
const (
	RotationNone     RotationState = ""         // none is under way
	RotationSetting  RotationState = "setting"  // the new account is written down, and is being made and proved; the old one is in use
	RotationRetiring RotationState = "retiring" // the new account is in use; the old one is being shut out
)

// BMCAccount is what is known of the account by which a machine's BMC is spoken to, besides the credentials.
type BMCAccount struct {
	SystemID string
	// Managed says that a rotation made the account in use, not a person.
	Managed  bool
	State    RotationState
	Revision int64 // counts changes: a step's outcome counts only for what it began with
	Attempts int   // of the step
	NotUntil time.Time
	Deadline time.Time // when a rotation that does not get on is given up
	Wanted   bool      // to be rotated as soon as the schedule comes by
	Problem  string    // why the last one failed, or what it left
	Rotated  time.Time // when the last one ended well; zero if none did
	// KeepUntil is when the credentials that are not in use any more are forgotten; zero when there are none, or one is under way.
	KeepUntil time.Time
}

// BMCCredentials are an account of a BMC with its password, which exists in this form only on its way into the store, which seals
// it, to the rack that uses it, and to an administrator who asks for it.
type BMCCredentials struct {
	User     string `json:"power_user"`
	Password string `json:"power_pass"`
}

// String prints [redacted].
func (BMCCredentials) String() string { return "[redacted]" }

// GoString prints [redacted].
func (BMCCredentials) GoString() string { return "[redacted]" }
