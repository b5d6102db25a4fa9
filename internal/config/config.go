// Package config holds one documented struct for each role of the binary. Zero values are completed with the
// defaults named here; Check says what is wrong without starting anything. Only cmd/metalward fills them in,
// from flags and a file; packages receive values.
package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/fault"
)

// The ports. Source: MAAS's for 5240, 5248 and 5250; see docs/reference.
const (
	PortHTTPS    = 5443 // UI and API
	PortPlain    = 5240 // says where HTTPS is
	PortRPC      = 5250 // racks, mutual TLS
	PortBootHTTP = 5248 // first-stage boot files, plain: firmware cannot do better
	PortMetadata = 5246 // agents and deployed machines, HTTPS
)

// Region configures a region controller.
type Region struct {
	// StateDir holds the database, the keys and the images. It is made with mode 0700. Required.
	StateDir string
	// Database is a postgres:// URL; empty means what `metalward init region` wrote, else SQLite in the state folder.
	Database string
	// DatabaseWeakTLS lets a PostgreSQL on another host be spoken to without verifying who it is.
	DatabaseWeakTLS bool
	// HTTPS is where the UI and API listen. Default ":5443".
	HTTPS string
	// Plain is where the plain-text port listens, which only redirects. Default ":5240"; "off" for none.
	Plain string
	// RPC is where racks connect. Default ":5250".
	RPC string
	// PublicHost is the name or address that people and racks reach this region by. Default: the host's name.
	PublicHost string
	// TrustedProxies are networks in CIDR notation whose forwarding headers are believed. Default: none.
	TrustedProxies []string
	// ProxyProtocol has the trusted proxies say who the client is by the PROXY protocol: they must all speak it.
	ProxyProtocol bool
	// BreachedPasswords is the path of a file of SHA-1 hashes of passwords that nobody may choose, sorted by hash, a line
	// each, as Have I Been Pwned's. Default: none.
	BreachedPasswords string
	// EgressAllow are networks in CIDR notation that requests of the region's own (webhooks, identity providers) may go
	// to although they are this host's or this link's. Default: none.
	EgressAllow []string
	// SecurityLog is the path of a file that security events are appended to, as JSON, one a line. Default: none.
	SecurityLog string
	// SecurityJournal sends security events to this host's journal.
	SecurityJournal bool
	// SecuritySyslog is the host and port of a syslog server over TLS (RFC 5425, port 6514) that security events go
	// to; SecuritySyslogCA is the PEM file of the authority of its certificate, if this host does not trust it anyway.
	SecuritySyslog, SecuritySyslogCA string
	// AddressDatabases are paths of files in MaxMind's format that say of which network and country an address is. Default: none.
	AddressDatabases []string
	// RequestRules holds what people and clients send against the OWASP Core Rule Set: "off", "detect" or "block". Default: off; the
	// command line's is detect.
	RequestRules string
	// RootCredential is the path of the root key where systemd hands it over (LoadCredentialEncrypted=). Default: none; root.key in
	// the state folder is used, or what the TPM has sealed of it.
	RootCredential string
	// TPM is the TPM's device, or unix:PATH of the socket of one in software. Default /dev/tpmrm0, where the root key is sealed.
	TPM string
	// EgressCA is a PEM file of authorities that such servers' certificates may be of, besides those that this host trusts.
	EgressCA string
	// MetadataPort is the port of the racks' HTTPS for machines. Default 5246.
	MetadataPort int
	// Watch says whether the logs of the region's own host are read for attacks: "on", the default, or "off".
	Watch string
	// Blocks is where this region enforces who is blocked: "listeners", its own, or BlocksNFTables. Default "listeners".
	Blocks string
	Observation
}

// RequestRulesOff is the mode in which nothing is asked; RequestRules are all modes.
const RequestRulesOff = "off"

var RequestRules = []string{RequestRulesOff, "detect", "block"}

// Where blocks are enforced. BlocksNFTables is the packet filter of the host, which needs CAP_NET_ADMIN, and the listeners.
const (
	BlocksListeners = "listeners"
	BlocksNFTables  = "nftables"
)

// checkBlocks completes the default and says what is wrong.
func checkBlocks(where *string, bad fault.Fields) {
	switch *where {
	case "":
		*where = BlocksListeners
	case BlocksListeners, BlocksNFTables:
	default:
		bad.Add("blocks", "%q is neither %s nor %s.", *where, BlocksListeners, BlocksNFTables)
	}
}

// Observation says who may see a controller's metrics.
type Observation struct {
	// Metrics is an address of this host's loopback that metrics are served at. Default: none.
	Metrics string
	// MetricsToken is the path of a file with the token that whoever asks for metrics must have. With it a region serves them on HTTPS
	// as well. Default: none.
	MetricsToken string
}

// DatabaseFile is the file in a state folder that holds the URL of the database, password included.
const DatabaseFile = "database"

// Check completes the defaults and says what is wrong. Kinds: Invalid.
func (c *Region) Check() error {
	bad := fault.Fields{}
	if c.StateDir == "" {
		bad.Add("state-dir", "Name the folder for the state.")
	} else if abs, err := filepath.Abs(c.StateDir); err == nil {
		c.StateDir = abs
	}
	for _, l := range []struct {
		name string
		addr *string
		port int
	}{{"listen-https", &c.HTTPS, PortHTTPS}, {"listen-plain", &c.Plain, PortPlain}, {"listen-rpc", &c.RPC, PortRPC}} {
		if *l.addr == "" {
			*l.addr = fmt.Sprintf(":%d", l.port)
		}
		if _, _, err := net.SplitHostPort(*l.addr); err != nil && (*l.addr != "off" || l.name != "listen-plain") {
			bad.Add(l.name, "%q is not an address such as :%d or 10.0.0.1:%d.", *l.addr, l.port, l.port)
		}
	}
	if c.MetadataPort == 0 {
		c.MetadataPort = PortMetadata
	}
	if c.MetadataPort < 1 || c.MetadataPort > 65535 {
		bad.Add("metadata-port", "Use a port from 1 to 65535.")
	}
	if c.RequestRules == "" {
		c.RequestRules = RequestRulesOff
	}
	if !slices.Contains(RequestRules, c.RequestRules) {
		bad.Add("request-rules", "Use %s.", strings.Join(RequestRules, ", "))
	}
	if c.Database != "" {
		if u, err := url.Parse(c.Database); err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
			bad.Add("database", "Use a postgres:// URL, or leave it empty for SQLite.")
		}
	}
	watch(bad, &c.Watch)
	checkBlocks(&c.Blocks, bad)
	_, err := c.Proxies()
	bad.AddErr("trusted-proxy", err)
	if c.ProxyProtocol && len(c.TrustedProxies) == 0 {
		bad.Add("proxy-protocol", "Name the proxies that speak it with --trusted-proxy.")
	}
	_, err = c.EgressAllowed()
	bad.AddErr("egress-allow", err)
	if c.SecuritySyslog != "" {
		if _, _, err := net.SplitHostPort(c.SecuritySyslog); err != nil {
			bad.Add("security-syslog", "%q is not a host and port such as logs.example:6514.", c.SecuritySyslog)
		}
	}
	return bad.Err()
}

// Proxies parses TrustedProxies. Kinds: Invalid without a field.
func (c *Region) Proxies() ([]netip.Prefix, error) { return prefixes(c.TrustedProxies) }

// EgressAllowed parses EgressAllow. Kinds: Invalid without a field.
func (c *Region) EgressAllowed() ([]netip.Prefix, error) { return prefixes(c.EgressAllow) }

func prefixes(texts []string) (out []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, err2 := netip.ParseAddr(text)
			if err2 != nil {
				return nil, fault.New(fault.Invalid, "%q is not a network such as 10.0.0.0/24.", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p)
	}
	return out, nil
}

// Rack configures a rack controller.
type Rack struct {
	// StateDir holds the rack's key, leases, snapshot and image cache. It is made with mode 0700. Required.
	StateDir string
	// Region is the host and port of the region's RPC. Default: what enrolment found.
	Region string
	// BootFiles is the folder of iPXE, kernel and initramfs, as `make ephemeral` builds it. Required to boot machines.
	BootFiles string
	// BootHTTP and Metadata are the ports on the boot VLANs. Defaults 5248 and 5246.
	BootHTTP, Metadata int
	// ImageCacheBytes bounds the image cache. Default 20 GiB.
	ImageCacheBytes int64
	// SyslogUDP, SyslogTCP and SyslogTLS are addresses, such as ":514" and ":6514", at which machines' logs are received. Default: none.
	SyslogUDP, SyslogTCP, SyslogTLS string
	// SyslogFrom are networks in CIDR notation that may send, besides those that this rack serves. Default: none.
	SyslogFrom []string
	// Watch says whether the logs of the rack's own host are read for attacks: "on", the default, or "off".
	Watch string
	// Blocks is where this rack enforces who is blocked: "listeners", its own for machines, or BlocksNFTables. Default "listeners".
	Blocks string
	Observation
}

// SyslogNetworks parses SyslogFrom. Kinds: Invalid without a field.
func (c *Rack) SyslogNetworks() ([]netip.Prefix, error) { return prefixes(c.SyslogFrom) }

// Check completes the defaults and says what is wrong. Kinds: Invalid.
func (c *Rack) Check() error {
	bad := fault.Fields{}
	if c.StateDir == "" {
		bad.Add("state-dir", "Name the folder for the state.")
	} else if abs, err := filepath.Abs(c.StateDir); err == nil {
		c.StateDir = abs
	}
	if c.BootHTTP == 0 {
		c.BootHTTP = PortBootHTTP
	}
	if c.Metadata == 0 {
		c.Metadata = PortMetadata
	}
	if c.ImageCacheBytes == 0 {
		c.ImageCacheBytes = 20 << 30
	}
	watch(bad, &c.Watch)
	for name, addr := range map[string]string{"listen-syslog-udp": c.SyslogUDP, "listen-syslog-tcp": c.SyslogTCP, "listen-syslog-tls": c.SyslogTLS} {
		if _, _, err := net.SplitHostPort(addr); err != nil && addr != "" {
			bad.Add(name, "%q is not an address such as :514 or 10.0.0.1:514.", addr)
		}
	}
	_, err := c.SyslogNetworks()
	bad.AddErr("syslog-from", err)
	checkBlocks(&c.Blocks, bad)
	if c.BootHTTP < 1 || c.BootHTTP > 65535 || c.Metadata < 1 || c.Metadata > 65535 || c.BootHTTP == c.Metadata {
		bad.Add("boot-port", "Use two different ports from 1 to 65535.")
	}
	return bad.Err()
}

// watch completes and checks whether a host's logs are read.
func watch(bad fault.Fields, value *string) {
	if *value == "" {
		*value = "on"
	}
	if *value != "on" && *value != "off" {
		bad.Add("watch", "Use on or off.")
	}
}
