-- What only some kinds of providers have is a JSON object by name: metal.ProviderTypes says which.

ALTER TABLE providers ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
UPDATE providers SET options = '{"vendor":"' || vendor || '","client_id":"' || REPLACE(REPLACE(client_id, '\', '\\'), '"', '\"')
  || '","scopes":"' || REPLACE(REPLACE(scopes, '\', '\\'), '"', '\"') || '","group_claim":"' || REPLACE(REPLACE(group_claim, '\', '\\'), '"', '\"') || '"}';
ALTER TABLE providers DROP COLUMN vendor;
ALTER TABLE providers DROP COLUMN client_id;
ALTER TABLE providers DROP COLUMN scopes;
ALTER TABLE providers DROP COLUMN group_claim;

-- When a provider was last asked about somebody whom it brought, and whether it did not know him any more.
ALTER TABLE external_identities ADD COLUMN checked BIGINT NOT NULL DEFAULT 0;
ALTER TABLE external_identities ADD COLUMN gone BIGINT NOT NULL DEFAULT 0;
