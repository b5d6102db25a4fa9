package catalog

import (
	"fmt"
	"slices"

	"github.com/metalward/metalward/internal/guard"
)

// above judges the folders that lead to a product's files: who may write to one can put something else in the file's place.
func above(places map[guard.Product][]place) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, product guard.Product) (list []guard.Observation) {
		type folder struct {
			place
			leads []string
		}
		var order []string
		folders := map[string]*folder{}
		for _, p := range places[product] {
			found, blind := p.at(h)
			list = append(list, blind...)
			for _, l := range found {
				f, err := h.File(l.path)
				if err != nil {
					list = append(list, guard.Blind(l.path, err))
					continue
				}
				for _, d := range f.Folders {
					if known := folders[d.Path]; known != nil { // only who may change all of it may change what leads to it
						known.owners = slices.DeleteFunc(known.owners, func(s string) bool { return !slices.Contains(l.owners, s) })
						known.groups = slices.DeleteFunc(known.groups, func(s string) bool { return !slices.Contains(l.groups, s) })
						known.write = max(known.write, l.read, l.write)
						known.leads = append(known.leads, l.path)
						continue
					}
					order = append(order, d.Path)
					folders[d.Path] = &folder{place{owners: slices.Clone(l.owners), groups: slices.Clone(l.groups), write: max(l.read, l.write)}, []string{l.path}}
				}
			}
		}
		who := peopleOf(h)
		for _, at := range order {
			known := folders[at]
			f, err := h.File(at)
			if err != nil {
				list = append(list, guard.Blind(at, err))
				continue
			}
			r := &report{Observation: guard.Observation{Subject: at, Evidence: []string{
				fmt.Sprintf("Mode %04o, owner %s, group %s.", f.Mode, who.user(f.UID), who.group(f.GID))}}}
			known.mode = f.Mode &^ 0o022
			if f.Mode&guard.Sticky != 0 { // others may add to it, but replace only what is theirs: unlink(2), EPERM
				known.mode |= 0o022
				f.Mode &^= 0o022
				f.Group &^= 2
			}
			located{known.place, at}.grants(r, f, who)
			if r.State == guard.Fail {
				r.Evidence = append(r.Evidence, "It leads to "+few(known.leads)+".")
			}
			list = append(list, r.done())
		}
		return list
	}
}

// few names some of many.
func few(paths []string) string {
	const most = 5
	var text string
	for i, p := range paths {
		if i == most {
			return fmt.Sprintf("%s and %d more", text, len(paths)-most)
		}
		if i > 0 {
			text += ", "
		}
		text += guard.Show(p)
	}
	return text
}
