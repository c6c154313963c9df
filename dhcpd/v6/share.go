package v6

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// maxBeside bounds the holders that are remembered of addresses outside of the ranges,
// beside those of reservations.
const maxBeside = 4096

// hold notes that a guest holds an address. One that is in no range, a reserved one
// say, counts for no share.
func (p *Pool) hold(a netip.Addr, g fair.Guest) {
	sub := p.svc.subnet(a)
	switch {
	case sub == nil:
	case sub.contains(a):
		p.shares.Hold(a, g)
	case g.Port > 0 && (len(p.beside) < maxBeside || p.svc.byAddr[a] != nil):
		p.beside[a] = g
	}
}

// holder returns the guest that holds an address, if that is known.
func (p *Pool) holder(a netip.Addr) (fair.Guest, bool) {
	if g, ok := p.beside[a]; ok {
		return g, true
	}
	return p.shares.Holder(a)
}

// restore notes who has a lease that is older than the pool, as far as is known: of a
// lease from before the host booted it is not, since ports have other indexes then.
func (p *Pool) restore(l *lease.Lease) {
	g := fair.Guest{Port: fair.Port(l.Port)}
	if l.Relay {
		g.Circuit = fair.AnyCircuit
	}
	if _, known := p.holder(l.Address); !known && g.Port > 0 {
		p.hold(l.Address, g)
	}
}

// where notes in a lease who has it.
func where(l *lease.Lease, g fair.Guest) {
	l.Port, l.Relay = 0, false
	if g.Port > 0 && g.Circuit != fair.Unproven {
		l.Port, l.Relay = int32(g.Port), g.Circuit != 0
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
