package v6

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
)

// proof is how well a message shows that it comes from the client that holds an
// address. See package v4.
type proof uint8

const (
	notHolder proof = iota // it comes from elsewhere
	ambiguous              // the holder's MAC is behind its port, and was behind another one lately
	plausible              // it is not known where the holder is, or its port is gone
	holds
)

// proof judges a message in which a client speaks of an address.
func (p *Pool) proof(req *Request, c *client, a netip.Addr) proof {
	sub := p.svc.subnet(a)
	if sub == nil || c.at.Port == fair.Unasked {
		return holds
	}
	port, certain := c.at.Port, true
	if req.Witness != nil {
		port, certain = req.Witness.Where(req.Sender)
	}
	h, known := p.holder(a)
	switch {
	case known && (sub.relayed || h.Circuit != 0):
		if port == h.Port && (h.Circuit == fair.AnyCircuit || c.at.Circuit == h.Circuit) {
			return holds
		}
		return notHolder
	case req.Relayed() || sub.relayed:
		return notHolder
	case known && port == h.Port && certain:
		return holds
	case known && (port == h.Port || port <= 0):
		return ambiguous
	case known && (req.Witness == nil || req.Witness.Up(h.Port)):
		return notHolder
	case !certain:
		return ambiguous
	}
	return plausible
}

// doubtful reports whether an address is to be looked for on the wire before it is given:
// it is reserved for the client, and another client had it last. Else clients look for
// themselves (RFC 4862 §5.4).
func (p *Pool) doubtful(a netip.Addr, c *client) bool {
	r := p.svc.byAddr[a]
	if r == nil || p.svc.subnet(a).relayed {
		return false
	}
	if o := p.offers.byAddr[a]; o != nil && o.checked {
		return false
	}
	l, had := p.leases.ByAddr(a)
	return had && l.MAC != c.MAC
}

// Vouch notes that an address was looked for on the wire and not found.
func (p *Pool) Vouch(a netip.Addr) {
	if o := p.offers.byAddr[a]; o != nil {
		o.checked = true
	}
}

// Rest keeps an address out for ten minutes that was found to be in use.
func (p *Pool) Rest(a netip.Addr, now time.Time) { p.rest(a, now) }
