package guard

// Unit is a service of systemd's as its files have it, drop-ins applied.
type Unit struct {
	Name    string
	File    string   // "" where only drop-ins are there
	DropIns []string // in the order in which they count
	Masked  bool     // nobody can start it
	// Service has of the settings of [Service] those that were assigned last, but for lists (CapabilityBoundingSet), which have each assignment
	// since the last that was empty.
	Service map[string][]string
}

// Last is what a setting is; "" where nothing sets it.
func (u Unit) Last(key string) string {
	if list := u.Service[key]; len(list) > 0 {
		return list[len(list)-1]
	}
	return ""
}
