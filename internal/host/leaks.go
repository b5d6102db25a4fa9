package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
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

// maxLog is how many bytes a log may have of which this is told: what is longer takes too long.
const maxLog = 32 << 20

// LogLeaks implements guard.Host.
func (f *Facts) LogLeaks(path string) ([]guard.Leak, error) {
	var text []byte
	var err error
	if path == guard.Journal {
		text, err = f.journal()
	} else {
		text, err = f.read(path, maxLog)
	}
	if err != nil {
		return nil, err
	}
	var list []guard.Leak
	for number := 1; len(text) > 0 && len(list) < maxLeaks; number++ {
		line, rest, _ := bytes.Cut(text, []byte{'\n'})
		text = rest
		if likely(line) {
			list = append(list, leaksIn(string(line), number)...)
		}
	}
	return list, nil
}

// marks are in every line that leaks finds something in, but for API keys.
var marks = [][]byte{[]byte("://"), []byte("--secret"), []byte("--password"), []byte("PGPASSWORD="), []byte("VAULT_TOKEN="), []byte("hvs."), []byte("hvb."), []byte("hvr."),
	[]byte("ipmitool"), []byte("assword '"), []byte("ASSWORD '")}

// likely tells cheaply whether a line of a log can hold a secret: logs have millions of lines.
func likely(line []byte) bool {
	for _, m := range marks {
		if bytes.Contains(line, m) {
			return true
		}
	}
	for i := bytes.IndexByte(line, ':'); i >= 0 && i+19 < len(line); { // an API key has colons after 18 and 37 characters
		if line[i+19] == ':' {
			return true
		}
		next := bytes.IndexByte(line[i+1:], ':')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return false
}

// journal is what the running host's journal has of the last week by whoever writes commands down, and by MAAS. There may be none: fs.ErrNotExist.
// Source: journalctl(1); "+" is or.
func (f *Facts) journal() ([]byte, error) {
	found := false
	for _, folder := range []string{"/var/log/journal", "/run/log/journal"} {
		if _, err := f.File(folder); err == nil {
			found = true
		}
	}
	if !found {
		return nil, fs.ErrNotExist
	}
	live, ok := f.src.(Live)
	if !ok || !live.Running() {
		return nil, errors.New("a journal is read on its own host alone")
	}
	return live.Run("/usr/bin/journalctl", "--quiet", "--no-pager", "--output=cat", "--since=-7d", "--lines=200000", "_COMM=sudo", "_COMM=su", "_COMM=cron", "_COMM=psql", "+",
		"SYSLOG_IDENTIFIER=maas-regiond", "SYSLOG_IDENTIFIER=maas-rackd", "SYSLOG_IDENTIFIER=metalward", "SYSLOG_IDENTIFIER=postgres")
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
