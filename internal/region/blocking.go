package region

import (
	"context"
	"net"
	"net/netip"

	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/region/alerts"
	"github.com/metalward/metalward/internal/region/blocks"
)

// blocks opens the list of who is shut out, and has the listeners keep them out from the first connection on.
func (r *Region) blocks(ctx context.Context, cfg *config.Region, o Options) (*blocks.Service, error) {
	proxies, err := cfg.Proxies()
	if err != nil {
		return nil, err
	}
	c := blocks.Config{Gate: r.Gate, Now: o.Now, Log: o.Log, Region: r.ID, Units: alerts.All(), Wall: r.wall, Racks: r.Controllers, Host: block.Needs, Trusted: proxies,
		Sources: func() map[string]netip.Addr {
			if r.rpc == nil {
				return nil
			}
			return r.rpc.Peers()
		}}
	if cfg.Blocks == config.BlocksNFTables {
		c.NFT = &block.NFT{Table: block.TableRegion}
	}
	s := blocks.New(c)
	if err := s.Follow(ctx); err != nil {
		return nil, err
	}
	for _, l := range []*net.Listener{&r.https, &r.plain} {
		if *l != nil {
			*l = r.wall.Listener(*l, nil)
		}
	}
	r.rpcListener = r.wall.Listener(r.rpcListener, s.Rack)
	r.proxied(cfg.ProxyProtocol, proxies)
	return s, nil
}
