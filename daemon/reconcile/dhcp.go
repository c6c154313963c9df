package reconcile

import (
	"cmp"
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/ra"
	"github.com/vnetd/vnetd/dhcpd/v6"
	"github.com/vnetd/vnetd/netdrv"
)

// dhcpConfig translates a network for the DHCP server, which knows nothing of
// networks; false if it has nothing to serve there. mtu is that of the bridge.
func dhcpConfig(n *netdrv.Network, mtu int) (dhcpd.Config, bool) {
	cfg := dhcpd.Config{Network: n.Name, Interface: n.Bridge.Name, Domain: n.DNS.Domain}
	if !n.Mode.OwnsBridge() {
		return cfg, false
	}
	if n.Bridge.MTU == 0 {
		mtu = 0 // guests have the same default
	}
	cfg.MTU, cfg.V6, cfg.RA = mtu, v6Config(n), raConfig(n, mtu)
	for _, s := range n.Subnets {
		if s.DHCP != nil && !s.IsIPv6() {
			addV4(&cfg, n, s)
		}
	}
	return cfg, cfg.Server.IsValid() || cfg.V6 != nil || cfg.RA != nil
}

func addV4(cfg *dhcpd.Config, n *netdrv.Network, s netdrv.Subnet) {
	gateway := s.Address.Addr()
	cfg.Server = s.Address
	cfg.LeaseTime = cmp.Or(s.DHCP.LeaseTime, netdrv.DefaultLeaseTime)
	if n.DNS.Enabled != netdrv.No {
		cfg.DNS = []netip.Addr{gateway}
	}
	// A router on an isolated network would only send guests into a wall, and
	// take the default route from those with a second, connected interface.
	if n.Mode.Forwards() {
		cfg.Routers = []netip.Addr{gateway}
	}
	cfg.RenewTime, cfg.RebindTime = s.DHCP.RenewTime, s.DHCP.RebindTime
	cfg.Options, cfg.Tags = options4(&s.DHCP.Options), tags(s.DHCP.Tags, options4)
	for _, r := range s.DHCP.Ranges {
		cfg.Ranges = append(cfg.Ranges, dhcpd.Range{Start: r.Start, End: r.End})
	}
	for _, r := range s.DHCP.Reservations {
		cfg.Reservations = append(cfg.Reservations, dhcpd.Reservation{
			MAC: lease.MAC(r.MAC), Address: r.Address, Hostname: r.Hostname,
			Options: options4(&r.Options), Tags: r.Tags,
		})
	}
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
		if s.Stateful() {
			cfg.Stateless = false
			cfg.Subnets = append(cfg.Subnets, v6Subnet(s))
		}
	}
	if !served {
		return nil
	}
	return cfg
}

func v6Subnet(s netdrv.Subnet) v6.Subnet {
	out := v6.Subnet{
		Server: s.Address, LeaseTime: cmp.Or(s.DHCP.LeaseTime, netdrv.DefaultLeaseTime),
		RenewTime: s.DHCP.RenewTime, RebindTime: s.DHCP.RebindTime,
		Options: options6(&s.DHCP.Options), Tags: tags(s.DHCP.Tags, options6),
	}
	for _, r := range s.DHCP.Ranges {
		out.Ranges = append(out.Ranges, v6.Range{Start: r.Start, End: r.End})
	}
	for _, r := range s.DHCP.Reservations {
		out.Reservations = append(out.Reservations, v6.Reservation{
			MAC: lease.MAC(r.MAC), DUID: r.DUID, Address: r.Address, Hostname: r.Hostname,
			Options: options6(&r.Options), Tags: r.Tags,
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
		Interval: n.RA.Interval, Lifetime: n.RA.Lifetime, Preference: int(n.RA.Preference), MTU: mtu,
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
