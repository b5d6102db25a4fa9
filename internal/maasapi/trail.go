package maasapi

import "github.com/metalward/metalward/internal/authz"

// trailFilters select events of the trail.
var trailFilters = []Param{
	opt("principal", "Who: user:alice, rack:ID, system:PART or anonymous."), opt("action", "Such as machine.deploy, or machine for all of its kind."),
	opt("target", "Object, such as machine:ID or user:1."), opt("outcome", "success, denied or failed."), opt("source", "Address that it came from."),
	opt("from", "Not before this time, RFC 3339 or YYYY-MM-DD."), opt("to", "Before this time, RFC 3339 or YYYY-MM-DD."),
}

var trailOperations = []Operation{
	{ID: "trail.list", Handler: "TrailHandler", Method: "GET", Path: "/trail/", Action: authz.TrailView,
		Params:  append([]Param{opt("before", "Only events before this id."), opt("after", "Only events after this id."), opt("limit", "How many, 1 to 1000; 100 by default.")}, trailFilters...),
		Returns: "events, newest first", Doc: "Read the audit trail."},
	{ID: "trail.export", Handler: "TrailHandler", Method: "GET", Path: "/trail/", Op: "export", Action: authz.TrailExport, Audited: true,
		Params:  append([]Param{opt("as", "proof (the default): the whole sealed trail, one JSON object a line, which `metalward trail verify --export` checks; csv or json: the events that the other parameters select.")}, trailFilters...),
		Returns: "the trail", Doc: "Export the audit trail."},
}
