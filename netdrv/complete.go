package netdrv

import (
	"fmt"
	"slices"
)

// Complete returns n with every field filled in that must not change later:
// the bridge's name and MAC, and the domain. What old, the stored definition
// of the same name, has chosen stays chosen; old may be nil. taken says which
// link names are in use, and random supplies the MAC's lower octets.
func Complete(n Network, old *Network, taken func(link string) bool, random [3]byte) Network {
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
	if n.DNS.Domain == "" && len(n.Subnets) > 0 {
		n.DNS.Domain = defaultDomain(n.Name)
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
	c.Subnets = slices.Clone(n.Subnets)
	for i, s := range c.Subnets {
		if s.DHCP != nil {
			d := *s.DHCP
			d.Ranges = slices.Clone(d.Ranges)
			d.Reservations = slices.Clone(d.Reservations)
			c.Subnets[i].DHCP = &d
		}
	}
	c.DNS.Forwarders = slices.Clone(n.DNS.Forwarders)
	return &c
}
