package netdrv

import (
	"fmt"
	"net/netip"
	"slices"
)

// Complete returns n with every field filled in that must not change later:
// the bridge's name and MAC, and the domain; and ranges where DHCP is to serve a
// whole subnet. What old, the stored definition of the same name, has chosen
// stays chosen; old may be nil. taken says which link names are in use, and
// random supplies the MAC's lower octets. Addresses are picked by Pick, before.
func Complete(n Network, old *Network, taken func(link string) bool, random [3]byte) Network {
	n.Subnets = slices.Clone(n.Subnets)
	if n.Mode == ExistingBridge || !n.hasHostLink() {
		return n
	}
	if old != nil {
		n = inherit(n, old)
	}
	if n.Bridge.Name == "" {
		n.Bridge.Name = freeBridgeName(taken)
	}
	if n.Bridge.MAC.IsZero() {
		// 52:54:00 is what QEMU and libvirt use: locally administered, unicast.
		n.Bridge.MAC = MAC{0x52, 0x54, 0x00, random[0], random[1], random[2]}
	}
	if n.DNS.Domain == "" && len(n.Subnets) > 0 && n.Mode.OwnsBridge() {
		n.DNS.Domain = defaultDomain(n.Name)
	}
	for i := range n.Subnets {
		fillRanges(&n.Subnets[i])
	}
	return n
}

func inherit(n Network, old *Network) Network {
	if n.Bridge.Name == "" {
		n.Bridge.Name = old.Bridge.Name
	}
	if n.Bridge.MAC.IsZero() {
		n.Bridge.MAC = old.Bridge.MAC
	}
	return n
}

// fillRanges gives a whole IPv4 subnet to DHCP that names no addresses, but for
// the gateway. IPv6 subnets have room for SLAAC, and want a word.
func fillRanges(s *Subnet) {
	p, d := s.Address, s.DHCP
	if d == nil || len(d.Ranges) > 0 || len(d.Reservations) > 0 || len(d.Relayed) > 0 || !p.Addr().Is4() || p.Bits() > 30 || p.Bits() < 16 {
		return
	}
	first, last := p.Masked().Addr().Next(), Broadcast(p).Prev()
	d = d.clone()
	s.DHCP = d
	if first.Less(p.Addr()) {
		d.Ranges = append(d.Ranges, Range{first, p.Addr().Prev()})
	}
	if p.Addr().Less(last) {
		d.Ranges = append(d.Ranges, Range{p.Addr().Next(), last})
	}
}

// defaultDomain puts a network's guests under .internal, which ICANN has set
// aside for private use. A name that is no label keeps to plain "internal".
func defaultDomain(network string) string {
	if hostRE.MatchString(network) {
		return network + ".internal"
	}
	return "internal"
}

func freeBridgeName(taken func(string) bool) string {
	for i := 0; ; i++ {
		if name := fmt.Sprintf("vnbr%d", i); !taken(name) {
			return name
		}
	}
}

// Clone returns a copy of n that shares no slice with it.
func (n *Network) Clone() *Network {
	c := *n
	c.Bridge.Uplinks = slices.Clone(n.Bridge.Uplinks)
	c.Direct.Uplinks = slices.Clone(n.Direct.Uplinks)
	c.Uplinks = slices.Clone(n.Uplinks)
	c.Subnets = slices.Clone(n.Subnets)
	for i, s := range c.Subnets {
		if s.DHCP != nil {
			c.Subnets[i].DHCP = s.DHCP.clone()
		}
	}
	c.DNS.Forwarders = slices.Clone(n.DNS.Forwarders)
	c.DNS.Records = slices.Clone(n.DNS.Records)
	c.DNS.Peers = slices.Clone(n.DNS.Peers)
	c.RA.Routes = slices.Clone(n.RA.Routes)
	c.NAT.Addresses = slices.Clone(n.NAT.Addresses)
	c.Routes = slices.Clone(n.Routes)
	c.Filter = n.Filter.clone()
	c.HostAccess.Services = slices.Clone(n.HostAccess.Services)
	c.Access.Users, c.Access.Groups = slices.Clone(n.Access.Users), slices.Clone(n.Access.Groups)
	return &c
}

func (d *DHCP) clone() *DHCP {
	c := *d
	c.Ranges = slices.Clone(d.Ranges)
	c.Exclude = slices.Clone(d.Exclude)
	c.Reservations = cloneReservations(d.Reservations)
	c.Relayed = slices.Clone(d.Relayed)
	for i := range c.Relayed {
		r := &c.Relayed[i]
		r.Ranges, r.Exclude, r.Reservations = slices.Clone(r.Ranges), slices.Clone(r.Exclude), cloneReservations(r.Reservations)
	}
	c.Options, c.Tags = d.Options.clone(), slices.Clone(d.Tags)
	c.Boot = d.Boot.clone()
	for i := range c.Tags {
		c.Tags[i].Options = c.Tags[i].Options.clone()
	}
	return &c
}

func cloneReservations(rs []Reservation) []Reservation {
	out := slices.Clone(rs)
	for i := range out {
		out[i].Options, out[i].Tags = out[i].Options.clone(), slices.Clone(out[i].Tags)
	}
	return out
}

// wildcard reports whether p asks for any free prefix of its length.
func wildcard(p netip.Prefix) bool { return p.IsValid() && p.Addr().IsUnspecified() }
