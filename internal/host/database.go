package host

import (
	"errors"
	"fmt"

	"gopkg.in/yaml.v3"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/secret"
)

// regiond is where a region's configuration is.
var regiond = map[guard.Product]string{guard.MAASDeb: "/etc/maas/regiond.conf", guard.MAASSnap: "/var/snap/maas/current/regiond.conf"}

// DatabaseSettings are how a region reaches its database.
type DatabaseSettings struct {
	Host, Port, Name, User string
	Password               secret.Value
	SSLMode                string // as libpq has it; "" where it is not set, as before MAAS 3.7.4
}

// DatabaseSettings reads them out of regiond.conf, of this very host alone: what a copy calls localhost is elsewhere. Errors: fs.ErrNotExist
// where the product has no region here. Source: MAAS's src/maasserver/config.py; its
// documentation of security hardening for database_sslmode.
func (f *Facts) DatabaseSettings(p guard.Product) (s DatabaseSettings, err error) {
	text, err := f.Read(regiond[p])
	if err != nil {
		return s, err
	}
	if live, ok := f.src.(Live); !ok || !live.Running() {
		return s, errors.New("the database that a copy of a region's files names is not asked: run it on the region")
	}
	var values struct {
		Host string    `yaml:"database_host"`
		Port yaml.Node `yaml:"database_port"` // a number, or a word
		Name string    `yaml:"database_name"`
		User string    `yaml:"database_user"`
		Pass string    `yaml:"database_pass"`
		TLS  string    `yaml:"database_sslmode"`
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return s, fmt.Errorf("%s is not of the form that is known", regiond[p]) // the library's error may quote the password
	}
	return DatabaseSettings{values.Host, values.Port.Value, values.Name, values.User, secret.FromString(values.Pass), values.TLS}, nil
}

// Told takes in what a product's database or API has said, or why it said nothing.
func (f *Facts) Told(p guard.Product, d guard.Database, err error) {
	if f.database == nil {
		f.database = map[guard.Product]guard.Known[guard.Database]{}
	}
	f.database[p] = guard.Known[guard.Database]{Value: d, Err: err}
}

// Database implements guard.Host.
func (f *Facts) Database(p guard.Product) (guard.Database, error) {
	if s, ok := f.src.(interface {
		Database(guard.Product) (guard.Database, error)
	}); ok {
		return s.Database(p)
	}
	told, ok := f.database[p]
	if !ok && p == guard.Metalward {
		return guard.Database{}, guard.ErrNoAPI
	}
	if !ok {
		return guard.Database{}, guard.ErrNoDatabase
	}
	return told.Value, told.Err
}
