package metal

import "github.com/metalward/metalward/internal/fault"

// Group is a set of users. What it is granted, each of them has.
type Group struct {
	ID                int64
	Name, Description string
}

// The groups that new users join: administrators the first, all others the second. Once deleted they are made
// again only by hand, and joined again then. Source: MAAS 3.8, user groups.
const (
	GroupAdministrators = "Administrators"
	GroupUsers          = "Users"
)

// Limits of groups and roles.
const (
	MaxDescription = 1024 // bytes
	MaxGrants      = 5000 // of one user or group
)

// ValidateDescribed checks the name and description of a group or role. Kinds: Invalid on "name" and "description".
func ValidateDescribed(name, description string) error {
	bad := fault.Fields{}
	if name == "" {
		bad.Add("name", "This field is required.")
	} else if !ValidName(name) {
		bad.Add("name", "Use letters, digits, blanks, '.', '_' and '-', at most 256.")
	}
	if len(description) > MaxDescription || Printable(description, MaxDescription) != description {
		bad.Add("description", "Use at most %d printable characters.", MaxDescription)
	}
	return bad.Err()
}
