package v4

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// client is who sent a message, and what it can be answered from.
type client struct {
	mac  lease.MAC
	id   string // option 61; "" if no reservation wants to know it, as the next two
	duid string
	name string // what it calls itself, or was called before
	at   fair.Guest
	on   []*Subnet
	own  bool // it uses the MAC that it claims
	sure bool // the frame has that MAC, or a relay of a declared subnet says so
	// inUse is the address that is reserved for the client, and that another client has.
	inUse netip.Addr
}

// client finds out who sent a message.
func (p *Pool) client(req *Request) client {
	c := client{mac: req.MAC, at: req.Guest, on: p.svc.reach(req)}
	if c.own = req.own(c.on); !c.own {
		c.at.Circuit = fair.Unproven
	}
	c.sure = c.own && (!req.Relayed() || len(c.on) > 0 && c.on[0].relayed)
	if p.svc.onlyMACs {
		return c
	}
	c.id, c.duid = string(req.ClientID), string(duidOf(req.ClientID))
	if req.Hostname != nil {
		c.name = Hostname(req.Hostname)
	} else if l, ok := p.leases.ByMAC(req.MAC); ok {
		c.name = l.Wanted
	}
	return c
}

// holder is who has a lease.
func holder(l *lease.Lease) client {
	return client{mac: l.MAC, id: l.ClientID, duid: string(duidOf(l.ClientID)), name: l.Wanted}
}

// rfc4361 is the type of a client identifier that is an IAID and a DUID.
const rfc4361 = 255

// duidOf returns the DUID in a client identifier, RFC 4361 §6.1, or nil.
func duidOf[T string | []byte](id T) T {
	if len(id) < 8 || id[0] != rfc4361 {
		var none T
		return none
	}
	return id[5:]
}

// subnet returns the subnet that an address is in, or nil: the client is not
// there.
func (c *client) subnet(a netip.Addr) *Subnet {
	for _, sub := range c.on {
		if sub.prefix.Contains(a) {
			return sub
		}
	}
	return nil
}

// reserved returns the client's reservation with an address where it is, that
// may be given now: want if there is one of it, or else the first. An address that
// another client has is not given twice. Clones share everything but the MAC: who
// came first has what is reserved for them all.
func (p *Pool) reserved(c *client, want netip.Addr, now time.Time) *Reservation {
	var first *Reservation
	for r := range p.svc.reservations(c) {
		if c.subnet(r.Address) == nil || p.declined.has(r.Address) {
			continue
		}
		if l, ok := p.leases.ByAddr(r.Address); ok && l.MAC != c.mac && l.Live(now) {
			if other := holder(&l); !r.isFor(&other) {
				c.inUse = r.Address
			}
			continue
		}
		if r.Address == want {
			return r
		}
		if first == nil {
			first = r
		}
	}
	return first
}

// reservedName returns the hostname that is fixed for the client, or "". Of
// clones only one has it.
func (p *Pool) reservedName(c *client, now time.Time) string {
	for r := range p.svc.reservations(c) {
		if r.Hostname == "" {
			continue
		}
		who, held := p.leases.Holder(r.Hostname, now)
		if !held || (r.MAC == c.mac || who == c.mac) && (c.sure || p.called(c, r.Hostname, now)) {
			return r.Hostname
		}
	}
	return ""
}
