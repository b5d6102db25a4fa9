package guard

// MAASConfig is what regiond.conf says, without the secrets in it.
type MAASConfig struct {
	File   string
	Values map[string]string // by name; SecretSet for secrets
}

// SecretSet stands for a secret that is set.
const SecretSet = "(set)"

// Leak is a secret that stands where others may read it. What it is stays there.
type Leak struct {
	Line int    // in a file, from 1; 0 where there are none
	What string // in words, such as "a password in the URL of a database"
}

// Journal names the host's journal where a path of a log is asked for.
const Journal = "the journal"

// Profile is a profile of the maas command, without its key.
type Profile struct{ Name, URL string }
