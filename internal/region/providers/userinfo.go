package providers

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"

	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

// complete adds to an ID token's claims those that are wanted and missing, as far as the provider says them when asked with
// the access token, which is used for nothing else. Claims of the ID token are never replaced. Kinds: Unauthenticated for an
// answer about somebody else, Unavailable when the groups cannot be found out.
func (s *Service) complete(ctx context.Context, p metal.Provider, m metadata, subject, access string, all map[string]json.RawMessage) (reason string, err error) {
	groups := p.Options["group_claim"]
	lacksGroups := groups != "" && all[groups] == nil
	lacksEmail := all["email"] == nil
	if !lacksGroups && !lacksEmail || m.UserInfo == "" || access == "" {
		return "", nil
	}
	more, err := s.userInfo(ctx, m.UserInfo, access)
	if err != nil {
		if lacksGroups { // to take them away would be wrong
			return "UserInfo: " + fault.Message(err), fault.New(fault.Unavailable, "The identity provider cannot be asked for your groups. %s", fault.Message(err))
		}
		return "", nil
	}
	var who string
	if json.Unmarshal(more["sub"], &who) != nil || who != subject { // OpenID Connect Core 1.0 section 5.3.2
		return "UserInfo of another subject", errAnswer
	}
	wanted := []string{groups, "preferred_username"}
	if lacksEmail { // whether an address is verified is said by who says the address
		delete(all, "email_verified")
		wanted = append(wanted, "email", "email_verified")
	}
	for _, name := range wanted {
		if all[name] == nil && more[name] != nil {
			all[name] = more[name]
		}
	}
	return "", nil
}

// userInfo fetches what a provider says of the owner of an access token. A signed answer is refused: nobody asks for one.
// Kinds: Unavailable.
func (s *Service) userInfo(ctx context.Context, address, access string) (all map[string]json.RawMessage, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "The address of its UserInfo cannot be used.")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Authorization", "Bearer "+access)
	resp, err := s.still().Do(req)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "%s", egress.Message(err))
	}
	defer func() { _ = resp.Body.Close() }()
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, fault.New(fault.Unavailable, "Its UserInfo answers with status %d.", resp.StatusCode)
	case kind != "application/json":
		return nil, fault.New(fault.Unavailable, "Its UserInfo is not JSON; signed answers are not read.")
	}
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		return nil, fault.New(fault.Unavailable, "Its UserInfo cannot be read.")
	}
	return all, nil
}
