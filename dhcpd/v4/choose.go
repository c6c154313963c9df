package v4

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

// choose finds an address for a client that has none, in the order of RFC
// 2131 §4.3.1, reservations first. It is the zero Addr if there is none.
func (p *Pool) choose(req *Request, now time.Time) netip.Addr {
	if a, ok := p.reserved(req.MAC); ok {
		return a
	}
	if o := p.offers.byMAC[req.MAC]; o != nil && p.available(o.addr, req.MAC, now) {
		return o.addr
	}
	if l, ok := p.leases.ByMAC(req.MAC); ok && p.available(l.Address, req.MAC, now) {
		return l.Address
	}
	if p.available(req.RequestedIP, req.MAC, now) {
		return req.RequestedIP
	}
	for _, find := range []func(lease.MAC, time.Time) netip.Addr{p.findFree, p.findEnded, p.findPromised} {
		if a := find(req.MAC, now); a.IsValid() {
			return a
		}
	}
	if now.Sub(p.rebuilt) < rebuildTime {
		return netip.Addr{}
	}
	p.rebuild(now) // in case free has lost something
	return p.findFree(req.MAC, now)
}

// reserved returns the address that is fixed for the client, unless it rests.
func (p *Pool) reserved(mac lease.MAC) (netip.Addr, bool) {
	a := p.sub.byMAC[mac].Address
	return a, a.IsValid() && !p.declined.has(a)
}

// permitted says whether the configuration lets the client have the address
// out of the ranges.
func (p *Pool) permitted(a netip.Addr, mac lease.MAC) bool {
	if _, in := p.sub.spans.number(a); !in || !p.sub.usable(a) {
		return false
	}
	owner, reserved := p.sub.byAddr[a]
	return !reserved || owner == mac
}

// available says whether the address may be offered to the client.
func (p *Pool) available(a netip.Addr, mac lease.MAC, now time.Time) bool {
	if !p.permitted(a, mac) || p.declined.has(a) {
		return false
	}
	if o := p.offers.byAddr[a]; o != nil && o.mac != mac {
		return false
	}
	l, leased := p.leases.ByAddr(a)
	return !leased || l.MAC == mac || !l.Live(now)
}

// findFree finds an address that nobody ever had. Where it begins depends on
// the MAC alone, so that a client gets the same address on a host that
// forgot everything.
func (p *Pool) findFree(mac lease.MAC, _ time.Time) netip.Addr {
	if p.sub.spans.size == 0 {
		return netip.Addr{}
	}
	start := int(hash(mac) % uint64(p.sub.spans.size))
	for {
		n, ok := p.free.next(start)
		if !ok {
			return netip.Addr{}
		}
		if a := p.sub.spans.addr(n); p.vacant(a) {
			return a
		}
		p.free.set(n, false)
	}
}

// findEnded finds the address whose lease ended longest ago.
func (p *Pool) findEnded(mac lease.MAC, now time.Time) netip.Addr {
	for range maxTries {
		l, ok := p.leases.Oldest(now)
		if !ok {
			break
		}
		if !p.permitted(l.Address, mac) {
			p.leases.Drop(l.Address)
			continue
		}
		if p.available(l.Address, mac, now) {
			return l.Address
		}
	}
	return netip.Addr{}
}

// findPromised takes the oldest promise away from somebody who has not taken
// it up. So a flood of DISCOVERs from invented addresses cannot hold a pool: a
// real client takes up its offer within milliseconds.
func (p *Pool) findPromised(mac lease.MAC, now time.Time) netip.Addr {
	o := p.offers.front
	for range maxTries {
		if o == nil {
			break
		}
		l, leased := p.leases.ByAddr(o.addr)
		if p.permitted(o.addr, mac) && (!leased || !l.Live(now)) {
			p.recall(o)
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
