package reconcile

import (
	"fmt"
	"iter"
	"net/netip"
	"reflect"
	"slices"

	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/dnsd/zone"
	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv"
)

// servers configures the DHCP, DNS, boot file and proxy servers of networks. Its methods for
// DHCP may run concurrently with the others; beyond that only rounds use it.
type servers struct {
	Parts
	derived *derivedCache
	dhcp    map[string]applied[dhcpd.Config]
	dns     map[string]applied[dnsd.Config]
}

// applied is a server's configuration for a network, with the index of its link: a bridge that
// was made again is another one.
type applied[C any] struct {
	link int
	cfg  C
}

// configure configures a server, unless it has that configuration.
func configure[C any](all map[string]applied[C], network string, link int, cfg C, set func(C) error) error {
	now := applied[C]{link, cfg}
	if was, ok := all[network]; ok && reflect.DeepEqual(was, now) {
		return nil
	}
	delete(all, network)
	if err := set(cfg); err != nil {
		return err
	}
	all[network] = now
	return nil
}

// remove ends the services of a network.
func (s *servers) remove(network string) {
	s.DHCP.Remove(network)
	delete(s.dhcp, network)
	s.DNS.Remove(network)
	delete(s.dns, network)
	s.Boot.Remove(network)
	s.Proxy.Remove(network)
}

func (s *servers) serveDHCP(n *netdrv.Network, link int, host netdrv.Host) error {
	cfg, served := s.derived.of(n).dhcpConfig(netdrv.EffectiveMTU(n, host))
	if !served {
		s.DHCP.Remove(n.Name)
		delete(s.dhcp, n.Name)
		return nil
	}
	return configure(s.dhcp, n.Name, link, cfg, s.DHCP.Set)
}

// serveDNS configures DNS, with the names of those peers of the active networks that the
// network may resolve.
func (s *servers) serveDNS(n *netdrv.Network, link int, active []netdrv.Network) error {
	cfg, served := s.derived.of(n).dnsConfig(s.Hostname)
	if !served {
		s.DNS.Remove(n.Name)
		delete(s.dns, n.Name)
		return nil
	}
	cfg.Names = s.Leases.Names(n.Name)
	for i := range active {
		o := &active[i]
		if !slices.Contains(n.DNS.Peers, o.Name) {
			continue
		}
		reach := firewall.Policy(firewall.PartyOf(*n), firewall.PartyOf(*o)) == firewall.Yes
		if peer, served := s.derived.of(o).dnsConfig(s.Hostname); served && netdrv.MayResolve(n, o, reach) {
			peer.Names = s.Leases.Names(o.Name)
			cfg.Peers = append(cfg.Peers, peer)
		}
	}
	return configure(s.dns, n.Name, link, cfg, s.DNS.Set)
}

func (s *servers) serveBoot(n *netdrv.Network) error {
	cfg := filesConfig(n)
	if len(cfg.Shares) == 0 {
		s.Boot.Remove(n.Name)
		return nil
	}
	return s.Boot.Set(cfg)
}

// serveForwards configures the proxies of a network's published ports. published resolves their
// guests.
func (s *servers) serveForwards(n *netdrv.Network, published func(*netdrv.Forward) []netip.Addr) error {
	cfg := proxyConfig(n, published)
	if len(cfg.Endpoints) == 0 {
		s.Proxy.Remove(n.Name)
		return nil
	}
	return s.Proxy.Set(cfg)
}

// CheckNames returns what is wrong with a network's records. It compiles the zone as the DNS
// server does.
func (e *Engine) CheckNames(n *netdrv.Network) netdrv.Findings {
	cfg, served := dnsConfig(n, e.Store.PortsOf(n.Name), e.Hostname)
	if !served {
		// The server is off; its records are checked all the same.
		cfg = dnsd.Config{Domain: n.DNS.Domain, Records: records(n)}
		for _, s := range n.Subnets {
			cfg.Reverse = append(cfg.Reverse, s.Address.Masked())
		}
	}
	var fs netdrv.Findings
	for _, p := range zone.Check(cfg.Zone()) {
		path := fmt.Sprintf("dns.records[%d]", p.Record)
		if p.Field != "" {
			path += "." + p.Field
		}
		fs.Add(path, "%s", p.Why)
	}
	return fs
}

// Names returns the local records of a network's DNS server, whether it runs or not; nil if it
// has none. live are the names of leases in force.
func (e *Engine) Names(n *netdrv.Network, live iter.Seq[string]) ([]zone.Listed, error) {
	cfg, served := dnsConfig(n, e.Store.PortsOf(n.Name), e.Hostname)
	if !served {
		return nil, nil
	}
	cfg.Names = e.Leases.Names(n.Name)
	z, err := zone.New(cfg.Zone())
	if err != nil {
		return nil, err
	}
	return z.List(live), nil
}
