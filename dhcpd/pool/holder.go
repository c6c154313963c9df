package pool

import (
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// Proof is how well a message shows that it comes from the client that holds an address.
type Proof uint8

const (
	// NotHolder: it comes from elsewhere.
	NotHolder Proof = iota
	// Ambiguous: the holder's MAC is behind its port, and was behind another one lately.
	Ambiguous
	// Plausible: the holder's port is not known or down, and the message has its MAC.
	Plausible
	// IsHolder: it comes from the MAC and the port that the address was bound to, or
	// through the relay that it was bound through.
	IsHolder
)

// Proof compares where a message comes from with where the address was bound, which a
// guest cannot change, unlike the forwarding database.
func (p *Pool) Proof(c *Client, a netip.Addr) Proof {
	sub := p.svc.Subnet(a)
	if sub == nil || c.Origin.Port == fair.Untracked {
		if c.OwnMAC {
			return IsHolder
		}
		return NotHolder
	}
	port, certain := c.Origin.Port, true
	if c.FDB != nil {
		port, certain = c.FDB.Lookup(c.Sender)
	}
	h, known := p.holder(a)
	direct := h.Circuit == 0 || h.Circuit == fair.Unverified
	switch {
	case known && (sub.Relayed || !direct):
		// By the relay or, in IPv4 between two of its messages, through the router that it is.
		if port == h.Port && (!p.svc.IPv6 && c.Origin.Circuit == 0 || h.Circuit == fair.AnyCircuit || c.Origin.Circuit == h.Circuit) {
			return IsHolder
		}
		return NotHolder
	case !c.OwnMAC || c.Relayed || sub.Relayed:
		return NotHolder
	case known && h.Circuit == 0 && port == h.Port && certain:
		return IsHolder
	case known && h.Circuit == 0 && (port == h.Port || port <= 0):
		return Ambiguous
	case known && h.Circuit == 0 && (c.FDB == nil || c.FDB.Up(h.Port)):
		return NotHolder
	case !certain:
		return Ambiguous
	}
	return Plausible
}

// MayLeave is the proof that a client may give up its lease for another address. A message
// from another link cannot be compared with where the lease was bound, and counts, unless
// a relay claims a client of this link.
func (p *Pool) MayLeave(c *Client, had *lease.Lease) Proof {
	if c.Subnet(had.Address) == nil && c.OwnMAC && !c.Relayed {
		return Plausible
	}
	return p.Proof(c, had.Address)
}
