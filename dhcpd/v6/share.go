package v6

import (
	"net/netip"
	"time"
)

// hold notes that a client holds an address of a range, for its share.
func (p *Pool) hold(a netip.Addr, c *client) {
	if sub := c.subnet(a); sub != nil && sub.contains(a) {
		p.shares.Hold(a, c.at)
	}
}

func (p *Pool) inUse(a netip.Addr, now time.Time) bool {
	l, leased := p.leases.ByAddr(a)
	return p.offers.byAddr[a] != nil || leased && l.Live(now)
}

// may says whether the client may have one address more, out of those
// that the network can remember.
func (p *Pool) may(c *client, now time.Time) bool {
	return p.shares.May(c.at, min(p.svc.size, maxLeases), now, func(a netip.Addr) bool { return p.inUse(a, now) })
}
