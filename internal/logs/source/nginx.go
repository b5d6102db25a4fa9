package source

import (
	"io"
	"os"
	"path/filepath"
	"strings"
)

// nginxFiles are where nginx is configured on Debian and Ubuntu. Sites that are only available have logs of when they were enabled.
var nginxFiles = []string{"/etc/nginx/nginx.conf", "/etc/nginx/conf.d/*.conf", "/etc/nginx/sites-available/*", "/etc/nginx/sites-enabled/*"}

// Limits of reading nginx's configuration.
const (
	maxNginxFiles = 500
	maxNginxFile  = 1 << 20 // bytes
	maxNginxLogs  = 200
)

// nginxLogs are the logs that nginx's configuration below a root names, as patterns of files. What cannot be read names none.
func nginxLogs(root string) (found []string) {
	seen := map[string]bool{}
	files := 0
	for _, pattern := range nginxFiles {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			continue
		}
		for _, path := range paths {
			if files++; files > maxNginxFiles {
				return found
			}
			f, err := os.Open(path)
			if err != nil {
				continue
			}
			text, err := io.ReadAll(io.LimitReader(f, maxNginxFile))
			f.Close()
			if err != nil {
				continue
			}
			for _, p := range nginxDirectives(string(text)) {
				if !seen[p] && len(found) < maxNginxLogs {
					seen[p] = true
					found = append(found, p)
				}
			}
		}
	}
	return found
}

// nginxDirectives are the files that access_log and error_log name in a text; a variable in a name stands for anything. Source: nginx's documentation of
// ngx_http_log_module and of error_log: "off", "stderr", "syslog:" and "memory:" are no files, and a name that is not absolute lies below a prefix that is compiled in.
func nginxDirectives(text string) (found []string) {
	words := nginxWords(text)
	for i := 0; i+1 < len(words); i++ {
		if words[i] != "access_log" && words[i] != "error_log" || i > 0 && words[i-1] != ";" && words[i-1] != "{" && words[i-1] != "}" {
			continue
		}
		path := words[i+1]
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "\x00*?[\\") {
			continue
		}
		if at := strings.IndexByte(path, '$'); at >= 0 {
			folder := path[:at][:strings.LastIndexByte(path[:at], '/')+1]
			if folder == "/" || strings.Contains(path[at:], "/") { // a variable names folders: no pattern says which
				continue
			}
			path = path[:at] + "*" + nginxAfter(path[at:])
		}
		found = append(found, filepath.Clean(path))
	}
	return found
}

// nginxAfter is what stands behind the last variable of a name: ".access.log" of "$host.access.log".
func nginxAfter(s string) string {
	s = s[strings.LastIndexByte(s, '$')+1:]
	if rest, ok := strings.CutPrefix(s, "{"); ok {
		_, s, _ = strings.Cut(rest, "}")
		return s
	}
	return strings.TrimLeft(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
}

// nginxWords are the words of a configuration, with ; { and } as words of their own. Comments are left out.
func nginxWords(text string) (words []string) {
	var word []byte
	flush := func() {
		if len(word) > 0 {
			words, word = append(words, string(word)), nil
		}
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '#' && len(word) == 0:
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case (c == '"' || c == '\'') && len(word) == 0:
			end := strings.IndexByte(text[i+1:], c)
			if end < 0 {
				return words
			}
			words = append(words, text[i+1:i+1+end])
			i += 1 + end
		case c == '$' && i+1 < len(text) && text[i+1] == '{': // a brace of a variable is none of a block
			end := strings.IndexByte(text[i:], '}')
			if end < 0 {
				return words
			}
			word = append(word, text[i:i+end+1]...)
			i += end
		case c == ';' || c == '{' || c == '}':
			flush()
			words = append(words, string(c))
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			flush()
		default:
			word = append(word, c)
		}
	}
	flush()
	return words
}
