package maasapi

import "github.com/metalward/metalward/internal/authz"

// healthOperations tell how what the region depends on stands. MAAS has nothing like it.
var healthOperations = []Operation{
	{ID: "health.read", Handler: "HealthHandler", Method: "GET", Path: "/health/", Action: authz.TLSView,
		Returns: "the worst state of all, and each check with its state: ok, warning or bad; and of what is kept on disks whether these are encrypted: yes, no or unknown, with what it is found by", Doc: "Read how what this region depends on stands. Nothing that anybody dismissed changes it."},
}
