-- Providers of other kinds than OpenID Connect. What only one kind needs has a table of its own.

ALTER TABLE providers ADD COLUMN kind TEXT NOT NULL DEFAULT 'oidc';
