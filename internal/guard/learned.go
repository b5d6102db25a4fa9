package guard

import "time"

// Trait is a kind of what may be learned of a host.
type Trait string

// The traits. An item of each is a line of text, the same for the same thing.
const (
	TraitListeners Trait = "listeners" // what listens: protocol, address, port, process
	TraitOpenings  Trait = "openings"  // of that, what strangers reach
	TraitAccounts  Trait = "accounts"  // users, with their numbers
	TraitGroups    Trait = "groups"    // who is in which group
	TraitSudo      Trait = "sudo"      // who may become whom
	TraitServices  Trait = "services"  // units that are started
)

// Traits are all of them.
var Traits = []Trait{TraitListeners, TraitOpenings, TraitAccounts, TraitGroups, TraitSudo, TraitServices}

// Learned is what a good host had, for others, and for itself later, to be compared with. A trait that was not known is not in it.
type Learned struct {
	Format int                `json:"format"` // of the file: 1
	Time   time.Time          `json:"time"`
	Traits map[Trait][]string `json:"traits"` // in order
}
