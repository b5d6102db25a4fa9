package host

import (
	"errors"
	"io/fs"

	"github.com/metalward/metalward/internal/guard"
)

// maasHTTP are the files of MAAS's own nginx, of the packages and of the snap. Source: MAAS's documentation and source (compose_http_config_path).
var maasHTTP = map[guard.Product]string{guard.MAASDeb: "/var/lib/maas/http/regiond.nginx.conf", guard.MAASSnap: "/var/snap/maas/current/http/regiond.nginx.conf"}

// Fronts implements guard.Host.
func (f *Facts) Fronts(p guard.Product) guard.Fronts {
	if known, ok := f.fronts[p]; ok { // a dozen checks ask
		return known
	}
	out := f.haproxy()
	for _, read := range []func() ([]guard.Front, error){f.nginx, f.apache, func() ([]guard.Front, error) {
		if maasHTTP[p] == "" {
			return nil, nil
		}
		return f.maasNginx(maasHTTP[p])
	}} {
		list, err := read()
		out.List, out.Err = append(out.List, list...), errors.Join(out.Err, err)
	}
	if f.fronts == nil {
		f.fronts = map[guard.Product]guard.Fronts{}
	}
	f.fronts[p] = out
	return out
}

// there reports whether a file is there. The error says why that is not known.
func (f *Facts) there(file string) (bool, error) {
	_, err := f.File(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
