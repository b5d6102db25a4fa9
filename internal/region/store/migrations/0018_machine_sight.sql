-- Who may see a machine follows from its pool and owner. Each way to machines that people take knows both: by id, as long for one that
-- is hidden as for one that is not there; by name, as lists open; by pool, as they are counted.

CREATE INDEX machines_sight ON machines (system_id, pool_id, owner);
CREATE INDEX machines_by_name ON machines (hostname, pool_id, owner);
DROP INDEX machines_pool;
CREATE INDEX machines_pool ON machines (pool_id, owner);
