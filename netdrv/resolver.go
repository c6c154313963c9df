package netdrv

import (
	"net/netip"
	"slices"
	"strings"
)

// Resolver resolves the names in rules to prefixes.
type Resolver struct {
	// Networks are all of the host's that run, and Ports those of all of them.
	Networks []Network
	Ports    []Port
	// Leased are the addresses of a client's leases in force on a network.
	Leased func(network string, mac MAC) []netip.Addr
	// Host are the host's addresses on links that are not ours.
	Host []netip.Addr
	// Names indexes the names of one of the networks; nil: NamesOf, once for each.
	Names func(n *Network) *Names

	networks map[string]*Network // by name; made when first needed, as are the others
	names    map[string]*Names
	ports    map[string][]*Port // by network and what they are called, see portKey
}

// portKey is for a port's link or its guest's name, which has no '/'.
func portKey(network, name string) string { return network + "/" + strings.ToLower(name) }

func (s *Resolver) index() {
	if s.networks != nil {
		return
	}
	s.networks, s.names, s.ports = make(map[string]*Network, len(s.Networks)), map[string]*Names{}, make(map[string][]*Port, len(s.Ports))
	for i := range s.Networks {
		s.networks[s.Networks[i].Name] = &s.Networks[i]
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		link, guest := portKey(p.Network, p.Link), portKey(p.Network, p.Guest)
		s.ports[link] = append(s.ports[link], p)
		if p.Guest != "" && guest != link {
			s.ports[guest] = append(s.ports[guest], p)
		}
	}
}

func (s *Resolver) namesOf(n *Network) *Names {
	if s.names[n.Name] == nil {
		of := NamesOf
		if s.Names != nil {
			of = s.Names
		}
		s.names[n.Name] = of(n)
	}
	return s.names[n.Name]
}

// network returns the one of that name, n before all others, or nil.
func (s *Resolver) network(name string, n *Network) *Network {
	if name == n.Name {
		return n
	}
	return s.networks[name]
}

// guestOf splits NETWORK/NAME. A name alone is on n.
func (s *Resolver) guestOf(remote string, n *Network) (*Network, string) {
	network, name, other := strings.Cut(remote, "/")
	if !other {
		return n, remote
	}
	return s.network(network, n), name
}

// portsCalled returns the ports of a network by link or guest. A link's name is matched
// as it is written.
func (s *Resolver) portsCalled(n *Network, name string) (out []*Port) {
	for _, p := range s.ports[portKey(n.Name, name)] {
		if p.Link == name || strings.EqualFold(p.Guest, name) {
			out = append(out, p)
		}
	}
	return out
}

// Prefixes returns the prefixes that a rule's remote stands for on a network now, sorted
// and without overlaps. A name that does not exist, or has no address, stands for none.
// The remote "" is not for this function.
func (s *Resolver) Prefixes(n *Network, remote string) []netip.Prefix {
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
	s.index()
	if o := s.network(remote, n); o != nil {
		return Merge(o.prefixes())
	}
	where, name := s.guestOf(remote, n)
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

// isDeclared reports whether a name is a declared guest's: a port's link or guest, a
// reservation's, or a record's.
func (s *Resolver) isDeclared(n *Network, name string) bool {
	return len(s.portsCalled(n, name)) > 0 || len(s.namesOf(n).Addresses(name, noLeases)) > 0
}

func noLeases(string) []netip.Addr { return nil }

// guest returns the addresses of a guest that is declared. A hostname from DHCP does
// not count: a guest could pick another's.
func (s *Resolver) guest(n *Network, name string) []netip.Addr {
	names := s.namesOf(n)
	out := names.Addresses(name, noLeases)
	var macs []MAC
	for _, r := range names.reserved[names.relative(name)] {
		if !r.MAC.IsZero() {
			macs = append(macs, r.MAC)
		}
	}
	for _, p := range s.portsCalled(n, name) {
		out, macs = append(out, p.Addresses...), append(macs, p.MAC)
	}
	for _, m := range macs {
		out = append(out, s.Leased(n.Name, m)...)
	}
	return slices.DeleteFunc(out, func(a netip.Addr) bool { return !a.IsValid() })
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
