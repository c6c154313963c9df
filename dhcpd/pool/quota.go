package pool

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

const (
	// quotaFactor: an origin may get another address while it holds less than so many
	// times what is free. So one port can have 16 of 17 parts of a pool, a second one
	// 16 of 17 parts of the rest, and one that holds nothing gets the last address.
	quotaFactor = 16
	pruneTime   = time.Second

	// maxOutside bounds the holders that are remembered of addresses outside of the
	// ranges, beside those of reservations.
	maxOutside = 4096
)

// beforeStart holds what was held before this process knew of ports.
const beforeStart fair.Port = -2

// A quota counts the addresses that ports, and circuits behind a port, hold.
type quota struct {
	holder map[netip.Addr]fair.Origin
	held   map[fair.Origin]int // a port without a circuit: of all of its circuits
	pruned time.Time
}

// hold notes that an origin holds an address. A client behind a relay also sends
// without the relay, and stays where it was.
func (q *quota) hold(a netip.Addr, o fair.Origin) {
	if q.holder == nil {
		q.holder, q.held = map[netip.Addr]fair.Origin{}, map[fair.Origin]int{}
	}
	if was := q.holder[a]; o.Circuit == 0 && was.Circuit != 0 && was.Circuit != fair.Unverified && o.Port == was.Port {
		return
	}
	q.release(a)
	q.holder[a] = o
	q.count(o, 1)
}

func (q *quota) release(a netip.Addr) {
	if o, ok := q.holder[a]; ok {
		delete(q.holder, a)
		q.count(o, -1)
	}
}

func (q *quota) count(o fair.Origin, n int) {
	for _, key := range [...]fair.Origin{o, {Port: o.Port}} {
		if q.held[key] += n; q.held[key] == 0 {
			delete(q.held, key)
		}
		if o.Circuit == 0 {
			return
		}
	}
}

// more reports whether a holds more than b: ports are compared with ports, and the
// circuits of one port with one another.
func (q *quota) more(a, b fair.Origin) bool {
	if a.Port != b.Port {
		a.Circuit, b.Circuit = 0, 0
	}
	return q.held[a] > q.held[b]
}

// allows reports whether an origin may get another address of a pool of size. Addresses
// that inUse does not report any more are released, once a second at most.
func (q *quota) allows(o fair.Origin, size uint64, now time.Time, inUse func(netip.Addr) bool) bool {
	fits := func() bool {
		used := uint64(len(q.holder))
		below := func(held int) bool {
			return held == 0 || used+1 < size && uint64(held) < quotaFactor*min(size-used-1, 1<<32)
		}
		return below(q.held[o]) && below(q.held[fair.Origin{Port: o.Port}])
	}
	if o.Port == fair.Untracked || fits() {
		return true
	}
	if now.Sub(q.pruned) < pruneTime {
		return false
	}
	q.pruned = now
	for a := range q.holder {
		if !inUse(a) {
			q.release(a)
		}
	}
	return fits()
}

// quotaOf returns the quota of a subnet and the number of addresses that it divides. In
// IPv6 there is one for all subnets.
func (p *Pool) quotaOf(sub *Subnet) (q *quota, size uint64) {
	if p.svc.IPv6 {
		return &p.quotas[0], min(p.svc.size, MaxLeases6)
	}
	return &p.quotas[sub.Number], sub.ranges.size
}

// hold notes that an origin holds an address. One outside of the ranges, a reserved one
// say, counts for no quota.
func (p *Pool) hold(a netip.Addr, o fair.Origin) {
	sub := p.svc.Subnet(a)
	switch {
	case sub == nil:
	case sub.InRange(a):
		q, _ := p.quotaOf(sub)
		q.hold(a, o)
	case o.Port > 0 && (len(p.outside) < maxOutside || p.svc.byAddr[a] != nil):
		p.outside[a] = o
	}
}

// holder returns the origin that holds an address, if it is known.
func (p *Pool) holder(a netip.Addr) (fair.Origin, bool) {
	if o, ok := p.outside[a]; ok {
		return o, true
	}
	sub := p.svc.Subnet(a)
	if sub == nil {
		return fair.Origin{}, false
	}
	q, _ := p.quotaOf(sub)
	o, ok := q.holder[a]
	return o, ok && o.Port > 0
}

// restore notes the origin of a lease that is older than the pool, as far as it is known.
// Of a lease from before the host booted it is not: ports have other indexes then.
func (p *Pool) restore(l *lease.Lease) {
	o := fair.Origin{Port: fair.Port(l.Port)}
	if l.Relay {
		o.Circuit = fair.AnyCircuit
	}
	if _, known := p.holder(l.Address); !known && o.Port > 0 {
		p.hold(l.Address, o)
	}
	if sub := p.svc.Subnet(l.Address); sub != nil && sub.InRange(l.Address) {
		q, _ := p.quotaOf(sub)
		if _, held := q.holder[l.Address]; !held {
			q.hold(l.Address, fair.Origin{Port: beforeStart})
		}
	}
}

// inUse reports whether an address is offered or leased.
func (p *Pool) inUse(a netip.Addr, now time.Time) bool {
	l, leased := p.Leases.ByAddr(a)
	return p.offers.byAddr[a] != nil || leased && l.Live(now)
}

// withinQuota returns the client's subnets in which it may have another address.
// Nearly always that is all of them.
func (p *Pool) withinQuota(c *Client, now time.Time) []*Subnet {
	inUse := func(a netip.Addr) bool { return p.inUse(a, now) }
	allows := func(sub *Subnet) bool {
		q, size := p.quotaOf(sub)
		return q.allows(c.Origin, size, now, inUse)
	}
	for i, sub := range c.Subnets {
		if allows(sub) {
			continue
		}
		rest := append([]*Subnet(nil), c.Subnets[:i]...)
		for _, sub := range c.Subnets[i+1:] {
			if allows(sub) {
				rest = append(rest, sub)
			}
		}
		return rest
	}
	return c.Subnets
}

// OverQuota reports whether an address that a client asks for exceeds its quota. One that
// its origin holds does not, be it by an offer that was another port's.
func (p *Pool) OverQuota(a netip.Addr, c *Client, now time.Time) bool {
	sub := c.Subnet(a)
	if sub != nil {
		if q, _ := p.quotaOf(sub); q.holder[a] == c.Origin {
			return false
		}
	}
	for _, s := range p.withinQuota(c, now) {
		if s == sub {
			return false
		}
	}
	return true
}
