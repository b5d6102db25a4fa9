package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

const (
	sshConfig   = "/etc/ssh/sshd_config"
	maxSSHDepth = 16 // as sshd has it (SERVCONF_MAX_DEPTH)
	maxSSHLines = 10_000
)

// SSH implements guard.Host. Without a configuration the error is fs.ErrNotExist.
func (f *Facts) SSH() (guard.SSH, error) {
	if _, err := f.File(sshConfig); err != nil {
		return guard.SSH{}, err
	}
	s := guard.SSH{Config: sshConfig}
	s.Err = f.sshFile(&s, sshConfig, "", 0)
	return s, nil
}

// sshFile reads a file that is included under a condition. Conditions of an included file end with it. Source: sshd_config(5), and
// process_server_config_line_depth in OpenSSH's servconf.c.
func (f *Facts) sshFile(s *guard.SSH, file, match string, depth int) error {
	if depth > maxSSHDepth {
		return fmt.Errorf("%s: more than %d inclusions deep", file, maxSSHDepth)
	}
	text, err := f.Read(file)
	if err != nil {
		return err
	}
	var errs []error
	for i, line := range strings.Split(string(text), "\n") {
		words, err := sshWords(line)
		if err == nil && len(words) == 1 {
			err = errors.New("the keyword has no value")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s, line %d: %w", file, i+1, err))
		}
		if err != nil || len(words) == 0 {
			continue
		}
		switch keyword := strings.ToLower(words[0]); keyword {
		case "match":
			match = strings.Join(words[1:], " ")
			if strings.EqualFold(match, "all") {
				match = "all"
			}
		case "include":
			for _, pattern := range words[1:] {
				if !path.IsAbs(pattern) {
					pattern = path.Join(path.Dir(sshConfig), pattern)
				}
				found, err := f.Glob(pattern)
				for _, next := range found {
					if err == nil {
						err = f.sshFile(s, next, match, depth+1)
					}
				}
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					errs = append(errs, err)
				}
			}
		default:
			s.Lines = append(s.Lines, guard.SSHLine{Keyword: keyword, Value: words[1], Match: match, File: file, Line: i + 1})
			if len(s.Lines) > maxSSHLines {
				return fmt.Errorf("%s: more than %d lines", file, maxSSHLines)
			}
		}
	}
	return errors.Join(errs...)
}

// sshWords takes a line apart: words between blanks, an equals sign behind the first, quotes around blanks, and a comment. Source:
// sshd_config(5), argv_split in OpenSSH's misc.c.
func sshWords(line string) (words []string, err error) {
	line = strings.TrimLeft(strings.TrimRight(line, " \t\r\n\f"), " \t\r")
	if line == "" || line[0] == '#' {
		return nil, nil
	}
	n := strings.IndexAny(line, " \t\r\n=\"")
	if n < 0 {
		return []string{line}, nil
	}
	words, line = []string{line[:n]}, strings.TrimLeft(line[n:], " \t\r")
	line = strings.TrimLeft(strings.TrimPrefix(line, "="), " \t\r")
	for i := 0; i < len(line); {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		if line[i] == '#' {
			break
		}
		var b strings.Builder
		var quote byte
		for ; i < len(line) && (quote != 0 || line[i] != ' ' && line[i] != '\t'); i++ {
			switch c := line[i]; {
			case c == '\\' && i+1 < len(line) && (strings.IndexByte(`'"\`, line[i+1]) >= 0 || quote == 0 && line[i+1] == ' '):
				i++
				b.WriteByte(line[i])
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
			case quote == c:
				quote = 0
			default:
				b.WriteByte(c)
			}
		}
		if quote != 0 {
			return nil, errors.New("a quote is not closed")
		}
		words = append(words, b.String())
	}
	return words, nil
}
