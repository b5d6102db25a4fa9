-- A rotation that the schedule begins as soon as it can, because the machine was released.
ALTER TABLE bmc_accounts ADD COLUMN wanted BIGINT NOT NULL DEFAULT 0;
