package store

// MacaroonGeneration returns the generation of a provider's macaroons.
func (v *View) MacaroonGeneration(providerID int64) (n int64, err error) {
	err = v.row("SELECT COALESCE(MAX(generation), 0) FROM macaroon_generations WHERE provider_id = ?", providerID).Scan(&n)
	return n, err
}

// EndMacaroons begins a new generation of a provider's macaroons: none that was made before verifies any more.
func (t *Tx) EndMacaroons(providerID int64) error {
	t.touch(ProviderTarget(providerID), false)
	_, err := t.exec(`INSERT INTO macaroon_generations (provider_id, generation) VALUES (?, 1)
		ON CONFLICT (provider_id) DO UPDATE SET generation = macaroon_generations.generation + 1`, providerID)
	return err
}
