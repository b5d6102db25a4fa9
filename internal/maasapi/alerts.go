package maasapi

import "github.com/metalward/metalward/internal/authz"

// alertOperations are what MAAS has nothing like: what detections found in the region's own security events and in logs that controllers read.
var alertOperations = []Operation{
	{ID: "hostlogs.list", Handler: "HostLogsHandler", Method: "GET", Path: "/host-logs/", Action: authz.AlertView,
		Returns: "for each controller that told: the logs, whether each is read, denied (it may not be read), absent, or left (another one has the same), and when it told",
		Doc:     "List which logs of their own hosts, and of machines that send theirs, the controllers read for attacks."},
	{ID: "alerts.list", Handler: "AlertsHandler", Method: "GET", Path: "/alerts/", Action: authz.AlertView,
		Params: []Param{opt("state", "open, acknowledged or resolved; all of them, if not given."), opt("severity", "At least this one: info, low, medium or high."),
			opt("unit", "The id of a detection."), opt("before", "Only alerts before this id."), opt("limit", "How many, 1 to 1000; 100 by default.")},
		Returns: "the alerts, those that were found last first", Doc: "List what detections found in the region's own security events and in the logs that controllers read."},
	{ID: "alert.read", Handler: "AlertHandler", Method: "GET", Path: "/alerts/{id}/", Action: authz.AlertView,
		Returns: "what was found, about whom, how often and when, with evidence and what to do next", Doc: "Read an alert."},
	{ID: "alert.acknowledge", Handler: "AlertHandler", Method: "POST", Path: "/alerts/{id}/", Op: "acknowledge", Action: authz.AlertEdit,
		Params: []Param{opt("reason", "What to know about it.")}, Returns: "the alert", Doc: "Say that somebody looks after an open alert."},
	{ID: "alert.resolve", Handler: "AlertHandler", Method: "POST", Path: "/alerts/{id}/", Op: "resolve", Action: authz.AlertEdit,
		Params: []Param{opt("reason", "How it was dealt with.")}, Returns: "the alert", Doc: "Say that an alert is dealt with. More of the same opens it again."},
	{ID: "alert.silence", Handler: "AlertHandler", Method: "POST", Path: "/alerts/{id}/", Op: "silence", Action: authz.AlertEdit,
		Params:  []Param{req("reason", "Why nobody has to be told."), req("until", "The last day, UTC, such as 2027-01-31, or a moment such as 2027-01-31T18:00:00Z: within 90 days.")},
		Returns: "the alert", Doc: "Have nobody told of an alert, and of later ones of the same detection about the same, until a moment."},
	{ID: "alert.unsilence", Handler: "AlertHandler", Method: "POST", Path: "/alerts/{id}/", Op: "unsilence", Action: authz.AlertEdit, Returns: "the alert", Doc: "End a silence at once."},
	{ID: "alerts.hours", Handler: "AlertsHandler", Method: "GET", Path: "/alerts/", Op: "hours", Action: authz.AlertView,
		Returns: "the detection, the beginning of the hour and the number of events, the oldest first", Doc: "Count the events of alerts of the last week by detection and hour."},
	{ID: "alertsources.list", Handler: "AlertSourcesHandler", Method: "GET", Path: "/alert-sources/", Action: authz.AlertView,
		Params:  []Param{opt("names", "true: ask the DNS for their names, and list those of one domain together. Whoever runs an address's network can see that.")},
		Returns: "the sources, with what the databases on the region's host know of each: AS number, its holder and the country; and with names, if asked for, those that the names' owners confirm",
		Doc:     "List the sources of alerts that are not resolved, the worst first."},
	{ID: "alert.ask", Handler: "AlertHandler", Method: "POST", Path: "/alerts/{id}/", Op: "ask", Action: authz.AlertAsk, Audited: true,
		Params:  []Param{opt("our_address", "The address or name that was attacked, for the draft; the draft does not say it by default.")},
		Returns: "names, network, holder, country, the address for complaints, and a draft of one", Doc: "Ask the DNS and the registries of addresses who the source of an alert is. They can see that; each time leaves an event in the trail."},
	{ID: "alertunits.list", Handler: "AlertUnitsHandler", Method: "GET", Path: "/alert-units/", Action: authz.AlertView,
		Returns: "the detections, with their thresholds, what to do, and whether the evidence proves the source", Doc: "List the detections that look at the region's own security events, and at controllers' logs."},
	{ID: "alertunit.read", Handler: "AlertUnitHandler", Method: "GET", Path: "/alert-units/{unit}/", Action: authz.AlertView, Returns: "the detection", Doc: "Read a detection."},
	{ID: "alertunit.preview", Handler: "AlertUnitHandler", Method: "GET", Path: "/alert-units/{unit}/", Op: "preview", Action: authz.AlertView, Params: thresholdFields,
		Returns: "how many alerts the last week's security events, or for a detection in logs the last day of the current logs of the region's host, give with the thresholds of now and with these, and which alerts only one of them gives", Doc: "See what other thresholds would have found, before saving them."},
	{ID: "alertunit.update", Handler: "AlertUnitHandler", Method: "PUT", Path: "/alert-units/{unit}/", Action: authz.AlertThreshold, Params: thresholdFields,
		Returns: "the detection", Doc: "Change when a detection fires, or turn it off. What is counted goes on."},
}

var thresholdFields = []Param{opt("thresholds", "When it fires, a line each, such as \"5 within 1m: medium\" or \"15 different within 24h: high\". Left out or empty: as it came."), opt("off", "Whether it does not run.")}
