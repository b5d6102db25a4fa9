package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/throttle"
	"github.com/metalward/metalward/internal/secret"
)

// Second factors. A right password of a user who has one, or whose role demands one, makes no session but a step:
// what the browser holds in a cookie while it shows the second factor, or sets up the first. Setting one up takes the
// password again, so that an unattended browser gives nothing away, and ends all other sessions.

// Limits of second factors.
const (
	stepLife         = 5 * time.Minute // of a login or set-up that is under way
	recoveryCodes    = 10
	maxFactors       = 20
	maxPasskeyAnswer = 64 << 10
)

// Codes is the policy for codes of six digits, counted for the account as a whole: who knows the password may come
// from many networks. Beyond it the owner has passkeys and recovery codes, which nobody guesses.
var Codes = throttle.Policy{
	Subject: throttle.Limits{Free: 50, First: time.Minute, Most: time.Hour, Forgive: time.Hour, Keys: 50_000},
	Address: throttle.Limits{Free: 1 << 30, First: time.Second, Most: time.Second, Forgive: time.Hour, Keys: 1}, // there is no address
	Block:   throttle.Limits{Free: 1 << 30, First: time.Second, Most: time.Second, Forgive: time.Hour, Keys: 1},
}

// Kinds of steps.
const (
	stepLogin   = "login"
	stepTOTP    = "totp"
	stepPasskey = "passkey"
)

// ceremony is the data of a step with a passkey: what the browser is asked, and what we have to remember of it.
type ceremony struct {
	Options json.RawMessage
	Session webauthn.SessionData
}

var (
	errStep   = fault.New(fault.Unauthenticated, "This login took too long, or was finished already. Log in again.")
	errFactor = fault.New(fault.Unauthenticated, "This code is wrong or was used already.")
)

func totpRef(u metal.User) secret.Ref {
	return secret.Ref("user/" + strconv.FormatInt(u.ID, 10) + "/totp")
}

// demanded reports whether a role of the user demands a second factor: the setting mfa_required_roles.
func demanded(v *store.View, u metal.User) (bool, error) {
	x, err := v.SettingValue("mfa_required_roles")
	names, _ := x.(string)
	if err != nil || names == "" {
		return false, err
	}
	grants, err := v.Grants(store.GrantQuery{UserID: u.ID})
	for name := range strings.SplitSeq(names, ",") {
		if slices.ContainsFunc(grants, func(g store.GrantRow) bool { return g.Role != "" && strings.EqualFold(g.Role, strings.TrimSpace(name)) }) {
			return true, err
		}
	}
	return false, err
}

// beginStep makes the step of a login whose password was right; false when no second factor is wanted.
func (s *Service) beginStep(c *gate.Call, u metal.User) (step secret.Value, wanted bool, err error) {
	factors, err := c.Tx().Factors(u.ID)
	if err != nil {
		return step, false, err
	}
	if len(factors) == 0 {
		if wanted, err = demanded(&c.Tx().View, u); err != nil || !wanted {
			return step, false, err
		}
	}
	data := "{}"
	if w, person := s.webauthn(), s.person(u, factors); w != nil && len(person.credentials) > 0 {
		options, session, err := w.BeginLogin(person, webauthn.WithUserVerification(protocol.VerificationPreferred))
		if err != nil {
			return step, true, err
		}
		if data, err = packed(options.Response, session); err != nil {
			return step, true, err
		}
	}
	step = secret.Random(32)
	return step, true, c.Tx().PutStep(u, store.Step{Hash: step.Hash(), Epoch: u.Epoch, Kind: stepLogin, Data: data, Expires: c.Now().Add(stepLife)}, c.Now())
}

func packed(options any, session *webauthn.SessionData) (string, error) {
	o, err := json.Marshal(options)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(ceremony{o, *session})
	return string(b), err
}

// step reads a step and its user. Kinds: Unauthenticated when it ended, or the user's sessions did.
func (s *Service) step(v *store.View, kind string, of secret.Value, now time.Time) (st store.Step, u metal.User, err error) {
	st, err = v.Step(kind, of.Hash())
	if err != nil || now.After(st.Expires) {
		return st, u, errStep
	}
	row, err := v.User(st.UserID)
	if err != nil || row.Disabled || row.Epoch != st.Epoch {
		return st, u, errStep
	}
	return st, row.User, nil
}

// Pending describes a login that waits for its second factor.
type Pending struct {
	Name    string
	TOTP    bool
	Passkey json.RawMessage // what the browser is to be asked; nil when the user has no passkey
	SetUp   bool            // there is no factor yet, but the user's role demands one
}

// Pending reads what a login waits for. Kinds: Unauthenticated.
func (s *Service) Pending(ctx context.Context, login secret.Value) (p Pending, err error) {
	err = s.gate.View(authz.AsSystem(ctx, "login"), authz.UserView, func(v *gate.Viewing) error {
		st, u, err := s.step(v.View, stepLogin, login, v.Now())
		if err != nil {
			return err
		}
		factors, err := v.Factors(u.ID)
		if err != nil {
			return err
		}
		p.Name, p.SetUp = u.Name, len(factors) == 0
		p.TOTP = slices.ContainsFunc(factors, func(f metal.Factor) bool { return f.Kind == metal.FactorTOTP })
		var x ceremony
		err = json.Unmarshal([]byte(st.Data), &x)
		p.Passkey = x.Options
		return err
	})
	return p, err
}

// SettingUp acts as the user of a login that waits for its first factor; the context of one who is logged in is left
// alone. Kinds: Unauthenticated.
func (s *Service) SettingUp(ctx context.Context, login secret.Value) (context.Context, error) {
	if authz.From(ctx).Kind == authz.User {
		return ctx, nil
	}
	var user metal.User
	err := s.gate.View(authz.AsSystem(ctx, "login"), authz.UserView, func(v *gate.Viewing) error {
		_, u, err := s.step(v.View, stepLogin, login, v.Now())
		if err != nil {
			return err
		}
		factors, err := v.Factors(u.ID)
		if err == nil && len(factors) > 0 {
			err = errStep // the second factor that there is comes first
		}
		user = u
		return err
	})
	if err != nil {
		return ctx, err
	}
	return asUser(ctx, user), nil
}

// finishStep ends a login with the factor that verify finds right, and starts the session. verify runs in the
// transaction that notes the use.
func (s *Service) finishStep(ctx context.Context, login secret.Value, digits bool, verify func(c *gate.Call, st store.Step, u metal.User) (factor string, err error)) (cookie secret.Value, err error) {
	var user metal.User
	err = s.gate.View(authz.AsSystem(ctx, "login"), authz.UserView, func(v *gate.Viewing) (err error) {
		_, user, err = s.step(v.View, stepLogin, login, v.Now())
		return err
	})
	if err != nil {
		return cookie, err
	}
	attempts, err := s.takeFactor(ctx, user.Name, digits)
	if err != nil {
		return cookie, err
	}
	err = s.gate.Do(asUser(ctx, user), authz.UserLogin, func(c *gate.Call) error {
		if err := c.Require(store.UserTarget(user)); err != nil {
			return err
		}
		c.Note("step", "second factor")
		st, u, err := s.step(&c.Tx().View, stepLogin, login, c.Now())
		if err != nil {
			return err
		}
		factor, err := verify(c, st, u)
		if err != nil {
			return err
		}
		c.Note("factor", factor)
		if fresh, err := c.Tx().DeleteStep(u, st.Hash); err != nil || !fresh {
			return errors2(err, errStep)
		}
		cookie = secret.Random(32)
		return s.addSession(ctx, c, u, cookie, factor)
	})
	s.endFactor(ctx, user.Name, attempts, err)
	return cookie, err
}

// takeFactor begins an attempt at a second factor. Kinds: Exhausted with RetryAfter.
func (s *Service) takeFactor(ctx context.Context, name string, digits bool) (attempts []*throttle.Attempt, err error) {
	a, wait := s.guesses.Take("second factor of "+name, authz.OriginFrom(ctx).Source, s.now())
	if wait > 0 {
		return nil, tooMany(wait)
	}
	attempts = append(attempts, a)
	if digits {
		if a, wait = s.codes.Take(name, "", s.now()); wait > 0 {
			attempts[0].Drop()
			return nil, &fault.Error{Kind: fault.Exhausted, RetryAfter: wait, Message: "Too many wrong codes for this account, perhaps by somebody who knows the password. " +
				"Use a passkey or a recovery code, and change the password."}
		}
		attempts = append(attempts, a)
	}
	return attempts, nil
}

// endFactor counts the outcome.
func (s *Service) endFactor(ctx context.Context, name string, attempts []*throttle.Attempt, err error) {
	for _, a := range attempts {
		switch {
		case err == nil:
			a.Passed(s.now())
		case !errors.Is(err, errFactor):
			a.Drop()
		case a.Failed(s.now()):
			s.alarm(ctx, name)
		}
	}
}

// FinishCode ends a login with a code of an authenticator app, or a recovery code. Kinds: Unauthenticated, Exhausted
// with RetryAfter.
func (s *Service) FinishCode(ctx context.Context, login secret.Value, code string) (cookie secret.Value, err error) {
	code = strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, strings.ToLower(code))
	digits := len(code) <= 6
	return s.finishStep(ctx, login, digits, func(c *gate.Call, _ store.Step, u metal.User) (string, error) {
		if !digits {
			ok, err := c.Tx().SpendRecoveryCode(u, secret.FromString(code).Hash())
			if err == nil && !ok {
				err = errFactor
			}
			return metal.FactorRecovery, err
		}
		factors, err := c.Tx().Factors(u.ID)
		if err != nil {
			return "", err
		}
		i := slices.IndexFunc(factors, func(f metal.Factor) bool { return f.Kind == metal.FactorTOTP })
		if i < 0 {
			return "", errFactor
		}
		sealed, ok, err := c.Tx().Secret(totpRef(u))
		if err != nil || !ok {
			return "", errors2(err, errFactor)
		}
		key, err := s.keyring.Open(totpRef(u), sealed)
		if err != nil {
			return "", err
		}
		f := factors[i]
		if f.LastStep, ok = totpMatch(key, code, c.Now(), f.LastStep); !ok {
			return "", errFactor
		}
		f.LastUsed = c.Now()
		return metal.FactorTOTP, c.Tx().UseFactor(u, f)
	})
}

// FinishPasskey ends a login with what the browser's passkey answered. Kinds: Unauthenticated, Exhausted with RetryAfter.
func (s *Service) FinishPasskey(ctx context.Context, login secret.Value, answer []byte) (cookie secret.Value, err error) {
	if len(answer) > maxPasskeyAnswer {
		return cookie, errFactor
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil {
		return cookie, fault.Field("passkey", "The browser's answer cannot be read.")
	}
	return s.finishStep(ctx, login, false, func(c *gate.Call, st store.Step, u metal.User) (string, error) {
		var x ceremony
		factors, err := c.Tx().Factors(u.ID)
		if err == nil {
			err = json.Unmarshal([]byte(st.Data), &x)
		}
		w := s.webauthn()
		if err != nil || w == nil || x.Options == nil {
			return "", errors2(err, errFactor)
		}
		cred, err := w.ValidateLogin(s.person(u, factors), x.Session, parsed)
		if err != nil || cred.Authenticator.CloneWarning {
			c.Note("reason", "passkey not accepted")
			return "", errFactor
		}
		i := slices.IndexFunc(factors, func(f metal.Factor) bool { return f.Credential == credentialID(cred.ID) })
		if i < 0 {
			return "", errFactor
		}
		data, err := json.Marshal(cred)
		if err != nil {
			return "", err
		}
		factors[i].Data, factors[i].LastUsed = string(data), c.Now()
		return metal.FactorPasskey, c.Tx().UseFactor(u, factors[i])
	})
}

func credentialID(id []byte) string { return base64.RawURLEncoding.EncodeToString(id) }

// webauthn is the relying party; nil where the pages have no name, for passkeys belong to names.
func (s *Service) webauthn() *webauthn.WebAuthn {
	u, err := url.Parse(s.origin)
	if err != nil || u.Host == "" {
		return nil
	}
	name := u.Hostname()
	w, err := webauthn.New(&webauthn.Config{RPID: name, RPDisplayName: "Metalward " + name, RPOrigins: []string{s.origin, "https://" + name}}) // with a proxy in front, too
	if err != nil || protocol.ValidateRPID(name) != nil {
		return nil
	}
	return w
}

// HasPasskeys reports whether this site can use passkeys: it must be reached by a name.
func (s *Service) HasPasskeys() bool { return s.webauthn() != nil }

// person is a user as the library for passkeys sees him.
type person struct {
	user        metal.User
	handle      []byte
	credentials []webauthn.Credential
}

func (p person) WebAuthnID() []byte                         { return p.handle }
func (p person) WebAuthnName() string                       { return p.user.Name }
func (p person) WebAuthnDisplayName() string                { return p.user.Name }
func (p person) WebAuthnCredentials() []webauthn.Credential { return p.credentials }

// person makes one. The handle says nothing of the user to who finds a lost key.
func (s *Service) person(u metal.User, factors []metal.Factor) person {
	p := person{user: u, handle: s.keyring.Derive("webauthn user " + strconv.FormatInt(u.ID, 10))}
	for _, f := range factors {
		var c webauthn.Credential
		if f.Kind == metal.FactorPasskey && json.Unmarshal([]byte(f.Data), &c) == nil {
			p.credentials = append(p.credentials, c)
		}
	}
	return p
}
