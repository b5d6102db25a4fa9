// Package transit holds internal/vault's use of the transit engine against the real engine, of Vault 1.14.1. It runs outside of
// Vault's core, in memory; logins and policies are those of vault/vaulttest. The core of test/vault needs an older release of
// Vault's sdk than this engine, so they cannot be one program. A module of its own, so that nothing of Vault can get into the product.
package transit
