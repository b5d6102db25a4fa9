-- The certificate that a rack renewed: good until the new one is used.
ALTER TABLE controllers ADD COLUMN previous_serial TEXT NOT NULL DEFAULT '';
