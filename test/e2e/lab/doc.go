//go:build linux

// Package lab is a room full of servers for end-to-end tests: QEMU machines
// with real firmware, IPMI BMCs, and the networks between them and the
// controllers, all inside network namespaces of this one host.
//
// The topology is fixed, because the product's tests need only one:
//
//	region ns ── control 10.76.0.0/24 ── rack ns ── BMC net 10.78.0.0/24 ── bmc ns
//	 10.76.0.1                10.76.0.2    │  10.78.0.1       10.78.0.11, .12, ...
//	                                      br0 10.77.0.1/24, fd77:77::1/64
//	                                       │
//	                                   machine taps
//
// Nothing is forwarded between the networks: a machine can reach the rack
// controller's addresses and nothing else, which is the product's premise.
// Addresses repeat in every [Network]; only the namespace names differ, so any
// number of networks may live side by side.
//
// All files of a network (logs, disks, firmware variables, captures) are in one
// directory which the caller gives. Everything is ended by [Network.Close], by
// SIGINT and SIGTERM, and, should the process be killed, by the next
// [NewNetwork] on the same host.
//
// The lab needs root. It emulates CPUs unless hardware virtualisation is proved
// to work; METALWARD_LAB_ACCEL=tcg or kvm decides without a proof.
package lab
