package waf

// exclusion takes rules away: what MAAS's clients send every day matches them.
type exclusion struct {
	rules string // an id, or a range of them
	why   string
}

var exclusions = []exclusion{
	{"920160-920181", "net/http reads how long a body is, and refuses what is ambiguous; the rules are not shown the headers that say so"},
	{"920350", "a MAAS is reached by its address as often as by a name"},
	{"931100", "servers inside are named by their address: BMCs, directories, webhooks. What the region may reach is package egress's to say"},
	{"932250", "a name that is a command's is a name: hosts, tags and pools are called docker-1, ansible or svn. No field is run by a shell"},
	{"932260", "likewise"},
	{"942220", "an image of 2 or 4 GiB has a size that breaks other servers; numbers are parsed with their range"},
}
