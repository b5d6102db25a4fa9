package watch

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
)

// sigmaRule is what of a Sigma rule is read (Sigma specification 2.0, rules). What else a rule has, such as authors and dates, says nothing to us.
type sigmaRule struct {
	Title       string   `yaml:"title"`
	ID          string   `yaml:"id"`
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	Level       string   `yaml:"level"`
	Tags        []string `yaml:"tags"`
	LogSource   struct {
		Category string `yaml:"category"`
		Product  string `yaml:"product"`
		Service  string `yaml:"service"`
	} `yaml:"logsource"`
	Detection map[string]yaml.Node `yaml:"detection"`
}

// sigmaFields are Sigma's names of what records have (its taxonomy: web server, proxy and firewall fields are those of W3C's extended log format).
var sigmaFields = map[string]detect.Field{
	"cs-method": detect.Method, "cs-uri": detect.Target, "c-uri": detect.Target, "cs-uri-query": detect.Target, "c-uri-query": detect.Target, "cs-uri-stem": detect.Path,
	"sc-status": detect.Status, "c-ip": detect.Source, "cs-user-agent": detect.Agent, "c-useragent": detect.Agent, "cs-referer": detect.Referrer, "cs-referrer": detect.Referrer,
	"cs-host": detect.Vhost, "cs-username": detect.User,
	"src_ip": detect.Source, "dst_ip": detect.Dest, "dst_port": detect.Port, "src_port": detect.Sport,
}

var sigmaLevels = map[string]detect.Severity{"informational": detect.Info, "low": detect.Low, "medium": detect.Medium, "high": detect.High, "critical": detect.High}

// ReadSigma makes a unit of a Sigma rule where it maps onto what records have; where it does not, the error says what. Each event counts. Kinds: Invalid.
func ReadSigma(data []byte) (*detect.Unit, error) {
	u, err := readSigma(data)
	if err != nil {
		return nil, fault.New(fault.Invalid, "sigma: %s", guard.Show(err.Error()))
	}
	return u, nil
}

func readSigma(data []byte) (*detect.Unit, error) {
	if len(data) > MaxUnitsFile {
		return nil, fmt.Errorf("more than %d bytes", MaxUnitsFile)
	}
	var r sigmaRule
	if err := yaml.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	kinds, key := []string{"web"}, []detect.Field{detect.Source}
	switch {
	case r.LogSource.Category == "webserver" || r.LogSource.Category == "proxy" || r.LogSource.Service == "apache" || r.LogSource.Service == "nginx":
		kinds = []string{"web", "maas"}
	case r.LogSource.Category == "firewall":
		kinds = []string{"firewall"}
	case r.LogSource.Service == "sshd":
		kinds = []string{"ssh"}
	default:
		return nil, fmt.Errorf("logsource: %s %s %s is none that is read: webserver, proxy, firewall, service sshd, nginx or apache", r.LogSource.Category, r.LogSource.Product, r.LogSource.Service)
	}
	level, ok := sigmaLevels[r.Level]
	if !ok {
		return nil, fmt.Errorf("level: %q is none of informational, low, medium, high, critical", r.Level)
	}
	parts := make(map[string]detect.Cond)
	for name, node := range r.Detection {
		if name == "condition" || name == "timeframe" {
			continue
		}
		c, err := selection(&node, 0)
		if err != nil {
			return nil, fmt.Errorf("detection: %s: %w", name, err)
		}
		parts[name] = c
	}
	condition := r.Detection["condition"]
	if condition.Kind != yaml.ScalarNode {
		return nil, errors.New("detection: condition: one line of text")
	}
	if _, counted := r.Detection["timeframe"]; counted || strings.Contains(condition.Value, "|") {
		return nil, errors.New("detection: counting within a time does not map; write a unit of your own with rungs")
	}
	p := &sigmaParser{words: sigmaWords(condition.Value), parts: parts}
	c, err := p.or(0)
	if err == nil && len(p.words) > 0 {
		err = fmt.Errorf("%q is too much", p.words[0])
	}
	if err != nil {
		return nil, fmt.Errorf("detection: condition: %w", err)
	}
	u := &detect.Unit{ID: "sigma_" + sigmaID(&r), Title: r.Title, Why: r.Description, Do: "See the rule's description.", Source: "Sigma rule " + r.ID, Key: key,
		Match: detect.All(detect.If(detect.Kind, detect.Is, kinds...), c), Rungs: []detect.Rung{{Count: 1, Window: 24 * time.Hour, Severity: level}}}
	for _, tag := range r.Tags {
		if t, ok := strings.CutPrefix(strings.ToLower(tag), "attack.t"); ok {
			u.ATTACK = append(u.ATTACK, "T"+strings.ToUpper(t))
		}
	}
	if why := u.Problem(); why != "" {
		return nil, errors.New(why)
	}
	if _, err := detect.New([]detect.Unit{*u}, detect.Site{}, nil, nil); err != nil {
		return nil, err
	}
	return u, nil
}

// sigmaID makes an id of a rule's name, id or title.
func sigmaID(r *sigmaRule) string {
	name := r.Name
	if name == "" {
		name = r.ID
	}
	if name == "" {
		name = r.Title
	}
	return strings.Trim(strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			return c
		case c >= 'A' && c <= 'Z':
			return c | 0x20
		}
		return '_'
	}, name[:min(len(name), 60)]), "_")
}

const maxSigma = 8 // depth of conditions and selections

// selection reads a map of fields, all of which hold, or a list of maps or keywords, of which any does.
func selection(n *yaml.Node, depth int) (detect.Cond, error) {
	if depth > maxSigma {
		return detect.Cond{}, errors.New("nested too deep")
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return keyword(n.Value)
	case yaml.SequenceNode:
		var any []detect.Cond
		for _, item := range n.Content {
			c, err := selection(item, depth+1)
			if err != nil {
				return c, err
			}
			any = append(any, c)
		}
		if len(any) == 0 {
			return detect.Cond{}, errors.New("an empty list")
		}
		return detect.Any(any...), nil
	case yaml.MappingNode:
		var all []detect.Cond
		for i := 0; i+1 < len(n.Content); i += 2 {
			c, err := sigmaField(n.Content[i].Value, n.Content[i+1])
			if err != nil {
				return c, err
			}
			all = append(all, c)
		}
		if len(all) == 0 {
			return detect.Cond{}, errors.New("an empty map")
		}
		return detect.All(all...), nil
	}
	return detect.Cond{}, errors.New("neither fields nor a list")
}

func keyword(v string) (detect.Cond, error) {
	if v = strings.Trim(v, "*"); v == "" || strings.ContainsAny(v, "*?") {
		return detect.Cond{}, fmt.Errorf("%q: a * or ? in the middle of a word does not map", v)
	}
	return detect.If(detect.Message, detect.Contains, v), nil
}

// sigmaField reads "field|modifier: values".
func sigmaField(name string, n *yaml.Node) (detect.Cond, error) {
	parts := strings.Split(name, "|")
	if parts[0] == "" {
		parts[0] = "message"
	}
	f, ok := sigmaFields[strings.ToLower(parts[0])]
	if !ok && strings.EqualFold(parts[0], "message") {
		f, ok = detect.Message, true
	}
	if !ok {
		return detect.Cond{}, fmt.Errorf("field %q is none that logs here have", parts[0])
	}
	var values []string
	switch n.Kind {
	case yaml.ScalarNode:
		values = []string{n.Value}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return detect.Cond{}, fmt.Errorf("%s: a list of texts", name)
			}
			values = append(values, item.Value)
		}
	default:
		return detect.Cond{}, fmt.Errorf("%s: a text or a list of texts", name)
	}
	op, all := detect.Is, false
	for _, m := range parts[1:] {
		switch m {
		case "contains":
			op = detect.Contains
		case "startswith":
			op = detect.Starts
		case "endswith":
			op = detect.Ends
		case "re":
			op = detect.Matches
		case "all":
			all = true
		default:
			return detect.Cond{}, fmt.Errorf("modifier %q does not map: contains, startswith, endswith, re, all", m)
		}
	}
	var each []detect.Cond
	for _, v := range values {
		c, err := sigmaValue(f, op, v)
		if err != nil {
			return c, fmt.Errorf("%s: %w", name, err)
		}
		each = append(each, c)
	}
	if len(each) == 0 {
		return detect.Cond{}, fmt.Errorf("%s: no value", name)
	}
	if all {
		return detect.All(each...), nil
	}
	return detect.Any(each...), nil
}

// sigmaValue is one comparison; a * at an end means what startswith, endswith and contains do.
func sigmaValue(f detect.Field, op detect.Op, v string) (detect.Cond, error) {
	if op == detect.Is && strings.Contains(v, "*") {
		first, last := strings.HasPrefix(v, "*"), strings.HasSuffix(v, "*")
		v = strings.Trim(v, "*")
		switch {
		case v == "":
			return detect.If(f, detect.Present), nil
		case first && last:
			op = detect.Contains
		case first:
			op = detect.Ends
		case last:
			op = detect.Starts
		}
	}
	if op != detect.Matches && strings.ContainsAny(v, "*?") && (strings.Contains(v, "*") || op == detect.Is) {
		return detect.Cond{}, fmt.Errorf("%q: a * or ? in the middle does not map; use |re", v)
	}
	if v == "" {
		return detect.Not(detect.If(f, detect.Present)), nil
	}
	return detect.If(f, op, v), nil
}

// sigmaWords splits a condition.
func sigmaWords(s string) []string {
	return strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(s))
}

// sigmaParser reads conditions: or, and, not, brackets, names of selections, "1 of sel*", "all of them".
type sigmaParser struct {
	words []string
	parts map[string]detect.Cond
}

func (p *sigmaParser) next(word string) bool {
	if len(p.words) > 0 && strings.EqualFold(p.words[0], word) {
		p.words = p.words[1:]
		return true
	}
	return false
}

func (p *sigmaParser) or(depth int) (detect.Cond, error) {
	return p.several("or", depth, func() (detect.Cond, error) {
		return p.several("and", depth, func() (detect.Cond, error) { return p.one(depth + 1) })
	})
}

func (p *sigmaParser) several(word string, _ int, read func() (detect.Cond, error)) (detect.Cond, error) {
	c, err := read()
	if err != nil {
		return c, err
	}
	list := []detect.Cond{c}
	for p.next(word) {
		if c, err = read(); err != nil {
			return c, err
		}
		list = append(list, c)
	}
	switch {
	case len(list) == 1:
		return list[0], nil
	case word == "or":
		return detect.Any(list...), nil
	}
	return detect.All(list...), nil
}

func (p *sigmaParser) one(depth int) (detect.Cond, error) {
	switch {
	case depth > maxSigma:
		return detect.Cond{}, errors.New("nested too deep")
	case len(p.words) == 0:
		return detect.Cond{}, errors.New("it ends too early")
	case p.next("not"):
		c, err := p.one(depth + 1)
		return detect.Not(c), err
	case p.next("("):
		c, err := p.or(depth + 1)
		if err == nil && !p.next(")") {
			err = errors.New("a bracket is not closed")
		}
		return c, err
	}
	word := p.words[0]
	p.words = p.words[1:]
	if (word == "1" || strings.EqualFold(word, "any") || strings.EqualFold(word, "all")) && p.next("of") {
		if len(p.words) == 0 {
			return detect.Cond{}, errors.New("of what?")
		}
		pattern := p.words[0]
		p.words = p.words[1:]
		var names []string
		for name := range p.parts {
			if match, err := path.Match(pattern, name); pattern == "them" || err == nil && match {
				names = append(names, name)
			}
		}
		if len(names) == 0 {
			return detect.Cond{}, fmt.Errorf("there is no selection %q", pattern)
		}
		slices.Sort(names)
		var list []detect.Cond
		for _, name := range names {
			list = append(list, p.parts[name])
		}
		if strings.EqualFold(word, "all") {
			return detect.All(list...), nil
		}
		return detect.Any(list...), nil
	}
	c, ok := p.parts[word]
	if !ok {
		return c, fmt.Errorf("there is no selection %q", word)
	}
	return c, nil
}
