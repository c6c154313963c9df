package reconcile

import (
	"net/netip"
	"strings"

	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/netdrv"
)

func (r *round) serveDHCP(n *netdrv.Network) error {
	cfg, served := dhcpConfig(n, r.Host())
	if !served {
		r.DHCP.Remove(n.Name)
		return nil
	}
	return r.DHCP.Set(cfg)
}

func (r *round) serveDNS(n *netdrv.Network) error {
	cfg, served := dnsConfig(n, r.Hostname)
	if !served {
		r.DNS.Remove(n.Name)
		return nil
	}
	cfg.Names = r.Leases.Names(n.Name)
	return r.DNS.Set(cfg)
}

// dhcpConfig translates a network for the DHCP server, which knows nothing of
// networks; false if it has nothing to serve there.
func dhcpConfig(n *netdrv.Network, host netdrv.Host) (dhcpd.Config, bool) {
	for _, s := range n.Subnets {
		if s.DHCP != nil && s.Address.Addr().Is4() && n.Mode.OwnsBridge() {
			return subnetConfig(n, s, host), true
		}
	}
	return dhcpd.Config{}, false
}

func subnetConfig(n *netdrv.Network, s netdrv.Subnet, host netdrv.Host) dhcpd.Config {
	gateway := s.Address.Addr()
	cfg := dhcpd.Config{
		Network:   n.Name,
		Interface: n.Bridge.Name,
		Server:    s.Address,
		LeaseTime: s.DHCP.LeaseTime,
		Domain:    n.DNS.Domain,
	}
	if n.DNS.Enabled != netdrv.No {
		cfg.DNS = []netip.Addr{gateway}
	}
	if n.Bridge.MTU != 0 {
		cfg.MTU = netdrv.EffectiveMTU(n, host)
	}
	if cfg.LeaseTime == 0 {
		cfg.LeaseTime = netdrv.DefaultLeaseTime
	}
	// A router on an isolated network would only send guests into a wall, and
	// take the default route from those with a second, connected interface.
	if n.Mode.Forwards() {
		cfg.Routers = []netip.Addr{gateway}
	}
	for _, r := range s.DHCP.Ranges {
		cfg.Ranges = append(cfg.Ranges, dhcpd.Range{Start: r.Start, End: r.End})
	}
	for _, r := range s.DHCP.Reservations {
		cfg.Reservations = append(cfg.Reservations, dhcpd.Reservation{
			MAC: lease.MAC(r.MAC), Address: r.Address, Hostname: r.Hostname,
		})
	}
	return cfg
}

// dnsConfig translates a network for the DNS server; false if the host has no
// address there to listen on.
func dnsConfig(n *netdrv.Network, hostname string) (dnsd.Config, bool) {
	if len(n.Subnets) == 0 || !n.Mode.OwnsBridge() || n.DNS.Enabled == netdrv.No {
		return dnsd.Config{}, false
	}
	cfg := dnsd.Config{
		Network:   n.Name,
		Interface: n.Bridge.Name,
		Listen:    n.Gateways(),
		Domain:    n.DNS.Domain,
		HostNames: hostNames(hostname),
		// An isolated network's guests could otherwise tunnel out by DNS.
		Forward: n.Mode.Forwards(),
	}
	for _, s := range n.Subnets {
		cfg.Reverse = append(cfg.Reverse, s.Address.Masked())
		if s.DHCP == nil {
			continue
		}
		for _, r := range s.DHCP.Reservations {
			if r.Hostname != "" {
				cfg.Hosts = append(cfg.Hosts, dnsd.Host{Name: r.Hostname, Addrs: []netip.Addr{r.Address}})
			}
		}
	}
	for _, f := range n.DNS.Forwarders {
		cfg.Forwarders = append(cfg.Forwarders, dnsd.Forwarder{Domain: f.Domain, Address: f.Address})
	}
	return cfg, true
}

// hostNames are what guests may call the host: "host", and its own name.
func hostNames(hostname string) []string {
	short, _, _ := strings.Cut(hostname, ".")
	if short == "" || strings.EqualFold(short, "host") || short == "localhost" {
		return []string{"host"}
	}
	return []string{strings.ToLower(short), "host"}
}
