package inspect

import "strings"

// sqlWords are the words without one of which, and without a quote or comment, nothing is SQL.
var sqlWords = wordSet("select union insert update delete drop exec execute declare waitfor shutdown and or xor not having where order group like rlike " +
	"between is null sleep benchmark case when iif if begin procedure into outfile load_file information_schema pg_sleep div cast convert concat char chr " +
	"database version user row_count elt exp extractvalue updatexml handler truncate alter create grant copy call do limit from table values sysobjects " +
	"dbms_pipe utl_inaddr ctxsys xmltype make_set true false regexp merge")

func wordSet(s string) map[string]bool {
	m := make(map[string]bool)
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

// sqlWord says whether a word of SQL stands in v, in any case.
func sqlWord(v string) bool {
	var buf [20]byte
	for i := 0; i < len(v); {
		if !wordByte(v[i]) {
			i++
			continue
		}
		j := i
		for j < len(v) && wordByte(v[j]) {
			if j-i < len(buf) {
				c := v[j]
				if c >= 'A' && c <= 'Z' {
					c |= 0x20
				}
				buf[j-i] = c
			}
			j++
		}
		if n := j - i; n >= 2 && n <= len(buf) && sqlWords[string(buf[:n])] {
			return true
		}
		i = j
	}
	return false
}

func wordByte(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }

// token is a piece of a value as the grammar of attacks needs it.
type token struct {
	kind byte // w word, n number, q quote, ( ) ; = comparison, o operator, c comment, ',' '@'
	text string
	at   int
}

const maxTokens = 128 // that are looked at together

// tokens splits a lower-case value. Comments in the middle, which are blanks to SQL, are left out; "/*!" opens code for MySQL and is left out too.
func tokens(v string, buf []token) []token {
	t := buf[:0]
	for i := 0; i < len(v) && len(t) < maxTokens; {
		c := v[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == 0xa0 || c == 0x0b || c == 0x0c:
			i++
		case c == '/' && i+1 < len(v) && v[i+1] == '*':
			i += 2
			if i < len(v) && v[i] == '!' {
				i++
				for i < len(v) && v[i] >= '0' && v[i] <= '9' {
					i++
				}
				continue
			}
			end := strings.Index(v[i:], "*/")
			if end < 0 {
				return append(t, token{'c', "/*", i - 2})
			}
			i += end + 2
		case c == '*' && i+1 < len(v) && v[i+1] == '/':
			i += 2
		case c == '-' && i+1 < len(v) && v[i+1] == '-' && (i+2 == len(v) || v[i+2] == ' ' || v[i+2] == '\t' || v[i+2] == '\n' || v[i+2] == '\'' || v[i+2] == '"' || v[i+2] == ';' || len(t) > 0):
			t = append(t, token{'c', "--", i})
			nl := strings.IndexByte(v[i:], '\n')
			if nl < 0 {
				return t
			}
			i += nl + 1
		case c == '#':
			t = append(t, token{'c', "#", i})
			nl := strings.IndexByte(v[i:], '\n')
			if nl < 0 {
				return t
			}
			i += nl + 1
		case wordByte(c) || c == '@' && i+1 < len(v) && (v[i+1] == '@' || wordByte(v[i+1])) || c >= 0x80:
			j := i + 1
			for j < len(v) && (wordByte(v[j]) || v[j] >= '0' && v[j] <= '9' || v[j] == '@' || v[j] == '$' || v[j] >= 0x80) {
				j++
			}
			t = append(t, token{'w', v[i:j], i})
			i = j
		case c >= '0' && c <= '9' || c == '.' && i+1 < len(v) && v[i+1] >= '0' && v[i+1] <= '9':
			j := i + 1
			for j < len(v) && (v[j] >= '0' && v[j] <= '9' || v[j] == '.' || wordByte(v[j])) {
				j++
			}
			// "1or 1=1": SQL ends a number where a word begins.
			if text := v[i:j]; !strings.HasPrefix(text, "0x") && !strings.HasPrefix(text, "0b") {
				d := 0
				for d < len(text) && (text[d] >= '0' && text[d] <= '9' || text[d] == '.') {
					d++
				}
				if joins[strings.Trim(text[d:], "_")] {
					j = i + d
				}
			}
			t = append(t, token{'n', v[i:j], i})
			i = j
		case c == '\'' || c == '"' || c == '`':
			t = append(t, token{'q', v[i : i+1], i})
			i++
		case c == '(' || c == ')' || c == ';' || c == ',':
			t = append(t, token{c, v[i : i+1], i})
			i++
		case c == '=' || c == '<' || c == '>' || c == '!':
			j := i + 1
			for j < len(v) && (v[j] == '=' || v[j] == '>' || v[j] == '<') {
				j++
			}
			kind := byte('=')
			if c == '!' && j == i+1 {
				kind = 'o'
			}
			t = append(t, token{kind, v[i:j], i})
			i = j
		case c == '|' && i+1 < len(v) && v[i+1] == '|' || c == '&' && i+1 < len(v) && v[i+1] == '&':
			t = append(t, token{'o', v[i : i+2], i})
			i += 2
		default:
			t = append(t, token{'o', v[i : i+1], i})
			i++
		}
	}
	return t
}

// joins are the words that connect conditions.
var joins = wordSet("and or xor || && having where like rlike union order group limit procedure into between is in div mod not")

var (
	statements = wordSet("select insert update delete drop exec execute declare waitfor shutdown create alter truncate grant call handler merge begin if iif " +
		"while set copy load do union")
	functions = wordSet("sleep benchmark pg_sleep extractvalue updatexml load_file xp_cmdshell concat concat_ws char chr ascii substring substr mid cast convert elt exp " +
		"make_set iif regexp_substring crypt_key randomblob db_name user_name current_user session_user system_user database version row_count count " +
		"dbms_pipe receive_message utl_inaddr get_host_address xmltype rlike floor rand md5 hex unhex length if ifnull nullif quarter generate_series ord greatest least " +
		"json_keys gtid_subset analyse procedure")
	// certain are words that no harmless value holds together with a bracket.
	certain = []string{"information_schema", "sysobjects", "syscolumns", "pg_catalog.", "xp_cmdshell", "sp_executesql", "sp_password", "utl_inaddr.", "dbms_pipe.",
		"dbms_lock.", "ctxsys.", "rdb$", "sysmaster:", "sysibm.", "into outfile", "into dumpfile", "load_file(", "pg_sleep(", "waitfor delay", "waitfor time",
		"extractvalue(", "updatexml(", "benchmark(", "@@version", "@@datadir", "master..", "all_tables", "user_tables", "regexp_substring(", "randomblob(",
		"group_concat(", "table_name", "generate_series(", "procedure analyse(", "json_keys((", "gtid_subset("}
)

// injected says whether a lower-case value holds what only SQL injection does: one strong sign.
func injected(low string, m mark) bool {
	if m&(keyword|quote) == 0 {
		return false
	}
	if m&(paren|blank|quote|comment|equals|semicolon) != 0 {
		yes := false
		certainTable.each(low, func(_, at int) bool {
			yes = at == 0 || !wordByte(low[at-1])
			return !yes
		})
		if yes {
			return true
		}
	}
	if m&keyword == 0 {
		return false
	}
	var buf [maxTokens]token
	for {
		t := tokens(low, buf[:])
		if len(t) < 3 {
			return false
		}
		if grammar(t) {
			return true
		}
		if len(t) < maxTokens {
			return false
		}
		low = low[t[maxTokens/2].at:] // the rest, and enough of what is before it
	}
}

// grammar looks for the turns that injections take.
func grammar(t []token) bool {
	at := func(i int) token {
		if i >= 0 && i < len(t) {
			return t[i]
		}
		return token{}
	}
	skip := func(i int, kinds string) int { // past tokens of these kinds
		for i < len(t) && strings.IndexByte(kinds, t[i].kind) >= 0 {
			i++
		}
		return i
	}
	for i, k := range t {
		switch {
		case k.kind == 'w' && k.text == "union":
			j := skip(i+1, "(")
			if w := at(j); w.kind == 'w' && (w.text == "all" || w.text == "distinct") {
				j = skip(j+1, "(")
			}
			if w := at(j); w.kind == 'w' && (w.text == "select" || w.text == "values") || w.kind == 'c' {
				if at(j).kind == 'c' && at(skip(j, "c")).text != "select" {
					break
				}
				n := at(j + 1)
				if n.kind == 'n' || n.kind == '(' || n.kind == 'q' || n.kind == ',' || n.text == "null" || n.text == "*" || n.kind == 'o' || has(t[j:], "from") ||
					strings.HasPrefix(n.text, "@") || i > 0 && t[i-1].kind != 'w' || n.kind == 0 && i == 0 {
					return true
				}
			}
		case k.kind == 'w' && k.text == "select":
			n := at(i + 1)
			p := at(i - 1)
			opened := p.kind == '(' || p.kind == ';' || p.kind == 'q'
			if opened && (n.kind == 'n' || n.kind == '(' || n.kind == 'q' || n.text == "*" || n.text == "case" || n.text == "null" || functions[n.text] || has(t[i:], "from")) {
				return true
			}
			if i == 0 && (functions[n.text] && at(i+2).kind == '(' || n.text == "*" && has(t[i:], "from")) {
				return true
			}
		case k.kind == ';' && at(i+1).kind == 'w' && statements[at(i+1).text]:
			w, n := at(i+1), at(i+2)
			switch w.text {
			case "select", "exec", "execute", "declare", "waitfor", "begin", "do", "if", "iif", "while", "union":
				if n.kind == '(' || n.kind == 'n' || n.kind == 'w' && (functions[n.text] || n.text == "case" || n.text == "delay" || n.text == "null" || n.text == "shutdown" ||
					strings.Contains(n.text, "@") || n.text == "time" || n.text == "dbms_lock") || n.kind == 'o' && (n.text == "@" || n.text == "*") || has(t[i:], "from") || n.text == "xp_cmdshell" {
					return true
				}
			case "drop", "insert", "update", "delete", "create", "alter", "truncate", "grant", "shutdown", "merge", "call", "set", "copy", "load", "handler":
				if i > 0 || w.text == "drop" && n.text == "table" {
					if w.text == "shutdown" || n.kind == 'w' {
						return n.kind != 0 || w.text == "shutdown"
					}
				}
			}
		case (k.kind == 'w' || k.kind == 'o') && (k.text == "or" || k.text == "and" || k.text == "xor" || k.text == "||" || k.text == "&&" || k.text == "having" || k.text == "where" || k.text == "div"):
			if condition(t, i+1) && i > 0 {
				return true
			}
		case k.kind == 'w' && (k.text == "order" || k.text == "group") && at(i+1).text == "by":
			if n := at(i + 2); n.kind == 'n' && (at(i-1).kind == 'n' || at(i-1).kind == 'q' || at(i-1).kind == ')') && (i+3 >= len(t) || at(i+3).kind == 'c' || at(i+3).kind == ',') {
				return true
			}
		case k.kind == 'w' && k.text == "case" && at(i+1).text == "when" && has(t[i:], "then"):
			return true
		case k.kind == 'w' && functions[k.text] && at(i+1).kind == '(':
			switch k.text {
			case "sleep", "exp", "elt", "make_set", "char", "chr", "concat", "iif", "receive_message", "rlike", "quarter", "md5", "ascii", "convert", "cast", "unhex", "database", "version", "current_user":
				n := at(i + 2)
				p := at(i - 1)
				if k.text == "sleep" && (n.kind == 'n' || n.kind == '(' || n.kind == 'q' || n.kind == 'o') && i <= 1 {
					return true
				}
				broken := p.kind == ';' || p.kind == ',' || p.kind == '(' || p.kind == 'o' || p.kind == '=' || p.kind == 'w' && (joins[p.text] || statements[p.text] || p.text == "delay")
				inside := n.kind == 'n' || n.kind == '(' || n.kind == 'o' || n.kind == 'w' && (n.text == "select" || functions[n.text]) || n.kind == ')'
				if broken && inside && (i > 1) {
					return true
				}
			}
		case k.kind == 'w' && k.text == "procedure" && at(i+1).text == "analyse":
			return true
		case k.kind == 'w' && k.text == "where" && condition(t, i+1):
			return true
		}
	}
	return false
}

// condition says whether a comparison that needs no column stands here: "1=1", "'a'='a", "6810=6810", "(8)=(3)", "not 1", "true--", "'x' like 'x".
func condition(t []token, i int) bool {
	at := func(i int) token {
		if i < len(t) {
			return t[i]
		}
		return token{}
	}
	for at(i).kind == '(' || at(i).text == "not" || at(i).kind == 'o' && at(i).text != "||" && at(i).text != "*" {
		i++
	}
	k := at(i)
	switch k.kind {
	case 'n':
		j := i + 1
		for j < len(t) && j < i+6 && (t[j].kind == ')' || t[j].kind == 'n' || t[j].kind == 'o' && t[j].text != "?" || t[j].kind == 'q') {
			j++
		}
		if at(j).kind == '=' || at(j).kind == 'w' && (at(j).text == "like" || at(j).text == "rlike" || at(j).text == "between" || at(j).text == "in" && at(j+1).kind == '(' || at(j).text == "is") {
			return true
		}
		return at(i+1).kind == 'c' && i >= 2 && (t[i-2].kind == 'q' || t[i-2].kind == 'n' || t[i-2].kind == ')')
	case 'q':
		// 'a'='a, 'a' like 'a
		j := i + 1
		for j < len(t) && j < i+8 && t[j].kind != 'q' && t[j].kind != '=' {
			j++
		}
		if at(j).kind == 'q' {
			j++
		}
		for at(j).kind == ')' {
			j++
		}
		return at(j).kind == '=' || at(j).kind == 'w' && (at(j).text == "like" || at(j).text == "rlike") && at(j+1).kind == 'q'
	case 'w':
		n := at(i + 1)
		quoted := i >= 2 && (t[i-2].kind == 'q' || t[i-2].kind == 'n' || t[i-2].kind == ')')
		if (k.text == "true" || k.text == "false" || k.text == "null") && (n.kind == 'c' || n.kind == '=' || n.text == "is") && quoted {
			return true
		}
		if functions[k.text] && n.kind == '(' {
			return quoted || k.text == "sleep" || k.text == "ascii" || k.text == "substring" || k.text == "benchmark"
		}
		if k.text == "exists" && n.kind == '(' || k.text == "select" && i > 0 && t[i-1].kind == '(' {
			return true
		}
		if i >= 2 && t[i-2].kind == 'q' { // "' or id=1", "'or column like column--"
			if n.kind == '=' || n.kind == 'o' {
				return true
			}
			if n.kind == 'w' && (n.text == "like" || n.text == "rlike" || n.text == "is" || n.text == "between" || n.text == "in") {
				return true
			}
		}
		return n.kind == '=' && k.text == at(i+2).text && quoted
	}
	return false
}

func has(t []token, word string) bool {
	for _, k := range t {
		if k.kind == 'w' && k.text == word {
			return true
		}
	}
	return false
}

// strong says whether the tokenizer's verdict counts. Its shortest fingerprints are also those of prose: a string, a word that is an operator, a
// string; a number and a comment. They need a second sign.
func strong(print, low string) bool {
	switch print {
	case "sos", "s&s", "1&1", "n&n", "s&n", "n&s", "1&n", "s&1", "1&s", "sonos", "son", "nos":
		return strings.ContainsAny(low, "=<>|") && !strings.Contains(low, "<a ") || strings.Contains(low, "--") || strings.Contains(low, "/*") ||
			strings.ContainsAny(low, "'\"") && !strings.ContainsAny(low, " ") || numbered(low)
	case "1c", "nc", "sc":
		return strings.Contains(low, "'") || strings.Contains(low, "\"") || strings.Contains(low, "#") && strings.Contains(low, " ")
	}
	return true
}

// numbered says whether a quoted value is compared with a number, as "' or 1" does.
func numbered(low string) bool {
	for _, w := range []string{"or 1", "or '1", "or \"1", "or'1", "and 1", "and '1", "or 0", "or -1", "xor'0", "or'0"} {
		if strings.Contains(low, w) {
			return true
		}
	}
	return false
}
