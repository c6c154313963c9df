package v4

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

// Answer decides about one message. It reads the leases and remembers what it
// promises; everything else is the caller's to do.
func (p *Pool) Answer(req *Request, now time.Time) Decision {
	p.tidy(now)
	c := p.client(req)
	if len(c.on) == 0 {
		return Decision{Why: NoSubnet}
	}
	d := p.decide(req, &c, now)
	if d.Subnet == nil {
		d.Subnet = c.on[0]
	}
	d.Reserved = p.svc.reservation(&c, d.Subnet)
	d.own = p.svc.own(&c, d.Subnet)
	if d.Reply == DHCPOFFER || d.Bind {
		d.InUse = c.inUse
	}
	return d
}

func (p *Pool) decide(req *Request, c *client, now time.Time) Decision {
	switch req.Type {
	case DHCPDISCOVER:
		return p.discover(req, c, now)
	case DHCPREQUEST:
		return p.request(req, c, now)
	case DHCPDECLINE:
		return p.decline(req, c, now)
	case DHCPRELEASE:
		return p.release(req, c, now)
	case DHCPINFORM:
		return p.inform(req, c, now)
	}
	return Decision{Why: Unknown}
}

// discover answers a DHCPDISCOVER, RFC 2131 §4.3.1.
func (p *Pool) discover(req *Request, c *client, now time.Time) Decision {
	a := p.choose(req, c, now)
	if !a.IsValid() {
		return Decision{Why: p.lack(c, now)}
	}
	o := p.promise(c, a, now)
	sub := c.subnet(a)
	d := Decision{
		Reply: DHCPOFFER, Why: Offered, Subnet: sub,
		Address: a, Seconds: sub.seconds(req.LeaseTime), Hostname: p.reservedName(c, now),
		Check: !o.checked && !sub.relayed && p.doubtful(a, c),
	}
	if req.FQDN {
		had, _ := p.leases.ByMAC(req.MAC)
		d.Name, _ = p.hostname(req, c, had.Wanted, now)
	}
	return d
}

// lack says why there is no address for a client.
func (p *Pool) lack(c *client, now time.Time) Reason {
	if len(p.within(c, now)) < len(c.on) {
		return Greedy
	}
	for _, sub := range c.on {
		if sub.spans.size > 0 {
			return Exhausted
		}
	}
	return NoRanges
}

// doubtful says whether an address should be looked for on the wire: the
// client never had it, and it is not reserved for the client, or another client had
// it last.
func (p *Pool) doubtful(a netip.Addr, c *client) bool {
	l, had := p.leases.ByAddr(a)
	if r := p.svc.byAddr[a]; r != nil && r.isFor(c) {
		return had && l.MAC != c.mac
	}
	return !had || l.MAC != c.mac
}

// state tells the states of RFC 2131 §4.3.2 apart, table 4, and returns the
// address that the client wants.
//
//	             SELECTING   INIT-REBOOT  RENEWING   REBINDING
//	broad/unicast broadcast  broadcast    unicast    broadcast
//	server-ip     must       must not     must not   must not
//	requested-ip  must       must         must not   must not
//	ciaddr        zero       zero         address    address
func (req *Request) state() (State, netip.Addr) {
	switch {
	case req.ServerID.IsValid() && req.RequestedIP.IsValid():
		return SELECTING, req.RequestedIP
	case !req.CIAddr.IsUnspecified() && req.Unicast:
		return RENEWING, req.CIAddr
	case !req.CIAddr.IsUnspecified():
		return REBINDING, req.CIAddr
	}
	return INITREBOOT, req.RequestedIP
}

// request answers a DHCPREQUEST, RFC 2131 §4.3.2.
//
// Deviation: a server without a record of a client in INIT-REBOOT or REBINDING
// must be silent there. This one is the network's only server and says NAK, so
// that a client that moved here asks anew at once; dnsmasq does the same with
// dhcp-authoritative, which libvirt sets.
//
// Deviation: if the address that such a client wants is free and in a range, it
// is bound, also as dnsmasq does: leases that were lost come back by themselves.
//
// Deviation: a client that does not use the MAC that it claims gets no NAK, and a
// message that does not come from where a lease was bound does not move the client to
// another address. Guests see each other's transaction identifiers.
func (p *Pool) request(req *Request, c *client, now time.Time) Decision {
	state, want := req.state()
	if req.ServerID.IsValid() && !p.svc.isOurs(req) {
		p.recall(p.offers.byMAC[req.MAC], now) // it chose another server
		return Decision{State: state, Why: OtherServer}
	}
	if !want.IsValid() {
		return Decision{State: state, Why: Incomplete}
	}
	had, ok := p.leases.ByMAC(c.mac)
	live := ok && had.Live(now)
	if why := p.refuse(state, want, c, now); why != 0 {
		d := Decision{Reply: DHCPNAK, State: state, Why: why}
		switch {
		case !c.own:
			return Decision{State: state, Why: Forged}
		case why == ReservedOther && live && had.Address == want && p.proof(req, c, want) == holds:
			// The holder is told now, and the client that it is reserved for may have it.
			d.Subnet, d.Address, d.End = c.subnet(want), want, lease.Released
		}
		return d
	}
	if live && had.Address != want && p.leaves(&had, req, c) == notHolder {
		return Decision{State: state, Why: Forged}
	}
	return p.bind(state, want, req, c, now)
}

// leaves judges a message by which a client gives up its lease for another address.
// One that comes from another link cannot be compared with where the lease was bound,
// unless it is a relay's word against a guest's of our own link.
func (p *Pool) leaves(had *lease.Lease, req *Request, c *client) proof {
	if c.subnet(had.Address) == nil && c.own && !req.Relayed() {
		return plausible
	}
	return p.proof(req, c, had.Address)
}

// refuse says why the client may not have the address, or 0.
func (p *Pool) refuse(state State, want netip.Addr, c *client, now time.Time) Reason {
	if r := p.reserved(c, want, now); r != nil {
		// It wins over the client's lease and over another's.
		if r.Address != want {
			return ReservedElse
		}
		return 0
	}
	if why := p.forbidden(want, c); why != 0 {
		return why
	}
	if l, ok := p.leases.ByAddr(want); ok && l.Live(now) {
		if l.MAC != c.mac {
			return Taken
		}
		return 0 // also outside of the ranges: guests do not notice an edit
	}
	if _, in := c.subnet(want).spans.number(want); !in {
		return OutsideRanges
	}
	if p.greedy(want, c, now) {
		return Greedy
	}
	o := p.offers.byAddr[want]
	if o != nil && o.mac == c.mac {
		return 0
	}
	if l, ok := p.leases.ByMAC(c.mac); ok && l.Address != want && l.Live(now) && c.subnet(l.Address) != nil {
		return HasAnother
	}
	// An offer is for its client, unless there is nothing else, see findPromised.
	if o != nil && (state != SELECTING || p.anyFree(c, now)) {
		return Promised
	}
	return 0
}

// anyFree reports whether there is an address for a client that is neither leased nor
// offered.
func (p *Pool) anyFree(c *client, now time.Time) bool {
	return p.findFree(c, now).IsValid() || p.findEnded(c, now).IsValid()
}

// forbidden says why nobody but its owner may have the address, or 0.
func (p *Pool) forbidden(want netip.Addr, c *client) Reason {
	sub, r := c.subnet(want), p.svc.byAddr[want]
	switch {
	case sub == nil:
		return WrongNetwork
	case !sub.usable(want):
		return NotForClients
	case r != nil && !r.isFor(c):
		return ReservedOther
	case p.declined.has(want):
		return Resting
	}
	return 0
}

// bind gives the client its lease.
func (p *Pool) bind(state State, a netip.Addr, req *Request, c *client, now time.Time) Decision {
	had, ok := p.leases.ByMAC(req.MAC)
	sub := c.subnet(a)
	d := Decision{
		Reply: DHCPACK, State: state, Why: Bound, Subnet: sub, Address: a,
		Seconds: sub.seconds(req.LeaseTime), Hostname: p.reservedName(c, now),
		Bind: true,
	}
	d.Lease = lease.Lease{MAC: req.MAC, Address: a, Start: now, ClientID: had.ClientID}
	d.Lease.Hostname, d.Lease.Wanted = p.hostname(req, c, had.Wanted, now)
	if had.ClientID != string(req.ClientID) {
		d.Lease.ClientID = string(req.ClientID)
	}
	moves := true
	if ok && had.Address == a && had.Live(now) {
		d.Why, d.Lease.Start = Renewed, had.Start
		h, known := p.holder(a)
		// A client behind a relay asks without it between two of its messages.
		moves = !known || h != c.at && (c.at.Circuit != 0 || h.Circuit == 0 || h.Port != c.at.Port)
		if moves || d.Lease.Hostname != had.Hostname {
			// Extended for any sender; changed for the holder only.
			by := p.proof(req, c, a)
			if moves = moves && by >= plausible; by < plausible {
				d.Lease.Hostname, d.Lease.Wanted, d.Lease.ClientID = had.Hostname, had.Wanted, had.ClientID
			}
		}
	}
	if d.Lease.Port, d.Lease.Relay = had.Port, had.Relay; moves {
		where(&d.Lease, c.at)
	}
	if d.Name = d.Lease.Hostname; d.Name == "" {
		d.Refused = Hostname(req.Hostname)
	}
	if d.Seconds != infiniteSeconds {
		d.Lease.Expires = now.Add(time.Duration(d.Seconds) * time.Second)
	}
	o := p.offers.byMAC[req.MAC]
	d.TakesUp = o != nil && o.addr == a && !o.unasked
	if d.Check = !d.TakesUp && !sub.relayed && p.doubtful(a, c); d.Check {
		p.promise(c, a, now).unasked = true // until it was looked for
		return d
	}
	p.recall(o, now)
	p.recall(p.offers.byAddr[a], now)
	p.unsettled = append(p.unsettled, a)
	if moves {
		p.hold(a, c.at)
	}
	if ok && had.Address != a {
		p.unsettled = append(p.unsettled, had.Address)
		delete(p.beside, had.Address)
	}
	return d
}

// hostname decides what the client is called, and what it would be called if no
// other had that name. The first holder of a name keeps it while its link is there;
// a reservation's name is for its client only.
func (p *Pool) hostname(req *Request, c *client, wanted string, now time.Time) (has, wants string) {
	if name := p.reservedName(c, now); name != "" {
		return name, name
	}
	if req.Hostname != nil {
		wanted = Hostname(req.Hostname)
	}
	if r := p.svc.byName[wanted]; r != nil && !r.isFor(c) {
		return "", ""
	}
	// A MAC that a client merely claims, or a relay for it on our own link, shares no
	// name with the guest that has this MAC.
	if holder, held := p.leases.Holder(wanted, now); held && (holder != req.MAC || !c.sure && !p.called(c, wanted, now)) {
		return "", wanted
	}
	return wanted, wanted
}

// called reports whether a client's lease has a name.
func (p *Pool) called(c *client, name string, now time.Time) bool {
	l, ok := p.leases.ByMAC(c.mac)
	return ok && l.Hostname == name && l.Live(now)
}

// decline answers a DHCPDECLINE, RFC 2131 §4.3.3.
func (p *Pool) decline(req *Request, c *client, now time.Time) Decision {
	a := req.RequestedIP
	by, why := p.disown(req, c, a, now)
	if why != 0 {
		return Decision{Why: why}
	}
	d := Decision{Why: Declined, Subnet: c.subnet(a), Address: a, End: lease.Declined, Check: by != holds}
	if !d.Check {
		p.Rest(a, now)
	}
	return d
}

// release answers a DHCPRELEASE, RFC 2131 §4.3.4.
func (p *Pool) release(req *Request, c *client, now time.Time) Decision {
	by, why := p.disown(req, c, req.CIAddr, now)
	if why != 0 {
		return Decision{Why: why}
	}
	d := Decision{Why: Released, Subnet: c.subnet(req.CIAddr), Address: req.CIAddr, End: lease.Released, Check: by != holds}
	if !d.Check {
		p.recall(p.offers.byMAC[req.MAC], now)
	}
	return d
}

// disown says why the client cannot give the address back, or 0 and how well the
// message shows that it comes from the client. If that is less than holds, the address
// is to be looked for on the wire: a client that gives it back does not use it.
//
// Deviation: RFC 2131 table 5 has a RELEASE and a DECLINE name the server. One
// that names none is taken: systemd-networkd's (as of 252) does not.
func (p *Pool) disown(req *Request, c *client, a netip.Addr, now time.Time) (proof, Reason) {
	if req.ServerID.IsValid() && !p.svc.isOurs(req) {
		return notHolder, OtherServer
	}
	if !a.IsValid() || a.IsUnspecified() {
		return notHolder, Incomplete
	}
	by := p.proof(req, c, a)
	if by == notHolder {
		return by, Forged
	}
	if o := p.offers.byMAC[req.MAC]; o != nil && o.addr == a {
		return by, 0
	}
	if l, ok := p.leases.ByMAC(req.MAC); ok && l.Address == a && l.Live(now) {
		return by, 0
	}
	return by, NotHolder
}

// inform answers a DHCPINFORM, RFC 2131 §4.3.5: options, and no lease.
func (p *Pool) inform(req *Request, c *client, now time.Time) Decision {
	if req.CIAddr.IsUnspecified() {
		return Decision{Why: Incomplete}
	}
	sub := c.subnet(req.CIAddr)
	if sub == nil || !sub.usable(req.CIAddr) {
		return Decision{Why: WrongNetwork}
	}
	return Decision{Reply: DHCPACK, Why: Informed, Subnet: sub, Hostname: p.reservedName(c, now)}
}
