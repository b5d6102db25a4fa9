// Package notify tells people things: in the pages and by MAAS's API to those they concern, and what is for
// administrators by webhook and e-mail, too.
package notify

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// Service tells people things. Safe for concurrent use.
type Service struct {
	gate    *gate.Gate
	log     *slog.Logger
	now     func() time.Time
	client  *http.Client
	keys    *secret.Safe
	explain func(error) string
	mail    func(ctx context.Context, m mail) error
	events  chan metal.AuditEvent // that may be worth telling
	wake    chan struct{}         // something is to be sent
}

// Config is what the service is made of.
type Config struct {
	Gate *gate.Gate
	Log  *slog.Logger
	Now  func() time.Time
	// Client posts to webhooks: it must not reach the inside.
	Client *http.Client
	Mail   Mailer
	Keys   *secret.Safe
	// Explain says in words why something could not be sent, without what maps a network.
	Explain func(error) string
}

// maxEvents bounds the events that wait to be looked at; more are left out, and the trail has them.
const maxEvents = 1024

// New makes the service.
func New(c Config) *Service {
	return &Service{gate: c.Gate, log: c.Log, now: c.Now, client: c.Client, keys: c.Keys, explain: c.Explain, mail: c.Mail.send, events: make(chan metal.AuditEvent, maxEvents), wake: make(chan struct{}, 1)}
}

// Mine lists what the caller is told and has not dismissed, oldest first.
func (s *Service) Mine(ctx context.Context) (list []metal.Notification, err error) {
	err = s.gate.View(ctx, authz.NotificationRead, func(v *gate.Viewing) error {
		list, err = v.NotificationsFor(v.Principal().UserID, v.Principal().Rights.Administrator())
		return err
	})
	return list, err
}

// Get returns a notification that concerns the caller, or any to who may see all. Kinds: NotFound.
func (s *Service) Get(ctx context.Context, id int64) (n metal.Notification, err error) {
	err = s.gate.View(ctx, authz.NotificationRead, func(v *gate.Viewing) error {
		if n, err = v.Notification(id); err != nil {
			return err
		}
		if !concerns(n, v.Principal()) && authz.Decide(v.Principal(), authz.NotificationView, store.NotificationTarget(n)) != authz.Allow {
			n = metal.Notification{}
			return authz.NotFound(authz.NounNotification)
		}
		return nil
	})
	return n, err
}

func concerns(n metal.Notification, p authz.Principal) bool {
	if p.Kind != authz.User {
		return false
	}
	admin := p.Rights.Administrator()
	return n.UserID != 0 && n.UserID == p.UserID || n.Admins && admin || n.Users && !admin
}

// Create tells people something. Kinds: Invalid, Forbidden, Exhausted.
func (s *Service) Create(ctx context.Context, n metal.Notification) (metal.Notification, error) {
	err := s.gate.Do(ctx, authz.NotificationEdit, func(c *gate.Call) error {
		if err := c.Require(store.NotificationTarget(metal.Notification{})); err != nil {
			return err
		}
		if err := check(c, &n); err != nil {
			return err
		}
		all, err := c.Tx().Notifications()
		if err != nil {
			return err
		}
		if len(all) >= metal.MaxNotifications {
			return fault.New(fault.Exhausted, "There are %d notifications; delete some first.", len(all))
		}
		n.Created, n.Updated = c.Now(), c.Now()
		c.Note("message", n.Text())
		if err := c.Tx().AddNotification(&n); err != nil {
			return err
		}
		return s.deliver(c, n)
	})
	return n, err
}

// check completes and checks a notification.
func check(c *gate.Call, n *metal.Notification) error {
	if n.Category == "" {
		n.Category = "info"
	}
	if err := n.Validate(); err != nil {
		return err
	}
	n.UserID = 0
	if n.User != "" {
		u, err := c.Tx().UserByName(n.User)
		if err != nil {
			return fault.Field("user", "There is no user of this name.")
		}
		n.UserID = u.ID
	}
	return nil
}

// Update changes a notification by fn. Kinds: NotFound, Invalid, Forbidden.
func (s *Service) Update(ctx context.Context, id int64, fn func(*metal.Notification)) (n metal.Notification, err error) {
	err = s.gate.Do(ctx, authz.NotificationEdit, func(c *gate.Call) error {
		if err := c.Require(store.NotificationTarget(metal.Notification{ID: id})); err != nil {
			return err
		}
		if n, err = c.Tx().Notification(id); err != nil {
			return err
		}
		fn(&n)
		if err := check(c, &n); err != nil {
			return err
		}
		n.Updated = c.Now()
		return c.Tx().PutNotification(n)
	})
	return n, err
}

// Keep has administrators told something under an ident, for as long as it is so. What is told already is said
// differently in place, and who dismissed it is not told again, unless again is set. Kinds: Invalid.
func (s *Service) Keep(ctx context.Context, n metal.Notification, again bool) error {
	was, err := s.byIdent(ctx, n.Ident)
	switch {
	case fault.Is(err, fault.NotFound):
		_, err = s.Create(ctx, n)
		return err
	case err != nil || was.Text() == n.Text() && was.Category == n.Category:
		return err
	case again:
		_, err = s.Create(ctx, n) // replaces it
		return err
	}
	_, err = s.Update(ctx, was.ID, func(x *metal.Notification) {
		x.Message, x.Context, x.Category = n.Message, n.Context, n.Category
	})
	return err
}

// Drop takes back what is told under an ident. It is no error if nothing is.
func (s *Service) Drop(ctx context.Context, ident string) error {
	was, err := s.byIdent(ctx, ident)
	if err == nil {
		err = s.Delete(ctx, was.ID)
	}
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

func (s *Service) byIdent(ctx context.Context, ident string) (n metal.Notification, err error) {
	err = s.gate.View(ctx, authz.NotificationView, func(v *gate.Viewing) (err error) {
		n, err = v.NotificationByIdent(ident)
		return err
	})
	return n, err
}

// Delete deletes a notification. Kinds: NotFound, Forbidden.
func (s *Service) Delete(ctx context.Context, id int64) error {
	return s.gate.Do(ctx, authz.NotificationEdit, func(c *gate.Call) error {
		if err := c.Require(store.NotificationTarget(metal.Notification{ID: id})); err != nil {
			return err
		}
		n, err := c.Tx().Notification(id)
		if err != nil {
			return err
		}
		c.Note("message", n.Text())
		return c.Tx().DeleteNotification(n)
	})
}

// Dismiss hides a notification from the caller for good. Kinds: NotFound, also for one that does not concern him;
// Forbidden for one that stays.
func (s *Service) Dismiss(ctx context.Context, id int64) error {
	return s.gate.Do(ctx, authz.NotificationDismiss, func(c *gate.Call) error {
		u, err := c.Tx().User(c.Principal().UserID)
		if err != nil {
			return authz.Deny.Err(authz.Target{})
		}
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		n, err := c.Tx().Notification(id)
		if err == nil && !concerns(n, c.Principal()) {
			err = authz.NotFound(authz.NounNotification)
		}
		if err != nil {
			return err
		}
		if !n.Dismissable {
			return fault.New(fault.Forbidden, "This notification cannot be dismissed.")
		}
		c.Note("notification", authz.ID(id))
		return c.Tx().DismissNotification(u.User, id)
	})
}
