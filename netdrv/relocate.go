package netdrv

import (
	"fmt"
	"net/netip"
	"strings"
)

// Relocate moves n out of the way of what the host uses: a bridge name that is
// taken counts on (virbr0, virbr1, ...), and so does an IPv4 prefix in its third
// octet, with ranges and reservations moving along. It says what it moved and
// why. Where nothing is free, n stays, and HostConflicts says so.
func Relocate(n Network, host Host) (Network, []string) {
	var said []string
	c := n.Clone()
	if name := freeName(c.Bridge.Name, host); name != c.Bridge.Name {
		said = append(said, fmt.Sprintf("a link %s exists already; its bridge is %s", c.Bridge.Name, name))
		c.Bridge.Name = name
	}
	for i, s := range c.Subnets {
		used, taken := usedBy(s.Address, host)
		if !taken {
			continue
		}
		if moved, ok := freeSubnet(c, i, host); ok {
			said = append(said, fmt.Sprintf("%s is in use by the host (%s); its subnet is %s", s.Address.Masked(), used, moved.Address.Masked()))
			c.Subnets[i] = moved
		}
	}
	return *c, said
}

func freeName(name string, host Host) string {
	base := strings.TrimRight(name, "0123456789")
	for i := 0; host.Taken(name) && i < 1000; i++ {
		name = fmt.Sprintf("%s%d", base, i)
	}
	return name
}

// freeSubnet counts subnet i of n on until it meets neither the host nor the
// other subnets of n.
func freeSubnet(n *Network, i int, host Host) (Subnet, bool) {
	s := n.Subnets[i]
	if !s.Address.Addr().Is4() {
		return s, false
	}
	for shift := 1; shift < 256; shift++ {
		moved := shiftSubnet(s, byte(shift))
		if _, taken := usedBy(moved.Address, host); !taken && !overlapsOther(n, i, moved.Address) {
			return moved, true
		}
	}
	return s, false
}

func overlapsOther(n *Network, i int, p netip.Prefix) bool {
	for j, s := range n.Subnets {
		if j != i && s.Address.Overlaps(p) {
			return true
		}
	}
	return false
}

func shiftSubnet(s Subnet, by byte) Subnet {
	shift := func(a netip.Addr) netip.Addr {
		b := a.As4()
		b[2] += by
		return netip.AddrFrom4(b)
	}
	s.Address = netip.PrefixFrom(shift(s.Address.Addr()), s.Address.Bits())
	if s.DHCP == nil {
		return s
	}
	s.DHCP = s.DHCP.clone()
	for _, ranges := range [][]Range{s.DHCP.Ranges, s.DHCP.Exclude} {
		for i, r := range ranges {
			ranges[i] = Range{shift(r.Start), shift(r.End)}
		}
	}
	for i := range s.DHCP.Reservations {
		r := &s.DHCP.Reservations[i]
		r.Address = shift(r.Address)
	}
	return s
}
