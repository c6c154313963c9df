package pool

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

const (
	offerTime      = time.Minute // for which an offer is kept
	QuarantineTime = 10 * time.Minute
	maxOffers      = 1 << 16
	maxQuarantined = 1 << 12
	MaxLeases6     = 1 << 16 // of IPv6 that are remembered of a network; ended ones give way
	maxTries       = 32      // of candidates that turn out to be taken
	maxScan        = 4096    // offers, or numbers of a large range, that are looked at
	rebuildTime    = 10 * time.Second
)

// A Pool knows which addresses of a service may be given to a client: offers,
// quarantine, and an index of free addresses in which one is found as fast when few
// are left. It has no lock: one goroutine at a time.
type Pool struct {
	svc    *Service
	Leases *lease.Network // of the network
	offers offers

	quarantined map[netip.Addr]time.Time // until when
	quarantine  []netip.Addr             // the same, in order

	// free holds, for each subnet, the numbers of addresses that were never used: in a
	// range, usable, not reserved, without a lease, an offer or quarantine. It may lag
	// behind the leases, so its members are checked. Ranges that are too large have none.
	free    []bitmap
	stale   []netip.Addr // that the next Expire enters in free
	rebuilt time.Time
	quotas  []quota                    // of each subnet; in IPv6 one
	outside map[netip.Addr]fair.Origin // holders of addresses that are in no range
}

// New returns a pool for a service with its leases.
func New(s *Service, leases *lease.Network, now time.Time) *Pool {
	p := &Pool{
		Leases: leases, offers: offers{byClient: map[lease.Client]*Offer{}, byAddr: map[netip.Addr]*Offer{}},
		quarantined: map[netip.Addr]time.Time{}, outside: map[netip.Addr]fair.Origin{},
	}
	p.SetService(s, now)
	return p
}

// SetService changes the configuration. Leases and offers stay; those that it does not
// allow any more are refused at the client's next message.
func (p *Pool) SetService(s *Service, now time.Time) {
	p.svc = s
	p.rebuild(now)
	old, outside := p.quotas, p.outside
	p.quotas, p.outside = make([]quota, max(1, len(s.Subnets))), map[netip.Addr]fair.Origin{}
	for a, o := range outside {
		p.hold(a, o)
	}
	for i := range old {
		for a, o := range old[i].holder {
			p.hold(a, o)
		}
	}
	p.Leases.Each(func(l *lease.Lease) bool {
		if l.Live(now) && l.Address.Is6() == s.IPv6 {
			p.restore(l)
		}
		return true
	})
}

// rebuild makes free from the configuration, the offers, the quarantine and the leases.
func (p *Pool) rebuild(now time.Time) {
	p.rebuilt = now
	p.stale = p.stale[:0]
	p.free = p.free[:0]
	limit := uint64(maxBitmap)
	if p.svc.IPv6 {
		limit = maxBitmap6
	}
	for _, sub := range p.svc.Subnets {
		if sub.ranges.size > limit {
			p.free = append(p.free, bitmap{})
			continue
		}
		b := newBitmap(sub.ranges.size)
		for n := range sub.ranges.size {
			b.set(n, true)
		}
		p.free = append(p.free, b)
		for _, a := range []netip.Addr{sub.Server, sub.Prefix.Addr(), sub.Broadcast} {
			if !sub.Usable(a) {
				p.setFree(a, false)
			}
		}
	}
	for a := range p.svc.byAddr {
		p.setFree(a, false)
	}
	for a := range p.offers.byAddr {
		p.setFree(a, false)
	}
	for a := range p.quarantined {
		p.setFree(a, false)
	}
	p.Leases.Each(func(l *lease.Lease) bool {
		p.setFree(l.Address, false)
		return true
	})
}

// setFree enters in free whether an address was never used, if that is known.
func (p *Pool) setFree(a netip.Addr, free bool) {
	sub := p.svc.Subnet(a)
	if sub == nil || p.free[sub.Number].words == nil {
		return
	}
	if n, ok := sub.ranges.number(a); ok {
		p.free[sub.Number].set(n, free)
	}
}

// update enters the state of an address in free.
func (p *Pool) update(a netip.Addr) { p.setFree(a, p.unused(p.svc.Subnet(a), a)) }

// unused reports whether an address of a subnet is neither used nor reserved, and never
// was leased.
func (p *Pool) unused(sub *Subnet, a netip.Addr) bool {
	if sub == nil || p.svc.byAddr[a] != nil || !sub.Usable(a) || p.offers.byAddr[a] != nil || p.Quarantined(a) {
		return false
	}
	_, leased := p.Leases.ByAddr(a)
	return !leased
}

// Expire ends the offers and the quarantines that are over, and catches up with the leases.
func (p *Pool) Expire(now time.Time) {
	for _, a := range p.stale {
		p.update(a)
	}
	p.stale = p.stale[:0]
	for o := p.offers.front; o != nil && !now.Before(o.until); o = p.offers.front {
		p.Withdraw(o, now)
	}
	for len(p.quarantine) > 0 && !now.Before(p.quarantined[p.quarantine[0]]) {
		p.endQuarantine()
	}
}

// Offer keeps an address for a client.
func (p *Pool) Offer(c *Client, a netip.Addr, now time.Time) *Offer {
	if o := p.offers.byAddr[a]; o != nil && o.client != c.Key {
		p.Withdraw(o, now)
	}
	o := p.offers.byClient[c.Key]
	if o != nil && o.Addr != a {
		p.Withdraw(o, now)
		o = nil
	}
	if o == nil {
		if len(p.offers.byClient) >= maxOffers {
			p.Withdraw(p.offers.front, now)
		}
		o = &Offer{client: c.Key, Addr: a}
	} else {
		p.offers.remove(o)
	}
	o.until = now.Add(offerTime)
	p.offers.add(o)
	p.update(a)
	if l, leased := p.Leases.ByAddr(a); !leased || !l.Live(now) {
		p.hold(a, c.Origin) // else it belongs to the lease, wherever this message came from
	}
	return o
}

// Len returns the number of offers, and of addresses in quarantine.
func (p *Pool) Len() (offers, quarantined int) { return len(p.offers.byAddr), len(p.quarantine) }

// OfferTo returns the offer that a client has, or nil.
func (p *Pool) OfferTo(c lease.Client) *Offer { return p.offers.byClient[c] }

// OfferOf returns the offer of an address, or nil.
func (p *Pool) OfferOf(a netip.Addr) *Offer { return p.offers.byAddr[a] }

// Withdraw ends an offer, which may be nil.
func (p *Pool) Withdraw(o *Offer, now time.Time) {
	if o == nil {
		return
	}
	p.offers.remove(o)
	p.update(o.Addr)
	if sub := p.svc.Subnet(o.Addr); sub != nil && !p.inUse(o.Addr, now) {
		q, _ := p.quotaOf(sub)
		q.release(o.Addr)
		delete(p.outside, o.Addr)
	}
}

// Quarantine withholds an address that another host uses, or that was declined, and
// withdraws its offer.
func (p *Pool) Quarantine(a netip.Addr, now time.Time) {
	p.Withdraw(p.offers.byAddr[a], now)
	if p.Quarantined(a) {
		return
	}
	for uint64(len(p.quarantine)) >= max(1, min(p.svc.size/4, maxQuarantined)) {
		p.endQuarantine()
	}
	p.quarantined[a] = now.Add(QuarantineTime)
	p.quarantine = append(p.quarantine, a)
	p.update(a)
}

// endQuarantine ends the oldest quarantine.
func (p *Pool) endQuarantine() {
	a := p.quarantine[0]
	p.quarantine = p.quarantine[1:]
	delete(p.quarantined, a)
	p.update(a)
}

// Quarantined reports whether an address is in quarantine.
func (p *Pool) Quarantined(a netip.Addr) bool {
	_, ok := p.quarantined[a]
	return ok
}

// ConfirmUnused notes that the address offered to a client was probed, and that no other
// host answered.
func (p *Pool) ConfirmUnused(mac lease.MAC, a netip.Addr) {
	if o := p.offers.byAddr[a]; o != nil && o.client.MAC == mac {
		o.Probed, o.Unsent = true, false
	}
}

// NeedsProbe reports whether an address should be probed before a client gets it: another
// client had it last, or, in IPv4 and unless it is reserved for the client, it is not known
// that the client had it. IPv6 clients probe themselves (RFC 4862 §5.4).
func (p *Pool) NeedsProbe(a netip.Addr, c *Client) bool {
	if o := p.offers.byAddr[a]; p.svc.Subnet(a).Relayed || o != nil && o.Probed && o.client == c.Key {
		return false
	}
	l, had := p.Leases.ByAddr(a)
	if r := p.svc.byAddr[a]; p.svc.IPv6 || r != nil && r.IsFor(c) {
		return r != nil && had && l.MAC != c.Key.MAC
	}
	return !had || l.MAC != c.Key.MAC
}

// A Binding is a lease that is to be stored.
type Binding struct {
	Lease   lease.Lease
	Renewed bool // else it is a new lease
	moves   bool // the lease is now held where the client is
}

// Bind returns the lease with which a client gets an address, or extends it. clientID is
// option 61 of IPv4. Commit follows.
func (p *Pool) Bind(c *Client, a netip.Addr, seconds uint32, clientID []byte, now time.Time) Binding {
	had, ok := p.Leases.ByClient(c.Key)
	b := Binding{
		Lease:   lease.Lease{MAC: c.Key.MAC, DUID: c.Key.DUID, IAID: c.Key.IAID, Address: a, Start: now, ClientID: had.ClientID},
		Renewed: ok && had.Address == a && had.Live(now), moves: true,
	}
	l := &b.Lease
	l.Hostname, l.Wanted = p.Hostname(c, had.Wanted, now)
	if had.ClientID != string(clientID) {
		l.ClientID = string(clientID)
	}
	if b.Renewed {
		l.Start = had.Start
		h, known := p.holder(a)
		// A client behind a relay sends without it between two of its messages.
		b.moves = !known || h != c.Origin && (c.Origin.Circuit != 0 || h.Circuit == 0 || h.Port != c.Origin.Port)
		if b.moves || l.Hostname != had.Hostname {
			// Any sender extends a lease; only its holder changes it.
			if by := p.Proof(c, a); by < Plausible {
				b.moves = false
				l.Hostname, l.Wanted, l.ClientID = had.Hostname, had.Wanted, had.ClientID
			}
		}
	}
	l.Port, l.Relay = had.Port, had.Relay
	if o := c.Origin; b.moves {
		l.Port, l.Relay = 0, false
		if o.Port > 0 && o.Circuit != fair.Unverified {
			l.Port, l.Relay = int32(o.Port), o.Circuit != 0
		}
	}
	if seconds != InfiniteSeconds {
		l.Expires = now.Add(time.Duration(seconds) * time.Second)
	}
	return b
}

// Commit turns the offer of the address of a binding, if there is one, into a lease.
func (p *Pool) Commit(c *Client, b *Binding, now time.Time) {
	a := b.Lease.Address
	p.Withdraw(p.offers.byClient[c.Key], now)
	p.Withdraw(p.offers.byAddr[a], now)
	p.stale = append(p.stale, a)
	if b.moves {
		p.hold(a, c.Origin)
	}
	if had, ok := p.Leases.ByClient(c.Key); ok && had.Address != a {
		p.stale = append(p.stale, had.Address)
		delete(p.outside, had.Address)
	}
}

// offers are a list, the oldest in front.
type offers struct {
	byClient    map[lease.Client]*Offer
	byAddr      map[netip.Addr]*Offer
	front, back *Offer
}

// An Offer keeps an address for a client until it takes it up.
type Offer struct {
	Addr   netip.Addr
	Probed bool // no other host answered
	Unsent bool // for a REQUEST without an offer, while the address is probed

	client     lease.Client
	until      time.Time
	prev, next *Offer
}

func (os *offers) add(o *Offer) {
	os.byClient[o.client], os.byAddr[o.Addr] = o, o
	o.prev, o.next = os.back, nil
	if os.back == nil {
		os.front = o
	} else {
		os.back.next = o
	}
	os.back = o
}

func (os *offers) remove(o *Offer) {
	delete(os.byClient, o.client)
	delete(os.byAddr, o.Addr)
	if o.prev == nil {
		os.front = o.next
	} else {
		o.prev.next = o.next
	}
	if o.next == nil {
		os.back = o.prev
	} else {
		o.next.prev = o.prev
	}
	o.prev, o.next = nil, nil
}
