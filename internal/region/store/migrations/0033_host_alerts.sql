-- Alerts come from logs as well: origin says from what ('' is the region's own security events, 'logs' a controller's own host, 'syslog' a machine that
-- sends its log to a controller), region which controller found it, machine which machine sent the lines, where that is known.
ALTER TABLE alerts ADD COLUMN origin TEXT NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN machine TEXT NOT NULL DEFAULT '';
CREATE INDEX alerts_region ON alerts (region);

-- Which logs of its host each controller reads, as it told last.
CREATE TABLE host_logs (controller TEXT PRIMARY KEY REFERENCES controllers (system_id) ON DELETE CASCADE, at BIGINT NOT NULL, logs TEXT NOT NULL);
CREATE INDEX interfaces_ip ON interfaces (ip) WHERE ip <> '';
