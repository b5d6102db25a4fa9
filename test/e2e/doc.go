// Package e2e tells whole stories against the real thing: the built binaries in network namespaces, emulated
// machines that network-boot, and BMCs that speak IPMI. Run it with `make e2e` as root; `make e2e-smoke` is the
// short form. The laboratory itself is in lab/.
package e2e
