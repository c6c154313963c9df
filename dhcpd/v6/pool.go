package v6

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

const (
	offerTime   = time.Minute      // an ADVERTISE is a promise for so long
	declineTime = 10 * time.Minute // a declined address rests
	maxOffers   = 1 << 16
	maxDeclined = 1 << 12
	maxLeases   = 1 << 16 // that are remembered of a network; ended ones give way
)

// A Pool knows which addresses of a link may be given to whom: what is
// promised, what is resting, what is leased. It has no lock: one goroutine at a
// time.
type Pool struct {
	svc      *Service
	leases   *lease.Network
	offers   offers
	declined declines
	shares   fair.Shares
	beside   map[netip.Addr]fair.Guest // who holds an address that is in no range
	full     time.Time                 // no free address was found; not to be searched for before
}

// NewPool returns a pool for a service with its leases.
func NewPool(s *Service, leases *lease.Network) *Pool {
	p := &Pool{
		svc: s, leases: leases, offers: newOffers(),
		declined: declines{until: map[netip.Addr]time.Time{}}, beside: map[netip.Addr]fair.Guest{},
	}
	leases.Each(func(l *lease.Lease) bool {
		if l.Address.Is6() {
			p.restore(l)
			p.shares.HoldEarlier(l.Address)
		}
		return true
	})
	return p
}

// SetService changes the configuration. Leases and promises stay; those that it
// does not allow any more are refused at the client's next word.
func (p *Pool) SetService(s *Service) { p.svc, p.full = s, time.Time{} }

// Service returns the configuration in force.
func (p *Pool) Service() *Service { return p.svc }

// tidy catches up with the time.
func (p *Pool) tidy(now time.Time) {
	for o := p.offers.front; o != nil && !now.Before(o.until); o = p.offers.front {
		p.offers.remove(o)
	}
	p.declined.tidy(now)
}

// promise keeps an address for a client, who may be somebody who already has
// it.
func (p *Pool) promise(c *client, a netip.Addr, now time.Time) {
	checked := false
	if o := p.offers.byAddr[a]; o != nil {
		checked = o.checked && o.client == c.Client
		p.recall(o)
	}
	p.recall(p.offers.byClient[c.Client])
	if len(p.offers.byClient) >= maxOffers {
		p.recall(p.offers.front)
	}
	p.offers.add(&offer{client: c.Client, addr: a, until: now.Add(offerTime), checked: checked})
	if l, leased := p.leases.ByAddr(a); !leased || !l.Live(now) {
		p.hold(a, c.at) // else it is the lease's, wherever this message came from
	}
}

func (p *Pool) recall(o *offer) {
	if o != nil {
		p.offers.remove(o)
	}
}

// rest keeps an address out for ten minutes, because somebody was found to use
// it who should not. A hostile client may decline whatever it gets: most of the
// pool must stay.
func (p *Pool) rest(a netip.Addr, now time.Time) {
	p.recall(p.offers.byAddr[a])
	p.declined.add(a, now.Add(declineTime), int(max(1, min(p.svc.size/4, maxDeclined))))
}

// offers are the promises, the oldest in front.
type offers struct {
	byClient    map[lease.Client]*offer
	byAddr      map[netip.Addr]*offer
	front, back *offer
}

type offer struct {
	client     lease.Client
	addr       netip.Addr
	until      time.Time
	checked    bool // it was looked for on the wire
	prev, next *offer
}

func newOffers() offers {
	return offers{byClient: map[lease.Client]*offer{}, byAddr: map[netip.Addr]*offer{}}
}

func (os *offers) add(o *offer) {
	os.byClient[o.client], os.byAddr[o.addr] = o, o
	o.prev = os.back
	if os.back == nil {
		os.front = o
	} else {
		os.back.next = o
	}
	os.back = o
}

func (os *offers) remove(o *offer) {
	delete(os.byClient, o.client)
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

func (d *declines) add(a netip.Addr, until time.Time, limit int) {
	if d.has(a) {
		return
	}
	for len(d.order) >= limit {
		d.drop()
	}
	d.until[a] = until
	d.order = append(d.order, a)
}

func (d *declines) drop() {
	delete(d.until, d.order[0])
	d.order = d.order[1:]
}

func (d *declines) tidy(now time.Time) {
	for len(d.order) > 0 && !now.Before(d.until[d.order[0]]) {
		d.drop()
	}
}
