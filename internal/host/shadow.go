package host

import (
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/guard"
)

// Passwords implements guard.Host.
func (f *Facts) Passwords() ([]guard.Password, error) {
	text, err := f.Read("/etc/shadow")
	if err != nil {
		return nil, err
	}
	return parseShadow(string(text)), nil
}

// hashKinds are the beginnings of hashes. Source: crypt(5).
var hashKinds = []struct {
	prefix string
	kind   guard.HashKind
}{{"$y$", guard.HashYescrypt}, {"$gy$", guard.HashYescrypt}, {"$7$", guard.HashScrypt}, {"$2", guard.HashBcrypt}, {"$6$", guard.HashSHA512}, {"$5$", guard.HashSHA256}, {"$sha1", guard.HashSHA1},
	{"$md5", guard.HashMD5}, {"$1$", guard.HashMD5}, {"$3$", guard.HashMD5}}

// never is the number of days that stands for no end. Source: Debian's /etc/login.defs, PASS_MAX_DAYS.
const never = 99_999

// parseShadow reads /etc/shadow; lines that are none are left out. Source: shadow(5).
func parseShadow(text string) (list []guard.Password) {
	for line := range strings.Lines(text) {
		w := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(w) < 3 || w[0] == "" || strings.HasPrefix(w[0], "#") {
			continue
		}
		p := guard.Password{User: w[0]}
		hash := strings.TrimLeft(w[1], "!")
		p.Locked = hash != w[1] && hash != "" && hash != "*"
		p.Kind = hashKind(w[1], hash)
		if days, err := strconv.ParseUint(w[2], 10, 16); err == nil && days > 0 {
			p.Changed = time.Unix(int64(days)*24*60*60, 0).UTC()
		}
		if len(w) > 4 {
			if days, err := strconv.ParseUint(w[4], 10, 31); err == nil && days < never {
				p.MaxDays = int(days)
			}
		}
		list = append(list, p)
	}
	return list
}

func hashKind(field, hash string) guard.HashKind {
	if field == "" {
		return guard.EmptyPassword
	}
	for _, k := range hashKinds {
		if strings.HasPrefix(hash, k.prefix) {
			return k.kind
		}
	}
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./"
	switch {
	case len(hash) == 13 && strings.Trim(hash, alphabet) == "", len(hash) == 20 && hash[0] == '_':
		return guard.HashDES
	case strings.HasPrefix(hash, "$") && len(hash) > 3:
		return guard.HashUnknown
	}
	return guard.NoPassword // nothing that crypt(3) returns
}
