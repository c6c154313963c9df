package firewall

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/netdrv"
)

// private are the prefixes that are not the internet (RFC 6890 and its registries): private,
// shared, link-local, documentation, reserved, and multicast. The metadata services of clouds
// are at link-local addresses, and at a unique local one.
var private = func() (out []netip.Prefix) {
	for _, p := range strings.Fields(`
	0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
	192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24
	224.0.0.0/3
	::/8 64:ff9b:1::/48 100::/64 2001:db8::/32 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
`) {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}()

// internetOnly are the rules that the preset adds after a port's: DNS and ping to the host, and
// nothing that is private or a network of vnetd's.
func internetOnly(n *netdrv.Network, s *netdrv.Resolver) []Clause {
	const comment = "internet-only: "
	host := s.Prefixes(n, netdrv.RemoteHost)
	dns := []netdrv.PortRange{{Start: dnsPort, End: dnsPort}}
	not := slices.Clone(private)
	for _, a := range s.Host {
		not = append(not, netip.PrefixFrom(a, a.BitLen()))
	}
	for i := range s.Networks {
		not = append(not, s.Prefixes(n, s.Networks[i].Name)...)
	}
	return []Clause{
		{Protocol: netdrv.UDP, Ports: dns, Remotes: host, Action: netdrv.Accept, Comment: comment + "DNS"},
		{Protocol: netdrv.TCP, Ports: dns, Remotes: host, Action: netdrv.Accept, Comment: comment + "DNS"},
		{Protocol: netdrv.ICMP, Remotes: host, Action: netdrv.Accept, Comment: comment + "ping"},
		{Protocol: netdrv.ICMPv6, Remotes: host, Action: netdrv.Accept, Comment: comment + "ping"},
		{Remotes: netdrv.Merge(not), Action: netdrv.Reject, Comment: comment + "not the internet"},
	}
}
