package guard

import "time"

// SSH is the configuration of a host's SSH server.
type SSH struct {
	Config string    // the path of sshd_config
	Lines  []SSHLine // in the order in which the server reads them
	Err    error     // what could not be read or is no configuration: Lines are then not all
}

// SSHLine is a keyword with its value.
type SSHLine struct {
	Keyword string // in small letters
	Value   string // the first argument
	Match   string // the conditions that it stands under; "" for every connection
	File    string
	Line    int
}

// Value is the line that decides on a keyword for connections that no condition singles out. Source: sshd_config(5): the first value
// counts, and one under Match before others.
func (s SSH) Value(keyword string) (line SSHLine, set bool) {
	for _, match := range []string{"all", ""} {
		for _, l := range s.Lines {
			if l.Keyword == keyword && l.Match == match {
				return l, true
			}
		}
	}
	return SSHLine{}, false
}

// Conditional are the lines that decide on a keyword for some connections.
func (s SSH) Conditional(keyword string) (list []SSHLine) {
	seen := map[string]bool{"": true, "all": true}
	for _, l := range s.Lines {
		if l.Keyword == keyword && !seen[l.Match] {
			seen[l.Match] = true
			list = append(list, l)
		}
	}
	return list
}

// Password is what /etc/shadow says of an account, without the hash.
type Password struct {
	User    string
	Kind    HashKind
	Locked  bool      // a password is kept, and not accepted
	Changed time.Time // the day; zero where it is not known, or where a new one is asked for at the next login
	MaxDays int       // after which a new one is asked for; 0 where that is never
}

// HashKind is how a password is kept.
type HashKind string

// The kinds. Source: crypt(5), shadow(5).
const (
	NoPassword    HashKind = "no password works" // "*", "!" and the like
	EmptyPassword HashKind = "no password is asked for"
	HashDES       HashKind = "DES"
	HashMD5       HashKind = "MD5"
	HashSHA1      HashKind = "SHA-1"
	HashSHA256    HashKind = "SHA-256"
	HashSHA512    HashKind = "SHA-512"
	HashBcrypt    HashKind = "bcrypt"
	HashScrypt    HashKind = "scrypt"
	HashYescrypt  HashKind = "yescrypt"
	HashUnknown   HashKind = "of a kind that is not known"
)

// Sudo is who may become whom by sudo.
type Sudo struct {
	Config string // the path of sudoers
	Rules  []SudoRule
	Err    error // what could not be read or is not understood: Rules are then not all
}

// SudoRule is a line of sudoers, aliases put in.
type SudoRule struct {
	Who      []string // users, %groups and the like, as written
	RunAs    []string // users; root where nothing is written
	NoPasswd bool
	Commands []string // ALL for every one
	File     string
	Line     int
}
