package main

import (
	"context"
	"io"
	"os/exec"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/harden"
)

// farHosts are the options of checking other hosts.
type farHosts struct {
	hosts  []harden.Host
	sudo   bool
	config string
}

func (f *farHosts) flags(h *hardenFlags) {
	h.Func("host", "", func(s string) error {
		host, err := harden.ParseHost(s)
		f.hosts = append(f.hosts, host)
		return err
	})
	h.BoolVar(&f.sudo, "sudo", false, "")
	h.StringVar(&f.config, "ssh-config", "", "")
}

// used reports whether other hosts, or an option of theirs, were named.
func (f *farHosts) used() bool { return len(f.hosts) > 0 || f.sudo || f.config != "" }

// check checks the hosts and writes one report. Kinds: Invalid for what does not go together; Unavailable where there is no ssh.
func (f *farHosts) check(ctx context.Context, h *hardenFlags, colour bool) error {
	switch {
	case len(f.hosts) == 0:
		return fault.New(fault.Invalid, "host: --sudo and --ssh-config are for other hosts: name one with --host ssh://HOST.")
	case h.compare != "":
		return fault.New(fault.Invalid, "baseline: A baseline is one host's, and --host checks others: run baseline on each.")
	case h.options.Against != nil:
		return fault.New(fault.Invalid, "against: What was learned is not copied to other hosts: leave --host out, or run this program on the other with --against.")
	case h.options.API != nil:
		return fault.New(fault.Invalid, "api: Credentials are not copied to other hosts: leave --host out, or run this program on the region with --api.")
	case len(h.options.BMCs) > 0:
		return fault.New(fault.Invalid, "bmc: BMCs are asked from this host: leave --host out, or run it on the rack that reaches them.")
	case len(h.options.OSV)+len(h.options.OVAL) > 0:
		return fault.New(fault.Invalid, "host: Files of known flaws are not copied to other hosts: leave --osv and --oval out, or check each host by itself.")
	case len(h.options.BMCs) > 0:
		return fault.New(fault.Invalid, "bmc: BMCs are asked from this host: leave --host out, or run this program on the other with --bmc.")
	}
	waivers, err := h.waived()
	if err != nil {
		return err
	}
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return fault.New(fault.Unavailable, "host: There is no program ssh here: install the package openssh-client.")
	}
	wipe := h.progress("hosts")
	fleet, err := harden.RunHosts(ctx, h.options, harden.Remote{SSH: ssh, Config: f.config, Program: "/proc/self/exe", Sudo: f.sudo}, f.hosts)
	if wipe(); err != nil {
		return err
	}
	fleet.Waive(waivers)
	if err := h.write(func(w io.Writer) error { return harden.WriteFleet(w, fleet, h.format, colour) }); err != nil {
		return err
	}
	return ended(fleet)
}
