-- The key that a boot token was spent for: the same client may ask for its answer again.
ALTER TABLE boots ADD COLUMN claim_key TEXT NOT NULL DEFAULT '';
