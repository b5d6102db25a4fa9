-- Where the site keeps its secrets, if not here: one row, named "site".
CREATE TABLE secret_backend (name TEXT PRIMARY KEY, backend TEXT NOT NULL, since BIGINT NOT NULL);

-- The regions that have a Vault: which place of it, by which secret id (its accessor), and how that was when they last looked.
CREATE TABLE vault_regions (
	region TEXT PRIMARY KEY, place TEXT NOT NULL, accessor TEXT NOT NULL, configured BIGINT NOT NULL,
	state TEXT NOT NULL, message TEXT NOT NULL, since BIGINT NOT NULL, seen BIGINT NOT NULL
);
