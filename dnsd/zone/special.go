package zone

import (
	"net/netip"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// private are the subnets whose reverse names say nothing outside the site:
// RFC 6303 §4 in its order, and RFC 7793.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("::/128"),
	netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("fd00::/8"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("100.64.0.0/10"),
}

var (
	resolverArpa = []byte("\x08resolver\x04arpa\x00")
	loopback     = []rrset{
		{wire.TypeA, StaticTTL, []record{{data: []byte{127, 0, 0, 1}}}},
		{wire.TypeAAAA, StaticTTL, []record{{data: netip.IPv6Loopback().AsSlice()}}},
	}

	// nowhere answers for what nobody owns.
	nowhere = &Zone{
		flags:   wire.FlagAA | wire.FlagRA,
		reverse: private,
		soa:     soa([]byte("\x09localhost\x00"), []byte("\x07invalid\x00")),
	}
)

// Special appends the answer to a query for a name that must not be forwarded
// to anybody, and reports whether it is one. See the package comment.
func Special(buf []byte, q *wire.Query) ([]byte, bool) {
	name := q.Lower()
	switch top := lastLabel(name); string(name[top : len(name)-1]) {
	case "\x09localhost": // RFC 6761 §6.3
		return nowhere.reply(buf, q, match{is: here, sets: loopback, apex: top, zone: nowhere}), true
	case "\x07invalid", "\x05onion", "\x03alt": // RFC 6761 §6.4, RFC 7686, RFC 9476
		r := wire.Begin(buf, q, wire.NameError, nowhere.flags)
		r.Authority(top, wire.TypeSOA, NegativeTTL, nowhere.soa)
		return r.End(), true
	case "\x04arpa":
		if off, ok := wire.Under(name, resolverArpa); ok { // RFC 9462 §6.4
			return nowhere.reply(buf, q, match{is: here, apex: off, zone: nowhere}), true
		}
		return nowhere.backward(buf, q)
	}
	return buf, false
}

// lastLabel returns where the last label before the root begins; 0 for the root.
func lastLabel(name []byte) int {
	last := 0
	for off := 0; name[off] != 0; off += 1 + int(name[off]) {
		last = off
	}
	return last
}
