package maasapi

import "github.com/metalward/metalward/internal/authz"

// notificationFields are what create and update share.
var notificationFields = []Param{
	opt("context", "JSON object with values for {name} in the message."), opt("category", "error, warning, success or info (the default)."),
	opt("ident", "Unique name: a new one of the same name takes the old one's place."), opt("user", "Name of the user who is told."),
	opt("users", "true: all who are not administrators are told."), opt("admins", "true: all administrators are told."), opt("dismissable", "Whether one can dismiss it (true by default)."),
}

var notificationOperations = []Operation{
	{ID: "notifications.list", Handler: "NotificationsHandler", Method: "GET", Path: "/notifications/", Action: authz.NotificationRead, Returns: "a list of notifications",
		Doc: "List what the current user is told and has not dismissed."},
	{ID: "notifications.create", Handler: "NotificationsHandler", Method: "POST", Path: "/notifications/", Action: authz.NotificationEdit,
		Params: append([]Param{req("message", "Text, with {name} for values of the context.")}, notificationFields...), Returns: "the notification", Doc: "Tell people something."},
	{ID: "notifications.set_webhook", Handler: "NotificationsHandler", Method: "POST", Path: "/notifications/", Op: "set_webhook", Action: authz.SettingEdit,
		Params: []Param{{Name: "url", Secret: true, Doc: "https:// address that notifications for administrators are posted to as JSON; empty for none. It is never read back."}},
		Status: 204, Doc: "Set where notifications for administrators are posted to."},
	{ID: "notifications.set_mail_login", Handler: "NotificationsHandler", Method: "POST", Path: "/notifications/", Op: "set_mail_login", Action: authz.SettingEdit,
		Params: []Param{opt("username", "Name of the account."), {Name: "password", Secret: true, Doc: "Its password; empty for no account. It is never read back."}},
		Status: 204, Doc: "Set the account by which mail is sent at the server that metalward_smtp_server names now. Another server never sees it."},
	{ID: "notifications.test", Handler: "NotificationsHandler", Method: "POST", Path: "/notifications/", Op: "test", Action: authz.NotificationTest, Audited: true,
		Returns: "how it went, by sender", Doc: "Send a test by webhook and e-mail."},
	{ID: "notification.read", Handler: "NotificationHandler", Method: "GET", Path: "/notifications/{id}/", Action: authz.NotificationRead, Returns: "the notification", Doc: "Read a notification."},
	{ID: "notification.update", Handler: "NotificationHandler", Method: "PUT", Path: "/notifications/{id}/", Action: authz.NotificationEdit,
		Params: append([]Param{opt("message", "Text, with {name} for values of the context.")}, notificationFields...), Returns: "the notification", Doc: "Change a notification."},
	{ID: "notification.delete", Handler: "NotificationHandler", Method: "DELETE", Path: "/notifications/{id}/", Action: authz.NotificationEdit, Status: 204, Doc: "Delete a notification."},
	{ID: "notification.dismiss", Handler: "NotificationHandler", Method: "POST", Path: "/notifications/{id}/", Op: "dismiss", Action: authz.NotificationDismiss,
		Returns: "null", Doc: "Hide a notification from the current user for good."},
}
