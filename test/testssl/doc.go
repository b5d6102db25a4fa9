// Package testssl has Debian's testssl.sh look at a region's real listener, as an auditor would.
//
// It takes half a minute and nothing in it is concurrent, so it is left out of runs with the race detector; `make test` runs it once.
package testssl
