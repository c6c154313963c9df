package v6

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/option"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

// A Decision is what to do about a request.
type Decision struct {
	// Reply is the type of the message to send; 0: none.
	Reply MessageType
	Why   pool.Reason

	Rapid    bool        // the REPLY to a SOLICIT
	Status   *StatusCode // of the whole message
	IAs      []IAReply
	Hostname string
	Refused  string // the hostname that the client asked for, if another client has it

	// Bind must be stored, all of it, before the reply is sent.
	Bind []lease.Lease
	// Accepts: one of them at least had been offered to the client before.
	Accepts bool
	// Probe is to be probed before anything is done: it may be in use by a client that had
	// it. After ConfirmUnused or Quarantine the message is to be answered again.
	Probe netip.Addr
	// InUse is reserved for the client and leased to another one; until that lease ends,
	// the client has a different address.
	InUse netip.Addr
	// End are leases to be ended in this way; the client may not have them.
	End     []lease.Lease
	EndKind lease.Kind
	// EndUnused are to be ended in the same way unless their client still uses them:
	// the message may be forged.
	EndUnused []lease.Lease

	// What AppendReply sends besides.
	book     *option.Book
	own      *option.Own
	bootFile string
}

// An IAReply is the answer to one identity association. With a Status there
// is no Address.
type IAReply struct {
	Code    uint16
	ID      uint32
	Status  *StatusCode
	Address netip.Addr
	Seconds uint32       // the preferred and the valid lifetime; ^0 is infinite
	Invalid []netip.Addr // must not be used any more: both lifetimes are zero
}

// The reasons of IPv6 alone.
const (
	Advertised pool.Reason = "advertised"
	Confirmed  pool.Reason = "addresses are on the link"
	OffLink    pool.Reason = "addresses are not on the link"
	Stateless  pool.Reason = "no addresses are assigned here"
	Nothing    pool.Reason = "no address was requested"

	// No reply.
	Invalid     pool.Reason = "an identifier is missing, or must not be there"
	ByUnicast   pool.Reason = "must not be sent by unicast"
	NoAddresses pool.Reason = "no addresses to confirm"
)

// status returns a pointer to a status code.
func status(c StatusCode) *StatusCode { return &c }

// Given returns the first address of the answer; the zero Addr if there is none.
func (d *Decision) Given() netip.Addr {
	for i := range d.IAs {
		if d.IAs[i].Address.IsValid() {
			return d.IAs[i].Address
		}
	}
	return netip.Addr{}
}

// A Pool answers messages from the addresses of a service. It has no lock: one goroutine
// at a time.
type Pool struct {
	*pool.Pool
	svc *Service
}

// NewPool returns a pool for a service with its leases.
func NewPool(s *Service, leases *lease.Network, now time.Time) *Pool {
	return &Pool{pool.New(s.Service, leases, now), s}
}

// SetService changes the configuration. Leases and offers stay; those that it does not
// allow any more are refused at the client's next message.
func (p *Pool) SetService(s *Service, now time.Time) {
	p.svc = s
	p.Pool.SetService(s.Service, now)
}

// Service returns the configuration in force.
func (p *Pool) Service() *Service { return p.svc }

func (req *Request) key(ia *IA) lease.Client {
	return lease.Client{MAC: req.MAC(), DUID: string(req.ClientID), IAID: ia.ID}
}

// client returns the sender of a message, for one of its associations.
func (p *Pool) client(req *Request, ia *IA) *pool.Client {
	c := &pool.Client{
		Key: req.key(ia), Hostname: req.Hostname, Subnets: p.svc.Reach(req), Origin: req.Origin, Sender: req.Sender, FDB: req.FDB,
		Relayed: req.Relayed(), OwnMAC: true,
	}
	c.Verified = !c.Relayed || len(c.Subnets) > 0 && c.Subnets[0].Relayed
	p.Identify(c, nil)
	return c
}

// What a message must or must not have, RFC 8415 §16.
const (
	needsClient   = 1 << iota // a client identifier
	needsServer               // our server identifier
	noServer                  // no server identifier
	noIAs                     // no identity association
	multicastOnly             // it must not be sent by unicast
)

var rules = map[MessageType]int{
	SOLICIT:            needsClient | noServer | multicastOnly,
	REQUEST:            needsClient | needsServer,
	CONFIRM:            needsClient | noServer | multicastOnly,
	RENEW:              needsClient | needsServer,
	REBIND:             needsClient | noServer | multicastOnly,
	RELEASE:            needsClient | needsServer,
	DECLINE:            needsClient | needsServer,
	INFORMATIONREQUEST: noIAs | multicastOnly,
}

// Answer decides about one message. It reads the leases and keeps its offers; all other
// consequences are the caller's to carry out.
func (p *Pool) Answer(req *Request, now time.Time) Decision {
	p.Expire(now)
	rule := rules[req.Type]
	switch {
	case len(p.svc.Reach(req)) == 0 && !p.svc.stateless:
		return Decision{Why: pool.NoSubnet}
	case rule&multicastOnly != 0 && req.Unicast:
		return Decision{Why: ByUnicast}
	case rule&needsClient != 0 && req.ClientID == nil,
		rule&needsServer != 0 && req.ServerID == nil,
		rule&noServer != 0 && req.ServerID != nil,
		rule&noIAs != 0 && len(req.IAs()) > 0:
		return Decision{Why: Invalid}
	case req.ServerID != nil && string(req.ServerID) != p.svc.duid:
		if req.Type == REQUEST {
			for i := range req.IAs() {
				p.Withdraw(p.OfferTo(req.key(&req.ias[i])), now)
			}
		}
		return Decision{Why: pool.OtherServer}
	}
	var d Decision
	switch req.Type {
	case SOLICIT:
		d = p.solicit(req, now)
	case REQUEST, RENEW, REBIND:
		d = p.assign(req, now)
	case CONFIRM:
		d = p.confirm(req)
	case RELEASE:
		d = p.end(req, lease.Released, now)
	case DECLINE:
		d = p.end(req, lease.Declined, now)
	default:
		d = Decision{Reply: REPLY, Why: pool.Informed}
	}
	if p.svc.stateless && (req.Type == SOLICIT || req.Type == REQUEST || req.Type == RENEW || req.Type == REBIND) {
		d.Why = Stateless
	}
	if d.Reply != 0 && d.Status == nil {
		// The options are those of the subnet of the first address.
		ia := &IA{}
		if len(req.IAs()) > 0 {
			ia = &req.ias[0]
		}
		sub := p.svc.Subnet(d.Given())
		d.own, d.bootFile, sub = p.svc.Profile(p.client(req, ia), sub)
		if d.book = p.svc.book; sub != nil {
			d.book = sub.Book
		}
	}
	return d
}

// solicit answers a SOLICIT, RFC 8415 §18.3.1. A client that allows it gets
// its addresses at once.
func (p *Pool) solicit(req *Request, now time.Time) Decision {
	if req.Rapid {
		if d := p.assign(req, now); len(d.Bind) > 0 {
			d.Rapid = true
			return d
		}
	}
	d := Decision{Reply: ADVERTISE, Why: Nothing}
	for i := range req.IAs() {
		ia := &req.ias[i]
		r, c := unavailable(ia), p.client(req, ia)
		if ia.Code == optIANA {
			d.Why = p.ExhaustedReason(c, now)
			p.give(&r, ia.Addrs(), c, now)
		}
		if r.Address.IsValid() {
			d.Why = Advertised
			p.setProbe(&d, r.Address, c)
		}
		if c.InUse.IsValid() {
			d.InUse = c.InUse
		}
		d.IAs = append(d.IAs, r)
	}
	d.Hostname, _ = p.Hostname(p.client(req, &IA{}), "", now)
	return d
}

// unavailable is the answer to an association without an address.
func unavailable(ia *IA) IAReply {
	r := IAReply{Code: ia.Code, ID: ia.ID, Status: status(NoAddrsAvail)}
	if ia.Code == optIAPD {
		r.Status = status(NoPrefixAvail)
	}
	return r
}

// give enters an address for an association in its answer, and offers it.
func (p *Pool) give(r *IAReply, wanted []netip.Addr, c *pool.Client, now time.Time) {
	if p.svc.stateless {
		return
	}
	if a := p.Choose(c, wanted, now); a.IsValid() {
		p.offer(r, a, c, now)
	}
}

func (p *Pool) offer(r *IAReply, a netip.Addr, c *pool.Client, now time.Time) {
	r.Status, r.Address, r.Seconds = nil, a, p.svc.Subnet(a).Seconds(0)
	p.Offer(c, a, now)
}

// setProbe has an address probed that may be in use.
func (p *Pool) setProbe(d *Decision, a netip.Addr, c *pool.Client) {
	if !d.Probe.IsValid() && p.NeedsProbe(a, c) {
		d.Probe = a
	}
}

// assign answers a message that requests or extends addresses, and binds them.
func (p *Pool) assign(req *Request, now time.Time) Decision {
	d := Decision{Reply: REPLY, Why: Nothing}
	var clients []*pool.Client
	var bindings []pool.Binding
	why := pool.Renewed
	for i := range req.IAs() {
		ia := &req.ias[i]
		r, c := unavailable(ia), p.client(req, ia)
		offered := p.OfferTo(c.Key)
		if ia.Code == optIANA {
			d.Why = p.ExhaustedReason(c, now)
			switch {
			case req.Type == RENEW || req.Type == REBIND:
				p.extend(&r, ia, c, now)
			case req.Type == REQUEST && !onLink(c, ia.Addrs()): // RFC 8415 §18.3.2
				r.Status = status(NotOnLink)
			default:
				p.give(&r, ia.Addrs(), c, now)
			}
		}
		had, active := p.Leases.ByClient(c.Key)
		active = active && had.Live(now)
		if active && r.Address.IsValid() && r.Address != had.Address && p.MayLeave(c, &had) == pool.NotHolder {
			p.Withdraw(p.OfferTo(c.Key), now)
			r = unavailable(ia)
		}
		if c.InUse.IsValid() {
			d.InUse = c.InUse
		}
		switch {
		case r.Address.IsValid():
			p.setProbe(&d, r.Address, c)
			b := p.Bind(c, r.Address, r.Seconds, nil, now)
			if !b.Renewed {
				why = pool.Bound
			}
			d.Bind, bindings, clients = append(d.Bind, b.Lease), append(bindings, b), append(clients, c)
			d.Accepts = d.Accepts || offered != nil && offered.Addr == r.Address
		case r.Status != nil && *r.Status == NotOnLink:
			d.Why = OffLink
		case r.Status != nil && *r.Status == NoBinding:
			d.Why = pool.NotLeased
			if res := p.svc.ReservationOf(had.Address); active && res != nil && !res.IsFor(c) && p.Proof(c, had.Address) == pool.IsHolder {
				// The holder learns of it by this answer, and the client that it is reserved for may have it.
				d.End, d.EndKind = append(d.End, had), lease.Released
			}
		}
		d.IAs = append(d.IAs, r)
	}
	if !d.Probe.IsValid() { // else the message is answered again
		for i := range bindings {
			p.Commit(clients[i], &bindings[i], now)
		}
	}
	if len(d.Bind) > 0 {
		d.Why, d.Hostname = why, d.Bind[0].Hostname
		if d.Hostname == "" {
			d.Refused = pool.Hostname(req.Hostname)
		}
	}
	return d
}

// extend is for a RENEW and a REBIND, RFC 8415 §18.3.4 and §18.3.5. Addresses that the
// client may not have any more get lifetimes of zero.
//
// Deviation: a REBIND of an unknown address is answered as a RENEW is. This is
// the link's only server, and the client then restarts at once.
//
// Deviation: an address that is unknown, but free, is bound: lost leases are restored by
// their clients, as in IPv4.
func (p *Pool) extend(r *IAReply, ia *IA, c *pool.Client, now time.Time) {
	var a netip.Addr
	if !p.svc.stateless {
		a = p.extendable(ia, c, now)
		if !a.IsValid() && (ia.n == 0 || !onLink(c, ia.Addrs())) {
			a = p.Choose(c, nil, now)
		}
	}
	for _, old := range ia.Addrs() {
		if old != a && (a.IsValid() || c.Subnet(old) == nil) {
			r.Invalid = append(r.Invalid, old)
		}
	}
	switch {
	case a.IsValid():
		p.offer(r, a, c, now)
	case len(r.Invalid) > 0:
		r.Status = nil
	default:
		r.Status = status(NoBinding)
	}
}

// extendable returns the address that a client keeps: the reserved one, the one
// that it has, which may be outside of the ranges by now, or one of those that it names.
func (p *Pool) extendable(ia *IA, c *pool.Client, now time.Time) netip.Addr {
	if r := p.Reserved(c, netip.Addr{}, now); r != nil {
		return r.Address
	}
	if l, ok := p.Leases.ByClient(c.Key); ok && l.Live(now) {
		a := l.Address
		sub, r := c.Subnet(a), p.svc.ReservationOf(a)
		if sub != nil && sub.Usable(a) && (r == nil || r.IsFor(c)) && !p.Quarantined(a) {
			return a
		}
	}
	for _, a := range ia.Addrs() {
		if p.Available(a, c, now) && !p.OverQuota(a, c, now) {
			return a
		}
	}
	return netip.Addr{}
}

// onLink reports whether addresses are all in subnets of the client.
func onLink(c *pool.Client, addrs []netip.Addr) bool {
	for _, a := range addrs {
		if c.Subnet(a) == nil {
			return false
		}
	}
	return true
}

// confirm answers a CONFIRM, RFC 8415 §18.3.3: whether the client is still on this
// link.
func (p *Pool) confirm(req *Request) Decision {
	asked := false
	for i := range req.IAs() {
		ia := &req.ias[i]
		asked = asked || ia.n > 0
		if !onLink(p.client(req, ia), ia.Addrs()) {
			return Decision{Reply: REPLY, Why: OffLink, Status: status(NotOnLink)}
		}
	}
	if !asked {
		return Decision{Why: NoAddresses}
	}
	return Decision{Reply: REPLY, Why: Confirmed, Status: status(Success)}
}

// end answers a RELEASE and a DECLINE, RFC 8415 §18.3.7 and §18.3.8: success,
// and a status for each association that the client does not have. An address that was
// only offered can be declined, and is no binding to release.
func (p *Pool) end(req *Request, kind lease.Kind, now time.Time) Decision {
	d := Decision{Reply: REPLY, Why: pool.Released, Status: status(Success), EndKind: kind}
	if kind == lease.Declined {
		d.Why = pool.Declined
	}
	for i := range req.IAs() {
		ia := &req.ias[i]
		c := p.client(req, ia)
		ended := false
		for _, a := range ia.Addrs() {
			o := p.OfferTo(c.Key)
			l, ok := p.Leases.ByClient(c.Key)
			if (!ok || l.Address != a || !l.Live(now)) && (kind != lease.Declined || o == nil || o.Addr != a) {
				continue
			}
			was := lease.Lease{MAC: c.Key.MAC, DUID: c.Key.DUID, IAID: c.Key.IAID, Address: a, Start: now}
			switch p.Proof(c, a) {
			case pool.NotHolder:
				continue
			case pool.IsHolder:
				p.Withdraw(o, now)
				if kind == lease.Declined {
					p.Quarantine(a, now)
				}
				d.End = append(d.End, was)
			default:
				d.EndUnused = append(d.EndUnused, was)
			}
			ended = true
		}
		if !ended {
			d.IAs = append(d.IAs, IAReply{Code: ia.Code, ID: ia.ID, Status: status(NoBinding)})
		}
	}
	if len(d.End)+len(d.EndUnused) == 0 {
		d.Why = pool.NotLeased
	}
	return d
}
