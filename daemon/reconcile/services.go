package reconcile

import (
	"net/netip"
	"reflect"
	"strings"

	"github.com/vnetd/vnetd/dhcpd"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/netdrv"
)

func (r *round) serveDHCP(n *netdrv.Network) error {
	cfg, served := r.derive(n).dhcpConfig(netdrv.EffectiveMTU(n, r.Host()))
	if !served {
		r.DHCP.Remove(n.Name)
		delete(r.dhcp, n.Name)
		return nil
	}
	return give(r.dhcp, n.Name, given[dhcpd.Config]{r.indexes[n.Bridge.Name], cfg}, r.DHCP.Set)
}

func (r *round) serveDNS(n *netdrv.Network) error {
	cfg, served := r.derive(n).dnsConfig(r.Hostname)
	if !served {
		r.DNS.Remove(n.Name)
		delete(r.dns, n.Name)
		return nil
	}
	cfg.Names = r.Leases.Names(n.Name)
	return give(r.dns, n.Name, given[dnsd.Config]{r.indexes[n.Bridge.Name], r.withPeers(cfg, n)}, r.DNS.Set)
}

// given is what a server was given for a network, and the index of the link that it
// serves on: a bridge that was made anew is another one.
type given[C any] struct {
	link int
	cfg  C
}

// give configures a server, unless it has just that.
func give[C any](all map[string]given[C], network string, g given[C], set func(C) error) error {
	if was, ok := all[network]; ok && reflect.DeepEqual(was, g) {
		return nil
	}
	delete(all, network)
	if err := set(g.cfg); err != nil {
		return err
	}
	all[network] = g
	return nil
}

// dnsConfig translates a network for the DNS server; false if the host has no
// address there to listen on.
func dnsConfig(n *netdrv.Network, ports []netdrv.Port, hostname string) (dnsd.Config, bool) {
	if len(n.Subnets) == 0 || !n.Mode.OwnsBridge() || n.DNS.Enabled == netdrv.No {
		return dnsd.Config{}, false
	}
	cfg := dnsd.Config{
		Network:   n.Name,
		Interface: n.Bridge.Name,
		Listen:    n.Gateways(),
		Domain:    n.DNS.Domain,
		Shared:    n.DNS.LocalOnly == netdrv.No,
		HostNames: hostNames(hostname),
		// An isolated network's guests could otherwise tunnel out by DNS.
		Forward: n.Mode.Forwards(),
		Records: records(n),
		Reverse: reverse(n),

		RebindProtection: n.DNS.RebindProtection,
	}
	for _, s := range n.Subnets {
		cfg.Clients = append(cfg.Clients, s.Address.Masked())
		if s.DHCP == nil {
			continue
		}
		cfg.Hosts = append(cfg.Hosts, reservedHosts(s.DHCP.Reservations)...)
		for _, r := range s.DHCP.Relayed {
			cfg.Reverse = append(cfg.Reverse, r.Subnet)
			cfg.Hosts = append(cfg.Hosts, reservedHosts(r.Reservations)...)
		}
	}
	for _, r := range n.Routes { // behind guests
		cfg.Clients = append(cfg.Clients, r.Destination)
	}
	for _, p := range ports {
		if p.Guest != "" && len(p.Addresses) > 0 {
			cfg.Hosts = append(cfg.Hosts, dnsd.Host{Name: p.Guest, Addrs: p.Addresses})
		}
	}
	for _, f := range n.DNS.Forwarders {
		cfg.Forwarders = append(cfg.Forwarders, dnsd.Forwarder{Domain: f.Domain, Address: f.Address, TLS: f.TLS})
	}
	return cfg, true
}

func records(n *netdrv.Network) []dnsd.Record {
	var out []dnsd.Record
	for _, r := range n.DNS.Records {
		out = append(out, dnsd.Record{Name: r.Name, Type: r.Type, Value: r.Value, TTL: r.TTL})
	}
	return out
}

func reverse(n *netdrv.Network) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range n.Subnets {
		out = append(out, s.Address.Masked())
	}
	return out
}

func reservedHosts(rs []netdrv.Reservation) (out []dnsd.Host) {
	for _, r := range rs {
		if r.Hostname != "" {
			out = append(out, dnsd.Host{Name: r.Hostname, Addrs: []netip.Addr{r.Address}})
		}
	}
	return out
}

// hostNames are what guests may call the host: "host", and its own name, if that is
// one that DNS can have.
func hostNames(hostname string) []string {
	short, _, _ := strings.Cut(hostname, ".")
	if !HasLabel(hostname) || strings.EqualFold(short, "host") || short == "localhost" {
		return []string{"host"}
	}
	return []string{strings.ToLower(short), "host"}
}

// HasLabel reports whether a host name begins with a label that DNS can have. Linux
// takes any octets, and says "(none)" where the name was never set.
func HasLabel(hostname string) bool {
	short, _, _ := strings.Cut(hostname, ".")
	return wire.HostLabel(short)
}
