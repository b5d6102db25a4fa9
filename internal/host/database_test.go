package host_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/host/hosttest"
)

// hereAndNow is a host of data that says it is this one.
type hereAndNow struct{ hosttest.Memory }

func (hereAndNow) Running() bool                          { return true }
func (hereAndNow) Run(string, ...string) ([]byte, error)  { return nil, errors.New("no program") }
func (hereAndNow) Interfaces() ([]guard.Interface, error) { return nil, nil }

func TestDatabaseSettings(t *testing.T) {
	of := func(text string) hosttest.Memory {
		m, err := hosttest.New([]guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Content: text}})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	const good = "database_host: db.example\ndatabase_port: 5433\ndatabase_name: maasdb\ndatabase_user: maas\ndatabase_pass: hunter2\ndatabase_sslmode: verify-full\nmaas_url: http://x\n"
	s, err := host.New(hereAndNow{of(good)}).DatabaseSettings(guard.MAASDeb)
	if err != nil || s.Host != "db.example" || s.Port != "5433" || s.Name != "maasdb" || s.User != "maas" || s.SSLMode != "verify-full" || s.Password.RevealString() != "hunter2" || strings.Contains(fmt.Sprintf("%+v", s), "hunter2") {
		t.Errorf("got %+v, %v", s, err)
	}
	if s, err := host.New(hereAndNow{of("database_port: '5434'\n")}).DatabaseSettings(guard.MAASDeb); err != nil || s.Port != "5434" || !s.Password.Empty() {
		t.Errorf("got %+v, %v", s, err)
	}
	for name, c := range map[string]struct {
		src     host.Source
		product guard.Product
		says    string
	}{
		"a copy":       {of(good), guard.MAASDeb, "run it on the region"},
		"a rack":       {hereAndNow{of(good)}, guard.MAASSnap, fs.ErrNotExist.Error()},
		"no YAML":      {hereAndNow{of("database_pass: 'hunter2")}, guard.MAASDeb, "not of the form"},
		"another form": {hereAndNow{of("database_host: [hunter2]\n")}, guard.MAASDeb, "not of the form"},
	} {
		if s, err := host.New(c.src).DatabaseSettings(c.product); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %+v, %v, want %q", name, s, err, c.says)
		}
	}
	f := host.New(of(good))
	if _, err := f.Database(guard.MAASDeb); !errors.Is(err, guard.ErrNoDatabase) {
		t.Errorf("got %v, want %v", err, guard.ErrNoDatabase)
	}
	f.Told(guard.MAASDeb, guard.Database{Where: "here"}, nil)
	if d, err := f.Database(guard.MAASDeb); err != nil || d.Where != "here" {
		t.Errorf("got %+v, %v", d, err)
	}
}

func FuzzDatabaseSettings(f *testing.F) {
	f.Add("database_host: db\ndatabase_port: 5432\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := hosttest.New([]guard.Entry{{Path: "/etc/maas/regiond.conf", Content: text}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = host.New(hereAndNow{m}).DatabaseSettings(guard.MAASDeb) // it is not to panic
	})
}
