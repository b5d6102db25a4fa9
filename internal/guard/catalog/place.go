package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// place is where something is kept that not everybody may read or change.
type place struct {
	paths   []string // patterns of guard.Host.Glob; relative ones are below the home of each account, whose owner may then own it
	mode    uint32   // the most that the mode may be
	owners  []string // users besides root who may own it
	groups  []string // groups besides root's that may have what mode gives a group; a fix takes the first that the host has
	read    guard.Severity
	write   guard.Severity // who may write is taken to be able to read
	note    string         // beside what is wrong
	socket  bool           // it is a socket, which whoever may write to it may connect to (unix(7))
	besides string         // a folder whose files, behind links, are not meant
	copies  bool           // of files of other places: what cannot be looked at is then said once a folder
}

// at are a place's files on a host. A path of a home has the home's user as an owner.
func (p place) at(h guard.Host) (found []located, blind []guard.Observation) {
	type search struct {
		pattern string
		place   place
	}
	var searches []search
	accounts, err := h.Accounts()
	if accounts.Metalward != "" && slices.Contains(p.owners, asOurs[0]) {
		p.owners = append(slices.Clone(p.owners), accounts.Metalward)
	}
	for _, pattern := range p.paths {
		if path.IsAbs(pattern) {
			searches = append(searches, search{pattern, p})
			continue
		}
		if err != nil {
			blind = append(blind, guard.Blind("~/"+pattern, err))
		}
		seen := map[string]bool{}
		for _, u := range accounts.Users {
			if home := path.Clean(u.Home); path.IsAbs(home) && home != "/" && !seen[home] {
				seen[home] = true
				own := p
				own.owners = append(slices.Clone(p.owners), u.Name)
				own.groups = append(slices.Clone(p.groups), u.Name)
				searches = append(searches, search{path.Join(literal(home), pattern), own})
			}
		}
	}
	for _, s := range searches {
		list, err := h.Glob(s.pattern)
		if err != nil {
			o := guard.Blind(s.pattern, err)
			if p.copies {
				o.Subject = path.Dir(s.pattern)
			}
			if !slices.ContainsFunc(blind, func(b guard.Observation) bool { return b.Subject == o.Subject }) {
				blind = append(blind, o)
			}
		}
		for _, at := range list {
			if p.besides == "" || !inside(h, p.besides, at) {
				found = append(found, located{s.place, at})
			}
		}
	}
	return found, blind
}

// inside reports whether a path leads into a folder.
func inside(h guard.Host, folder, at string) bool {
	dir, err1 := h.File(folder)
	f, err2 := h.File(at)
	return err1 == nil && err2 == nil && strings.HasPrefix(f.Real, dir.Real+"/")
}

// located is a place's file.
type located struct {
	place
	path string
}

// literal is the pattern that matches one name only.
func literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// inPlaces judges the files themselves; the folders above them have a check of their own, so that one open folder is one finding.
func inPlaces(places map[guard.Product][]place) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, product guard.Product) (list []guard.Observation) {
		who := peopleOf(h)
		for _, p := range places[product] {
			found, blind := p.at(h)
			for _, b := range blind {
				if !slices.ContainsFunc(list, func(o guard.Observation) bool { return o.Subject == b.Subject }) {
					list = append(list, b)
				}
			}
			for _, l := range found {
				list = append(list, l.judge(h, who)...)
			}
		}
		return list
	}
}

// report gathers what is wrong with one subject.
type report struct {
	guard.Observation
	blind []string
}

func (r *report) fail(s guard.Severity, fix, undo []string, format string, args ...any) {
	r.State, r.Severity = guard.Fail, max(r.Severity, s)
	r.Evidence = append(r.Evidence, fmt.Sprintf(format, args...))
	for i := range fix {
		if !slices.Contains(r.Fix, fix[i]) {
			r.Fix, r.Undo = append(r.Fix, fix[i]), append(r.Undo, undo[i])
		}
	}
}

func (r *report) done() guard.Observation {
	if r.State == "" {
		r.State = guard.Pass
		if len(r.blind) > 0 {
			r.State = guard.Unchecked
		}
	}
	r.Evidence = append(r.Evidence, r.blind...)
	slices.Reverse(r.Undo)
	return r.Observation
}

// kindName says what is at a path.
func kindName(k fs.FileMode) string {
	switch {
	case k.IsDir():
		return "a folder"
	case k&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case k&fs.ModeSocket != 0:
		return "a socket"
	case k == 0:
		return "a regular file"
	case k&fs.ModeDevice != 0:
		return "a device"
	}
	return "of a kind that is not known"
}

func (l located) judge(h guard.Host, who people) []guard.Observation {
	f, err := h.File(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it went meanwhile
	case err != nil:
		return []guard.Observation{guard.Blind(l.path, err)}
	}
	r := &report{Observation: guard.Observation{Subject: l.path, Evidence: []string{
		fmt.Sprintf("Mode %04o, owner %s, group %s.", f.Mode, who.user(f.UID), who.group(f.GID))}}}
	if f.Real != f.Path {
		r.Evidence = append(r.Evidence, fmt.Sprintf("It is reached by a symbolic link and is %s.", guard.Show(f.Real)))
	}
	want := fs.FileMode(0)
	if l.socket {
		want = fs.ModeSocket
	}
	if f.Kind != want {
		r.State = guard.Unchecked
		r.Evidence = append(r.Evidence, fmt.Sprintf("It is %s, and was to be %s: what that means is not known.", kindName(f.Kind), kindName(want)))
		return []guard.Observation{r.Observation}
	}
	l.keepIn(r, f, who)
	l.grants(r, f, who)
	if narrow := f.Mode & l.mode; f.Mode != narrow {
		fix, undo := chmod(f, narrow)
		switch {
		case f.Mode&(guard.SetUID|guard.SetGID) != 0:
			r.fail(guard.Medium, fix, undo, "It has the set-user-ID or set-group-ID bit, which is for programs.")
		case r.State != guard.Fail:
			r.fail(guard.Low, fix, undo, "The mode is wider than %04o, though nobody gains by it at present.", l.mode)
		default:
			r.fail(0, fix, undo, "The mode is to be %04o at most.", l.mode)
		}
	}
	if r.State == guard.Fail && l.note != "" {
		r.Evidence = append(r.Evidence, l.note)
	}
	return []guard.Observation{r.done()}
}

// keepIn sees to it that the service reads the file still when not everybody does any more. It is about MAAS's packages: the snap's services
// are root, and Metalward is root or who owns its files.
func (l located) keepIn(r *report, f guard.File, who people) {
	const group, others = 0o040, 0o004
	narrow := f.Mode & l.mode
	if l.copies || !slices.Contains(l.owners, "maas") && !slices.Contains(l.groups, "maas") {
		return
	}
	by := ""
	switch ours := slices.Contains(l.groups, who.groups[f.GID]); {
	case slices.Contains(l.owners, who.names[f.UID]), narrow&others != 0, narrow&group != 0 && ours:
	case f.Mode&others != 0:
		by = "as everybody does"
	case f.Mode&group != 0 && ours:
		by = "by its group"
	}
	if by == "" {
		return
	}
	at := guard.Quote(f.Real)
	if to := who.first(l.groups); l.mode&group != 0 && to != "root" {
		r.fail(guard.Low, []string{"chgrp " + to + " " + at, fmt.Sprintf("chmod %04o %s", narrow|group, at)}, []string{fmt.Sprintf("chgrp %d %s", f.GID, at), fmt.Sprintf("chmod %04o %s", f.Mode, at)},
			"The service reads it %s; its group is to be %s.", by, to)
		return
	}
	for uid, name := range who.names {
		if len(l.owners) > 0 && name == l.owners[0] && uid != f.UID { // a host without the account has the service run as another
			r.fail(guard.Low, []string{fmt.Sprintf("chown %d %s", uid, at)}, []string{fmt.Sprintf("chown %d %s", f.UID, at)}, "The service reads it %s; its owner is to be %s.", by, guard.Show(name))
		}
	}
}

func chmod(f guard.File, mode uint32) (fix, undo []string) {
	at := guard.Quote(f.Real)
	return []string{fmt.Sprintf("chmod %04o %s", mode, at)}, []string{fmt.Sprintf("chmod %04o %s", f.Mode, at)}
}

// grants reports who may read or write a file besides those who are meant.
func (l located) grants(r *report, f guard.File, who people) {
	at := guard.Quote(f.Real)
	allowed := func(name string) bool { return slices.Contains(l.owners, name) || slices.Contains(l.groups, name) }

	// The owner may do anything: he can change the mode.
	if f.UID != 0 && who.err != nil {
		r.blind = append(r.blind, "Who its owner "+who.user(f.UID)+" is could not be found out: "+guard.Show(who.err.Error()))
	} else if f.UID != 0 && !slices.Contains(l.owners, who.names[f.UID]) {
		severity := max(l.read, l.write)
		if slices.Contains(l.groups, who.names[f.UID]) {
			severity = guard.Low // the service itself, which may read it anyway
		}
		owner := "root"
		for _, name := range l.owners { // the service may have to write it, and cannot if it is root's
			if !l.copies && owner == "root" && who.has(name) {
				owner = guard.Quote(name)
			}
		}
		r.fail(severity, []string{"chown " + owner + " " + at}, []string{fmt.Sprintf("chown %d %s", f.UID, at)},
			"Its owner is %s, who may so change it, and is to be %s.", who.user(f.UID), oneOf("root", l.owners))
	}
	// The group, and who is in it.
	byGroup := func(gid, perm uint32, by string, fix, undo []string) {
		name := who.groups[gid]
		severity := l.severity(perm)
		if severity == 0 {
			return
		}
		if who.err != nil {
			r.blind = append(r.blind, "Who is in the group "+who.group(gid)+" could not be found out: "+guard.Show(who.err.Error()))
			return
		}
		if gid != 0 && !slices.Contains(l.groups, name) {
			r.fail(severity, fix, undo, "%s %s may %s it%s; %s.", "The group", who.group(gid), l.verb(perm), by, who.members(gid))
			return
		}
		for _, u := range who.in[gid] {
			if u.UID == 0 || allowed(u.Name) {
				continue
			}
			if l.mode&0o070 != 0 { // else the file is to be taken from the group
				fix, undo = leave(u, gid, name)
			}
			r.fail(severity, fix, undo, "%s is in the group %s, and so may %s it%s.", guard.Show(u.Name), who.group(gid), l.verb(perm), by)
		}
	}
	to := who.first(l.groups)
	fix, undo := []string{"chgrp " + to + " " + at}, []string{fmt.Sprintf("chgrp %d %s", f.GID, at)}
	if l.mode&0o070 == 0 || l.read == 0 && l.mode&0o020 == 0 { // no group is to have this
		fix, undo = chmod(f, f.Mode&l.mode)
	}
	byGroup(f.GID, f.Group, "", fix, undo)

	for _, e := range f.ACL {
		entry := fmt.Sprintf("u:%d", e.ID)
		if e.Group {
			entry = fmt.Sprintf("g:%d", e.ID)
		}
		// Without -n the mask is computed anew, which may give the file's own group what the mask held back: setfacl(1).
		fix, undo := []string{"setfacl -n -x " + entry + " " + at}, []string{"setfacl -n -m " + entry + ":" + rwx(e.Perm) + " " + at}
		switch {
		case e.Group:
			byGroup(e.ID, e.Perm, " by the access list", fix, undo)
		case l.severity(e.Perm) != 0 && e.ID != 0 && who.err != nil:
			r.blind = append(r.blind, "Who the user "+who.user(e.ID)+" of the access list is could not be found out: "+guard.Show(who.err.Error()))
		case l.severity(e.Perm) != 0 && e.ID != 0 && !allowed(who.names[e.ID]):
			r.fail(l.severity(e.Perm), fix, undo, "The user %s may %s it by the access list.", who.user(e.ID), l.verb(e.Perm))
		}
	}
	if f.ACLErr != nil {
		r.blind = append(r.blind, "Whether an access list gives it to more people could not be found out: "+guard.Show(f.ACLErr.Error()))
	}
	// Everybody else, unless a folder keeps them out.
	if severity := l.severity(f.Mode & 7); severity != 0 {
		fix, undo := chmod(f, f.Mode&l.mode)
		var through []string // who passes the narrowest folder above
		narrowest := guard.File{}
		for _, d := range f.Folders {
			if d.Mode&0o001 != 0 {
				continue
			}
			if names := who.passing(d, allowed); narrowest.Path == "" || len(names) < len(through) {
				narrowest, through = d, names
			}
		}
		at := fmt.Sprintf("the folder %s (mode %04o)", guard.Show(narrowest.Path), narrowest.Mode)
		switch {
		case narrowest.Path == "":
			r.fail(severity, fix, undo, "Everybody with an account on the host may %s it.", l.verb(f.Mode&7))
		case len(through) == 0:
			r.fail(guard.Low, fix, undo, "Everybody might %s it, did %s not keep others out.", l.verb(f.Mode&7), at)
		default:
			r.fail(severity, fix, undo, "Whom %s lets through may %s it: %s.", at, l.verb(f.Mode&7), few(through))
		}
	}
}

// severity is what it is to have a permission that one is not to have.
func (p place) severity(perm uint32) guard.Severity {
	switch {
	case perm&2 != 0:
		return max(p.write, p.read)
	case perm&4 != 0:
		return p.read
	}
	return 0
}

func (p place) verb(perm uint32) string {
	switch {
	case p.socket:
		return "connect to"
	case perm&2 == 0:
		return "read"
	case perm&4 == 0 || p.read == 0:
		return "change"
	}
	return "read and change"
}

func rwx(perm uint32) string {
	b := []byte("---")
	for i, bit := range []uint32{4, 2, 1} {
		if perm&bit != 0 {
			b[i] = "rwx"[i]
		}
	}
	return string(b)
}

func oneOf(first string, more []string) string {
	return strings.Join(append([]string{first}, more...), " or ")
}

// leave takes a user out of a group.
func leave(u guard.User, gid uint32, group string) (fix, undo []string) {
	if u.GID == gid {
		return []string{fmt.Sprintf("# %s has the group %s as his own: give him another with usermod -g.", guard.Show(u.Name), guard.Show(group))},
			[]string{fmt.Sprintf("usermod -g %d -- %s", gid, guard.Quote(u.Name))}
	}
	return []string{"gpasswd -d " + guard.Quote(u.Name) + " " + guard.Quote(group)}, []string{"gpasswd -a " + guard.Quote(u.Name) + " " + guard.Quote(group)}
}
