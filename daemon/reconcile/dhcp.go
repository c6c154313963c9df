package reconcile

import (
	"cmp"
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/ra"
	"github.com/vnetd/vnetd/dhcpd/v4"
	"github.com/vnetd/vnetd/dhcpd/v6"
	"github.com/vnetd/vnetd/netdrv"
)

// dhcpConfig translates a network for the DHCP server, which knows nothing of
// networks; false if it has nothing to serve there. mtu is that of the bridge.
func dhcpConfig(n *netdrv.Network, mtu int) (dhcpd.Config, bool) {
	cfg := dhcpd.Config{Network: n.Name, Interface: n.Bridge.Name}
	if !n.Mode.OwnsBridge() {
		return cfg, false
	}
	if n.Bridge.MTU == 0 {
		mtu = 0 // guests have the same default
	}
	cfg.V6, cfg.RA = v6Config(n), raConfig(n, mtu)
	for _, s := range n.Subnets {
		if s.DHCP != nil && !s.IsIPv6() {
			cfg.V4 = append(cfg.V4, v4Subnet(n, s, mtu))
			for _, r := range s.DHCP.Relayed {
				cfg.V4 = append(cfg.V4, v4Relayed(n, s, r))
			}
		}
	}
	return cfg, len(cfg.V4) > 0 || cfg.V6 != nil || cfg.RA != nil
}

func v4Subnet(n *netdrv.Network, s netdrv.Subnet, mtu int) v4.Config {
	gateway := s.Address.Addr()
	cfg := v4.Config{
		Server: s.Address, LeaseTime: cmp.Or(s.DHCP.LeaseTime, netdrv.DefaultLeaseTime), MTU: mtu, Domain: n.DNS.Domain, Boot: bootConfig(s),
		RenewTime: s.DHCP.RenewTime, RebindTime: s.DHCP.RebindTime, Options: options4(&s.DHCP.Options), Tags: tags(s.DHCP.Tags, options4),
		Ranges: v4Ranges(s.DHCP.Pools()), Reservations: v4Reservations(s.DHCP.Reservations),
	}
	if n.DNS.Enabled != netdrv.No {
		cfg.DNS = []netip.Addr{gateway}
	}
	// A router on an isolated network would only send guests into a wall, and
	// take the default route from those with a second, connected interface.
	if n.Mode.Forwards() {
		cfg.Routers = []netip.Addr{gateway}
	}
	return cfg
}

// v4Relayed is a subnet behind relays: its links are not ours, and its router is
// what the definition says.
func v4Relayed(n *netdrv.Network, s netdrv.Subnet, r netdrv.RelayedSubnet) v4.Config {
	d := *s.DHCP
	d.Options.Routers, d.Options.Routes, s.DHCP = nil, nil, &d
	cfg := v4Subnet(n, s, 0)
	cfg.Relayed, cfg.LeaseTime, cfg.Routers = r.Subnet, cmp.Or(r.LeaseTime, netdrv.DefaultLeaseTime), nil
	cfg.Ranges, cfg.Reservations = v4Ranges(r.Pools()), v4Reservations(r.Reservations)
	if r.Router.IsValid() {
		cfg.Routers = []netip.Addr{r.Router}
	}
	return cfg
}

func v4Ranges(ranges []netdrv.Range) (out []v4.Range) {
	for _, r := range ranges {
		out = append(out, v4.Range{Start: r.Start, End: r.End})
	}
	return out
}

func v4Reservations(rs []netdrv.Reservation) []v4.Reservation {
	if len(rs) == 0 {
		return nil
	}
	out := make([]v4.Reservation, 0, len(rs))
	for i := range rs {
		r := &rs[i]
		out = append(out, v4.Reservation{
			MAC: lease.MAC(r.MAC), ClientID: r.ClientID, DUID: r.DUID, Address: r.Address, Hostname: r.Hostname,
			Options: options4(&r.Options), Tags: r.Tags, BootFile: r.BootFile,
		})
	}
	return out
}

// v6Config is nil where no IPv6 subnet has DHCP.
func v6Config(n *netdrv.Network) *v6.Config {
	cfg := &v6.Config{Stateless: true, DNS: servers6(n), Search: search(n), Domain: n.DNS.Domain}
	served := false
	for _, s := range n.Subnets {
		if s.DHCP == nil || !s.IsIPv6() {
			continue
		}
		if !served { // its options are for guests that get no address here
			cfg.Options, cfg.Tags = options6(&s.DHCP.Options), tags(s.DHCP.Tags, options6)
		}
		served = true
		if s.DHCP.Boot != nil {
			cfg.Boot = bootConfig(s)
		}
		if s.Stateful() {
			cfg.Stateless = false
			cfg.Subnets = append(cfg.Subnets, v6Subnet(s))
			for _, r := range s.DHCP.Relayed {
				cfg.Subnets = append(cfg.Subnets, v6Relayed(s, r))
			}
		}
	}
	if !served {
		return nil
	}
	return cfg
}

func v6Subnet(s netdrv.Subnet) v6.Subnet {
	return v6.Subnet{
		Server: s.Address, LeaseTime: cmp.Or(s.DHCP.LeaseTime, netdrv.DefaultLeaseTime),
		RenewTime: s.DHCP.RenewTime, RebindTime: s.DHCP.RebindTime, Options: options6(&s.DHCP.Options), Tags: tags(s.DHCP.Tags, options6),
		Ranges: v6Ranges(s.DHCP.Pools()), Reservations: v6Reservations(s.DHCP.Reservations),
	}
}

func v6Relayed(s netdrv.Subnet, r netdrv.RelayedSubnet) v6.Subnet {
	out := v6Subnet(s)
	out.Relayed, out.LeaseTime = r.Subnet, cmp.Or(r.LeaseTime, netdrv.DefaultLeaseTime)
	out.Ranges, out.Reservations = v6Ranges(r.Pools()), v6Reservations(r.Reservations)
	return out
}

func v6Ranges(ranges []netdrv.Range) (out []v6.Range) {
	for _, r := range ranges {
		out = append(out, v6.Range{Start: r.Start, End: r.End})
	}
	return out
}

func v6Reservations(rs []netdrv.Reservation) []v6.Reservation {
	if len(rs) == 0 {
		return nil
	}
	out := make([]v6.Reservation, 0, len(rs))
	for i := range rs {
		r := &rs[i]
		out = append(out, v6.Reservation{
			MAC: lease.MAC(r.MAC), DUID: r.DUID, Address: r.Address, Hostname: r.Hostname,
			Options: options6(&r.Options), Tags: r.Tags, BootFile: r.BootFile,
		})
	}
	return out
}

// raConfig is nil where nothing is advertised.
func raConfig(n *netdrv.Network, mtu int) *ra.Config {
	if !n.HasIPv6() || n.RA.Enabled == netdrv.No {
		return nil
	}
	cfg := &ra.Config{
		Interval: n.RA.Interval, Lifetime: cmp.Or(n.RA.Lifetime, 3*cmp.Or(n.RA.Interval, ra.DefaultInterval)), Preference: int(n.RA.Preference), MTU: mtu,
		Routes: n.RA.Routes,
	}
	cfg.DNS, cfg.Search, cfg.CaptivePortal = advertised6(n)
	if !n.Mode.Forwards() {
		cfg.Lifetime = -1
	}
	for _, s := range n.Subnets {
		if !s.IsIPv6() {
			continue
		}
		cfg.Prefixes = append(cfg.Prefixes, ra.Prefix{Prefix: s.Address.Masked(), OnLink: true, Autonomous: s.Autonomous()})
		cfg.Managed = cfg.Managed || s.Stateful()
		cfg.Other = cfg.Other || s.DHCP != nil
	}
	return cfg
}

// servers6 are the addresses of the network's DNS server that IPv6 guests use.
func servers6(n *netdrv.Network) []netip.Addr {
	var out []netip.Addr
	for _, a := range n.Gateways() {
		if a.Is6() && n.DNS.Enabled != netdrv.No {
			out = append(out, a)
		}
	}
	return out
}

func search(n *netdrv.Network) []string {
	if n.DNS.Domain == "" {
		return nil
	}
	return []string{n.DNS.Domain}
}
