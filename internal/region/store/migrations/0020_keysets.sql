-- The keys that seal secrets, wrapped by a root key that is not here: one row, two while the root key is rotated. What is sealed with a
-- key below the oldest is refused: a region that does not know yet that it was retired has to read the keyset first.

CREATE TABLE keysets (root TEXT PRIMARY KEY, wrapped BYTEA NOT NULL, oldest BIGINT NOT NULL, made BIGINT NOT NULL);
