-- How many events alerts had in an hour, for pictures: hours since 1970, and kept for a week.
CREATE TABLE alert_hours (unit TEXT NOT NULL, hour BIGINT NOT NULL, events BIGINT NOT NULL, PRIMARY KEY (unit, hour));
-- What a site changed of a detection's thresholds: rungs is JSON.
CREATE TABLE alert_thresholds (unit TEXT PRIMARY KEY, off BIGINT NOT NULL, rungs TEXT NOT NULL, changed BIGINT NOT NULL, changed_by TEXT NOT NULL);
