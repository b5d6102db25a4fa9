-- What people are told in the pages and by API. user_id NULL: for all users, all administrators, or both.
CREATE TABLE notifications (
  id SERIAL_ID, ident TEXT NOT NULL, user_id BIGINT REFERENCES users (id) ON DELETE CASCADE, users BIGINT NOT NULL, admins BIGINT NOT NULL,
  message TEXT NOT NULL, context TEXT NOT NULL, category TEXT NOT NULL, dismissable BIGINT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL);
CREATE UNIQUE INDEX notifications_ident ON notifications (ident) WHERE ident <> '';

CREATE TABLE notification_dismissals (
  notification_id BIGINT NOT NULL REFERENCES notifications (id) ON DELETE CASCADE, user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  PRIMARY KEY (notification_id, user_id));

-- What is still to be sent of them, and by which sender.
CREATE TABLE notification_deliveries (
  id SERIAL_ID, notification_id BIGINT NOT NULL REFERENCES notifications (id) ON DELETE CASCADE, sender TEXT NOT NULL, attempts BIGINT NOT NULL,
  not_until BIGINT NOT NULL);
