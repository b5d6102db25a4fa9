package inspect

import "strings"

// script says whether a path ends in a server-side script.
func script(path string) bool {
	_, ext := stem(path)
	return scriptExt(ext)
}

func scriptExt(ext string) bool {
	if len(ext) < 2 || len(ext) > 5 {
		return false
	}
	switch ext[0] | 0x20 {
	case 'p', 'a', 'j', 'c':
		return extensions[strings.ToLower(ext)]
	}
	return false
}

var extensions = wordSet("php php3 php4 php5 php7 phtml phar asp aspx ashx asmx jsp jspx jspf cfm cgi pl")

func stem(name string) (string, string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		name = name[i+1:]
	}
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return name, ""
	}
	return name[:i], name[i+1:]
}

// families are names, or beginnings of names, that known web shells bear; public reports on them are many.
var families = []string{"c99", "c100", "c171", "c993", "r57", "r58", "b374k", "wso", "webr00t", "r00t", "ntdaddy", "zehir", "elmaliseker", "aspydrv", "aspy", "remexp", "efso", "kat3",
	"3fexe", "spexec", "casinoloader", "ddos", "indoxploit", "alfacgiapi", "alfanew", "antichat", "simattacker", "phpspy", "safe0ver", "gfs_sh", "nstview", "locus7s",
	"predator", "mini-shell", "weevely", "backdoor", "dc3_security", "dtool", "lolipop", "liz0zim", "storm7", "stres", "tryag", "zacosmall", "sosyete", "simple-backdoor",
	"php-backdoor", "reverse", "angelshell", "ajan", "ak74", "amirh", "cyberspy", "crystal", "fatal", "goonshell", "ironshell", "jackal", "myshell", "mysql_web",
	"nshell", "pws", "qsd-php", "rootshell", "ru24", "s72", "sniper_sa", "spygrup", "toolaspshell", "aspxsh", "w3d", "zerobyte", "h4x", "h4ck", "0wn", "pwn", "hacked", "bypass", "symlink",
	"priv8", "gecko", "wp-conflg", "mailer", "leafmailer", "cmdasp", "cmdexec", "cmd-asp", "cmdjsp", "aspxspy", "china chopper", "b64", "filesystembrowser", "uploadify",
	"fileupload", "uploader", "eval-stdin", "tool"}

// exact are whole names of shells that are short or ordinary words with an extension that their servers rarely have beside them.
var exact = wordSet("cmd.php cmd.asp cmd.aspx cmd.jsp up.asp up.aspx up.php tool.asp tool.aspx list.asp sql.aspx sys.php fun.php decoded.php dra.php bs2.php colog.php sdoor.php " +
	"test.jsp browser.jsp jspwebshell.jsp uploads.php mk_conf.php mod_perlre.php conf_global.php gate.php wso.php mini.php marijuana.php xleet.php radio.php " +
	"wp-feed.php wp-vcd.php wp-tmp.php ioxi-o.php moon.php about.php7 doc.php7 alfa.php lock360.php")

// shellName tells names of web shells: those of known families, "shell" in a name that is not the name of a class, and scripts of one or two letters.
func shellName(name string) bool {
	base, ext := stem(name)
	if !scriptExt(ext) {
		return len(name) <= maxToolName && len(base) == len(name) && toolNames[strings.ToLower(name)]
	}
	low := strings.ToLower(ext)
	if exact[strings.ToLower(name)] {
		return true
	}
	if n := len(base); n == 1 && alnum(base) || n == 2 && alnum(base) && strings.ToLower(base) != "db" && strings.ToLower(base) != "js" && (low != "php" || base[1] >= '0' && base[1] <= '9') {
		return true
	}
	if low[0] == 'p' && className(base) {
		return false
	}
	b := strings.ToLower(base)
	if strings.Contains(b, "shell") || strings.HasSuffix(b, "door") {
		return true
	}
	for _, f := range families {
		if strings.HasPrefix(b, f) {
			rest := b[len(f):]
			if rest == "" || !(rest[0] >= 'a' && rest[0] <= 'z') || len(f) > 4 || strings.HasPrefix(rest, "sh") || strings.HasPrefix(rest, "spy") {
				return true
			}
		}
	}
	return false
}

// maxToolName is how long a name in toolNames is at most.
const maxToolName = 12

// toolNames are shells, loaders and parts of panels that come without an extension.
var toolNames = wordSet("frmcp2 casinoloader kat3 uploadify webr00t c99shell r57shell b374k")

// panelFolders are folders of the panels by which people steer stolen machines. Copies of such panels bear names in which the slash behind a folder
// became a g: "gateg", "configgconfig.php~".
var panelFolders = []string{"admin", "config", "css", "csv", "dbg", "doc", "gate", "geoip", "icons", "image", "images", "img", "include", "installer", "js", "logs", "main", "maincp", "mod", "php",
	"pwd", "tmp", "upload", "frmcp", "frmcp0", "frmcp1", "configs"}

// copyEnds are ends of copies of scripts, which a server shows as they are.
var copyEnds = []string{".php~", ".php.old", ".php.bak", ".php2", ".php.save", ".php.swp"}

// dumpEnds are ends of dumps and archives; below a folder they are what sites offer.
var dumpEnds = []string{".sql", ".sql.gz", ".tar.gz", ".tgz"}

// servedEnds are what pages are made of.
var servedEnds = wordSet("html htm css js png jpg jpeg gif svg ico woff woff2 ttf webp json xml map")

func endsIn(name string, ends []string) bool {
	for _, end := range ends {
		if len(name) > len(end) && strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// panelFiles are files of such panels, and what they keep.
var panelFiles = wordSet("config.bin config.tpl default.config gate.tpl sec.config logs.sh logs-lite.sh runme.sh frm_settings.php frm_findrep_sub2.php php.ini")

// leftName tells what intruders look for besides shells: panels of other intruders, copies of scripts, and dumps at the root of a server.
func leftName(name string, root bool) bool {
	if name == "" || len(name) > 64 {
		return false
	}
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 && (len(name) > maxPanelWord || strings.IndexByte(name, 'g') < 0) || dot >= 0 && servedEnds[name[dot+1:]] { // nearly all requests
		return false
	}
	low := strings.ToLower(name)
	if dot >= 0 && (panelFiles[low] || endsIn(low, copyEnds) || root && endsIn(low, dumpEnds)) {
		return true
	}
	if name[0] >= 'A' && name[0] <= 'Z' { // a class, such as ImageGallery
		return false
	}
	for _, f := range panelFolders {
		if rest, ok := strings.CutPrefix(low, f+"g"); ok && (rest == "" || panelRest(rest) || f == "main" && strings.IndexByte(rest, '.') > 0 && !scriptExt(rest[strings.LastIndexByte(rest, '.')+1:])) {
			return true
		}
	}
	return false
}

// maxPanelWord is how long a folder of a panel without a file's name behind it is at most.
const maxPanelWord = 20

// panelRests are what stands behind a folder of a panel.
var panelRests = wordSet("csv img mod bin process.php mod_process.php")

func panelRest(name string) bool {
	_, ext := stem(name)
	return panelRests[name] || panelFiles[name] || ext == "config" || ext == "sh" || ext == "bin" || endsIn(name, copyEnds) || endsIn(name, dumpEnds)
}

// className says whether a name is that of a class: "ShellParser", "Shell".
func className(s string) bool {
	if s == "" || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	lower := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c|0x20 >= 'a' && c|0x20 <= 'z') {
			return false
		}
		lower = lower || c >= 'a'
	}
	return lower
}

func alnum(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9') {
			return false
		}
	}
	return true
}

// commandNames are parameters that web shells take their command by.
var commandNames = wordSet("cmd exec command execute shell_exec system ping download")

func commandName(name string) bool {
	return name == "c" || len(name) > 2 && len(name) < 12 && commandNames[strings.ToLower(name)]
}

// commandQuery says whether a query of plain bytes only has a parameter that shells take their command by.
func commandQuery(q string) bool {
	start := 0 // of the parameter
	for i := 0; i < len(q); i++ {
		switch {
		case q[i] == '&':
			start = i + 1
		case q[i] == '=' && commandName(q[start:i]):
			return true
		}
	}
	return false
}

// commandValue says whether the value of such a parameter is a command.
func commandValue(v string) Attack {
	v = strings.ToLower(v)
	end := 0
	for end < len(v) && wordByte(v[end]) {
		end++
	}
	if word := v[:end]; shellWords[word] && (end == len(v) || v[end] == '+' || v[end] == '%' || v[end] == ' ') || strings.HasPrefix(v, "0x") {
		return Command
	}
	return 0
}
