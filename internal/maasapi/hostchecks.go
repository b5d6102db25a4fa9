package maasapi

import "github.com/metalward/metalward/internal/authz"

// hostCheckOperations are what MAAS has nothing like: what the checks of the controllers' own hosts found.
var hostCheckOperations = []Operation{
	{ID: "hostchecks.list", Handler: "HostChecksHandler", Method: "GET", Path: "/host-checks/", Action: authz.HostCheckView,
		Returns: "for each controller its score, how many findings there are by severity, and when it was checked", Doc: "List how the controllers' own hosts stand."},
	{ID: "hostcheck.read", Handler: "HostCheckHandler", Method: "GET", Path: "/host-checks/{system_id}/", Action: authz.HostCheckView,
		Returns: "the score with its arithmetic, the findings with evidence, fix, undo and waiver, and the scores of up to 400 days", Doc: "Read what the checks of a controller's own host found."},
	{ID: "hostcheck.run", Handler: "HostCheckHandler", Method: "POST", Path: "/host-checks/{system_id}/", Op: "run", Action: authz.HostCheckRun,
		Returns: "as listed; the check itself follows within seconds, once the controller is there", Doc: "Have a controller check its own host again. Once a minute at most."},
	{ID: "hostwaivers.list", Handler: "HostCheckWaiversHandler", Method: "GET", Path: "/host-check-waivers/", Action: authz.HostCheckView,
		Returns: "the waivers, those that have ended, too", Doc: "List who answers for which findings, and until when."},
	{ID: "hostwaivers.create", Handler: "HostCheckWaiversHandler", Method: "POST", Path: "/host-check-waivers/", Action: authz.HostCheckWaive,
		Params: []Param{req("check", "The id of the check, as the findings have it."), opt("controller", "The system id of the controller that it is for; all of them, if not given."),
			req("owner", "Who answers for it."), req("reason", "Why it may stay as it is."), req("until", "The last day, UTC, such as 2027-01-31: within a year.")},
		Returns: "the waiver", Doc: "Answer for what a check finds today, until a day. The findings stay in sight and do not count; what the check finds later and is worse does."},
	{ID: "hostwaiver.delete", Handler: "HostCheckWaiverHandler", Method: "DELETE", Path: "/host-check-waivers/{id}/", Action: authz.HostCheckWaive, Status: 204,
		Doc: "Delete a waiver: what it covers counts again at once."},
}
