package vaulttest

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
)

// Benchmark measures what reading and writing a secret of a power account's size costs, beside the keyring in the same rounds: asking
// Vault each time, and out of memory. It reports medians in microseconds, of b.N rounds. Vault is on loopback, by TLS.
func Benchmark(b *testing.B, v Backend) {
	site := Serve(b, v)
	server := site.Connect(b, nil)
	role := v.SetRole(b, "bench", SitePolicy("secret", "bench"), time.Hour, time.Hour)
	id, err := server.Unwrap(b.Context(), secret.FromString(v.Wrap(b, "bench")))
	if err != nil {
		b.Fatal(err)
	}
	c, err := server.NewClient(vault.Role{ID: role, SecretID: id.Value, Mount: "secret", Prefix: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	k, err := vault.NewKeeper(vault.KeeperConfig{Client: c, Site: "site", Key: bytes.Repeat([]byte{1}, 32)})
	if err != nil {
		b.Fatal(err)
	}
	ring := secret.NewKeyset(time.Now()).Keyring()
	const ref, each = secret.Ref("machine/abc/power"), 50
	value := secret.FromString(`{"power_address":"10.0.0.1","power_user":"metalward","power_pass":"0123456789abcdef"}`)
	ctx := context.Background()
	local, err := ring.Seal(ref, value)
	if err != nil {
		b.Fatal(err)
	}
	far, err := k.Seal(ctx, ref, value)
	if err != nil {
		b.Fatal(err)
	}
	works := []struct {
		name string
		do   func() error
	}{
		{"database-read-µs", func() error { _, err := ring.Open(ref, local); return err }},
		{"vault-read-µs", func() error { _, err := k.Fetch(ctx, ref, far); return err }},
		{"memory-read-µs", func() error { _, err := k.Open(ctx, ref, far); return err }},
		{"database-write-µs", func() error { _, err := ring.Seal(ref, value); return err }},
		{"vault-write-µs", func() error { _, err := k.Seal(ctx, ref, value); return err }},
	}
	took := make([][]float64, len(works))
	b.ResetTimer()
	for round := range b.N {
		for i := range works {
			w := (i + round) % len(works) // the order changes from round to round
			start := time.Now()
			for range each {
				if err := works[w].do(); err != nil {
					b.Fatal(err)
				}
			}
			took[w] = append(took[w], float64(time.Since(start).Nanoseconds())/each/1e3)
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, w := range works {
		slices.Sort(took[i])
		b.ReportMetric(took[i][len(took[i])/2], w.name)
	}
}
