package machines_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
	"github.com/metalward/metalward/internal/vault/vaulttest"
	"github.com/metalward/metalward/internal/wire"
)

// TestVaultOutage has Vault away for ten minutes in the middle of deployments, as long after it was last read as that can be: power
// commands get their passwords, deployments begin and end, only what brings a new secret is refused; and then all is well by itself.
func TestVaultOutage(t *testing.T) {
	w := newWorld(t)
	fake := vaulttest.NewFake()
	fake.Now = w.clock.Now
	server := vaulttest.Serve(t, fake)
	role := fake.SetRole(t, "region", vaulttest.SitePolicy("secret", "metalward"), 24*time.Hour, 24*time.Hour)
	ctx := authz.AsSystem(t.Context(), "test")
	_, err := secrets.Setup{Dir: w.Dir, Now: w.clock.Now}.Configure(ctx, secrets.VaultRequest{URL: server.URL, CA: server.CA, RoleID: role, Token: secret.FromString(fake.Wrap(t, "region")), Mount: "secret", Path: "metalward"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Secrets.Follow(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Secrets.Migrate(ctx, nil); err != nil {
		t.Fatal(err)
	}
	w.image(t, "debian12")
	var mu sync.Mutex // guards keys
	keys := map[string]int{}
	w.rack.OnPower(func(_ context.Context, req wire.PowerRequest) (wire.PowerResponse, error) {
		got, err := w.Machines.PowerKey(w.rack.Ctx(), w.rack.ID, wire.PowerKeyRequest{CommandID: req.CommandID, SystemID: req.SystemID})
		if err != nil || got.Parameters["power_pass"] != regiontest.BMCPassword {
			t.Errorf("%s: no password for the BMC: %v", req.Action, err)
			return wire.PowerResponse{}, err
		}
		mu.Lock()
		defer mu.Unlock()
		keys[req.SystemID]++
		if req.Action == metal.ActionOff {
			return wire.PowerResponse{State: metal.PowerOff}, nil
		}
		return wire.PowerResponse{State: metal.PowerOn}, nil
	})
	list := []*regiontest.Machine{w.machine(1), w.machine(2), w.machine(3), w.machine(4)}
	var ids []string
	for i, m := range list {
		ids = append(ids, m.Ready(t, []string{"a", "b", "c", "d"}[i]).SystemID)
	}
	w.power(t)
	w.m = list[3]
	w.deployed(t, ids[3]) // the rack's first deployment makes an authority, which is a new secret
	// The first is in the middle of its deployment, with user data that its agent has not fetched.
	if _, err := w.Machines.Deploy(w.Admin(t), ids[0], machines.DeployRequest{UserData: "canary user data"}); err != nil {
		t.Fatal(err)
	}
	w.power(t)
	list[0].Start(t)
	w.clock.Advance(vault.Bridge)
	if err := w.Secrets.Warm(ctx); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(vault.Bridge/3 - time.Second)
	if err := w.Secrets.Warm(ctx); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(5 * time.Minute) // as old as memory gets while Vault is there

	server.Spoil(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	began := w.clock.Now()
	if err := w.Secrets.Check(ctx); err != nil {
		t.Fatal(err)
	}
	end := func(m *regiontest.Machine, id string) {
		t.Helper()
		seed, err := w.Machines.Seed(w.rack.Ctx(), m.Ref)
		if err != nil {
			t.Fatal(err)
		}
		m.Done(t, "")
		if err := w.Machines.PhoneHome(w.rack.Ctx(), wire.PhoneHomeRequest{Credential: phone(t, seed), IP: m.IP}); err != nil {
			t.Fatal(err)
		}
		w.want(t, id, metal.Deployed, "")
	}
	for minute := range 10 {
		switch minute {
		case 2: // the second's deployment begins and ends during the outage
			if _, err := w.Machines.Deploy(w.Admin(t), ids[1], machines.DeployRequest{}); err != nil {
				t.Fatal(err)
			}
			w.power(t)
			list[1].Start(t)
		case 4:
			end(list[1], ids[1])
		case 6:
			_, err := w.Machines.Deploy(w.Admin(t), ids[2], machines.DeployRequest{UserData: "canary other user data"})
			wantKind(t, err, fault.Unavailable)
			w.want(t, ids[2], metal.Ready, "")
		case 9:
			if seed, err := w.Machines.Seed(w.rack.Ctx(), list[0].Ref); err != nil || string(seed.UserData) != "canary user data" {
				t.Errorf("no user data for the deployment that had begun: %v", err)
			}
			end(list[0], ids[0])
		}
		if _, err := w.Machines.Power(w.Admin(t), ids[3], metal.ActionOn, "", ""); err != nil {
			t.Errorf("minute %d: %v", minute, err)
		}
		w.power(t)
		w.clock.Advance(time.Minute)
		if err := w.Secrets.Check(ctx); err != nil {
			t.Fatal(err)
		}
		st, err := w.Secrets.VaultStatus(w.Admin(t))
		if err != nil || st.Here.State != vault.KeeperAway || !st.Here.Since.Equal(began) || len(st.Regions) > 0 && st.Regions[0].State != string(vault.KeeperAway) {
			t.Errorf("minute %d: got %+v, %v, want away since %v", minute, st, err, began)
		}
	}
	if mu.Lock(); keys[ids[3]] < 10 {
		t.Errorf("got %d power commands, want 10", keys[ids[3]])
	}
	mu.Unlock()

	server.Spoil(nil)
	if err := w.Secrets.Check(ctx); err != nil {
		t.Fatal(err)
	}
	if st, err := w.Secrets.VaultStatus(w.Admin(t)); err != nil || st.Here.State != vault.KeeperOK || st.InDatabase != 0 {
		t.Errorf("then got %+v, %v", st, err)
	}
	if _, err := w.Machines.Deploy(w.Admin(t), ids[2], machines.DeployRequest{UserData: "canary other user data"}); err != nil {
		t.Error(err)
	}
	w.power(t)
	list[2].Start(t)
	end(list[2], ids[2])
}
