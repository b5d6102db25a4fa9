package cli

import (
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/maasapi"
)

// resource is a class of the API with its actions, as commands.
type resource struct {
	name    string
	handler string
	actions []*action
}

// action is a command. It has several rows when MAAS addresses an object in more than one way, such as a VLAN
// by fabric and VID or by its id; the number of arguments tells them apart.
type action struct {
	name string
	rows []*maasapi.Operation
}

// resources makes the commands of the table, in alphabetical order.
func resources() []*resource {
	var list []*resource
	for i := range maasapi.Operations {
		o := &maasapi.Operations[i]
		if o.RawBody {
			continue // a step of "boot-resources create", no command of its own
		}
		name := resourceName(o.Handler)
		at, found := slices.BinarySearchFunc(list, name, func(r *resource, name string) int { return strings.Compare(r.name, name) })
		if !found {
			list = slices.Insert(list, at, &resource{name: name, handler: o.Handler})
		}
		list[at].add(o)
	}
	return list
}

func (r *resource) add(o *maasapi.Operation) {
	name := strings.ReplaceAll(o.Name(), "_", "-")
	at, found := slices.BinarySearchFunc(r.actions, name, func(a *action, name string) int { return strings.Compare(a.name, name) })
	if !found {
		r.actions = slices.Insert(r.actions, at, &action{name: name})
	}
	r.actions[at].rows = append(r.actions[at].rows, o)
}

func findResource(name string) *resource {
	for _, r := range resources() {
		if r.name == name {
			return r
		}
	}
	return nil
}

func (r *resource) find(name string) *action {
	for _, a := range r.actions {
		if a.name == name {
			return a
		}
	}
	return nil
}

// row returns the one that takes so many path parameters, or nil.
func (a *action) row(arguments int) *maasapi.Operation {
	for _, o := range a.rows {
		if len(o.PathParams()) == arguments {
			return o
		}
	}
	return nil
}

// resourceName is a class name as a command: RackControllersHandler is rack-controllers, SSHKeysHandler is
// sshkeys. A word is a run of capitals and the small letters behind it. Source: MAAS API 2.0, describe.
func resourceName(handler string) string {
	s := strings.TrimSuffix(handler, "Handler")
	var words []string
	for i := 0; i < len(s); {
		j := i
		for j < len(s) && isUpper(s[j]) {
			j++
		}
		for j < len(s) && !isUpper(s[j]) {
			j++
		}
		words = append(words, strings.ToLower(s[i:j]))
		i = j
	}
	return strings.Join(words, "-")
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
