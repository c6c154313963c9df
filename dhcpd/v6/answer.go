package v6

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/v4"
)

// Answer decides about one message. It reads the leases and remembers what it
// promises; everything else is the caller's to do.
func (p *Pool) Answer(req *Request, now time.Time) Decision {
	p.tidy(now)
	if why := p.ignore(req); why != "" {
		return Decision{Why: why}
	}
	d := p.decide(req, now)
	if d.Reply != 0 && d.configures() {
		p.reserve(req, &d)
	}
	return d
}

func (p *Pool) decide(req *Request, now time.Time) Decision {
	switch req.Type {
	case SOLICIT:
		return p.solicit(req, now)
	case REQUEST:
		return p.assign(req, p.requested, now)
	case CONFIRM:
		return p.confirm(req)
	case RENEW, REBIND:
		return p.assign(req, p.extended, now)
	case RELEASE:
		return p.disown(req, lease.Released, now)
	case DECLINE:
		return p.disown(req, lease.Declined, now)
	}
	return Decision{Reply: REPLY, Why: Informed}
}

// What a message must or must not have, RFC 8415 §16.
const (
	wantsClient  = 1 << iota // it must say who sends it
	wantsServer              // it must name us
	noServer                 // it must name nobody
	noIAs                    // it must ask for no address
	multicastAll             // it must not come by unicast
)

var rules = map[MessageType]int{
	SOLICIT:            wantsClient | noServer | multicastAll,
	REQUEST:            wantsClient | wantsServer,
	CONFIRM:            wantsClient | noServer | multicastAll,
	RENEW:              wantsClient | wantsServer,
	REBIND:             wantsClient | noServer | multicastAll,
	RELEASE:            wantsClient | wantsServer,
	DECLINE:            wantsClient | wantsServer,
	INFORMATIONREQUEST: noIAs | multicastAll,
}

// ignore says why a message is not answered, or "".
func (p *Pool) ignore(req *Request) Reason {
	rule := rules[req.Type]
	switch {
	case len(p.svc.reach(req)) == 0 && !p.svc.stateless:
		return NoSubnet
	case rule&multicastAll != 0 && req.Unicast:
		return ByUnicast
	case rule&wantsClient != 0 && req.ClientID == nil,
		rule&wantsServer != 0 && req.ServerID == nil,
		rule&noServer != 0 && req.ServerID != nil,
		rule&noIAs != 0 && len(req.IAs()) > 0:
		return Invalid
	case req.ServerID != nil && string(req.ServerID) != p.svc.duid:
		if req.Type == REQUEST {
			p.forgo(req)
		}
		return OtherServer
	}
	return ""
}

// forgo ends the promises to a client that chose another server.
func (p *Pool) forgo(req *Request) {
	for i := range req.IAs() {
		p.recall(p.offers.byClient[req.client(&req.ias[i])])
	}
}

func (r *Request) client(ia *IA) lease.Client {
	return lease.Client{MAC: r.MAC(), DUID: string(r.ClientID), IAID: ia.ID}
}

// solicit answers a SOLICIT, RFC 8415 §18.3.1. A client that allows it gets
// its addresses at once.
func (p *Pool) solicit(req *Request, now time.Time) Decision {
	if req.Rapid {
		if d := p.assign(req, p.requestedAnywhere, now); len(d.Bind) > 0 {
			d.Rapid = true
			return d
		}
	}
	d := Decision{Reply: ADVERTISE, Why: Nothing}
	for i := range req.IAs() {
		ia := &req.ias[i]
		r, a, c := p.begin(ia), netip.Addr{}, p.client(req, ia)
		if ia.Code == optIANA {
			d.Why = p.lack(req, now)
			a = p.give(&r, ia, c, now)
		}
		if a.IsValid() {
			d.Why = Advertised
			p.check(&d, a, c)
		}
		if c.inUse.IsValid() {
			d.InUse = c.inUse
		}
		d.IAs = append(d.IAs, r)
	}
	d.Hostname, _ = p.hostname(req, p.client(req, &IA{}), "", now)
	return p.orStateless(d)
}

func (p *Pool) orStateless(d Decision) Decision {
	if p.svc.stateless {
		d.Why = Stateless
	}
	return d
}

// begin is the answer to an association before anything is found for it.
func (p *Pool) begin(ia *IA) IAReply {
	r := IAReply{Code: ia.Code, ID: ia.ID, Status: status(NoAddrsAvail)}
	if ia.Code == optIAPD {
		r.Status = status(NoPrefixAvail)
	}
	return r
}

// lack says why there is no address for a client, if there is none.
func (p *Pool) lack(req *Request, now time.Time) Reason {
	c := p.client(req, &IA{})
	switch {
	case !p.may(c, now):
		return Greedy
	case !slices.ContainsFunc(c.on, func(s *subnet) bool { return len(s.spans) > 0 }):
		return NoRanges
	}
	return Exhausted
}

// give finds an address for an association, enters it in its answer, and
// promises it.
func (p *Pool) give(r *IAReply, ia *IA, c *client, now time.Time) netip.Addr {
	if p.svc.stateless {
		return netip.Addr{}
	}
	a := p.choose(c, ia.Addrs(), now)
	if a.IsValid() {
		p.enter(r, a, c, now)
	}
	return a
}

func (p *Pool) enter(r *IAReply, a netip.Addr, c *client, now time.Time) {
	r.Status, r.Address, r.Seconds = nil, a, p.svc.subnet(a).seconds()
	p.promise(c, a, now)
}

// decide finds what an association gets in a REPLY.
type decide func(r *IAReply, ia *IA, c *client, now time.Time)

// assign answers a message that asks for addresses, and binds what it gives.
func (p *Pool) assign(req *Request, find decide, now time.Time) Decision {
	d := Decision{Reply: REPLY, Why: Nothing}
	for i := range req.IAs() {
		ia := &req.ias[i]
		r, c := p.begin(ia), p.client(req, ia)
		offered := p.offered(c)
		if ia.Code == optIANA {
			d.Why = p.lack(req, now)
			find(&r, ia, c, now)
		}
		had, live := p.leases.ByClient(c.Client)
		live = live && had.Live(now)
		if live && r.Address.IsValid() && r.Address != had.Address && p.leaves(&had, req, c) == notHolder {
			p.recall(p.offers.byClient[c.Client])
			r = p.begin(ia)
		}
		if c.inUse.IsValid() {
			d.InUse = c.inUse
		}
		if r.Address.IsValid() {
			p.check(&d, r.Address, c)
			d.Bind = append(d.Bind, p.bind(req, &r, c, now))
			d.TakesUp = d.TakesUp || offered == r.Address
		} else if r.Status != nil && *r.Status == NotOnLink {
			d.Why = OffLink
		} else if r.Status != nil && *r.Status == NoBinding {
			d.Why = NotHolder
			if res := p.svc.byAddr[had.Address]; live && res != nil && !res.isFor(c) && p.proof(req, c, had.Address) == holds {
				// The holder is told now, and the client that it is reserved for may have it.
				d.End, d.EndKind = append(d.End, had), lease.Released
			}
		}
		d.IAs = append(d.IAs, r)
	}
	for i := range d.Bind {
		if !d.Check.IsValid() { // else it is answered anew
			p.recall(p.offers.byAddr[d.Bind[i].Address]) // no promise any more, but a lease
		}
	}
	if len(d.Bind) > 0 {
		d.Why, d.Hostname = p.kind(d.Bind, now), d.Bind[0].Hostname
		if d.Hostname == "" {
			d.Refused = v4.Hostname(req.Hostname)
		}
	}
	return p.orStateless(d)
}

// offered returns what was promised to a client; the zero Addr if nothing was.
func (p *Pool) offered(c *client) netip.Addr {
	if o := p.offers.byClient[c.Client]; o != nil {
		return o.addr
	}
	return netip.Addr{}
}

// kind says whether leases are all extensions of what the clients have.
func (p *Pool) kind(leases []lease.Lease, now time.Time) Reason {
	for i := range leases {
		had, ok := p.leases.ByClient(leases[i].Client())
		if !ok || had.Address != leases[i].Address || !had.Live(now) {
			return Bound
		}
	}
	return Renewed
}

// requestedAnywhere is for a SOLICIT: its wishes are only wishes.
func (p *Pool) requestedAnywhere(r *IAReply, ia *IA, c *client, now time.Time) {
	p.give(r, ia, c, now)
}

// requested is for a REQUEST, RFC 8415 §18.3.2.
func (p *Pool) requested(r *IAReply, ia *IA, c *client, now time.Time) {
	if !c.onLink(ia.Addrs()) {
		r.Status = status(NotOnLink)
		return
	}
	p.give(r, ia, c, now)
}

// extended is for a RENEW and a REBIND, RFC 8415 §18.3.4 and §18.3.5. What the
// client may not have any more gets lifetimes of zero.
//
// Deviation: a REBIND of what we do not know is answered as a RENEW is. This is
// the link's only server, and a client that is told asks anew at once.
//
// Deviation: an address that we do not know, but that is free, is bound: leases
// that were lost come back by themselves, as in IPv4.
func (p *Pool) extended(r *IAReply, ia *IA, c *client, now time.Time) {
	a := p.extendable(ia, c, now)
	if !a.IsValid() && (ia.n == 0 || !c.onLink(ia.Addrs())) && !p.svc.stateless {
		a = p.choose(c, nil, now)
	}
	for _, old := range ia.Addrs() {
		if old != a && (a.IsValid() || c.subnet(old) == nil) {
			r.Gone = append(r.Gone, old)
		}
	}
	switch {
	case a.IsValid():
		p.enter(r, a, c, now)
	case len(r.Gone) > 0:
		r.Status = nil
	default:
		r.Status = status(NoBinding)
	}
}

// extendable returns the address that a client keeps: the reserved one, the one
// that it has, or one of those that it says it has.
func (p *Pool) extendable(ia *IA, c *client, now time.Time) netip.Addr {
	if p.svc.stateless {
		return netip.Addr{}
	}
	if a, ok := p.reserved(c, now); ok {
		return a
	}
	if l, ok := p.leases.ByClient(c.Client); ok && l.Live(now) {
		if p.keeps(l.Address, c) {
			return l.Address
		}
	}
	for _, a := range ia.Addrs() {
		if p.available(a, c, now) && p.may(c, now) {
			return a
		}
	}
	return netip.Addr{}
}

// keeps says whether a client may keep its address, which may be outside of
// the ranges by now: guests do not notice an edit.
func (p *Pool) keeps(a netip.Addr, c *client) bool {
	sub, r := c.subnet(a), p.svc.byAddr[a]
	return sub != nil && sub.usable(a) && (r == nil || r.isFor(c)) && !p.declined.has(a)
}

// check has an address looked for that may be in use.
func (p *Pool) check(d *Decision, a netip.Addr, c *client) {
	if !d.Check.IsValid() && p.doubtful(a, c) {
		d.Check = a
	}
}

// leaves judges a message by which a client gives up its lease for another address.
// One that comes from another link cannot be compared with where the lease was bound,
// unless it is a relay's word against a guest's of our own link.
func (p *Pool) leaves(had *lease.Lease, req *Request, c *client) proof {
	if c.subnet(had.Address) == nil && !req.Relayed() {
		return plausible
	}
	return p.proof(req, c, had.Address)
}

// bind is what is to be stored for an association, and notes where it is bound.
func (p *Pool) bind(req *Request, r *IAReply, c *client, now time.Time) lease.Lease {
	l := p.lease(req, r, c, now)
	had, ok := p.leases.ByClient(c.Client)
	renews := ok && had.Address == l.Address && had.Live(now)
	h, known := p.holder(l.Address)
	moves := !known || h != c.at || !renews
	if renews && (moves || l.Hostname != had.Hostname) {
		// Extended for any sender; changed for the holder only.
		if by := p.proof(req, c, l.Address); by < plausible {
			l.Hostname, l.Wanted, moves = had.Hostname, had.Wanted, false
		}
	}
	if l.Port, l.Relay = had.Port, had.Relay; moves {
		where(&l, c.at)
		p.hold(l.Address, c.at)
	}
	if ok && had.Address != l.Address {
		delete(p.beside, had.Address)
	}
	return l
}

// lease is what is to be stored for an association.
func (p *Pool) lease(req *Request, r *IAReply, c *client, now time.Time) lease.Lease {
	had, ok := p.leases.ByClient(c.Client)
	l := lease.Lease{MAC: c.MAC, DUID: c.DUID, IAID: c.IAID, Address: r.Address, Start: now}
	l.Hostname, l.Wanted = p.hostname(req, c, had.Wanted, now)
	if ok && had.Address == l.Address && had.Live(now) {
		l.Start = had.Start
	}
	if r.Seconds != infiniteSeconds {
		l.Expires = now.Add(time.Duration(r.Seconds) * time.Second)
	}
	return l
}

// hostname decides what the client is called: as its reservation says, as it
// calls itself, as before, or as in IPv4; and what it would be called if no other
// had that name. The first holder of a name keeps it while its link is there; a
// reservation's name is for its client only.
func (p *Pool) hostname(req *Request, c *client, wanted string, now time.Time) (has, wants string) {
	if name := p.reservedName(c, now); name != "" {
		return name, name
	}
	if req.Hostname != nil {
		wanted = v4.Hostname(req.Hostname)
	} else if l, ok := p.leases.ByMAC(c.MAC); ok && wanted == "" && l.Live(now) && c.sure {
		wanted = l.Wanted
	}
	if r := p.svc.byName[wanted]; r != nil && !r.isFor(c) {
		return "", ""
	}
	// A MAC that a relay claims on our own link shares no name with the guest that has it.
	if holder, held := p.leases.Holder(wanted, now); held && (holder != c.MAC || !c.sure && !p.called(c, wanted, now)) {
		return "", wanted
	}
	return wanted, wanted
}

// called reports whether a client's lease has a name.
func (p *Pool) called(c *client, name string, now time.Time) bool {
	l, ok := p.leases.ByClient(c.Client)
	return ok && l.Hostname == name && l.Live(now)
}

// confirm answers a CONFIRM, RFC 8415 §18.3.3: is the client still on this
// link?
func (p *Pool) confirm(req *Request) Decision {
	asked := false
	for i := range req.IAs() {
		ia := &req.ias[i]
		asked = asked || ia.n > 0
		if !p.client(req, ia).onLink(ia.Addrs()) {
			return Decision{Reply: REPLY, Why: OffLink, Status: status(NotOnLink)}
		}
	}
	if !asked {
		return Decision{Why: NoAddresses}
	}
	return Decision{Reply: REPLY, Why: Confirmed, Status: status(Success)}
}

// disown answers a RELEASE and a DECLINE, RFC 8415 §18.3.7 and §18.3.8: success,
// and a word on each association that the client does not have.
func (p *Pool) disown(req *Request, kind lease.Kind, now time.Time) Decision {
	d := Decision{Reply: REPLY, Why: Released, Status: status(Success), EndKind: kind}
	if kind == lease.Declined {
		d.Why = Declined
	}
	for i := range req.IAs() {
		ia := &req.ias[i]
		before := len(d.End) + len(d.EndUnused)
		p.disownIA(&d, req, ia, p.client(req, ia), now)
		if len(d.End)+len(d.EndUnused) > before {
			continue
		}
		d.IAs = append(d.IAs, IAReply{Code: ia.Code, ID: ia.ID, Status: status(NoBinding)})
	}
	if len(d.End)+len(d.EndUnused) == 0 {
		d.Why = NotHolder
	}
	return d
}

// disownIA enters the leases of one association that end. What was only offered can be
// declined, and is no binding to release.
func (p *Pool) disownIA(d *Decision, req *Request, ia *IA, c *client, now time.Time) {
	for _, a := range ia.Addrs() {
		o := p.offers.byClient[c.Client]
		promised := d.EndKind == lease.Declined && o != nil && o.addr == a
		l, ok := p.leases.ByClient(c.Client)
		if held := ok && l.Address == a && l.Live(now); !held && !promised {
			continue
		}
		ended := lease.Lease{MAC: c.MAC, DUID: c.DUID, IAID: c.IAID, Address: a, Start: now}
		switch p.proof(req, c, a) {
		case notHolder: // sent by another in the client's name
			continue
		case holds:
			p.recall(o)
			if d.EndKind == lease.Declined {
				p.rest(a, now)
			}
			d.End = append(d.End, ended)
		default:
			d.EndUnused = append(d.EndUnused, ended)
		}
	}
}
