package v4

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

// choose finds an address for a client that has none, in the order of RFC
// 2131 §4.3.1, reservations first, and the subnets in theirs. It is the zero
// Addr if there is none.
func (p *Pool) choose(req *Request, c *client, now time.Time) netip.Addr {
	if r := p.reserved(c, req.RequestedIP, now); r != nil {
		return r.Address
	}
	if o := p.offers.byMAC[c.mac]; o != nil && p.available(o.addr, c, now) {
		return o.addr
	}
	l, had := p.leases.ByMAC(c.mac)
	if had && l.Live(now) && p.available(l.Address, c, now) {
		return l.Address
	}
	fair := *c
	fair.on = p.within(c, now)
	if had && p.available(l.Address, &fair, now) {
		return l.Address
	}
	if p.available(req.RequestedIP, &fair, now) {
		return req.RequestedIP
	}
	for _, find := range []func(*client, time.Time) netip.Addr{p.findFree, p.findEnded, p.findPromised} {
		if a := find(&fair, now); a.IsValid() {
			return a
		}
	}
	if a := p.findHoarded(c, now); a.IsValid() {
		return a
	}
	if now.Sub(p.rebuilt) < rebuildTime {
		return netip.Addr{}
	}
	p.rebuild(now) // in case free has lost something
	return p.findFree(&fair, now)
}

// permitted says whether the configuration lets the client have the address
// out of the ranges.
func (p *Pool) permitted(a netip.Addr, c *client) bool {
	sub := c.subnet(a)
	return sub != nil && sub.gives(a) && p.allotted(a, c)
}

// gives says whether an address is in a range.
func (s *Subnet) gives(a netip.Addr) bool {
	_, in := s.spans.number(a)
	return in && s.usable(a)
}

// allotted says whether no reservation keeps the address from the client.
func (p *Pool) allotted(a netip.Addr, c *client) bool {
	r := p.svc.byAddr[a]
	return r == nil || r.isFor(c)
}

// available says whether the address may be offered to the client.
func (p *Pool) available(a netip.Addr, c *client, now time.Time) bool {
	if !p.permitted(a, c) || p.declined.has(a) {
		return false
	}
	if o := p.offers.byAddr[a]; o != nil && o.mac != c.mac {
		return false
	}
	l, leased := p.leases.ByAddr(a)
	return !leased || l.MAC == c.mac || !l.Live(now)
}

// findFree finds an address that nobody ever had. Where it begins depends on
// the MAC alone, so that a client gets the same address on a host that
// forgot everything.
func (p *Pool) findFree(c *client, _ time.Time) netip.Addr {
	for _, sub := range c.on {
		if a := p.findFreeIn(sub, c.mac); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

func (p *Pool) findFreeIn(sub *Subnet, mac lease.MAC) netip.Addr {
	if sub.spans.size == 0 {
		return netip.Addr{}
	}
	free := p.free[sub.number]
	start := int(hash(mac) % uint64(sub.spans.size))
	for {
		n, ok := free.next(start)
		if !ok {
			return netip.Addr{}
		}
		if a := sub.spans.addr(n); p.vacant(sub, a) {
			return a
		}
		free.set(n, false)
	}
}

// findEnded finds the address whose lease ended longest ago.
func (p *Pool) findEnded(c *client, now time.Time) netip.Addr {
	for range maxTries * len(p.svc.subnets) {
		l, ok := p.leases.Oldest(now)
		if !ok {
			break
		}
		if !p.anybodys(l.Address) {
			p.leases.Drop(l.Address)
			continue
		}
		if p.available(l.Address, c, now) {
			return l.Address
		}
	}
	return netip.Addr{}
}

// anybodys says whether an address is one for clients without a reservation.
func (p *Pool) anybodys(a netip.Addr) bool {
	sub := p.svc.subnet(a)
	return sub != nil && sub.gives(a) && p.svc.byAddr[a] == nil
}

// findPromised takes the oldest promise away from somebody who has not taken
// it up. So a flood of DISCOVERs from invented addresses cannot hold a pool: a
// real client takes up its offer within milliseconds.
func (p *Pool) findPromised(c *client, now time.Time) netip.Addr {
	o := p.offers.front
	for range maxPromises {
		if o == nil {
			break
		}
		l, leased := p.leases.ByAddr(o.addr)
		if p.permitted(o.addr, c) && (!leased || !l.Live(now)) {
			p.recall(o, now)
			return o.addr
		}
		o = o.next
	}
	return netip.Addr{}
}

// findHoarded takes a promise away from somebody who has more than the client:
// what others were offered, and have not taken, must not keep an honest guest
// with many addresses from another one.
func (p *Pool) findHoarded(c *client, now time.Time) netip.Addr {
	o := p.offers.front
	for range maxPromises {
		if o == nil {
			break
		}
		l, leased := p.leases.ByAddr(o.addr)
		if p.permitted(o.addr, c) && p.hoarded(o.addr, c) && (!leased || !l.Live(now)) {
			p.recall(o, now)
			return o.addr
		}
		o = o.next
	}
	return netip.Addr{}
}

// hash is FNV-1a.
func hash(mac lease.MAC) uint64 {
	h := uint64(14695981039346656037)
	for _, o := range mac {
		h = (h ^ uint64(o)) * 1099511628211
	}
	return h ^ h>>32
}
