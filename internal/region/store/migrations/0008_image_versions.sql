-- The version of an image that deployments get while a newer one is uploaded.
ALTER TABLE boot_resources ADD COLUMN serving_type TEXT NOT NULL DEFAULT '';
ALTER TABLE boot_resources ADD COLUMN serving_size BIGINT NOT NULL DEFAULT 0;
ALTER TABLE boot_resources ADD COLUMN serving_sha256 TEXT NOT NULL DEFAULT '';
