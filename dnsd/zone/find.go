package zone

import (
	"net/netip"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// A match is what is known of a name.
type match struct {
	zone  *Zone
	is    standing
	top   bool // the zone begins with it
	apex  int  // where in the name the zone begins
	sets  []rrset
	addrs []netip.Addr // live ones
}

// A standing says whose a name is.
type standing uint8

const (
	foreign standing = iota // somebody else's
	missing                 // ours, and does not exist
	here
)

// alias is the CNAME that answers for a type in its place, or nil.
func (m *match) alias(typ uint16) *rrset {
	if typ == wire.TypeCNAME || typ == wire.TypeANY {
		return nil
	}
	return set(m.sets, wire.TypeCNAME)
}

func (m *match) ttl() uint32 {
	if m.addrs != nil {
		return LiveTTL
	}
	return StaticTTL
}

// find looks a name up here and with the peers; the longest domain that it is
// in decides. name is in wire form and small letters.
func (z *Zone) find(name []byte, typ uint16) match {
	m := z.own(name, typ)
	if m.is == here || len(z.peers) == 0 {
		return m
	}
	longest := 0
	if _, ok := wire.Under(name, z.domain); ok {
		longest = len(z.domain)
	}
	var home *Zone
	for _, p := range z.peers {
		if _, ok := wire.Under(name, p.domain); ok && len(p.domain) > longest {
			home, longest = p, len(p.domain)
		}
	}
	if home == nil {
		return m
	}
	return home.own(name, typ)
}

// own looks a name up in this zone only: exact names first, then live ones,
// then wildcards.
func (z *Zone) own(name []byte, typ uint16) match {
	single := name[0] != 0 && name[1+name[0]] == 0
	if n := z.nodes[string(name)]; n != nil && (!z.shared || n.speaks(typ)) {
		if single && !n.top && ofTopLevel(typ) {
			return match{zone: z}
		}
		return match{zone: z, is: here, sets: n.sets, apex: n.apex, top: n.top}
	}
	off, inside := wire.Under(name, z.domain)
	if !inside {
		return z.outside(name, typ, single)
	}
	m := match{zone: z, apex: off}
	if 1+int(name[0]) == off {
		if m.addrs = z.lookup(name); len(m.addrs) > 0 {
			m.is = here
			return m
		}
	}
	if n := z.wildcard(name, off); n != nil {
		m.is, m.sets = here, n.sets
	} else if !z.shared {
		m.is = missing
	}
	return m
}

// outside looks up a name that is not in the domain: of one label, perhaps.
func (z *Zone) outside(name []byte, typ uint16, single bool) match {
	m := match{zone: z}
	if single && !ofTopLevel(typ) {
		if m.addrs = z.lookup(name); len(m.addrs) > 0 {
			m.is = here
		}
	}
	return m
}

// speaks reports whether a node answers for itself in a domain that is shared: of
// the domain's own name only what is here.
func (n *node) speaks(typ uint16) bool {
	return len(n.sets) > 0 && (!n.top || set(n.sets, typ) != nil)
}

// wildcard returns the node that covers a name without one of its own: "*"
// under its closest encloser, the longest of its parents that exists (RFC 4592
// §3.3.1).
func (z *Zone) wildcard(name []byte, apex int) *node {
	if !z.wild {
		return nil
	}
	for off := 1 + int(name[0]); off <= apex; off += 1 + int(name[off]) {
		if !z.exists(name[off:], apex-off) {
			continue
		}
		var room [wire.MaxName]byte
		return z.nodes[string(append(append(room[:0], 1, '*'), name[off:]...))]
	}
	return nil
}

func (z *Zone) exists(name []byte, apex int) bool {
	return z.nodes[string(name)] != nil || 1+int(name[0]) == apex && len(z.lookup(name)) > 0
}
