package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// Limits of PostgreSQL's configuration.
const (
	maxIncludes = 10     // files deep, as PostgreSQL has it (CONF_FILE_MAX_DEPTH)
	maxFiles    = 200    // files of a server
	maxRules    = 10_000 // rules, or settings
)

// clusters are the places of servers: of Debian's postgresql-common, and of the snap maas-test-db. Sources: pg_lsclusters(1); MAAS's
// documentation on backing the test database up.
var clusters = []string{"/etc/postgresql/*/*/postgresql.conf", "/var/snap/maas-test-db/common/postgres/data/postgresql.conf"}

// Postgres implements guard.Host.
func (f *Facts) Postgres() (list []guard.Postgres, err error) {
	for _, pattern := range clusters {
		found, bad := f.Glob(pattern)
		if err == nil {
			err = bad
		}
		for _, config := range found {
			list = append(list, f.postgres(config))
		}
	}
	return list, err
}

func (f *Facts) postgres(config string) guard.Postgres {
	p := guard.Postgres{Config: config, Name: "maas-test-db", Data: path.Dir(config), HBA: path.Join(path.Dir(config), "pg_hba.conf"), Settings: map[string]guard.PostgresSetting{}}
	if w := names(config); w[0] == "etc" {
		p.Name, p.Data = w[2]+"/"+w[3], ""
	}
	r := &pgFiles{facts: f, left: maxFiles}
	p.Err = r.settings(config, p.Settings, 0)
	if s, ok := p.Settings["data_directory"]; ok {
		p.Data = path.Join("/", s.Value)
	}
	if s, ok := p.Settings["hba_file"]; ok {
		p.HBA = path.Join("/", s.Value)
	}
	if p.Data != "" { // what ALTER SYSTEM wrote comes last; who may not read it does not know the settings
		if err := r.settings(path.Join(p.Data, "postgresql.auto.conf"), p.Settings, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.Err = errors.Join(p.Err, err)
		}
	}
	p.Version = f.pgVersion(p)
	var err error
	p.Rules, err = r.rules(p.HBA, 0)
	p.Err = errors.Join(p.Err, err)
	return p
}

// pgVersion is told by Debian's folder, or by the data directory.
func (f *Facts) pgVersion(p guard.Postgres) int {
	word, _, _ := strings.Cut(p.Name, "/")
	if v, err := strconv.Atoi(word); err == nil {
		return v
	}
	text, _ := f.Read(path.Join(p.Data, "PG_VERSION")) // without it the version is unknown
	v, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return v
}

// pgFiles follows the inclusions of one server's files.
type pgFiles struct {
	facts *Facts
	left  int
}

func (r *pgFiles) read(file string, depth int) (string, error) {
	if r.left--; r.left < 0 || depth > maxIncludes {
		return "", fmt.Errorf("%s: more than %d files, or %d inclusions deep", file, maxFiles, maxIncludes)
	}
	text, err := r.facts.Read(file)
	return string(text), err
}

// included lists what a directive of a file names. Source: PostgreSQL's documentation, "Configuration File Includes": names are relative to
// the file's folder; of a folder the names that end in .conf and do not begin with a dot, in the C locale's order.
func (r *pgFiles) included(directive, file, name string) ([]string, error) {
	if !path.IsAbs(name) {
		name = path.Join(path.Dir(file), name)
	}
	if directive != "include_dir" {
		return []string{name}, nil
	}
	return r.facts.match(name, "*.conf")
}

// settings reads a postgresql.conf into a map: what comes later wins.
func (r *pgFiles) settings(file string, into map[string]guard.PostgresSetting, depth int) error {
	text, err := r.read(file, depth)
	if err != nil {
		return err
	}
	var errs []error
	for i, line := range strings.Split(text, "\n") {
		name, value, err := pgSetting(line)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s, line %d: %w", file, i+1, err))
		case name == "":
		case name == "include" || name == "include_if_exists" || name == "include_dir":
			list, err := r.included(name, file, value)
			for _, next := range list {
				if err == nil {
					err = r.settings(next, into, depth+1)
				}
			}
			if err != nil && !(name == "include_if_exists" && errors.Is(err, fs.ErrNotExist)) {
				errs = append(errs, err)
			}
		case len(into) >= maxRules:
			return fmt.Errorf("%s: more than %d settings", file, maxRules)
		default:
			into[name] = guard.PostgresSetting{Value: value, File: file, Line: i + 1}
		}
	}
	return errors.Join(errs...)
}

const pgWord = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."

// pgBare is a value without quotes: an integer with a unit or none, a real number, or a word.
var pgBare = regexp.MustCompile(`^(?:[-+]?(?:0x[0-9a-fA-F]+|[0-9]+)[a-zA-Z]*|[-+]?[0-9]*\.[0-9]*(?:[eE][-+]?[0-9]+)?|[a-zA-Z_\x{80}-\x{10FFFF}][-a-zA-Z0-9_.:/\x{80}-\x{10FFFF}]*)$`)

// pgSetting reads a line of postgresql.conf: a name, an equals sign or none, and a value that may be in single quotes. Source:
// PostgreSQL's documentation, "Parameter Interaction via the Configuration File"; src/backend/utils/misc/guc-file.l.
func pgSetting(line string) (name, value string, err error) {
	rest := strings.TrimLeft(line, " \t\r\f\v")
	if rest == "" || rest[0] == '#' {
		return "", "", nil
	}
	n := len(rest) - len(strings.TrimLeft(rest, pgWord))
	name, rest = strings.ToLower(rest[:n]), strings.TrimLeft(rest[n:], " \t")
	rest = strings.TrimLeft(strings.TrimPrefix(rest, "="), " \t")
	if n == 0 || rest == "" {
		return "", "", errors.New("this is no setting")
	}
	if rest[0] != '\'' {
		if n = strings.IndexAny(rest, " \t\r#'"); n < 0 {
			n = len(rest)
		}
		if value, rest = rest[:n], rest[n:]; !pgBare.MatchString(value) {
			return "", "", errors.New("the value is none, or needs quotes")
		}
	} else if value, rest, err = pgQuoted(rest); err != nil {
		return "", "", err
	}
	if rest = strings.TrimLeft(rest, " \t\r"); rest != "" && rest[0] != '#' {
		return "", "", errors.New("there is more behind the value")
	}
	return name, value, nil
}

// pgQuoted reads what begins with a single quote: two of them, or one behind a backslash, are one of the value.
func pgQuoted(s string) (value, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\'' && i+1 < len(s) && s[i+1] == '\'':
			i++
			b.WriteByte('\'')
		case s[i] == '\'':
			return b.String(), s[i+1:], nil
		case s[i] == '\\' && i+1 < len(s):
			i++
			if n := min(i+3, len(s)); s[i] >= '0' && s[i] <= '7' {
				end := i
				for end < n && s[end] >= '0' && s[end] <= '7' {
					end++
				}
				v, _ := strconv.ParseUint(s[i:end], 8, 16)
				b.WriteByte(byte(v))
				i = end - 1
			} else if at := strings.IndexByte("bfnrt", s[i]); at >= 0 {
				b.WriteByte("\b\f\n\r\t"[at])
			} else {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", errors.New("a quote is not closed")
}

// rules reads a pg_hba.conf.
func (r *pgFiles) rules(file string, depth int) (list []guard.HBARule, err error) {
	text, err := r.read(file, depth)
	if err != nil {
		return nil, err
	}
	var errs []error
	for line, fields := range hbaLines(text) {
		if len(fields) == 0 {
			continue
		}
		if d := fields[0][0]; !d.Quoted && (d.Name == "include" || d.Name == "include_if_exists" || d.Name == "include_dir") {
			var found []string
			err := errors.New("an inclusion names one file")
			if len(fields) == 2 && len(fields[1]) == 1 {
				found, err = r.included(d.Name, file, fields[1][0].Name)
			}
			for _, next := range found {
				var more []guard.HBARule
				if err == nil {
					more, err = r.rules(next, depth+1)
				}
				list = append(list, more...)
			}
			if err != nil && !(d.Name == "include_if_exists" && errors.Is(err, fs.ErrNotExist)) {
				errs = append(errs, fmt.Errorf("%s, line %d: %w", file, line, err))
			}
			continue
		}
		rule, err := hbaRule(fields)
		if err == nil {
			rule.File, rule.Line = file, line
			rule.Databases, err = r.names(rule.Databases, file, depth)
		}
		if err == nil {
			rule.Users, err = r.names(rule.Users, file, depth)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s, line %d: %w", file, line, err))
			continue
		}
		if list = append(list, rule); len(list) > maxRules {
			return list, fmt.Errorf("%s: more than %d rules", file, maxRules)
		}
	}
	return list, errors.Join(errs...)
}

// names puts what is in files whose names begin with @ in the place of those.
func (r *pgFiles) names(list []guard.HBAName, file string, depth int) (all []guard.HBAName, err error) {
	for _, n := range list {
		if n.Quoted || !strings.HasPrefix(n.Name, "@") || len(n.Name) == 1 {
			all = append(all, n)
			continue
		}
		found, _ := r.included("include", file, n.Name[1:])
		text, err := r.read(found[0], depth+1)
		if err != nil {
			return nil, err
		}
		for _, fields := range hbaLines(text) {
			for _, field := range fields {
				more, err := r.names(field, found[0], depth+1)
				if err != nil {
					return nil, err
				}
				if all = append(all, more...); len(all) > maxRules {
					return nil, fmt.Errorf("%s: more than %d names", found[0], maxRules)
				}
			}
		}
	}
	return all, nil
}

// hbaLines takes a file apart: the number of each line, a line that ends in a backslash joined with the next, and its fields, of which each is a
// list of words. Source: PostgreSQL's documentation, "The pg_hba.conf File"; src/backend/libpq/hba.c.
func hbaLines(text string) func(func(int, [][]guard.HBAName) bool) {
	return func(yield func(int, [][]guard.HBAName) bool) {
		lines := strings.Split(text, "\n")
		for i := 0; i < len(lines); i++ {
			number, line := i+1, strings.TrimSuffix(lines[i], "\r")
			for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
				i++
				line = strings.TrimSuffix(line, `\`) + strings.TrimSuffix(lines[i], "\r")
			}
			if !yield(number, hbaFields(line)) {
				return
			}
		}
	}
}

// hbaFields takes a line apart. A comma ends a word and goes on with the field; quotes keep blanks, commas and # within.
func hbaFields(line string) (fields [][]guard.HBAName) {
	goOn := false
	for {
		line = strings.TrimLeft(line, " \t\r\n\f\v,")
		if line == "" || line[0] == '#' {
			return fields
		}
		var b strings.Builder
		inside, quoted, i := false, line[0] == '"', 0
		for ; i < len(line); i++ {
			c := line[i]
			if c == '"' {
				if inside && i+1 < len(line) && line[i+1] == '"' { // two are one
					i++
					b.WriteByte(c)
					continue
				}
				inside = !inside
				continue
			}
			if !inside && strings.IndexByte(" \t\r\n\f\v,#", c) >= 0 {
				break
			}
			b.WriteByte(c)
		}
		word := guard.HBAName{Name: b.String(), Quoted: quoted}
		line = line[i:]
		if goOn {
			fields[len(fields)-1] = append(fields[len(fields)-1], word)
		} else {
			fields = append(fields, []guard.HBAName{word})
		}
		goOn = strings.HasPrefix(line, ",")
	}
}

var (
	hbaTypes   = []string{"local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"}
	hbaMethods = []string{"trust", "reject", "md5", "password", "scram-sha-256", "gss", "sspi", "ident", "peer", "pam", "ldap", "radius", "cert", "bsd", "oauth"}
)

// hbaRule reads the fields of a rule.
func hbaRule(fields [][]guard.HBAName) (r guard.HBARule, err error) {
	one := func() string {
		if len(fields) == 0 || len(fields[0]) != 1 {
			err = errors.New("a field is missing, or has several words where one is meant")
			return ""
		}
		word := fields[0][0].Name
		fields = fields[1:]
		return word
	}
	if r.Type = one(); !slices.Contains(hbaTypes, r.Type) {
		return r, fmt.Errorf("%s is no type of a connection", guard.Show(strconv.Quote(r.Type)))
	}
	if len(fields) < 3 {
		return r, errors.New("the rule ends early")
	}
	r.Databases, r.Users, fields = fields[0], fields[1], fields[2:]
	if r.Type != "local" {
		r.Address = one()
		if err != nil {
			return r, err
		}
		if addr, bad := netip.ParseAddr(r.Address); bad == nil {
			mask := one()
			bits, ok := maskBits(mask)
			if err != nil || !ok {
				return r, errors.New("an address without a length needs a mask behind it")
			}
			r.Address += "/" + mask
			r.From = netip.PrefixFrom(addr, bits).Masked()
			if !r.From.IsValid() {
				return r, errors.New("address and mask are of different kinds")
			}
		} else if strings.Contains(r.Address, "/") {
			p, bad := netip.ParsePrefix(r.Address)
			if bad != nil {
				return r, errors.New("the address is none")
			}
			r.From = p.Masked()
		}
	}
	if r.Method = one(); err == nil && !slices.Contains(hbaMethods, r.Method) {
		err = fmt.Errorf("%s is no method of authentication", guard.Show(strconv.Quote(r.Method)))
	}
	for err == nil && len(fields) > 0 {
		option := one()
		if r.Options = append(r.Options, option); err == nil && !strings.Contains(option, "=") {
			err = fmt.Errorf("%s is no option", guard.Show(strconv.Quote(option)))
		}
	}
	return r, err
}

// maskBits is the length of a mask such as 255.255.255.0.
func maskBits(mask string) (bits int, ok bool) {
	addr, err := netip.ParseAddr(mask)
	if err != nil {
		return 0, false
	}
	open := false
	for _, b := range addr.AsSlice() {
		for i := 7; i >= 0; i-- {
			if b>>i&1 == 0 {
				open = true
			} else if open {
				return 0, false
			} else {
				bits++
			}
		}
	}
	return bits, true
}
