package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/guard"
)

var (
	maasUsers     = guard.Reference{Title: "MAAS documentation, About MAAS security: users", URL: "https://maas.io/docs/about-maas-security"}
	djangoHashes  = guard.Reference{Title: "Django documentation, Password management in Django", URL: "https://docs.djangoproject.com/en/stable/topics/auth/passwords/"}
	owaspHashes   = guard.Reference{Title: "OWASP Cheat Sheet Series, Password Storage", URL: "https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html"}
	cornucopia    = guard.Reference{Title: "OWASP Cornucopia, Session management 6", URL: "https://cornucopia.dotnetlab.eu/session-management/6"}
	maasHardening = guard.Reference{Title: "MAAS documentation, Security hardening reference", URL: "https://canonical.com/maas/docs/3.7/reference/configuration-guides/security-hardening/"}
	pgAuthID      = guard.Reference{Title: "PostgreSQL documentation, pg_authid", URL: "https://www.postgresql.org/docs/current/catalog-pg-authid.html"}
)

// What is judged. Where no source has a number it is our own judgement, and the evidence has the value.
const (
	manyAdmins    = 5                    // administrators that an instance may have before it is asked whether all have to be
	absent        = 90 * 24 * time.Hour  // without a login
	oldKey        = 365 * 24 * time.Hour // of the API, and of the shared secret
	longSession   = 12 * time.Hour       // Cornucopia, named above: "after 8 or 12 hours"
	pbkdf2Enough  = 600_000              // iterations: OWASP, named above, for PBKDF2-HMAC-SHA256
	pbkdf2TooFew  = 100_000              // far fewer than any supported version of MAAS writes
	namesToldMost = 10
)

// regionFiles are what a region has and a rack has not, the first of them as a rule.
var regionFiles = map[guard.Product][]string{guard.MAASDeb: {regiond[guard.MAASDeb]}, guard.MAASSnap: {regiond[guard.MAASSnap]},
	guard.Metalward: under(ourState, "root.key", "root.key.tpm", "root.key.vault")}

// Region looks for a region of the product. Errors: fs.ErrNotExist where there is none, others where that could not be found out.
func Region(h guard.Host, p guard.Product) (err error) {
	for _, at := range regionFiles[p] {
		if _, err = h.File(at); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// inDatabase judges what MAAS's database says, or what an API does, on a host with a region.
func inDatabase(judge func(h guard.Host, d guard.Database) []guard.Observation) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, p guard.Product) []guard.Observation {
		if err := Region(h, p); err != nil {
			return beside(regionFiles[p][0], err)
		}
		d, err := h.Database(p)
		switch {
		case err != nil && p == guard.Metalward:
			return []guard.Observation{guard.Blind("Metalward's API", err)}
		case err != nil:
			return []guard.Observation{guard.Blind("MAAS's database", err)}
		}
		return judge(h, d)
	}
}

// ofPeople judges MAAS's users.
func ofPeople(judge func(h guard.Host, d guard.Database, people []guard.Person) []guard.Observation) func(guard.Host, guard.Product) []guard.Observation {
	return inDatabase(func(h guard.Host, d guard.Database) []guard.Observation {
		if d.People.Err != nil {
			return []guard.Observation{guard.Blind("users in "+d.Where, d.People.Err)}
		}
		return judge(h, d, d.People.Value)
	})
}

// fewOf lists names, not all of many.
func fewOf(names []string) string {
	if len(names) > namesToldMost {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:namesToldMost], ", "), len(names)-namesToldMost)
	}
	return strings.Join(names, ", ")
}

func administrators(_ guard.Host, d guard.Database, people []guard.Person) []guard.Observation {
	var admins, others []string
	for _, p := range people {
		switch {
		case p.Active && p.Admin:
			admins = append(admins, p.Name)
		case p.Active:
			others = append(others, p.Name)
		}
	}
	subject := "administrators in " + d.Where
	fix, undo := "# Settings > Users: take the administrator's rights from those who do not need them (since 3.8: the group Administrators).", "# Make the user an administrator again."
	switch {
	case len(admins) > manyAdmins:
		return []guard.Observation{failed(guard.Low, subject, fix, undo, "%d of %d active users are administrators: %s. See whether all have to be.", len(admins), len(admins)+len(others), fewOf(admins))}
	case len(admins) > 2 && len(others) == 0:
		return []guard.Observation{failed(guard.Low, subject, fix, undo, "All %d active users are administrators: %s.", len(admins), fewOf(admins))}
	}
	return []guard.Observation{passed(subject, "%d of %d active users are administrators: %s.", len(admins), len(admins)+len(others), fewOf(admins))}
}

// usualNames are those that are tried first: of MAAS's own documentation and of the systems around it.
var usualNames = []string{"admin", "administrator", "root", "maas", "ubuntu", "user", "test", "guest", "demo", "default"}

func defaultNames(_ guard.Host, d guard.Database, people []guard.Person) (list []guard.Observation) {
	for _, p := range people {
		if !p.Active || !p.Local || !slices.Contains(usualNames, strings.ToLower(p.Name)) {
			continue
		}
		severity, what := guard.Low, "a user"
		if p.Admin {
			severity, what = guard.Medium, "an administrator"
		}
		list = append(list, failed(severity, "user "+p.Name, "# Settings > Users: make a user of each person's own name, see that nothing uses this one's API keys, hand its machines over, and delete it.", "# Make the user again.",
			"%s is %s in %s: a name that is tried first, and that says nothing of who acted.", p.Name, what, d.Where))
	}
	if len(list) == 0 {
		list = append(list, passed("users in "+d.Where, "None of the %d has a name that is tried first (%s, …).", len(people), strings.Join(usualNames[:4], ", ")))
	}
	return list
}

func inactive(h guard.Host, d guard.Database, people []guard.Person) (list []guard.Observation) {
	if d.Logins != nil {
		return []guard.Observation{guard.Blind("users in "+d.Where, d.Logins)}
	}
	for _, p := range people {
		last, what := p.LastLogin, "last came to the pages on"
		if last.IsZero() {
			last, what = p.Joined, "never came to the pages, and is there since"
		}
		if !p.Active || h.Now().Sub(last) < absent {
			continue
		}
		severity := guard.Low
		if p.Admin {
			severity = guard.Medium
		}
		list = append(list, failed(severity, "user "+p.Name, "# Settings > Users: see that nothing uses the API keys, hand the machines over, and delete the user.", "# Make the user again.",
			"%s %s %s; the API keys, %d, do not count as coming.", p.Name, what, last.UTC().Format(time.DateOnly), p.Keys))
	}
	if len(list) == 0 {
		list = append(list, passed("users in "+d.Where, "All %d active ones came within %d days.", len(people), int(absent.Hours()/24)))
	}
	return list
}

func apiKeys(h guard.Host, d guard.Database, people []guard.Person) (list []guard.Observation) {
	if d.Keys != nil {
		return []guard.Observation{guard.Blind("API keys in "+d.Where, d.Keys)}
	}
	keys := 0
	for _, p := range people {
		if keys += p.Keys; p.Keys == 0 || h.Now().Sub(p.OldestKey) < oldKey {
			continue
		}
		severity := guard.Low
		if p.Admin {
			severity = guard.Medium
		}
		list = append(list, failed(severity, "API keys of "+p.Name, "# At the user's own page: make a new key, give it to what uses the old one, and delete the old one.", "# A key that was deleted cannot be had back: make another.",
			"%s has %d that never expire; the oldest is of %s. A key of MAAS's may do all that its user may.", p.Name, p.Keys, p.OldestKey.Format(time.DateOnly)))
	}
	if len(list) == 0 {
		list = append(list, passed("API keys in "+d.Where, "None of the %d that never expire is older than a year.", keys))
	}
	return list
}

func passwordHashes(_ guard.Host, d guard.Database, people []guard.Person) (list []guard.Observation) {
	if d.Hashes != nil {
		return []guard.Observation{guard.Blind("passwords in "+d.Where, d.Hashes)}
	}
	strong := []string{"argon2", "bcrypt_sha256", "scrypt", "pbkdf2_sha256"}
	n := 0
	for _, p := range people {
		if !p.Active || !p.Local || p.Hash == "" {
			continue
		}
		n++
		subject := "password of " + p.Name
		fix := "# Upgrade MAAS, and have " + guard.Show(p.Name) + " log in once: Django then writes the hash anew, as its own version does."
		switch {
		case p.Hash == "other" || !slices.Contains(strong, p.Hash):
			list = append(list, failed(guard.Medium, subject, fix, "# Nothing is to be taken back.", "Its hash is of the kind %q, which is weak or not known.", p.Hash))
		case p.Hash == "pbkdf2_sha256" && p.Iterations < pbkdf2TooFew:
			list = append(list, failed(guard.Medium, subject, fix, "# Nothing is to be taken back.", "Its hash is PBKDF2 of %d iterations; %d are recommended. It was not written anew for years.", p.Iterations, pbkdf2Enough))
		case p.Hash == "pbkdf2_sha256" && p.Iterations < pbkdf2Enough:
			list = append(list, failed(guard.Low, subject, fix, "# Nothing is to be taken back.", "Its hash is PBKDF2 of %d iterations; %d are recommended.", p.Iterations, pbkdf2Enough))
		}
	}
	if len(list) == 0 {
		list = append(list, passed("passwords in "+d.Where, "All %d are kept as hashes of a recommended kind.", n))
	}
	return list
}

// secondFactors judges those of Metalward's administrators who log in with a password of its own: of others their identity provider sees to it.
func secondFactors(_ guard.Host, d guard.Database, people []guard.Person) (list []guard.Observation) {
	n := 0
	for _, p := range people {
		if !p.Active || !p.Admin || !p.HasPassword {
			continue
		}
		if n++; p.Factors == 0 {
			list = append(list, failed(0, "user "+p.Name, "# "+guard.Show(p.Name)+" adds a second factor at the own page, Security; metalward PROFILE maas set-config name=mfa_required_roles value=Administrator has everybody of that role do so.",
				"# Take it away at the same page; set mfa_required_roles to what it was.", "%s is an administrator in %s and logs in with a password alone.", p.Name, d.Where))
		}
	}
	if len(list) == 0 {
		list = append(list, passed("administrators in "+d.Where, "All %d who log in with a password have a second factor.", n))
	}
	return list
}

func externalAuth(_ guard.Host, d guard.Database) []guard.Observation {
	e := d.External
	subject := "external authentication in " + d.Where
	switch {
	case e.Err != nil:
		return []guard.Observation{guard.Blind(subject, e.Err)}
	case e.Value.RBAC != "":
		return []guard.Observation{passed(subject, "The RBAC service %s says who may do what.", e.Value.RBAC)}
	case e.Value.URL == "":
		return nil // MAAS knows its users' passwords itself
	case e.Value.AdminGroup == "":
		return []guard.Observation{failed(guard.High, subject, "maas configauth --candid-admin-group GROUP # which logs everybody out", "maas configauth --candid-admin-group none", "People log in at %s, and no group of theirs is that of administrators: whoever logs in is one.", e.Value.URL)}
	}
	return []guard.Observation{passed(subject, "People log in at %s; administrators are those of the group %s.", e.Value.URL, e.Value.AdminGroup)}
}

func sessionLength(_ guard.Host, d guard.Database) []guard.Observation {
	subject := "session_length in " + d.Where
	if d.Settings.Err != nil {
		return []guard.Observation{guard.Blind(subject, d.Settings.Err)}
	}
	text, set := d.Settings.Value["session_length"]
	if !set {
		text = "1209600" // MAAS's default: src/maasserver/models/config.py
	}
	seconds, err := strconv.Atoi(text)
	if err != nil {
		return []guard.Observation{guard.Blind(subject, fmt.Errorf("%.40q is no number of seconds", text))}
	}
	if seconds > int(longSession.Seconds()) {
		undo := "# maas PROFILE maas set-config name=session_length value=" + strconv.Itoa(seconds)
		return []guard.Observation{failed(guard.Low, subject, fmt.Sprintf("# maas PROFILE maas set-config name=session_length value=%d, which logs everybody out; of Metalward the program is metalward, and nobody is logged out.", int(longSession.Seconds())), undo,
			"Who has logged in once stays so for %.1f hours; a cookie that is lost opens it as long.", float64(seconds)/3600)}
	}
	return []guard.Observation{passed(subject, "Sessions end after %d seconds.", seconds)}
}

func outsidePages(_ guard.Host, d guard.Database) (list []guard.Observation) {
	subject := "audit events in " + d.Where
	if d.Audit.Err != nil {
		return []guard.Observation{guard.Blind(subject, d.Audit.Err)}
	}
	for _, a := range d.Audit.Value {
		list = append(list, failed(guard.Low, "user "+a.Name, "# See with maas PROFILE events query level=AUDIT owner="+guard.Show(a.Name)+" what it was. What a program does is to have a user of its own, with the rights that it needs.", "# Nothing is to be taken back.",
			"%s, an administrator, did %d things by the %s in the last %d days, the last on %s; the guide would have the pages used.", a.Name, a.N, a.Way, a.Days, a.Last.UTC().Format(time.DateOnly)))
	}
	if len(list) == 0 {
		list = append(list, passed(subject, "No administrator's action of the last 90 days came by the API or the command line."))
	}
	return list
}

// inClear judges what the database has of secrets.
func inClear(_ guard.Host, d guard.Database) []guard.Observation {
	subject := "secrets in " + d.Where
	if d.Secrets.Err != nil {
		return []guard.Observation{guard.Blind(subject, d.Secrets.Err)}
	}
	kinds := map[string]int{}
	var order []string
	for _, s := range d.Secrets.Value {
		kind := s.Path
		if parts := strings.Split(s.Path, "/"); len(parts) == 3 { // bmc/17/power-parameters
			kind = parts[0] + "/…/" + parts[2]
		}
		if kinds[kind]++; kinds[kind] == 1 {
			order = append(order, kind)
		}
	}
	for i, kind := range order {
		order[i] = fmt.Sprintf("%s (%d)", kind, kinds[kind])
	}
	vault := d.Settings.Err == nil && d.Settings.Value["vault_enabled"] == "true"
	switch {
	case len(order) == 0 && d.Settings.Err != nil:
		return []guard.Observation{guard.Blind(subject, d.Settings.Err)}
	case len(order) == 0:
		return []guard.Observation{passed(subject, "There are none in clear. Vault enabled: %v.", vault)}
	case vault:
		return []guard.Observation{failed(guard.Medium, subject, "maas config-vault migrate", "# MAAS has no way back from Vault: take a backup of the database before.", "Vault is enabled, and these are in the database in clear still: %s.", fewOf(order))}
	}
	return []guard.Observation{failed(guard.Medium, subject, "# maas config-vault configure URL ROLE_ID WRAPPED_TOKEN PATH on each region, then maas config-vault migrate; in MAAS before 3.3: upgrade first.",
		"# MAAS has no way back from Vault: take a backup of the database before migrate.", "These are in clear, for whoever reads the database or a copy of it: %s.", fewOf(order))}
}

func sharedAge(h guard.Host, d guard.Database) []guard.Observation {
	subject := "the shared secret in " + d.Where
	if d.Secrets.Err != nil {
		return []guard.Observation{guard.Blind(subject, d.Secrets.Err)}
	}
	for _, s := range d.Secrets.Value {
		switch {
		case s.Path == "setting rpc_shared_secret":
			return []guard.Observation{guard.Blind(subject, errors.New("this version of MAAS does not note when it was made"))}
		case s.Path != "global/rpc-shared":
		case h.Now().Sub(s.Changed) < oldKey:
			return []guard.Observation{passed(subject, "It was last changed on %s.", s.Changed.UTC().Format(time.DateOnly))}
		default:
			return []guard.Observation{failed(guard.Low, subject, "# MAAS has no command for it: with a window in which all racks may be away, change the secret global/rpc-shared, then each controller's file secret (maas-rack install-shared-secret), and start all anew.",
				"# Put the old value back everywhere.", "It was last changed on %s: whoever has had it since can be a rack.", s.Changed.UTC().Format(time.DateOnly))}
		}
	}
	return []guard.Observation{guard.Blind(subject, errors.New("it is not in the database: with Vault, Vault knows its age"))}
}

func superRoles(_ guard.Host, d guard.Database) (list []guard.Observation) {
	if d.Roles.Err != nil {
		return []guard.Observation{guard.Blind("roles in "+d.Where, d.Roles.Err)}
	}
	var names []string
	for _, r := range d.Roles.Value {
		if !r.Super || !r.Login {
			continue
		}
		role := `"` + strings.ReplaceAll(r.Name, `"`, `""`) + `"`
		fix, undo := "sudo -u postgres psql -c "+guard.Quote("ALTER ROLE "+role+" NOSUPERUSER"), "sudo -u postgres psql -c "+guard.Quote("ALTER ROLE "+role+" SUPERUSER")
		switch {
		case r.Own:
			list = append(list, failed(guard.High, "role "+r.Name, fix, undo, "MAAS's own role is a superuser of %s: who gets at MAAS's password runs programs on the database's host.", d.Where))
		case r.Name != "postgres":
			list = append(list, failed(guard.Low, "role "+r.Name, fix, undo, "%s is a superuser that may log in, besides postgres.", r.Name))
		}
		names = append(names, r.Name)
	}
	if len(list) == 0 {
		list = append(list, passed("roles in "+d.Where, "Superusers that may log in: %s.", strings.Join(names, ", ")))
	}
	return list
}

func storedHashes(_ guard.Host, d guard.Database) (list []guard.Observation) {
	if d.Roles.Err != nil {
		return []guard.Observation{guard.Blind("roles in "+d.Where, d.Roles.Err)}
	}
	for _, r := range d.Roles.Value {
		subject := "role " + r.Name
		switch r.Hash {
		case "":
			return []guard.Observation{guard.Blind("roles in "+d.Where, errors.New("MAAS's role may not know how passwords are kept, which is right; ask as postgres: SELECT rolname FROM pg_authid WHERE rolpassword LIKE 'md5%'"))}
		case "md5":
			list = append(list, failed(guard.Medium, subject, "# With password_encryption = 'scram-sha-256', set the password of "+guard.Show(r.Name)+" anew: \\password in psql.", "# Set password_encryption to md5, and the password anew.",
				"Its password is kept as MD5, which logs in by itself where pg_hba.conf says md5."))
		case "other":
			list = append(list, guard.Blind(subject, errors.New("its password is kept in a form that is not known")))
		}
	}
	if len(list) == 0 {
		list = append(list, passed("roles in "+d.Where, "No password is kept as MD5."))
	}
	return list
}

// serverVersion is of a server that may be on another host, where its files are not to be read.
func serverVersion(h guard.Host, d guard.Database) []guard.Observation {
	if d.Server.Err != nil {
		return []guard.Observation{guard.Blind(d.Where, d.Server.Err)}
	}
	return pgVersion(h, "PostgreSQL of "+d.Where, "# On the database's host, with MAAS stopped and a backup: install a later PostgreSQL, and pg_upgradecluster; MAAS's documentation says which versions it works with.", d.Server.Value)
}

func databaseEncrypted(_ guard.Host, d guard.Database) []guard.Observation {
	switch near := strings.Contains(d.Where, " at localhost,") || strings.Contains(d.Where, " at 127.") || strings.Contains(d.Where, " at ::1,") || strings.Contains(d.Where, " at /"); {
	case d.Encrypted.Err != nil:
		return []guard.Observation{guard.Blind(d.Where, d.Encrypted.Err)}
	case near:
		return []guard.Observation{passed(d.Where, "It is on this host, and the connection stays on it.")}
	case d.Encrypted.Value && d.SSLMode == "verify-full":
		return []guard.Observation{passed(d.Where, "A connection made as MAAS makes its own was encrypted, and the server's certificate was checked.")}
	case d.Encrypted.Value:
		return []guard.Observation{failed(guard.Low, d.Where, "maas config-hardening set database_sslmode verify-full # since MAAS 3.7.4, with the authority of the server's certificate; then restart MAAS", "maas config-hardening set database_sslmode "+guard.Quote(d.SSLMode),
			"A connection made as MAAS makes its own was encrypted, by the mode %s, which does not check whose certificate it is: who is between can show his own.", d.SSLMode)}
	}
	return []guard.Observation{failed(guard.High, d.Where, "# On the database's host: a certificate, ssl = on, and hostssl in the rules for MAAS.", "# Set ssl = off, and host in the rules.",
		"A connection made as MAAS makes its own was not encrypted: BMC passwords go over the network in clear.")}
}

// ownHardening is MAAS's own mode of it, since 3.7.4 in the snap. Source: named above: "auto" is active on a host in FIPS mode alone, and on such
// a host "off" is not heeded.
func ownHardening(h guard.Host, p guard.Product) []guard.Observation {
	subject, text, n, blind := maasInstalled(h, p)
	if subject == "" {
		return blind
	}
	if less(n, [3]int{3, 7, 4}) {
		return nil
	}
	return inDatabase(func(h guard.Host, d guard.Database) []guard.Observation {
		const fips = "/proc/sys/crypto/fips_enabled"
		on, err := h.Read(fips)
		if err == nil && strings.TrimSpace(string(on)) == "1" {
			return []guard.Observation{passed(subject, "The host is in FIPS mode, in which MAAS %s's hardening is always active.", text)}
		}
		value, set := d.Settings.Value["hardening_enabled"]
		switch {
		case d.Settings.Err != nil:
			return []guard.Observation{guard.Blind(subject, d.Settings.Err)}
		case value == "on":
			return []guard.Observation{passed(subject, "hardening_enabled is on. What of it is missing says: maas config-hardening validate.")}
		case value == "off" || value == "auto":
			return []guard.Observation{failed(guard.Low, subject, "maas config-hardening enable # then snap restart maas on each region, and maas config-hardening validate", "maas config-hardening set hardening_enabled "+guard.Quote(value)+" # then snap restart maas",
				"hardening_enabled is %s, and the host is not in FIPS mode: MAAS %s does not check its own prerequisites (TLS, the database's certificate, addresses, passwords).", value, text)}
		case !set:
			return []guard.Observation{guard.Blind(subject, errors.New("the database has no hardening_enabled; sudo maas config-hardening list tells what holds"))}
		}
		return []guard.Observation{guard.Blind(subject, fmt.Errorf("hardening_enabled is %.40q, which is not known", value))}
	})(h, p)
}

// databaseOf is a sample's database, in which nothing is wrong but for what a change makes so.
func databaseOf(change func(*guard.Database)) *guard.Database {
	lately := guard.SampleTime.Add(-time.Hour)
	d := &guard.Database{Where: "maasdb at db.example, port 5432", SSLMode: "verify-full"}
	d.Server.Value, d.Encrypted.Value = 16, true
	d.People.Value = []guard.Person{{Name: "carol", Admin: true, Active: true, Local: true, LastLogin: lately, Joined: lately, Hash: "pbkdf2_sha256", Iterations: 870_000, Keys: 1, OldestKey: lately},
		{Name: "dave", Active: true, Local: true, LastLogin: lately, Joined: lately, Hash: "argon2", Keys: 1, OldestKey: lately},
		{Name: "admin", Joined: lately.Add(-2 * oldKey)}} // who is not active counts for nothing
	d.Settings.Value = map[string]string{"session_length": "3600", "vault_enabled": "true"}
	d.Roles.Value = []guard.DatabaseRole{{Name: "maas", Login: true, Own: true, Hash: "SCRAM-SHA-256"}, {Name: "postgres", Super: true, Login: true, Hash: "none"}, {Name: "pg_monitor", Hash: "none"}}
	change(d)
	return d
}

// fromDatabase makes samples of both of MAAS's products.
func fromDatabase(name string, want guard.State, change func(*guard.Database)) (list []guard.Sample) {
	for _, p := range []guard.Product{guard.MAASDeb, guard.MAASSnap} {
		list = append(list, guard.Sample{Name: name, Product: p, Want: want, Tree: []guard.Entry{{Path: regiond[p], Mode: 0o640, Content: "database_host: db.example\n"}}, Database: databaseOf(change)})
	}
	return list
}

// fromAPI makes samples of Metalward, whose API was asked.
func fromAPI(name string, want guard.State, change func(*guard.Database)) []guard.Sample {
	return []guard.Sample{{Name: name, Product: guard.Metalward, Want: want, Tree: []guard.Entry{{Path: ourState + "root.key", Mode: 0o600, Owner: "metalward:metalward"}}, Database: databaseOf(func(d *guard.Database) {
		d.Where = "the API at metalward.example:5443"
		for i := range d.People.Value {
			d.People.Value[i].HasPassword, d.People.Value[i].Factors = true, 1
		}
		change(d)
	})}}
}

// fromAll makes samples of each product.
func fromAll(name string, want guard.State, change func(*guard.Database)) []guard.Sample {
	return append(fromDatabase(name, want, change), fromAPI(name, want, change)...)
}

// unreadAPI are samples of Metalward whose API nobody asked, and of its racks.
func unreadAPI() []guard.Sample {
	s := fromAPI("nobody asked the API", guard.Unchecked, func(*guard.Database) {})
	s[0].Database = nil
	return append(s, guard.Sample{Name: "no region is here", Product: guard.Metalward, Want: guard.NotApplicable},
		guard.Sample{Name: "a region whose root key is in the TPM", Product: guard.Metalward, Want: guard.Unchecked, Tree: []guard.Entry{{Path: ourState + "root.key.tpm", Mode: 0o600}}})
}

// unread are samples of regions whose database nobody asked, and of racks.
func unread() (list []guard.Sample) {
	for _, s := range fromDatabase("nobody asked for the database", guard.Unchecked, func(*guard.Database) {}) {
		s.Database = nil
		list = append(list, s, guard.Sample{Name: "no region is here", Product: s.Product, Want: guard.NotApplicable})
	}
	return list
}

// users is the group of checks of who may do what, and those of other groups that ask MAAS's database.
func users() []*guard.Check {
	good := func(*guard.Database) {}
	first := func(change func(p *guard.Person)) func(*guard.Database) {
		return func(d *guard.Database) { change(&d.People.Value[0]) }
	}
	failing := errors.New("the database says: permission denied (SQLSTATE 42501)")
	noPeople := fromDatabase("users may not be read", guard.Unchecked, func(d *guard.Database) { d.People.Err = failing })
	noStanding := fromAPI("users may not be read", guard.Unchecked, func(d *guard.Database) { d.People.Err = failing })
	silent := func(change func(*guard.Database)) []guard.Sample {
		return fromDatabase("the API does not tell", guard.Unchecked, change)
	}
	noSettings := fromAll("settings may not be read", guard.Unchecked, func(d *guard.Database) { d.Settings.Err = failing })
	noSecrets := fromDatabase("secrets may not be read", guard.Unchecked, func(d *guard.Database) { d.Secrets.Err = failing })
	noRoles := fromDatabase("roles may not be read", guard.Unchecked, func(d *guard.Database) { d.Roles.Err = failing })
	stored := func(path string, age time.Duration) func(*guard.Database) {
		return func(d *guard.Database) {
			d.Secrets.Value = []guard.StoredSecret{{Path: path, Changed: guard.SampleTime.Add(-age)}}
			d.Settings.Value["vault_enabled"] = "false"
		}
	}
	list := []*guard.Check{
		{ID: "users-administrators", Title: "Few users are administrators", Severity: guard.Low,
			Why: "An administrator of MAAS is root on every machine, sets anybody's password and reads each BMC's.",
			Fix: "Leave the rights to those who have to have them.", Risk: "Who loses them no longer sees other people's machines.", Undo: "Give them back.",
			References: []guard.Reference{maasUsers, guide}, Judge: ofPeople(administrators),
			Samples: slices.Concat(noPeople, noStanding, fromAll("one of two", guard.Pass, good), fromAll("six", guard.Fail, func(d *guard.Database) {
				for i := range 5 {
					d.People.Value = append(d.People.Value, guard.Person{Name: fmt.Sprintf("a%d", i), Active: true, Admin: true})
				}
			}), fromAll("everybody", guard.Fail, func(d *guard.Database) {
				d.People.Value = []guard.Person{{Name: "a", Active: true, Admin: true}, {Name: "b", Active: true, Admin: true}, {Name: "c", Active: true, Admin: true}}
			}))},
		{ID: "users-names", Title: "No user has a name that is tried first", Severity: guard.Medium,
			Why: "MAAS does not slow down who guesses passwords; with a usual name only the password is left to guess, and the audit events do not say which person it was.",
			Fix: "Give each person a user of his own, and delete the shared one.", Risk: "Programs may use the old user's API keys: look first.", Undo: "Make the user again.",
			References: []guard.Reference{maasUsers}, Judge: ofPeople(defaultNames),
			Samples: slices.Concat(noPeople, noStanding, fromAll("people's names", guard.Pass, good), fromAll("admin", guard.Fail, first(func(p *guard.Person) { p.Name = "Admin" })),
				fromAll("of another service", guard.Pass, first(func(p *guard.Person) { p.Name, p.Local = "admin", false })))},
		{ID: "users-inactive", Title: "Users who no longer come are deleted", Severity: guard.Medium,
			Why: "Nobody misses a user who has left, and nobody notices when somebody else logs in as him.",
			Fix: "Delete the user, once nothing uses his keys.", Risk: "Programs may use the user's API keys: look first. Machines have to be handed over.", Undo: "Make the user again.",
			References: []guard.Reference{maasUsers}, Judge: ofPeople(inactive),
			Samples: slices.Concat(noPeople, silent(func(d *guard.Database) { d.Logins = failing }), fromDatabase("all came", guard.Pass, good), fromDatabase("not for long", guard.Fail, first(func(p *guard.Person) { p.LastLogin = guard.SampleTime.Add(-absent) })),
				fromDatabase("a name that a terminal would obey", guard.Fail, first(func(p *guard.Person) { p.Name, p.LastLogin = "\x1b[2J$(id)\n'`x", guard.SampleTime.Add(-absent) })),
				fromDatabase("never", guard.Fail, first(func(p *guard.Person) { p.LastLogin, p.Joined = time.Time{}, guard.SampleTime.Add(-absent) })), fromDatabase("new, and not yet", guard.Pass, first(func(p *guard.Person) { p.LastLogin = time.Time{} })))},
		{ID: "users-keys", Title: "API keys are changed each year", Severity: guard.Medium,
			Why: "MAAS's keys never expire, have no bounds, are kept in clear, and cross the network with every call; Metalward's expire if somebody said so.",
			Fix: "Make new keys, give them out, and delete the old.", Risk: "What still uses the old key is refused.", Undo: "Make another key: a deleted one is gone.",
			References: []guard.Reference{maasUsers, guide}, Judge: ofPeople(apiKeys),
			Samples: slices.Concat(noPeople, noStanding, silent(func(d *guard.Database) { d.Keys = failing }), fromAll("new", guard.Pass, good), fromAll("old", guard.Fail, first(func(p *guard.Person) { p.OldestKey = guard.SampleTime.Add(-oldKey) })), fromAll("none", guard.Pass, first(func(p *guard.Person) { p.Keys, p.OldestKey = 0, time.Time{} })))},
		{ID: "users-hashes", Title: "Passwords are kept as hashes that are hard to guess from", Severity: guard.Medium,
			Why: "Who has a copy of the database tries passwords as fast as the hash allows. A hash is written anew only when its user logs in.",
			Fix: "Upgrade MAAS, and have the users log in.", Risk: "None.", Undo: "Nothing is to be taken back.",
			References: []guard.Reference{djangoHashes, owaspHashes}, Judge: ofPeople(passwordHashes),
			Samples: slices.Concat(noPeople, silent(func(d *guard.Database) { d.Hashes = failing }), fromDatabase("good ones", guard.Pass, good), fromDatabase("too few iterations", guard.Fail, first(func(p *guard.Person) { p.Name, p.Iterations = "\u202ecarol\n", 260_000 })), fromDatabase("far too few", guard.Fail, first(func(p *guard.Person) { p.Iterations = 24_000 })),
				fromDatabase("of an old kind", guard.Fail, first(func(p *guard.Person) { p.Hash = "other" })), fromDatabase("none", guard.Pass, first(func(p *guard.Person) { p.Hash = "" })))},
		{ID: "users-external", Title: "External authentication says who is an administrator", Severity: guard.High,
			Why: "MAAS takes whoever the service lets in, and asks the group only if one is named.",
			Fix: "Name the group of administrators.", Risk: "Everybody is logged out; who is not in the group is no administrator any more.", Undo: "Configure it as it was.",
			References: []guard.Reference{source, about}, Judge: inDatabase(externalAuth),
			Samples: slices.Concat(fromDatabase("MAAS's own users", guard.NotApplicable, good), fromDatabase("Candid with a group", guard.Pass, func(d *guard.Database) { d.External.Value = guard.ExternalAuth{URL: "https://c", AdminGroup: "g"} }),
				fromDatabase("Candid without", guard.Fail, func(d *guard.Database) { d.External.Value.URL = "https://c" }), fromDatabase("RBAC", guard.Pass, func(d *guard.Database) { d.External.Value = guard.ExternalAuth{URL: "https://c", RBAC: "https://r"} }),
				fromDatabase("it may not be read", guard.Unchecked, func(d *guard.Database) { d.External.Err = failing }))},
		{ID: "users-sessions", Title: "Who has logged in has to do so again the next day", Severity: guard.Low,
			Why: "A session lasts two weeks if nothing is set, whether it is used or not in MAAS, which has no list of them; Metalward ends it sooner when it is not used.",
			Fix: "Set session_length to a working day.", Risk: "In MAAS everybody is logged out once.", Undo: "Set it to what it was.",
			References: []guard.Reference{cornucopia, source}, Judge: inDatabase(sessionLength),
			Samples: slices.Concat(noSettings, fromAll("an hour", guard.Pass, good), fromAll("not set", guard.Fail, func(d *guard.Database) { delete(d.Settings.Value, "session_length") }),
				fromAll("for ever", guard.Fail, func(d *guard.Database) { d.Settings.Value["session_length"] = "9223372036854775807" }),
				fromAll("no number", guard.Unchecked, func(d *guard.Database) { d.Settings.Value["session_length"] = "x" }))},
		{ID: "users-pages", Title: "Administrators use the pages", Severity: guard.Low,
			Why: "The guide would have users administered by the pages alone: commands leave passwords in histories, and keys of administrators in files.",
			Fix: "Give programs a user of their own with fewer rights, and have people use the pages.", Risk: "None.", Undo: "Nothing is to be taken back.",
			References: []guard.Reference{guide}, Judge: inDatabase(outsidePages),
			Samples: slices.Concat(fromDatabase("by the pages", guard.Pass, good), fromDatabase("by the API", guard.Fail, func(d *guard.Database) {
				d.Audit.Value = []guard.Audited{{Name: "carol", Way: "API", Days: 90, N: 3, Last: guard.SampleTime}}
			}), fromDatabase("events may not be read", guard.Unchecked, func(d *guard.Database) { d.Audit.Err = failing }))},
		{ID: "secrets-stored", Title: "No secret is in MAAS's database in clear", Severity: guard.Medium,
			Why: "Backups, replicas and whoever may read the database have the BMCs of all machines, and the key of the pages' certificate.",
			Fix: "Configure Vault on each region, and migrate.", Risk: "MAAS does not work while Vault does not: run Vault in a cluster.", Undo: "MAAS has no way back: take a backup before.",
			References: []guard.Reference{guide, maasVault}, Judge: inDatabase(inClear),
			Samples: slices.Concat(noSecrets, fromDatabase("none", guard.Pass, good), fromDatabase("one", guard.Fail, stored("bmc/1/power-parameters", 0)),
				fromDatabase("beside Vault", guard.Fail, func(d *guard.Database) { d.Secrets.Value = []guard.StoredSecret{{Path: "global/tls"}} }))},
		{ID: "secrets-shared-age", Title: "The shared secret is changed each year", Severity: guard.Low,
			Why: "It is one for all racks, cannot be taken from one of them, and opens what controllers tell each other.",
			Fix: "Change it on all controllers at once.", Risk: "Racks stay away until they have the new one: none serves DHCP or boots machines meanwhile.", Undo: "Put the old one back on all of them.",
			References: []guard.Reference{guideFiles, source}, Judge: inDatabase(sharedAge),
			Samples: slices.Concat(noSecrets, fromDatabase("new", guard.Pass, stored("global/rpc-shared", time.Hour)), fromDatabase("old", guard.Fail, stored("global/rpc-shared", oldKey)),
				fromDatabase("in a setting", guard.Unchecked, stored("setting rpc_shared_secret", 0)), fromDatabase("in Vault", guard.Unchecked, good))},
		{ID: "postgres-superusers", Title: "MAAS's role is no superuser of PostgreSQL", Severity: guard.High,
			Why: "A superuser reads the server's files and runs programs as its account.",
			Fix: "Take the right from the role: MAAS owns its database, and needs no more.", Risk: "A tool that made use of it, of backups for example, is refused.", Undo: "Give the right back.",
			References: []guard.Reference{pgAuthID}, Judge: inDatabase(superRoles),
			Samples: slices.Concat(noRoles, fromDatabase("postgres alone", guard.Pass, good), fromDatabase("MAAS's", guard.Fail, func(d *guard.Database) { d.Roles.Value[0].Super = true }),
				fromDatabase("another", guard.Fail, func(d *guard.Database) {
					d.Roles.Value = append(d.Roles.Value, guard.DatabaseRole{Name: `o'"x`, Super: true, Login: true})
				}))},
		{ID: "postgres-stored", Title: "PostgreSQL keeps no password as MD5", Severity: guard.Medium,
			Why: "Setting the kind of hash changes none that is there: each password has to be set anew.",
			Fix: "Set the passwords anew, with password_encryption = scram-sha-256.", Risk: "Old clients know no SCRAM.", Undo: "Set password_encryption to md5, and the passwords anew.",
			References: []guard.Reference{pgAuthID, pgPassword}, Judge: inDatabase(storedHashes),
			Samples: slices.Concat(noRoles, fromDatabase("SCRAM", guard.Pass, good), fromDatabase("MD5", guard.Fail, func(d *guard.Database) { d.Roles.Value[0].Hash = "md5" }), fromDatabase("it may not be known", guard.Unchecked, func(d *guard.Database) { d.Roles.Value[0].Hash = "" }))},
		{ID: "postgres-connection", Title: "MAAS's connection to its database is encrypted, or stays on the host", Severity: guard.High,
			Why: "All that MAAS knows goes over it, BMC passwords included. Seen is a connection that was made as MAAS makes its own.",
			Fix: "Give the server a certificate, and let MAAS's role in by hostssl only.", Risk: "MAAS starts anew; a certificate that ends is not noticed before MAAS checks it, and then keeps it out.", Undo: "Put the settings back.",
			References: []guard.Reference{pgTLS, maasHardening, source}, Judge: inDatabase(databaseEncrypted),
			Samples: slices.Concat(fromDatabase("encrypted and checked", guard.Pass, good), fromDatabase("encrypted", guard.Fail, func(d *guard.Database) { d.SSLMode = "prefer" }), fromDatabase("in clear", guard.Fail, func(d *guard.Database) { d.Encrypted.Value = false }),
				fromDatabase("on the host", guard.Pass, func(d *guard.Database) { d.Encrypted.Value, d.Where = false, "maasdb at localhost, port 5432" }), fromDatabase("not known", guard.Unchecked, func(d *guard.Database) { d.Encrypted.Err = failing }))},
		{ID: "versions-database", Title: "MAAS's database server is a version that gets fixes", Severity: guard.High,
			Why: "All that MAAS knows is in it, and each major version gets fixes for five years only. The server itself was asked, on whatever host it is.",
			Fix: "Upgrade to a later major version that MAAS works with.", Risk: "The database stands still while it is converted.", Undo: "Start the old server, which the upgrade leaves as it was.",
			References: []guard.Reference{pgSupport, maasSupport}, Judge: inDatabase(serverVersion),
			Samples: slices.Concat(fromDatabase("supported", guard.Pass, good), fromDatabase("ended", guard.Fail, func(d *guard.Database) { d.Server.Value = 12 }), fromDatabase("newer than the list", guard.Unchecked, func(d *guard.Database) { d.Server.Value = 30 }),
				fromDatabase("not known", guard.Unchecked, func(d *guard.Database) { d.Server.Err = failing }))},
	}
	mode := func(name string, want guard.State, version, value string, more ...guard.Entry) (list []guard.Sample) {
		for _, s := range fromDatabase(name, want, func(d *guard.Database) {
			if value != "" {
				d.Settings.Value["hardening_enabled"] = value
			}
		}) {
			s.Tree = append(append(s.Tree, guard.Entry{Path: "/snap/maas/current/meta/snap.yaml", Content: "version: " + version + "\n"}), more...)
			if s.Product == guard.MAASSnap {
				list = append(list, s)
			}
		}
		return list
	}
	own := &guard.Check{ID: "confinement-own-hardening", Group: "confinement", Role: guard.Region, Title: "MAAS's own hardening is on", Severity: guard.Low, Versions: map[guard.Product]string{guard.MAASSnap: "3.7.4 to 3.8"},
		Why: "With it MAAS checks at each start what its documentation asks for, says what is missing, and holds passwords to rules.",
		Fix: "Turn it on, and see what maas config-hardening validate says.", Risk: "It never keeps a controller from starting; what is missing is shown to administrators.", Undo: "Set it to what it was.",
		References: []guard.Reference{maasHardening}, Judge: ownHardening,
		Samples: slices.Concat(mode("on", guard.Pass, "3.7.4", "on"), mode("auto", guard.Fail, "3.7.4", "auto"), mode("off", guard.Fail, "3.8.0", "off"), mode("in FIPS mode", guard.Pass, "3.7.4", "off", guard.Entry{Path: "/proc/sys/crypto/fips_enabled", Content: "1\n"}),
			mode("a version without it", guard.NotApplicable, "3.7.3", ""), mode("not set", guard.Unchecked, "3.7.4", ""), mode("another word", guard.Unchecked, "3.7.4", "maybe"))}
	for _, c := range list {
		c.Group, _, _ = strings.Cut(c.ID, "-")
		c.Role, c.Versions = guard.Region, map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27}
		c.Samples = append(c.Samples, unread()...)
		if slices.Contains([]string{"users-administrators", "users-names", "users-keys", "users-sessions"}, c.ID) {
			c.Versions[guard.Metalward] = anyOurs
			c.Samples = append(c.Samples, unreadAPI()...)
		}
	}
	factors := &guard.Check{ID: "users-factors", Group: "users", Role: guard.Region, Title: "Administrators log in with a second factor", Severity: guard.Medium, Versions: map[guard.Product]string{guard.Metalward: anyOurs},
		Why: "Who learns an administrator's password, from another site or by a letter, has every machine.",
		Fix: "Have the administrators add one, and demand it of their role.", Risk: "Who loses the second factor needs a recovery code, or another administrator.", Undo: "Take the second factor away, and the demand.",
		References: []guard.Reference{ours}, Judge: ofPeople(secondFactors),
		Samples: slices.Concat(noStanding, unreadAPI(), fromAPI("all have one", guard.Pass, good), fromAPI("none", guard.Fail, first(func(p *guard.Person) { p.Factors = 0 })), fromAPI("a user who is no administrator has none", guard.Pass, func(d *guard.Database) { d.People.Value[1].Factors = 0 }),
			fromAPI("none, and no password", guard.Pass, first(func(p *guard.Person) { p.HasPassword, p.Factors = false, 0 })))}
	list = append(list, factors)
	return append(list, own)
}
