package zone

import (
	"net/netip"
	"slices"

	"github.com/vnetd/vnetd/dnsd/wire"
)

var (
	inAddrArpa = []byte("\x07in-addr\x04arpa\x00")
	ip6Arpa    = []byte("\x03ip6\x04arpa\x00")
)

// A reversed is a parsed name under in-addr.arpa or ip6.arpa.
type reversed struct {
	prefix netip.Prefix // of the labels that are numbers, counted from the root
	exact  bool         // all labels are
	starts [33]uint8    // starts[i]: where in the name the part of i labels begins
	step   int          // bits a label: 8 or 4
}

// answerReverse answers for the reverse names of the subnets of the zone and its peers.
func (z *Zone) answerReverse(buf []byte, q *wire.Query) ([]byte, bool) {
	var rev reversed
	if !rev.parse(q.Lower()) {
		return buf, false
	}
	if subnet, ok := covering(z.reverse, rev.prefix); ok {
		return z.reverseReply(buf, q, &rev, subnet), true
	}
	for _, p := range z.peers {
		if subnet, ok := covering(p.reverse, rev.prefix); ok {
			return p.reverseReply(buf, q, &rev, subnet), true
		}
	}
	return buf, false
}

func (z *Zone) reverseReply(buf []byte, q *wire.Query, rev *reversed, subnet netip.Prefix) []byte {
	// Where a subnet ends within a label its zones are one label longer.
	depth := (subnet.Bits() + rev.step - 1) / rev.step
	m := match{zone: z, result: found, apex: int(rev.starts[depth])}
	switch {
	case !rev.exact:
		m.result = nxDomain
	case !rev.prefix.IsSingleIP():
		m.top = m.apex == 0 && len(z.server) > 0
		if z.empty && !m.top {
			m.result = nxDomain
		}
	default:
		return z.pointer(buf, q, rev.prefix.Addr(), m)
	}
	return z.reply(buf, q, m)
}

// pointer answers for the reverse name of one address.
func (z *Zone) pointer(buf []byte, q *wire.Query, addr netip.Addr, m match) []byte {
	var room [wire.MaxName]byte
	r := wire.Begin(buf, q, wire.Success, z.flags)
	s := z.ptr[addr]
	var live []byte
	if s == nil {
		live = z.liveName(room[:0], addr)
	}
	switch {
	case q.Type != wire.TypePTR || s == nil && live == nil:
		if s == nil && live == nil {
			m.result = nxDomain
		}
		z.end(&r, q, m, 0)
	case s != nil:
		z.answers(&r, q, s, 0)
	default:
		r.Answer(0, wire.TypePTR, LiveTTL, live)
	}
	return r.End()
}

// liveName appends the full name of the guest that has addr. It is nil for a
// name that a host or a record has.
func (z *Zone) liveName(buf []byte, addr netip.Addr) []byte {
	if z.live == nil {
		return nil
	}
	label, ok := z.live.Name(addr)
	if !ok || !wire.HostLabel(label) || reservedForGuests(label) || len(label)+1+len(z.domain) > wire.MaxName {
		return nil
	}
	buf = z.appendName(buf, label)
	if z.nodes[string(buf)] != nil {
		return nil
	}
	return buf
}

// appendName appends a label with the domain behind it.
func (z *Zone) appendName(buf []byte, label string) []byte {
	buf = append(append(buf, byte(len(label))), label...)
	if z.domain == nil {
		return append(buf, 0)
	}
	return append(buf, z.domain...)
}

// covering returns the first of list that holds all of p.
func covering(list []netip.Prefix, p netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(list, func(l netip.Prefix) bool {
		return l.Bits() <= p.Bits() && l.Contains(p.Addr())
	})
	if i < 0 {
		return netip.Prefix{}, false
	}
	return list[i], true
}

// parse parses a name in wire form and lower case, and reports whether it
// is in one of the two reverse trees.
func (rev *reversed) parse(name []byte) bool {
	var a [16]byte
	if off, ok := wire.Under(name, inAddrArpa); ok {
		rev.step = 8
		n := rev.walk(name, off, 4, func(i int, label []byte) (ok bool) {
			a[i], ok = decimal(label)
			return ok
		})
		rev.prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(a[:4])), 8*n)
		return true
	}
	if off, ok := wire.Under(name, ip6Arpa); ok {
		rev.step = 4
		n := rev.walk(name, off, 32, func(i int, label []byte) bool {
			nibble, ok := hex(label)
			a[i/2] |= nibble << (4 * (1 - i%2))
			return ok
		})
		rev.prefix = netip.PrefixFrom(netip.AddrFrom16(a), 4*n)
		return true
	}
	return false
}

// walk calls take for the labels before end, from the last to the first, for at
// most limit and until one is not a number. It returns how many were.
func (rev *reversed) walk(name []byte, end, limit int, take func(i int, label []byte) bool) int {
	var offs [wire.MaxName / 2]uint8
	labels := 0
	for off := 0; off < end; off += 1 + int(name[off]) {
		offs[labels] = uint8(off)
		labels++
	}
	rev.starts[0] = uint8(end)
	n := 0
	for n < min(labels, limit) {
		at := int(offs[labels-1-n])
		if !take(n, name[at+1:at+1+int(name[at])]) {
			break
		}
		n++
		rev.starts[n] = uint8(at)
	}
	rev.exact = n == labels
	return n
}

// decimal reads an octet without leading zeros.
func decimal(label []byte) (byte, bool) {
	if len(label) == 0 || len(label) > 3 || label[0] == '0' && len(label) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range label {
		if c-'0' > 9 {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return byte(n), n <= 255
}

func hex(label []byte) (byte, bool) {
	if len(label) != 1 {
		return 0, false
	}
	switch c := label[0]; {
	case c-'0' <= 9:
		return c - '0', true
	case c-'a' <= 5:
		return c - 'a' + 10, true
	}
	return 0, false
}
