// Package sarif holds the reports of metalward harden check against the schemas of their formats: SARIF's own, by a module that has it,
// and the one that docs/reference publishes. It is a module of its own because of the validator.
package sarif
