// Package macaroons speaks the bakery protocol of Candid servers and RBAC services, from both sides: Bakery mints the
// macaroons that people log in with and verifies what came back discharged; Client logs in as an agent, as a site asks
// such a service about people.
//
// A macaroon for a login is bound to its provider by its root key and says nothing of who shows it until the provider
// has discharged its caveat, which only the provider can read. Root keys and the site's key pair follow from the
// instance's root key: minting writes nothing, so strangers can ask for as many as they like, and all of a provider's
// macaroons end when its generation changes.
//
// Start with bakery.go (Mint, Verify), then login.go (the way of a browser) and client.go (agents).
//
// Sources: Birgisson et al., Macaroons (NDSS 2014); go-macaroon-bakery v3, packages bakery and httpbakery; Candid
// v1.12.0, docs and internal/discharger.
package macaroons
