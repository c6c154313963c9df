package v6

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/v4"
)

// client is who asks for an association, and what it can be answered from.
type client struct {
	lease.Client
	name string // what it calls itself, or was called before
	at   fair.Guest
	on   []*subnet
	req  *Request
	sure bool // the frame has its MAC, or a relay of a declared subnet says so
	// inUse is the address that is reserved for the client, and that another client has.
	inUse netip.Addr
}

func (p *Pool) client(req *Request, ia *IA) *client {
	c := &client{Client: req.client(ia), at: req.Guest, on: p.svc.reach(req), req: req}
	c.sure = !req.Relayed() || len(c.on) > 0 && c.on[0].relayed
	if req.Hostname != nil {
		c.name = v4.Hostname(req.Hostname)
	} else if l, ok := p.leases.ByClient(c.Client); ok {
		c.name = l.Wanted
	}
	return c
}

// holder is who has a lease.
func holder(l *lease.Lease) *client { return &client{Client: l.Client(), name: l.Wanted} }

// subnet returns the subnet that an address is in, or nil: it is not on the
// client's link.
func (c *client) subnet(a netip.Addr) *subnet {
	for _, sub := range c.on {
		if sub.prefix.Contains(a) {
			return sub
		}
	}
	return nil
}

func (c *client) onLink(addrs []netip.Addr) bool {
	for _, a := range addrs {
		if c.subnet(a) == nil {
			return false
		}
	}
	return true
}

// occupied reports whether another client has the address of a reservation, which is
// not given twice. Clones share everything but the MAC: who came first has what is
// reserved for them all. The same MAC with another DUID is a guest that was installed
// anew, if it is where that guest is.
func (p *Pool) occupied(r *Reservation, c *client, now time.Time) bool {
	l, ok := p.leases.ByAddr(r.Address)
	if !ok || l.Client() == c.Client || !l.Live(now) {
		return false
	}
	if l.MAC == c.MAC {
		return p.proof(c.req, c, r.Address) == notHolder
	}
	if !r.isFor(holder(&l)) {
		c.inUse = r.Address
	}
	return true
}

// reservedName returns the hostname that is fixed for the client, or "". Of
// clones only one has it.
func (p *Pool) reservedName(c *client, now time.Time) string {
	for r := range p.svc.reservations(c) {
		if r.Hostname == "" {
			continue
		}
		who, held := p.leases.Holder(r.Hostname, now)
		if !held || (r.MAC == c.MAC || who == c.MAC) && (c.sure || p.called(c, r.Hostname, now)) {
			return r.Hostname
		}
	}
	return ""
}
