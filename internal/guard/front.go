package guard

import (
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Front is an address at which a web server or balancer takes connections, as its configuration has it in effect.
type Front struct {
	Program string // nginx, haproxy or apache2; maas for the nginx that MAAS itself configures
	Version string // of the program's package; "" where that is not known
	File    string
	Line    int    // where it begins
	Address string // where it listens, as written: *:443
	Port    int    // 0 where that is no port but a socket, or cannot be told
	TLS     bool

	Protocols []string // SSLv3 and TLSv1 to TLSv1.3; nil where nothing sets them
	Ciphers   string   // OpenSSL's list of those up to TLS 1.2; "" where nothing sets it
	// Pairs are the certificates that it shows, with their keys.
	Pairs  []Pair
	DHFile string // parameters of Diffie-Hellman; "" where nothing names any
	DHBits int    // the most that may be generated, in bits; 0 where nothing says so

	HSTS    string // the header Strict-Transport-Security; "" where none is sent
	ToHTTPS bool   // all requests are sent on to https
	Proto   bool   // the header X-Forwarded-Proto is set
	For     bool   // the header X-Forwarded-For is set
	Raw     bool   // connections are passed on as they are: there are no requests to look at

	Servers []Upstream // where requests go
	Behind  []Backend  // a balancer's groups of servers that requests go to
	Limit   int        // the most connections of a balancer at once; 0 where nothing sets it
	Timeout string     // how long a balancer waits for a client, as written; "" or 0 for ever
	Close   bool       // a balancer closes connections to servers after each answer, by what stands here
	Logged  bool       // requests are logged
	Unsure  []string   // what cannot be told, and why
}

// Pair is a certificate and its key, by their paths. They may be one file.
type Pair struct{ Certificate, Key string }

// Upstream is a server behind a front.
type Upstream struct {
	Name    string
	Address string // host:port, or unix: and a path
	Check   bool   // whether it lives is looked at
	File    string
	Line    int
}

// Backend is how a balancer treats a group of servers.
type Backend struct {
	Name, File string
	Line       int
	Balance    string // the algorithm; "" for the usual one, each in turn
	Hash       string // how its hashes choose a server; "" for the usual way, by the number of servers
	Sticky     bool   // a cookie or table keeps clients with a server
	Retries    string // as written; "" for the usual number
	Redispatch bool   // a retry may go to another server
	Close      bool   // connections to servers are closed after each answer, by what stands here
	Connect    string // how long it waits for a connection, and for an answer, as written; "" or 0 for ever
	Server     string
}

// Port is the port of a server, 0 for none.
func (u Upstream) Port() int {
	_, port, err := net.SplitHostPort(u.Address)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port)
	return n
}

// Fronts are those of a host.
type Fronts struct {
	List  []Front
	Pages []StatsPage
	Old   []OldLine
	Err   error // what could not be read or is not understood: List is then not all
}

// StatsPage is a page of statistics of a balancer.
type StatsPage struct {
	File  string
	Line  int
	Login bool // it asks for one
}

// OldLine is a line that the program of today does not understand.
type OldLine struct {
	File, Text string
	Line       int
}

// Certificate is what a certificate's file says, the key beside it looked at as well.
type Certificate struct {
	Subject   string
	Names     []string // of hosts and addresses
	From, To  time.Time
	Key       string // RSA, ECDSA, Ed25519 or another word
	Bits      int    // of the key
	Signature string // such as SHA256-RSA
	Sum       string // SHA-256 of the certificate, hexadecimal
	Own       bool   // it is signed by itself
	Chain     error  // why what follows it in the file leads to no authority; nil if it does, or Own
	Match     error  // why the key is not known to be its key; ErrNoMatch if it is another's
	DHBits    int    // of the parameters of Diffie-Hellman in the file; 0 for none
}

// ErrNoMatch means that a key is not a certificate's.
var ErrNoMatch = errors.New("the key is another certificate's")

// Handshake is what a port of the running host answers.
type Handshake struct {
	Plain   bool   // a request without TLS is answered with something other than a refusal or a redirection to https
	Version string // of TLS, the highest; "" where it does not answer with TLS
	Old     string // the version below 1.2 that it takes, too; "" for none
	Sum     string // SHA-256 of the certificate, hexadecimal
}

// Tunnels are the ways that encrypt what is between hosts.
type Tunnels struct {
	WireGuard []string // names of devices
	IPsec     bool     // the kernel has policies that demand it
	IPsecErr  error    // why that is not known
}

// Weak are the protocols below TLS 1.2.
func (f Front) Weak() []string {
	return slices.DeleteFunc(slices.Clone(f.Protocols), func(p string) bool { return p == "TLSv1.2" || p == "TLSv1.3" })
}

// LeadsTo reports whether requests go to one of the ports, or to a socket whose name has the word.
func (f Front) LeadsTo(ports []int, socket string) bool {
	return slices.ContainsFunc(f.Servers, func(u Upstream) bool {
		return slices.Contains(ports, u.Port()) || socket != "" && strings.HasPrefix(u.Address, "unix:") && strings.Contains(u.Address, socket)
	})
}
