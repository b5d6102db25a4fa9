package maasapi

import "github.com/metalward/metalward/internal/authz"

// blockOperations are what MAAS has nothing like: who is shut out of the site.
var blockOperations = []Operation{
	{ID: "blocks.list", Handler: "BlocksHandler", Method: "GET", Path: "/blocks/", Action: authz.BlockView,
		Params:  []Param{opt("ended", "true lists those that last no more."), opt("before", "Only blocks before this id."), opt("limit", "How many, 1 to 1000; 100 by default.")},
		Returns: "the blocks, the newest first", Doc: "List who is shut out of the site, why, and until when."},
	{ID: "blocks.observed", Handler: "BlocksHandler", Method: "GET", Path: "/blocks/", Op: "observed", Action: authz.BlockView,
		Params: []Param{opt("limit", "How many, 1 to 1000; 100 by default.")}, Returns: "the addresses, the latest first, with the reason why each was not blocked",
		Doc: "List whom detections would have blocked, and why they did not."},
	{ID: "blocks.create", Handler: "BlocksHandler", Method: "POST", Path: "/blocks/", Action: authz.BlockEdit,
		Params:  []Param{req("address", "The address; of an IPv6 address its /64 is blocked."), req("reason", "Why."), opt("for", "How long, such as 90m, 12h or 7d, which is the most; an hour by default.")},
		Returns: "the block", Doc: "Shut an address out of the site. Addresses that the site needs, and the one that you ask from, are refused by name."},
	{ID: "blocks.clear", Handler: "BlocksHandler", Method: "POST", Path: "/blocks/", Op: "clear", Action: authz.BlockEdit,
		Params: []Param{opt("reason", "Why.")}, Returns: "how many blocks ended", Doc: "The panic switch: let everybody in again. Nobody is blocked until blocking is switched on again."},
	{ID: "blocks.on", Handler: "BlocksHandler", Method: "POST", Path: "/blocks/", Op: "on", Action: authz.BlockEdit, Returns: "as read by block-policy", Doc: "Switch blocking on again after clear."},
	{ID: "block.read", Handler: "BlockHandler", Method: "GET", Path: "/blocks/{address}/", Action: authz.BlockView, Returns: "the block", Doc: "Read the block of an address."},
	{ID: "block.lift", Handler: "BlockHandler", Method: "POST", Path: "/blocks/{address}/", Op: "lift", Action: authz.BlockEdit, Status: 204,
		Params: []Param{opt("reason", "Why.")}, Doc: "Let an address in again at once."},
	{ID: "blockpolicy.read", Handler: "BlockPolicyHandler", Method: "GET", Path: "/block-policy/", Action: authz.BlockView,
		Returns: "whether blocking is on, what is enforced, for how long, who never is blocked, and what each controller does with the list", Doc: "Read how blocking stands."},
	{ID: "blockpolicy.update", Handler: "BlockPolicyHandler", Method: "PUT", Path: "/block-policy/", Action: authz.BlockEdit,
		Params: []Param{opt("enforce", "Ids of detections that block, separated by commas or blanks; empty for none: all are observed alone."), opt("first", "How long the first block of an address lasts, such as 10m."),
			opt("longest", "How long any does at most, such as 24h; at most 7d."), opt("most", "How many blocks at the same time."), opt("never", "Networks that are never blocked, separated by commas or blanks.")},
		Returns: "as read", Doc: "Change which detections block, and whom never. What is not given stays."},
}
