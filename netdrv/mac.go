package netdrv

import (
	"fmt"
	"net"
	"net/netip"
)

// MAC is an Ethernet address. The zero value means "not set".
type MAC [6]byte

// ParseMAC reads six octets in any form that net.ParseMAC takes.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("%q is not an Ethernet address such as 52:54:00:12:34:56", s)
	}
	return MAC(hw), nil
}

// String prints lower-case octets with colons, or "" for the zero MAC.
func (m MAC) String() string {
	if m.IsZero() {
		return ""
	}
	return net.HardwareAddr(m[:]).String()
}

// linkLocal is where link-local addresses are (RFC 4291 section 2.5.6).
var linkLocal = netip.MustParsePrefix("fe80::/64")

// IsZero reports whether m is not set.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsMulticast reports whether the group bit is set (IEEE 802).
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

// LinkLocal returns the fe80::/64 address made of m by modified EUI-64
// (RFC 4291 appendix A).
func (m MAC) LinkLocal() netip.Prefix {
	return netip.PrefixFrom(m.In(linkLocal), linkLocal.Bits())
}

// In returns the address of a /64 that is made of m by modified EUI-64 (RFC 4291
// appendix A).
func (m MAC) In(prefix netip.Prefix) netip.Addr {
	a := prefix.Masked().Addr().As16()
	copy(a[8:], []byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	return netip.AddrFrom16(a)
}
