-- What of a machine is large, and what lists neither sort nor filter by, has a row of its own: a list that looks at
-- ten thousand machines to show fifty reads narrow rows.
CREATE TABLE machine_wide (
  machine_id ROW_ID REFERENCES machines (id) ON DELETE CASCADE, hardware TEXT NOT NULL, owner_data TEXT NOT NULL);
INSERT INTO machine_wide (machine_id, hardware, owner_data) SELECT id, hardware, owner_data FROM machines;
ALTER TABLE machines DROP COLUMN hardware;
ALTER TABLE machines DROP COLUMN owner_data;

-- A machine knows which of its revisions is rendered, so that those to be rendered are found among any number of
-- others. The texts are derived: they are rendered again.
DROP INDEX machine_texts_revision;
DROP INDEX machines_revision;
DROP TABLE machine_texts;
CREATE TABLE machine_texts (
  machine_id ROW_ID REFERENCES machines (id) ON DELETE CASCADE, revision BIGINT NOT NULL, text TEXT NOT NULL);
ALTER TABLE machines ADD COLUMN text_revision BIGINT NOT NULL DEFAULT 0;
CREATE INDEX machines_stale ON machines (id) WHERE text_revision <> revision;
