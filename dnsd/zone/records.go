package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vnetd/vnetd/dnsd/wire"
)

// nameRecords are the records of a name so far.
type nameRecords struct {
	alias, other int            // index of one CNAME, and of one other record; -1 is none
	octets       map[uint16]int // in a message, by type
}

// records adds the valid records, and an error for each of the others.
func (b *builder) records(list []Record) {
	if len(list) > MaxRecords {
		b.wrong(MaxRecords, "", "is one too many: a network has at most %d", MaxRecords)
		return
	}
	b.names, b.indexes = map[string]*nameRecords{}, map[string]int{}
	index := make([]int, 0, len(list))
	for i, r := range list {
		p, field, err := parse(r, b.domain)
		if err != nil {
			b.wrong(i, field, "%s", err)
			continue
		}
		if field, why := b.conflict(i, &p); why != "" {
			b.wrong(i, field, "%s", why)
			continue
		}
		b.valid, index = append(b.valid, p), append(index, i)
		b.add(&p)
	}
	for i := range b.valid {
		b.checkChain(index[i], &b.valid[i])
	}
}

// conflict returns the reason why a record is not allowed beside those of its name, or at its
// name, or "".
func (b *builder) conflict(i int, p *parsed) (field, why string) {
	if j, known := b.indexes[p.key()]; known {
		return "", fmt.Sprintf("is a duplicate of records[%d]", j)
	}
	b.indexes[p.key()] = i
	h := b.names[p.name()]
	if h == nil {
		h = &nameRecords{alias: -1, other: -1, octets: map[uint16]int{}}
		b.names[p.name()] = h
	}
	beside := h.alias
	if p.typ == wire.TypeCNAME {
		beside, h.alias = max(h.alias, h.other), i
	} else {
		h.other = i
	}
	const fixed = 12 // a pointer to the owner, type, class, TTL, length
	h.octets[p.typ] += fixed + len(p.data)
	_, ours := covering(b.reverse, netip.PrefixFrom(p.addr, p.addr.BitLen()))
	switch {
	case beside >= 0:
		return "name", fmt.Sprintf("%s is in records[%d], too, and a CNAME must be the only record of its name (RFC 1034 section 3.6.2)", presentation(p.owner), beside)
	case h.octets[p.typ] > maxSet:
		return "value", fmt.Sprintf("makes the name's records of this type larger than %d KiB, the limit of one answer", maxSet>>10)
	case p.addr.IsValid() && !ours:
		return "name", fmt.Sprintf("%s is in none of the network's subnets", p.addr)
	case p.typ == wire.TypeCNAME && string(p.owner) == string(b.domain):
		return "name", "is the domain itself, which has SOA and NS records and cannot be an alias; give it addresses"
	}
	return "", ""
}

// add adds a record to its node.
func (b *builder) add(p *parsed) {
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

// checkChain adds an error for an alias in a loop, or of too long a chain.
// Live names, which are not known here, can only end a chain.
func (b *builder) checkChain(i int, p *parsed) {
	if p.typ != wire.TypeCNAME {
		return
	}
	static := b.Zone
	static.live = nil
	chain := []string{presentation(p.owner)}
	for next := p.target; ; {
		chain = append(chain, presentation(next))
		m := static.lookup(next, wire.TypeA)
		alias := m.alias(wire.TypeA)
		switch {
		case alias == nil:
			return
		case slices.Contains(chain[:len(chain)-1], chain[len(chain)-1]):
			b.wrong(i, "value", "CNAME loop: %s", strings.Join(chain, " → "))
			return
		case len(chain) > maxChain:
			b.wrong(i, "value", "CNAME chain of more than %d names: %s", maxChain, strings.Join(chain, " → "))
			return
		}
		next = alias.records[0].target
	}
}

func (b *builder) wrong(i int, field, format string, args ...any) {
	b.errs = append(b.errs, &Problem{i, field, fmt.Sprintf(format, args...)})
}
