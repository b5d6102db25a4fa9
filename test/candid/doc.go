// Package candid runs logins against a real Candid server, Canonical's own code with its memory storage and static
// identity provider, and the real program. It is a module of its own: Candid is AGPL, and never linked into the product.
package candid
