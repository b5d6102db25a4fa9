package catalog

// Advice is a sentence of MAAS's security guide that gives advice, in our words, with the checks that see whether it is followed, or with the detections
// that follow it. A sentence that neither covers has a reason instead.
type Advice struct {
	Section string // of the guide, or of one of its earlier forms
	Text    string
	Checks  []string
	ByHand  string // why no check covers it
	// Detections are the units of metalward watch that do what a sentence about reading logs asks for.
	Detections []string
}

// GuideForms are the forms of the guide that Guide was written from: it was rewritten several times, and each form has advice that others lack.
var GuideForms = []string{
	"How to enhance MAAS security, https://maas.io/docs/how-to-enhance-maas-security, the form with a cheat sheet and safety nets",
	"the same, the earlier form with a section on each of PEM files, nginx, Apache, users and Vault",
	"the same, the form before with the table of ports, logs and permissions",
	"Hardening your MAAS installation, https://discourse.maas.io/t/hardening-your-maas-installation/1381, the oldest",
}

// Guide is the guide's advice in its order.
var Guide = []Advice{
	{"Firewalls", "Racks are able to open connections to 5240 of each region, or to 80 where there are several.", []string{"ports-outgoing", "ports-needed"}, "", nil},
	{"Firewalls", "Racks are able to open connections to 5241 to 5247, MAAS's internal services.", []string{"ports-outgoing"}, "", nil},
	{"Firewalls", "Racks are able to open connections to 5248, 5250 to 5270, and 5271 to 5274 of the agent.", []string{"ports-outgoing"}, "", nil},
	{"Firewalls", "Regions reach each other's 5281 to 5284.", []string{"ports-needed", "ports-internal"}, "", nil},
	{"Firewalls", "Turn the firewall on.", []string{"ports-firewall"}, "", nil},
	{"Firewalls", "What no rule allows is refused.", []string{"ports-policy", "ports-ipv6"}, "", nil},
	{"Firewalls", "Allow 5240, 5248, 5241 to 5247 and 5250 to 5270.", []string{"ports-needed"}, "", nil},
	{"Firewalls", "Allow only the ports that MAAS uses.", []string{"ports-unknown", "ports-internal", "ports-machines", "ports-database", "ports-plain"}, "", nil},
	{"Firewalls", "Look up the ports of your own version and its needs.", []string{"ports-needed", "ports-unknown"}, "", nil},

	{"TLS", "Put TLS in front of the pages and the API: MAAS's own since 3.2, a balancer's or web server's before.", []string{"transport-tls", "transport-plain"}, "", nil},
	{"TLS: config-tls enable", "Give the chain of the certificate's authority with the certificate.", []string{"transport-certificate"}, "", nil},
	{"TLS: config-tls enable", "The key belongs to the certificate.", []string{"transport-certificate"}, "", nil},
	{"TLS: high availability", "All regions have one certificate, which names each of them.", []string{"transport-certificate"}, "", nil},
	{"TLS: config-tls disable", "Without TLS, pages and API are in plain text at 5240: leave it on.", []string{"transport-tls", "ports-plain"}, "", nil},
	{"TLS: status", "See in the settings whether TLS is on, and after any change, too.", []string{"transport-live", "transport-tls"}, "", nil},
	{"TLS: the command line", "Log in to the API by its https URL.", []string{"transport-cli"}, "", nil},
	{"TLS: the command line", "Give the certificate's authority with --cacerts where the system does not know it, rather than --insecure.", nil,
		"The profiles of the versions whose source is public do not say whether --insecure was given.", nil},
	{"TLS: renewal", "Renew the certificate before it ends.", []string{"transport-expiry"}, "", nil},
	{"TLS: renewal", "Have administrators told some days before the certificate ends.", []string{"transport-expiry"}, "", nil},
	{"TLS: renewal", "With the snap, certificate and key lie where the snap can read them: nobody else may.", []string{"files-certificate-keys"}, "", nil},
	{"TLS: automatic renewal", "Renew by an ACME client, from an authority of your own or a public one.", []string{"transport-renewal", "transport-expiry"}, "", nil},
	{"TLS: automatic renewal", "Make the script that certbot runs executable.", []string{"transport-renewal"}, "", nil},
	{"TLS: automatic renewal", "Take copies of key and certificate away once MAAS has them.", []string{"files-copies", "files-certificate-keys"}, "", nil},
	{"TLS: automatic renewal", "Try the renewal with --dry-run.", nil, "Whether somebody has tried something leaves no trace; that the certificate was renewed in time is seen by transport-expiry.", nil},
	{"TLS: nginx, Apache", "With MAAS 3.1 and before, put nginx or Apache with a certificate in front of 5240.", []string{"transport-tls", "transport-protocols", "transport-ciphers", "transport-certificate"}, "", nil},
	{"TLS: nginx, Apache", "Pass /MAAS/ws on as a websocket.", nil, "It is no matter of security, and the pages do not come up without it: a browser shows it.", nil},
	{"TLS: nginx, Apache", "Tell MAAS the name that was asked for, and by which protocol.", []string{"transport-forwarded"}, "", nil},
	{"PEM files", "Put certificate, key and the authority's certificates into one file.", []string{"transport-certificate"}, "", nil},
	{"PEM files", "Keep it in /etc/ssl/private.", []string{"transport-keys"}, "", nil},

	{"HAProxy", "Put a balancer that ends TLS in front of the regions.", []string{"transport-tls", "availability-regions"}, "", nil},
	{"HAProxy", "In global, set maxconn, with an eye to what the API can serve.", []string{"availability-limit"}, "", nil},
	{"HAProxy", "Set tune.ssl.default-dh-param to 2048.", []string{"transport-dh"}, "", nil},
	{"HAProxy", "In defaults: option forwardfor.", []string{"availability-sender"}, "", nil},
	{"HAProxy", "In defaults: option http-server-close.", []string{"availability-close"}, "", nil},
	{"HAProxy", "Take https at 443 with the PEM file.", []string{"transport-tls", "transport-live", "transport-keys"}, "", nil},
	{"HAProxy", "Tell MAAS that the connection was https. (The guide's word for it, reqadd, is gone since HAProxy 2.1.)", []string{"transport-forwarded", "availability-old"}, "", nil},
	{"HAProxy", "retries 3 and option redispatch. (Where the guide has them, in the frontend, HAProxy ignores them.)", []string{"availability-retries"}, "", nil},
	{"HAProxy", "timeout server 90s.", []string{"availability-timeouts"}, "", nil},
	{"HAProxy", "balance source and hash-type consistent.", []string{"availability-balance"}, "", nil},
	{"HAProxy", "Name each region as a server, with check.", []string{"availability-regions", "availability-health"}, "", nil},
	{"HAProxy", "Restart HAProxy for changes to hold.", []string{"transport-live"}, "", nil},
	{"HAProxy", "Turn on its log.", []string{"availability-logging"}, "", nil},

	{"Logging", "Keep the logs of firewall, web server, MAAS and system.", []string{"logging-kept", "logging-rotation", "logging-modes"}, "", nil},
	{"Logging: firewall", "Have the firewall log, and look at /var/log/ufw* from time to time.", []string{"ports-logging", "logging-kept"}, "", nil},
	{"Logging: firewall", "Look for attempts at ports that nothing listens at.", nil, "", []string{"fw_portscan", "fw_flagscan", "fw_hostsweep", "fw_repeat"}},
	{"Logging: firewall", "Compare unusual ports with those of known tools of attackers.", nil, "", []string{"fw_hacker_port", "fw_allowed_tool"}},
	{"Logging: firewall", "Look for attempts that are repeated from one address or network.", nil, "", []string{"fw_repeat", "fw_subnet_repeat"}},
	{"Logging: firewall", "Look for connections out of your own network that nobody has asked for.", nil, "", []string{"fw_outbound_blocked"}},
	{"Logging: firewall", "Look for packets that choose their own way or have a false sender.", []string{"confinement-source-route", "confinement-reverse-path", "confinement-martians"}, "", nil},
	{"Logging: firewall", "Find out whose the refused addresses are, and block those that are nobody's.", nil, "Whose an address is its network's owner knows, and whois tells people; `metalward watch` says which networks are refused again and again.", nil},
	{"Logging: web server", "Look at the web server's log, by a tool or by hand.", []string{"logging-kept", "availability-logging"}, "", nil},
	{"Logging: web server", "Look for many requests in a second, failed logins, pages that are not there, injected SQL and web shells.", nil, "", []string{"web_burst", "web_login_bruteforce", "web_probe", "web_sqli", "web_shell", "web_shell_answered"}},
	{"Logging: MAAS", "Look for failed logins in regiond.log.", nil, "", []string{"maas_login_bruteforce", "maas_login_slow", "maas_login_spray", "maas_login_success_after_failures"}},
	{"Logging: system", "Look for guessed passwords of SSH in the journal, and block who guesses.", []string{"accounts-ssh-passwords", "accounts-ssh-dialogue", "accounts-ssh-root"}, "", nil},

	{"PostgreSQL", "Encrypt the disk that the database is on.", []string{"postgres-disk"}, "", nil},
	{"PostgreSQL", "TLS between MAAS and PostgreSQL.", []string{"postgres-plain", "postgres-tls", "postgres-certificate"}, "", nil},

	{"Good passwords", "Choose good passwords.", []string{"accounts-empty", "accounts-hashes", "accounts-ssh-empty", "users-hashes"}, "", nil},
	{"Good passwords", "Keep passwords in a safe place, such as a password manager.", []string{"secrets-history", "secrets-units", "secrets-processes", "secrets-environment"}, "", nil},
	{"Good passwords", "Administer users by the pages alone.", []string{"users-pages"}, "", nil},
	{"Good passwords", "Give the passwords of maas and root to administrators alone.", []string{"accounts-root", "accounts-service", "accounts-groups", "accounts-sudo"}, "", nil},

	{"Permissions", "regiond.conf has mode 0640, root's, readable by the group maas.", []string{"files-region-config"}, "", nil},
	{"Permissions", "rackd.conf has mode 0640, root's, readable by the group maas.", []string{"files-rack-config"}, "", nil},

	{"Snap security", "The snap is confined.", []string{"confinement-snap", "confinement-mac", "confinement-plugs"}, "", nil},

	{"Manage users", "Make administrators of those alone who have to be.", []string{"users-administrators"}, "", nil},
	{"Manage users", "Manage users' API keys.", []string{"users-keys", "files-cli-profiles"}, "", nil},
	{"Manage users", "Manage users' SSH keys.", nil, "It takes MAAS's database, and to know whose keys they are.", nil},
	{"Manage users", "Administrators may set anybody's password: mind who is one.", []string{"users-administrators", "users-names", "users-inactive", "users-external"}, "", nil},

	{"Shared secrets", "The secret that racks join with is in a file that MAAS protects.", []string{"files-shared-secret"}, "", nil},
	{"Shared secrets", "Do not keep secrets, such as the OMAPI key and the shared secret, in the database.", []string{"secrets-stored", "secrets-vault"}, "", nil},

	{"Vault", "Keep MAAS's secrets in Vault.", []string{"secrets-vault"}, "", nil},
	{"Vault", "Vault needs MAAS 3.3: update older ones.", []string{"versions-maas", "secrets-vault"}, "", nil},
	{"Vault", "Enable approle and the key-value store, version 2.", nil, "It is set in Vault, and no file of the controller shows it.", nil},
	{"Vault", "The policy lets MAAS at its own path alone.", nil, "It is set in Vault: vault policy read shows it to whoever may.", nil},
	{"Vault", "Each region has a role of its own, whose tokens live for five minutes.", nil, "It is set in Vault; regiond.conf has the role's id, and nothing of tokens.", nil},
	{"Vault", "Hand the role's secret over wrapped, for five minutes.", nil, "It is over once it is done, and leaves no trace.", nil},
	{"Vault", "Configure each region for Vault, and migrate the secrets.", []string{"secrets-vault", "secrets-stored", "secrets-database-password"}, "", nil},
	{"Vault", "Give Vault a certificate.", []string{"secrets-vault-tls"}, "", nil},

	{"Safety nets", "See with maas status that services run after a change of firewall or balancer.", []string{"ports-needed", "transport-live"}, "", nil},
	{"Next steps", "Monitor MAAS.", nil, "What reads its metrics is on another host.", nil},
	{"Next steps", "Deploy a kernel for FIPS where it is asked for.", nil, "It is about deployed machines, not about controllers.", nil},
}
