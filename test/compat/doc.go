// Package compat drives a real region with the MAAS clients that people use, unmodified, and with requests
// written byte for byte as the maas command line writes them.
//
// It is a module of its own, so that what those clients depend on stays out of Metalward's dependencies. It
// builds the program, starts it with an empty state folder, and speaks to it over the network only.
//
// What needs a machine that boots (machine_test.go) is run by the stories of test/e2e, against their site.
//
// Run it with: cd test/compat && go test ./...
package compat
