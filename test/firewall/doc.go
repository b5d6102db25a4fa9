// Package firewall applies the fixes that the checks of ports propose, with Debian's real nftables, ufw and firewalld in network namespaces,
// looks from the other side what has become reachable, and takes them back.
//
// It needs root and takes up to a minute; `make test` runs it once, without the race detector.
package firewall
