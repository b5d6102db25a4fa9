package rack

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// identity is who this rack is: made by enrolment, kept in the state folder, renewed by itself. The private
// key never leaves this host.
type identity struct {
	SystemID string `json:"system_id"`
	Site     string `json:"site"`
	Region   string `json:"region"` // host:port of the region's RPC
	CA       []byte `json:"ca"`     // PEM of the region's CA
	Chain    []byte `json:"certificate"`
	Key      []byte `json:"key"` // PKCS #8 in DER; the file has mode 0600
}

func identityFile(stateDir string) string { return filepath.Join(stateDir, "rack-identity.json") }

// Enrolled reports whether a state folder holds a rack's identity.
func Enrolled(stateDir string) bool {
	_, err := os.Stat(identityFile(stateDir))
	return err == nil
}

func loadIdentity(stateDir string) (*identity, error) {
	path := identityFile(stateDir)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "This rack is not enrolled. Run: metalward rack enrol --region https://… --token-file FILE")
	}
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("cannot trust %s: mode is %04o, want 0600; run: chmod 600 %s", path, mode, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	id := &identity{}
	if err := json.Unmarshal(b, id); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	_, err = id.certificate()
	return id, err
}

func (id *identity) save(stateDir string) error {
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return secret.WriteFile(identityFile(stateDir), b)
}

func (id *identity) certificate() (tls.Certificate, error) {
	certs, err := pki.ParseCerts(id.Chain)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := x509.ParsePKCS8PrivateKey(id.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cannot read the rack's key: %w", err)
	}
	c := tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, x := range certs {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c, nil
}

// tls is the rack's side of a connection to the region: the region must show a certificate of the CA that
// enrolment pinned.
func (id *identity) tls(alpn string, now func() time.Time) (*tls.Config, error) {
	cert, err := id.certificate()
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(id.CA) {
		return nil, errors.New("cannot read the region's CA certificate")
	}
	host, _, err := net.SplitHostPort(id.Region)
	if err != nil {
		return nil, fmt.Errorf("cannot use the region's address: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: host, Certificates: []tls.Certificate{cert}, NextProtos: []string{alpn}, Time: now}, nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := pki.NewKey()
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return key, der, err
}

const enrolTime = 30 * time.Second

// Enrol makes this host a rack of a region: it spends a token, whose CA fingerprint is all that the region's
// certificate is trusted by. Kinds: Invalid, Unauthenticated, Unavailable, Conflict when it is enrolled already.
func Enrol(ctx context.Context, stateDir, regionURL string, token secret.Value) (systemID string, err error) {
	t, err := wire.ParseEnrolToken(token)
	if err != nil {
		return "", err
	}
	if Enrolled(stateDir) {
		return "", fault.New(fault.Conflict, "This rack is enrolled already. To enrol it anew, remove %s first.", identityFile(stateDir))
	}
	u, err := url.Parse(regionURL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return "", fault.Field("region", "Use the region's HTTPS address, such as https://region.example:%d.", 5443)
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "5443")
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return "", fmt.Errorf("cannot make state folder: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, enrolTime)
	defer cancel()
	dialer := &tls.Dialer{Config: pinned(t.CA, u.Hostname())}
	raw, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return "", fault.New(fault.Unavailable, "The region at %s does not answer as the token expects: %v", host, err)
	}
	conn := raw.(*tls.Conn)
	defer func() { _ = conn.Close() }()
	key, der, err := newKey()
	if err != nil {
		return "", err
	}
	csr, err := pki.Request(key)
	if err != nil {
		return "", err
	}
	proof, err := wire.EnrolProof(t.Key, conn.ConnectionState(), csr)
	if err != nil {
		return "", err
	}
	resp, err := sendEnrol(ctx, conn, u.Hostname(), wire.EnrolRequest{ID: t.ID, RackName: t.RackName, Expires: t.Expires, CSR: csr, Proof: proof})
	if err != nil {
		return "", err
	}
	id := &identity{SystemID: resp.SystemID, Site: resp.Site, Region: net.JoinHostPort(u.Hostname(), strconv.Itoa(resp.RPCPort)), CA: resp.CA, Chain: resp.Certificate, Key: der}
	block, _ := pem.Decode(resp.CA)
	if block == nil || pki.Fingerprint(block.Bytes) != t.CA {
		return "", fault.New(fault.Unauthenticated, "The region sent another CA certificate than the token names.")
	}
	if _, err := id.certificate(); err != nil {
		return "", err
	}
	return id.SystemID, id.save(stateDir)
}

// pinned trusts a server whose chain holds the CA of a fingerprint.
func pinned(fingerprint, host string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, ServerName: host, NextProtos: []string{"http/1.1", metal.SiteProtocol},
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection below is stricter than the default: one CA, by its hash
		VerifyConnection: func(cs tls.ConnectionState) error {
			roots, between, found := x509.NewCertPool(), x509.NewCertPool(), false
			for _, c := range cs.PeerCertificates {
				if c.IsCA && pki.Fingerprint(c.Raw) == fingerprint {
					roots.AddCert(c)
					found = true
				} else {
					between.AddCert(c)
				}
			}
			if !found {
				return errors.New("the region's certificate is not of the CA that the token names")
			}
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: host})
			return err
		}}
}

// sendEnrol posts the request on the very connection that the proof is bound to.
func sendEnrol(ctx context.Context, conn *tls.Conn, host string, req wire.EnrolRequest) (resp wire.EnrolResponse, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return resp, err
	}
	used := false
	client := &http.Client{Transport: &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		if used {
			return nil, errors.New("the connection was lost")
		}
		used = true
		return conn, nil
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+host+wire.EnrolPath, bytes.NewReader(body))
	if err != nil {
		return resp, err
	}
	res, err := client.Do(r)
	if err != nil {
		return resp, fault.New(fault.Unavailable, "The region broke off: %v", err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return resp, fault.New(fault.Unavailable, "The region broke off: %v", err)
	}
	if res.StatusCode != http.StatusOK {
		return resp, wire.DecodeFault(res.StatusCode, data)
	}
	return resp, wire.Decode(data, &resp)
}
