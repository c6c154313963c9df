package pool

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

// Choose returns an address for a client, in the order of RFC 2131 §4.3.1: its
// reservation, its offer, its lease, its lease that ended, what it asks for, an address
// that was never used, the one with the lease that ended first, and one that is offered to another
// client. Subnets are tried in their order. It returns the zero Addr if there is none.
func (p *Pool) Choose(c *Client, wanted []netip.Addr, now time.Time) netip.Addr {
	var first netip.Addr
	if len(wanted) > 0 && !p.svc.IPv6 {
		first = wanted[0]
	}
	if r := p.Reserved(c, first, now); r != nil {
		return r.Address
	}
	if o := p.offers.byClient[c.Key]; o != nil && p.Available(o.Addr, c, now) {
		return o.Addr
	}
	l, had := p.Leases.ByClient(c.Key)
	if had && l.Live(now) && p.Available(l.Address, c, now) {
		return l.Address
	}
	within := *c
	within.Subnets = p.withinQuota(c, now)
	if had && p.Available(l.Address, &within, now) {
		return l.Address
	}
	for _, a := range wanted {
		if p.Available(a, &within, now) {
			return a
		}
	}
	if a := p.neverUsed(&within); a.IsValid() {
		return a
	}
	if a := p.ended(&within, now); a.IsValid() {
		return a
	}
	if a := p.offeredToOther(&within, false, now); a.IsValid() {
		return a
	}
	// A client with many addresses still gets one that is offered to a port with more.
	if a := p.offeredToOther(c, true, now); a.IsValid() {
		return a
	}
	if now.Sub(p.rebuilt) < rebuildTime {
		return netip.Addr{}
	}
	p.rebuild(now) // in case free has lost something
	return p.neverUsed(&within)
}

// NothingLeft reports whether there is an address for a client that is neither leased nor
// offered.
func (p *Pool) NothingLeft(c *Client, now time.Time) bool {
	return !p.neverUsed(c).IsValid() && !p.ended(c, now).IsValid()
}

// permitted reports whether the configuration allows a client an address of the ranges.
func (p *Pool) permitted(a netip.Addr, c *Client) bool {
	sub, r := c.Subnet(a), p.svc.byAddr[a]
	return sub != nil && sub.InRange(a) && (r == nil || r.IsFor(c))
}

// Available reports whether an address of the ranges may be offered to a client.
func (p *Pool) Available(a netip.Addr, c *Client, now time.Time) bool {
	if !p.permitted(a, c) || p.Quarantined(a) {
		return false
	}
	if o := p.offers.byAddr[a]; o != nil && o.client != c.Key {
		return false
	}
	l, leased := p.Leases.ByAddr(a)
	return !leased || l.Client() == c.Key || !l.Live(now)
}

// neverUsed returns an address that was never used. Where the search begins depends on
// the client alone, so that a client gets the same address on a host that has lost its
// leases. Large ranges, where almost all is free, are probed at pseudo-random numbers.
func (p *Pool) neverUsed(c *Client) netip.Addr {
	if p.svc.IPv6 && p.Leases.Count6() >= MaxLeases6 {
		return netip.Addr{}
	}
	h := hash(c.Key)
	for _, sub := range c.Subnets {
		size, free := sub.ranges.size, p.free[sub.Number]
		if size == 0 {
			continue
		}
		if free.words == nil {
			for i := range uint64(maxScan) {
				if a := sub.ranges.addr((h + i*(h|1)) % size); p.unused(sub, a) {
					return a
				}
			}
			continue
		}
		for {
			n, ok := free.next(h % size)
			if !ok {
				break
			}
			if a := sub.ranges.addr(n); p.unused(sub, a) {
				return a
			}
			free.set(n, false)
		}
	}
	return netip.Addr{}
}

// ended returns the address of the lease that ended first.
func (p *Pool) ended(c *Client, now time.Time) netip.Addr {
	for range maxTries * len(p.svc.Subnets) {
		l, ok := p.Leases.Oldest(p.svc.IPv6, now)
		if !ok {
			break
		}
		if sub := p.svc.Subnet(l.Address); sub == nil || !sub.InRange(l.Address) || p.svc.byAddr[l.Address] != nil {
			p.Leases.Drop(l.Address) // it is not for clients without a reservation
			continue
		}
		if p.Available(l.Address, c, now) {
			return l.Address
		}
	}
	return netip.Addr{}
}

// offeredToOther withdraws the oldest offer of an address that the client may have, and
// returns the address. With fromLarger, it must be of a port that holds more than the
// client's.
func (p *Pool) offeredToOther(c *Client, fromLarger bool, now time.Time) netip.Addr {
	o := p.offers.front
	for range maxScan {
		if o == nil {
			break
		}
		l, leased := p.Leases.ByAddr(o.Addr)
		if p.permitted(o.Addr, c) && !siblings(o.client, c.Key) && (!leased || !l.Live(now)) && (!fromLarger || p.holderHasMore(o.Addr, c)) {
			p.Withdraw(o, now)
			return o.Addr
		}
		o = o.next
	}
	return netip.Addr{}
}

// holderHasMore reports whether the holder of an address has more of its subnet than the
// client.
func (p *Pool) holderHasMore(a netip.Addr, c *Client) bool {
	q, _ := p.quotaOf(p.svc.Subnet(a))
	h, held := q.holder[a]
	return held && h != c.Origin && q.more(h, c.Origin)
}

// A Reason explains a decision, in replies, the log and metrics.
type Reason string

// The reasons that IPv4 and IPv6 share.
const (
	Bound       Reason = "bound"
	Renewed     Reason = "renewed"
	Informed    Reason = "informed"
	Released    Reason = "released"
	Declined    Reason = "declined"
	OverQuota   Reason = "port is over its quota of addresses"
	Exhausted   Reason = "no address left"
	NoRanges    Reason = "no ranges and no reservation"
	OtherServer Reason = "for another server"
	NoSubnet    Reason = "no subnet for this relay"
	NotLeased   Reason = "client has no such lease"
)

// ExhaustedReason returns why there is no address for a client.
func (p *Pool) ExhaustedReason(c *Client, now time.Time) Reason {
	if len(p.withinQuota(c, now)) < len(c.Subnets) {
		return OverQuota
	}
	for _, sub := range c.Subnets {
		if sub.ranges.size > 0 {
			return Exhausted
		}
	}
	return NoRanges
}

// hash is FNV-1a, in IPv6 with Murmur3's mixer behind it, for all of its bits to count.
func hash(c lease.Client) uint64 {
	h := uint64(14695981039346656037)
	for _, o := range c.MAC {
		h = (h ^ uint64(o)) * 1099511628211
	}
	if c.DUID == "" {
		return h ^ h>>32
	}
	for i := range len(c.DUID) {
		h = (h ^ uint64(c.DUID[i])) * 1099511628211
	}
	var id [4]byte
	binary.BigEndian.PutUint32(id[:], c.IAID)
	for _, o := range id {
		h = (h ^ uint64(o)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
