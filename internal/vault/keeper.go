package vault

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// Pointer is the first byte of what Keeper.Seal returns: the secret is in Vault. Those below belong to the keyring.
const Pointer = secret.RemoteFormat

// A pointer is: Pointer, its kind, an id (16 bytes), a MAC (32 bytes), and for kind wrapped the ciphertext.
const (
	kindKept    = 0 // Vault has the secret
	kindWrapped = 1 // Vault has the key of it: the secret is too large for an entry
	idBytes     = 16
	headBytes   = 2 + idBytes + sha256.Size

	maxKept  = 128 << 10 // bytes of a secret that goes into Vault whole; a third more in base64, see MaxSecret
	maxValue = 16 << 20  // bytes of any secret: far above user data, the largest of them
	maxRef   = 512       // bytes
)

// Times of reading.
const (
	// Fresh is how long a secret that was read is used without asking Vault again.
	Fresh = 5 * time.Minute
	// Bridge is how long what was read, or found unchanged, serves while Vault is away: after that nothing opens.
	Bridge = 30 * time.Minute
	// warmAge is how old a copy in memory is before Warm reads it anew. Who calls Warm every five minutes bridges half of Bridge for sure.
	warmAge = Bridge / 3
	// retryEvery is how often Vault is asked while it is away; all others are answered at once.
	retryEvery = 5 * time.Second
	impatience = 2 * time.Second // for an answer that the cache could give, too
)

// KeeperState is how a Keeper's Vault is.
type KeeperState string

// States of a Keeper.
const (
	KeeperUnknown KeeperState = "unknown" // not asked yet
	KeeperOK      KeeperState = "ok"
	KeeperAway    KeeperState = "away"    // nobody answers, or Vault is sealed
	KeeperRefused KeeperState = "refused" // Vault answers, and does not let the role at the secrets
)

// KeeperStatus says how a Keeper and its Vault are.
type KeeperStatus struct {
	State   KeeperState
	Since   time.Time // of the state
	Asked   time.Time // of the last answer, or want of one
	Message string    // safe to show; empty when it is well
	Cached  int       // secrets that are in memory
}

// KeeperConfig is what a Keeper is made of.
type KeeperConfig struct {
	Client *Client
	// Site names the site's folder below the prefix: two sites may share a prefix.
	Site string
	// Key authenticates pointers: 32 bytes that are not in Vault and not in the database.
	Key []byte
	Now func() time.Time
}

// Keeper keeps each secret as an entry of its own in Vault's KV engine, under a random name, and returns a pointer to it. The
// pointer has a MAC of the secret, its ref and its name: neither a pointer that was moved to another ref opens, nor a secret that
// was changed in Vault, nor one that somebody put there who lacks the site's root key. An entry is written once, so a pointer means
// the same secret forever, and what was read can be kept: in memory, encrypted under a key of this process, until Bridge is over.
//
// Errors of Vault are those of this package; NotFound says that the secret is gone from Vault. Safe for concurrent use.
type Keeper struct {
	client atomic.Pointer[Client]
	site   string
	key    []byte
	now    func() time.Time
	cache  *cache

	mu     sync.Mutex // guards what follows
	status KeeperStatus
	next   time.Time            // while it is away: when somebody may ask again
	idle   map[string]time.Time // entries that nothing refers to, by id, and since when Collect knows
}

// NewKeeper makes a Keeper; it connects to nothing.
func NewKeeper(c KeeperConfig) (*Keeper, error) {
	if c.Client == nil || checkPath(c.Site) != nil || len(c.Key) != sha256.Size {
		return nil, fault.New(fault.Internal, "A keeper of secrets needs a client, a site and a key.")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	k := &Keeper{site: c.Site, key: append([]byte(nil), c.Key...), now: c.Now, cache: newCache(), status: KeeperStatus{State: KeeperUnknown, Since: c.Now()}}
	k.client.Store(c.Client)
	return k, nil
}

// Use has the Keeper use another client from now on: the role's secret id was rotated.
func (k *Keeper) Use(c *Client) {
	k.client.Store(c)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next = time.Time{}
}

// ID returns the name in Vault of a sealed secret, to be compared with what List finds; false for one that is not in Vault.
func ID(sealed []byte) (string, bool) {
	if len(sealed) < headBytes || sealed[0] != Pointer {
		return "", false
	}
	return hex.EncodeToString(sealed[2 : 2+idBytes]), true
}

// Seal writes a secret to Vault and returns the pointer to it. When it fails, nothing refers to what may have been written, and
// Collect removes it. Kinds: Unavailable, Forbidden, TooLarge.
func (k *Keeper) Seal(ctx context.Context, ref secret.Ref, v secret.Value) ([]byte, error) {
	if len(ref) > maxRef || len(v.Reveal()) > maxValue {
		return nil, fault.New(fault.TooLarge, "A secret may have %d MiB.", maxValue>>20)
	}
	head := make([]byte, headBytes)
	head[0] = Pointer
	_, _ = rand.Read(head[2 : 2+idBytes])
	kept, body := v, []byte(nil)
	if len(v.Reveal()) > maxKept {
		head[1] = kindWrapped
		key := make([]byte, 32)
		_, _ = rand.Read(key)
		kept = secret.NewValue(key)
		aead, err := newAEAD(key)
		if err != nil {
			return nil, err
		}
		// The key is of this value alone, so its nonce need not differ.
		body = aead.Seal(nil, make([]byte, aead.NonceSize()), v.Reveal(), bound(ref, head))
	}
	copy(head[2+idBytes:], k.mac(ref, head, kept))
	if !k.mayAsk() {
		return nil, k.away(nil)
	}
	err := k.put(ctx, ref, head, kept)
	k.heard(ctx, err)
	if err != nil {
		return nil, k.away(err)
	}
	k.cache.put(cacheName(ref, head), kept, k.now())
	return append(head, body...), nil
}

// put writes an entry. Whether one arrived whose answer did not is found out by reading it: its name is nobody else's.
func (k *Keeper) put(ctx context.Context, ref secret.Ref, head []byte, kept secret.Value) error {
	text := secret.FromString(base64.StdEncoding.EncodeToString(kept.Reveal()))
	_, err := k.client.Load().Put(ctx, k.path(head), Fields{"value": text, "ref": secret.FromString(string(ref))}, 0)
	if err == nil || !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Conflict) || ctx.Err() != nil {
		return err
	}
	if _, again := k.get(ctx, ref, head); again != nil {
		return err
	}
	return nil
}

// Open returns a secret that Seal wrote for the same ref. Kinds: Unavailable when neither Vault nor memory has it now, NotFound
// when Vault has lost it, Forbidden.
func (k *Keeper) Open(ctx context.Context, ref secret.Ref, sealed []byte) (secret.Value, error) {
	if err := check(ref, sealed); err != nil {
		return secret.Value{}, err
	}
	kept, err := k.read(ctx, ref, sealed[:headBytes])
	if err != nil {
		return secret.Value{}, err
	}
	return unwrap(ref, sealed, kept)
}

// check reports whether something has the form of a pointer.
func check(ref secret.Ref, sealed []byte) error {
	if len(sealed) < headBytes || sealed[0] != Pointer || sealed[1] > kindWrapped || sealed[1] == kindKept && len(sealed) > headBytes {
		return fmt.Errorf("cannot open secret %q: unknown format", ref)
	}
	return nil
}

// unwrap returns the secret of a pointer, of what Vault keeps for it.
func unwrap(ref secret.Ref, sealed []byte, kept secret.Value) (secret.Value, error) {
	head, body := sealed[:headBytes], sealed[headBytes:]
	if head[1] == kindKept {
		return kept, nil
	}
	aead, err := newAEAD(kept.Reveal())
	if err != nil {
		return secret.Value{}, errAltered(ref)
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), body, bound(ref, head))
	if err != nil {
		return secret.Value{}, errAltered(ref)
	}
	return secret.NewValue(plain), nil
}

// Fetch opens as Vault has it now, whatever is in memory. Kinds: as Open.
func (k *Keeper) Fetch(ctx context.Context, ref secret.Ref, sealed []byte) (secret.Value, error) {
	if err := check(ref, sealed); err != nil {
		return secret.Value{}, err
	}
	head := sealed[:headBytes]
	if !k.mayAsk() {
		return secret.Value{}, k.away(nil)
	}
	kept, err := k.get(ctx, ref, head)
	k.heard(ctx, err)
	if err != nil {
		return secret.Value{}, k.failed(ref, err)
	}
	k.cache.put(cacheName(ref, head), kept, k.now())
	return unwrap(ref, sealed, kept)
}

// Peek opens what memory has, without asking anybody: what was read a short while ago, and during an outage what Bridge allows.
func (k *Keeper) Peek(ref secret.Ref, sealed []byte) (secret.Value, bool) {
	if check(ref, sealed) != nil {
		return secret.Value{}, false
	}
	kept, since, have := k.cache.get(cacheName(ref, sealed[:headBytes]))
	if age := k.now().Sub(since); !have || age < 0 || age >= Bridge || age >= Fresh && !k.silent() {
		return secret.Value{}, false
	}
	v, err := unwrap(ref, sealed, kept)
	return v, err == nil
}

// silent reports whether Vault is away and nobody is to ask it now.
func (k *Keeper) silent() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status.State == KeeperAway && k.now().Before(k.next)
}

// failed says in words what an error of Vault means for whoever needs this secret.
func (k *Keeper) failed(ref secret.Ref, err error) error {
	if fault.Is(err, fault.NotFound) {
		return fmt.Errorf("%w (ref %q)", errGone, ref)
	}
	return k.away(err)
}

// read returns what Vault has of a pointer, or had a short time ago.
func (k *Keeper) read(ctx context.Context, ref secret.Ref, head []byte) (secret.Value, error) {
	name := cacheName(ref, head)
	held, since, have := k.cache.get(name)
	age := k.now().Sub(since)
	have = have && age < Bridge && age >= 0
	if have && age < Fresh {
		return held, nil
	}
	if !k.mayAsk() {
		if have {
			return held, nil
		}
		return secret.Value{}, k.away(nil)
	}
	ask, cancel := ctx, context.CancelFunc(func() {})
	if have {
		ask, cancel = context.WithTimeout(ctx, impatience)
	}
	kept, err := k.get(ask, ref, head)
	cancel()
	k.heard(ctx, err)
	switch {
	case err == nil:
		k.cache.put(name, kept, k.now())
		return kept, nil
	case fault.Is(err, fault.Unavailable) && have && ctx.Err() == nil:
		return held, nil
	case fault.Is(err, fault.NotFound):
		k.cache.drop(name)
	}
	return secret.Value{}, k.failed(ref, err)
}

var errGone = fault.New(fault.NotFound, "Vault does not have this secret any more: enter it again, or restore Vault's storage and this site's database of the same time.")

func errAltered(ref secret.Ref) error {
	return fmt.Errorf("cannot open secret %q: what Vault has is not what was kept there, or its pointer was moved", ref)
}

// get reads an entry and holds it against its pointer.
func (k *Keeper) get(ctx context.Context, ref secret.Ref, head []byte) (secret.Value, error) {
	got, err := k.client.Load().Get(ctx, k.path(head), 0)
	if err != nil {
		return secret.Value{}, err
	}
	raw, err := base64.StdEncoding.DecodeString(got.Fields["value"].RevealString())
	if err != nil {
		return secret.Value{}, errAltered(ref)
	}
	kept := secret.NewValue(raw)
	if !hmac.Equal(k.mac(ref, head, kept), head[2+idBytes:]) {
		return secret.Value{}, errAltered(ref)
	}
	return kept, nil
}

func (k *Keeper) path(head []byte) string {
	return k.site + "/" + hex.EncodeToString(head[2:2+idBytes])
}

// mac is of everything that a pointer stands for.
func (k *Keeper) mac(ref secret.Ref, head []byte, kept secret.Value) []byte {
	h := hmac.New(sha256.New, k.key)
	h.Write([]byte("metalward vault pointer v1"))
	h.Write(bound(ref, head))
	h.Write(kept.Reveal())
	return h.Sum(nil)
}

// bound is what a pointer is about: its ref, kind and id.
func bound(ref secret.Ref, head []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(len(ref)))
	return append(append(b, ref...), head[:2+idBytes]...)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("cannot make cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

// mayAsk says whether to ask Vault now. While it is away one in a while may; the others would only wait for nothing.
func (k *Keeper) mayAsk() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.status.State != KeeperAway {
		return true
	}
	now := k.now()
	if now.Before(k.next) {
		return false
	}
	k.next = now.Add(retryEvery)
	return true
}

// heard notes how Vault answered. A caller who went away says nothing about Vault.
func (k *Keeper) heard(ctx context.Context, err error) {
	state, now := KeeperOK, k.now()
	switch {
	case fault.Is(err, fault.Unavailable) && ctx.Err() != nil:
		return
	case fault.Is(err, fault.Unavailable):
		state = KeeperAway
	case fault.Is(err, fault.Forbidden), fault.Is(err, fault.Invalid): // Invalid: the mount is gone, or another engine's
		state = KeeperRefused
		k.cache.clear() // what Vault takes back is not for us to keep
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.status.Asked, k.status.Message = now, ""
	if state != KeeperOK {
		k.status.Message = fault.Message(err)
	}
	if state == KeeperAway {
		k.next = now.Add(retryEvery)
	}
	if k.status.State != state {
		k.status.State, k.status.Since = state, now
	}
}

// away says in words what an outage means for whoever needs a secret now. Other errors stay as they are.
func (k *Keeper) away(err error) error {
	if err != nil && !fault.Is(err, fault.Unavailable) {
		return err
	}
	st := k.Status()
	said := fault.New(fault.Unavailable, "Vault, which has this site's secrets, is away. What needs a secret that is not in memory waits until it answers; nothing was changed. See Settings > Security.")
	if st.State == KeeperAway {
		said = fault.New(fault.Unavailable, "Vault, which has this site's secrets, is away since %s: %s What needs a secret that is not in memory waits until it answers; nothing was changed. "+
			"See Settings > Security.", st.Since.UTC().Format("15:04:05 MST"), st.Message)
	}
	said.RetryAfter = retryEvery
	if err == nil {
		return said
	}
	return fmt.Errorf("%w (%w)", said, err)
}

// Status says how it is, without asking Vault.
func (k *Keeper) Status() KeeperStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	st := k.status
	st.Cached = k.cache.len()
	return st
}

// Check asks Vault whether it lets the role read where the secrets are, and notes the answer; what is too old to be used leaves memory.
func (k *Keeper) Check(ctx context.Context) error {
	k.cache.sweep(k.now().Add(-Bridge))
	_, err := k.client.Load().Get(ctx, k.site+"/check", 0) // there is nothing of this name, and only who may read is told so
	if fault.Is(err, fault.NotFound) {
		err = nil
	}
	k.heard(ctx, err)
	return err
}

// Warm reads a secret whose copy in memory is old or missing, so that an outage finds it there. It does nothing while Vault is
// away. Kinds: as Open.
func (k *Keeper) Warm(ctx context.Context, ref secret.Ref, sealed []byte) error {
	if len(sealed) < headBytes || sealed[0] != Pointer {
		return nil
	}
	name := cacheName(ref, sealed[:headBytes])
	if _, since, have := k.cache.get(name); have && k.now().Sub(since) < warmAge {
		return nil
	}
	if !k.mayAsk() {
		return k.away(nil)
	}
	kept, err := k.get(ctx, ref, sealed[:headBytes])
	k.heard(ctx, err)
	if err == nil {
		k.cache.put(name, kept, k.now())
	}
	return err
}

// Grace is how long an entry must have been without use before Collect removes it. So a database that was put back to what it was up to
// so long ago finds its secrets, one that was put back by mistake takes none from the right one, and a change that is under way has
// long committed.
const Grace = 24 * time.Hour

// Collect removes the entries of the site that nothing has referred to for Grace, as far as this process has seen: what was staged for a
// change that did not happen, and what was replaced or deleted since. An entry that nothing refers to is never referred to again, but by
// a database that was restored. It lists Vault first and then asks for the names that are in use, so what is staged meanwhile is not
// seen. It returns how many it removed. used is asked once.
func (k *Keeper) Collect(ctx context.Context, used func() (map[string]bool, error)) (n int, err error) {
	client, ids := k.client.Load(), []string(nil)
	for path, err := range client.List(ctx, k.site) {
		if err != nil {
			return 0, err
		}
		if id := path[len(k.site)+1:]; len(id) == 2*idBytes {
			ids = append(ids, id)
		}
	}
	keep, err := used()
	if err != nil {
		return 0, err
	}
	for _, id := range k.unused(ids, keep) {
		if err := client.Delete(ctx, k.site+"/"+id); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// unused notes which of the entries that Vault has are not in use, and returns those that have not been for Grace.
func (k *Keeper) unused(ids []string, keep map[string]bool) (due []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, since := k.now(), map[string]time.Time{}
	for _, id := range ids {
		if keep[id] {
			continue
		}
		seen, known := k.idle[id]
		if !known {
			seen = now
		}
		since[id] = seen
		if now.Sub(seen) >= Grace {
			due = append(due, id)
		}
	}
	k.idle = since
	return due
}
