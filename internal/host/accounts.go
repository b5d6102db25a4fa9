package host

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// Accounts implements guard.Host. Users and groups of a directory (LDAP, SSSD) are not among them.
func (f *Facts) Accounts() (guard.Accounts, error) {
	if f.accounts != nil {
		return *f.accounts, nil
	}
	users, err := f.Read("/etc/passwd")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return guard.Accounts{}, err
	}
	groups, err := f.Read("/etc/group")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return guard.Accounts{}, err
	}
	f.accounts = &guard.Accounts{Users: parseUsers(string(users)), Groups: parseGroups(string(groups)), Metalward: f.account}
	return *f.accounts, nil
}

// parseUsers reads /etc/passwd; lines that are none are left out, as the C library does. Source: passwd(5).
func parseUsers(text string) (list []guard.User) {
	for line := range strings.Lines(text) {
		w := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(w) != 7 || w[0] == "" || strings.HasPrefix(w[0], "#") {
			continue
		}
		uid, err1 := strconv.ParseUint(w[2], 10, 32)
		gid, err2 := strconv.ParseUint(w[3], 10, 32)
		if err1 == nil && err2 == nil {
			list = append(list, guard.User{Name: w[0], UID: uint32(uid), GID: uint32(gid), Home: w[5], Shell: w[6]})
		}
	}
	return list
}

// parseGroups reads /etc/group. Source: group(5).
func parseGroups(text string) (list []guard.Group) {
	for line := range strings.Lines(text) {
		w := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(w) != 4 || w[0] == "" || strings.HasPrefix(w[0], "#") {
			continue
		}
		gid, err := strconv.ParseUint(w[2], 10, 32)
		if err != nil {
			continue
		}
		list = append(list, guard.Group{Name: w[0], GID: uint32(gid), Members: strings.FieldsFunc(w[3], func(r rune) bool { return r == ',' || r == ' ' })})
	}
	return list
}
