package v4

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// maxBeside bounds the holders that are remembered of addresses outside of the ranges,
// beside those of reservations.
const maxBeside = 4096

// hold notes that a guest holds an address. One that is in no range, a reserved one
// say, counts for no share.
func (p *Pool) hold(a netip.Addr, g fair.Guest) {
	sub := p.svc.subnet(a)
	switch {
	case sub == nil:
	case sub.gives(a):
		p.shares[sub.number].Hold(a, g)
	case g.Port > 0 && (len(p.beside) < maxBeside || p.svc.byAddr[a] != nil):
		p.beside[a] = g
	}
}

// holder returns the guest that holds an address, if that is known.
func (p *Pool) holder(a netip.Addr) (fair.Guest, bool) {
	if g, ok := p.beside[a]; ok {
		return g, true
	}
	if sub := p.svc.subnet(a); sub != nil {
		return p.shares[sub.number].Holder(a)
	}
	return fair.Guest{}, false
}

// restore notes who has a lease that is older than the pool, as far as is known: of a
// lease from before the host booted it is not, since ports have other indexes then.
func (p *Pool) restore(l *lease.Lease) {
	g := fair.Guest{Port: fair.Port(l.Port)}
	if l.Relay {
		g.Circuit = fair.AnyCircuit
	}
	if _, known := p.holder(l.Address); !known && g.Port > 0 {
		p.hold(l.Address, g)
	}
}

// where notes in a lease who has it.
func where(l *lease.Lease, g fair.Guest) {
	l.Port, l.Relay = 0, false
	if g.Port > 0 && g.Circuit != fair.Unproven {
		l.Port, l.Relay = int32(g.Port), g.Circuit != 0
	}
}

// letGo notes that no client holds an address, unless one does.
func (p *Pool) letGo(a netip.Addr, now time.Time) {
	if sub := p.svc.subnet(a); sub != nil && !p.inUse(a, now) {
		p.shares[sub.number].Free(a)
		delete(p.beside, a)
	}
}

func (p *Pool) inUse(a netip.Addr, now time.Time) bool {
	l, leased := p.leases.ByAddr(a)
	return p.offers.byAddr[a] != nil || leased && l.Live(now)
}

// within are the client's subnets in which it may have one address more.
// Nearly always that is all of them.
func (p *Pool) within(c *client, now time.Time) []*Subnet {
	inUse := func(a netip.Addr) bool { return p.inUse(a, now) }
	for i, sub := range c.on {
		if p.shares[sub.number].May(c.at, uint64(sub.spans.size), now, inUse) {
			continue
		}
		fair := append([]*Subnet(nil), c.on[:i]...)
		for _, sub := range c.on[i+1:] {
			if p.shares[sub.number].May(c.at, uint64(sub.spans.size), now, inUse) {
				fair = append(fair, sub)
			}
		}
		return fair
	}
	return c.on
}

// greedy says whether a client asks for an address that is more than its share.
func (p *Pool) greedy(a netip.Addr, c *client, now time.Time) bool {
	if g, ok := p.holder(a); ok && g == c.at {
		return false
	}
	sub := c.subnet(a)
	for _, s := range p.within(c, now) {
		if s == sub {
			return false
		}
	}
	return true
}

// hoarded says whether an address is held by somebody who holds more of its subnet
// than the client does.
func (p *Pool) hoarded(a netip.Addr, c *client) bool {
	g, known := p.holder(a)
	return known && g != c.at && p.shares[p.svc.subnet(a).number].More(g, c.at)
}
