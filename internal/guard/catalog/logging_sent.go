package catalog

import (
	"errors"
	"io/fs"
	"regexp"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

var rsyslogTLS = guard.Reference{Title: "rsyslog documentation, TLS-protected syslog via RFC 5425", URL: "https://www.rsyslog.com/doc/tutorials/tls.html"}

// What of rsyslog's configuration says how logs are sent. Source: rsyslog's documentation, "omfwd", "omrelp", and "Network stream drivers".
var (
	rsyslogComment = regexp.MustCompile(`(?m)(^|\s)#.*$`)
	rsyslogAction  = regexp.MustCompile(`(?is)\baction\s*\((.*?)\)`)
	rsyslogValue   = regexp.MustCompile(`(?i)([a-z0-9_.]+)\s*=\s*"([^"]*)"`)
	rsyslogOld     = regexp.MustCompile(`(?m)^(?:[^$\n(]*\s|[ \t]*if\b[^\n]*\bthen\s+)(@@?)(?:\([^)\n]*\))?([^\s;]+)`)
	rsyslogDriver  = regexp.MustCompile(`(?i)DefaultNetstreamDriver\s*(?:=\s*")?\s*(gtls|ossl)\b`)
	rsyslogInclude = regexp.MustCompile(`(?im)^\s*(?:\$IncludeConfig\s+([^\s]+)|include\s*\([^)]*\bfile\s*=\s*"([^"]*)")`)
	rsyslogMode    = regexp.MustCompile(`(?im)^\s*\$ActionSendStreamDriverMode\s+1\b`)
)

// sending is a place that logs are sent to.
type sending struct {
	file, to string
	tls      bool
	anybody  bool // it is encrypted, and whoever answers is taken for the right one
	strange  string
}

// rsyslogSends are the places of rsyslog's configuration.
func rsyslogSends(h guard.Host) (list []sending, err error) {
	files, err := h.Glob("/etc/rsyslog.d/*.conf")
	if err != nil {
		return nil, err
	}
	texts, driver, mode := map[string]string{}, false, false
	files = append([]string{"/etc/rsyslog.conf"}, files...)
	for _, file := range files {
		text, err := h.Read(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		texts[file] = rsyslogComment.ReplaceAllString(string(text), "")
		driver, mode = driver || rsyslogDriver.MatchString(texts[file]), mode || rsyslogMode.MatchString(texts[file])
	}
	for _, file := range files {
		for _, m := range rsyslogInclude.FindAllStringSubmatch(texts[file], -1) {
			if from := m[1] + m[2]; from != "/etc/rsyslog.d/*.conf" && from != "/etc/rsyslog.d/" {
				list = append(list, sending{file: file, to: from, strange: "it includes " + from + ", which is not read here"})
			}
		}
		for _, m := range rsyslogAction.FindAllStringSubmatch(texts[file], -1) {
			v := map[string]string{}
			for _, pair := range rsyslogValue.FindAllStringSubmatch(m[1], -1) {
				v[strings.ToLower(pair[1])] = strings.ToLower(pair[2])
			}
			s := sending{file: file, to: v["target"]}
			switch v["type"] {
			case "omfwd":
				own := v["streamdriver"] + v["streamdriver.name"]
				s.tls = v["protocol"] == "tcp" && (v["streamdrivermode"] == "1" || v["streamdriver.mode"] == "1") && (own == "gtls" || own == "ossl" || own == "" && driver)
				auth := v["streamdriverauthmode"] + v["streamdriver.authmode"]
				s.anybody = s.tls && (auth == "" || auth == "anon")
			case "omrelp":
				s.tls = v["tls"] == "on"
				s.anybody = s.tls && (v["tls.authmode"] == "" || v["tls.authmode"] == "anon")
			case "omelasticsearch", "omkafka", "omhttp":
				s.strange, s.to = "how "+v["type"]+" sends is not read here", v["type"]
			default:
				continue
			}
			list = append(list, s)
		}
		for _, m := range rsyslogOld.FindAllStringSubmatch(rsyslogAction.ReplaceAllString(texts[file], ""), -1) {
			list = append(list, sending{file: file, to: m[2], tls: m[1] == "@@" && driver && mode})
		}
	}
	return list, nil
}

// sentSafely judges whether logs that are sent to another host are encrypted on the way.
func sentSafely(h guard.Host, _ guard.Product) (list []guard.Observation) {
	all, err := rsyslogSends(h)
	if err != nil {
		return []guard.Observation{guard.Blind("/etc/rsyslog.d", err)}
	}
	const how = "write in its place an action(type=\"omfwd\" protocol=\"tcp\" StreamDriver=\"gtls\" StreamDriverMode=\"1\" StreamDriverAuthMode=\"x509/name\" StreamDriverPermittedPeers=\"LOGHOST\" target=\"LOGHOST\" port=\"6514\"), then systemctl restart rsyslog"
	for _, s := range all {
		host, _, _ := strings.Cut(s.to, ":")
		at := s.file + " " + s.to
		fix, undo := "# In "+guard.Show(s.file)+", "+how, "# In "+guard.Show(s.file)+", put back what was there, then systemctl restart rsyslog"
		switch {
		case s.strange != "":
			list = append(list, guard.Blind(at, errors.New(s.strange)))
		case onThisHost(host):
			list = append(list, passed(at, "Logs go to a program of this host."))
		case !s.tls:
			list = append(list, failed(guard.Medium, at, fix, undo, "Logs go to %s as they are: who is on the way reads and changes them.", s.to))
		case s.anybody:
			list = append(list, failed(guard.Low, at, fix, undo, "Logs go to %s by TLS, and nothing says whose certificate that is to have: who is on the way can pass for it.", s.to))
		default:
			list = append(list, passed(at, "Logs go to %s by TLS.", s.to))
		}
	}
	switch to, err := journalSends(h); {
	case err != nil:
		list = append(list, guard.Blind(journalUpload, err))
	case to == "":
	case strings.HasPrefix(strings.ToLower(to), "http://"):
		list = append(list, failed(guard.Medium, journalUpload, "# In "+journalUpload+": write URL=https:// and the same host, with certificates that systemd-journal-remote knows, then systemctl restart systemd-journal-upload",
			"# In "+journalUpload+", put back what was there, then systemctl restart systemd-journal-upload", "The journal goes to %s as it is: who is on the way reads it.", to))
	default:
		list = append(list, passed(journalUpload, "The journal goes to %s, by https.", to)) // the usual one where none is named
	}
	return list
}

const journalUpload = "/etc/systemd/journal-upload.conf"

// journalSends is where the journal is sent to, "" for nowhere. Source: journal-upload.conf(5): files of the folder beside it go before it.
func journalSends(h guard.Host) (to string, err error) {
	more, err := h.Glob(journalUpload + ".d/*.conf")
	if err != nil {
		return "", err
	}
	for _, file := range append([]string{journalUpload}, more...) {
		text, err := h.Read(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, "="); ok && strings.TrimSpace(key) == "URL" {
				to = strings.TrimSpace(value)
			}
		}
	}
	return to, nil
}

// loggingSent is the check of how logs are sent.
func loggingSent() []*guard.Check {
	conf := func(name string, want guard.State, text string) guard.Sample {
		return treeOf(name, want, guard.Entry{Path: "/etc/rsyslog.d/x.conf", Content: text})
	}
	upload := func(name string, want guard.State, url string) guard.Sample {
		return treeOf(name, want, guard.Entry{Path: "/etc/systemd/journal-upload.conf", Content: "[Upload]\nURL=" + url + "\n"})
	}
	const good = "action(type=\"omfwd\" protocol=\"tcp\"\n StreamDriver=\"gtls\" StreamDriverMode=\"1\" StreamDriverAuthMode=\"x509/name\" target=\"loghost\" port=\"6514\")\n"
	return []*guard.Check{{ID: "logging-sent", Group: "logging", Title: "Logs are encrypted on their way", Severity: guard.Medium, Versions: everyProduct(),
		Why: "Logs have names, addresses and mistyped passwords in them; and who can change them on the way hides an attack.",
		Fix: "Send them by TLS.", Risk: "With a certificate that the other host does not know no log arrives: look there before the old line goes.", Undo: "Put the old line back.",
		References: []guard.Reference{rsyslogTLS, rsyslogMan, uploadMan}, Judge: sentSafely,
		Samples: onEach(guard.Sample{Name: "nothing is sent", Want: guard.NotApplicable}, conf("by TLS", guard.Pass, good), conf("by UDP", guard.Fail, "*.* @loghost:514\n"), conf("by TCP", guard.Fail, "*.* @@loghost\n"), conf("a comment", guard.NotApplicable, "# *.* @@loghost\n"),
			conf("in the new form, in clear", guard.Fail, "action(type=\"omfwd\" target=\"loghost\" protocol=\"tcp\")\n"), conf("to whoever answers", guard.Fail, strings.Replace(good, "x509/name", "anon", 1)), conf("to this host", guard.Pass, "*.* @127.0.0.1:5140\n"),
			conf("the old form, by TLS", guard.Pass, "$DefaultNetstreamDriver gtls\n$ActionSendStreamDriverMode 1\n*.* @@(o)loghost:6514\n"), conf("by RELP", guard.Fail, "action(type=\"omrelp\" target=\"loghost\" port=\"2514\")\n"), conf("by RELP with TLS", guard.Pass, "action(type=\"omrelp\" target=\"loghost\" tls=\"on\" tls.authmode=\"name\")\n"),
			conf("in another way", guard.Unchecked, "action(type=\"omkafka\" topic=\"x\")\n"), conf("a driver for all", guard.Pass, "global(DefaultNetstreamDriver=\"ossl\")\n"+strings.Replace(good, "StreamDriver=\"gtls\" ", "", 1)),
			conf("under a condition", guard.Fail, "if ($fromhost-ip == \"10.0.0.1\") then @@loghost\n"), conf("what includes others", guard.Unchecked, "include(file=\"/srv/x.conf\" mode=\"optional\")\n"), conf("what includes the usual ones", guard.NotApplicable, "$IncludeConfig /etc/rsyslog.d/*.conf\n"),
			treeOf("the journal by http, in a file beside", guard.Fail, guard.Entry{Path: journalUpload + ".d/a.conf", Content: "[Upload]\nURL = http://loghost\n"}), conf("into a file", guard.NotApplicable, "auth,authpriv.* /var/log/auth.log\naction(type=\"omfile\" file=\"/var/log/x@y\")\n"), upload("the journal by https", guard.Pass, "https://loghost:19532"), upload("the journal, as usual", guard.Pass, "loghost"), upload("the journal by http", guard.Fail, "http://loghost:19532"),
			treeOf("what may not be read", guard.Unchecked, guard.Entry{Path: "/etc/rsyslog.d/x.conf", Content: good, Hidden: true}))}}
}
