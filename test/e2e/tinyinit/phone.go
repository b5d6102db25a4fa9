//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// phoneHome makes the one POST that tells the controller the machine is up.
// It trusts the certificate file the installer named and nothing else, so a
// test sees it fail when the installer trusts too little or the wrong thing.
func phoneHome(ctx context.Context, root string, s *seed) (int, error) {
	target, err := url.Parse(s.PhoneHome.URL)
	if err != nil || target.Scheme != "https" {
		return 0, fmt.Errorf("cannot phone home to %q: not an https address", s.PhoneHome.URL)
	}
	pool, err := trustedCA(root)
	if err != nil {
		return 0, err
	}
	client := &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
	}
	tries := min(max(s.PhoneHome.Tries, 1), 10) // 10 is cloud-init's own default
	body := phoneForm(s).Encode()
	for try := 1; ; try++ {
		status, err := post(ctx, client, target.String(), body)
		if err == nil && status < 400 {
			return status, nil
		}
		if try == tries {
			return status, err
		}
		say("PHONE try %d of %d: status %d %v", try, tries, status, err)
		time.Sleep(3 * time.Second)
	}
}

func phoneForm(s *seed) url.Values {
	all := map[string]string{
		"instance_id": s.Meta.InstanceID,
		"hostname":    s.Meta.Hostname,
		"fqdn":        s.Meta.Hostname,
	}
	var names []string
	if s.PhoneHome.Post.Decode(&names) != nil || len(names) == 0 {
		names = []string{"instance_id", "hostname", "fqdn"} // "all", or absent
	}
	form := url.Values{}
	for _, n := range names {
		if v, ok := all[n]; ok {
			form.Set(n, v)
		} else {
			form.Set(n, "N/A")
		}
	}
	return form
}

func post(ctx context.Context, client *http.Client, target, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", "Tinyinit/1")
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// trustedCA reads the file named by REQUESTS_CA_BUNDLE in the drop-ins of
// cloud-final.service. As in systemd, the last assignment wins.
func trustedCA(root string) (*x509.CertPool, error) {
	files, _ := filepath.Glob(filepath.Join(root, "etc/systemd/system/cloud-final.service.d/*.conf"))
	name := ""
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", file, err)
		}
		for line := range strings.Lines(string(b)) {
			value, ok := strings.CutPrefix(strings.TrimSpace(line), "Environment=")
			if !ok {
				continue
			}
			for _, v := range strings.Fields(value) {
				if p, ok := strings.CutPrefix(strings.Trim(v, `"'`), "REQUESTS_CA_BUNDLE="); ok {
					name = p
				}
			}
		}
	}
	if name == "" {
		return nil, errors.New("cannot trust any server: no REQUESTS_CA_BUNDLE in a drop-in of cloud-final.service")
	}
	pem, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return nil, fmt.Errorf("cannot read the trusted certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cannot trust %s: no certificate in it", name)
	}
	return pool, nil
}
