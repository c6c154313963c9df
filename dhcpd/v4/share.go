package v4

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
)

// hold notes that a port holds an address of a range.
func (p *Pool) hold(a netip.Addr, port fair.Port) {
	if sub := p.svc.subnet(a); sub != nil && sub.gives(a) {
		p.shares[sub.number].Hold(a, port)
	}
}

// holder returns the port that holds an address, if that is known.
func (p *Pool) holder(a netip.Addr) (fair.Port, bool) {
	if sub := p.svc.subnet(a); sub != nil {
		return p.shares[sub.number].Holder(a)
	}
	return 0, false
}

// letGo notes that nobody holds an address, unless somebody does.
func (p *Pool) letGo(a netip.Addr, now time.Time) {
	if sub := p.svc.subnet(a); sub != nil && !p.inUse(a, now) {
		p.shares[sub.number].Free(a)
	}
}

func (p *Pool) inUse(a netip.Addr, now time.Time) bool {
	l, leased := p.leases.ByAddr(a)
	return p.offers.byAddr[a] != nil || leased && l.Live(now)
}

// within are the client's subnets in which its port may have one address more.
// Nearly always that is all of them.
func (p *Pool) within(c *client, now time.Time) []*Subnet {
	inUse := func(a netip.Addr) bool { return p.inUse(a, now) }
	for i, sub := range c.on {
		if p.shares[sub.number].May(c.port, uint64(sub.spans.size), now, inUse) {
			continue
		}
		fair := append([]*Subnet(nil), c.on[:i]...)
		for _, sub := range c.on[i+1:] {
			if p.shares[sub.number].May(c.port, uint64(sub.spans.size), now, inUse) {
				fair = append(fair, sub)
			}
		}
		return fair
	}
	return c.on
}

// greedy says whether a client asks for an address that is more than its port's
// share.
func (p *Pool) greedy(a netip.Addr, c *client, now time.Time) bool {
	if port, ok := p.holder(a); ok && port == c.port {
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

// hoarded says whether an address is held by a port that holds more of its subnet
// than the client's.
func (p *Pool) hoarded(a netip.Addr, c *client) bool {
	port, known := p.holder(a)
	if !known || port == c.port {
		return false
	}
	s := &p.shares[p.svc.subnet(a).number]
	return s.Held(port) > s.Held(c.port)
}
