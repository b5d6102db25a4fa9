package guard

import (
	"errors"
	"time"
)

// ErrNoDatabase means that nobody has asked to have MAAS's database read, nor its API; ErrNoAPI likewise of Metalward's API.
var (
	ErrNoDatabase = errors.New("MAAS's database is read only when it is asked for: run it on a region, with --database, or with --api and --credentials, which tell less")
	ErrNoAPI      = errors.New("the API of Metalward is asked only when it is named: run it on a region, with --api and --credentials")
)

// Database is what MAAS's own database says, or the API of MAAS or Metalward. No secret is in it: of passwords the kind of hash, of keys their
// number, of secrets their names. Each part may be unknown by itself.
type Database struct {
	Where     string // such as maasdb at db.example, port 5432, or the API at maas.example:5443
	SSLMode   string // by which MAAS connects
	Server    Known[int]
	Encrypted Known[bool] // whether this program's connection was, made as MAAS makes its own
	People    Known[[]Person]
	Settings  Known[map[string]string] // those of maasserver_config that checks ask for, as JSON
	Secrets   Known[[]StoredSecret]
	External  Known[ExternalAuth]
	Audit     Known[[]Audited]
	Roles     Known[[]DatabaseRole]
	// Why of people is not known when they came last, how their passwords are kept, and which keys they have; nil where it is.
	Logins, Hashes, Keys error
}

// Known is a value, or why it is not known.
type Known[T any] struct {
	Value T
	Err   error
}

// Person is a user of MAAS's or Metalward's that is not one of its own.
type Person struct {
	Name       string
	Admin      bool
	Active     bool
	Local      bool      // else somebody else's service knows the password
	LastLogin  time.Time // at the pages; zero if never
	Joined     time.Time
	Hash       string // of the password: pbkdf2_sha256 and the like; "" for none that works, "other" for a form that is not known
	Iterations int
	Keys       int       // of the API; of Metalward those that never expire
	OldestKey  time.Time // when it was made; zero where there is none

	HasPassword bool // and Factors: of Metalward alone
	Factors     int  // second ones
}

// StoredSecret is a secret that is in the database in clear.
type StoredSecret struct {
	Path    string // such as global/rpc-shared
	Changed time.Time
}

// ExternalAuth is where people's passwords are known if not to MAAS.
type ExternalAuth struct {
	URL        string // of Candid
	AdminGroup string
	RBAC       string // its URL
}

// Audited is how often somebody who is an administrator did something by another way than the pages, in the days that were looked at.
type Audited struct {
	Name string
	Way  string // API or CLI
	Days int
	N    int
	Last time.Time
}

// DatabaseRole is a role of PostgreSQL's.
type DatabaseRole struct {
	Name  string
	Super bool
	Login bool
	Own   bool   // MAAS's
	Hash  string // SCRAM-SHA-256, md5, none or other; "" where who asked may not know
}
