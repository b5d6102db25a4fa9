package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/guard"
)

var (
	nsaBMC   = guard.Reference{Title: "NSA and CISA, Harden Baseboard Management Controllers", URL: "https://www.nsa.gov/Press-Room/Press-Releases-Statements/Press-Release-View/Article/3426648/nsa-and-cisa-release-guide-to-protect-baseboard-management-controllers/"}
	ipmitool = guard.Reference{Title: "ipmitool, source code: ipmi_channel.h, after IPMI 2.0, table 22-15", URL: "https://github.com/ipmitool/ipmitool"}
)

// bmcs judges each BMC that was named. Without one there is nothing to say.
func bmcs(judge func(h guard.Host, b guard.BMC) guard.Observation) func(guard.Host, guard.Product) []guard.Observation {
	return bmcsBy(func(h guard.Host, _ guard.Product, b guard.BMC) guard.Observation { return judge(h, b) })
}

// bmcsBy is bmcs, for what differs by product.
func bmcsBy(judge func(h guard.Host, p guard.Product, b guard.BMC) guard.Observation) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, p guard.Product) (list []guard.Observation) {
		for _, b := range h.BMCs() {
			list = append(list, judge(h, p, b))
		}
		return list
	}
}

// byAuth judges how a BMC authenticates.
func byAuth(judge func(subject string, a guard.BMCAuth) guard.Observation) func(guard.Host, guard.BMC) guard.Observation {
	return func(_ guard.Host, b guard.BMC) guard.Observation {
		if b.Auth.Err != nil {
			return guard.Blind("BMC "+b.Address, b.Auth.Err)
		}
		return judge("BMC "+b.Address, b.Auth.Value)
	}
}

func cipherZero(_ guard.Host, b guard.BMC) guard.Observation {
	subject := "BMC " + b.Address
	switch {
	case b.Zero.Err != nil:
		return guard.Blind(subject, b.Zero.Err)
	case b.Zero.Value:
		return failed(guard.Critical, subject, "# ipmitool -I lanplus -H "+guard.Show(b.Address)+" -U USER -a lan set CHANNEL cipher_privs Xaaaaaaaaaaaaaa: an X in the first place shuts suite 0; or the BMC's own pages; then check again.",
			"# ipmitool lan set CHANNEL cipher_privs with the letters that it had (lan print).", "It agrees to a session of cipher suite 0: where that is all that it asks, whoever knows a user's name is that user, with any password.")
	}
	return passed(subject, "It refuses a session of cipher suite 0.")
}

func anonymous(subject string, a guard.BMCAuth) guard.Observation {
	fix, undo := "# ipmitool user disable 1, or a name and a password for it; then check again.", "# ipmitool user enable 1."
	switch {
	case a.Anonymous:
		return failed(guard.Critical, subject, fix, undo, "By its own word a user without name and password may log in.")
	case a.Nameless:
		return failed(guard.Medium, subject, fix, undo, "By its own word a user without a name may log in: only the password is left to guess, and no record says who it was.")
	}
	return passed(subject, "By its own word every user has a name.")
}

func oldSessions(subject string, a guard.BMCAuth) guard.Observation {
	fix, undo := "# At the BMC's pages: IPMI 2.0 (RMCP+) only, or ipmitool lan set CHANNEL auth ADMIN '' for each privilege; then check again.", "# Allow the kinds again that it had: ipmitool lan print."
	switch {
	case slices.Contains(a.Kinds, "none") && a.V15:
		return failed(guard.Critical, subject, fix, undo, "It takes sessions of IPMI 1.5 with the authentication none (it names: %s).", strings.Join(a.Kinds, ", "))
	case !a.V20:
		return failed(guard.High, subject, "# Update its firmware to one that speaks IPMI 2.0, or reach it by Redfish alone.", "# Nothing is to be taken back.", "It speaks IPMI 1.5 alone: nothing is encrypted (it names: %s).", strings.Join(a.Kinds, ", "))
	case a.V15 && len(a.Kinds) > 0:
		return failed(guard.Medium, subject, fix, undo, "It takes sessions of IPMI 1.5, too, which are not encrypted (it names: %s).", strings.Join(a.Kinds, ", "))
	}
	return passed(subject, "It takes sessions of IPMI 2.0 alone.")
}

func bmcCertificate(h guard.Host, b guard.BMC) guard.Observation {
	subject := "pages of the BMC " + b.Address
	c := b.Web.Value
	fix, undo := "# Make a signing request at its pages, have your own authority sign it, and upload the certificate.", "# Have the BMC make its own certificate again."
	end := c.To.UTC().Format(time.DateOnly)
	switch {
	case b.Web.Err != nil:
		return guard.Blind(subject, b.Web.Err)
	case !h.Now().Before(c.To):
		return failed(guard.Medium, subject, fix, undo, "Its certificate (%s) ended on %s: whoever is between can show another, since people are used to the warning.", c.Subject, end)
	case c.Own:
		return failed(guard.Low, subject, fix, undo, "Its certificate (%s) is signed by itself, and may be anybody's.", c.Subject)
	}
	return passed(subject, "Its certificate (%s) is signed by another, and ends on %s. Whether that is an authority of yours was not looked at.", c.Subject, end)
}

// apart says only what this host sees: whether the BMC is in a network on which it gives machines their addresses.
func apart(h guard.Host, p guard.Product, b guard.BMC) guard.Observation {
	subject := "BMC " + b.Address
	addr, err := netip.ParseAddr(b.Address)
	if err != nil {
		at, err := netip.ParseAddrPort(b.Address)
		if err != nil {
			return guard.Blind(subject, errors.New("it was named by a name: name its address to have its network judged"))
		}
		addr = at.Addr()
	}
	n, err := h.Network()
	if err != nil {
		return guard.Blind(subject, err)
	}
	serving, err := dhcpInterfaces(h)
	if err != nil {
		return guard.Blind(subject, err)
	}
	const dhcp = 67 // Source: RFC 2131
	serves := p == guard.Metalward && slices.ContainsFunc(n.Listeners, func(l guard.Listener) bool { return l.Protocol == "udp" && l.Address.Port() == dhcp })
	for _, i := range n.Interfaces {
		for _, net := range i.Prefixes {
			if !net.Contains(addr.Unmap()) {
				continue
			}
			if slices.Contains(serving, i.Name) {
				return failed(guard.Medium, subject, "# Put the BMCs into a VLAN of their own that racks alone reach, and give them addresses there.", "# Put them back into the machines' network.",
					"It is in the network %s of %s, on which MAAS gives machines their addresses: each machine reaches it.", net.Masked(), i.Name)
			}
			if serves { // each of its sockets is for one interface, which is not in what is read
				return guard.Blind(subject, fmt.Errorf("it is in the network %s of %s, and on which interfaces Metalward's DHCP serves machines is not told by files", net.Masked(), i.Name))
			}
			if p == guard.Metalward {
				return passed(subject, "It is in the network %s of %s, and nothing on this host listens for DHCP.", net.Masked(), i.Name)
			}
			return passed(subject, "It is in the network %s of %s, on which MAAS's DHCP of this host does not serve machines.", net.Masked(), i.Name)
		}
	}
	return guard.Blind(subject, errors.New("it is reached by a router: from where else it can be reached is not seen here"))
}

// dhcpInterfaces are those on which MAAS's DHCP serves machines. Source: src/provisioningserver/dhcp, DHCPv4_INTERFACES_FILE and the like in
// MAAS's data: names, separated by spaces.
func dhcpInterfaces(h guard.Host) (names []string, err error) {
	for _, dir := range []string{"/var/lib/maas/", "/var/snap/maas/common/maas/"} {
		for _, file := range []string{"dhcpd-interfaces", "dhcpd6-interfaces"} {
			text, bad := h.Read(dir + file)
			if bad != nil && !errors.Is(bad, fs.ErrNotExist) {
				err = bad
			}
			names = append(names, strings.Fields(string(text))...)
		}
	}
	return names, err
}

// bmcGroup is the group of checks of BMCs that somebody names.
func bmcGroup() []*guard.Check {
	sample := func(name string, want guard.State, change func(b *guard.BMC), more ...guard.Entry) guard.Sample {
		b := guard.BMC{Address: "10.9.0.7", Auth: guard.Known[guard.BMCAuth]{Value: guard.BMCAuth{V20: true}},
			Web: guard.Known[guard.Certificate]{Value: guard.Certificate{Subject: "CN=bmc", To: guard.SampleTime.Add(1000 * time.Hour)}}}
		change(&b)
		return guard.Sample{Name: name, Want: want, BMCs: []guard.BMC{b}, Tree: more, Network: guard.Network{Interfaces: []guard.Interface{{Name: "eth1", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}}}}}
	}
	none := guard.Sample{Name: "none was named", Want: guard.NotApplicable}
	good := func(*guard.BMC) {}
	silent := fmt.Errorf("it does not answer by IPMI")
	noAuth := sample("it does not answer", guard.Unchecked, func(b *guard.BMC) { b.Auth.Err = silent })
	dhcp := sample("DHCP of our own", guard.Unchecked, good)
	dhcp.Product, dhcp.Network.Listeners = guard.Metalward, on(nil, "udp 0.0.0.0:67 metalward").Listeners
	list := []*guard.Check{
		{ID: "bmc-cipher-zero", Title: "BMCs refuse cipher suite 0", Severity: guard.Critical,
			Why: "With suite 0 nobody is asked for a password, and nothing is encrypted. Asked is whether a session of it is agreed to; no login is tried.",
			Fix: "Shut suite 0 in the BMC's settings of cipher suites.", Risk: "A tool that uses the suite without need no longer gets in.", Undo: "Allow the suite again.",
			References: []guard.Reference{nsaBMC, ipmitool}, Judge: bmcs(cipherZero),
			Samples: onEach(none, sample("refused", guard.Pass, good), sample("agreed to", guard.Fail, func(b *guard.BMC) { b.Zero.Value = true }), sample("it does not answer", guard.Unchecked, func(b *guard.BMC) { b.Zero.Err = silent }))},
		{ID: "bmc-anonymous", Title: "BMCs have no user without a name", Severity: guard.Critical,
			Why: "It is the account that many come with, and whose password is in their manual.",
			Fix: "Shut the first user out, or give it a name and a password.", Risk: "What logs in by it is shut out: give MAAS its own user first.", Undo: "Enable the user again.",
			References: []guard.Reference{nsaBMC, ipmitool}, Judge: bmcs(byAuth(anonymous)),
			Samples: onEach(none, noAuth, sample("all have names", guard.Pass, good), sample("without name and password", guard.Fail, func(b *guard.BMC) { b.Auth.Value.Anonymous = true }),
				sample("without a name", guard.Fail, func(b *guard.BMC) { b.Auth.Value.Nameless = true }))},
		{ID: "bmc-old-ipmi", Title: "BMCs take sessions of IPMI 2.0 alone", Severity: guard.Critical,
			Why: "IPMI 1.5 encrypts nothing, and may let in without a password or with one in clear.",
			Fix: "Turn IPMI 1.5 off.", Risk: "Old tools speak nothing else.", Undo: "Turn it on again.",
			References: []guard.Reference{nsaBMC, ipmitool}, Judge: bmcs(byAuth(oldSessions)),
			Samples: onEach(none, noAuth, sample("2.0 alone", guard.Pass, good), sample("MD5 of 1.5, too", guard.Fail, func(b *guard.BMC) { b.Auth.Value.V15, b.Auth.Value.Kinds = true, []string{"MD5"} }),
				sample("none of 1.5", guard.Fail, func(b *guard.BMC) { b.Auth.Value.V15, b.Auth.Value.Kinds = true, []string{"none"} }), sample("1.5 alone", guard.Fail, func(b *guard.BMC) { b.Auth.Value = guard.BMCAuth{V15: true, Kinds: []string{"MD5"}} }))},
		{ID: "bmc-certificate", Title: "BMCs' pages have a certificate of an authority", Severity: guard.Medium,
			Why: "Passwords of BMCs are typed there, and Redfish uses the same port.",
			Fix: "Give the BMC a certificate of your own authority.", Risk: "A BMC may drop its pages for a minute when it takes one.", Undo: "Have it make its own again.",
			References: []guard.Reference{nsaBMC}, Judge: bmcs(bmcCertificate),
			Samples: onEach(none, sample("another's", guard.Pass, good), sample("its own", guard.Fail, func(b *guard.BMC) { b.Web.Value.Own = true }), sample("ended", guard.Fail, func(b *guard.BMC) { b.Web.Value.To = guard.SampleTime }),
				sample("it does not answer", guard.Unchecked, func(b *guard.BMC) { b.Web.Err = silent }))},
		{ID: "bmc-network", Title: "BMCs are not in the machines' network", Severity: guard.Medium,
			Why: "A machine that was taken over reaches its own BMC there, and all others.",
			Fix: "Give BMCs a VLAN of their own.", Risk: "MAAS reaches them by a rack that is in that VLAN: see to that first.", Undo: "Move them back.",
			References: []guard.Reference{nsaBMC}, Judge: bmcsBy(apart),
			Samples: slices.Concat([]guard.Sample{dhcp}, onEach(none, sample("a network of their own", guard.Pass, good), sample("with machines", guard.Fail, good, guard.Entry{Path: "/var/lib/maas/dhcpd-interfaces", Content: "eth1"}),
				sample("behind a router", guard.Unchecked, func(b *guard.BMC) { b.Address = "192.0.2.1:623" }), sample("a name", guard.Unchecked, func(b *guard.BMC) { b.Address = "bmc.example" }),
				sample("what DHCP serves may not be read", guard.Unchecked, good, guard.Entry{Path: "/var/lib/maas/dhcpd-interfaces", Hidden: true})))},
	}
	for _, c := range list {
		c.Group, c.Role, c.Versions = "bmc", guard.Rack, everyProduct()
	}
	return list
}
