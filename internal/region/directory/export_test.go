package directory

// ByName is the filter for a name.
func (d Config) ByName(name string) string { return d.byName(name) }
