package store

import (
	"encoding/json"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

// BootRow is a boot with its task, the work order that the agent fetches, as JSON.
type BootRow struct {
	metal.Boot
	Task []byte
}

const bootCols = "id, system_id, mac, ip, rack_id, purpose, state, token_hash, old_hashes, cert_hash, phone_hash, created, expires, ended, task, claim_key"

func scanBoot(scan func(...any) error) (b BootRow, err error) {
	var ip, old, task string
	var created, expires, ended int64
	if err = scan(&b.ID, &b.SystemID, &b.MAC, &ip, &b.RackID, &b.Purpose, &b.State, &b.TokenHash, &old, &b.CertHash, &b.PhoneHash,
		&created, &expires, &ended, &task, &b.ClaimKey); err != nil {
		return b, err
	}
	b.IP, b.Created, b.Expires, b.Ended, b.Task = addr(ip), fromMicros(created), fromMicros(expires), fromMicros(ended), []byte(task)
	return b, json.Unmarshal([]byte(old), &b.OldHashes)
}

// Boot returns a boot. Kinds: NotFound.
func (v *View) Boot(id string) (BootRow, error) {
	return one(v, authz.NounMachine, scanBoot, "SELECT "+bootCols+" FROM boots WHERE id = ?", id)
}

// OpenBoot returns the newest boot of a machine that has not ended; false when there is none.
func (v *View) OpenBoot(systemID string) (BootRow, bool, error) {
	return first(all(v, scanBoot, "SELECT "+bootCols+" FROM boots WHERE system_id = ? AND ended = 0 ORDER BY created DESC, id LIMIT 1", systemID))
}

// OpenBootByMAC returns the newest boot offered to an address that has not ended.
func (v *View) OpenBootByMAC(mac metal.MAC) (BootRow, bool, error) {
	return first(all(v, scanBoot, "SELECT "+bootCols+" FROM boots WHERE mac = ? AND ended = 0 ORDER BY created DESC, id LIMIT 1", string(mac)))
}

// BootByPhone returns the boot whose deployed system reports with a credential of this hash.
func (v *View) BootByPhone(hash string) (BootRow, bool, error) {
	if hash == "" {
		return BootRow{}, false, nil
	}
	return first(all(v, scanBoot, "SELECT "+bootCols+" FROM boots WHERE phone_hash = ?", hash))
}

func first[T any](list []T, err error) (x T, found bool, _ error) {
	if err != nil || len(list) == 0 {
		return x, false, err
	}
	return list[0], true, nil
}

// touchBoot touches the boot's machine. The boot of an unknown machine belongs to no object yet: it is
// touched as a new machine in the default pool.
func (t *Tx) touchBoot(b metal.Boot) error {
	if b.SystemID == "" {
		t.touch(authz.Target{Noun: authz.NounMachine, Pool: metal.DefaultPoolID, Rack: b.RackID}, true)
		return nil
	}
	return t.touchMachine(b.SystemID)
}

// PutBoot inserts or updates a boot.
func (t *Tx) PutBoot(b BootRow) error {
	if err := t.touchBoot(b.Boot); err != nil {
		return err
	}
	old := b.OldHashes
	if old == nil {
		old = []string{}
	}
	_, err := t.exec(`INSERT INTO boots (`+bootCols+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET system_id = excluded.system_id, mac = excluded.mac, ip = excluded.ip, rack_id = excluded.rack_id,
		purpose = excluded.purpose, state = excluded.state, token_hash = excluded.token_hash, old_hashes = excluded.old_hashes,
		cert_hash = excluded.cert_hash, phone_hash = excluded.phone_hash, expires = excluded.expires, ended = excluded.ended, task = excluded.task,
		claim_key = excluded.claim_key`,
		b.ID, b.SystemID, string(b.MAC), addrText(b.IP), b.RackID, string(b.Purpose), string(b.State), b.TokenHash, toJSON(old), b.CertHash, b.PhoneHash,
		micros(b.Created), micros(b.Expires), micros(b.Ended), string(b.Task), b.ClaimKey)
	return err
}

// EndBoots ends every open boot of a machine: their tokens, certificates and credentials are worth nothing
// from then on.
func (t *Tx) EndBoots(systemID string, now time.Time) error {
	if err := t.touchMachine(systemID); err != nil {
		return err
	}
	_, err := t.exec("UPDATE boots SET state = ?, token_hash = '', phone_hash = '', task = '', ended = ? WHERE system_id = ? AND ended = 0",
		string(metal.BootEnded), micros(now), systemID)
	return err
}

// DropOldBoots deletes boots that ended, or were never used, before a moment: an observation.
func (t *Tx) DropOldBoots(before time.Time) error {
	_, err := t.exec("DELETE FROM boots WHERE (ended > 0 AND ended < ?) OR (ended = 0 AND system_id = '' AND expires < ?)", micros(before), micros(before))
	return err
}

const commandCols = "id, system_id, action, boot, rack_id, created, deadline, attempts, not_until"

// CommandRow is a power command with the rack it was given to.
type CommandRow struct {
	metal.Command
	RackID string
}

func scanCommand(scan func(...any) error) (c CommandRow, err error) {
	var created, deadline, until int64
	err = scan(&c.ID, &c.SystemID, &c.Action, &c.Boot, &c.RackID, &created, &deadline, &c.Attempts, &until)
	c.Created, c.Deadline, c.NotUntil = fromMicros(created), fromMicros(deadline), fromMicros(until)
	return c, err
}

// Commands lists the power commands that are due, one per machine, oldest first.
func (v *View) Commands(now time.Time, limit int) ([]CommandRow, error) {
	return all(v, scanCommand, "SELECT "+commandCols+` FROM commands c WHERE not_until <= ? AND id = (SELECT MIN(id) FROM commands WHERE system_id = c.system_id)
		ORDER BY id LIMIT ?`, micros(now), limit)
}

// Command returns a power command under way. Kinds: NotFound.
func (v *View) Command(id int64) (CommandRow, error) {
	c, err := one(v, authz.NounMachine, scanCommand, "SELECT "+commandCols+" FROM commands WHERE id = ?", id)
	if fault.Is(err, fault.NotFound) {
		return c, fault.New(fault.NotFound, "No such power command is under way.")
	}
	return c, err
}

// AddCommand enqueues a power command; it replaces those of the machine that were not carried out yet.
func (t *Tx) AddCommand(c *CommandRow) (err error) {
	if err := t.touchMachine(c.SystemID); err != nil {
		return err
	}
	if _, err := t.exec("DELETE FROM commands WHERE system_id = ?", c.SystemID); err != nil {
		return err
	}
	c.ID, err = t.insert("INSERT INTO commands (system_id, action, boot, rack_id, created, deadline, attempts, not_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		c.SystemID, string(c.Action), string(c.Boot), c.RackID, micros(c.Created), micros(c.Deadline), c.Attempts, micros(c.NotUntil))
	return err
}

// PutCommand updates a command's rack, attempts and time of the next one.
func (t *Tx) PutCommand(c CommandRow) error {
	if err := t.touchMachine(c.SystemID); err != nil {
		return err
	}
	_, err := t.exec("UPDATE commands SET rack_id = ?, attempts = ?, not_until = ? WHERE id = ?", c.RackID, c.Attempts, micros(c.NotUntil), c.ID)
	return err
}

// DeleteCommand removes a command that ended; false when another replaced it meanwhile.
func (t *Tx) DeleteCommand(c CommandRow) (bool, error) {
	if err := t.touchMachine(c.SystemID); err != nil {
		return false, err
	}
	n, err := t.exec("DELETE FROM commands WHERE id = ?", c.ID)
	return n > 0, err
}

// BootByToken returns the boot that a token was minted for, also one replaced before it was spent.
func (v *View) BootByToken(hash string) (BootRow, bool, error) {
	if hash == "" {
		return BootRow{}, false, nil
	}
	return first(all(v, scanBoot, "SELECT "+bootCols+" FROM boots WHERE ended = 0 AND (token_hash = ? OR old_hashes LIKE ? ESCAPE '\\')", hash, "%\""+like(hash)+"\"%"))
}

// CountEnlistments counts the boots of unknown machines that have neither ended nor expired.
func (v *View) CountEnlistments(now time.Time) (n int, err error) {
	err = v.row("SELECT COUNT(*) FROM boots WHERE system_id = '' AND ended = 0 AND expires > ?", micros(now)).Scan(&n)
	return n, err
}
