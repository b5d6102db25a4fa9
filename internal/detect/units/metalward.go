package units

import (
	. "github.com/metalward/metalward/internal/detect"
)

// failedAuth is a refused proof of identity that is no person's login: racks', agents' and machines'.
var failedAuth = All(is(Kind, "maas"), is(EventName, "AUTHN_authentication_failed"))

// ofBoots are what machines prove that a boot, or a deployment, is theirs for.
var ofBoots = []string{"machine.claim", "machine.phone_home", "machine.boot"}

func mwEvent(at int, message, action string) string {
	return mwFrom(at, message, action, "198.51.100.7")
}

func mwFrom(at int, message, action, source string) string {
	return security(at, `"appid":"metalward"`, `"message":"`+message+`"`, `"action":"`+action+`"`, `"request_remote_ip":"`+source+`"`, `"principal":"user:ann"`)
}

var metalward = []Unit{
	{
		ID: "mw_enrolment_guessing", Title: "The enrolment secret is guessed", Source: "Metalward's requirements of security", ATTACK: []string{"T1110.001"}, Proves: true,
		Why: "A rack is enrolled once, with a token that is copied; three refusals are somebody without one.", Do: "Change the secret, and close the controllers' port to strangers.",
		Match: Any(All(failedAuth, is(Action, "rack.enrol")), All(is(Kind, "maas"), is(EventName, "SECURITY_enrolment_refused"))), Key: []Field{Source}, Rungs: []Rung{{Count: 3, Window: hour, Severity: High}},
		Samples: []Sample{
			{Name: "three tokens that are none", Lines: several(3, func(i int) string { return mwEvent(i, "SECURITY_enrolment_refused", "security.event") }), Want: High},
			{Name: "three tokens that were used", Lines: several(3, func(i int) string { return mwEvent(i, "AUTHN_authentication_failed", "rack.enrol") }), Want: High},
			{Name: "two", Lines: several(2, func(i int) string { return mwEvent(i, "AUTHN_authentication_failed", "rack.enrol") })},
		},
	},
	{
		ID: "mw_boot_token_guessing", Title: "Boot tokens are guessed", Source: "Metalward's requirements of security", ATTACK: []string{"T1110", "T1200"}, Proves: true,
		Why: "A machine has its token from its own boot, and its credential from its own deployment; refusals mean somebody else in its network.", Do: "Find the machine by its address, on the switch if need be.",
		Match: All(failedAuth, is(Action, ofBoots...)), Key: []Field{Source}, Rungs: []Rung{{Count: 3, Window: hour, Severity: Medium}},
		Quiet: []string{"fifty machines that boot at once", "one machine whose token was used up, which says so once"},
		Samples: []Sample{
			{Name: "three", Lines: several(3, func(i int) string { return mwEvent(i, "AUTHN_authentication_failed", "machine.claim") }), Want: Medium},
			{Name: "three credentials of deployments", Lines: several(3, func(i int) string { return mwEvent(i, "AUTHN_authentication_failed", "machine.phone_home") }), Want: Medium},
			{Name: "two", Lines: several(2, func(i int) string { return mwEvent(i, "AUTHN_authentication_failed", "machine.claim") })},
			{Name: "fifty machines", Lines: several(50, func(i int) string {
				return mwFrom(i, "AUTHN_authentication_failed", "machine.claim", "10.0.0."+itoa(i))
			})},
		},
	},
	{
		ID: "mw_key_misuse", Title: "API keys are refused", Source: "Metalward's requirements of security", ATTACK: []string{"T1550.001"}, Proves: true,
		Why: "Programs do not mistype keys: ten refusals in ten minutes are a deleted key that is still used, or guesses. Of one key from one address the region looks at five at once, and then at ever fewer: more than some fourteen in ten minutes there are not.", Do: "See which program it is by its agent; give it a new key or block it.",
		Match: All(failedAuth, Not(is(Action, append([]string{"rack.enrol", "rack.renew"}, ofBoots...)...))), Key: []Field{Source}, Rungs: []Rung{{Count: 10, Window: 10 * minute, Severity: Medium}},
		Samples: []Sample{
			{Name: "ten", Lines: several(10, func(i int) string { return mwEvent(i, "AUTHN_authentication_failed", "machine.view") }), Want: Medium},
			{Name: "nine", Lines: several(9, func(i int) string { return mwEvent(i, "AUTHN_authentication_failed", "machine.view") })},
			{Name: "boot tokens", Lines: several(20, func(i int) string { return mwEvent(i, "AUTHN_authentication_failed", "machine.claim") })},
		},
	},
	{
		ID: "mw_internal_door", Title: "Strangers knock at a port that only controllers and machines speak to", Source: "Canonical, How to enhance MAAS security; Metalward's table of ports", ATTACK: []string{"T1046"}, Proves: true,
		Why:   "Racks speak TLS with a certificate to the region's port 5250, machines TLS to a rack's 5246. A request in clear, or another certificate, is a scanner or somebody who tries.",
		Do:    "Close these ports to all but racks, and to all but machines; see who has the address.",
		Match: All(is(Kind, "maas"), is(EventName, "SECURITY_rpc_handshake_failed", "SECURITY_rpc_certificate_refused", "SECURITY_metadata_handshake_failed")), Key: []Field{Source},
		Rungs: []Rung{{Count: 1, Window: day, Severity: Low}, {Count: 10, Window: hour, Severity: Medium}},
		Quiet: []string{"a connection that says nothing and ends, as balancers and monitoring make"},
		Samples: []Sample{
			{Name: "GET on 5250", Lines: []string{mwEvent(0, "SECURITY_rpc_handshake_failed", "security.event")}, Want: Low},
			{Name: "ten certificates", Lines: several(10, func(i int) string { return mwEvent(i, "SECURITY_rpc_certificate_refused", "security.event") }), Want: Medium},
			{Name: "no TLS on 5246", Lines: []string{mwEvent(0, "SECURITY_metadata_handshake_failed", "security.event")}, Want: Low},
			{Name: "a rack that enrols", Lines: []string{mwEvent(0, "AUTHN_authentication_successful", "rack.enrol")}},
		},
	},
	{
		ID: "mw_metadata_scraping", Title: "One address asks for the data of machines over and over", Source: "Metalward's requirements of security", ATTACK: []string{"T1552.005"}, Proves: true,
		Why:   "A machine needs one exchange of its token and one report for each boot. A rack tells of an address that made more than twenty at once, and of one that asks without the certificate of a boot.",
		Do:    "Find the machine by its address. If it is a router that hides many machines, let the rack see their own addresses.",
		Match: All(is(Kind, "maas"), is(EventName, "SECURITY_claim_flood", "SECURITY_phone_home_flood", "SECURITY_metadata_scraping")), Key: []Field{Source},
		Rungs: []Rung{{Count: 1, Window: day, Severity: Medium}, {Count: 4, Window: day, Severity: High}}, Quiet: []string{"fifty machines that boot at once, each with its address"},
		Samples: []Sample{
			{Name: "a flood of claims", Lines: []string{mwEvent(0, "SECURITY_claim_flood", "security.event")}, Want: Medium},
			{Name: "for hours", Lines: several(4, func(i int) string { return mwEvent(i*3600, "SECURITY_metadata_scraping", "security.event") }), Want: High},
			{Name: "a machine that reports", Lines: []string{mwEvent(0, "AUTHN_authentication_successful", "machine.phone_home")}},
		},
	},
	{
		ID: "mw_dhcp_starvation", Title: "DHCP addresses are used up on purpose", Source: "Metalward's requirements of security; RFC 2131, section 7", ATTACK: []string{"T1498", "T1557.003"},
		Why:   "A network interface has one hardware address. Hundreds of new ones within a minute are a program that takes all addresses, so that its own server answers next.",
		Do:    "Find the port on the switch by its number of addresses, and close it; port security bounds them. See whether another server answers, which is an alert of its own.",
		Match: All(is(Kind, "maas"), is(EventName, "SECURITY_dhcp_starvation")), Key: []Field{Host}, Rungs: []Rung{{Count: 1, Window: day, Severity: High}},
		Quiet: []string{"fifty machines that boot at once"},
		Samples: []Sample{
			{Name: "told by a rack", Lines: []string{mwEvent(0, "SECURITY_dhcp_starvation", "security.event")}, Want: High},
			{Name: "another server", Lines: []string{mwEvent(0, "SECURITY_rogue_dhcp", "security.event")}},
		},
	},
	{
		ID: "mw_rogue_dhcp", Title: "Another DHCP server answers in a network of machines", Source: "Metalward's requirements of security; RFC 2131, section 7", ATTACK: []string{"T1557.003"},
		Why:   "Who answers a machine's question for an address says what it boots and who its router is. A rack hears answers that are not its own.",
		Do:    "Find the server by its address on the switch and turn it off, unless it is yours and meant to be there: then no machine should boot in that network.",
		Match: All(is(Kind, "maas"), is(EventName, "SECURITY_rogue_dhcp")), Key: []Field{Source}, Rungs: []Rung{{Count: 1, Window: day, Severity: High}},
		Samples: []Sample{
			{Name: "an offer of another", Lines: []string{mwEvent(0, "SECURITY_rogue_dhcp", "security.event")}, Want: High},
			{Name: "starvation", Lines: []string{mwEvent(0, "SECURITY_dhcp_starvation", "security.event")}},
		},
	},
	{
		ID: "mw_tftp_scraping", Title: "Files are guessed by TFTP", Source: "Metalward's requirements of security", ATTACK: []string{"T1602.002"},
		Why:   "Firmware asks for the file that DHCP named, and some loaders for some dozen more. Fifty different names that are not there are somebody who looks for configurations of other devices.",
		Do:    "Nothing of a site is to be had by TFTP here. Find the machine by its address: others may have more to give.",
		Match: All(is(Kind, "maas"), is(EventName, "SECURITY_tftp_scraping")), Key: []Field{Source}, Rungs: []Rung{{Count: 1, Window: day, Severity: Medium}},
		Quiet: []string{"loaders that try names by address, as PXELINUX and GRUB do"},
		Samples: []Sample{
			{Name: "told by a rack", Lines: []string{mwEvent(0, "SECURITY_tftp_scraping", "security.event")}, Want: Medium},
			{Name: "something else", Lines: []string{mwEvent(0, "SECURITY_boot_mac_mismatch", "security.event")}},
		},
	},
	{
		ID: "mw_request_rules", Title: "Requests look like attacks", Source: "The OWASP Core Rule Set, at the region's listener", ATTACK: []string{"T1190"}, Proves: true,
		Why:   "Pages and clients send nothing that these rules take for an attack, or seldom: one may be a mistake of the rules, several are a scanner or a person.",
		Do:    "The event has the ids of the rules and the id of the request. Block the address if nobody of yours works there; if the request was innocent, tell us which it was.",
		Match: All(is(Kind, "maas"), is(EventName, "SECURITY_request_refused", "SECURITY_request_suspected", "SECURITY_request_unjudged")), Key: []Field{Source},
		Rungs: []Rung{{Count: 1, Window: day, Severity: Low}, {Count: 5, Window: 10 * minute, Severity: Medium}},
		Samples: []Sample{
			{Name: "one", Lines: []string{mwEvent(0, "SECURITY_request_suspected", "security.event")}, Want: Low},
			{Name: "five, refused", Lines: several(5, func(i int) string { return mwEvent(i, "SECURITY_request_refused", "security.event") }), Want: Medium},
			{Name: "a key sent without TLS", Lines: several(5, func(i int) string { return mwEvent(i, "SECURITY_key_exposed", "security.event") })},
		},
	},
	{
		ID: "mw_trail_broken", Title: "The audit trail does not prove itself", Source: "Metalward's requirements of security", ATTACK: []string{"T1070"}, Proves: false,
		Why: "Somebody with access to the database changed or took away events.", Do: "metalward trail verify says where. Keep the database as it is; compare it with a backup.",
		Match: All(is(Kind, "maas"), If(EventName, Starts, "SECURITY_trail")), Key: []Field{Host}, Rungs: []Rung{{Count: 1, Window: day, Severity: High}},
		Samples: []Sample{
			{Name: "broken", Lines: []string{mwEvent(0, "SECURITY_trail_broken", "")}, Want: High},
			{Name: "an export", Lines: []string{mwEvent(0, "AUTHZ_administrative", "trail.export")}},
		},
	},
	{
		ID: "mw_role_escalation", Title: "Rights were given", Source: "Metalward's requirements of security", ATTACK: []string{"T1098"},
		Why: "Who takes over an account gives rights to another one. A change of groups, roles or grants is rare.", Do: "Ask who did it; the audit trail says what.",
		Match: All(is(Kind, "maas"), is(Action, "grant.edit", "role.edit", "group.edit", "user.rights")), Key: []Field{User}, Rungs: []Rung{{Count: 1, Window: day, Severity: Info}, {Count: 10, Window: hour, Severity: Low}},
		Samples: []Sample{
			{Name: "ten in an hour", Lines: several(10, func(i int) string { return mwEvent(i*60, "AUTHZ_administrative", "grant.edit") }), Want: Low},
			{Name: "a machine's edit", Lines: several(10, func(i int) string { return mwEvent(i*60, "AUTHZ_administrative", "machine.edit") })},
		},
	},
}
