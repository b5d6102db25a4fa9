package identity

import "strings"

// Dummy is the hash that an unknown user's password is compared with.
const Dummy = dummy

// HashWork is the part of a hash that says how much work it is.
func HashWork(encoded string) string {
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 {
		return ""
	}
	return strings.Join(parts[1:4], "$")
}
