//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/vault/vaulttest"
	"github.com/metalward/metalward/test/e2e/lab"
)

// elsewhere is a PostgreSQL and a Vault on another host of the control network, both by TLS. Vault is the in-memory one, which
// passes the suite that a real one does; the database is Debian's.
type elsewhere struct {
	db    *regiontest.TLSPostgres
	vault *vaulttest.Fake
	vault8200,
	role string
}

// beside starts them. Their host is that of the rack: what they speak with the region crosses the captured wire.
func (s *site) beside(ctx context.Context) *elsewhere {
	s.t.Helper()
	e := &elsewhere{db: regiontest.NewTLSPostgres(s.t, false, lab.RackAddr, "127.0.0.1"), vault: vaulttest.NewFake(), vault8200: "https://" + lab.RackAddr + ":8200"}
	e.role = e.vault.SetRole(s.t, "region1", vaulttest.SitePolicy("secret", "metalward"), time.Hour, 24*time.Hour)
	l, err := s.net.Listen(ctx, lab.Rack, "tcp", lab.RackAddr+":"+e.db.Port)
	s.must(err)
	s.t.Cleanup(func() { _ = l.Close() })
	go relay(l, "127.0.0.1:"+e.db.Port)

	l, err = s.net.Listen(ctx, lab.Rack, "tcp", lab.RackAddr+":8200")
	s.must(err)
	key, err := pki.NewKey()
	s.must(err)
	chain, err := e.db.CA.Server(&key.PublicKey, "vault", nil, []netip.Addr{netip.MustParseAddr(lab.RackAddr)}, 24*time.Hour, time.Now())
	s.must(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	s.must(err)
	pair, err := tls.X509KeyPair(chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	s.must(err)
	server := &http.Server{Handler: e.vault, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: 10 * time.Second, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	go func() { _ = server.ServeTLS(l, "", "") }()
	s.t.Cleanup(func() { _ = server.Close() })
	return e
}

// relay hands connections on.
func relay(l net.Listener, to string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = in.Close() }()
			out, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer func() { _ = out.Close() }()
			go func() { _, _ = io.Copy(out, in); _ = out.(*net.TCPConn).CloseWrite() }()
			_, _ = io.Copy(in, out)
		}()
	}
}

// initElsewhere has the region that is about to start keep its database there.
func (s *site) initElsewhere(ctx context.Context) {
	s.t.Helper()
	password := s.elsewhere.db.File("password", []byte(s.elsewhere.db.Password+"\n"))
	uri := "postgres://metalward@" + net.JoinHostPort(lab.RackAddr, s.elsewhere.db.Port) + "/metalward?channel_binding=require&sslrootcert=" + s.elsewhere.db.CAFile
	_, err := s.metalward(ctx, lab.Region, "", "init", "region", "--state-dir", s.stateDir, "--database-uri", uri, "--password-file", password)
	s.must(err)
	s.dsn = s.elsewhere.db.URL("metalward", s.elsewhere.db.Password, "127.0.0.1", "&sslmode=verify-full&sslrootcert="+s.elsewhere.db.CAFile)
}

// moveSecrets moves the secrets of the running region to Vault.
func (s *site) moveSecrets(ctx context.Context) {
	s.t.Helper()
	_, err := s.metalward(ctx, lab.Region, s.elsewhere.vault.Wrap(s.t, "region1")+"\n", "config-vault", "configure", "--state-dir", s.stateDir, "--cacert", s.elsewhere.db.CAFile,
		s.elsewhere.vault8200, s.elsewhere.role, "-", "metalward")
	s.must(err)
	out, err := s.metalward(ctx, lab.Region, "", "config-vault", "migrate", "--yes", "--state-dir", s.stateDir)
	s.must(err)
	s.t.Log(strings.TrimSpace(out))
	if n := len(s.elsewhere.vault.Entries()); n < 5 {
		s.t.Errorf("Vault holds %d secrets after the migration", n)
	}
}

// hidden are the secrets that the region and its neighbours share.
func (e *elsewhere) hidden(stateDir string) (needles [][]byte, err error) {
	text, err := os.ReadFile(filepath.Join(stateDir, "vault.json"))
	if err != nil {
		return nil, err
	}
	for _, field := range []string{`"secret_id":"`, `"secret_id": "`} {
		if _, rest, ok := strings.Cut(string(text), field); ok {
			id, _, _ := strings.Cut(rest, `"`)
			return [][]byte{[]byte(id), []byte(e.db.Password)}, nil
		}
	}
	return nil, errors.New("cannot find the secret id in vault.json")
}
