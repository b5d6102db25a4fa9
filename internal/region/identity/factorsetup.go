package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// Factors lists the calling user's second factors, and how many recovery codes are left.
func (s *Service) Factors(ctx context.Context) (list []metal.Factor, codes int, err error) {
	err = s.gate.View(ctx, authz.KeyView, func(v *gate.Viewing) error {
		if list, err = v.Factors(v.Principal().UserID); err != nil {
			return err
		}
		codes, err = v.CountRecoveryCodes(v.Principal().UserID)
		return err
	})
	return list, codes, err
}

// Confirm checks the calling user's password again. Kinds: Invalid on "current", Exhausted with RetryAfter.
func (s *Service) Confirm(ctx context.Context, password secret.Value) error {
	p := authz.From(ctx)
	if !authz.May(p, authz.KeyEdit) {
		return authz.Deny.Err(authz.Target{})
	}
	var id metal.ExternalIdentity
	elsewhere := false
	err := s.gate.View(authz.AsSystem(ctx, "login"), authz.UserView, func(v *gate.Viewing) error {
		u, err := v.User(p.UserID)
		if err == nil {
			id, elsewhere, err = kept(v.View, u.User)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case elsewhere:
		err = s.confirmKept(ctx, p.Name, id, password)
	default:
		var who known
		if who, err = s.checkPassword(ctx, p.Name, password); err == nil && who.ID != p.UserID {
			err = errLogin // somebody of that name in a directory
		}
	}
	if fault.Is(err, fault.Unauthenticated) {
		return fault.Field("current", "This is not your current password.")
	}
	return err
}

// SetUp is a second factor being set up: what the user's app or browser is given.
type SetUp struct {
	Step    secret.Value
	Key     string          // TOTP: the secret, to be typed
	URI     string          // TOTP: the secret, for the QR code
	Options json.RawMessage // passkeys: what the browser is to be asked
}

// BeginTOTP makes the secret for an authenticator app. Whoever calls has confirmed the password. Kinds: Conflict,
// Exhausted.
func (s *Service) BeginTOTP(ctx context.Context) (x SetUp, err error) {
	key := newTOTPSecret()
	x.Step, x.Key = secret.Random(32), base32Text.EncodeToString(key.Reveal())
	err = s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		c.Note("change", "authenticator app begun")
		factors, err := s.mayAdd(c, u)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(factors, func(f metal.Factor) bool { return f.Kind == metal.FactorTOTP }) {
			return fault.New(fault.Conflict, "You have an authenticator app already; remove it first.")
		}
		site, err := c.Tx().SettingValue("maas_name")
		if err != nil {
			return err
		}
		x.URI = totpURI("Metalward "+site.(string), u.Name, key)
		sealed, err := s.keyring.SealLocal(totpRef(u), key)
		if err != nil {
			return err
		}
		return c.Tx().PutStep(u, store.Step{Hash: x.Step.Hash(), Epoch: u.Epoch, Kind: stepTOTP, Data: base64.StdEncoding.EncodeToString(sealed), Expires: c.Now().Add(stepLife)}, c.Now())
	})
	return x, err
}

func (s *Service) mayAdd(c *gate.Call, u metal.User) ([]metal.Factor, error) {
	factors, err := c.Tx().Factors(u.ID)
	if err == nil && len(factors) >= maxFactors {
		err = fault.New(fault.Exhausted, "You have %d second factors; remove some first.", len(factors))
	}
	return factors, err
}

// Via is how somebody got to setting up a factor: with a session, or in the middle of a login.
type Via struct{ Cookie, Login secret.Value }

// Done is a factor that was set up: the browser's new session, and recovery codes if there were none before.
type Done struct {
	Cookie secret.Value
	Codes  []string
}

// FinishTOTP sets up an authenticator app with a code of it. Kinds: Invalid on "code", Unauthenticated, Exhausted with
// RetryAfter.
func (s *Service) FinishTOTP(ctx context.Context, step secret.Value, code string, via Via) (Done, error) {
	attempts, err := s.takeFactor(ctx, authz.From(ctx).Name, true)
	if err != nil {
		return Done{}, err
	}
	d, err := s.finishSetUp(ctx, stepTOTP, step, via, func(c *gate.Call, st store.Step, u metal.User) (f metal.Factor, err error) {
		sealed, err := base64.StdEncoding.DecodeString(st.Data)
		if err != nil {
			return f, err
		}
		key, err := s.keyring.Open(totpRef(u), sealed)
		if err != nil {
			return f, err
		}
		last, ok := totpMatch(key, strings.ReplaceAll(strings.TrimSpace(code), " ", ""), c.Now(), 0)
		if !ok {
			return f, errFactor
		}
		f = metal.Factor{Kind: metal.FactorTOTP, Name: "Authenticator app", Credential: string(totpRef(u)), Data: "{}", LastStep: last}
		if sealed, err = s.keyring.Seal(totpRef(u), key); err != nil { // the step's was for its few minutes
			return f, err
		}
		return f, c.Tx().PutSecret(store.UserTarget(u), totpRef(u), sealed, c.Now())
	})
	s.endFactor(ctx, authz.From(ctx).Name, attempts, err)
	if errors.Is(err, errFactor) {
		err = fault.Field("code", "This code is wrong. Is the clock of your device right?")
	}
	return d, err
}

// BeginPasskey makes what the browser is asked to make a passkey. Whoever calls has confirmed the password. Kinds:
// Conflict where the site has no name.
func (s *Service) BeginPasskey(ctx context.Context) (x SetUp, err error) {
	w := s.webauthn()
	if w == nil {
		return x, fault.New(fault.Conflict, "Passkeys need a site with a name: start the region with --public-host NAME and open the pages under it.")
	}
	x.Step = secret.Random(32)
	err = s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		c.Note("change", "passkey begun")
		factors, err := s.mayAdd(c, u)
		if err != nil {
			return err
		}
		p := s.person(u, factors)
		options, session, err := w.BeginRegistration(p, webauthn.WithConveyancePreference(protocol.PreferNoAttestation), webauthn.WithExclusions(descriptors(p.credentials)),
			webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementDiscouraged, UserVerification: protocol.VerificationPreferred}))
		if err != nil {
			return err
		}
		if x.Options, err = json.Marshal(options.Response); err != nil {
			return err
		}
		data, err := packed(options.Response, session)
		if err != nil {
			return err
		}
		return c.Tx().PutStep(u, store.Step{Hash: x.Step.Hash(), Epoch: u.Epoch, Kind: stepPasskey, Data: data, Expires: c.Now().Add(stepLife)}, c.Now())
	})
	return x, err
}

func descriptors(list []webauthn.Credential) (out []protocol.CredentialDescriptor) {
	for _, c := range list {
		out = append(out, c.Descriptor())
	}
	return out
}

// AddPasskey sets up a passkey with what the browser answered. Kinds: Invalid, Unauthenticated, Conflict for a key that
// is known already.
func (s *Service) AddPasskey(ctx context.Context, step secret.Value, name string, answer []byte, via Via) (Done, error) {
	if name == "" {
		name = "Passkey"
	}
	if len(name) > 100 || metal.Printable(name, 100) != name {
		return Done{}, fault.Field("name", "Use at most 100 printable characters.")
	}
	unreadable := fault.Field("passkey", "The browser's answer cannot be read, or does not fit the question. Try again.")
	if len(answer) > maxPasskeyAnswer {
		return Done{}, unreadable
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return Done{}, unreadable
	}
	return s.finishSetUp(ctx, stepPasskey, step, via, func(c *gate.Call, st store.Step, u metal.User) (f metal.Factor, err error) {
		var x ceremony
		factors, err := c.Tx().Factors(u.ID)
		if err == nil {
			err = json.Unmarshal([]byte(st.Data), &x)
		}
		w := s.webauthn()
		if err != nil || w == nil {
			return f, errors2(err, unreadable)
		}
		cred, err := w.CreateCredential(s.person(u, factors), x.Session, parsed)
		if err != nil {
			return f, unreadable
		}
		data, err := json.Marshal(cred)
		return metal.Factor{Kind: metal.FactorPasskey, Name: name, Credential: credentialID(cred.ID), Data: string(data)}, err
	})
}

// finishSetUp stores the factor that prove made. All sessions end; the browser gets a new one that has shown the factor.
func (s *Service) finishSetUp(ctx context.Context, kind string, step secret.Value, via Via, prove func(*gate.Call, store.Step, metal.User) (metal.Factor, error)) (d Done, err error) {
	err = s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		st, of, err := s.step(&c.Tx().View, kind, step, c.Now())
		if err != nil || of.ID != u.ID {
			return errStep
		}
		if fresh, err := c.Tx().DeleteStep(u, st.Hash); err != nil || !fresh {
			return errors2(err, errStep)
		}
		f, err := prove(c, st, u)
		if err != nil {
			return err
		}
		c.Note("change", "second factor added")
		c.Note("factor", f.Kind)
		f.Created, f.LastUsed = c.Now(), c.Now()
		before, err := s.mayAdd(c, u)
		if err != nil {
			return err
		}
		if err := c.Tx().AddFactor(u, &f); err != nil {
			return err
		}
		if d, err = s.proven(ctx, c, u, via, f.Kind); err != nil || len(before) > 0 {
			return err
		}
		d.Codes, err = newCodes(c, u)
		return err
	})
	return d, err
}

// proven gives a browser that has shown a factor its new session and ends all others.
func (s *Service) proven(ctx context.Context, c *gate.Call, u metal.User, via Via, factor string) (d Done, err error) {
	d.Cookie = secret.Random(32)
	sess, err := c.Tx().Session(via.Cookie.Hash())
	if err == nil && sess.UserID == u.ID {
		sess.Hash, sess.Factor, sess.LastSeen = d.Cookie.Hash(), factor, c.Now()
		if err := c.Tx().DeleteSessions(u, "", c.Now()); err != nil {
			return d, err
		}
		return d, c.Tx().AddSession(u, sess)
	}
	if _, of, err := s.step(&c.Tx().View, stepLogin, via.Login, c.Now()); err != nil || of.ID != u.ID {
		return d, errStep
	}
	if err := c.Tx().DeleteSessions(u, "", c.Now()); err != nil {
		return d, err
	}
	return d, s.addSession(ctx, c, u, d.Cookie, factor)
}

// newCodes replaces a user's recovery codes.
func newCodes(c *gate.Call, u metal.User) (codes []string, err error) {
	var hashes []string
	for range recoveryCodes {
		b := make([]byte, 10)
		_, _ = rand.Read(b)
		plain := strings.ToLower(base32Text.EncodeToString(b)) // 80 bits
		hashes = append(hashes, secret.FromString(plain).Hash())
		codes = append(codes, plain[:4]+"-"+plain[4:8]+"-"+plain[8:12]+"-"+plain[12:])
	}
	return codes, c.Tx().PutRecoveryCodes(u, hashes)
}

// NewRecoveryCodes replaces the calling user's codes. Whoever calls has confirmed the password. Kinds: Conflict.
func (s *Service) NewRecoveryCodes(ctx context.Context) (codes []string, err error) {
	err = s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		c.Note("change", "new recovery codes")
		if factors, err := c.Tx().Factors(u.ID); err != nil || len(factors) == 0 {
			return errors2(err, fault.New(fault.Conflict, "Set up an authenticator app or a passkey first."))
		}
		codes, err = newCodes(c, u)
		return err
	})
	return codes, err
}

// RemoveFactor removes one of the calling user's factors; with the last one the recovery codes go. Whoever calls has
// confirmed the password. Kinds: NotFound, Conflict when it is the last one and a role demands one.
func (s *Service) RemoveFactor(ctx context.Context, id int64) error {
	return s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		c.Note("change", "second factor removed")
		c.Note("factor", strconv.FormatInt(id, 10))
		factors, err := c.Tx().Factors(u.ID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(factors, func(f metal.Factor) bool { return f.ID == id })
		if i < 0 {
			return fault.New(fault.NotFound, "There is no such second factor.")
		}
		if len(factors) == 1 {
			if must, err := demanded(&c.Tx().View, u); err != nil || must {
				return errors2(err, fault.New(fault.Conflict, "Your role demands a second factor: set up another one first."))
			}
			if err := c.Tx().PutRecoveryCodes(u, nil); err != nil {
				return err
			}
		}
		if factors[i].Kind == metal.FactorTOTP {
			if err := c.Tx().DeleteSecret(store.UserTarget(u), totpRef(u)); err != nil {
				return err
			}
		}
		_, err = c.Tx().DeleteFactor(u, id)
		return err
	})
}

// ResetFactors removes another user's second factors, for one who lost them. Sessions end. Kinds: NotFound, Forbidden.
func (s *Service) ResetFactors(ctx context.Context, name string) error {
	return s.onUser(ctx, name, func(c *gate.Call, u store.UserRow) error {
		c.Note("change", "second factors reset")
		if err := dropFactors(c, u.User); err != nil {
			return err
		}
		u.Epoch++
		if err := c.Tx().PutUser(u); err != nil {
			return err
		}
		return c.Tx().DeleteSessions(u.User, "", c.Now())
	})
}

// dropFactors removes all that a user has besides the password.
func dropFactors(c *gate.Call, u metal.User) error {
	factors, err := c.Tx().Factors(u.ID)
	if err != nil {
		return err
	}
	for _, f := range factors {
		if _, err := c.Tx().DeleteFactor(u, f.ID); err != nil {
			return err
		}
	}
	if err := c.Tx().DeleteSecret(store.UserTarget(u), totpRef(u)); err != nil {
		return err
	}
	return c.Tx().PutRecoveryCodes(u, nil)
}
