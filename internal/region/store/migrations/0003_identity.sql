-- Logins, keys and second factors of local users.

ALTER TABLE sessions ADD COLUMN agent TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN factor TEXT NOT NULL DEFAULT '';

ALTER TABLE api_keys ADD COLUMN expires BIGINT NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN read_only BIGINT NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN pools TEXT NOT NULL DEFAULT '[]';
ALTER TABLE api_keys ADD COLUMN networks TEXT NOT NULL DEFAULT '[]';
ALTER TABLE api_keys ADD COLUMN last_address TEXT NOT NULL DEFAULT '';

-- One-use links: user_id 0 makes the first administrator; others let a user choose a password.
ALTER TABLE first_links RENAME TO links;
ALTER TABLE links ADD COLUMN user_id BIGINT NOT NULL DEFAULT 0;
CREATE INDEX links_user ON links (user_id);

CREATE TABLE factors (
  id SERIAL_ID, user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE, kind TEXT NOT NULL, name TEXT NOT NULL, credential TEXT NOT NULL UNIQUE,
  data TEXT NOT NULL, last_step BIGINT NOT NULL, created BIGINT NOT NULL, last_used BIGINT NOT NULL);
CREATE INDEX factors_user ON factors (user_id);

CREATE TABLE recovery_codes (
  user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE, hash TEXT NOT NULL, PRIMARY KEY (user_id, hash));

-- Steps between two requests: a login that waits for its second factor, a factor being set up.
CREATE TABLE steps (
  hash TEXT PRIMARY KEY, user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE, epoch BIGINT NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL,
  expires BIGINT NOT NULL);
CREATE INDEX steps_user ON steps (user_id);
