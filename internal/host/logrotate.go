package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// logrotateSkipped are endings of names that logrotate does not include. Source: logrotate(8), tabooext.
var logrotateSkipped = []string{",v", ".bak", ".cfsaved", ".disabled", ".dpkg-bak", ".dpkg-del", ".dpkg-dist", ".dpkg-new", ".dpkg-old", ".dpkg-tmp", ".rhn-cfg-tmp-*", ".rpmnew", ".rpmorig", ".rpmsave", ".swp", ".ucf-dist", ".ucf-new", ".ucf-old", "~"}

// keeping is how long logs are kept, as far as it was read.
type keeping struct {
	rotate, every, maxAge int // rotations, days between them, days; every is 0 where the size decides
}

func (k keeping) days() int {
	days := k.rotate * k.every
	if k.maxAge > 0 && (days == 0 || k.maxAge < days) {
		return k.maxAge
	}
	if days == 0 && k.rotate == 0 {
		return 1 // nothing old is kept
	}
	return max(days, 0)
}

// Rotations implements guard.Host.
func (f *Facts) Rotations() ([]guard.Rotation, error) {
	p := &logrotate{facts: f, left: maxFiles}
	usual := keeping{rotate: 0, every: 7}
	err := p.file("/etc/logrotate.conf", &usual, 0)
	if errors.Is(err, fs.ErrNotExist) {
		err = p.folder("/etc/logrotate.d", &usual, 0) // there are rules, and nothing that runs them
	}
	return p.rules, err
}

type logrotate struct {
	facts *Facts
	rules []guard.Rotation
	left  int
}

func (p *logrotate) folder(dir string, usual *keeping, depth int) error {
	list, err := p.facts.match(dir, "*")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, file := range list {
		skip := false
		for _, end := range logrotateSkipped {
			skip = skip || strings.HasSuffix(file, end)
		}
		if !skip {
			errs = append(errs, p.file(file, usual, depth+1))
		}
	}
	return errors.Join(errs...)
}

// file reads rules: paths before a brace, and what holds for them behind it; what stands outside of braces holds for all that follows.
// Source: logrotate(8).
func (p *logrotate) file(file string, usual *keeping, depth int) error {
	if p.left--; p.left < 0 || depth > maxIncludes {
		return fmt.Errorf("%s: more than %d files, or %d inclusions deep", file, maxFiles, maxIncludes)
	}
	text, err := p.facts.Read(file)
	if err != nil {
		return err
	}
	var errs []error
	var rule *guard.Rotation
	var patterns []string
	own, script := keeping{}, false
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if script {
			script = line != "endscript"
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if rule == nil && (line[0] == '/' || line[0] == '"' || line[0] == '{') {
			before, after, open := strings.Cut(line, "{")
			patterns = append(patterns, quotedFields(before)...)
			if !open {
				continue
			}
			rule, own = &guard.Rotation{Patterns: patterns, File: file, Line: i + 1}, *usual
			if line, patterns = strings.TrimSpace(after), nil; line == "" {
				continue
			}
		}
		line, closes := strings.CutSuffix(line, "}")
		words := strings.Fields(strings.Replace(line, "=", " ", 1))
		to := usual
		if rule != nil {
			to = &own
		}
		if len(words) > 0 {
			switch words[0] {
			case "include":
				if len(words) == 2 && rule == nil {
					errs = append(errs, p.included(words[1], usual, depth))
				}
			case "postrotate", "prerotate", "firstaction", "lastaction", "preremove":
				script = true
			default:
				to.read(words)
			}
		}
		if closes && rule != nil {
			rule.Days = own.days()
			if p.rules, rule = append(p.rules, *rule), nil; len(p.rules) > maxRules {
				return fmt.Errorf("%s: more than %d rules", file, maxRules)
			}
		}
	}
	if rule != nil || script {
		errs = append(errs, fmt.Errorf("%s: a rule or script is not closed", file))
	}
	return errors.Join(errs...)
}

func (p *logrotate) included(name string, usual *keeping, depth int) error {
	name = path.Clean("/" + name)
	at, err := p.facts.File(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case at.Kind.IsDir():
		return p.folder(name, usual, depth)
	}
	return p.file(name, usual, depth+1)
}

func (k *keeping) read(words []string) {
	number := 0
	if len(words) > 1 {
		number, _ = strconv.Atoi(words[1]) // what is no number is none of these
	}
	switch words[0] {
	case "hourly", "daily":
		k.every = 1
	case "weekly":
		k.every = 7
	case "monthly":
		k.every = 30
	case "yearly":
		k.every = 365
	case "size":
		k.every = 0
	case "rotate":
		k.rotate = min(number, 1<<20)
	case "maxage":
		k.maxAge = min(max(number, 0), 1<<20)
	}
}

// quotedFields are words between blanks, some in quotes.
func quotedFields(s string) (list []string) {
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			list = append(list, part)
		} else {
			list = append(list, strings.Fields(part)...)
		}
	}
	return list
}
