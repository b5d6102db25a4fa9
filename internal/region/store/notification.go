package store

import (
	"database/sql"
	"encoding/json"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

const notificationQuery = `SELECT n.id, n.ident, COALESCE(n.user_id, 0), COALESCE(u.name, ''), n.users, n.admins, n.message, n.context, n.category, n.dismissable,
	n.created, n.updated FROM notifications n LEFT JOIN users u ON u.id = n.user_id`

func scanNotification(scan func(...any) error) (n metal.Notification, err error) {
	var context string
	var created, updated int64
	if err = scan(&n.ID, &n.Ident, &n.UserID, &n.User, &n.Users, &n.Admins, &n.Message, &context, &n.Category, &n.Dismissable, &created, &updated); err != nil {
		return n, err
	}
	n.Created, n.Updated = fromMicros(created), fromMicros(updated)
	return n, json.Unmarshal([]byte(context), &n.Context)
}

// Notifications lists all notifications, oldest first.
func (v *View) Notifications() ([]metal.Notification, error) {
	return all(v, scanNotification, notificationQuery+" ORDER BY n.id")
}

// NotificationsFor lists what a user is told and has not dismissed, oldest first.
func (v *View) NotificationsFor(userID int64, admin bool) ([]metal.Notification, error) {
	everybody := "n.users = 1"
	if admin {
		everybody = "n.admins = 1"
	}
	return all(v, scanNotification, notificationQuery+" WHERE (n.user_id = ? OR "+everybody+`)
		AND NOT EXISTS (SELECT 1 FROM notification_dismissals d WHERE d.notification_id = n.id AND d.user_id = ?) ORDER BY n.id`, userID, userID)
}

// Notification returns a notification. Kinds: NotFound.
func (v *View) Notification(id int64) (metal.Notification, error) {
	return one(v, authz.NounNotification, scanNotification, notificationQuery+" WHERE n.id = ?", id)
}

// NotificationByIdent returns the notification of an ident. Kinds: NotFound.
func (v *View) NotificationByIdent(ident string) (metal.Notification, error) {
	return one(v, authz.NounNotification, scanNotification, notificationQuery+" WHERE n.ident = ? AND n.ident <> ''", ident)
}

// NotificationTarget is a notification as the object of an action; with id 0 one about to be made.
func NotificationTarget(n metal.Notification) authz.Target {
	t := authz.Target{Noun: authz.NounNotification}
	if n.ID != 0 {
		t.ID = authz.ID(n.ID)
	}
	return t
}

// AddNotification inserts a notification and sets its ID. One of the same ident goes, and with it who dismissed it.
func (t *Tx) AddNotification(n *metal.Notification) (err error) {
	if n.Ident != "" {
		if _, err := t.exec("DELETE FROM notifications WHERE ident = ?", n.Ident); err != nil {
			return err
		}
	}
	n.ID, err = t.insert(`INSERT INTO notifications (ident, user_id, users, admins, message, context, category, dismissable, created, updated)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, n.Ident, sql.NullInt64{Int64: n.UserID, Valid: n.UserID != 0}, bit(n.Users), bit(n.Admins), n.Message, toJSON(n.Context), n.Category,
		bit(n.Dismissable), micros(n.Created), micros(n.Updated))
	t.touch(NotificationTarget(*n), true)
	return err
}

// PutNotification updates a notification. Kinds: Conflict when the ident is taken.
func (t *Tx) PutNotification(n metal.Notification) error {
	t.touch(NotificationTarget(n), false)
	_, err := t.exec("UPDATE notifications SET ident = ?, user_id = ?, users = ?, admins = ?, message = ?, context = ?, category = ?, dismissable = ?, updated = ? WHERE id = ?",
		n.Ident, sql.NullInt64{Int64: n.UserID, Valid: n.UserID != 0}, bit(n.Users), bit(n.Admins), n.Message, toJSON(n.Context), n.Category, bit(n.Dismissable), micros(n.Updated), n.ID)
	return err
}

// DeleteNotification deletes a notification.
func (t *Tx) DeleteNotification(n metal.Notification) error {
	t.touch(NotificationTarget(n), false)
	_, err := t.exec("DELETE FROM notifications WHERE id = ?", n.ID)
	return err
}

// Delivery is a notification that a sender still has to send.
type Delivery struct {
	ID, NotificationID int64
	Sender             string // "webhook" or "email"
	Attempts           int
	NotUntil           time.Time
}

// AddDelivery asks a sender to send a notification.
func (t *Tx) AddDelivery(n metal.Notification, sender string) error {
	t.touch(NotificationTarget(n), false)
	_, err := t.insert("INSERT INTO notification_deliveries (notification_id, sender, attempts, not_until) VALUES (?, ?, 0, 0)", n.ID, sender)
	return err
}

// DueDeliveries lists what is to be sent now, oldest first.
func (v *View) DueDeliveries(now time.Time, limit int) ([]Delivery, error) {
	return all(v, func(scan func(...any) error) (d Delivery, err error) {
		var until int64
		err = scan(&d.ID, &d.NotificationID, &d.Sender, &d.Attempts, &until)
		d.NotUntil = fromMicros(until)
		return d, err
	}, "SELECT id, notification_id, sender, attempts, not_until FROM notification_deliveries WHERE not_until <= ? ORDER BY id LIMIT ?", micros(now), limit)
}

// PutDelivery notes a failed attempt: an observation.
func (t *Tx) PutDelivery(d Delivery) error {
	_, err := t.exec("UPDATE notification_deliveries SET attempts = ?, not_until = ? WHERE id = ?", d.Attempts, micros(d.NotUntil), d.ID)
	return err
}

// EndDelivery forgets a delivery that was made or given up: an observation.
func (t *Tx) EndDelivery(id int64) error {
	_, err := t.exec("DELETE FROM notification_deliveries WHERE id = ?", id)
	return err
}

// DismissNotification hides a notification from a user for good.
func (t *Tx) DismissNotification(u metal.User, id int64) error {
	t.touch(UserTarget(u), false)
	_, err := t.exec("INSERT INTO notification_dismissals (notification_id, user_id) VALUES (?, ?) ON CONFLICT DO NOTHING", id, u.ID)
	return err
}
