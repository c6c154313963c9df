package v6

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

const (
	maxTries = 32   // of candidates that turn out to be taken
	maxScan  = 4096 // places of a range that are looked at
	fullTime = time.Second
)

// choose finds an address for a client that has none, reservations first. It
// is the zero Addr if there is none. wishes are what the client asked for.
func (p *Pool) choose(c *client, wishes []netip.Addr, now time.Time) netip.Addr {
	if a, ok := p.reserved(c, now); ok {
		return a
	}
	if o := p.offers.byClient[c.Client]; o != nil && p.available(o.addr, c, now) {
		return o.addr
	}
	l, had := p.leases.ByClient(c.Client)
	if had && l.Live(now) && p.available(l.Address, c, now) {
		return l.Address
	}
	if !p.may(c, now) {
		return netip.Addr{}
	}
	if had && p.available(l.Address, c, now) {
		return l.Address
	}
	for _, a := range wishes {
		if p.available(a, c, now) {
			return a
		}
	}
	for _, find := range []func(*client, time.Time) netip.Addr{p.findFree, p.findEnded, p.findPromised} {
		if a := find(c, now); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

// reserved returns the address that is fixed for the client, unless it rests or
// another association of the same client has it.
func (p *Pool) reserved(c *client, now time.Time) (netip.Addr, bool) {
	for r := range p.svc.reservations(c) {
		if c.subnet(r.Address) == nil || p.declined.has(r.Address) || p.sibling(r.Address, c, now) || p.occupied(r, c, now) {
			continue
		}
		return r.Address, true
	}
	return netip.Addr{}, false
}

// sibling says whether another association of the same client has an address.
// The same MAC with another DUID is a guest that was installed anew.
func (p *Pool) sibling(a netip.Addr, c *client, now time.Time) bool {
	if o := p.offers.byAddr[a]; o != nil && siblings(o.client, c.Client) {
		return true
	}
	l, ok := p.leases.ByAddr(a)
	return ok && l.Live(now) && siblings(l.Client(), c.Client)
}

func siblings(a, b lease.Client) bool { return a != b && a.MAC == b.MAC && a.DUID == b.DUID }

// permitted says whether the configuration lets the client have the address
// out of the ranges.
func (p *Pool) permitted(a netip.Addr, c *client) bool {
	sub := c.subnet(a)
	if sub == nil || !sub.contains(a) || !sub.usable(a) {
		return false
	}
	r := p.svc.byAddr[a]
	return r == nil || r.isFor(c)
}

// available says whether the address may be given to the client.
func (p *Pool) available(a netip.Addr, c *client, now time.Time) bool {
	if !p.permitted(a, c) || p.declined.has(a) {
		return false
	}
	if o := p.offers.byAddr[a]; o != nil && o.client != c.Client {
		return false
	}
	l, leased := p.leases.ByAddr(a)
	return !leased || l.Client() == c.Client || !l.Live(now)
}

// findFree finds an address that nobody ever had. Where it looks depends on
// the client alone, so that a client gets the same address on a host that
// forgot everything. A range is never enumerated: a small one is looked through,
// in a large one, where almost all is free, places are tried at random.
func (p *Pool) findFree(c *client, now time.Time) netip.Addr {
	if now.Before(p.full) || p.leases.Count6() >= maxLeases {
		return netip.Addr{}
	}
	h := hash(c.Client)
	for _, sub := range c.on {
		for j := range sub.spans {
			if a := p.findIn(&sub.spans[j], h, c); a.IsValid() {
				return a
			}
		}
	}
	if len(c.on) == len(p.svc.subnets) {
		p.full = now.Add(fullTime)
	}
	return netip.Addr{}
}

func (p *Pool) findIn(s *span, h uint64, c *client) netip.Addr {
	tries, step := uint64(maxScan), h|1
	if s.last < maxScan {
		tries, step = s.last+1, 1
	}
	for i := range tries {
		if a := s.at(h%max(1, s.last) + i*step); p.vacant(a, c) {
			return a
		}
	}
	return netip.Addr{}
}

// vacant says whether nobody has or had the address.
func (p *Pool) vacant(a netip.Addr, c *client) bool {
	if !p.permitted(a, c) || p.declined.has(a) || p.offers.byAddr[a] != nil {
		return false
	}
	_, leased := p.leases.ByAddr(a)
	return !leased
}

// findEnded finds the address whose lease ended longest ago.
func (p *Pool) findEnded(c *client, now time.Time) netip.Addr {
	for range maxTries * len(p.svc.subnets) {
		l, ok := p.leases.Oldest6(now)
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
	return sub != nil && sub.contains(a) && sub.usable(a) && p.svc.byAddr[a] == nil
}

// findPromised takes the oldest promise away from somebody who has not taken
// it up. So a flood of SOLICITs from invented clients cannot hold a pool: a
// real one takes up its offer within milliseconds.
func (p *Pool) findPromised(c *client, now time.Time) netip.Addr {
	o := p.offers.front
	for range maxTries * len(p.svc.subnets) {
		if o == nil {
			break
		}
		l, leased := p.leases.ByAddr(o.addr)
		if p.permitted(o.addr, c) && !siblings(o.client, c.Client) && (!leased || !l.Live(now)) {
			p.recall(o)
			return o.addr
		}
		o = o.next
	}
	return netip.Addr{}
}

// hash is FNV-1a, and a mixer behind it for all of its bits to count (Murmur3).
func hash(c lease.Client) uint64 {
	h := uint64(14695981039346656037)
	add := func(o byte) { h = (h ^ uint64(o)) * 1099511628211 }
	for _, o := range c.MAC {
		add(o)
	}
	for i := range len(c.DUID) {
		add(c.DUID[i])
	}
	var id [4]byte
	binary.BigEndian.PutUint32(id[:], c.IAID)
	for _, o := range id {
		add(o)
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
