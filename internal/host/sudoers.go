package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

const (
	sudoersFile  = "/etc/sudoers"
	maxSudoDepth = 16
	maxSudoRules = 10_000
)

// Sudo implements guard.Host. Without a configuration the error is fs.ErrNotExist.
func (f *Facts) Sudo() (guard.Sudo, error) {
	if _, err := f.File(sudoersFile); err != nil {
		return guard.Sudo{}, err
	}
	p := &sudoers{facts: f, aliases: map[string][]string{}, left: maxFiles}
	err := p.file(sudoersFile, 0)
	s := guard.Sudo{Config: sudoersFile, Rules: p.rules, Err: err}
	for i := range s.Rules { // an alias may be defined behind its use
		r := &s.Rules[i]
		r.Who, r.RunAs, r.Commands = p.put(r.Who), p.put(r.RunAs), p.put(r.Commands)
	}
	return s, nil
}

// sudoers gathers rules and aliases of all files.
type sudoers struct {
	facts   *Facts
	aliases map[string][]string
	rules   []guard.SudoRule
	left    int
}

// put puts aliases' members in their places, of aliases in aliases, too.
func (p *sudoers) put(list []string) []string {
	for range 8 { // aliases of aliases, which sudo does not let go in circles
		var next []string
		for _, w := range list {
			name := strings.TrimLeft(w, "!")
			members, ok := p.aliases[name]
			if !ok {
				next = append(next, w)
				continue
			}
			for _, m := range members {
				if strings.HasPrefix(w, "!") {
					m = "!" + m
				}
				next = append(next, m)
			}
		}
		if len(next) > maxSudoRules {
			return list
		}
		if slices.Equal(list, next) {
			break
		}
		list = next
	}
	return list
}

// file reads a file. Source: sudoers(5).
func (p *sudoers) file(file string, depth int) error {
	if p.left--; p.left < 0 || depth > maxSudoDepth {
		return fmt.Errorf("%s: more than %d files, or %d inclusions deep", file, maxFiles, maxSudoDepth)
	}
	text, err := p.facts.Read(file)
	if err != nil {
		return err
	}
	var errs []error
	lines := strings.Split(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		number, line := i+1, strings.TrimSuffix(lines[i], "\r")
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + strings.TrimSuffix(lines[i], "\r")
		}
		if err := p.line(strings.TrimSpace(line), file, number, depth); err != nil {
			errs = append(errs, fmt.Errorf("%s, line %d: %w", file, number, err))
		}
		if len(p.rules) > maxSudoRules || len(p.aliases) > maxSudoRules {
			return fmt.Errorf("%s: more than %d rules", file, maxSudoRules)
		}
	}
	return errors.Join(errs...)
}

func (p *sudoers) line(line, file string, number, depth int) error {
	first, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	switch strings.Replace(first, "@", "#", 1) {
	case "#include":
		return p.file(p.path(rest, file), depth+1)
	case "#includedir":
		return p.folder(p.path(rest, file), depth+1)
	case "User_Alias", "Runas_Alias", "Host_Alias", "Cmnd_Alias", "Cmd_Alias":
		for _, def := range split(uncommented(rest), ':') {
			name, members, ok := strings.Cut(def, "=")
			if !ok {
				return errors.New("an alias without members")
			}
			if !strings.HasPrefix(first, "Host") {
				p.aliases[strings.TrimSpace(name)] = split(members, ',')
			}
		}
		return nil
	}
	if line == "" || strings.HasPrefix(first, "Defaults") || line[0] == '#' && (len(line) == 1 || line[1] < '0' || line[1] > '9') {
		return nil
	}
	if line[0] != '#' { // else a user's number
		line = uncommented(line)
	}
	return p.spec(line, file, number)
}

// uncommented is a line without what is behind a # that begins no number of a user or group.
func uncommented(line string) string {
	for i := range len(line) {
		if line[i] != '#' || i > 0 && line[i-1] == '\\' {
			continue
		}
		if i+1 < len(line) && line[i+1] >= '0' && line[i+1] <= '9' && (i == 0 || strings.IndexByte(" ,%(!:", line[i-1]) >= 0) {
			continue
		}
		return strings.TrimSpace(line[:i])
	}
	return line
}

func (p *sudoers) path(name, file string) string {
	name = strings.Trim(strings.TrimSpace(name), `"`)
	if !path.IsAbs(name) {
		name = path.Join(path.Dir(file), name)
	}
	return name
}

// folder reads the files of a folder but those whose names have a dot or end in a tilde.
func (p *sudoers) folder(dir string, depth int) error {
	list, err := p.facts.match(dir, "*")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, next := range list {
		if name := path.Base(next); !strings.Contains(name, ".") && !strings.HasSuffix(name, "~") {
			errs = append(errs, p.file(next, depth))
		}
	}
	return errors.Join(errs...)
}

// split cuts at a separator that stands in no quotes or parentheses and behind no backslash.
func split(s string, sep byte) (list []string) {
	from, quoted, deep := 0, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '(' && !quoted:
			deep++
		case c == ')' && !quoted:
			deep--
		case c == sep && !quoted && deep <= 0:
			list = append(list, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	return append(list, strings.TrimSpace(s[from:]))
}

// spec reads who may do what: users, hosts, and behind an equals sign commands, each with whom to become and tags, which hold for the
// commands behind it, too.
func (p *sudoers) spec(line, file string, number int) error {
	who, rest, ok := users(line)
	if !ok {
		return errors.New("this is no rule")
	}
	for _, part := range parts(rest) {
		hosts, commands, ok := strings.Cut(part, "=")
		if !ok || strings.TrimSpace(hosts) == "" {
			return errors.New("a rule without commands")
		}
		r := guard.SudoRule{Who: who, RunAs: []string{"root"}, File: file, Line: number}
		for _, c := range split(commands, ',') {
			runAs, noPasswd, command := r.RunAs, r.NoPasswd, c
			if strings.HasPrefix(command, "(") {
				end := strings.IndexByte(command, ')')
				if end < 0 {
					return errors.New("a parenthesis is not closed")
				}
				names, _, _ := strings.Cut(command[1:end], ":")
				if runAs = split(names, ','); strings.TrimSpace(names) == "" {
					runAs = []string{"the user himself"} // another group alone
				}
				command = strings.TrimSpace(command[end+1:])
			}
			command, noPasswd = tags(command, noPasswd)
			if command == "" {
				return errors.New("a command is missing")
			}
			if !slices.Equal(runAs, r.RunAs) || noPasswd != r.NoPasswd {
				if len(r.Commands) > 0 {
					p.rules = append(p.rules, r)
				}
				r.RunAs, r.NoPasswd, r.Commands = runAs, noPasswd, nil
			}
			r.Commands = append(r.Commands, unescaped.Replace(command))
		}
		p.rules = append(p.rules, r)
	}
	return nil
}

// unescaped takes the backslashes off that sudoers needs in commands.
var unescaped = strings.NewReplacer(`\,`, ",", `\:`, ":", `\=`, "=", `\\`, `\`)

// parts cuts what is for different hosts at the colons that are no tag's.
func parts(rest string) (list []string) {
	open := false
	for _, part := range split(rest, ':') {
		if open {
			list[len(list)-1] += ":" + part
		} else {
			list = append(list, part)
		}
		open = slices.Contains(tagNames, part[strings.LastIndexAny(part, " =,)")+1:])
	}
	return list
}

// users reads the list of users before the hosts: blanks end it, but those behind a comma.
func users(line string) (who []string, rest string, ok bool) {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			end := strings.IndexByte(line[i+1:], '"')
			if end < 0 {
				return nil, "", false
			}
			i += end + 1
		case ' ', '\t':
			next := strings.TrimLeft(line[i:], " \t")
			before := strings.TrimRight(line[:i], " \t")
			if !strings.HasPrefix(next, ",") && !strings.HasSuffix(before, ",") && !strings.HasSuffix(before, "!") {
				return split(line[:i], ','), next, true
			}
		}
	}
	return nil, "", false
}

// tagNames are those whose colon is no separator, with what they say of a password.
var tagNames = []string{"EXEC", "NOEXEC", "FOLLOW", "NOFOLLOW", "LOG_INPUT", "NOLOG_INPUT", "LOG_OUTPUT", "NOLOG_OUTPUT", "MAIL", "NOMAIL", "INTERCEPT", "NOINTERCEPT", "SETENV", "NOSETENV", "PASSWD", "NOPASSWD"}

// tags takes the tags and options before a command off.
func tags(command string, noPasswd bool) (string, bool) {
	for {
		word, rest, ok := strings.Cut(command, ":")
		name := strings.TrimSpace(word)
		if ok && slices.Contains(tagNames, name) {
			switch name {
			case "NOPASSWD":
				noPasswd = true
			case "PASSWD":
				noPasswd = false
			}
			command = strings.TrimSpace(rest)
			continue
		}
		option, rest, ok := strings.Cut(command, " ")
		if key, _, is := strings.Cut(option, "="); ok && is && slices.Contains([]string{"CWD", "CHROOT", "TIMEOUT", "NOTBEFORE", "NOTAFTER", "ROLE", "TYPE", "APPARMOR_PROFILE"}, key) {
			command = strings.TrimSpace(rest)
			continue
		}
		return command, noPasswd
	}
}
