// Package oidc logs in at a real OpenID provider, of another maker: github.com/zitadel/oidc's server with the storage of its
// example, over TLS, against the program as people run it. It is a module of its own, so that nothing of the provider can get
// into the product. What no provider does that keeps to the standard is in internal/region/oidc_test.go, whose provider is
// ours; both are sent the same requests.
package oidc
