package catalog

import (
	"path"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// samples are hosts with one file of a place each: as it should be, and wrong in each way that matters.
func samples(places byProduct) (list []guard.Sample) {
	for _, product := range guard.Products {
		for _, p := range places[product] {
			at := strings.NewReplacer("[0-9]", "7", "*", "x").Replace(p.paths[0])
			good := guard.Entry{Path: at, Mode: p.mode, Owner: owner(p), Content: "x", Socket: p.socket}
			if !path.IsAbs(at) {
				good.Path, good.Owner = "/home/alice/"+at, "alice:alice"
			}
			add := func(name string, want guard.State, change func(*guard.Entry), more ...guard.Entry) {
				e := good
				change(&e)
				list = append(list, guard.Sample{Name: at + ": " + name, Product: product, Want: want, Tree: append([]guard.Entry{e}, more...)})
			}
			add("as it should be", guard.Pass, func(*guard.Entry) {})
			add("narrower still", guard.Pass, func(e *guard.Entry) { e.Mode = 0o400 })
			add("everybody may write", guard.Fail, func(e *guard.Entry) { e.Mode |= 0o666 })
			add("it is another's", guard.Fail, func(e *guard.Entry) { e.Owner = "bob:root" })
			add("an access list lets bob write", guard.Fail, func(e *guard.Entry) { e.ACL = "user:bob:rw-" })
			add("it is behind a link, and open", guard.Fail, func(e *guard.Entry) {
				e.Path, e.Mode = "/srv/elsewhere", 0o666
			}, guard.Entry{Path: good.Path, Link: "/srv/elsewhere"})
			add("its folder may not be looked at", guard.Unchecked, func(*guard.Entry) {}, guard.Entry{Path: path.Dir(good.Path), Folder: true, Mode: 0o700, Hidden: true})
			if p.read != 0 {
				add("everybody may read", guard.Fail, func(e *guard.Entry) { e.Mode |= 0o004 })
				add("another group may read", guard.Fail, func(e *guard.Entry) { e.Owner, e.Mode = "root:staff", 0o640 })
			}
		}
	}
	return list
}

func owner(p place) string {
	user, group := "root", "root"
	if len(p.owners) > 0 {
		user = p.owners[0]
	}
	if len(p.groups) > 0 {
		group = p.groups[0]
	}
	return user + ":" + group
}

// folderSamples are hosts whose secret files are closed and whose folders are not.
var folderSamples = []guard.Sample{
	{Name: "folders of root", Product: guard.MAASDeb, Want: guard.Pass, Tree: []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "root:maas"}}},
	{Name: "a folder of MAAS with its own secret", Product: guard.MAASDeb, Want: guard.Pass, Tree: []guard.Entry{
		{Path: "/var/lib/maas", Folder: true, Owner: "maas:maas"}, {Path: "/var/lib/maas/secret", Mode: 0o600, Owner: "maas:maas"}}},
	{Name: "a folder of MAAS with what root alone may write", Product: guard.MAASDeb, Want: guard.Fail, Tree: []guard.Entry{
		{Path: "/etc/maas", Folder: true, Owner: "maas:maas"}, {Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "root:maas"}}},
	{Name: "a folder for all", Product: guard.MAASDeb, Want: guard.Fail, Tree: []guard.Entry{
		{Path: "/etc/maas", Folder: true, Mode: 0o777}, {Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "root:maas"}}},
	{Name: "bob is in the group that may write", Product: guard.MAASDeb, Want: guard.Fail, Tree: []guard.Entry{
		{Path: "/etc/group", Content: "root:x:0:\nmaas:x:121:bob\n"}, {Path: "/var/lib/maas", Folder: true, Mode: 0o775, Owner: "maas:maas"},
		{Path: "/var/lib/maas/secret", Mode: 0o600, Owner: "maas:maas"}}},
	{Name: "an access list of a folder far above", Product: guard.MAASDeb, Want: guard.Fail, Tree: []guard.Entry{
		{Path: "/var", Folder: true, ACL: "user:bob:rwx"}, {Path: "/var/lib/maas/secret", Mode: 0o600, Owner: "maas:maas"}}},
	{Name: "folders of root", Product: guard.MAASSnap, Want: guard.Pass, Tree: []guard.Entry{
		{Path: "/var/snap/maas/current", Link: "41649"}, {Path: "/var/snap/maas/41649/regiond.conf", Mode: 0o640}}},
	{Name: "the folder behind the link is for all", Product: guard.MAASSnap, Want: guard.Fail, Tree: []guard.Entry{
		{Path: "/var/snap/maas/current", Link: "41649"}, {Path: "/var/snap/maas/41649", Folder: true, Mode: 0o777},
		{Path: "/var/snap/maas/41649/regiond.conf", Mode: 0o640}}},
	{Name: "a folder of root that all may add to", Product: guard.MAASSnap, Want: guard.Pass, Tree: []guard.Entry{
		{Path: "/var/snap", Folder: true, Mode: 0o1777}, {Path: "/var/snap/maas/current/regiond.conf", Mode: 0o640}}},
	{Name: "metalward's folder", Product: guard.Metalward, Want: guard.Pass, Tree: []guard.Entry{
		{Path: "/var/lib/metalward", Folder: true, Mode: 0o700, Owner: "metalward:metalward"}, {Path: "/var/lib/metalward/root.key", Mode: 0o600, Owner: "metalward:metalward"}}},
	{Name: "a home's group", Product: guard.Metalward, Want: guard.Pass, Tree: []guard.Entry{
		{Path: "/home/bob", Folder: true, Mode: 0o775, Owner: "bob:bob"}, {Path: "/home/bob/.config/metalward/admin.json", Mode: 0o600, Owner: "bob:bob"}}},
	{Name: "a home's folder is staff's", Product: guard.Metalward, Want: guard.Fail, Tree: []guard.Entry{
		{Path: "/home/bob", Folder: true, Mode: 0o775, Owner: "bob:staff"}, {Path: "/home/bob/.config/metalward/admin.json", Mode: 0o600, Owner: "bob:bob"}}},
}
