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

// IsZero reports whether m is not set.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsMulticast reports whether the group bit is set (IEEE 802).
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

// LinkLocal returns the fe80::/64 address made of m by modified EUI-64
// (RFC 4291 appendix A).
func (m MAC) LinkLocal() netip.Prefix {
	a := [16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}
