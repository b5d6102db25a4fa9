package main

import (
	"context"
	"fmt"
	"os"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/region/rbac"
)

// applyRBAC registers this site at an RBAC service, in the name of a person who logs in there with a browser, and makes
// the service the external authentication.
func applyRBAC(ctx context.Context, r *region.Region, address, name string) error {
	if name == "" {
		return fault.Field("rbac-service-name", "Give the name that this site has, or gets, at the RBAC service.")
	}
	person := macaroons.NewVisitor(r.Outgoing, func(address string) {
		fmt.Fprintf(os.Stderr, "Log in as somebody who may register services, with a browser at\n  %s\n", address)
	})
	fields, key, err := rbac.Register(ctx, address, person, rbac.Registration{Service: name, Replace: true})
	if err != nil {
		return err
	}
	_, err = r.Providers.SetExternal(ctx, providers.External{Kind: metal.ProviderRBAC, Fields: fields, Key: key})
	return err
}
