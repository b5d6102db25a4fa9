// Package vault holds internal/vault, and the Vault in memory that its unit tests use, against a real Vault: the core of version
// 1.14.1, the last one under the MPL that builds from released modules, with the KV and AppRole engines, in this process and in
// memory. It is a module of its own, so that nothing of Vault can get into the product.
package vault
