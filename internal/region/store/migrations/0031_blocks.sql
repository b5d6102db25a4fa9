-- Who is shut out of the site: one address or the /64 of an IPv6 address. A block lasts while ended is 0; how says how it ended: over, lifted or cleared.
CREATE TABLE blocks (
  id SERIAL_ID, prefix TEXT NOT NULL, unit TEXT NOT NULL, reason TEXT NOT NULL, made_by TEXT NOT NULL, began BIGINT NOT NULL, until BIGINT NOT NULL,
  ended BIGINT NOT NULL, how TEXT NOT NULL, ended_by TEXT NOT NULL, ended_why TEXT NOT NULL);
CREATE UNIQUE INDEX blocks_active ON blocks (prefix) WHERE ended = 0;
CREATE INDEX blocks_prefix ON blocks (prefix, began);
CREATE INDEX blocks_ended ON blocks (ended);

-- The list as a whole: version counts its changes, which is how regions learn of them; off is the panic switch; policy is JSON.
CREATE TABLE block_site (
  id BIGINT PRIMARY KEY, version BIGINT NOT NULL, off BIGINT NOT NULL, off_by TEXT NOT NULL, off_at BIGINT NOT NULL, policy TEXT NOT NULL);
INSERT INTO block_site (id, version, off, off_by, off_at, policy) VALUES (1, 1, 0, '', 0, '{}');

-- Who would have been blocked, and why he was not.
CREATE TABLE block_wishes (
  prefix TEXT NOT NULL, unit TEXT NOT NULL, reason TEXT NOT NULL, why TEXT NOT NULL, first_seen BIGINT NOT NULL, last_seen BIGINT NOT NULL, times BIGINT NOT NULL,
  PRIMARY KEY (prefix, unit));

-- What each controller did with the list, and what its host needs: addresses that are never blocked.
CREATE TABLE block_controllers (
  controller TEXT PRIMARY KEY, seen BIGINT NOT NULL, version BIGINT NOT NULL, how TEXT NOT NULL, applied BIGINT NOT NULL, refused TEXT NOT NULL, problem TEXT NOT NULL,
  needs TEXT NOT NULL);
