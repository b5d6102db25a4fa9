package enrich

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// Limits of a question to the registries.
const (
	whoisTime    = 10 * time.Second // for all servers together
	maxAnswer    = 64 << 10         // bytes of one server's answer; the rest is left
	maxReferrals = 2
)

// root knows which registry an address belongs to. Source: IANA, whois service; RFC 3912 for the protocol and port.
const root = "whois.iana.org"

// registries are the servers that an answer may refer to: the five that hand out addresses. Nobody sends us anywhere else.
var registries = []string{"whois.afrinic.net", "whois.apnic.net", "whois.arin.net", "whois.lacnic.net", "whois.ripe.net"}

// Who is what a registry knows of an address; fields that it does not tell are empty. The texts are safe to print.
type Who struct {
	Server  string // that answered
	Range   string // of addresses: "192.0.2.0 - 192.0.2.255"
	Network string // its name
	Holder  string
	Country string
	Abuse   string // e-mail address for complaints
}

// Whois asks the registries for an address. Dial connects to a host and port. Kinds: Invalid for an address that is nobody's in the Internet,
// Unavailable.
func Whois(ctx context.Context, dial func(ctx context.Context, network, address string) (net.Conn, error), a netip.Addr) (Who, error) {
	a = a.WithZone("").Unmap()
	if !Public(a) {
		return Who{}, fault.New(fault.Invalid, "%s is no address in the Internet: no registry knows it.", a)
	}
	ctx, cancel := context.WithTimeout(ctx, whoisTime)
	defer cancel()
	var best Who
	server := root
	for range maxReferrals + 1 {
		text, err := ask(ctx, dial, server, a)
		if err != nil && best.Server == "" {
			return Who{}, fault.New(fault.Unavailable, "The registry's server %s could not be asked: port 43 may be closed from here.", server)
		}
		if err != nil {
			return best, nil // what we were referred from is an answer
		}
		who, next := parse(text)
		if server != root {
			who.Server = server
			best = better(best, who)
		}
		if next == "" || next == server || !slices.Contains(registries, next) {
			break
		}
		server = next
	}
	if best.Server == "" {
		return Who{}, fault.New(fault.Unavailable, "No registry says whose address %s is.", a)
	}
	return best, nil
}

// better is the later answer, unless it says less than the one before.
func better(before, now Who) Who {
	if now.Network == "" && now.Holder == "" && now.Range == "" {
		return before
	}
	return now
}

// ask sends a question to one server.
func ask(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), server string, a netip.Addr) (string, error) {
	c, err := dial(ctx, "tcp", net.JoinHostPort(server, "43"))
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }() // nothing is lost
	if end, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(end); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(c, a.String()+"\r\n"); err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(c, maxAnswer))
	if err != nil && len(data) == 0 {
		return "", err
	}
	if len(data) == 0 {
		return "", errors.New("an empty answer")
	}
	return string(data), nil
}

// parse reads an answer. The forms are those of RPSL (RIPE, APNIC, AFRINIC), of ARIN and of LACNIC: lines of a key, a colon and a value, in blocks; the
// first network counts, and who holds it may stand in a later block. Source: answers of the five servers, as people publish them.
func parse(text string) (w Who, next string) {
	var mailbox, contact string // where nothing says abuse
	network := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		// "% Abuse contact for '192.0.2.0 - 192.0.2.255' is 'abuse@example.net'"
		if rest, ok := strings.CutPrefix(line, "% Abuse contact for '"); ok {
			if _, address, ok := strings.Cut(rest, "' is '"); ok && w.Abuse == "" {
				w.Abuse = email(strings.TrimSuffix(address, "'"))
			}
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		if value = show(value); !ok || value == "" || strings.HasPrefix(line, "%") || strings.HasPrefix(line, "#") {
			continue
		}
		first := func(field *string) {
			if *field == "" {
				*field = value
			}
		}
		switch strings.ToLower(key) {
		case "refer", "whois": // of IANA
			if next == "" {
				next = strings.ToLower(value)
			}
		case "referralserver": // of ARIN: "whois://whois.ripe.net", with a port or without
			if host, ok := strings.CutPrefix(strings.ToLower(value), "whois://"); ok {
				next, _, _ = strings.Cut(strings.TrimSuffix(host, "/"), ":")
			}
		case "inetnum", "inet6num", "netrange":
			first(&w.Range)
			network = true
		case "netname":
			first(&w.Network)
		case "ownerid": // LACNIC has no name of a network
			first(&w.Network)
		case "org-name", "orgname", "owner", "custname":
			first(&w.Holder)
		case "descr":
			if network && w.Holder == "" {
				contact = firstOf(contact, value)
			}
		case "country":
			if len(value) == 2 {
				first(&w.Country)
			}
		case "orgabuseemail", "abuse-mailbox":
			if w.Abuse == "" {
				w.Abuse = email(value)
			}
		case "e-mail":
			mailbox = firstOf(mailbox, email(value))
		}
	}
	w.Holder = firstOf(w.Holder, contact)
	if w.Abuse == "" && strings.Contains(text, "LACNIC") { // its people are all contacts of the network
		w.Abuse = mailbox
	}
	return w, next
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// email is an address if it is nothing but one.
func email(text string) string {
	text = strings.TrimSpace(text)
	m, err := mail.ParseAddress(text)
	if err != nil || m.Address != text || len(text) > maxText || show(text) != text {
		return ""
	}
	return text
}

// Complaint is what a provider is told.
type Complaint struct {
	Address     netip.Addr
	Who         Who
	What        string // the detection's title
	First, Last time.Time
	Count       int64
	Seen        []string // lines that name a time and what was seen: of this address alone, without names, paths and secrets
	Ours        string   // the address that was attacked; empty: it is not told
}

// Report drafts a message to the holder of a network. It holds nothing but what it is given, and every time is UTC.
func Report(c Complaint) string {
	var b strings.Builder
	if c.Who.Abuse != "" {
		fmt.Fprintf(&b, "To: %s\n", c.Who.Abuse)
	}
	fmt.Fprintf(&b, "Subject: Abuse from %s: %s\n\nHello,\n\nwe saw what looks like an attack from an address of yours. Please look into it.\n\n", c.Address, show(c.What))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name+":", value)
		}
	}
	line("Address", c.Address.String())
	line("Network", strings.TrimSpace(c.Who.Network+" "+c.Who.Range))
	line("Holder", c.Who.Holder)
	line("Seen", show(c.What))
	line("First", c.First.UTC().Format(time.RFC3339))
	line("Last", c.Last.UTC().Format(time.RFC3339))
	line("Events", fmt.Sprint(c.Count))
	line("Target", show(c.Ours))
	if len(c.Seen) > 0 {
		b.WriteString("\nSome of the events (times are UTC):\n\n")
		for _, s := range c.Seen {
			b.WriteString("  " + show(s) + "\n")
		}
	}
	b.WriteString("\nWe can give you the lines of our logs if you need them. Thank you.\n")
	return b.String()
}
