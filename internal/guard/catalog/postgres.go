package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

var (
	pgHBA      = guard.Reference{Title: "PostgreSQL documentation, The pg_hba.conf File", URL: "https://www.postgresql.org/docs/current/auth-pg-hba-conf.html"}
	pgPassword = guard.Reference{Title: "PostgreSQL documentation, Password Authentication", URL: "https://www.postgresql.org/docs/current/auth-password.html"}
	pgTrust    = guard.Reference{Title: "PostgreSQL documentation, Trust Authentication", URL: "https://www.postgresql.org/docs/current/auth-trust.html"}
	pgIdent    = guard.Reference{Title: "PostgreSQL documentation, Ident Authentication", URL: "https://www.postgresql.org/docs/current/auth-ident.html"}
	pgTLS      = guard.Reference{Title: "PostgreSQL documentation, Secure TCP/IP Connections with SSL", URL: "https://www.postgresql.org/docs/current/ssl-tcp.html"}
	pgListen   = guard.Reference{Title: "PostgreSQL documentation, Connections and Authentication", URL: "https://www.postgresql.org/docs/current/runtime-config-connection.html"}
	pgSocket   = guard.Reference{Title: "PostgreSQL documentation, Preventing Server Spoofing", URL: "https://www.postgresql.org/docs/current/preventing-server-spoofing.html"}
	pgInit     = guard.Reference{Title: "PostgreSQL documentation, Creating a Database Cluster", URL: "https://www.postgresql.org/docs/current/creating-cluster.html"}
)

// everyProduct is for checks of what is beside the products, such as their database.
func everyProduct() map[guard.Product]string {
	return map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27, guard.Metalward: anyOurs}
}

// onEach gives samples to every product.
func onEach(list ...guard.Sample) (all []guard.Sample) {
	for _, p := range guard.Products {
		for _, s := range list {
			s.Product = p
			all = append(all, s)
		}
	}
	return all
}

// onMAAS gives samples to both of MAAS's products.
func onMAAS(list ...guard.Sample) []guard.Sample {
	return slices.DeleteFunc(onEach(list...), func(s guard.Sample) bool { return s.Product == guard.Metalward })
}

// servers judges each PostgreSQL server of a host. What could not be read is said beside what could, unless that is a failure by itself.
func servers(judge func(h guard.Host, p guard.Postgres) []guard.Observation) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, _ guard.Product) (list []guard.Observation) {
		found, err := h.Postgres()
		if err != nil {
			list = append(list, guard.Blind("PostgreSQL", err))
		}
		for _, p := range found {
			seen := judge(h, p)
			if p.Err != nil {
				seen = slices.DeleteFunc(seen, func(o guard.Observation) bool { return o.State != guard.Fail })
				seen = append(seen, guard.Blind(p.Config, p.Err))
			}
			list = append(list, seen...)
		}
		return list
	}
}

func passed(subject, format string, args ...any) guard.Observation {
	return guard.Observation{State: guard.Pass, Subject: subject, Evidence: []string{guard.Show(fmt.Sprintf(format, args...))}}
}

// failed is a finding with one thing to do and one to take it back.
func failed(s guard.Severity, subject, fix, undo, format string, args ...any) guard.Observation {
	return guard.Observation{State: guard.Fail, Severity: s, Subject: subject, Evidence: []string{guard.Show(fmt.Sprintf(format, args...))}, Fix: []string{fix}, Undo: []string{undo}}
}

func ruleAt(r guard.HBARule) string { return fmt.Sprintf("%s:%d", r.File, r.Line) }

// change says how a rule is exchanged. A line of a file whose order matters is a person's to write.
func change(r guard.HBARule, to string) (fix, undo string) {
	return fmt.Sprintf("# In %s, line %d: %s Then, as postgres: psql -c 'SELECT pg_reload_conf()'", guard.Show(r.File), r.Line, to),
		fmt.Sprintf("# In %s, line %d, put back: %s", guard.Show(r.File), r.Line, guard.Show(r.String()))
}

// set says how a setting is changed such that it can be taken back.
func set(p guard.Postgres, name, value, then string) (fix, undo string) {
	undo = "sudo -u postgres psql -c 'ALTER SYSTEM RESET " + name + "'"
	if s, ok := p.Settings[name]; ok && path.Base(s.File) == "postgresql.auto.conf" {
		undo = "sudo -u postgres psql -c " + guard.Quote("ALTER SYSTEM SET "+name+" = '"+strings.ReplaceAll(s.Value, "'", "''")+"'")
	}
	return "sudo -u postgres psql -c " + guard.Quote("ALTER SYSTEM SET "+name+" = "+value) + " # then " + then, undo + " # then " + then
}

const (
	reload  = "SELECT pg_reload_conf()"
	restart = "restart the server, which ends its connections"
)

// strength orders methods by what they prove of a client: 0 nothing, 4 that nobody comes in. Source: the pages named above.
func strength(r guard.HBARule) int {
	switch r.Method {
	case "trust":
		return 0
	case "ident", "password":
		return 1
	case "md5":
		return 2
	case "reject":
		return 4
	}
	return 3
}

// weakness is how bad a rule's method is from where it lets in, and why.
func weakness(p guard.Postgres, r guard.HBARule) (guard.Severity, string) {
	far := r.Reach() >= guard.ByNetwork && p.Abroad()
	switch r.Method {
	case "trust":
		if r.Reach() == guard.BySocket && p.Setting("unix_socket_permissions", "0777") == "0700" {
			return guard.Low, "whoever may open the socket is believed to be whom he says; its mode lets only the server's own account do so"
		}
		if r.Reach() >= guard.ByNetwork && !far {
			return guard.Medium, "whoever connects is believed to be whom he says; the server does not listen for other hosts at present"
		}
		return guard.Critical, "whoever connects is believed to be whom he says, the superuser included"
	case "password":
		if far && r.Plain() {
			return guard.High, "the password is sent in clear"
		}
		return guard.Low, "the server hears the password itself"
	case "ident":
		if far {
			return guard.High, "the client's own host says who he is"
		}
		return guard.Low, "another program says who the client is"
	case "md5":
		if far {
			return guard.Medium, "what is sent can be replayed by who has the stored hash, and the hash is weak"
		}
		return guard.Low, "the hash is weak, and who has it can log in with it"
	}
	return 0, ""
}

func hbaMethods(_ guard.Host, p guard.Postgres) (list []guard.Observation) {
	for i, r := range p.Rules {
		if p.Decides(i) != i {
			continue // never tried: that is postgres-order's
		}
		if severity, why := weakness(p, r); severity != 0 {
			fix, undo := change(r, "write scram-sha-256, or peer for a socket, in the place of "+r.Method+"; first see that each user has such a password (SELECT rolname FROM pg_authid WHERE rolpassword LIKE 'md5%').")
			list = append(list, failed(severity, ruleAt(r), fix, undo, "%s: with %s, %s.", r, r.Method, why))
		}
	}
	if len(list) == 0 {
		list = append(list, passed(p.HBA, "None of its %d rules uses trust, password, ident or md5.", len(p.Rules)))
	}
	return list
}

func hbaOrder(_ guard.Host, p guard.Postgres) (list []guard.Observation) {
	for i, r := range p.Rules {
		first := p.Rules[p.Decides(i)]
		if strength(first) >= strength(r) {
			continue
		}
		severity := guard.Medium
		if first.Method == "trust" {
			severity = guard.High
		}
		fix, undo := change(r, fmt.Sprintf("move it before line %d of %s.", first.Line, guard.Show(first.File)))
		list = append(list, failed(severity, ruleAt(r), fix, undo, "%s is never tried: %s, line %d of %s, comes first, matches all of it and asks for less.", r, first, first.Line, first.File))
	}
	if len(list) == 0 {
		list = append(list, passed(p.HBA, "None of its %d rules stands behind one that matches the same and asks for less.", len(p.Rules)))
	}
	return list
}

func hbaPlain(_ guard.Host, p guard.Postgres) (list []guard.Observation) {
	if !p.Abroad() {
		return []guard.Observation{passed(p.Config, "The server listens for this host alone: listen_addresses is %q.", p.Setting("listen_addresses", "localhost"))}
	}
	for i, r := range p.Rules {
		if r.Reach() < guard.ByNetwork || !r.Plain() || r.Method == "reject" || p.Decides(i) != i {
			continue
		}
		plain := r
		plain.Type = "hostnossl"
		if r.Type == "hostnogssenc" {
			plain.Type = r.Type
		}
		if first := slices.IndexFunc(p.Rules[:i], func(o guard.HBARule) bool { return o.Covers(plain) }); first >= 0 && p.Rules[first].Method == "reject" {
			continue
		}
		fix, undo := change(r, "write hostssl in the place of "+r.Type+"; first see that clients use TLS (SELECT usename, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)).")
		list = append(list, failed(guard.High, ruleAt(r), fix, undo, "%s lets other hosts in without TLS: what they ask and are told, secrets included, goes in clear.", r))
	}
	if len(list) == 0 {
		list = append(list, passed(p.HBA, "Other hosts come in with TLS or not at all, by %d rules.", len(p.Rules)))
	}
	return list
}

func hbaEverybody(_ guard.Host, p guard.Postgres) (list []guard.Observation) {
	for i, r := range p.Rules {
		if r.Reach() != guard.ByAnybody || r.Method == "reject" || !r.Everybody() || p.Decides(i) != i {
			continue
		}
		severity := guard.Medium
		if !p.Abroad() {
			severity = guard.Low
		}
		fix, undo := change(r, "name the database, its user and the addresses of the region controllers.")
		list = append(list, failed(severity, ruleAt(r), fix, undo, "%s lets every user try from every address.", r))
	}
	if len(list) == 0 {
		list = append(list, passed(p.HBA, "None of its %d rules is for every user from every address.", len(p.Rules)))
	}
	return list
}

func pgUsesTLS(_ guard.Host, p guard.Postgres) []guard.Observation {
	if !p.Abroad() {
		return []guard.Observation{passed(p.Config, "The server listens for this host alone: listen_addresses is %q.", p.Setting("listen_addresses", "localhost"))}
	}
	if !p.On("ssl", false) {
		fix, undo := set(p, "ssl", "on", reload)
		return []guard.Observation{failed(guard.High, p.Config, fix, undo, "It listens for other hosts (listen_addresses is %q), and ssl is off: it offers them no TLS.", p.Setting("listen_addresses", "localhost"))}
	}
	least := "TLSv1.2" // since 13
	if p.Version == 0 && p.Setting("ssl_min_protocol_version", "") == "" {
		return []guard.Observation{guard.Blind(p.Config, errors.New("ssl_min_protocol_version is not set, and what is usual depends on the version, which is not known"))}
	}
	if p.Version < 13 {
		least = "TLSv1"
	}
	if v := p.Setting("ssl_min_protocol_version", least); v != "TLSv1.2" && v != "TLSv1.3" {
		fix, undo := set(p, "ssl_min_protocol_version", "'TLSv1.2'", reload)
		return []guard.Observation{failed(guard.Medium, p.Config, fix, undo, "ssl is on, and ssl_min_protocol_version is %q: RFC 8996 has put TLS before 1.2 away.", v)}
	}
	return []guard.Observation{passed(p.Config, "ssl is on, with TLS 1.2 or later.")}
}

func pgCertificate(_ guard.Host, p guard.Postgres) []guard.Observation {
	if !p.Abroad() || !p.On("ssl", false) {
		return nil
	}
	cert := p.Setting("ssl_cert_file", "server.crt")
	if path.Base(cert) != "ssl-cert-snakeoil.pem" {
		return []guard.Observation{passed(p.Config, "ssl_cert_file is %q.", cert)}
	}
	fix, undo := set(p, "ssl_cert_file", "'/etc/postgresql/server.crt'", reload+", with a certificate for the server's name, its key in ssl_key_file, and verify-full at the clients")
	return []guard.Observation{failed(guard.Medium, p.Config, fix, undo, "ssl_cert_file is %q, which Debian makes for a start: no authority vouches for it, so no client can tell this server from another.", cert)}
}

func pgListens(_ guard.Host, p guard.Postgres) []guard.Observation {
	listen := p.Setting("listen_addresses", "localhost")
	for word := range strings.SplitSeq(listen, ",") {
		if word = strings.TrimSpace(word); word == "*" || word == "0.0.0.0" || word == "::" {
			fix, undo := set(p, "listen_addresses", "'localhost, ADDRESS'", restart+"; ADDRESS is the one that the region controllers use")
			return []guard.Observation{failed(guard.Low, p.Config, fix, undo, "listen_addresses is %q: the server answers on every address that the host has or gets.", listen)}
		}
	}
	return []guard.Observation{passed(p.Config, "listen_addresses is %q.", listen)}
}

func pgHashes(_ guard.Host, p guard.Postgres) []guard.Observation {
	usual := "scram-sha-256"
	switch {
	case p.Version == 0:
		usual = "" // depends on the version
	case p.Version < 14:
		usual = "md5"
	}
	switch v := strings.ToLower(p.Setting("password_encryption", usual)); v {
	case "scram-sha-256":
		return []guard.Observation{passed(p.Config, "password_encryption is scram-sha-256.")}
	case "":
		return []guard.Observation{guard.Blind(p.Config, errors.New("password_encryption is not set, and what is usual depends on the version, which is not known"))}
	default:
		fix, undo := set(p, "password_encryption", "'scram-sha-256'", reload+", and set each password anew")
		return []guard.Observation{failed(guard.Medium, p.Config, fix, undo, "password_encryption is %q: passwords that are set are kept as MD5, which who has it can log in with.", v)}
	}
}

func pgFolder(h guard.Host, p guard.Postgres) []guard.Observation {
	if p.Data == "" {
		return []guard.Observation{guard.Blind(p.Config, errors.New("data_directory is not set"))}
	}
	f, err := h.File(p.Data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []guard.Observation{guard.Blind(p.Data, err)}
	}
	who := peopleOf(h)
	r := &report{Observation: guard.Observation{Subject: p.Data, Evidence: []string{fmt.Sprintf("Mode %04o, owner %s, group %s.", f.Mode, who.user(f.UID), who.group(f.GID))}}}
	if f.Mode&0o027 != 0 {
		fix, undo := chmod(f, 0o700)
		r.fail(guard.Critical, fix, undo, "Others than the server's account get at the data themselves, where no rule of the server holds.")
	}
	if name := who.names[f.UID]; name == "root" || !slices.Contains([]string{"postgres", "snap_daemon", "_daemon_"}, name) {
		r.fail(guard.High, []string{"chown postgres " + guard.Quote(f.Real)}, []string{fmt.Sprintf("chown %d %s", f.UID, guard.Quote(f.Real))}, "Its owner is %s, and is to be the server's account.", who.user(f.UID))
	}
	return []guard.Observation{r.done()}
}

func pgDisk(h guard.Host, p guard.Postgres) []guard.Observation {
	if p.Data == "" {
		return []guard.Observation{guard.Blind(p.Config, errors.New("data_directory is not set"))}
	}
	if _, err := h.File(p.Data); err != nil {
		return beside(p.Data, err)
	}
	s, err := h.Storage(p.Data)
	switch {
	case err != nil:
		return []guard.Observation{guard.Blind(p.Data, err)}
	case !s.Known:
		return []guard.Observation{guard.Blind(p.Data, errors.New(cmp.Or(s.Why, "what it is kept on is not known")))}
	case s.Encrypted:
		return []guard.Observation{passed(p.Data, "It is kept on %s.", strings.Join(s.Stack, ", on "))}
	}
	return []guard.Observation{failed(guard.Low, p.Data, "# Move it to an encrypted device: stop the server, cryptsetup luksFormat and open a new one, copy the folder with its owners, mount it there; or install the host anew with full disk encryption.",
		"# Copy the folder back.", "It is kept on %s, which this host does not encrypt: who carries a disk away, or buys it, reads the database. %s", strings.Join(s.Stack, ", on "), s.Why)}
}

func pgFiles(h guard.Host, p guard.Postgres) (list []guard.Observation) {
	own := []string{"postgres", "snap_daemon"}
	for _, l := range []located{
		{place{mode: 0o644, owners: own, groups: own, read: 0, write: guard.Critical}, p.Config},
		{place{mode: 0o644, owners: own, groups: own, read: 0, write: guard.Critical}, p.HBA},
		{place{mode: 0o640, owners: own, groups: append([]string{"ssl-cert"}, own...), read: guard.High, write: guard.High}, pgKey(p)},
	} {
		if l.path != "" {
			list = append(list, l.judge(h, peopleOf(h))...)
		}
	}
	return list
}

// pgKey is the path of the server's TLS key, or nothing. A relative one is below the data directory.
func pgKey(p guard.Postgres) string {
	key := p.Setting("ssl_key_file", "server.key")
	switch {
	case !p.On("ssl", false), !path.IsAbs(key) && p.Data == "":
		return ""
	case path.IsAbs(key):
		return path.Clean(key)
	}
	return path.Join(p.Data, key)
}

// pgHost is a host with a server of Debian's, version 15.
func pgHost(name string, want guard.State, conf, hba string, more ...guard.Entry) guard.Sample {
	const dir = "/etc/postgresql/15/main/"
	return guard.Sample{Name: name, Want: want, Tree: append([]guard.Entry{
		{Path: dir + "postgresql.conf", Owner: "postgres:postgres", Content: "data_directory = '/var/lib/postgresql/15/main'\n" + conf},
		{Path: dir + "pg_hba.conf", Owner: "postgres:postgres", Mode: 0o640, Content: hba},
		{Path: "/var/lib/postgresql/15/main", Folder: true, Owner: "postgres:postgres", Mode: 0o700},
	}, more...)}
}

const (
	abroad   = "listen_addresses = '*'\n"
	usualHBA = "local all postgres peer\nlocal all all peer\nhost all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n"
	someHBA  = usualHBA + "hostssl maasdb maas 10.0.0.0/24 scram-sha-256\n"
)

func half(name, dir string) guard.Sample {
	s := pgHost(name, guard.Unchecked, "", usualHBA)
	s.Tree = append(s.Tree, guard.Entry{Path: dir, Hidden: true})
	return s
}

func kept(name string, want guard.State, on guard.Storage) guard.Sample {
	s := pgHost(name, want, "", usualHBA)
	s.Storage = map[string]guard.Storage{"/var/lib/postgresql/15/main": on}
	return s
}

// postgres is the group of checks of PostgreSQL servers whose configuration is on the host.
func postgres() []*guard.Check {
	noServer := guard.Sample{Name: "no server", Want: guard.NotApplicable}
	unreadable := half("rules that may not be read", "/etc/postgresql/15/main/pg_hba.conf")
	list := []*guard.Check{
		{ID: "postgres-methods", Title: "The database asks for proof of who connects", Severity: guard.Critical,
			Why:        "The database holds machines, users and, without Vault, secrets; who comes in as the region's user does all that MAAS can.",
			References: []guard.Reference{pgHBA, pgTrust, pgPassword, pgIdent}, Judge: servers(hbaMethods),
			Samples: onEach(noServer, unreadable, pgHost("as Debian has it", guard.Pass, "", usualHBA), pgHost("trust by the socket", guard.Fail, "", "local all all trust\n"),
				pgHost("trust from this host", guard.Fail, "", "host all all 127.0.0.1/32 trust\n"), pgHost("md5 from a network", guard.Fail, abroad, "hostssl maasdb maas 10.0.0.0/24 md5\n"),
				pgHost("a password in clear", guard.Fail, abroad, "host maasdb maas 10.0.0.0/24 password\n"), pgHost("trust behind what rejects all", guard.Pass, "", "local all all reject\nlocal all all trust\n"),
				pgHost("in an included file", guard.Fail, "", "include more.conf\n", guard.Entry{Path: "/etc/postgresql/15/main/more.conf", Content: "local all all trust\n"}),
				pgHost("half a rule", guard.Unchecked, "", "host all all\n"), pgHost("half a rule beside trust", guard.Fail, "", "host all all\nlocal all all trust\n"))},
		{ID: "postgres-order", Title: "No rule of the database stands behind a weaker one", Severity: guard.High,
			Why:        "The server takes the first rule that matches: a strict rule behind a lax one looks like protection and is none.",
			References: []guard.Reference{pgHBA}, Judge: servers(hbaOrder),
			Samples: onEach(noServer, unreadable, pgHost("as Debian has it", guard.Pass, "", usualHBA), pgHost("strict behind lax", guard.Fail, "", "host all all all trust\nhostssl maasdb maas 10.0.0.0/24 scram-sha-256\n"),
				pgHost("refused too late", guard.Fail, "", "host all all 0.0.0.0/0 md5\nhost all all 0.0.0.0/0 reject\n"), pgHost("strict before lax", guard.Pass, "", "hostssl maasdb maas 10.0.0.0/24 scram-sha-256\nhost all all all md5\n"),
				pgHost("another database", guard.Pass, "", "host a all all trust\nhost b all all scram-sha-256\n"))},
		{ID: "postgres-plain", Title: "Other hosts reach the database with TLS alone", Severity: guard.High,
			Why:        "Region controllers read and write secrets over this connection. MAAS's own driver takes TLS where it is offered and goes on without: only the server can insist.",
			References: []guard.Reference{guide, pgHBA, pgTLS}, Judge: servers(hbaPlain),
			Samples: onEach(noServer, unreadable, pgHost("this host alone", guard.Pass, "", "host all all 0.0.0.0/0 md5\n"), pgHost("with TLS", guard.Pass, abroad, someHBA),
				pgHost("without", guard.Fail, abroad, "host maasdb maas 10.0.0.0/24 scram-sha-256\n"), pgHost("refused before", guard.Pass, abroad, "hostnossl all all all reject\nhost maasdb maas 10.0.0.0/24 scram-sha-256\n"),
				pgHost("refused elsewhere", guard.Fail, abroad, "hostnossl all all 10.1.0.0/16 reject\nhost maasdb maas 10.0.0.0/24 scram-sha-256\n"))},
		{ID: "postgres-everybody", Title: "The database does not let everybody try from everywhere", Severity: guard.Medium,
			Why:        "Whoever reaches the port can guess at passwords, and at flaws of what comes before the password.",
			References: []guard.Reference{pgHBA}, Judge: servers(hbaEverybody),
			Samples: onEach(noServer, unreadable, pgHost("some", guard.Pass, abroad, someHBA), pgHost("all of IPv4", guard.Fail, abroad, "hostssl maasdb all 0.0.0.0/0 scram-sha-256\n"),
				pgHost("all of IPv6", guard.Fail, abroad, "hostssl all all ::/0 scram-sha-256\n"), pgHost("one user", guard.Pass, abroad, "hostssl maasdb maas all scram-sha-256\n"))},
		{ID: "postgres-tls", Title: "The database offers TLS to other hosts", Severity: guard.High,
			Why:        "Without it everything between region controllers and database can be read and changed on the way, passwords and secrets included.",
			References: []guard.Reference{guide, pgTLS}, Judge: servers(pgUsesTLS),
			Samples: onEach(noServer, pgHost("this host alone", guard.Pass, "", usualHBA), pgHost("on", guard.Pass, abroad+"ssl = on\n", someHBA), pgHost("off", guard.Fail, abroad+"ssl = off\n", someHBA),
				pgHost("not set", guard.Fail, abroad, someHBA), pgHost("an old protocol", guard.Fail, abroad+"ssl = on\nssl_min_protocol_version = 'TLSv1'\n", someHBA),
				pgHost("turned off by ALTER SYSTEM", guard.Fail, abroad+"ssl = on\n", someHBA, guard.Entry{Path: "/var/lib/postgresql/15/main/postgresql.auto.conf", Content: "ssl = 'off'\n"}),
				pgHost("half a setting", guard.Unchecked, "ssl =\n", usualHBA))},
		{ID: "postgres-certificate", Title: "The database's certificate can be verified", Severity: guard.Medium,
			Why:        "TLS with a certificate that nobody can check keeps listeners out, not those who stand in the server's place.",
			References: []guard.Reference{pgTLS, pgSocket}, Judge: servers(pgCertificate),
			Samples: onEach(noServer, pgHost("Debian's own", guard.Fail, abroad+"ssl = on\nssl_cert_file = '/etc/ssl/certs/ssl-cert-snakeoil.pem'\n", someHBA),
				pgHost("another", guard.Pass, abroad+"ssl = on\nssl_cert_file = '/etc/postgresql/db.crt'\n", someHBA))},
		{ID: "postgres-listen", Title: "The database listens where it is needed", Severity: guard.Low,
			Why:        "An address that the host gets later, of a network of machines for example, is otherwise served, too.",
			References: []guard.Reference{pgListen}, Judge: servers(pgListens),
			Samples: onEach(noServer, pgHost("this host", guard.Pass, "", usualHBA), pgHost("everywhere", guard.Fail, abroad, someHBA), pgHost("one address", guard.Pass, "listen_addresses = 'localhost,10.0.0.2'\n", someHBA))},
		{ID: "postgres-hashes", Title: "The database keeps passwords as SCRAM", Severity: guard.Medium,
			Why:        "An MD5 hash of PostgreSQL's is as good as the password for who has read it, in a backup for example, and is quickly guessed at.",
			References: []guard.Reference{pgPassword}, Judge: servers(pgHashes),
			Samples: onEach(noServer, pgHost("as usual since 14", guard.Pass, "", usualHBA), pgHost("md5", guard.Fail, "password_encryption = md5\n", usualHBA), pgHost("on, as before 10", guard.Fail, "password_encryption = on\n", usualHBA))},
		{ID: "postgres-folder", Title: "Nobody else gets at the database's files", Severity: guard.Critical,
			Why:        "They are the database, without its rules.",
			References: []guard.Reference{pgInit}, Judge: servers(pgFolder),
			Samples: onEach(noServer, pgHost("closed", guard.Pass, "", usualHBA), pgHost("for all", guard.Fail, "", usualHBA, guard.Entry{Path: "/var/lib/postgresql/15/main", Folder: true, Owner: "postgres:postgres", Mode: 0o755}),
				pgHost("of another", guard.Fail, "", usualHBA, guard.Entry{Path: "/var/lib/postgresql/15/main", Folder: true, Owner: "bob:bob", Mode: 0o700}))},
		{ID: "postgres-disk", Title: "The database is on an encrypted disk", Severity: guard.Low,
			Why:        "The guide asks for full disk encryption: PostgreSQL itself encrypts nothing. A disk that encrypts by itself, or a hypervisor that does, is not seen here.",
			References: []guard.Reference{guide}, Judge: servers(pgDisk),
			Samples: onEach(noServer, kept("encrypted", guard.Pass, guard.Storage{Known: true, Encrypted: true, Stack: []string{"ext4 on /", "dm-0 (LUKS2)"}}),
				kept("plain", guard.Fail, guard.Storage{Known: true, Stack: []string{"ext4 on /", "sda1"}}), kept("not known", guard.Unchecked, guard.Storage{}))},
		{ID: "postgres-files", Title: "Only the database and root change its configuration, and read its key", Severity: guard.Critical,
			Why:        "Who changes pg_hba.conf lets himself in, and who changes postgresql.conf runs programs as the server.",
			References: []guard.Reference{pgHBA, pgTLS}, Judge: servers(pgFiles),
			Samples: onEach(noServer, pgHost("as Debian has it", guard.Pass, "", usualHBA), pgHost("rules that all may write", guard.Fail, "", usualHBA, guard.Entry{Path: "/etc/postgresql/15/main/pg_hba.conf", Mode: 0o666, Content: usualHBA}),
				pgHost("a key that all may read", guard.Fail, "ssl = on\nssl_key_file = '/etc/postgresql/db.key'\n", usualHBA, guard.Entry{Path: "/etc/postgresql/db.key", Content: "x"}))},
	}
	for _, c := range list {
		c.Group, c.Versions = "postgres", everyProduct()
		c.Fix = "Change the setting or the rule that the finding names, as its commands say, and let the server read its configuration again."
		c.Risk = "A rule that is stricter than a client keeps that client out, region controllers included: try each with psql before the next restart of its service."
		c.Undo = "The finding's undo has the setting or the rule as it was."
	}
	return list
}
