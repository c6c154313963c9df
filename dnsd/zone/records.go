package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// records adds those that can be served, and complains about the others.
func (b *builder) records(list []Record) {
	if len(list) > MaxRecords {
		b.wrong(MaxRecords, "", "is one too many: a network has at most %d", MaxRecords)
		return
	}
	b.names, b.said = map[string]*has{}, map[string]int{}
	index := make([]int, 0, len(list))
	for i, r := range list {
		p, field, err := parse(r, b.domain)
		if err != nil {
			b.wrong(i, field, "%s", err)
			continue
		}
		if b.fits(i, &p) {
			b.given, index = append(b.given, p), append(index, i)
			b.take(&p)
		}
	}
	for i := range b.given {
		b.followAlias(index[i], &b.given[i])
	}
}

// has is what a name has of records so far.
type has struct {
	alias, other int            // one of its CNAMEs, and one of its other records; -1 is none
	octets       map[uint16]int // in a message, by type
}

// fits reports whether a record can be served beside those of its name.
func (b *builder) fits(i int, p *parsed) bool {
	field, why := b.beside(i, p)
	if why == "" {
		field, why = b.alone(p)
	}
	if why != "" {
		b.wrong(i, field, "%s", why)
	}
	return why == ""
}

// beside says why a record cannot stand beside those of its name, or "".
func (b *builder) beside(i int, p *parsed) (field, why string) {
	if j, said := b.said[p.key()]; said {
		return "", fmt.Sprintf("is given already in records[%d]", j)
	}
	b.said[p.key()] = i
	h := b.names[p.name()]
	if h == nil {
		h = &has{alias: -1, other: -1, octets: map[uint16]int{}}
		b.names[p.name()] = h
	}
	alone := h.alias
	if p.typ == wire.TypeCNAME {
		alone, h.alias = max(h.alias, h.other), i
	} else {
		h.other = i
	}
	const fixed = 12 // a pointer to the owner, type, class, TTL, length
	h.octets[p.typ] += fixed + len(p.data)
	switch {
	case alone >= 0:
		return "name", fmt.Sprintf("%s is in records[%d], too, and a CNAME stands alone (RFC 1034 section 3.6.2)", presentation(p.owner), alone)
	case h.octets[p.typ] > maxSet:
		return "value", fmt.Sprintf("makes the name's records of this type larger than %d KiB, which one answer cannot hold", maxSet>>10)
	}
	return "", ""
}

// alone says why a record cannot have its name, or "".
func (b *builder) alone(p *parsed) (field, why string) {
	_, ours := covering(b.reverse, netip.PrefixFrom(p.addr, p.addr.BitLen()))
	switch {
	case p.addr.IsValid() && !ours:
		return "name", fmt.Sprintf("%s is in none of the network's subnets", p.addr)
	case p.typ == wire.TypeCNAME && string(p.owner) == string(b.domain):
		return "name", "is the domain itself, which has records of its own (SOA, NS) and cannot be an alias; give it addresses"
	}
	return "", ""
}

// take puts a record where it is looked for.
func (b *builder) take(p *parsed) {
	if p.addr.IsValid() {
		s := b.ptr[p.addr]
		if s == nil {
			s = &rrset{typ: p.typ, ttl: p.ttl}
			b.ptr[p.addr] = s
		}
		s.ttl, s.records = min(s.ttl, p.ttl), append(s.records, p.record)
		return
	}
	apex, _ := wire.Under(p.owner, b.domain)
	b.node(p.owner, apex).put(p.typ, p.ttl, p.record)
	b.between(p.owner, apex)
	b.wild = b.wild || p.owner[1] == '*'
	switch p.typ {
	case wire.TypeA, wire.TypeAAAA, wire.TypeCNAME:
		b.claimed[string(p.owner)] = true
	}
}

// followAlias complains about aliases that lead back to themselves, or too far.
// Live names, which are not known here, can only end a chain.
func (b *builder) followAlias(i int, p *parsed) {
	if p.typ != wire.TypeCNAME {
		return
	}
	static := b.Zone
	static.live = nil
	way := []string{presentation(p.owner)}
	for next := p.target; ; {
		way = append(way, presentation(next))
		m := static.own(next, wire.TypeA)
		alias := m.alias(wire.TypeA)
		switch {
		case alias == nil:
			return
		case slices.Contains(way[:len(way)-1], way[len(way)-1]):
			b.wrong(i, "value", "leads in a circle: %s", strings.Join(way, " → "))
			return
		case len(way) > maxChain:
			b.wrong(i, "value", "leads on for more than %d names: %s", maxChain, strings.Join(way, " → "))
			return
		}
		next = alias.records[0].target
	}
}

func (b *builder) wrong(i int, field, format string, args ...any) {
	b.errs = append(b.errs, &Problem{i, field, fmt.Sprintf(format, args...)})
}
