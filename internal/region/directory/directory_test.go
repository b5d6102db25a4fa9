package directory_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/directory"
	"github.com/metalward/metalward/internal/region/directory/directorytest"
	"github.com/metalward/metalward/internal/secret"
)

func client() *directory.Client { return directory.New((&net.Dialer{}).DialContext, time.Now) }

// config is a provider's configuration with options in place of its own.
func config(t *testing.T, s *directorytest.Server, options ...string) directory.Config {
	t.Helper()
	p := metal.Provider{Kind: metal.ProviderLDAP}
	o := map[string]string{"servers": s.URL(), "ca": s.CA, "bind_dn": directorytest.Searcher, "base_dn": directorytest.Base}
	for i := 0; i+1 < len(options); i += 2 {
		o[options[i]] = options[i+1]
	}
	if err := p.Set(o); err != nil {
		t.Fatal(err)
	}
	d, err := directory.Parse(p)
	if err != nil {
		t.Fatal(err)
	}
	d.Password = secret.FromString(directorytest.SearcherPassword)
	return d
}

// TestLogin asks a real OpenLDAP server: who is right, who is wrong, and that nothing in a name changes the question.
func TestLogin(t *testing.T) {
	s := directorytest.New(t)
	s.Person("quote*(me)\\") // a person of that name is found, and by it alone
	s.Person("zoë")
	s.Add("uid=twin,ou=groups,"+directorytest.Base, "objectClass", "inetOrgPerson", "uid", "twin", "cn", "twin", "sn", "twin", "userPassword", directorytest.Password)
	s.Person("twin")
	d, c := config(t, s), client()
	groups := []string{directorytest.GroupDN("ops"), "CN=Ops, OU=Groups, DC=example, DC=org", directorytest.GroupDN("others")}
	p, answer, err := c.Login(t.Context(), d, "jane", secret.FromString(directorytest.Password), groups)
	if want := (directory.Person{Subject: s.Subject("jane"), Name: "jane", Email: "x4@example.org", Groups: groups[:2]}); err != nil || answer != directory.Right || fmt.Sprint(p) != fmt.Sprint(want) {
		t.Errorf("got %+v, %v, %v, want %+v", p, answer, err, want)
	}
	for name, x := range map[string]struct {
		name, password string
		want           directory.Answer
	}{
		"wrong password":         {"jane", "wrong", directory.Refused},
		"empty password":         {"jane", "", directory.Refused}, // would bind anonymously, and succeed
		"unknown":                {"nobody", directorytest.Password, directory.Unknown},
		"no name":                {"", directorytest.Password, directory.Unknown},
		"everybody":              {"*", directorytest.Password, directory.Unknown},
		"beginning of a name":    {"jan*", directorytest.Password, directory.Unknown},
		"end of the filter":      {"x)(uid=jane", directorytest.Password, directory.Unknown},
		"another filter":         {"jane)(|(uid=*", directorytest.Password, directory.Unknown},
		"NUL":                    {"jane\x00", directorytest.Password, directory.Unknown},
		"escaped already":        {`\6aane`, directorytest.Password, directory.Unknown},
		"not UTF-8":              {"\xff\xfe", directorytest.Password, directory.Unknown},
		"10 kB":                  {strings.Repeat("x", 10_000), directorytest.Password, directory.Unknown},
		"several entries":        {"twin", directorytest.Password, directory.Refused},
		"special characters":     {"quote*(me)\\", directorytest.Password, directory.Right},
		"letters of other kinds": {"zoë", directorytest.Password, directory.Right},
		"the service account":    {"searcher", directorytest.SearcherPassword, directory.Unknown},
	} {
		p, got, err := c.Login(t.Context(), d, x.name, secret.FromString(x.password), nil)
		if err != nil || got != x.want || got != directory.Right && p.Subject != "" {
			t.Errorf("%s: got %+v, %v, %v, want %v", name, p, got, err, x.want)
		}
	}
	// A filter of one's own decides who is let in, at logins and afterwards.
	ops := config(t, s, "user_filter", "(&(uid={name})(memberOf="+directorytest.GroupDN("ops")+"))")
	for uid, want := range map[string]directory.Answer{"jane": directory.Right, "bob": directory.Unknown} {
		if _, got, err := c.Login(t.Context(), ops, uid, secret.FromString(directorytest.Password), nil); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", uid, got, err, want)
		}
		if _, ok, err := c.Look(t.Context(), ops, s.Subject(uid), nil); err != nil || ok != (want == directory.Right) {
			t.Errorf("%s: got %v, %v", uid, ok, err)
		}
	}
	// A directory that everybody may search needs no account, but shows nothing else.
	s.Add("uid=guest,"+directorytest.Open, "objectClass", "inetOrgPerson", "uid", "guest", "cn", "guest", "sn", "guest", "userPassword", directorytest.Password)
	anonymous := config(t, s, "bind_dn", "", "base_dn", directorytest.Open)
	for password, want := range map[string]directory.Answer{directorytest.Password: directory.Right, "wrong": directory.Refused, "": directory.Refused} {
		if p, got, err := c.Login(t.Context(), anonymous, "guest", secret.FromString(password), nil); err != nil || got != want {
			t.Errorf("without an account, %q: got %+v, %v, %v, want %v", password, p, got, err, want)
		}
	}
	// Groups by a search, and by both.
	search := config(t, s, "member_attribute", "none", "group_base_dn", directorytest.Groups, "group_filter", "(member={dn})")
	if p, _, err := c.Login(t.Context(), search, "jane", secret.FromString(directorytest.Password), groups); err != nil || !slices.Equal(p.Groups, groups[:2]) {
		t.Errorf("got %v, %v", p.Groups, err)
	}
}

// TestLook holds that people are known by what does not change, and that who is gone or locked for good is not there.
func TestLook(t *testing.T) {
	s := directorytest.New(t)
	d, c := config(t, s), client()
	jane, bob := s.Subject("jane"), s.Subject("bob")
	look := func(subject string) (directory.Person, bool) {
		p, ok, err := c.Look(t.Context(), d, subject, []string{directorytest.GroupDN("ops")})
		if err != nil {
			t.Fatal(err)
		}
		return p, ok
	}
	s.Rename("jane", "joan")
	if p, ok := look(jane); !ok || p.Subject != jane || p.Name != "joan" || len(p.Groups) != 1 {
		t.Errorf("got %+v, %v", p, ok)
	}
	s.Person("jane") // somebody else
	if p, ok := look(jane); !ok || p.Name != "joan" {
		t.Errorf("got %+v, %v", p, ok)
	}
	s.Leave("ops", "joan")
	if p, ok := look(jane); !ok || len(p.Groups) != 0 {
		t.Errorf("got %+v, %v", p, ok)
	}
	s.Set(directorytest.DN("joan"), "pwdAccountLockedTime", "000001010000Z")
	if p, ok := look(jane); ok {
		t.Errorf("a locked account is there: %+v", p)
	}
	if _, answer, err := c.Login(t.Context(), d, "joan", secret.FromString(directorytest.Password), nil); answer != directory.Refused || err != nil {
		t.Errorf("got %v, %v", answer, err)
	}
	s.Set(directorytest.DN("joan"), "pwdAccountLockedTime")
	if _, ok := look(jane); !ok {
		t.Error("an account that was unlocked is not there")
	}
	if ok, err := c.Confirm(t.Context(), d, bob, secret.FromString(directorytest.Password)); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if ok, err := c.Confirm(t.Context(), d, bob, secret.FromString("wrong")); ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	s.Delete("bob")
	for _, subject := range []string{bob, "*", ""} {
		if p, ok := look(subject); ok {
			t.Errorf("%q is there: %+v", subject, p)
		}
	}
}

// TestUnavailable holds that a directory that cannot be trusted or asked says nothing of anybody, and how the test button
// names what is wrong.
func TestUnavailable(t *testing.T) {
	s := directorytest.New(t)
	other, _ := directorytest.Authority(t)
	wrongCA := config(t, s, "ca", directorytest.PEM(other))
	wrongAccount := config(t, s)
	wrongAccount.Password = secret.FromString("wrong")
	wrongName := config(t, s, "servers", strings.Replace(s.URL(), "127.0.0.1", "localhost", 1)) // not in the certificate
	closed, plain := config(t, s, "servers", "ldaps://127.0.0.1:1"), config(t, s)
	plain.Servers = []string{listen(t, func(c net.Conn) { _, _ = c.Write(bytes.Repeat([]byte("x"), 100)) })}
	for name, x := range map[string]struct {
		d    directory.Config
		says string
	}{
		"another authority": {wrongCA, "certificate is not trusted"},
		"another name":      {wrongName, "certificate is not trusted"},
		"wrong account":     {wrongAccount, "service account is not accepted: Invalid Credentials"},
		"nobody there":      {closed, "could not be reached"},
		"no TLS":            {plain, "does not speak TLS"},
		"wrong base":        {config(t, s, "base_dn", "dc=elsewhere"), "cannot be searched: No Such Object"},
	} {
		c := client()
		_, answer, err := c.Login(t.Context(), x.d, "jane", secret.FromString(directorytest.Password), nil)
		if answer == directory.Right || !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), "cannot be asked now") {
			t.Errorf("%s: got %v, %v", name, answer, err)
		}
		if _, ok, err := c.Look(t.Context(), x.d, s.Subject("jane"), nil); ok || !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v, %v", name, ok, err)
		}
		if ok, text := c.Test(t.Context(), x.d, "", nil); ok || !strings.Contains(text, x.says) || strings.Contains(text, "canary") {
			t.Errorf("%s: got %v, %q, want %q", name, ok, text, x.says)
		}
	}
	// The next server is asked when one does not answer.
	second, c := config(t, s, "servers", "ldaps://127.0.0.1:1\n"+s.URL()), client()
	if _, answer, err := c.Login(t.Context(), second, "jane", secret.FromString(directorytest.Password), nil); answer != directory.Right || err != nil {
		t.Errorf("got %v, %v", answer, err)
	}
	for name, want := range map[string]string{"": "accepts the service account.", "jane": "in cn=ops", "nobody": "no entry"} {
		if ok, text := c.Test(t.Context(), config(t, s), name, []string{directorytest.GroupDN("ops")}); !ok || !strings.Contains(text, want) {
			t.Errorf("%q: got %v, %q", name, ok, text)
		}
	}
}

// TestParse holds that no configuration leads to a password on the wire in plain text, or to a filter that means something else.
func TestParse(t *testing.T) {
	good := map[string]string{"servers": "ldaps://a.example\nldaps://b.example:3269/", "base_dn": "dc=example,dc=org"}
	p := metal.Provider{Kind: metal.ProviderLDAP}
	if err := p.Set(good); err != nil {
		t.Fatal(err)
	}
	if d, err := directory.Parse(p); err != nil || !slices.Equal(d.Servers, []string{"a.example:636", "b.example:3269"}) {
		t.Errorf("got %v, %v", d.Servers, err)
	}
	for _, x := range [][2]string{
		{"servers", "ldap://a.example"}, {"servers", "https://a.example"}, {"servers", "a.example"}, {"servers", "ldaps://user:x@a.example"}, {"servers", "ldaps://a.example/dc=x"},
		{"servers", "ldaps://a\nldaps://b\nldaps://c\nldaps://d\nldaps://e\nldaps://f"},
		{"ca", "not PEM"}, {"base_dn", "example"}, {"bind_dn", "admin"}, {"user_filter", "(uid=jane)"}, {"user_filter", "(uid=*{name}*)"}, {"user_filter", "(uid={name}"},
		{"user_filter", "(|(uid={name})(mail={name}))"}, {"user_filter", "(uid:=x)(uid={name})"}, {"group_filter", "(member=x)"}, {"group_filter", "member={dn}"}, {"subject_attribute", "none"}, {"name_attribute", "a)(b"},
	} {
		q := p
		o := map[string]string{x[0]: x[1]}
		if err := q.Set(o); err != nil {
			t.Fatal(err)
		}
		if f, ok := fault.As(second(directory.Parse(q))); !ok || f.Kind != fault.Invalid || len(f.Fields[x[0]]) == 0 {
			t.Errorf("%s %q: got %v", x[0], x[1], f)
		}
	}
	p.Groups = []metal.ProviderGroup{{Value: "ops"}}
	if !fault.Is(second(directory.Parse(p)), fault.Invalid) {
		t.Error("a group that is no distinguished name was accepted")
	}
}

func second[T any](_ T, err error) error { return err }

// listen answers connections with fn.
func listen(t *testing.T, fn func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				fn(c)
			}()
		}
	}()
	return l.Addr().String()
}

// fake is a server of ours that answers searches as Active Directory does, or worse.
type fake struct {
	t       *testing.T
	address string
	ca      string
	entries func(filter string) []*ldap.Entry
	refers  bool // every search is answered with a referral besides
	wrong   func(dn string) bool

	mu  sync.Mutex
	ops string // of all connections: b for a bind, s for a search; guarded by mu
}

func newFake(t *testing.T, entries func(string) []*ldap.Entry) *fake {
	t.Helper()
	ca, key := directorytest.Authority(t)
	der, leafKey := directorytest.Issue(t, ca, key)
	f := &fake{t: t, ca: directorytest.PEM(ca), entries: entries}
	conf := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: leafKey}}, MinVersion: tls.VersionTLS12}
	f.address = listen(t, func(c net.Conn) { f.serve(tls.Server(c, conf)) })
	return f
}

func (f *fake) serve(c net.Conn) {
	for {
		m, err := ber.ReadPacket(c)
		if err != nil || len(m.Children) < 2 {
			return
		}
		id, op := m.Children[0].Value.(int64), m.Children[1]
		f.mu.Lock()
		f.ops += map[ber.Tag]string{ldap.ApplicationBindRequest: "b", ldap.ApplicationSearchRequest: "s"}[op.Tag]
		f.mu.Unlock()
		switch op.Tag {
		case ldap.ApplicationBindRequest:
			code := uint16(ldap.LDAPResultSuccess)
			if f.wrong != nil && f.wrong(op.Children[1].Value.(string)+" "+op.Children[2].Data.String()) {
				code = ldap.LDAPResultInvalidCredentials
			}
			_, _ = c.Write(message(id, ldap.ApplicationBindResponse, code).Bytes())
		case ldap.ApplicationSearchRequest:
			filter, _ := ldap.DecompileFilter(op.Children[6])
			for _, e := range f.entries(filter) {
				if _, err := c.Write(entryMessage(id, e).Bytes()); err != nil {
					return
				}
			}
			if f.refers {
				r := operation(ldap.ApplicationSearchResultReference)
				r.AppendChild(text("ldap://127.0.0.1:1/dc=elsewhere"))
				_, _ = c.Write(envelope(id, r).Bytes())
			}
			_, _ = c.Write(message(id, ldap.ApplicationSearchResultDone, ldap.LDAPResultSuccess).Bytes())
		default:
			return
		}
	}
}

func operation(tag ber.Tag) *ber.Packet {
	return ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
}

func text(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

// envelope is a message of an operation that is whole.
func envelope(id int64, op *ber.Packet) *ber.Packet {
	m := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	m.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	m.AppendChild(op)
	return m
}

func message(id int64, tag ber.Tag, code uint16) *ber.Packet {
	op := operation(tag)
	op.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(code), ""))
	op.AppendChild(text(""))
	op.AppendChild(text(""))
	return envelope(id, op)
}

func entryMessage(id int64, e *ldap.Entry) *ber.Packet {
	list := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	for _, a := range e.Attributes {
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		for _, v := range a.Values {
			set.AppendChild(text(v))
		}
		attribute := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
		attribute.AppendChild(text(a.Name))
		attribute.AppendChild(set)
		list.AppendChild(attribute)
	}
	op := operation(ldap.ApplicationSearchResultEntry)
	op.AppendChild(text(e.DN))
	op.AppendChild(list)
	return envelope(id, op)
}

func (f *fake) config(options ...string) directory.Config {
	return config(f.t, &directorytest.Server{Address: f.address, CA: f.ca}, append([]string{"user_filter", "(&(objectCategory=person)(sAMAccountName={name}))", "subject_attribute", "objectGUID",
		"name_attribute", "sAMAccountName"}, options...)...)
}

// TestActiveDirectory asks a server of the shape that OpenLDAP does not have: binary identities, flags of accounts, nested
// groups by a rule of matching, referrals beside the answer.
func TestActiveDirectory(t *testing.T) {
	guid := string([]byte{0x2a, 0x28, 0x29, 0x5c, 0, 0xff, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	const dn, ops = "CN=Jane (Ops),CN=Users,DC=ad,DC=example", "CN=Ops,OU=Groups,DC=ad,DC=example"
	control, expires := "512", "9223372036854775807"
	var asked []string
	f := newFake(t, func(filter string) []*ldap.Entry {
		asked = append(asked, filter)
		if strings.Contains(filter, "1.2.840.113556.1.4.1941") {
			return []*ldap.Entry{ldap.NewEntry(ops, nil)}
		}
		return []*ldap.Entry{ldap.NewEntry(dn, map[string][]string{"objectGUID": {guid}, "sAMAccountName": {"jane"}, "mail": {"jane@ad.example"}, "userAccountControl": {control},
			"accountExpires": {expires}, "memberOf": {"CN=Direct,OU=Groups,DC=ad,DC=example"}})}
	})
	f.refers, f.wrong = true, func(who string) bool { return strings.HasPrefix(who, dn) && !strings.HasSuffix(who, " right") }
	d := f.config("group_filter", "(member:1.2.840.113556.1.4.1941:={dn})")
	groups := []string{strings.ToLower(ops), "CN=Direct,OU=Groups,DC=ad,DC=example", "CN=Other,DC=ad,DC=example"}
	c := client()
	p, answer, err := c.Login(t.Context(), d, "jane", secret.FromString("right"), groups)
	if want := (directory.Person{Subject: "2a28295c00ff060708090a0b0c0d0e0f", Name: "jane", Email: "jane@ad.example", Groups: groups[:2]}); err != nil || answer != directory.Right || fmt.Sprint(p) != fmt.Sprint(want) {
		t.Fatalf("got %+v, %v, %v, want %+v", p, answer, err, want)
	}
	if want := `(member:1.2.840.113556.1.4.1941:=CN=Jane \28Ops\29,CN=Users,DC=ad,DC=example)`; asked[len(asked)-1] != want {
		t.Errorf("got filter %s, want %s", asked[len(asked)-1], want)
	}
	if _, answer, _ := c.Login(t.Context(), d, "jane", secret.FromString("wrong"), nil); answer != directory.Refused {
		t.Errorf("got %v", answer)
	}
	if _, ok, err := c.Look(t.Context(), d, p.Subject, nil); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if want := `(objectGUID=\2a\28\29\5c\00\ff`; !strings.Contains(strings.Join(asked, " "), want) {
		t.Errorf("got filters %s, want %s", asked, want)
	}
	if _, ok, err := c.Look(t.Context(), d, "000102030405060708090a0b0c0d0e0f", nil); ok || err != nil { // another's entry is answered
		t.Errorf("got %v, %v", ok, err)
	}
	for name, x := range map[string]struct{ control, expires string }{"disabled": {"514", "0"}, "expired": {"512", "133485408000000000"}} { // 2024-01-01
		control, expires = x.control, x.expires
		if _, answer, err := c.Login(t.Context(), d, "jane", secret.FromString("right"), nil); answer != directory.Refused || err != nil {
			t.Errorf("%s: got %v, %v", name, answer, err)
		}
		if _, ok, err := c.Look(t.Context(), d, p.Subject, nil); ok || err != nil {
			t.Errorf("%s: got %v, %v", name, ok, err)
		}
	}
	control, expires = "512", "0"
	for _, bad := range []string{"", "short", guid + "x"} {
		guid = bad
		if _, answer, err := c.Login(t.Context(), d, "jane", secret.FromString("right"), nil); answer == directory.Right || !fault.Is(err, fault.Unavailable) {
			t.Errorf("identity %q: got %v, %v", bad, answer, err)
		}
	}
}

// TestSameWork holds that every refusal costs the directory the same: nobody learns by the time who exists.
func TestSameWork(t *testing.T) {
	entry := func(uac string) *ldap.Entry {
		return ldap.NewEntry("CN=jane", map[string][]string{"objectGUID": {strings.Repeat("x", 16)}, "userAccountControl": {uac}})
	}
	f := newFake(t, func(filter string) []*ldap.Entry {
		switch {
		case strings.Contains(filter, "=jane)"):
			return []*ldap.Entry{entry("512")}
		case strings.Contains(filter, "=disabled)"):
			return []*ldap.Entry{entry("514")}
		case strings.Contains(filter, "=twin)"):
			return []*ldap.Entry{entry("512"), entry("512")}
		}
		return nil
	})
	f.wrong = func(who string) bool { return strings.HasSuffix(who, " wrong") }
	d, c := f.config("group_filter", "(member={dn})"), client()
	for _, name := range []string{"jane", "disabled", "twin", "nobody"} {
		f.ops = ""
		if _, answer, err := c.Login(t.Context(), d, name, secret.FromString("wrong"), nil); answer == directory.Right || err != nil {
			t.Errorf("%s: got %v, %v", name, answer, err)
		}
		if f.ops != "bsb" {
			t.Errorf("%s: the directory was asked %s, want bsb", name, f.ops)
		}
	}
	for _, name := range []string{"disabled", "twin", "nobody"} { // even if it took every password for right
		if _, answer, err := c.Login(t.Context(), d, name, secret.FromString("any"), nil); answer == directory.Right || err != nil {
			t.Errorf("%s: got %v, %v", name, answer, err)
		}
	}
}

// TestBounds holds that neither much nor nothing, nor nonsense, keeps a question going.
func TestBounds(t *testing.T) {
	many := func(n int, size int) func(string) []*ldap.Entry {
		return func(string) (list []*ldap.Entry) {
			var groups []string
			for i := range n {
				groups = append(groups, fmt.Sprintf("CN=%d%s,DC=x", i, strings.Repeat("x", size)))
			}
			return []*ldap.Entry{ldap.NewEntry("CN=jane", map[string][]string{"objectGUID": {strings.Repeat("x", 16)}, "memberOf": groups})}
		}
	}
	for name, f := range map[string]*fake{
		"groups":  newFake(t, many(metal.MaxClaims+1, 1)),
		"bytes":   newFake(t, many(300, 5000)),
		"entries": newFake(t, func(string) []*ldap.Entry { return slices.Repeat(many(1, 1)(""), 50_000) }),
	} {
		if _, answer, err := client().Login(t.Context(), f.config(), "jane", secret.FromString("x"), nil); answer == directory.Right || !fault.Is(err, fault.Unavailable) {
			t.Errorf("too many %s: got %v, %v", name, answer, err)
		}
	}
	if p, answer, err := client().Login(t.Context(), newFake(t, many(metal.MaxClaims, 1)).config(), "jane", secret.FromString("x"), []string{"cn=7x,dc=x"}); answer != directory.Right || len(p.Groups) != 1 {
		t.Errorf("got %v, %v, %v", p.Groups, answer, err)
	}
	silent := newFake(t, nil)
	d := silent.config()
	d.Servers = []string{listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)); time.Sleep(time.Minute) })}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := client().Login(ctx, d, "jane", secret.FromString("x"), nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}
