// Package bench measures what docs/benchmarks.md reports. Each benchmark prints a ratio against a floor or a peer
// that was measured in the same run, since figures of one machine mean little elsewhere. Nothing here asserts on
// time. Run it with `make bench`.
package bench
