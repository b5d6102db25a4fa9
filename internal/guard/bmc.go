package guard

// BMC is what a BMC that somebody named tells anybody, before a login.
type BMC struct {
	Address string
	Auth    Known[BMCAuth]
	Zero    Known[bool]        // whether it agrees to cipher suite 0, by which no password is asked for
	Web     Known[Certificate] // of its pages
}

// BMCAuth is how a BMC lets in over the network, by its own word. Source: IPMI 2.0, table 22-15.
type BMCAuth struct {
	V20       bool     // IPMI 2.0 is spoken, and 1.5 may be
	V15       bool     // sessions of IPMI 1.5 are taken
	Kinds     []string // of authentication in sessions of 1.5: none, MD2, MD5, password, OEM
	Anonymous bool     // a user without name and password may log in
	Nameless  bool     // a user without a name, who has a password, may
	KG        bool     // the key of the BMC itself is set
}
