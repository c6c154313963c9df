package zone

import (
	"net/netip"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// A match is the result of a lookup.
type match struct {
	zone   *Zone
	result result
	top    bool // the name is the zone's apex
	apex   int  // offset of the apex in the name
	sets   []rrset
	addrs  []netip.Addr // of a live name
}

type result uint8

const (
	notAuthoritative result = iota
	nxDomain
	found
)

// alias returns the CNAME that answers a query for a type, or nil.
func (m *match) alias(typ uint16) *rrset {
	if typ == wire.TypeCNAME || typ == wire.TypeANY {
		return nil
	}
	return set(m.sets, wire.TypeCNAME)
}

// find looks up a name in the zone and its peers: in the one with the longest domain that it
// is in. name is in wire form and lower case.
func (z *Zone) find(name []byte, typ uint16) match {
	m := z.lookup(name, typ)
	if m.result == found || len(z.peers) == 0 {
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
	return home.lookup(name, typ)
}

// lookup looks up a name in this zone only: exact names first, then live ones,
// then wildcards. In a shared domain names without records here, and other types of the
// domain's own name, are left to the other server.
func (z *Zone) lookup(name []byte, typ uint16) match {
	single := name[0] != 0 && name[1+name[0]] == 0
	if n := z.nodes[string(name)]; n != nil && (!z.shared || len(n.sets) > 0 && (!n.top || set(n.sets, typ) != nil)) {
		if single && !n.top && ofTopLevel(typ) {
			return match{zone: z}
		}
		return match{zone: z, result: found, sets: n.sets, apex: n.apex, top: n.top}
	}
	off, inside := wire.Under(name, z.domain)
	if !inside {
		m := match{zone: z}
		if single && !ofTopLevel(typ) {
			if m.addrs = z.liveAddrs(name); len(m.addrs) > 0 {
				m.result = found
			}
		}
		return m
	}
	m := match{zone: z, apex: off}
	if 1+int(name[0]) == off {
		if m.addrs = z.liveAddrs(name); len(m.addrs) > 0 {
			m.result = found
			return m
		}
	}
	if n := z.wildcard(name, off); n != nil {
		m.result, m.sets = found, n.sets
	} else if !z.shared {
		m.result = nxDomain
	}
	return m
}

// wildcard returns the node that covers a name without a node: "*"
// under its closest encloser, the longest of its parents that exists (RFC 4592
// §3.3.1).
func (z *Zone) wildcard(name []byte, apex int) *node {
	if !z.wild {
		return nil
	}
	for off := 1 + int(name[0]); off <= apex; off += 1 + int(name[off]) {
		parent := name[off:]
		if z.nodes[string(parent)] == nil && (1+int(parent[0]) != apex-off || len(z.liveAddrs(parent)) == 0) {
			continue
		}
		var room [wire.MaxName]byte
		return z.nodes[string(append(append(room[:0], 1, '*'), parent...))]
	}
	return nil
}
