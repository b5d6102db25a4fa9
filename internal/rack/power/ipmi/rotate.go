package ipmi

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/rack/power"
)

// Commands on accounts. Source: IPMI 2.0 sections 22.26 to 22.30; all of them want the privilege ADMIN.
const (
	cmdSetUserAccess   = 0x43
	cmdGetUserAccess   = 0x44
	cmdSetUserName     = 0x45
	cmdGetUserName     = 0x46
	cmdSetUserPassword = 0x47

	privilegeAdmin = 0x04
	privilegeNone  = 0x0f
	thisChannel    = 0x0e // the channel that the command came by
	// accessChange has Set User Access change the bits beside it; accessIPMI lets the user in over the network by IPMI, and
	// accessLink by modem or serial line, which some BMCs take for the same.
	accessChange = 0x80
	accessLink   = 0x20
	accessIPMI   = 0x10

	passwordDisable = 0x00
	passwordEnable  = 0x01
	passwordSet     = 0x02
	longPassword    = 0x80 // 20 bytes rather than 16
	shortPassword   = 16   // bytes that every BMC keeps
)

// SetAccount is part of power.Rotator. A BMC that takes only 16 bytes of a password, whether it says so or not, gets 16.
func (d *Driver) SetAccount(ctx context.Context, p power.Parameters, a power.Account) (used power.Account, err error) {
	set, err := adminSettings(p)
	if err == nil {
		err = checkAccount(a)
	}
	if err != nil {
		return used, err
	}
	tries := []power.Account{a}
	if len(a.Password) > shortPassword {
		tries = append(tries, power.Account{User: a.User, Password: a.Password[:shortPassword]})
	}
	var slot byte
	for _, try := range tries {
		var made bool
		if slot, made, err = d.makeAccount(ctx, set, try); fault.Is(err, fault.Forbidden) && !errors.Is(err, errPrivilege) {
			if i := slices.IndexFunc(tries, func(t power.Account) bool { return login(ctx, set, t) == nil }); i >= 0 {
				return tries[i], nil // an earlier try came further than anybody heard, and what went before is shut out
			}
		}
		if err != nil {
			return used, explain(err)
		}
		if !made {
			continue
		}
		if err = login(ctx, set, try); err == nil {
			return try, nil
		}
		if !fault.Is(err, fault.Forbidden) {
			return used, explain(err)
		}
	}
	// Whatever the BMC made of the password, nobody knows it: such an account must not stay open.
	if s, oerr := connect(ctx, set); oerr == nil {
		_, _ = s.command(ctx, netFnApp, cmdSetPrivilege, privilegeAdmin)
		_, _ = s.command(ctx, netFnApp, cmdSetUserPassword, slot, passwordDisable)
		s.close()
	}
	return used, fault.New(fault.Unavailable, "The BMC said that it set the new account's password, but does not accept it. The account in use works still.")
}

// makeAccount writes an account into its slot, or into a free one. made is false when the BMC has no room for so long a password.
func (d *Driver) makeAccount(ctx context.Context, set settings, a power.Account) (slot byte, made bool, err error) {
	s, err := admin(ctx, set)
	if err != nil {
		return 0, false, err
	}
	defer s.close()
	slot, free, err := s.findUser(ctx, a.User)
	if err != nil {
		return 0, false, err
	}
	if slot == 0 {
		if slot = free; slot == 0 {
			return 0, false, fault.New(fault.Conflict, "The BMC has no room for another account: delete one that is not used.")
		}
		if _, err := s.command(ctx, netFnApp, cmdSetUserName, append([]byte{slot}, pad(a.User, maxUser)...)...); err != nil {
			return slot, false, err
		}
	}
	if err := s.setPassword(ctx, slot, a.Password); err != nil {
		if _, refused := errors.AsType[code](err); refused && len(a.Password) > shortPassword {
			return slot, false, nil
		}
		return slot, false, err
	}
	if _, err := s.command(ctx, netFnApp, cmdSetUserAccess, accessChange|accessLink|accessIPMI|thisChannel, slot, privilegeAdmin, 0); err != nil {
		return slot, false, err
	}
	_, err = s.command(ctx, netFnApp, cmdSetUserPassword, slot, passwordEnable)
	return slot, err == nil, err
}

// RetireAccount is part of power.Rotator.
func (d *Driver) RetireAccount(ctx context.Context, p power.Parameters, old power.Account) error {
	set, err := adminSettings(p)
	if err != nil {
		return err
	}
	if old.User == set.user {
		return fault.New(fault.Invalid, "The account to retire is the one in use.")
	}
	s, err := admin(ctx, set)
	if fault.Is(err, fault.Forbidden) && login(ctx, set, old) == nil {
		return power.ErrLost
	}
	if err != nil {
		return explain(err)
	}
	slot, _, err := s.findUser(ctx, old.User)
	if err == nil && slot != 0 {
		err = s.shut(ctx, slot)
	}
	s.close()
	if err != nil {
		return explain(err)
	}
	switch err := login(ctx, set, old); {
	case err == nil:
		return power.ErrStays
	case fault.Is(err, fault.Forbidden):
		return nil
	default:
		return explain(err)
	}
}

// shut keeps a user out: disabled, without rights, and with a password that nobody knows, since some BMCs keep one of these only.
func (s *session) shut(ctx context.Context, slot byte) error {
	junk := make([]byte, shortPassword)
	_, _ = rand.Read(junk)
	for i := range junk {
		junk[i] = 'A' + junk[i]%26
	}
	steps := []error{
		ignore(s.command(ctx, netFnApp, cmdSetUserPassword, slot, passwordDisable)),
		ignore(s.command(ctx, netFnApp, cmdSetUserAccess, accessChange|thisChannel, slot, privilegeNone, 0)),
		s.setPassword(ctx, slot, string(junk)),
	}
	for _, err := range steps {
		if _, refused := errors.AsType[code](err); err != nil && !refused { // what was refused shows at the login that follows
			return err
		}
	}
	return nil
}

func ignore(_ []byte, err error) error { return err }

// adminSettings are the parameters for what only an administrator may.
func adminSettings(p power.Parameters) (settings, error) {
	set, err := readSettings(p)
	set.privilege = privilegeAdmin
	return set, err
}

// admin opens a session with an administrator's privilege.
func admin(ctx context.Context, set settings) (*session, error) {
	s, err := connect(ctx, set)
	if err != nil {
		return nil, err
	}
	if _, err := s.command(ctx, netFnApp, cmdSetPrivilege, privilegeAdmin); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// login proves that an account works, with all that it will be used for.
func login(ctx context.Context, set settings, a power.Account) error {
	set.user, set.password = a.User, a.Password
	s, err := admin(ctx, set)
	if err != nil {
		if _, refused := errors.AsType[code](err); refused { // let in, but as nobody
			return fault.New(fault.Forbidden, "The BMC does not give the account an administrator's privilege.")
		}
		return err
	}
	defer s.close()
	_, err = s.isOn(ctx)
	return err
}

// findUser looks for a user by name: its slot, and the first one that is free; 0 for none. The first slot is the user without a
// name and is never free. Source: sections 22.27 and 22.29.
func (s *session) findUser(ctx context.Context, name string) (slot, free byte, err error) {
	access, err := s.command(ctx, netFnApp, cmdGetUserAccess, thisChannel, 1)
	if err != nil {
		return 0, 0, err
	}
	if len(access) < 1 {
		return 0, 0, fault.New(fault.Unavailable, "The BMC does not say how many accounts it has.")
	}
	if name == "" {
		return 1, 0, nil
	}
	for id := byte(2); id <= access[0]&0x3f; id++ {
		text, err := s.command(ctx, netFnApp, cmdGetUserName, id)
		if _, refused := errors.AsType[code](err); refused {
			text = nil // how some BMCs say that there is no such user
		} else if err != nil {
			return 0, 0, err
		}
		text, _, _ = bytes.Cut(text, []byte{0})
		switch {
		case string(text) == name:
			return id, free, nil
		case len(text) == 0 && free == 0:
			free = id
		}
	}
	return 0, free, nil
}

// setPassword sets a password of up to 20 bytes. Source: section 22.30.
func (s *session) setPassword(ctx context.Context, slot byte, password string) error {
	if len(password) > shortPassword {
		_, err := s.command(ctx, netFnApp, cmdSetUserPassword, append([]byte{longPassword | slot, passwordSet}, pad(password, maxPassword)...)...)
		return err
	}
	_, err := s.command(ctx, netFnApp, cmdSetUserPassword, append([]byte{slot, passwordSet}, pad(password, shortPassword)...)...)
	return err
}

func pad(text string, n int) []byte { return append([]byte(text), make([]byte, n-len(text))...) }

func checkAccount(a power.Account) error {
	if a.User == "" || len(a.User) > maxUser || len(a.Password) < shortPassword || len(a.Password) > maxPassword {
		return fault.New(fault.Invalid, "An account that is set has a name of 1 to %d bytes and a password of %d to %d.", maxUser, shortPassword, maxPassword)
	}
	return nil
}

// explain gives a refusal its kind and remedy.
func explain(err error) error {
	c, ok := errors.AsType[code](err)
	switch {
	case !ok && !errors.Is(err, errPrivilege):
		return err
	case !ok || c == ccInsufficientRights || c == 0x80 || c == 0x81: // of Set Session Privilege Level: section 22.18
		return fault.New(fault.Forbidden, "The BMC lets only an administrator change accounts: give the account in use the privilege ADMIN.")
	}
	return fault.New(fault.Unavailable, "The BMC refused to change the account with IPMI completion code %#02x.", byte(c))
}
