package catalog

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/guard"
)

var (
	pamWheel = guard.Reference{Title: "pam_wheel(8)", URL: "https://man7.org/linux/man-pages/man8/pam_wheel.8.html"}
	pamConf  = guard.Reference{Title: "pam.d(5)", URL: "https://man7.org/linux/man-pages/man5/pam.d.5.html"}
)

// longKnown is how old a password may be, in days. Chosen: within three years somebody who knew it has left.
const longKnown = 3 * 365

func oldPasswords(h guard.Host, _ guard.Product) []guard.Observation {
	return accountsOf(h, func(u guard.User, p guard.Password) (guard.Observation, bool) {
		if p.Changed.IsZero() || p.Locked || p.Kind == guard.NoPassword || p.Kind == guard.EmptyPassword {
			return guard.Observation{}, false
		}
		days := int(h.Now().Sub(p.Changed) / (24 * time.Hour))
		asked := "nobody is ever asked for a new one"
		if p.MaxDays > 0 {
			asked = fmt.Sprintf("a new one is asked for after %d", p.MaxDays)
		}
		return failed(guard.Low, u.Name, "passwd "+guard.Quote(u.Name)+" # set another; or lock it with passwd -l, and use keys", "# Nobody needs the old password.",
			"The password of %s was last changed on %s, %d days ago; %s.", u.Name, p.Changed.Format(time.DateOnly), days, asked), days > longKnown
	}, "None of the passwords of %d accounts is older than three years.")
}

// pamLine is a line of a file in /etc/pam.d of the kind auth.
type pamLine struct {
	file    string
	line    int
	control string // required, requisite, sufficient, optional, or [value=action …]
	module  string
	args    []string
}

var pamJump = regexp.MustCompile(`=([0-9]+)`)

// passesOver tells whether a line may have the lines up to and with the one that is so many further left out. Source: pam.d(5): sufficient and
// done end a service's lines, a number leaves out as many. That pam_rootok lets root in is as it should be.
func (l pamLine) passesOver(further int) bool {
	if path.Base(l.module) == "pam_rootok.so" {
		return false
	}
	for _, m := range pamJump.FindAllStringSubmatch(l.control, -1) {
		if n, err := strconv.Atoi(m[1]); err != nil || n >= further {
			return true
		}
	}
	return l.control == "sufficient" || strings.Contains(l.control, "=done")
}

// pamAuth are the lines of a service by which it asks who somebody is, with what they include. Source: pam.d(5).
func pamAuth(h guard.Host, file string, depth int) (list []pamLine, err error) {
	if depth > 5 {
		return nil, errors.New("files include each other more than 5 deep")
	}
	text, err := h.Read(file)
	if err != nil {
		return nil, err
	}
	for i, line := range strings.Split(strings.ReplaceAll(string(text), "\\\n", "  "), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if at := strings.IndexByte(line, '['); at >= 0 { // the control may have blanks in it
			if end := strings.IndexByte(line[at:], ']'); end > 0 {
				line = line[:at] + strings.ReplaceAll(line[at:at+end], " ", ",") + line[at+end:]
			}
		}
		words := strings.Fields(line)
		include := ""
		switch {
		case len(words) == 2 && words[0] == "@include":
			include = words[1]
		case len(words) < 3 || strings.TrimPrefix(words[0], "-") != "auth":
			continue
		case words[1] == "include" || words[1] == "substack":
			include = words[2]
		default:
			list = append(list, pamLine{file, i + 1, words[1], words[2], words[3:]})
			continue
		}
		if !strings.HasPrefix(include, "/") {
			include = "/etc/pam.d/" + include
		}
		more, err := pamAuth(h, include, depth+1)
		if err != nil {
			return list, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// becomesRoot judges who may become root, or another account, by su.
func becomesRoot(h guard.Host, _ guard.Product) []guard.Observation {
	const at = "/etc/pam.d/su"
	if _, err := h.File(at); err != nil {
		return beside(at, err)
	}
	lines, err := pamAuth(h, at, 0)
	if err != nil {
		return []guard.Observation{guard.Blind(at, err)}
	}
	for i, l := range lines {
		if path.Base(l.module) != "pam_wheel.so" {
			continue
		}
		for j, before := range lines[:i] {
			if before.passesOver(i - j) {
				return []guard.Observation{guard.Blind(fmt.Sprintf("%s:%d", before.file, before.line), fmt.Errorf("%s %s comes before pam_wheel, and may let somebody in without it", before.control, before.module))}
			}
		}
		where := fmt.Sprintf("%s:%d", l.file, l.line)
		group := "wheel, or the group 0"
		for _, a := range l.args {
			if name, ok := strings.CutPrefix(a, "group="); ok {
				group = name
			}
		}
		trust, deny := slices.Contains(l.args, "trust"), slices.Contains(l.args, "deny")
		switch {
		case trust && l.control == "sufficient":
			return []guard.Observation{failed(guard.Medium, where, fmt.Sprintf("# In %s, line %d: write required in the place of sufficient, and take trust out.", guard.Show(l.file), l.line), fmt.Sprintf("# In %s, line %d: put back what was there.", guard.Show(l.file), l.line),
				"Who is in the group %s becomes root with no password at all.", group)}
		case (l.control == "required" || l.control == "requisite") && !deny:
			return []guard.Observation{passed(where, "Only who is in the group %s may use su.", group)}
		default:
			return []guard.Observation{guard.Blind(where, fmt.Errorf("what %s pam_wheel %s comes to is not understood here", l.control, strings.Join(l.args, " ")))}
		}
	}
	kept, err := h.Passwords()
	if err != nil {
		return []guard.Observation{guard.Blind("/etc/shadow", err)}
	}
	i := slices.IndexFunc(kept, func(p guard.Password) bool { return p.User == "root" })
	if i < 0 || kept[i].Kind == guard.NoPassword || kept[i].Locked {
		return []guard.Observation{passed(at, "root has no password that su would take.")}
	}
	if kept[i].Kind == guard.EmptyPassword {
		return []guard.Observation{failed(guard.Medium, at, "passwd -l root", "passwd -u root", "root has an empty password, and nothing in %s says who may use su.", at)}
	}
	return []guard.Observation{failed(guard.Low, at, "# In "+at+", behind pam_rootok: write auth required pam_wheel.so group=sudo; or lock root's password with passwd -l root, and use sudo.",
		"# In "+at+": take the line out again; or passwd -u root.", "root has a password, and every account of the host may try it: nothing in %s says who may use su.", at)}
}

// rootward are the checks of who may become root, besides sudo.
func rootward() []*guard.Check {
	none := guard.Sample{Name: "nothing of the kind", Want: guard.NotApplicable}
	hidden := shadowHost("what may not be read", guard.Unchecked, "", guard.Entry{Path: "/etc/shadow", Hidden: true}, guard.Entry{Path: "/etc/pam.d/su", Content: "auth required pam_unix.so\n"})
	su := func(name string, want guard.State, text, shadow string, more ...guard.Entry) guard.Sample {
		return shadowHost(name, want, shadow, append(more, guard.Entry{Path: "/etc/pam.d/su", Content: text})...)
	}
	const debian, with, without = "auth       sufficient pam_rootok.so\n# auth       required   pam_wheel.so\n@include common-auth\n", "root:$y$j9T$x$y:20000::::::\n", "root:*:20000::::::\n"
	common := guard.Entry{Path: "/etc/pam.d/common-auth", Content: "auth\t[success=1 default=ignore]\tpam_unix.so nullok\nauth\trequisite\tpam_deny.so\n"}
	list := []*guard.Check{
		{ID: "accounts-ages", Title: "Passwords of accounts are not older than three years", Severity: guard.Low,
			Why:        "The guide has root's and maas's passwords shared with administrators alone: one that was never changed is known to all who ever were.",
			References: []guard.Reference{guide, shadowManual}, Judge: oldPasswords,
			Samples: onEach(none, hidden, shadowHost("new", guard.Pass, "bob:$y$j9T$x$y:20000:0:99999:7:::\n"), shadowHost("old", guard.Fail, "bob:$y$j9T$x$y:17000:0:99999:7:::\n"), shadowHost("old, with a limit", guard.Fail, "bob:$y$j9T$x$y:17000:0:90:7:::\n"),
				shadowHost("old and locked", guard.Pass, "bob:!$y$j9T$x$y:17000:0:99999:7:::\n"), shadowHost("none", guard.Pass, "bob:*:17000:0:99999:7:::\n"), shadowHost("to be changed at once", guard.Pass, "bob:$y$j9T$x$y:0:0:99999:7:::\n"))},
		{ID: "accounts-su", Title: "Not every account may try root's password", Severity: guard.Medium,
			Why:        "A program that was taken over guesses root's password by su, as often as it likes, from any account.",
			References: []guard.Reference{guide, pamWheel, pamConf}, Judge: becomesRoot,
			Samples: onEach(none, hidden, su("as Debian has it, root with a password", guard.Fail, debian, with, common), su("root without one", guard.Pass, debian, without, common), su("a group alone", guard.Pass, "auth sufficient pam_rootok.so\nauth required pam_wheel.so group=sudo\n", with),
				su("a group without a password", guard.Fail, "auth sufficient pam_wheel.so trust\n", without), su("all but a group", guard.Unchecked, "auth required pam_wheel.so deny group=nosu\n", with), su("in what is included", guard.Pass, "auth include common-auth\n", with, guard.Entry{Path: "/etc/pam.d/common-auth", Content: "auth requisite pam_wheel.so\n"}),
				su("a group, behind what lets in before", guard.Unchecked, "auth sufficient pam_unix.so\nauth required pam_wheel.so\n", with), su("a group, behind what is common", guard.Pass, "@include common-auth\nauth required pam_permit.so\nauth required pam_wheel.so\n", with, common),
				su("a group that is passed over", guard.Unchecked, "auth [success=1 default=ignore] pam_unix.so\nauth required pam_wheel.so\n", with), su("an empty password", guard.Fail, debian, "root::20000::::::\n", common), su("a rule of cases", guard.Unchecked, "auth [success=ok default=die] pam_wheel.so\n", with), su("an absent file", guard.Unchecked, "@include none\n", with))},
	}
	for _, c := range list {
		c.Group, c.Versions = "accounts", everyProduct()
		c.Fix = "Change the line or the account that the finding names, and try it beside the present session before that is closed."
		c.Undo = "The finding's undo has the line or the account as it was."
		c.Risk = "Who becomes root in the way that is closed is kept out: see that sudo works for all who need it first."
	}
	return list
}
