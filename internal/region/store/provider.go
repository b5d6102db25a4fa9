package store

import (
	"encoding/json"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

const providerCols = "id, kind, name, issuer, options, create_users, enabled, created"

func scanProvider(scan func(...any) error) (p metal.Provider, err error) {
	var created int64
	var options string
	if err = scan(&p.ID, &p.Kind, &p.Name, &p.Issuer, &options, &p.CreateUsers, &p.Enabled, &created); err != nil {
		return p, err
	}
	p.Created = fromMicros(created)
	return p, json.Unmarshal([]byte(options), &p.Options)
}

// Providers lists all identity providers by name, without their groups.
func (v *View) Providers() ([]metal.Provider, error) {
	return all(v, scanProvider, "SELECT "+providerCols+" FROM providers ORDER BY name")
}

// Provider returns an identity provider with its groups. Kinds: NotFound.
func (v *View) Provider(id int64) (metal.Provider, error) {
	p, err := one(v, authz.NounProvider, scanProvider, "SELECT "+providerCols+" FROM providers WHERE id = ?", id)
	if err != nil {
		return p, err
	}
	p.Groups, err = all(v, func(scan func(...any) error) (g metal.ProviderGroup, err error) {
		err = scan(&g.Value, &g.GroupID, &g.Group)
		return g, err
	}, "SELECT p.value, p.group_id, g.name FROM provider_groups p JOIN user_groups g ON g.id = p.group_id WHERE p.provider_id = ? ORDER BY p.value, g.name", id)
	return p, err
}

// ProviderTarget is an identity provider as the object of an action; with id 0 one about to be made.
func ProviderTarget(id int64) authz.Target {
	if id == 0 {
		return authz.Target{Noun: authz.NounProvider}
	}
	return authz.Target{Noun: authz.NounProvider, ID: authz.ID(id)}
}

// AddProvider inserts a provider with its groups, and sets its ID unless it has one. Kinds: Conflict when name or issuer is taken.
func (t *Tx) AddProvider(p *metal.Provider) (err error) {
	options, err := json.Marshal(p.Options)
	if err != nil {
		return err
	}
	columns, values := "kind, name, issuer, options, create_users, enabled, created", []any{p.Kind, p.Name, p.Issuer, string(options), bit(p.CreateUsers), bit(p.Enabled), micros(p.Created)}
	if p.ID == 0 {
		p.ID, err = t.insert("INSERT INTO providers ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?)", values...)
	} else {
		_, err = t.exec("INSERT INTO providers ("+columns+", id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", append(values, p.ID)...)
	}
	t.touch(ProviderTarget(p.ID), true)
	if err != nil {
		return err
	}
	return t.putProviderGroups(*p)
}

// PutProvider updates a provider and its groups. Kinds: Conflict when name or issuer is taken.
func (t *Tx) PutProvider(p metal.Provider) error {
	t.touch(ProviderTarget(p.ID), false)
	if err := t.resyncRBAC(p); err != nil {
		return err
	}
	options, err := json.Marshal(p.Options)
	if err != nil {
		return err
	}
	_, err = t.exec("UPDATE providers SET name = ?, issuer = ?, options = ?, create_users = ?, enabled = ? WHERE id = ?",
		p.Name, p.Issuer, string(options), bit(p.CreateUsers), bit(p.Enabled), p.ID)
	if err != nil {
		return err
	}
	return t.putProviderGroups(p)
}

func (t *Tx) putProviderGroups(p metal.Provider) error {
	if _, err := t.exec("DELETE FROM provider_groups WHERE provider_id = ?", p.ID); err != nil {
		return err
	}
	for _, g := range p.Groups {
		if _, err := t.exec("INSERT INTO provider_groups (provider_id, value, group_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", p.ID, g.Value, g.GroupID); err != nil {
			return err
		}
	}
	return nil
}

// DeleteProvider deletes a provider, the identities at it and the grants that are its word; their users stay.
func (t *Tx) DeleteProvider(id int64) error {
	t.touch(ProviderTarget(id), false)
	if err := t.dropRBACRights(id); err != nil {
		return err
	}
	_, err := t.exec("DELETE FROM providers WHERE id = ?", id)
	return err
}

const identityQuery = `SELECT e.issuer, e.subject, e.provider_id, p.name, p.kind, p.enabled, e.user_id, e.created, e.last_used, e.checked, e.gone
	FROM external_identities e JOIN providers p ON p.id = e.provider_id`

func scanIdentity(scan func(...any) error) (i metal.ExternalIdentity, err error) {
	var created, used, checked int64
	err = scan(&i.Issuer, &i.Subject, &i.ProviderID, &i.Provider, &i.Kind, &i.Enabled, &i.UserID, &created, &used, &checked, &i.Gone)
	i.Created, i.LastUsed, i.Checked = fromMicros(created), fromMicros(used), fromMicros(checked)
	return i, err
}

// ExternalIdentity returns an identity by what it is known by. Kinds: NotFound.
func (v *View) ExternalIdentity(issuer, subject string) (metal.ExternalIdentity, error) {
	return one(v, authz.NounUser, scanIdentity, identityQuery+" WHERE e.issuer = ? AND e.subject = ?", issuer, subject)
}

// ExternalIdentities lists a user's identities.
func (v *View) ExternalIdentities(userID int64) ([]metal.ExternalIdentity, error) {
	return all(v, scanIdentity, identityQuery+" WHERE e.user_id = ? ORDER BY p.name, e.subject", userID)
}

// CountIdentities counts the identities at a provider.
func (v *View) CountIdentities(providerID int64) (n int, err error) {
	err = v.row("SELECT COUNT(*) FROM external_identities WHERE provider_id = ?", providerID).Scan(&n)
	return n, err
}

// CountReachable counts the administrators who can still log in: by a password, or by an enabled provider; without those
// of an RBAC service, as CountAdministrators does.
func (v *View) CountReachable() (n int, err error) {
	err = v.row(`SELECT COUNT(*) FROM users u WHERE u.disabled = 0 AND u.rights_from = 0 AND (u.password <> '' OR EXISTS (SELECT 1 FROM external_identities e
		JOIN providers p ON p.id = e.provider_id WHERE e.user_id = u.id AND p.enabled = 1 AND e.gone = 0)) AND ` + isAdmin).Scan(&n)
	return n, err
}

// Dormant reports whether a user whom a provider brought can come by none now: each is disabled or was deleted.
func (v *View) Dormant(u UserRow) (bool, error) {
	if !u.External || u.Password != "" {
		return false, nil
	}
	var n int
	err := v.row("SELECT COUNT(*) FROM external_identities e JOIN providers p ON p.id = e.provider_id WHERE e.user_id = ? AND p.enabled = 1 AND e.gone = 0", u.ID).Scan(&n)
	return n == 0, err
}

// PutIdentity inserts or updates a user's identity. It never moves one from user to user. Kinds: Conflict when it is
// somebody else's.
func (t *Tx) PutIdentity(u metal.User, i metal.ExternalIdentity) error {
	t.touch(UserTarget(u), false)
	n, err := t.exec(`INSERT INTO external_identities (issuer, subject, provider_id, user_id, created, last_used, checked, gone) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (issuer, subject) DO UPDATE SET last_used = excluded.last_used, checked = excluded.checked, gone = excluded.gone WHERE external_identities.user_id = excluded.user_id`,
		i.Issuer, i.Subject, i.ProviderID, u.ID, micros(i.Created), micros(i.LastUsed), micros(i.Checked), bit(i.Gone))
	if err == nil && n == 0 {
		err = fault.New(fault.Conflict, "This identity belongs to another account.")
	}
	return err
}

// DeleteIdentity deletes a user's identity, and his sessions by it; false when he has none of this name.
func (t *Tx) DeleteIdentity(u metal.User, i metal.ExternalIdentity) (bool, error) {
	t.touch(UserTarget(u), false)
	n, err := t.exec("DELETE FROM external_identities WHERE issuer = ? AND subject = ? AND user_id = ?", i.Issuer, i.Subject, u.ID)
	if err != nil {
		return false, err
	}
	return n > 0, t.DeleteProviderSessions(u, i.ProviderID, "")
}

// DeleteProviderSessions ends a user's sessions that began at a provider; with a session's id of the provider only
// those of it.
func (t *Tx) DeleteProviderSessions(u metal.User, providerID int64, session string) error {
	t.touch(UserTarget(u), false)
	_, err := t.exec("DELETE FROM sessions WHERE user_id = ? AND provider_id = ? AND (? = '' OR provider_session = ?)", u.ID, providerID, session, session)
	return err
}

// EndProviderSessions ends all sessions that began at a provider.
func (t *Tx) EndProviderSessions(providerID int64) error {
	t.touch(ProviderTarget(providerID), false)
	_, err := t.exec("DELETE FROM sessions WHERE provider_id = ?", providerID)
	return err
}

// AskAgain makes all that a provider said of people old: it is asked before they go on.
func (t *Tx) AskAgain(providerID int64) error {
	t.touch(ProviderTarget(providerID), false)
	_, err := t.exec("UPDATE external_identities SET checked = 0 WHERE provider_id = ?", providerID)
	return err
}

// ProviderSessionUser returns the id of the user of a provider's session; 0 for none.
func (v *View) ProviderSessionUser(providerID int64, session string) (id int64, err error) {
	err = v.row("SELECT COALESCE(MAX(user_id), 0) FROM sessions WHERE provider_id = ? AND provider_session = ?", providerID, session).Scan(&id)
	return id, err
}

// Spent reports whether something that works once was used.
func (v *View) Spent(hash string) (bool, error) {
	var n int
	err := v.row("SELECT COUNT(*) FROM spent WHERE hash = ?", hash).Scan(&n)
	return n > 0, err
}

// Spend uses up something of a user's login or logout that works once, and forgets what ended; false when it was
// used already. A hash must be kept for as long as what it is of could be shown again.
func (t *Tx) Spend(u metal.User, hash string, expires, now time.Time) (bool, error) {
	t.touch(UserTarget(u), false)
	if _, err := t.exec("DELETE FROM spent WHERE expires < ?", micros(now)); err != nil {
		return false, err
	}
	n, err := t.exec("INSERT INTO spent (hash, expires) VALUES (?, ?) ON CONFLICT DO NOTHING", hash, micros(expires))
	return n > 0, err
}

// NameTaken reports whether a user has a name, in whatever case, and whether he is one of this site's own.
func (v *View) NameTaken(name string) (taken, local bool, err error) {
	rows, err := all(v, scanUser, "SELECT "+userCols+" FROM users u WHERE LOWER(u.name) = LOWER(?)", name)
	for _, r := range rows {
		taken, local = true, local || !r.External
	}
	return taken, local, err
}
