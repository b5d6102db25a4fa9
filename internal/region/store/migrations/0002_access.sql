-- Who may do what: a grant gives a user or a group a role, or a single entitlement, on a pool or (pool_id NULL) on all.

CREATE TABLE user_groups (id SERIAL_ID, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL);

CREATE TABLE group_members (
  group_id BIGINT NOT NULL REFERENCES user_groups (id) ON DELETE CASCADE, user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  PRIMARY KEY (group_id, user_id));
CREATE INDEX group_members_user ON group_members (user_id);

CREATE TABLE roles (id SERIAL_ID, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL, permissions TEXT NOT NULL);

CREATE TABLE grants (
  id SERIAL_ID, user_id BIGINT REFERENCES users (id) ON DELETE CASCADE, group_id BIGINT REFERENCES user_groups (id) ON DELETE CASCADE,
  role TEXT NOT NULL, entitlement TEXT NOT NULL, pool_id BIGINT REFERENCES pools (id) ON DELETE CASCADE);
CREATE UNIQUE INDEX grants_once ON grants (COALESCE(user_id, 0), COALESCE(group_id, 0), role, entitlement, COALESCE(pool_id, -1));
CREATE INDEX grants_user ON grants (user_id);
CREATE INDEX grants_group ON grants (group_id);
CREATE INDEX grants_pool ON grants (pool_id);

-- Everybody is in one of two groups from the start. Both may be changed or deleted.
INSERT INTO user_groups (name, description) VALUES ('Administrators', 'May do everything'), ('Users', 'Everybody else, from the start');
INSERT INTO grants (group_id, role, entitlement) SELECT id, 'Administrator', '' FROM user_groups WHERE name = 'Administrators';
INSERT INTO grants (group_id, role, entitlement, pool_id) SELECT id, 'User', '', 0 FROM user_groups WHERE name = 'Users';
INSERT INTO group_members (group_id, user_id)
  SELECT g.id, u.id FROM users u JOIN user_groups g ON g.name = CASE WHEN u.admin = 1 THEN 'Administrators' ELSE 'Users' END;
ALTER TABLE users DROP COLUMN admin;
