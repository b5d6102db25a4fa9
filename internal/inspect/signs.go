package inspect

import (
	"strings"

	libinjection "github.com/corazawaf/libinjection-go"
)

// scripted says whether a value brings script into a page.
func scripted(low, v string, m mark) bool {
	yes := false
	scriptTable.each(low, func(i, at int) bool {
		yes = scriptSigns[i] != "alert(" || m&(angle|quote|semicolon) != 0
		return !yes
	})
	if yes {
		return true
	}
	return m&angle != 0 && strings.IndexByte(low, '<') >= 0 && markup(low) && libinjection.IsXSS(v)
}

var scriptSigns = []string{"<script", "</script", "javascript:", "onerror=", "onload=", "onmouseover=", "<svg", "<iframe", "<img src=x", "vbscript:", "document.cookie", "alert(",
	"<body ", "<object", "<embed", "expression(", "<meta "}

var (
	scriptTable = newTable(scriptSigns)
	strongTable = func() *table {
		var texts []string
		for _, s := range strongSigns {
			texts = append(texts, s.text)
		}
		return newTable(texts)
	}()
	scannerTable = newTable(scanners)
	certainTable = newTable(certain)
)

// markup says whether an angle bracket opens something: "<a", "</", "<!".
func markup(low string) bool {
	for i := 0; i+1 < len(low); i++ {
		if low[i] == '<' && (low[i+1] >= 'a' && low[i+1] <= 'z' || low[i+1] == '/' || low[i+1] == '!') {
			return true
		}
	}
	return false
}

// sign is a piece of text that says by itself what is tried. Text is lower case.
type sign struct {
	text string
	kind Attack
}

// Sources: the reference of detections; MITRE's descriptions of the CVEs named.
var strongSigns = []sign{
	{"/etc/passwd", Traversal}, {"/etc/shadow", Traversal}, {"win.ini", Traversal}, {"boot.ini", Traversal}, {"/proc/self/environ", Traversal}, {"web-inf/web.xml", Traversal},
	{"c:/windows", Traversal}, {"c:\\windows", Traversal},
	{"${jndi:", Exploit}, {"${${", Exploit}, {"${lower:", Exploit}, {"${upper:", Exploit}, {"${::-", Exploit}, {"${env:", Exploit}, // CVE-2021-44228
	{"() {", Exploit},                           // CVE-2014-6271
	{"class.module.classloader", Exploit},       // CVE-2022-22965
	{"invokefunction", Exploit},                 // CVE-2018-20062
	{"call_user_func_array", Exploit | PHP},     //
	{"%{(#", Exploit}, {"@java.lang.", Exploit}, // CVE-2017-5638
	{"php://", PHP}, {"expect://", PHP}, {"phar://", PHP}, {"data://text", PHP}, {"<?php", PHP}, {"<?=", PHP}, {"allow_url_include", PHP}, {"auto_prepend_file", PHP},
	{"phpinfo()", PHP}, {"base64_decode(", PHP}, {"eval(", PHP}, {"system(", PHP}, {"shell_exec(", PHP}, {"passthru(", PHP}, {"file_get_contents(", PHP}, {"assert(", PHP},
	{"file_put_contents(", PHP}, {"preg_replace(", PHP}, {"proc_open(", PHP}, {"popen(", PHP}, {"call_user_func(", PHP}, {"create_function(", PHP},
	{"/bin/sh", Command}, {"/bin/bash", Command}, {"/bin/cat", Command}, {"cmd.exe", Command}, {"powershell", Command}, {"/usr/bin/id", Command}, {"/dev/tcp/", Command},
	{"wget http", Command}, {"curl http", Command}, {"chmod 777", Command}, {"chmod +x", Command}, {"nc -e", Command}, {"uname -a", Command}, {"/bin/uname", Command},
	{"certutil ", Command}, {"bitsadmin", Command}, {"net user", Command}, {"ping -c", Command}, {"ping -n", Command}, {"whoami", Command}, {"cat /", Command}, {"ls -l", Command},
	{"rm -rf", Command}, {"busybox", Command}, {"/bin/ls", Command}, {"ifconfig", Command},
}

// signs looks for what says by itself what is tried.
func signs(low string, m mark) Attack {
	if m&(slash|dollar|paren|colon|blank|quote|semicolon|angle|equals) == 0 && strings.IndexByte(low, '.') < 0 {
		return 0
	}
	var found Attack
	strongTable.each(low, func(i, at int) bool {
		s := &strongSigns[i]
		if s.kind == PHP && strings.HasSuffix(s.text, "(") && (at > 0 && wordByte(low[at-1]) || !strings.Contains(low[at:], ")")) {
			return true
		}
		if s.kind == Command && !commandPlace(low, at, s.text) {
			return true
		}
		found |= s.kind
		return true
	})
	if strings.Contains(low, "..") && (leaves(low) || strings.Contains(low, "../") || strings.Contains(low, "..\\")) {
		found |= Traversal
	}
	if m&colon != 0 && remoteFile(low) {
		found |= RemoteFile
	}
	if m&(semicolon|equals|dollar|quote) != 0 && chained(low) {
		found |= Command
	}
	return found
}

// commandPlace says whether a command's name stands where a shell would run it, and not in prose: at the start, or behind ; | & ` $( or a path.
func commandPlace(low string, at int, text string) bool {
	if text[0] == '/' {
		return true
	}
	i := at - 1
	for i >= 0 && (low[i] == ' ' || low[i] == '"' || low[i] == '\'' || low[i] == '(') {
		i--
	}
	if i < 0 {
		return len(low) <= len(text)+64 && (at == 0 || low[0] == '(' || low[0] == '\'' || low[0] == '"')
	}
	return strings.IndexByte(";|&`$\n/\\=", low[i]) >= 0
}

// shellWords are commands that stand behind a separator in an injection.
var shellWords = wordSet("id cat ls ps wget curl nc ping sleep whoami uname pwd echo bash sh dir type ifconfig ipconfig netstat python perl ruby php nslookup host telnet kill " +
	"rm cp mv chmod find grep head tail sed awk tftp ftp socat env printenv set export exec system net systeminfo which busybox")

// chained says whether a shell's separator and a command follow each other: ";id", "| cat /etc", "`wget", "$(curl", "&& ls".
func chained(low string) bool {
	for i := 0; i < len(low); i++ {
		c := low[i]
		j := i + 1
		switch c {
		case ';', '|', '`', '\n':
		case '&':
			if j >= len(low) || low[j] != '&' {
				continue
			}
			j++
		case '$':
			if j >= len(low) || low[j] != '(' {
				continue
			}
			j++
		default:
			continue
		}
		for j < len(low) && (low[j] == ' ' || low[j] == '|' || low[j] == '&' || low[j] == '\'' || low[j] == '"') {
			j++
		}
		k := j
		for k < len(low) && wordByte(low[k]) {
			k++
		}
		i = max(i, k-1) // what was passed over leads here again
		if k == j || !shellWords[low[j:k]] {
			continue
		}
		// Prose has ";set" and "|type" too: an argument, the end or another separator must follow.
		if k == len(low) {
			return c != ';' || len(low) < 64
		}
		switch low[k] {
		case ' ', ';', '|', '`', ')', '$', '&', '<', '>', '\'', '"', '/', '\n':
			rest := strings.TrimLeft(low[k:], " ")
			if rest == "" || strings.ContainsAny(rest[:1], "-/;|`)$&<>'\"\n%{") || rest[0] >= '0' && rest[0] <= '9' || strings.HasPrefix(rest, "http") ||
				strings.Contains(rest, "/") {
				return true
			}
		}
	}
	return false
}

// remoteFile says whether a value is the address of a file of script or text elsewhere, as inclusions need it.
func remoteFile(low string) bool {
	for _, scheme := range []string{"http://", "https://", "ftp://", "ftps://"} {
		rest, ok := strings.CutPrefix(low, scheme)
		if !ok {
			continue
		}
		if strings.HasSuffix(rest, "?") || strings.HasSuffix(rest, "%00") {
			return true
		}
		path, query, _ := strings.Cut(rest, "?")
		if !strings.Contains(path, "/") {
			return false
		}
		for _, ext := range []string{".txt", ".php", ".gif", ".jpg", ".inc"} {
			if strings.HasSuffix(path, ext) && (ext == ".txt" || ext == ".inc" || ext == ".php" && query == "" && strings.Contains(path, "shell")) {
				return true
			}
		}
		host, _, _ := strings.Cut(path, "/")
		if ip := strings.Trim(host, "0123456789.:"); ip == "" && strings.HasSuffix(path, ".php") {
			return true
		}
	}
	return false
}

// leaves says whether a path goes above where it began: "/a/../../x", "..\", with "/" and "\" alike. "a...b" and "1..2" do not.
func leaves(p string) bool {
	depth := 0
	for p != "" {
		i := strings.IndexAny(p, "/\\")
		part := p
		if i >= 0 {
			part, p = p[:i], p[i+1:]
		} else {
			p = ""
		}
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}

// knownPaths are asked for only by those who look for flaws (reference of detections, 3.3). They are held against the path's beginning, or where they
// begin with "*" against its end, in lower case.
var knownPaths = []string{
	"/.env", "/.git/", "/.svn/", "/.hg/", "/.aws/", "/.ssh/", "/.htpasswd", "/.htaccess", "/.mysql_history", "/.bash_history", "/.listing", "/.vscode/", "/.ds_store",
	"/wp-login.php", "/wp-admin", "/wp-config", "/.wp-config", "/xmlrpc.php", "/wp-content/plugins/", "/wp-includes/", "/wordpress/",
	"/phpmyadmin", "/pma/", "/myadmin", "/adminer", "/mysql/", "/phpinfo.php", "/info.php", "/cgi-bin/", "/cgi/", "/scripts/", "/setup.cgi", "/_ignition/",
	"/vendor/phpunit", "/solr/admin", "/actuator", "/manager/html", "/jenkins/", "/hnap1", "/boaform/", "/gponform/", "/goform/", "/shell?", "/w00tw00t", "/muieblackcat",
	"/autodiscover/", "/owa/", "/ecp/", "/remote/fgt_lang", "/dana-na/", "/+cscoe+/", "/server-status", "/console/", "/invoker/", "/jmx-console", "/web-console",
	"/telescope/", "/_profiler/", "/debug/default/view", "/druid/", "/nacos/", "/geoserver/", "/login.action", "/struts", "/sdk/", "/evox/about", "/nmaplowercheck", "/nice ports",
	"/core/skin/login.aspx", "/roundcube", "/webmail/", "/horde", "/administrator/", "/typo3/", "/user/register", "/eval-stdin.php",
	"*eval-stdin.php", "*.php~", "*.php.bak", "*.php.old", "*.php.swp", "*.php.save", "*.sql.gz", "*wp-config.php.txt", "*/.git/config", "*/.env", "*/.env.bak", "*/nikto-test", "*.asp.bak",
}

// knownStarts and knownEnds are they by their second and their last byte.
var knownStarts, knownEnds = func() (starts, ends [256][]string) {
	for _, k := range knownPaths {
		if k[0] == '*' {
			ends[k[len(k)-1]] = append(ends[k[len(k)-1]], k[1:])
		} else {
			starts[k[1]] = append(starts[k[1]], k)
		}
	}
	return starts, ends
}()

// knownPath tells paths that only those who look for flaws ask for.
func knownPath(low string) Attack {
	if len(low) < 4 {
		return 0
	}
	var found Attack
	for _, k := range knownStarts[low[1]] {
		if strings.HasPrefix(low, k) {
			found = Known
			break
		}
	}
	for _, k := range knownEnds[low[len(low)-1]] {
		if strings.HasSuffix(low, k) {
			found = Known
			break
		}
	}
	if found != 0 && (strings.Contains(low, "phpunit") || strings.HasPrefix(low, "/_ignition/")) {
		found |= Exploit
	}
	return found
}

// scanners name themselves, in lower case.
var scanners = []string{"nikto", "sqlmap", "nmap", "masscan", "zgrab", "nessus", "openvas", "acunetix", "netsparker", "w3af", "dirbuster", "gobuster", "feroxbuster", "wpscan",
	"nuclei", "whatweb", "morfeus", "zmeu", "jorgee", "hydra", "arachni", "paros", "grendel", "havij", "fimap", "dirb", "wfuzz", "ffuf", "sqlninja", "webinspect", "skipfish",
	"toata", "libwww-perl", "l9explore", "httpx - ", "muieblackcat", "project discovery", "projectdiscovery", "detectify", "mj12bot/v1.0", "atspider", "autoemailspider"}
