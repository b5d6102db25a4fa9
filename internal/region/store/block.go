package store

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
)

// Block is somebody shut out of the site: one IPv4 address, or the /64 of an IPv6 address. Its texts are safe to print.
type Block struct {
	ID          int64
	Prefix      netip.Prefix
	Unit        string // of the detection; "" by a person
	Reason, By  string
	From, Until time.Time

	Ended    time.Time // zero while it lasts
	How      BlockEnd
	EndedBy  string
	EndedWhy string
}

// BlockEnd is how a block ended.
type BlockEnd string

// How blocks end.
const (
	BlockOver    BlockEnd = "over"    // its time was over
	BlockLifted  BlockEnd = "lifted"  // somebody lifted it, or the site came to need the address
	BlockCleared BlockEnd = "cleared" // with all others
)

// BlockTarget is the block of an address or network as the object of an action.
func BlockTarget(p netip.Prefix) authz.Target {
	return authz.Target{Noun: authz.NounBlock, ID: p.String()}
}

// BlocksTarget is the list of blocks as the object of an action: its switch, its policy, all of them at once.
func BlocksTarget() authz.Target { return authz.Target{Noun: authz.NounBlock, ID: "all"} }

const blockQuery = "SELECT id, prefix, unit, reason, made_by, began, until, ended, how, ended_by, ended_why FROM blocks"

func scanBlock(scan func(...any) error) (b Block, err error) {
	var prefix string
	var from, until, ended int64
	if err = scan(&b.ID, &prefix, &b.Unit, &b.Reason, &b.By, &from, &until, &ended, &b.How, &b.EndedBy, &b.EndedWhy); err != nil {
		return b, err
	}
	b.From, b.Until, b.Ended = fromMicros(from), fromMicros(until), fromMicros(ended)
	b.Prefix, err = netip.ParsePrefix(prefix)
	return b, err
}

// ActiveBlocks lists the blocks that last at a moment, the newest first, those before an id; 0 is no bound.
func (v *View) ActiveBlocks(now time.Time, before int64, limit int) ([]Block, error) {
	if before == 0 {
		before = 1 << 62
	}
	if limit == 0 {
		limit = 1 << 30
	}
	return all(v, scanBlock, blockQuery+" WHERE ended = 0 AND until > ? AND id < ? ORDER BY id DESC LIMIT ?", micros(now), before, limit)
}

// EndedBlocks lists blocks that do not last any more, the newest first.
func (v *View) EndedBlocks(now time.Time, before int64, limit int) ([]Block, error) {
	if before == 0 {
		before = 1 << 62
	}
	return all(v, scanBlock, blockQuery+" WHERE (ended > 0 OR until <= ?) AND id < ? ORDER BY id DESC LIMIT ?", micros(now), before, limit)
}

// BlockOf is the block of an address or network that lasts at a moment.
func (v *View) BlockOf(p netip.Prefix, now time.Time) (Block, bool, error) {
	return first(all(v, scanBlock, blockQuery+" WHERE prefix = ? AND ended = 0 AND until > ?", p.String(), micros(now)))
}

// CountBlocks counts the blocks that last at a moment.
func (v *View) CountBlocks(now time.Time) (n int, err error) {
	return n, v.row("SELECT COUNT(*) FROM blocks WHERE ended = 0 AND until > ?", micros(now)).Scan(&n)
}

// TimesBlocked counts the blocks of an address or network that began after a moment, and after the last one that was lifted.
func (v *View) TimesBlocked(p netip.Prefix, since time.Time) (n int, err error) {
	return n, v.row("SELECT COUNT(*) FROM blocks WHERE prefix = ? AND began > ? AND began > COALESCE((SELECT MAX(began) FROM blocks WHERE prefix = ? AND how = ?), 0)",
		p.String(), micros(since), p.String(), string(BlockLifted)).Scan(&n)
}

// AddBlock inserts a block and sets its ID. One of the same address whose time is over ends. Kinds: Conflict while one lasts.
func (t *Tx) AddBlock(b *Block) (err error) {
	if _, err := t.exec("UPDATE blocks SET ended = until, how = ? WHERE prefix = ? AND ended = 0 AND until <= ?", string(BlockOver), b.Prefix.String(), micros(b.From)); err != nil {
		return err
	}
	b.ID, err = t.insert("INSERT INTO blocks (prefix, unit, reason, made_by, began, until, ended, how, ended_by, ended_why) VALUES (?, ?, ?, ?, ?, ?, 0, '', '', '')",
		b.Prefix.String(), b.Unit, b.Reason, b.By, micros(b.From), micros(b.Until))
	if err != nil {
		return err
	}
	t.touch(BlockTarget(b.Prefix), true)
	return t.blocksChanged()
}

// LiftBlock ends a block before its time.
func (t *Tx) LiftBlock(b Block, by, why string, now time.Time) error {
	t.touch(BlockTarget(b.Prefix), false)
	if _, err := t.exec("UPDATE blocks SET ended = ?, how = ?, ended_by = ?, ended_why = ? WHERE id = ? AND ended = 0", micros(now), string(BlockLifted), by, why, b.ID); err != nil {
		return err
	}
	return t.blocksChanged()
}

// ClearBlocks ends all blocks that last, and says how many those were.
func (t *Tx) ClearBlocks(by, why string, now time.Time) (int64, error) {
	t.touch(BlocksTarget(), false)
	n, err := t.exec("UPDATE blocks SET ended = ?, how = ?, ended_by = ?, ended_why = ? WHERE ended = 0 AND until > ?", micros(now), string(BlockCleared), by, why, micros(now))
	if err != nil {
		return 0, err
	}
	return n, t.blocksChanged()
}

// blocksChanged has all regions read the list again.
func (t *Tx) blocksChanged() error {
	_, err := t.exec("UPDATE block_site SET version = version + 1 WHERE id = 1")
	return err
}

// SettleBlocks closes the blocks whose time is over, and drops what nobody needs any more: an observation. Of ended blocks at most most are kept, none that ended
// before a moment; likewise of wishes.
func (t *Tx) SettleBlocks(now, before time.Time, most, wishes int) error {
	for _, x := range []struct {
		q    string
		args []any
	}{
		{"UPDATE blocks SET ended = until, how = ? WHERE ended = 0 AND until <= ?", []any{string(BlockOver), micros(now)}},
		{"DELETE FROM blocks WHERE ended > 0 AND ended < ?", []any{micros(before)}},
		{"DELETE FROM blocks WHERE ended > 0 AND id <= COALESCE((SELECT id FROM blocks WHERE ended > 0 ORDER BY id DESC LIMIT 1 OFFSET ?), 0)", []any{most}},
		{"DELETE FROM block_wishes WHERE last_seen < ?", []any{micros(before)}},
		{"DELETE FROM block_wishes WHERE last_seen <= COALESCE((SELECT last_seen FROM block_wishes ORDER BY last_seen DESC LIMIT 1 OFFSET ?), 0)", []any{wishes}},
	} {
		if _, err := t.exec(x.q, x.args...); err != nil {
			return err
		}
	}
	return nil
}

// BlockSite is the list of blocks as a whole.
type BlockSite struct {
	Version int64 // counts changes
	Off     bool  // nobody is blocked until it is switched on again
	OffBy   string
	OffAt   time.Time
	Policy  BlockPolicy
}

// BlockPolicy is what the site chose; zero values are the defaults of package block.
type BlockPolicy struct {
	Enforce []string       `json:"enforce,omitempty"` // ids of detections; what others find is observed alone
	First   time.Duration  `json:"first,omitempty"`   // of an address's first block
	Longest time.Duration  `json:"longest,omitempty"`
	Most    int            `json:"most,omitempty"` // at the same time
	Never   []netip.Prefix `json:"never,omitempty"`
}

// BlockVersion is the version of the list of blocks.
func (v *View) BlockVersion() (n int64, err error) {
	return n, v.row("SELECT version FROM block_site WHERE id = 1").Scan(&n)
}

// BlockSite is the list's switch and policy.
func (v *View) BlockSite() (s BlockSite, err error) {
	var off, at int64
	var policy string
	if err := v.row("SELECT version, off, off_by, off_at, policy FROM block_site WHERE id = 1").Scan(&s.Version, &off, &s.OffBy, &at, &policy); err != nil {
		return s, err
	}
	s.Off, s.OffAt = off != 0, fromMicros(at)
	return s, json.Unmarshal([]byte(policy), &s.Policy)
}

// PutBlockSite stores the switch and the policy; the version counts by itself.
func (t *Tx) PutBlockSite(s BlockSite) error {
	t.touch(BlocksTarget(), false)
	if _, err := t.exec("UPDATE block_site SET off = ?, off_by = ?, off_at = ?, policy = ? WHERE id = 1", bit(s.Off), s.OffBy, micros(s.OffAt), toJSON(s.Policy)); err != nil {
		return err
	}
	return t.blocksChanged()
}

// BlockWish is somebody whom a detection would have blocked, and why he was not.
type BlockWish struct {
	Prefix      netip.Prefix
	Unit        string
	Reason      string
	Why         string
	First, Last time.Time
	Times       int64
}

// BlockWishes lists them, the latest first; of one address or network, if that is given.
func (v *View) BlockWishes(of netip.Prefix, limit int) ([]BlockWish, error) {
	prefix := ""
	if of.IsValid() {
		prefix = of.String()
	}
	return all(v, func(scan func(...any) error) (w BlockWish, err error) {
		var prefix string
		var first, last int64
		if err = scan(&prefix, &w.Unit, &w.Reason, &w.Why, &first, &last, &w.Times); err != nil {
			return w, err
		}
		w.First, w.Last = fromMicros(first), fromMicros(last)
		w.Prefix, err = netip.ParsePrefix(prefix)
		return w, err
	}, "SELECT prefix, unit, reason, why, first_seen, last_seen, times FROM block_wishes WHERE prefix = ? OR ? = '' ORDER BY last_seen DESC, prefix, unit LIMIT ?", prefix, prefix, limit)
}

// SeeBlockWish stores one: an observation.
func (t *Tx) SeeBlockWish(w BlockWish) error {
	_, err := t.exec(`INSERT INTO block_wishes (prefix, unit, reason, why, first_seen, last_seen, times) VALUES (?, ?, ?, ?, ?, ?, 1)
		ON CONFLICT (prefix, unit) DO UPDATE SET reason = excluded.reason, why = excluded.why, last_seen = excluded.last_seen, times = block_wishes.times + 1`,
		w.Prefix.String(), w.Unit, w.Reason, w.Why, micros(w.Last), micros(w.Last))
	return err
}

// BlockRefusal is a block that a controller does not carry out, and why.
type BlockRefusal struct {
	Prefix netip.Prefix `json:"prefix"`
	Why    string       `json:"why"`
}

// BlockReport is what a controller did with the list.
type BlockReport struct {
	Controller string
	Seen       time.Time
	Version    int64  // of the list
	How        string // where it is enforced, in a word
	Applied    int    // blocks
	Refused    []BlockRefusal
	Problem    string // in words for people; "" for none
	Needs      []BlockNeed
}

// BlockNeed is an address or network that is never blocked, and why.
type BlockNeed struct {
	Prefix netip.Prefix `json:"prefix"`
	What   string       `json:"what"`
}

// BlockReports lists what controllers told that were not removed.
func (v *View) BlockReports() ([]BlockReport, error) {
	return all(v, func(scan func(...any) error) (r BlockReport, err error) {
		var seen int64
		var refused, needs string
		if err = scan(&r.Controller, &seen, &r.Version, &r.How, &r.Applied, &refused, &r.Problem, &needs); err != nil {
			return r, err
		}
		if err = json.Unmarshal([]byte(refused), &r.Refused); err == nil {
			err = json.Unmarshal([]byte(needs), &r.Needs)
		}
		r.Seen = fromMicros(seen)
		return r, err
	}, `SELECT b.controller, b.seen, b.version, b.how, b.applied, b.refused, b.problem, b.needs FROM block_controllers b
		WHERE NOT EXISTS (SELECT 1 FROM controllers c WHERE c.system_id = b.controller AND c.revoked <> 0) ORDER BY b.controller`)
}

// SeeBlockReport stores what a controller told: an observation. What was not told since a moment goes.
func (t *Tx) SeeBlockReport(r BlockReport, before time.Time) error {
	if _, err := t.exec("DELETE FROM block_controllers WHERE seen < ?", micros(before)); err != nil {
		return err
	}
	_, err := t.exec(`INSERT INTO block_controllers (controller, seen, version, how, applied, refused, problem, needs) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (controller) DO UPDATE SET seen = excluded.seen, version = excluded.version, how = excluded.how, applied = excluded.applied, refused = excluded.refused,
		problem = excluded.problem, needs = excluded.needs`, r.Controller, micros(r.Seen), r.Version, r.How, r.Applied, toJSON(append([]BlockRefusal{}, r.Refused...)), r.Problem,
		toJSON(append([]BlockNeed{}, r.Needs...)))
	return err
}

// recentKey is for how long after its last use an API key's address counts as somebody's who works.
const recentKey = time.Hour

// BlockNeeds lists who and what of the site has an address: controllers, machines, leases, BMCs, networks that racks serve machines in, and people who are logged in or
// use a key. With whom it lists those alone that are in it, by what the database can tell.
func (v *View) BlockNeeds(whom netip.Prefix, now time.Time) (list []BlockNeed, err error) {
	like, bmc := []any{"_%"}, `%"power_address":%`
	if whom.IsValid() && whom.Addr().Is4() {
		text := whom.Addr().String()
		like, bmc = []any{"%" + text}, `%"power_address":"`+text+`%`
	} else if whom.IsValid() {
		like = []any{"%:%"}
	}
	add := func(what, address string) {
		if p := needPrefix(address); p.IsValid() && (!whom.IsValid() || p.Overlaps(whom)) {
			list = append(list, BlockNeed{p, what})
		}
	}
	controllers, err := v.Controllers()
	if err != nil {
		return nil, err
	}
	for _, c := range controllers {
		for _, i := range c.Interfaces {
			for _, a := range i.Addresses {
				add("an address of controller "+c.Hostname, a.Addr().String())
			}
		}
	}
	for _, x := range []struct {
		what, query string
		args        []any
	}{
		{"an address of machine ", "SELECT m.hostname, i.ip FROM interfaces i JOIN machines m ON m.system_id = i.system_id WHERE i.ip LIKE ?", like},
		{"leased by a rack to ", "SELECT CASE WHEN hostname = '' THEN mac ELSE hostname END, ip FROM leases WHERE ip LIKE ? AND expires > ?", append(like, micros(now))},
		{"from where a session lasts of ", "SELECT DISTINCT u.name, s.address FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.address LIKE ? AND s.expires > ?", append(like, micros(now))},
		{"from where a key is in use of ", "SELECT DISTINCT u.name, k.last_address FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.last_address LIKE ? AND k.last_used > ?",
			append(like, micros(now.Add(-recentKey)))},
	} {
		if err := v.pairs(func(name, address string) { add(x.what+name, address) }, x.query, x.args...); err != nil {
			return nil, err
		}
	}
	if err := v.pairs(func(name, plain string) {
		var p struct {
			Address string `json:"power_address"`
		}
		if json.Unmarshal([]byte(plain), &p) == nil { // else there is no address to spare
			add("the BMC of machine "+name, p.Address)
		}
	}, "SELECT hostname, power_plain FROM machines WHERE power_plain LIKE ?", bmc); err != nil {
		return nil, err
	}
	return list, v.pairs(func(name, cidr string) { add("in subnet "+name+", where racks serve machines", cidr) },
		"SELECT DISTINCT s.name, s.cidr FROM subnets s JOIN vlans v ON v.id = s.vlan_id WHERE v.dhcp_on <> 0")
}

// pairs reads two texts of each row.
func (v *View) pairs(each func(a, b string), q string, args ...any) error {
	_, err := all(v, func(scan func(...any) error) (_ struct{}, err error) {
		var a, b string
		if err = scan(&a, &b); err == nil {
			each(a, b)
		}
		return struct{}{}, err
	}, q, args...)
	return err
}

// needPrefix reads an address, one with a port, or a network; what is none of them, such as a BMC's name, is the zero one.
func needPrefix(text string) netip.Prefix {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked()
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		at, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Prefix{}
		}
		a = at.Addr()
	}
	a = a.Unmap().WithZone("")
	p, err := a.Prefix(a.BitLen())
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// NoBlock is the fault for an address that is not blocked.
func NoBlock(p netip.Prefix) error {
	return fault.New(fault.NotFound, "%s is not blocked.", p)
}
