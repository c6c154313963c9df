package zone

import (
	"net/netip"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// private are the subnets with locally served reverse zones:
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
	emptyArpa    = [][]byte{[]byte("\x04home\x04arpa\x00"), []byte("\x07service\x04arpa\x00")} // RFC 8375 §4, RFC 9665
	loopback     = []rrset{
		{wire.TypeA, StaticTTL, []record{{data: []byte{127, 0, 0, 1}}}},
		{wire.TypeAAAA, StaticTTL, []record{{data: netip.IPv6Loopback().AsSlice()}}},
	}

	// specialZone answers for special-use names.
	specialZone = &Zone{
		flags:   wire.FlagAA | wire.FlagRA,
		reverse: private,
		server:  []byte("\x09localhost\x00"),
		empty:   true,
		soa:     soa([]byte("\x09localhost\x00"), []byte("\x07invalid\x00")),
	}
)

// Special appends the answer to a query for a name that must not be forwarded,
// and reports whether it is one. See the package comment.
func Special(buf []byte, q *wire.Query) ([]byte, bool) {
	name := q.Lower()
	top := 0 // offset of the last label before the root
	for off := 0; name[off] != 0; off += 1 + int(name[off]) {
		top = off
	}
	switch string(name[top : len(name)-1]) {
	case "\x09localhost": // RFC 6761 §6.3
		return specialZone.reply(buf, q, match{result: found, sets: loopback, apex: top, zone: specialZone}), true
	case "\x07invalid", "\x05onion", "\x03alt": // RFC 6761 §6.4, RFC 7686, RFC 9476
		return absent(buf, q, top), true
	case "\x04test", "\x05local", "\x08internal": // RFC 6761 §6.2, RFC 6762 §22.1, reserved by ICANN
		if top == 0 && q.Type == wire.TypeDS { // that there is none is proved by the root
			return buf, false
		}
		return absent(buf, q, top), true
	case "\x04arpa":
		if off, ok := wire.Under(name, resolverArpa); ok { // RFC 9462 §6.4
			return specialZone.reply(buf, q, match{result: found, apex: off, top: off == 0, zone: specialZone}), true
		}
		for _, domain := range emptyArpa {
			switch off, ok := wire.Under(name, domain); {
			case !ok:
			case off > 0:
				return absent(buf, q, off), true
			case q.Type != wire.TypeDS: // its absence proves that the delegation is insecure
				return specialZone.reply(buf, q, match{result: found, top: true, zone: specialZone}), true
			}
		}
		return specialZone.answerReverse(buf, q)
	}
	return buf, false
}

// absent answers for a name that does not exist in the zone that begins at apex.
func absent(buf []byte, q *wire.Query, apex int) []byte {
	r := wire.Begin(buf, q, wire.NameError, specialZone.flags)
	r.Authority(apex, wire.TypeSOA, NegativeTTL, specialZone.soa)
	return r.End()
}
