package catalog

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/guard"
)

// The pair of WireGuard's files names both ends, and no key.
func TestWireGuardPair(t *testing.T) {
	text := strings.Join(wireguardPair(netip.MustParseAddr("2001:db8::1")), "\n")
	for _, want := range []string{"wg genkey", "PUBLIC-OF-RACK", "PUBLIC-OF-REGION", "[2001:db8::1]:51820", "10.99.0.1/32", "10.99.0.2/32", "umask 077"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	if key := regexp.MustCompile(`[A-Za-z0-9+/]{43}=`).FindString(text); key != "" {
		t.Errorf("there is a key: %s", key)
	}
}

func TestSince(t *testing.T) {
	for version, want := range map[string]bool{"1.27.3": true, "1.27.2": false, "1.28.0-1ubuntu1": true, "1.9.9": false, "1:1.27.3": true, "2": true, "": false, "x": false, "1.27": false, "99999999999999999999.1": true} {
		if got := since(version, 1, 27, 3); got != want {
			t.Errorf("%q: got %v", version, got)
		}
	}
}

// What fronts of the three programs say, in words and with a severity.
func TestFronts(t *testing.T) {
	ports := strings.NewReplacer("PORT", "5240")
	for _, c := range []struct {
		name, id, at, config string
		severity             guard.Severity
		says                 string
	}{
		{"SSLv3", "transport-protocols", nginxAt, nginxServer("ssl_protocols SSLv3 TLSv1.2;", ""), guard.High, "SSLv3 is older"},
		{"TLS 1.0", "transport-protocols", haproxyAt, balancerConfig("ssl-default-bind-options ssl-min-ver TLSv1.0", ""), guard.Medium, "TLSv1, TLSv1.1 is older"},
		{"a broken cipher", "transport-ciphers", nginxAt, nginxServer("ssl_ciphers RC4-SHA:ECDHE+AESGCM;", ""), guard.High, "broken ones: RC4-SHA"},
		{"CBC", "transport-ciphers", nginxAt, nginxServer("", ""), guard.Low, "HIGH:!aNULL:!MD5"},
		{"the guide's old line", "availability-old", haproxyAt, balancerConfig("", ` reqadd X-Forwarded-Proto:\ https`), guard.Medium, `reqadd X-Forwarded-Proto:\ https`},
		{"no check", "availability-health", haproxyAt, "listen a\n bind :1\n server s 10.0.0.1:PORT\n", guard.Medium, "s (10.0.0.1:5240)"},
	} {
		for _, k := range Checks() {
			if k.ID != c.id {
				continue
			}
			list := k.Run(sampled(t, []guard.Entry{{Path: c.at, Content: ports.Replace(c.config)}}), guard.MAASDeb)
			if len(list) != 1 || list[0].State != guard.Fail || list[0].Worst() != c.severity || !strings.Contains(strings.Join(list[0].Evidence, "\n"), c.says) {
				t.Errorf("%s: got %+v", c.name, list)
			}
		}
	}
}
