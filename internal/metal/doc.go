// Package metal is the domain: machines and their life cycle, the network model, controllers, scripts, images.
//
// It holds pure rules and no I/O. One noun per file; names and meanings are MAAS's. Start with machine.go and
// status.go. Times are UTC; decisions take the current time as a parameter.
package metal
