-- Identity providers (OpenID Connect), whom of theirs we know, and which of their groups are ours.

CREATE TABLE providers (
  id SERIAL_ID, name TEXT NOT NULL UNIQUE, vendor TEXT NOT NULL, issuer TEXT NOT NULL UNIQUE, client_id TEXT NOT NULL, scopes TEXT NOT NULL,
  group_claim TEXT NOT NULL, create_users BIGINT NOT NULL, enabled BIGINT NOT NULL, created BIGINT NOT NULL);

CREATE TABLE provider_groups (
  provider_id BIGINT NOT NULL REFERENCES providers (id) ON DELETE CASCADE, value TEXT NOT NULL,
  group_id BIGINT NOT NULL REFERENCES user_groups (id) ON DELETE CASCADE, PRIMARY KEY (provider_id, value, group_id));

CREATE TABLE external_identities (
  issuer TEXT NOT NULL, subject TEXT NOT NULL, provider_id BIGINT NOT NULL REFERENCES providers (id) ON DELETE CASCADE,
  user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE, created BIGINT NOT NULL, last_used BIGINT NOT NULL, PRIMARY KEY (issuer, subject));
CREATE INDEX external_identities_user ON external_identities (user_id);

-- What works once: the state of a login that came back, the id of a logout token.
CREATE TABLE spent (hash TEXT PRIMARY KEY, expires BIGINT NOT NULL);

-- Users whom a provider brought have no password.
ALTER TABLE users ADD COLUMN is_external BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN provider_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN provider_session TEXT NOT NULL DEFAULT '';
