-- The networks that a key was used from: a new one is worth telling.
CREATE TABLE api_key_networks (
  key_id BIGINT NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE, network TEXT NOT NULL, seen BIGINT NOT NULL, PRIMARY KEY (key_id, network));
