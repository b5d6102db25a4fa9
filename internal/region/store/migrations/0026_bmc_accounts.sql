-- Rotations of the accounts of BMCs: what is under way, and whether the account in use is one that a rotation made. The credentials
-- themselves are sealed, under machine/ID/power, power_next and power_previous.
CREATE TABLE bmc_accounts (
  system_id TEXT PRIMARY KEY REFERENCES machines (system_id) ON DELETE CASCADE, managed BIGINT NOT NULL, state TEXT NOT NULL,
  revision BIGINT NOT NULL, attempts BIGINT NOT NULL, not_until BIGINT NOT NULL, deadline BIGINT NOT NULL, problem TEXT NOT NULL,
  rotated BIGINT NOT NULL, keep_until BIGINT NOT NULL);
CREATE INDEX bmc_accounts_due ON bmc_accounts (state, not_until);
CREATE INDEX bmc_accounts_kept ON bmc_accounts (keep_until);
