-- What detections found about one key, however often: state 0 is open, 1 acknowledged, 2 resolved. Told says that administrators heard of it.
CREATE TABLE alerts (
  id SERIAL_ID, region TEXT NOT NULL, unit TEXT NOT NULL, about TEXT NOT NULL, first_seen BIGINT NOT NULL, last_seen BIGINT NOT NULL, severity BIGINT NOT NULL, proves BIGINT NOT NULL,
  client TEXT NOT NULL, user_name TEXT NOT NULL, host TEXT NOT NULL, events BIGINT NOT NULL, lines TEXT NOT NULL, state BIGINT NOT NULL, told BIGINT NOT NULL,
  acted BIGINT NOT NULL, acted_by TEXT NOT NULL, acted_why TEXT NOT NULL, silent_until BIGINT NOT NULL, silent_why TEXT NOT NULL, silent_by TEXT NOT NULL,
  UNIQUE (region, unit, about, first_seen));
CREATE INDEX alerts_state ON alerts (state, severity);
