package host_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/guard"
)

func TestLeaks(t *testing.T) {
	key := strings.Repeat("a", 18) + ":" + strings.Repeat("b", 18) + ":" + strings.Repeat("c", 32)
	for line, want := range map[string]string{
		"psql postgres://maas:hunter2@db/maas":                                        "a password in the URL of a database",
		"maas init region --database-uri 'postgresql://m:p4ss@db/maas'":               "a password in the URL of a database",
		"psql postgres://maas@db/maas":                                                "",
		"psql postgres://maas:$PASS@db/maas":                                          "",
		"sudo maas init rack --maas-url http://r/MAAS --secret 00112233445566778899":  "the secret that racks join with",
		"maas-rack register --url http://r --secret=00112233445566778899aabbccddeeff": "the secret that racks join with",
		"maas init rack --secret":                                                     "",
		"maas login admin http://r/MAAS " + key:                                       "an API key of MAAS",
		"maas login admin http://r/MAAS -":                                            "",
		"maas createadmin --username a --password hunter2 --email a@b":                "a password of MAAS",
		"maas createadmin --username a --password --email a@b":                        "",
		"PGPASSWORD=x psql":                                                           "a password of PostgreSQL",
		"PGPASSWORD=$X psql":                                                          "",
		"ALTER USER maas PASSWORD 'x';":                                               "a password of a role of PostgreSQL",
		"ALTER USER maas PASSWORD NULL;":                                              "",
		"export VAULT_TOKEN=hvs.x":                                                    "a token of Vault",
		"vault login hvs." + strings.Repeat("x", 24):                                  "a token of Vault",
		"ipmitool -I lanplus -H b -U a -P hunter2 power on":                           "a password of a BMC",
		"ipmitool -I lanplus -H b -U a -f /root/pw power on":                          "",
		"ls -l": "",
	} {
		list, err := facts(t, guard.Entry{Path: "/x", Content: "first\n" + strings.ReplaceAll(line, " ", "\x00") + "\n"}, guard.Entry{Path: "/y", Content: line}).Leaks("/x")
		got := ""
		if len(list) > 0 {
			got = list[0].What
		}
		if err != nil || len(list) > 1 || got != want || got != "" && list[0].Line != 2 {
			t.Errorf("%q: got %+v, %v, want %q", line, list, err, want)
		}
	}
	list, err := facts(t, guard.Entry{Path: "/x", Content: strings.Repeat("PGPASSWORD=x\n", 1000)}).Leaks("/x")
	if err != nil || len(list) != 50 {
		t.Errorf("got %d, %v", len(list), err)
	}
}

func TestMAASConfig(t *testing.T) {
	c, err := facts(t, guard.Entry{Path: "/x", Content: "database_host: 'db'\ndatabase_pass: hunter2\nvault_secret_id: x\nvault_url: https://v:8200\nport: 5432\nlist: [a]\nnone:\n"}).MAASConfig("/x")
	if err != nil || len(c.Values) != 5 || c.Values["database_host"] != "db" || c.Values["database_pass"] != guard.SecretSet || c.Values["vault_secret_id"] != guard.SecretSet || c.Values["port"] != "5432" {
		t.Errorf("got %v, %v", c.Values, err)
	}
	for _, bad := range []string{"- a\n", "a: b: hunter2\n", "\x00", "database_pass: 'hunter2"} {
		if c, err := facts(t, guard.Entry{Path: "/x", Content: bad}).MAASConfig("/x"); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, %v", bad, c, err)
		}
	}
}

func FuzzMAASConfig(f *testing.F) {
	f.Add("database_pass: x\n")
	f.Fuzz(func(t *testing.T, text string) {
		h := facts(t, guard.Entry{Path: "/x", Content: text})
		_, _ = h.MAASConfig("/x") // an error is an answer
		if _, err := h.Leaks("/x"); err != nil && len(text) < 1<<19 {
			t.Error(err)
		}
	})
}

// What Leaks finds in a line, LogLeaks finds in a log; the cheap look before it loses nothing.
func TestLogLeaks(t *testing.T) {
	key := strings.Repeat("a", 18) + ":" + strings.Repeat("b", 18) + ":" + strings.Repeat("c", 32)
	for _, line := range []string{"sudo: ann : COMMAND=/usr/bin/maas login admin http://h/MAAS " + key, key, "x:y " + key, "maas init rack --secret " + strings.Repeat("0", 32), "psql postgres://u:p@h/d",
		"PGPASSWORD=x psql", "STATEMENT: ALTER ROLE maas PASSWORD 'x'", "alter user maas with password 'x'", "VAULT_TOKEN=x vault read", "token hvs." + strings.Repeat("a", 24),
		"ipmitool -H h -U u -P x power on", "maas createadmin --password x"} {
		f := facts(t, guard.Entry{Path: "/x", Content: "first\n" + line + "\nlast"})
		a, err1 := f.Leaks("/x")
		b, err2 := f.LogLeaks("/x")
		if err1 != nil || err2 != nil || len(a) == 0 || !slices.Equal(a, b) {
			t.Errorf("%s: Leaks %v %v, LogLeaks %v %v", line, a, err1, b, err2)
		}
	}
	if _, err := facts(t).LogLeaks(guard.Journal); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no journal: got %v", err)
	}
	if _, err := facts(t, guard.Entry{Path: "/var/log/journal", Folder: true}).LogLeaks(guard.Journal); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a copy's journal: got %v", err)
	}
}
