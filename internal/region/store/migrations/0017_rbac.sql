-- External RBAC services: providers of the kind rbac, which also say what their people may do.

-- How far the service's resources are brought in line with the pools here. One region at a time does that: the leader, until
-- its lease ends. sync_id is what the service called the last state that we sent; '' sends everything anew.
CREATE TABLE rbac_syncs (
  provider_id BIGINT PRIMARY KEY REFERENCES providers (id) ON DELETE CASCADE, sync_id TEXT NOT NULL, synced BIGINT NOT NULL, pools BIGINT NOT NULL,
  retry_at BIGINT NOT NULL, failures BIGINT NOT NULL, error TEXT NOT NULL, leader TEXT NOT NULL, lease BIGINT NOT NULL);

-- Changes of pools that a service has not been told.
CREATE TABLE rbac_queue (
  id SERIAL_ID, provider_id BIGINT NOT NULL REFERENCES providers (id) ON DELETE CASCADE, action TEXT NOT NULL, pool_id BIGINT NOT NULL);
CREATE INDEX rbac_queue_provider ON rbac_queue (provider_id, id);

-- Whose word a grant is: 0 for people's, else a provider's. Of a user only those count that come from where his rights do.
ALTER TABLE users ADD COLUMN rights_from BIGINT NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN source BIGINT NOT NULL DEFAULT 0;
DROP INDEX grants_once;
CREATE UNIQUE INDEX grants_once ON grants (COALESCE(user_id, 0), COALESCE(group_id, 0), role, entitlement, COALESCE(pool_id, -1), source);

-- When the question began whose answer a user's grants are.
CREATE TABLE rbac_answers (user_id BIGINT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE, asked BIGINT NOT NULL);
