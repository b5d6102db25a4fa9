-- Where a user's sessions end, so do the macaroons of his that were made before.

ALTER TABLE users ADD COLUMN macaroons_after BIGINT NOT NULL DEFAULT 0;
