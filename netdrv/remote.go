package netdrv

import (
	"net/netip"
	"slices"
	"strings"
)

// Surroundings are what names in rules stand for.
type Surroundings struct {
	// Networks are all of the host's that run, and Ports those of all of them.
	Networks []Network
	Ports    []Port
	// Leased are the addresses of leases in force on a network, by who has them.
	Leased func(network string) map[MAC][]netip.Addr
	// Host are the host's addresses on links that are not ours.
	Host []netip.Addr
}

// Remote returns the prefixes that a rule's remote stands for on a network now, in
// order, none in another. A name that is nobody's, or of somebody who has no address,
// stands for none. The remote "" is not for here.
func (s *Surroundings) Remote(n *Network, remote string) []netip.Prefix {
	if p, ok := ParseRemotePrefix(remote); ok {
		return []netip.Prefix{p}
	}
	if name, ok := setName(remote); ok {
		prefixes, _ := n.Filter.set(name)
		return Merge(prefixes)
	}
	if remote == RemoteHost {
		return Merge(singles(n.OwnAddresses()))
	}
	if o := networkOf(remote, n, s.Networks); o != nil {
		return Merge(o.prefixes())
	}
	where, name := guestOf(remote, n, s.Networks)
	if where == nil {
		return nil
	}
	return Merge(singles(s.guest(where, name)))
}

// OwnAddresses are the host's on the network, the link-local one with them.
func (n *Network) OwnAddresses() []netip.Addr {
	out := n.Gateways()
	if n.HasIPv6() && !n.Bridge.MAC.IsZero() {
		out = append(out, n.Bridge.MAC.LinkLocal().Addr())
	}
	return out
}

func networkOf(name string, n *Network, networks []Network) *Network {
	if name == n.Name {
		return n
	}
	i := slices.IndexFunc(networks, func(o Network) bool { return o.Name == name })
	if i < 0 {
		return nil
	}
	return &networks[i]
}

// guestOf splits NETWORK/NAME. A name alone is on n.
func guestOf(remote string, n *Network, networks []Network) (*Network, string) {
	network, name, other := strings.Cut(remote, "/")
	if !other {
		return n, remote
	}
	return networkOf(network, n, networks), name
}

// isDeclared reports whether a name is a declared guest's: a port's link or guest, a
// reservation's, or a record's.
func isDeclared(n *Network, name string, ports []Port) bool {
	if slices.ContainsFunc(ports, func(p Port) bool { return p.Network == n.Name && p.isCalled(name) }) {
		return true
	}
	return len(Addresses(n, name, func(string) []netip.Addr { return nil })) > 0
}

func (p *Port) isCalled(name string) bool {
	return p.Link == name || p.Guest != "" && strings.EqualFold(p.Guest, name)
}

// guest returns the addresses of a guest that is declared. What a guest calls itself
// is no word of anybody's.
func (s *Surroundings) guest(n *Network, name string) []netip.Addr {
	out := Addresses(n, name, func(string) []netip.Addr { return nil })
	var leased map[MAC][]netip.Addr
	macs := reservedAs(n, name)
	for i := range s.Ports {
		if p := &s.Ports[i]; p.Network == n.Name && p.isCalled(name) {
			out, macs = append(out, p.Addresses...), append(macs, p.MAC)
		}
	}
	for _, m := range macs {
		if leased == nil {
			leased = s.Leased(n.Name)
		}
		out = append(out, leased[m]...)
	}
	return slices.DeleteFunc(out, func(a netip.Addr) bool { return !a.IsValid() })
}

func reservedAs(n *Network, name string) (out []MAC) {
	for i := range n.Subnets {
		if d := n.Subnets[i].DHCP; d != nil {
			for _, r := range d.Reservations {
				if r.Hostname != "" && !r.MAC.IsZero() && relative(n, r.Hostname) == relative(n, name) {
					out = append(out, r.MAC)
				}
			}
		}
	}
	return out
}

func singles(addrs []netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addrs {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// Merge returns the prefixes in order, without those that are in others.
func Merge(prefixes []netip.Prefix) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if p.IsValid() {
			all = append(all, p.Masked())
		}
	}
	// The first address first, and of those with one the widest.
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	out := all[:0]
	for _, p := range all {
		if len(out) == 0 || !out[len(out)-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}
