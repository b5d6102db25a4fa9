package bench

import (
	"testing"

	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// BenchmarkVault measures a secret in Vault beside one in the database, with memory and without. Vault is the one of the tests, in
// this process: what it costs itself is next to nothing. test/vault has the same with a real one.
func BenchmarkVault(b *testing.B) {
	vaulttest.Benchmark(b, vaulttest.NewFake())
	reportLoad(b)
}
