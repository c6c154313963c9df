package v4

import (
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// proof is how well a message shows that it comes from the client that holds an
// address.
type proof uint8

const (
	// notHolder: it comes from elsewhere.
	notHolder proof = iota
	// ambiguous: the holder's MAC is behind its port, and was behind another one lately.
	ambiguous
	// plausible: it is not known where the holder is, or its port is gone, and the
	// message comes from its MAC.
	plausible
	// holds: it comes from the MAC and the port that the address was bound to, or
	// through the relay that asked for it.
	holds
)

// proof judges a message in which a client speaks of an address. What counts is
// where the address was bound, which the forwarding database cannot be made to
// forget.
func (p *Pool) proof(req *Request, c *client, a netip.Addr) proof {
	sub := p.svc.subnet(a)
	if sub == nil || c.at.Port == fair.Unasked {
		if c.own {
			return holds
		}
		return notHolder
	}
	port, certain := c.at.Port, true
	if req.Witness != nil {
		port, certain = req.Witness.Where(req.From)
	}
	h, known := p.holder(a)
	switch {
	case known && (sub.relayed || h.Circuit != 0 && h.Circuit != fair.Unproven):
		// By the relay or, between two of its messages, through the router that it is.
		if port == h.Port && (c.at.Circuit == 0 || h.Circuit == fair.AnyCircuit || c.at.Circuit == h.Circuit) {
			return holds
		}
		return notHolder
	case !c.own || req.Relayed() || sub.relayed:
		return notHolder
	case known && h.Circuit == 0 && port == h.Port && certain:
		return holds
	case known && h.Circuit == 0 && (port == h.Port || port <= 0):
		return ambiguous
	case known && h.Circuit == 0 && (req.Witness == nil || req.Witness.Up(h.Port)):
		return notHolder
	case !certain:
		return ambiguous
	}
	return plausible
}

// own reports whether a client on the link uses the MAC that it claims. Behind a relay
// it does not, and is what the relay says.
func (r *Request) own(on []*Subnet) bool {
	return r.Relayed() || r.From == (lease.MAC{}) || r.From == r.MAC || r.Unicast && len(on) == 1 && on[0].relayed
}

// bySelf reports whether a relay sends from the address that it gives as its own.
func (r *Request) bySelf() bool { return !r.Source.IsValid() || r.Source == r.GIAddr }
