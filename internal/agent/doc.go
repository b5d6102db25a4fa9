// Package agent is the program of the ephemeral system: the only user program in the initramfs that a machine
// boots from the network while it is enlisted, commissioned, deployed or erased.
//
// Process 1 (Init) mounts the kernel's file systems, loads modules and then only watches: it reaps, it ends an
// agent that went silent, and it powers the machine off whatever happened. The work is done by a child of it
// (Work), so that a defect there is reported on the console instead of being a kernel panic. Run is the part
// that tests use: claim a certificate with the boot token, fetch the task, carry it out, report.
//
// Trust: the kernel command line names the rack and the digest of its CA, and nothing else is believed. The
// clock is not: it is set from the rack's answer to the claim. Nothing here holds a secret on disk, and the
// cloud-init seed is only fetched when a verified image is on the disk.
//
// Invariants: every wait has an end; every failure is one console line that says what to do about it; an
// image is not bootable before it is verified, so not after a loss of power either.
//
// Start with run.go, then the task at hand: deploy.go, erase.go, script.go, inventory.go.
package agent
