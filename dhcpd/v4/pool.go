package v4

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

const (
	offerTime   = time.Minute      // an OFFER is a promise for so long
	declineTime = 10 * time.Minute // a declined address rests
	maxOffers   = 1 << 16
	maxTries    = 32   // of candidates that turn out to be taken
	maxPromises = 4096 // that are looked at: those of other subnets are among them
	rebuildTime = 10 * time.Second
)

// A Pool knows which addresses of a service may be given to whom: what is
// promised, what is resting, and a way to find a free one that does not take
// longer when few are left. It has no lock: one goroutine at a time.
type Pool struct {
	svc      *Service
	leases   *lease.Network
	offers   offers
	declined declines

	// free holds, for each subnet, the numbers of addresses that nobody ever
	// had: in a range, usable, not reserved, without a lease, an offer or a
	// decline. It may lag behind the leases, so what it says is checked.
	free      []bitmap
	unsettled []netip.Addr // whose place in free the next Answer looks at
	rebuilt   time.Time
	shares    []fair.Shares             // of each subnet
	beside    map[netip.Addr]fair.Guest // who holds an address that is in no range
}

// NewPool returns a pool for a service with its leases.
func NewPool(s *Service, leases *lease.Network, now time.Time) *Pool {
	p := &Pool{leases: leases, offers: newOffers(), declined: declines{until: map[netip.Addr]time.Time{}}, beside: map[netip.Addr]fair.Guest{}}
	p.SetService(s, now)
	return p
}

// SetService changes the configuration. Leases and promises stay; those that it
// does not allow any more are refused at the client's next word.
func (p *Pool) SetService(s *Service, now time.Time) {
	p.svc = s
	p.rebuild(now)
	old, beside := p.shares, p.beside
	p.shares, p.beside = make([]fair.Shares, len(s.subnets)), map[netip.Addr]fair.Guest{}
	for a, g := range beside {
		p.hold(a, g)
	}
	for i := range old {
		for a, g := range old[i].All() {
			p.hold(a, g)
		}
	}
	p.leases.Each(func(l *lease.Lease) bool {
		if l.Live(now) && l.Address.Is4() {
			p.restore(l)
		}
		if sub := s.subnet(l.Address); sub != nil && l.Live(now) && sub.gives(l.Address) {
			p.shares[sub.number].HoldEarlier(l.Address)
		}
		return true
	})
}

// rebuild makes free from what is known.
func (p *Pool) rebuild(now time.Time) {
	p.rebuilt = now
	p.unsettled = p.unsettled[:0]
	p.free = p.free[:0]
	for _, sub := range p.svc.subnets {
		b := newBitmap(sub.spans.size)
		for n := range sub.spans.size {
			b.set(n, true)
		}
		p.free = append(p.free, b)
		for _, a := range []netip.Addr{sub.server, sub.prefix.Addr(), sub.broadcast} {
			if !sub.usable(a) {
				p.take(a)
			}
		}
	}
	for a := range p.svc.byAddr {
		p.take(a)
	}
	for a := range p.offers.byAddr {
		p.take(a)
	}
	for a := range p.declined.until {
		p.take(a)
	}
	p.leases.Each(func(l *lease.Lease) bool {
		p.take(l.Address)
		return true
	})
}

// take notes that an address is not free.
func (p *Pool) take(a netip.Addr) {
	if sub := p.svc.subnet(a); sub != nil {
		if n, ok := sub.spans.number(a); ok {
			p.free[sub.number].set(n, false)
		}
	}
}

// settle enters the truth about an address in free.
func (p *Pool) settle(a netip.Addr) {
	if sub := p.svc.subnet(a); sub != nil {
		if n, ok := sub.spans.number(a); ok {
			p.free[sub.number].set(n, p.vacant(sub, a))
		}
	}
}

// vacant says whether nobody has or had an address of a subnet.
func (p *Pool) vacant(sub *Subnet, a netip.Addr) bool {
	if p.svc.byAddr[a] != nil || !sub.usable(a) {
		return false
	}
	if p.offers.byAddr[a] != nil || p.declined.has(a) {
		return false
	}
	_, leased := p.leases.ByAddr(a)
	return !leased
}

// tidy catches up with the leases and with the time.
func (p *Pool) tidy(now time.Time) {
	for _, a := range p.unsettled {
		p.settle(a)
	}
	p.unsettled = p.unsettled[:0]
	for o := p.offers.front; o != nil && !now.Before(o.until); o = p.offers.front {
		p.recall(o, now)
	}
	for a, ok := p.declined.over(now); ok; a, ok = p.declined.over(now) {
		p.settle(a)
	}
}

// promise keeps an address for a client.
func (p *Pool) promise(c *client, a netip.Addr, now time.Time) *offer {
	if o := p.offers.byAddr[a]; o != nil && o.mac != c.mac {
		p.recall(o, now)
	}
	o := p.offers.byMAC[c.mac]
	if o != nil && o.addr != a {
		p.recall(o, now)
		o = nil
	}
	if o == nil {
		if len(p.offers.byMAC) >= maxOffers {
			p.recall(p.offers.front, now)
		}
		o = &offer{mac: c.mac, addr: a}
	} else {
		p.offers.remove(o)
	}
	o.until = now.Add(offerTime)
	p.offers.add(o)
	p.settle(a)
	if l, leased := p.leases.ByAddr(a); !leased || !l.Live(now) {
		p.hold(a, c.at) // else it is the lease's, wherever this message came from
	}
	return o
}

// recall ends a promise.
func (p *Pool) recall(o *offer, now time.Time) {
	if o == nil {
		return
	}
	p.offers.remove(o)
	p.settle(o.addr)
	p.letGo(o.addr, now)
}

// Rest keeps an address out for ten minutes, because somebody was found to use
// it who should not, and forgets a promise of it.
func (p *Pool) Rest(a netip.Addr, now time.Time) {
	p.recall(p.offers.byAddr[a], now)
	// A hostile client may decline whatever it gets: most of the pool
	// must stay.
	if len(p.declined.until) >= max(p.svc.size()/4, 1) {
		p.settle(p.declined.drop())
	}
	p.declined.add(a, now.Add(declineTime))
	p.settle(a)
}

// Vouch notes that the address promised to a client was looked for on the wire
// and not found.
func (p *Pool) Vouch(mac lease.MAC, a netip.Addr) {
	if o := p.offers.byMAC[mac]; o != nil && o.addr == a {
		o.checked, o.unasked = true, false
	}
}

// offers are the promises, the oldest in front.
type offers struct {
	byMAC       map[lease.MAC]*offer
	byAddr      map[netip.Addr]*offer
	front, back *offer
}

type offer struct {
	mac        lease.MAC
	addr       netip.Addr
	until      time.Time
	checked    bool // no other client answered for it
	unasked    bool // for a REQUEST without an offer, and not looked for yet
	prev, next *offer
}

func newOffers() offers {
	return offers{byMAC: map[lease.MAC]*offer{}, byAddr: map[netip.Addr]*offer{}}
}

func (os *offers) add(o *offer) {
	os.byMAC[o.mac], os.byAddr[o.addr] = o, o
	o.prev, o.next = os.back, nil
	if os.back == nil {
		os.front = o
	} else {
		os.back.next = o
	}
	os.back = o
}

func (os *offers) remove(o *offer) {
	delete(os.byMAC, o.mac)
	delete(os.byAddr, o.addr)
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

// declines are the resting addresses, the one that rests longest in front.
type declines struct {
	until map[netip.Addr]time.Time
	order []netip.Addr
}

func (d *declines) has(a netip.Addr) bool {
	_, ok := d.until[a]
	return ok
}

func (d *declines) add(a netip.Addr, until time.Time) {
	if !d.has(a) {
		d.order = append(d.order, a)
	}
	d.until[a] = until
}

// drop ends the rest of the first.
func (d *declines) drop() netip.Addr {
	a := d.order[0]
	d.order = d.order[1:]
	delete(d.until, a)
	return a
}

// over ends the rest of the first address whose time has come.
func (d *declines) over(now time.Time) (netip.Addr, bool) {
	if len(d.order) == 0 || now.Before(d.until[d.order[0]]) {
		return netip.Addr{}, false
	}
	return d.drop(), true
}
