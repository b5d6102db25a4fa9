package host

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/metalward/metalward/internal/guard"
)

// leaks are what secrets look like on command lines. Sources: MAAS's reference of its command line (init, login, createadmin,
// maas-rack register); PostgreSQL's documentation of connection URIs, of PGPASSWORD and of ALTER ROLE; HashiCorp's of Vault's tokens and
// VAULT_TOKEN; ipmitool(1).
var leaks = []struct {
	what    string
	pattern *regexp.Regexp
}{
	{"a password in the URL of a database", regexp.MustCompile(`(?i)\bpostgres(?:ql)?://[^\s:/@'"]+:[^\s@'"$]+@`)},
	{"the secret that racks join with", regexp.MustCompile(`\bmaas(?:-rack)?\b[^|;]*\s--secret[= ]\s*['"]?[0-9A-Fa-f]{16,}`)},
	{"an API key of MAAS", regexp.MustCompile(`\b[A-Za-z0-9]{18}:[A-Za-z0-9]{18}:[A-Za-z0-9]{32}\b`)},
	{"a password of MAAS", regexp.MustCompile(`\bmaas\b[^|;]*\s--password[= ]\s*['"]?[^\s'"$-]`)},
	{"a password of PostgreSQL", regexp.MustCompile(`\bPGPASSWORD=['"]?[^\s'"$]`)},
	{"a password of a role of PostgreSQL", regexp.MustCompile(`(?i)\b(?:create|alter)\s+(?:role|user)\b[^;]*\bpassword\s+'[^']`)},
	{"a token of Vault", regexp.MustCompile(`\bVAULT_TOKEN=['"]?[^\s'"$]|\bhv[sbr]\.[A-Za-z0-9_-]{20,}`)},
	{"a password of a BMC", regexp.MustCompile(`\bipmitool\b[^|;]*\s-P\s*['"]?[^\s'"$]`)},
}

// maxLeaks is how many are told of a file.
const maxLeaks = 50

func leaksIn(line string, number int) (list []guard.Leak) {
	for _, l := range leaks {
		if l.pattern.MatchString(line) {
			list = append(list, guard.Leak{Line: number, What: l.what})
		}
	}
	return list
}

// Leaks implements guard.Host. Zero bytes, as in /proc, are taken for blanks.
func (f *Facts) Leaks(path string) ([]guard.Leak, error) {
	text, err := f.Read(path)
	if err != nil {
		return nil, err
	}
	var list []guard.Leak
	lines := strings.Split(string(bytes.ReplaceAll(text, []byte{0}, []byte{' '})), "\n")
	for i, line := range lines {
		if list = append(list, leaksIn(line, i+1)...); len(list) >= maxLeaks {
			break
		}
	}
	return list, nil
}

// MAASConfig implements guard.Host.
func (f *Facts) MAASConfig(path string) (guard.MAASConfig, error) {
	text, err := f.Read(path)
	if err != nil {
		return guard.MAASConfig{}, err
	}
	c := guard.MAASConfig{File: path, Values: map[string]string{}}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		return c, fmt.Errorf("%s is no YAML", path) // the library's error may quote a password
	}
	for name, v := range values {
		switch v := v.(type) {
		case nil, map[string]any, []any:
		default:
			c.Values[name] = fmt.Sprint(v)
			if strings.Contains(name, "pass") || strings.Contains(name, "secret_id") || strings.Contains(name, "token") {
				c.Values[name] = guard.SecretSet
			}
		}
	}
	return c, nil
}
