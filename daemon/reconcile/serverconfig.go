package reconcile

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/dhcpd/boot"
	"github.com/vnetd/vnetd/dhcpd/boot/files"
	"github.com/vnetd/vnetd/dnsd"
	"github.com/vnetd/vnetd/dnsd/wire"
	"github.com/vnetd/vnetd/firewall"
	"github.com/vnetd/vnetd/netdrv"
	"github.com/vnetd/vnetd/proxy"
)

// dnsConfig returns the DNS server's configuration for a network; false if DNS is off, or the
// host has no address to listen on.
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

		RebindProtection: n.DNS.RebindProtection,
	}
	for _, s := range n.Subnets {
		cfg.Clients, cfg.Reverse = append(cfg.Clients, s.Address.Masked()), append(cfg.Reverse, s.Address.Masked())
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

func reservedHosts(rs []netdrv.Reservation) (out []dnsd.Host) {
	for _, r := range rs {
		if r.Hostname != "" {
			out = append(out, dnsd.Host{Name: r.Hostname, Addrs: []netip.Addr{r.Address}})
		}
	}
	return out
}

// hostNames returns the names of the host in DNS: "host", and its own name if it is a valid
// label.
func hostNames(hostname string) []string {
	short, _, _ := strings.Cut(hostname, ".")
	if !HasLabel(hostname) || strings.EqualFold(short, "host") || short == "localhost" {
		return []string{"host"}
	}
	return []string{strings.ToLower(short), "host"}
}

// HasLabel reports whether a host name begins with a valid DNS label. Linux accepts any octets,
// and has "(none)" if the name was never set.
func HasLabel(hostname string) bool {
	short, _, _ := strings.Cut(hostname, ".")
	return wire.HostLabel(short)
}

// filesConfig returns the boot file server's configuration for a network.
func filesConfig(n *netdrv.Network) files.Config {
	cfg := files.Config{Network: n.Name, Interface: n.Bridge.Name}
	for _, s := range n.Subnets {
		if s.ServesFiles() {
			cfg.Shares = append(cfg.Shares, files.Share{Address: s.Address, Root: s.DHCP.Boot.Root, HTTPPort: s.DHCP.Boot.HTTPPort})
		}
	}
	return cfg
}

// bootConfig returns what a subnet's guests are sent; nil if nothing.
func bootConfig(s netdrv.Subnet) *boot.Config {
	b := s.DHCP.Boot
	if b == nil {
		return nil
	}
	cfg := &boot.Config{Server: b.Server, HTTPPort: cmp.Or(b.HTTPPort, netdrv.DefaultHTTPPort)}
	if !cfg.Server.IsValid() {
		cfg.Server = s.Address.Addr()
	}
	for _, f := range b.Files {
		out := boot.File{IPXE: f.IPXE, Name: f.File, Params: f.Params}
		if f.Arch.Known {
			out.Arch = (*boot.Arch)(&f.Arch.Number)
		}
		cfg.Files = append(cfg.Files, out)
	}
	return cfg
}

var (
	loopbacks = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	protocols = map[netdrv.Protocol]proxy.Protocol{netdrv.TCP: proxy.TCP, netdrv.UDP: proxy.UDP}
)

// proxyConfig returns the proxy's configuration for a network's forwards: on the loopback
// addresses, and for guests that connect to their own published ports.
func proxyConfig(n *netdrv.Network, names func(*netdrv.Forward) []netip.Addr) proxy.Config {
	b := proxies{cfg: proxy.Config{Network: n.Name}, selves: map[self]int{}}
	for i := range n.Forwards {
		f := &n.Forwards[i]
		targets := netdrv.Targets(n, f, names)
		protocol, proxied := protocols[f.Listen.Protocol]
		if !proxied || len(targets) == 0 {
			continue
		}
		b.ports(f, protocol, targets, n)
	}
	return b.cfg
}

// proxies collects endpoints. Those of guests' connections to themselves are shared by forwards
// of one port.
type proxies struct {
	cfg    proxy.Config
	selves map[self]int // by index
}

type self struct {
	protocol proxy.Protocol
	at       netip.AddrPort
}

func (b *proxies) ports(f *netdrv.Forward, protocol proxy.Protocol, targets []netip.Addr, n *netdrv.Network) {
	for i := range f.Listen.Ports.Count() {
		port, to := f.Listen.Ports.Start+uint16(i), f.Ports.Start+uint16(i)
		var all []netip.AddrPort
		for _, a := range targets {
			all = append(all, netip.AddrPortFrom(a, to))
			resolved := *f
			resolved.Guest = a.String()
			if gateway, ok := firewall.SelfProxy(n, &resolved); ok {
				b.self(self{protocol, netip.AddrPortFrom(gateway, port)}, netip.AddrPortFrom(a, to))
			}
		}
		local := loopbacks
		if f.Address.IsValid() {
			local = slices.DeleteFunc([]netip.Addr{f.Address}, func(a netip.Addr) bool { return !a.IsLoopback() })
		}
		for _, a := range local {
			b.cfg.Endpoints = append(b.cfg.Endpoints, proxy.Endpoint{Protocol: protocol, Listen: netip.AddrPortFrom(a, port), Targets: all})
		}
	}
}

func (b *proxies) self(s self, target netip.AddrPort) {
	i, shared := b.selves[s]
	if !shared {
		i = len(b.cfg.Endpoints)
		b.selves[s] = i
		b.cfg.Endpoints = append(b.cfg.Endpoints, proxy.Endpoint{Protocol: s.protocol, Listen: s.at, Self: true})
	}
	e := &b.cfg.Endpoints[i]
	e.Targets = append(e.Targets, target)
}
