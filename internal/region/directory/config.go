package directory

import (
	"crypto/x509"
	"encoding/hex"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/secret"
)

// Config says where a directory is, and how people are found in it.
type Config struct {
	Servers  []string       // host:port, in the order in which they are asked
	Roots    *x509.CertPool // nil: the host's
	BindDN   string         // empty: anonymous
	Password secret.Value   // of BindDN
	Base     string
	Filter   string // with {name}
	Subject  string // attributes
	Name     string
	Email    string
	Member   string // of a person, with the names of his groups; empty: there is none
	// GroupBase and GroupFilter, with {dn}, find the groups of a person; empty: they are not searched.
	GroupBase, GroupFilter string
}

// maxServers bounds the servers of a directory.
const maxServers = 5

// placeholder is where the name stands: as a whole value of an attribute. The same filter with a star in its place then
// finds everybody whom it lets in, whatever his name.
var placeholder = regexp.MustCompile(`\([A-Za-z][A-Za-z0-9;.-]*=\{name\}\)`)

var attributeName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9;.-]{0,63}$`)

// Parse reads the options of a provider of kind LDAP. Kinds: Invalid on the names of metal.ProviderLDAP's fields.
func Parse(p metal.Provider) (d Config, err error) {
	bad, o := fault.Fields{}, p.Options
	for _, line := range strings.Fields(o["servers"]) {
		u, err := url.Parse(line)
		if err != nil || u.Scheme != "ldaps" || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			bad.Add("servers", "%.100q is not an address such as ldaps://ldap.example.org. Plain LDAP would show passwords to the network.", line)
			continue
		}
		port := u.Port()
		if port == "" {
			port = "636"
		}
		d.Servers = append(d.Servers, net.JoinHostPort(u.Hostname(), port))
	}
	if len(d.Servers) > maxServers {
		bad.Add("servers", "Name at most %d servers.", maxServers)
	}
	if text := o["ca"]; text != "" {
		d.Roots = x509.NewCertPool()
		if !d.Roots.AppendCertsFromPEM([]byte(text)) {
			bad.Add("ca", "There is no certificate in PEM form in it.")
		}
	}
	dn := func(field string) string {
		if _, err := ldap.ParseDN(o[field]); err != nil {
			bad.Add(field, "%.100q is not a distinguished name such as dc=example,dc=org.", o[field])
		}
		return o[field]
	}
	d.BindDN, d.Base, d.GroupBase = dn("bind_dn"), dn("base_dn"), dn("group_base_dn")
	if d.GroupBase == "" {
		d.GroupBase = d.Base
	}
	d.Filter, d.GroupFilter = o["user_filter"], o["group_filter"]
	if strings.Count(d.Filter, "{name}") != 1 || !placeholder.MatchString(d.Filter) {
		bad.Add("user_filter", "The filter needs one (attribute={name}), where the user name stands.")
	} else if _, err := ldap.CompileFilter(d.byName("x")); err != nil {
		bad.Add("user_filter", "This is not a filter such as (&(objectClass=person)(uid={name})).")
	}
	if d.GroupFilter != "" {
		if _, err := ldap.CompileFilter(d.groupsFilter("cn=x")); err != nil || strings.Count(d.GroupFilter, "{dn}") != 1 {
			bad.Add("group_filter", "This is not a filter such as (member={dn}), with one {dn} where the name of the person's entry stands.")
		}
	}
	for field, to := range map[string]*string{"subject_attribute": &d.Subject, "name_attribute": &d.Name, "email_attribute": &d.Email, "member_attribute": &d.Member} {
		if *to = o[field]; *to == "none" {
			*to = ""
		}
		if *to != "" && !attributeName.MatchString(*to) {
			bad.Add(field, "Enter the name of an attribute.")
		}
	}
	if d.Subject == "" {
		bad.Add("subject_attribute", "Name the attribute that people are known by.")
	}
	for _, g := range p.Groups {
		if n, err := ldap.ParseDN(g.Value); err != nil || len(n.RDNs) == 0 {
			bad.Add("groups", "%.100q is not a group's distinguished name such as cn=ops,ou=groups,dc=example,dc=org.", g.Value)
		}
	}
	return d, bad.Err()
}

// byName is the filter for a name that somebody entered.
func (d Config) byName(name string) string {
	return strings.Replace(d.Filter, "{name}", ldap.EscapeFilter(name), 1)
}

// bySubject is the filter for somebody who is known, as far as the filter for names lets him in. Kinds: Invalid for what
// cannot be anybody's.
func (d Config) bySubject(subject string) (string, error) {
	text := ldap.EscapeFilter(subject)
	if strings.EqualFold(d.Subject, binarySubject) {
		b, err := hex.DecodeString(subject)
		if err != nil || len(b) != 16 {
			return "", fault.New(fault.Invalid, "This is not an %s.", binarySubject)
		}
		text = ""
		for i := range b {
			text += `\` + hex.EncodeToString(b[i:i+1])
		}
	}
	return "(&(" + d.Subject + "=" + text + ")" + strings.Replace(d.Filter, "{name}", "*", 1) + ")", nil
}

// groupsFilter is the filter for the groups of an entry.
func (d Config) groupsFilter(dn string) string {
	return strings.Replace(d.GroupFilter, "{dn}", ldap.EscapeFilter(dn), 1)
}
