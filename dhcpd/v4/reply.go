package v4

import (
	"net/netip"

	"github.com/vnetd/vnetd/dhcpd/option"
)

var (
	// usual is sent to clients that do not say what they want (no option 55).
	usual = []byte{optMask, optRouter, optDNS, optHostname, optDomain}
	// needed comes before the rest: without it a client is cut off, or does not
	// know what it is called.
	needed = []byte{optRouter, optDNS, optIPv6Only, optMTU, optBroadcast, optDomain, optHostname, optFQDN}
	// always is in every reply, or in none, asked for or not; and option 81 is for
	// those that sent it.
	always = codeSet{}.with(optPad, optLeaseTime, optOverload, optMessageType, optServerID, optT1, optT2, optClientID, optFQDN, optEnd)

	limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// Destination returns where a reply goes, RFC 2131 §4.1; if that is not
// broadcast, to the client's MAC.
func (d *Decision) Destination(req *Request) (to netip.Addr, broadcast bool) {
	switch {
	case req.Relayed():
		return req.GIAddr, false
	case d.Reply == DHCPNAK:
		return limitedBroadcast, true
	case !req.CIAddr.IsUnspecified():
		return req.CIAddr, false
	case req.Broadcast():
		return limitedBroadcast, true
	}
	return d.Address, false
}

// AppendReply adds the message that d.Reply says, RFC 2131 §4.3.1, table 3. It
// is as long as the client's option 57 and the link allow (576 octets with the
// headers if there is no option 57). What does not fit into the options field
// goes into those of the boot file and the server name (option 52), and what
// does not fit there is left out, the least needed first.
func (s *Subnet) AppendReply(b []byte, req *Request, d *Decision) []byte {
	size := max(min(req.MaxSize, s.longest), minMaxSize)
	w := newWriter(b, size-ipAndUDPHeaders, req.RelayInfo)
	w.header(req, d)
	w.octets(optMessageType, byte(d.Reply))
	if req.ServerOverride.IsValid() {
		w.addr(optServerID, req.ServerOverride)
	} else {
		w.addr(optServerID, s.server)
	}
	// RFC 6842: back to the client, so that it can tell the reply is its own.
	if len(req.ClientID) > 0 {
		w.option(optClientID, req.ClientID)
	}
	if d.Reply == DHCPNAK {
		w.option(optMessage, []byte(d.Why.String()))
		return w.end()
	}
	said := s.bootstrap(&w, req, d)
	s.times(&w, d)
	s.requested(&w, req, d, said)
	return w.end()
}

// times adds the lease time, T1 and T2 (RFC 2131 §4.4.5). INFORM has none, and
// a lease for ever has those two only if the configuration says when.
func (s *Subnet) times(w *writer, d *Decision) {
	if d.Seconds == 0 {
		return
	}
	w.number(optLeaseTime, d.Seconds)
	t1, t2 := s.t1, s.t2
	if t2 == 0 || t2 >= d.Seconds {
		t2 = uint32(uint64(d.Seconds) * 7 / 8)
	}
	if t1 == 0 || t1 >= t2 {
		t1 = min(d.Seconds/2, t2)
	}
	if d.Seconds != infiniteSeconds || s.t1 != 0 {
		w.number(optT1, t1)
	}
	if d.Seconds != infiniteSeconds || s.t2 != 0 {
		w.number(optT2, t2)
	}
}

// requested adds the options that the client asked for: first those that it
// needs, and then in its order, which is that of its preference (RFC 2132 §9.8).
// The mask comes before any router (§3.3). What was said already is not said
// again: clients would join the two (RFC 3396).
func (s *Subnet) requested(w *writer, req *Request, d *Decision, said codeSet) {
	left, set := asked(req).without(said), s.options(req, d)
	if left.take(optMask) {
		w.whole(set.Get(optMask))
	}
	if left.has(optRoutes) && w.whole(set.Get(optRoutes)) {
		// RFC 3442: they have the default route, and these are not sent besides.
		left = left.without(codeSet{}.with(optRoutes, optRouter, optStaticRoutes))
	}
	for _, codes := range [2][]byte{needed, req.Parameters} {
		for _, code := range codes {
			if left.take(code) {
				s.add(w, req, d, set, code)
			}
		}
	}
}

// asked are the options that the client wants, and that not every reply has.
func asked(req *Request) codeSet {
	codes := req.Parameters
	if codes == nil {
		codes = usual
	}
	wanted := codeSet{}.with(codes...).without(always)
	if req.FQDN {
		return wanted.with(optFQDN) // RFC 4702 §4: to one that sent it
	}
	return wanted
}

func (s *Subnet) add(w *writer, req *Request, d *Decision, set *option.Set, code byte) {
	switch {
	case code == optFQDN && d.Name != "":
		var value [maxFQDN]byte
		w.option(optFQDN, appendFQDN(value[:0], req.FQDNFlags, d.Name, s.domain))
	case code == optHostname && d.Hostname != "":
		w.option(optHostname, []byte(d.Hostname))
	default:
		w.whole(set.Get(uint16(code)))
	}
}

// A codeSet is a set of options.
type codeSet [256 / 64]uint64

func (c codeSet) with(codes ...byte) codeSet {
	for _, code := range codes {
		c[code/64] |= 1 << (code % 64)
	}
	return c
}

func (c codeSet) without(o codeSet) codeSet {
	for i := range c {
		c[i] &^= o[i]
	}
	return c
}

func (c *codeSet) has(code byte) bool { return c[code/64]&(1<<(code%64)) != 0 }

// take removes an option, and says whether it was there.
func (c *codeSet) take(code byte) bool {
	was := c.has(code)
	c[code/64] &^= 1 << (code % 64)
	return was
}
