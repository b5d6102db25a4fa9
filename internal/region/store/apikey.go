package store

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

const keyCols = "id, user_id, name, consumer_key, token_key, secret_hash, created, last_used, last_address, expires, read_only, pools, networks"

func scanKey(scan func(...any) error) (k metal.APIKey, err error) {
	var created, used, expires int64
	var pools, networks string
	err = scan(&k.ID, &k.UserID, &k.Name, &k.ConsumerKey, &k.TokenKey, &k.SecretHash, &created, &used, &k.LastAddress, &expires, &k.ReadOnly, &pools, &networks)
	if err != nil {
		return k, err
	}
	k.Created, k.LastUsed, k.Expires = fromMicros(created), fromMicros(used), fromMicros(expires)
	if err := json.Unmarshal([]byte(pools), &k.Pools); err != nil {
		return k, err
	}
	return k, json.Unmarshal([]byte(networks), &k.Networks)
}

// APIKeys lists a user's keys in order of creation.
func (v *View) APIKeys(userID int64) ([]metal.APIKey, error) {
	return all(v, scanKey, "SELECT "+keyCols+" FROM api_keys WHERE user_id = ? ORDER BY id", userID)
}

// APIKeyByToken returns a key by its token part. Kinds: NotFound.
func (v *View) APIKeyByToken(token string) (metal.APIKey, error) {
	return one(v, authz.NounUser, scanKey, "SELECT "+keyCols+" FROM api_keys WHERE token_key = ?", token)
}

// AddAPIKey inserts a key of a user and sets its ID.
func (t *Tx) AddAPIKey(u metal.User, k *metal.APIKey) (err error) {
	t.touch(UserTarget(u), false)
	pools, err := json.Marshal(append([]int64{}, k.Pools...))
	if err != nil {
		return err
	}
	networks, err := json.Marshal(append([]netip.Prefix{}, k.Networks...))
	if err != nil {
		return err
	}
	k.ID, err = t.insert(`INSERT INTO api_keys (user_id, name, consumer_key, token_key, secret_hash, created, last_used, expires, read_only, pools, networks)
		VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?)`,
		u.ID, k.Name, k.ConsumerKey, k.TokenKey, k.SecretHash, micros(k.Created), micros(k.Expires), bit(k.ReadOnly), string(pools), string(networks))
	return err
}

// RenameAPIKey changes a key's name.
func (t *Tx) RenameAPIKey(u metal.User, id int64, name string) error {
	t.touch(UserTarget(u), false)
	_, err := t.exec("UPDATE api_keys SET name = ? WHERE id = ? AND user_id = ?", name, id, u.ID)
	return err
}

// DeleteAPIKey deletes a user's key.
func (t *Tx) DeleteAPIKey(u metal.User, id int64) error {
	t.touch(UserTarget(u), false)
	_, err := t.exec("DELETE FROM api_keys WHERE id = ? AND user_id = ?", id, u.ID)
	return err
}

// maxKeyNetworks bounds the networks that are remembered of a key; the one not seen for longest is forgotten.
const maxKeyNetworks = 64

// SeeAPIKey notes a key's last use and from where: an observation. It reports whether the key was used before, but
// never from this network.
func (t *Tx) SeeAPIKey(id int64, address, network string, now time.Time) (strange bool, err error) {
	if _, err := t.exec("UPDATE api_keys SET last_used = ?, last_address = ? WHERE id = ?", micros(now), address, id); err != nil {
		return false, err
	}
	n, err := t.exec("UPDATE api_key_networks SET seen = ? WHERE key_id = ? AND network = ?", micros(now), id, network)
	if err != nil || n > 0 {
		return false, err
	}
	var known int
	if err := t.row("SELECT COUNT(*) FROM api_key_networks WHERE key_id = ?", id).Scan(&known); err != nil {
		return false, err
	}
	if known >= maxKeyNetworks {
		if _, err := t.exec("DELETE FROM api_key_networks WHERE key_id = ? AND seen = (SELECT MIN(seen) FROM api_key_networks WHERE key_id = ?)", id, id); err != nil {
			return false, err
		}
	}
	// The key may be deleted by now.
	_, err = t.exec("INSERT INTO api_key_networks (key_id, network, seen) SELECT id, CAST(? AS TEXT), CAST(? AS BIGINT) FROM api_keys WHERE id = ?", network, micros(now), id)
	return known > 0, err
}
