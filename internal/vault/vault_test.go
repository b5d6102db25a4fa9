package vault_test

import (
	"testing"

	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// TestFake runs the suite against the Vault in memory; test/vault runs it against a real one.
func TestFake(t *testing.T) { vaulttest.Suite(t, vaulttest.NewFake()) }

// TestFakeTransit does so with the transit engine; test/transit has the real one.
func TestFakeTransit(t *testing.T) { vaulttest.TransitSuite(t, vaulttest.NewFake()) }
