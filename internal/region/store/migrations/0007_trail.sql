-- Where the trail begins after its oldest part was pruned: signed, so that the rest still proves itself.
CREATE TABLE audit_anchors (
  region TEXT PRIMARY KEY, seq BIGINT NOT NULL, time BIGINT NOT NULL, hash TEXT NOT NULL, signature TEXT NOT NULL);

CREATE INDEX audit_target ON audit (target, id);
CREATE INDEX audit_principal ON audit (principal, id);
CREATE INDEX audit_time ON audit (time);
