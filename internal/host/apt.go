package host

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// Apt implements guard.Host.
func (f *Facts) Apt() (map[string]guard.AptSetting, error) {
	files, err := f.match("/etc/apt/apt.conf.d", "*")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := map[string]guard.AptSetting{}
	for _, file := range append(files, "/etc/apt/apt.conf") {
		if name := file[strings.LastIndexByte(file, '/')+1:]; strings.Contains(name, ".") && !strings.HasSuffix(name, ".conf") {
			continue // as apt.conf(5) has it
		}
		text, err := f.Read(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := parseApt(string(text), file, all); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return all, nil
}

// maxAptDepth is how many braces may be open.
const maxAptDepth = 32

// parseApt reads names, values in quotes, semicolons and braces; what comes later wins. Source: apt.conf(5).
func parseApt(text, file string, into map[string]guard.AptSetting) error {
	var scopes []string
	var name string // of what is being read
	for {
		token, rest, err := aptToken(text)
		if err != nil {
			return err
		}
		text = rest
		switch {
		case token == "":
			return nil // braces that are open still are closed here, as APT does
		case token == "{":
			if len(scopes) >= maxAptDepth {
				return fmt.Errorf("more than %d braces deep", maxAptDepth)
			}
			scopes, name = append(scopes, name), ""
		case token == "}":
			if len(scopes) == 0 {
				return errors.New("a brace is closed that was not opened")
			}
			scopes, name = scopes[:len(scopes)-1], ""
		case token == ";":
			name = ""
		case token[0] == '"':
			var parts []string
			for _, s := range append(scopes, name) {
				if s != "" {
					parts = append(parts, s)
				}
			}
			if name != "" { // else an entry of a list
				into[strings.ToLower(strings.Join(parts, "::"))] = guard.AptSetting{Value: token[1:], File: file}
			}
		default:
			name = token
		}
	}
}

// aptToken is the next token: a brace, a semicolon, a word, or a quote with what it quotes; nothing at the end.
func aptToken(s string) (token, rest string, err error) {
	for {
		s = strings.TrimLeft(s, " \t\r\n\f\v")
		var end string
		switch {
		case s == "":
			return "", "", nil
		case strings.HasPrefix(s, "//"):
			end = "\n"
		case strings.HasPrefix(s, "#") && !strings.HasPrefix(s, "#clear") && !strings.HasPrefix(s, "#include"):
			end = "\n"
		case strings.HasPrefix(s, "/*"):
			end = "*/"
		}
		if end == "" {
			break
		}
		_, after, found := strings.Cut(s, end)
		if !found && end == "*/" {
			return "", "", errors.New("a comment is not closed")
		}
		s = after
	}
	switch s[0] {
	case '{', '}', ';':
		return s[:1], s[1:], nil
	case '"':
		end := strings.IndexByte(s[1:], '"')
		if end < 0 {
			return "", "", errors.New("a quote is not closed")
		}
		return s[:end+1], s[end+2:], nil
	}
	if n := strings.IndexAny(s, " \t\r\n\f\v{};\""); n > 0 {
		return s[:n], s[n:], nil
	}
	return s, "", nil
}
