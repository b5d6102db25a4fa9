-- Types are read by both engines; SERIAL_ID is replaced by each engine's self-numbering primary key.
-- Times are UTC microseconds since 1970; 0 means never. Lists and maps are JSON text.

CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE secrets (ref TEXT PRIMARY KEY, sealed BYTEA NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL);

CREATE TABLE pools (id SERIAL_ID, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL);
INSERT INTO pools (id, name, description) VALUES (0, 'default', 'Default pool');

CREATE TABLE zones (id SERIAL_ID, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL);
INSERT INTO zones (name, description) VALUES ('default', 'Default zone');

CREATE TABLE users (
  id SERIAL_ID, name TEXT NOT NULL UNIQUE, email TEXT NOT NULL, password TEXT NOT NULL, admin BIGINT NOT NULL, disabled BIGINT NOT NULL,
  epoch BIGINT NOT NULL, created BIGINT NOT NULL);

CREATE TABLE api_keys (
  id SERIAL_ID, user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE, name TEXT NOT NULL, consumer_key TEXT NOT NULL,
  token_key TEXT NOT NULL UNIQUE, secret_hash TEXT NOT NULL, created BIGINT NOT NULL, last_used BIGINT NOT NULL);
CREATE INDEX api_keys_user ON api_keys (user_id);

CREATE TABLE sessions (
  hash TEXT PRIMARY KEY, user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE, epoch BIGINT NOT NULL, address TEXT NOT NULL,
  created BIGINT NOT NULL, last_seen BIGINT NOT NULL, expires BIGINT NOT NULL);
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE ssh_keys (
  id SERIAL_ID, user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE, key TEXT NOT NULL, UNIQUE (user_id, key));

CREATE TABLE first_links (hash TEXT PRIMARY KEY, expires BIGINT NOT NULL);

CREATE TABLE fabrics (id SERIAL_ID, name TEXT NOT NULL UNIQUE, class_type TEXT NOT NULL);

CREATE TABLE vlans (
  id SERIAL_ID, fabric_id BIGINT NOT NULL REFERENCES fabrics (id), vid BIGINT NOT NULL, name TEXT NOT NULL, mtu BIGINT NOT NULL,
  dhcp_on BIGINT NOT NULL, primary_rack TEXT NOT NULL, UNIQUE (fabric_id, vid));

CREATE TABLE subnets (
  id SERIAL_ID, vlan_id BIGINT NOT NULL REFERENCES vlans (id), name TEXT NOT NULL, description TEXT NOT NULL, cidr TEXT NOT NULL UNIQUE,
  gateway TEXT NOT NULL, dns_servers TEXT NOT NULL, managed BIGINT NOT NULL);

CREATE TABLE ip_ranges (
  id SERIAL_ID, subnet_id BIGINT NOT NULL REFERENCES subnets (id) ON DELETE CASCADE, type TEXT NOT NULL, start_ip TEXT NOT NULL,
  end_ip TEXT NOT NULL, comment TEXT NOT NULL, username TEXT NOT NULL);

CREATE TABLE leases (
  ip TEXT PRIMARY KEY, mac TEXT NOT NULL, hostname TEXT NOT NULL, expires BIGINT NOT NULL, rack_id TEXT NOT NULL);
CREATE INDEX leases_mac ON leases (mac);

CREATE TABLE controllers (
  system_id TEXT PRIMARY KEY, hostname TEXT NOT NULL, type BIGINT NOT NULL, version TEXT NOT NULL, interfaces TEXT NOT NULL,
  last_seen BIGINT NOT NULL, created BIGINT NOT NULL, cert_serial TEXT NOT NULL, cert_expires BIGINT NOT NULL, revoked BIGINT NOT NULL);

CREATE TABLE enrolments (
  id TEXT PRIMARY KEY, rack_name TEXT NOT NULL, created BIGINT NOT NULL, expires BIGINT NOT NULL, spent BIGINT NOT NULL);

CREATE TABLE machines (
  id SERIAL_ID, system_id TEXT NOT NULL UNIQUE, hostname TEXT NOT NULL UNIQUE, description TEXT NOT NULL, owner TEXT NOT NULL,
  pool_id BIGINT NOT NULL REFERENCES pools (id), zone_id BIGINT NOT NULL REFERENCES zones (id), status BIGINT NOT NULL,
  previous_status BIGINT NOT NULL, locked BIGINT NOT NULL, architecture TEXT NOT NULL, hardware_uuid TEXT NOT NULL, cpu_count BIGINT NOT NULL,
  cpu_speed BIGINT NOT NULL, memory BIGINT NOT NULL, uefi BIGINT NOT NULL, tpm TEXT NOT NULL, hardware TEXT NOT NULL, power_type TEXT NOT NULL,
  power_state TEXT NOT NULL, power_error TEXT NOT NULL, power_checked BIGINT NOT NULL, power_plain TEXT NOT NULL, osystem TEXT NOT NULL,
  distro_series TEXT NOT NULL, boot_disk_id BIGINT NOT NULL, agent_name TEXT NOT NULL, error_text TEXT NOT NULL, tags TEXT NOT NULL,
  owner_data TEXT NOT NULL, rack_id TEXT NOT NULL, commissioned BIGINT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL,
  deadline BIGINT NOT NULL, revision BIGINT NOT NULL);
CREATE INDEX machines_status ON machines (status);
CREATE INDEX machines_owner ON machines (owner);
CREATE INDEX machines_pool ON machines (pool_id);
CREATE INDEX machines_deadline ON machines (deadline) WHERE deadline > 0;

CREATE TABLE machine_texts (
  machine_id BIGINT PRIMARY KEY REFERENCES machines (id) ON DELETE CASCADE, revision BIGINT NOT NULL, text TEXT NOT NULL);

-- Both answer "whose text is old?" without touching the wide rows.
CREATE INDEX machines_revision ON machines (id, revision);
CREATE INDEX machine_texts_revision ON machine_texts (machine_id, revision);

CREATE TABLE interfaces (
  id SERIAL_ID, system_id TEXT NOT NULL REFERENCES machines (system_id) ON DELETE CASCADE, name TEXT NOT NULL, mac TEXT NOT NULL UNIQUE,
  vlan_id BIGINT NOT NULL, boot BIGINT NOT NULL, ip TEXT NOT NULL, subnet_id BIGINT NOT NULL, details TEXT NOT NULL);
CREATE INDEX interfaces_machine ON interfaces (system_id);

CREATE TABLE block_devices (
  id SERIAL_ID, system_id TEXT NOT NULL REFERENCES machines (system_id) ON DELETE CASCADE, name TEXT NOT NULL, model TEXT NOT NULL,
  serial TEXT NOT NULL, size BIGINT NOT NULL, details TEXT NOT NULL);
CREATE INDEX block_devices_machine ON block_devices (system_id);

CREATE TABLE boots (
  id TEXT PRIMARY KEY, system_id TEXT NOT NULL, mac TEXT NOT NULL, ip TEXT NOT NULL, rack_id TEXT NOT NULL, purpose TEXT NOT NULL,
  state TEXT NOT NULL, token_hash TEXT NOT NULL, old_hashes TEXT NOT NULL, cert_hash TEXT NOT NULL, phone_hash TEXT NOT NULL,
  created BIGINT NOT NULL, expires BIGINT NOT NULL, ended BIGINT NOT NULL, task TEXT NOT NULL);
CREATE INDEX boots_machine ON boots (system_id);
CREATE INDEX boots_mac ON boots (mac);
CREATE INDEX boots_phone ON boots (phone_hash) WHERE phone_hash <> '';

CREATE TABLE script_sets (
  id SERIAL_ID, system_id TEXT NOT NULL REFERENCES machines (system_id) ON DELETE CASCADE, type BIGINT NOT NULL, boot_id TEXT NOT NULL,
  started BIGINT NOT NULL, ended BIGINT NOT NULL, last_ping BIGINT NOT NULL);
CREATE INDEX script_sets_machine ON script_sets (system_id);

CREATE TABLE script_results (
  id SERIAL_ID, set_id BIGINT NOT NULL REFERENCES script_sets (id) ON DELETE CASCADE, name TEXT NOT NULL, status BIGINT NOT NULL,
  exit_code BIGINT NOT NULL, has_exit BIGINT NOT NULL, started BIGINT NOT NULL, ended BIGINT NOT NULL, created BIGINT NOT NULL,
  updated BIGINT NOT NULL);
CREATE INDEX script_results_set ON script_results (set_id);

CREATE TABLE script_output (
  result_id BIGINT NOT NULL REFERENCES script_results (id) ON DELETE CASCADE, stream TEXT NOT NULL, pos BIGINT NOT NULL, data BYTEA NOT NULL,
  PRIMARY KEY (result_id, stream, pos));

CREATE TABLE boot_resources (
  id SERIAL_ID, name TEXT NOT NULL, title TEXT NOT NULL, architecture TEXT NOT NULL, file_type TEXT NOT NULL, size BIGINT NOT NULL,
  sha256 TEXT NOT NULL, received BIGINT NOT NULL, complete BIGINT NOT NULL, created BIGINT NOT NULL, last_deployed BIGINT NOT NULL,
  UNIQUE (name, architecture));

CREATE TABLE events (
  id SERIAL_ID, system_id TEXT NOT NULL, type TEXT NOT NULL, level BIGINT NOT NULL, description TEXT NOT NULL, username TEXT NOT NULL,
  created BIGINT NOT NULL);
CREATE INDEX events_machine ON events (system_id, id);

CREATE TABLE commands (
  id SERIAL_ID, system_id TEXT NOT NULL, action TEXT NOT NULL, boot TEXT NOT NULL, rack_id TEXT NOT NULL, created BIGINT NOT NULL,
  deadline BIGINT NOT NULL, attempts BIGINT NOT NULL, not_until BIGINT NOT NULL);
CREATE INDEX commands_machine ON commands (system_id);

CREATE TABLE audit (
  id SERIAL_ID, region TEXT NOT NULL, seq BIGINT NOT NULL, time BIGINT NOT NULL, principal TEXT NOT NULL, action TEXT NOT NULL,
  target TEXT NOT NULL, outcome TEXT NOT NULL, source TEXT NOT NULL, request_id TEXT NOT NULL, detail TEXT NOT NULL, hash TEXT NOT NULL);
CREATE INDEX audit_unsealed ON audit (region, id) WHERE seq = 0;
CREATE INDEX audit_seq ON audit (region, seq);

CREATE TABLE audit_checkpoints (
  region TEXT NOT NULL, seq BIGINT NOT NULL, time BIGINT NOT NULL, hash TEXT NOT NULL, signature TEXT NOT NULL, PRIMARY KEY (region, seq));
