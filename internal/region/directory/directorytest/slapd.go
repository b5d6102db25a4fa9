// Package directorytest runs an OpenLDAP server for tests: unprivileged, in a folder of the test, over TLS on a port of this
// host. Without slapd the test is skipped.
package directorytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// What the server has.
const (
	Base     = "dc=example,dc=org"
	People   = "ou=people," + Base
	Groups   = "ou=groups," + Base
	Open     = "ou=opened," + Base // everybody may search it
	Searcher = "cn=searcher," + Base
	// SearcherPassword is Searcher's, and Password everybody else's.
	SearcherPassword = "canary-searcher-password"
	Password         = "canary-directory-password"

	admin         = "cn=admin," + Base
	adminPassword = "canary-admin-password"
	modules       = "/usr/lib/ldap"
	schemas       = "/etc/ldap/schema"
)

// Server is a directory.
type Server struct {
	t       testing.TB
	Address string // host:port
	CA      string // PEM
	conn    *ldap.Conn
	process *exec.Cmd
}

// URL is the server's address.
func (s *Server) URL() string { return "ldaps://" + s.Address }

// New starts a directory with the people jane and bob, of whom jane is in the group ops.
func New(t testing.TB) *Server {
	t.Helper()
	binary := ""
	for _, path := range []string{"/usr/sbin/slapd", "/usr/local/sbin/slapd"} {
		if _, err := os.Stat(path); err == nil {
			binary = path
		}
	}
	if binary == "" {
		t.Skip("no directory server (Debian package slapd): Active Directory's ways are tested without one, against our own")
	}
	dir, err := os.MkdirTemp("", "ldap") // shorter than the test's own, for the lock file's sake
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{t: t, Address: freePort(t)}
	s.CA = certificates(t, dir)
	// AppArmor confines the program by its path to the host's own directory.
	own := filepath.Join(dir, "slapd")
	must(t, copyFile(binary, own))
	must(t, os.Mkdir(filepath.Join(dir, "db"), 0o700))
	conf := ""
	for _, name := range []string{"core", "cosine", "inetorgperson"} {
		conf += fmt.Sprintf("include %s/%s.schema\n", schemas, name)
	}
	conf += "modulepath " + modules + "\n"
	for _, name := range []string{"back_mdb", "memberof", "refint", "ppolicy"} {
		conf += "moduleload " + name + "\n"
	}
	conf += fmt.Sprintf(`pidfile %[1]s/pid
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
TLSVerifyClient never
database mdb
suffix "%[2]s"
rootdn "%[3]s"
rootpw %[4]s
directory %[1]s/db
maxsize 67108864
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="%[6]s" by * read
access to * by dn.exact="%[5]s" read by anonymous auth by self read by * none
overlay memberof
overlay refint
refint_attributes member
overlay ppolicy
`, dir, Base, admin, adminPassword, Searcher, Open)
	must(t, os.WriteFile(filepath.Join(dir, "slapd.conf"), []byte(conf), 0o600))
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	s.process = exec.Command(own, "-d", "0", "-f", filepath.Join(dir, "slapd.conf"), "-h", s.URL()+"/")
	s.process.Stdout, s.process.Stderr = log, log
	must(t, s.process.Start())
	t.Cleanup(func() {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
		_ = log.Close()
	})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(s.CA))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if s.conn, err = ldap.DialURL(s.URL(), ldap.DialWithTLSConfig(&tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12})); err == nil {
			break
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("slapd does not answer: %v\n%s", err, said)
		}
	}
	t.Cleanup(func() { _ = s.conn.Close() })
	must(t, s.conn.Bind(admin, adminPassword))
	s.Add(Base, "objectClass", "dcObject", "objectClass", "organization", "o", "Example", "dc", "example")
	for _, dn := range []string{People, Groups, Open} {
		s.Add(dn, "objectClass", "organizationalUnit", "ou", dn[3:9])
	}
	s.Add(Searcher, "objectClass", "organizationalRole", "objectClass", "simpleSecurityObject", "cn", "searcher", "userPassword", SearcherPassword)
	s.Person("jane")
	s.Person("bob")
	s.Group("ops", "jane")
	return s
}

// Stop ends the server.
func (s *Server) Stop() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

// DN is the name of a person's entry.
func DN(uid string) string { return "uid=" + ldap.EscapeDN(uid) + "," + People }

// GroupDN is the name of a group's entry.
func GroupDN(cn string) string { return "cn=" + cn + "," + Groups }

// Person adds somebody with the password Password.
func (s *Server) Person(uid string, more ...string) {
	s.t.Helper()
	s.Add(DN(uid), append([]string{"objectClass", "inetOrgPerson", "uid", uid, "cn", uid, "sn", uid, "mail", "x" + fmt.Sprint(len(uid)) + "@example.org", "userPassword", Password}, more...)...)
}

// Group adds a group.
func (s *Server) Group(cn string, uids ...string) {
	s.t.Helper()
	list := []string{"objectClass", "groupOfNames", "cn", cn, "member", Searcher}
	for _, uid := range uids {
		list = append(list, "member", DN(uid))
	}
	s.Add(GroupDN(cn), list...)
}

// Add adds an entry.
func (s *Server) Add(dn string, pairs ...string) {
	s.t.Helper()
	values := map[string][]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values[pairs[i]] = append(values[pairs[i]], pairs[i+1])
	}
	r := ldap.NewAddRequest(dn, nil)
	for name, v := range values {
		r.Attribute(name, v)
	}
	must(s.t, s.conn.Add(r))
}

// Set replaces the values of an attribute; none deletes it.
func (s *Server) Set(dn, attribute string, values ...string) {
	s.t.Helper()
	r := ldap.NewModifyRequest(dn, nil)
	r.Replace(attribute, values)
	must(s.t, s.conn.Modify(r))
}

// Leave takes somebody out of a group.
func (s *Server) Leave(cn, uid string) {
	s.t.Helper()
	r := ldap.NewModifyRequest(GroupDN(cn), nil)
	r.Delete("member", []string{DN(uid)})
	must(s.t, s.conn.Modify(r))
}

// Rename gives somebody another name.
func (s *Server) Rename(uid, to string) {
	s.t.Helper()
	must(s.t, s.conn.ModifyDN(ldap.NewModifyDNRequest(DN(uid), "uid="+to, true, "")))
}

// Delete deletes somebody.
func (s *Server) Delete(uid string) {
	s.t.Helper()
	must(s.t, s.conn.Del(ldap.NewDelRequest(DN(uid), nil)))
}

// Subject is what somebody is known by.
func (s *Server) Subject(uid string) string {
	s.t.Helper()
	found, err := s.conn.Search(ldap.NewSearchRequest(DN(uid), ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)", []string{"entryUUID"}, nil))
	must(s.t, err)
	return found.Entries[0].GetAttributeValue("entryUUID")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// certificates writes an authority and what it issued for 127.0.0.1, and returns the authority.
func certificates(t testing.TB, dir string) string {
	t.Helper()
	ca, key := Authority(t)
	leaf, leafKey := Issue(t, ca, key)
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	must(t, err)
	text := encode("CERTIFICATE", ca.Raw)
	for name, data := range map[string]string{"ca.pem": text, "cert.pem": encode("CERTIFICATE", leaf), "key.pem": encode("PRIVATE KEY", der)} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600))
	}
	return text
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// Authority makes a certificate authority.
func Authority(t testing.TB) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "directory test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	must(t, err)
	c, err = x509.ParseCertificate(der)
	must(t, err)
	return c, key
}

// Issue makes a certificate for 127.0.0.1.
func Issue(t testing.TB, ca *x509.Certificate, caKey *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "directory"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, caKey)
	must(t, err)
	return der, key
}

// PEM writes a certificate as a provider's field takes it.
func PEM(c *x509.Certificate) string { return encode("CERTIFICATE", c.Raw) }
