-- What the checks of each controller's own host came to: the newest report whole, which findings administrators were told of, and since
-- when somebody wants it checked again.
CREATE TABLE host_checks (
  controller TEXT PRIMARY KEY REFERENCES controllers (system_id) ON DELETE CASCADE, at BIGINT NOT NULL, report TEXT NOT NULL, told TEXT NOT NULL, wanted BIGINT NOT NULL);

-- How that went on: for each day the last report, as numbers.
CREATE TABLE host_check_points (
  controller TEXT NOT NULL REFERENCES controllers (system_id) ON DELETE CASCADE, day BIGINT NOT NULL, score BIGINT NOT NULL, critical BIGINT NOT NULL, high BIGINT NOT NULL,
  medium BIGINT NOT NULL, low BIGINT NOT NULL, unchecked BIGINT NOT NULL, PRIMARY KEY (controller, day));

-- Who answers for what a check finds, until when: on one controller, or on all of them (''), up to a severity.
CREATE TABLE host_waivers (
  id SERIAL_ID, check_id TEXT NOT NULL, controller TEXT NOT NULL, severity BIGINT NOT NULL, owner TEXT NOT NULL, reason TEXT NOT NULL, until BIGINT NOT NULL,
  created BIGINT NOT NULL, created_by TEXT NOT NULL, UNIQUE (check_id, controller));
