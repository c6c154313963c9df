package wire

import (
	"encoding/binary"
	"net/netip"
)

// privatePrefixes are those that names of the public DNS should not have, beside those that
// netip knows.
var privatePrefixes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),  // RFC 6598
	netip.MustParsePrefix("64:ff9b:1::/48"), // RFC 8215: IPv4 addresses of the site, in a place that depends on the site
	netip.MustParsePrefix("fec0::/10"),      // RFC 3879: site-local
}

// embedded are the prefixes of IPv6 addresses that hold an IPv4 address, and where.
var embedded = []struct {
	prefix netip.Prefix
	at     int
	not    byte // what each octet is xored with
}{
	{netip.MustParsePrefix("::/96"), 12, 0},           // IPv4-compatible, RFC 4291 section 2.5.5.1
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, 0}, // IPv4-translated, RFC 2765
	{netip.MustParsePrefix("64:ff9b::/96"), 12, 0},    // NAT64, RFC 6052
	{netip.MustParsePrefix("2002::/16"), 2, 0},        // 6to4, RFC 3056
	{netip.MustParsePrefix("2001::/32"), 4, 0},        // Teredo, RFC 4380: the server
	{netip.MustParsePrefix("2001::/32"), 12, 0xff},    // and the client
}

// Private reports whether an address is valid only on this host or site, or is an
// IPv6 address that embeds such an IPv4 address by NAT64, 6to4, Teredo or ISATAP.
func Private(a netip.Addr) bool {
	a = a.Unmap()
	if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() {
		return true
	}
	for _, p := range privatePrefixes {
		if p.Contains(a) {
			return true
		}
	}
	if a.Is4() {
		return false
	}
	b := a.As16()
	for _, e := range embedded {
		if e.prefix.Contains(a) && private4(b[e.at:], e.not) {
			return true
		}
	}
	isatap := binary.BigEndian.Uint32(b[8:])&^0x0200_0000 == 0x0000_5efe // RFC 5214 section 6.1
	return isatap && private4(b[12:], 0)
}

func private4(b []byte, not byte) bool {
	return Private(netip.AddrFrom4([4]byte{b[0] ^ not, b[1] ^ not, b[2] ^ not, b[3] ^ not}))
}

// NamesPrivate reports whether the data of a record is or has a private address: of A
// and AAAA, and in the hints of HTTPS and SVCB (RFC 9460 section 7.3).
func NamesPrivate(typ uint16, rdata []byte) bool {
	switch typ {
	case TypeA, TypeAAAA:
		a, ok := netip.AddrFromSlice(rdata)
		return ok && Private(a)
	case TypeSVCB, TypeHTTPS:
		return hintsPrivate(rdata)
	}
	return false
}

func hintsPrivate(rdata []byte) bool {
	const ipv4hint, ipv6hint = 4, 6
	off := 2 // priority
	for off < len(rdata) && rdata[off] != 0 {
		if rdata[off] > MaxLabel { // compressed, which it must not be
			off++
			break
		}
		off += 1 + int(rdata[off])
	}
	for off++; off+4 <= len(rdata); {
		key, size := binary.BigEndian.Uint16(rdata[off:]), int(binary.BigEndian.Uint16(rdata[off+2:]))
		off += 4
		value := rdata[off:min(off+size, len(rdata))]
		each := map[uint16]int{ipv4hint: 4, ipv6hint: 16}[key]
		for ; each > 0 && len(value) >= each; value = value[each:] {
			if a, _ := netip.AddrFromSlice(value[:each]); Private(a) {
				return true
			}
		}
		off += size
	}
	return false
}
