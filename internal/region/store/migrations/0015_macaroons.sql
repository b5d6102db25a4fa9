-- Macaroons belong to a generation of their provider: a new one ends all that were made before. No row is generation 0.

CREATE TABLE macaroon_generations (provider_id BIGINT PRIMARY KEY REFERENCES providers (id) ON DELETE CASCADE, generation BIGINT NOT NULL);
