package v4

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
	"github.com/vnetd/vnetd/dhcpd/option"
	"github.com/vnetd/vnetd/dhcpd/pool"
)

// A Decision is what to do about a request.
type Decision struct {
	// Reply is the type of the message to send; 0: none.
	Reply MessageType
	State State // of a REQUEST
	Why   pool.Reason

	// Subnet is what Address is in, and makes the reply; nil if the message came from
	// no subnet of ours.
	Subnet *Subnet

	Address  netip.Addr // offered, bound, declined or released
	Seconds  uint32     // the lease time, option 51; ^0 is infinite
	Hostname string     // option 12
	Refused  string     // the hostname that the client asked for, if another client has it
	Name     string     // the client's name in the DNS, for option 81

	// Bind: Lease must be stored before the reply is sent.
	Bind  bool
	Lease lease.Lease

	// Accepts: Address had been offered to the client before it was bound.
	Accepts bool

	// Probe: Address is to be probed first. An address that is offered or bound may be in
	// use by a host without a lease (see pool.ConfirmUnused and pool.Quarantine; after
	// ConfirmUnused, a REQUEST is to be answered again). A lease does not end if the
	// client still uses its address: the message may be forged.
	Probe bool

	// InUse is reserved for the client and leased to another one; until that lease ends,
	// the client has a different address.
	InUse netip.Addr

	// End, if not zero, is how the client's lease of Address ends.
	End lease.Kind

	own      *option.Own // the options of the client's reservation
	bootFile string      // of the client's reservation
}

// State is that of a client that sends a REQUEST, RFC 2131 §4.3.2.
type State uint8

// The states, by the RFC's names.
const (
	SELECTING  State = iota + 1 // it accepts an offer
	INITREBOOT                  // it verifies the address that it had before it booted
	RENEWING                    // it extends its lease, by unicast
	REBINDING                   // it extends its lease, by broadcast
)

func (s State) String() string {
	return [...]string{"", "SELECTING", "INIT-REBOOT", "RENEWING", "REBINDING"}[s]
}

// The reasons of IPv4 alone. NAKs carry their text (option 56).
const (
	Offered pool.Reason = "offered"

	// NAKs; and pool.OverQuota, which is also a reason not to reply.
	WrongNetwork  pool.Reason = "wrong network"
	NotForClients pool.Reason = "not an address for clients"
	OutsideRanges pool.Reason = "address is outside the ranges"
	ReservedOther pool.Reason = "address is reserved for another client"
	ReservedElse  pool.Reason = "client has a reservation for another address"
	Leased        pool.Reason = "address is leased to another client"
	OfferedOther  pool.Reason = "address was offered to another client"
	Quarantined   pool.Reason = "address is in quarantine"
	HasAnother    pool.Reason = "client has another address"

	// No reply.
	Forged     pool.Reason = "not sent by the holder of the lease"
	Incomplete pool.Reason = "address is missing"
	Unknown    pool.Reason = "unknown message"
)

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

// Reach returns the subnets that a message may be answered from.
func (p *Pool) Reach(req *Request) []*pool.Subnet { return p.svc.reach(req) }

// client returns the sender of a message.
func (p *Pool) client(req *Request) pool.Client {
	c := pool.Client{
		Key: lease.Client{MAC: req.MAC}, Hostname: req.Hostname, Subnets: p.svc.reach(req), Origin: req.Origin, Sender: req.From,
		FDB: req.FDB, Relayed: req.Relayed(),
	}
	fromRelayed := len(c.Subnets) == 1 && c.Subnets[0].Relayed
	// Behind a relay a client's MAC is not the frame's.
	if c.OwnMAC = c.Relayed || req.From == (lease.MAC{}) || req.From == req.MAC || req.Unicast && fromRelayed; !c.OwnMAC {
		c.Origin.Circuit = fair.Unverified
	}
	c.Verified = c.OwnMAC && (!c.Relayed || len(c.Subnets) > 0 && c.Subnets[0].Relayed)
	p.Identify(&c, req.ClientID)
	return c
}

// subnet returns the client's subnet that an address is in, or nil.
func (p *Pool) subnet(c *pool.Client, a netip.Addr) *Subnet {
	if sub := c.Subnet(a); sub != nil {
		return p.svc.subnets[sub.Number]
	}
	return nil
}

// Answer decides about one message. It reads the leases and keeps its offers; all other
// consequences are the caller's to carry out.
func (p *Pool) Answer(req *Request, now time.Time) Decision {
	p.Expire(now)
	c := p.client(req)
	if len(c.Subnets) == 0 {
		return Decision{Why: pool.NoSubnet}
	}
	var d Decision
	switch req.Type {
	case DHCPDISCOVER:
		d = p.discover(req, &c, now)
	case DHCPREQUEST:
		d = p.request(req, &c, now)
	case DHCPDECLINE:
		d = p.end(req, &c, req.RequestedIP, lease.Declined, now)
	case DHCPRELEASE:
		d = p.end(req, &c, req.CIAddr, lease.Released, now)
	case DHCPINFORM:
		d = p.inform(req, &c, now)
	default:
		d = Decision{Why: Unknown}
	}
	if d.Subnet == nil {
		d.Subnet = p.svc.subnets[c.Subnets[0].Number]
	}
	d.own, d.bootFile, _ = p.svc.Profile(&c, d.Subnet.Subnet)
	if d.Reply == DHCPOFFER || d.Bind {
		d.InUse = c.InUse
	}
	return d
}

// discover answers a DHCPDISCOVER, RFC 2131 §4.3.1.
func (p *Pool) discover(req *Request, c *pool.Client, now time.Time) Decision {
	a := p.Choose(c, []netip.Addr{req.RequestedIP}, now)
	if !a.IsValid() {
		return Decision{Why: p.ExhaustedReason(c, now)}
	}
	p.Offer(c, a, now)
	sub := p.subnet(c, a)
	d := Decision{
		Reply: DHCPOFFER, Why: Offered, Subnet: sub, Address: a, Seconds: sub.Seconds(req.LeaseTime),
		Hostname: p.ReservedName(c, now), Probe: p.NeedsProbe(a, c),
	}
	if req.FQDN {
		had, _ := p.Leases.ByMAC(req.MAC)
		d.Name, _ = p.Hostname(c, had.Wanted, now)
	}
	return d
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
// must be silent there. This one is the network's only server and sends a NAK, so
// that a client that moved here restarts at once; dnsmasq does the same with
// dhcp-authoritative, which libvirt sets.
//
// Deviation: if the address that such a client wants is free and in a range, it
// is bound, also as dnsmasq does: lost leases are restored by their clients.
//
// Deviation: a client that does not use the MAC that it claims gets no NAK, and a
// message that does not come from where a lease was bound does not move the client to
// another address. Guests see each other's transaction identifiers.
func (p *Pool) request(req *Request, c *pool.Client, now time.Time) Decision {
	state, want := req.state()
	if !p.svc.isServer(req) {
		p.Withdraw(p.OfferTo(c.Key), now) // it chose another server
		return Decision{State: state, Why: pool.OtherServer}
	}
	if !want.IsValid() {
		return Decision{State: state, Why: Incomplete}
	}
	had, ok := p.Leases.ByMAC(req.MAC)
	active := ok && had.Live(now)
	if why := p.refusal(state, want, c, now); why != "" {
		d := Decision{Reply: DHCPNAK, State: state, Why: why}
		switch {
		case !c.OwnMAC:
			return Decision{State: state, Why: Forged}
		case why == ReservedOther && active && had.Address == want && p.Proof(c, want) == pool.IsHolder:
			// The holder learns of it by this NAK, and the client that it is reserved for may have it.
			d.Subnet, d.Address, d.End = p.subnet(c, want), want, lease.Released
		}
		return d
	}
	if active && had.Address != want && p.MayLeave(c, &had) == pool.NotHolder {
		return Decision{State: state, Why: Forged}
	}
	return p.bind(state, want, req, c, now)
}

// refusal returns why the client may not have the address, or "".
func (p *Pool) refusal(state State, want netip.Addr, c *pool.Client, now time.Time) pool.Reason {
	if r := p.Reserved(c, want, now); r != nil {
		// It takes precedence over the leases of this client and of others.
		if r.Address != want {
			return ReservedElse
		}
		return ""
	}
	sub := c.Subnet(want)
	switch r := p.svc.ReservationOf(want); {
	case sub == nil:
		return WrongNetwork
	case !sub.Usable(want):
		return NotForClients
	case r != nil && !r.IsFor(c):
		return ReservedOther
	case p.Quarantined(want):
		return Quarantined
	}
	if l, ok := p.Leases.ByAddr(want); ok && l.Live(now) {
		if l.MAC != c.Key.MAC {
			return Leased
		}
		return "" // also outside of the ranges: a change of them does not affect leases
	}
	if !sub.InRange(want) {
		return OutsideRanges
	}
	if p.OverQuota(want, c, now) {
		return pool.OverQuota
	}
	o := p.OfferOf(want)
	if o != nil && o == p.OfferTo(c.Key) {
		return ""
	}
	if l, ok := p.Leases.ByMAC(c.Key.MAC); ok && l.Address != want && l.Live(now) && c.Subnet(l.Address) != nil {
		return HasAnother
	}
	// An offer is kept for its client, unless nothing else is left, see pool.Choose.
	if o != nil && (state != SELECTING || !p.NothingLeft(c, now)) {
		return OfferedOther
	}
	return ""
}

// bind gives the client its lease.
func (p *Pool) bind(state State, a netip.Addr, req *Request, c *pool.Client, now time.Time) Decision {
	sub := p.subnet(c, a)
	d := Decision{
		Reply: DHCPACK, State: state, Why: pool.Bound, Subnet: sub, Address: a,
		Seconds: sub.Seconds(req.LeaseTime), Hostname: p.ReservedName(c, now), Bind: true,
	}
	b := p.Bind(c, a, d.Seconds, req.ClientID, now)
	if d.Lease = b.Lease; b.Renewed {
		d.Why = pool.Renewed
	}
	if d.Name = d.Lease.Hostname; d.Name == "" {
		d.Refused = pool.Hostname(req.Hostname)
	}
	o := p.OfferTo(c.Key)
	d.Accepts = o != nil && o.Addr == a && !o.Unsent
	if d.Probe = !d.Accepts && p.NeedsProbe(a, c); d.Probe {
		p.Offer(c, a, now).Unsent = true
		return d
	}
	p.Commit(c, &b, now)
	return d
}

// end answers a DHCPRELEASE and a DHCPDECLINE, RFC 2131 §4.3.3 and §4.3.4. Unless the
// message certainly comes from the holder of the lease, the address is to be probed: a
// client that gives it back does not use it.
//
// Deviation: RFC 2131 table 5 has a RELEASE and a DECLINE name the server. One
// that names none is accepted: systemd-networkd's (as of 252) does not.
func (p *Pool) end(req *Request, c *pool.Client, a netip.Addr, kind lease.Kind, now time.Time) Decision {
	if !p.svc.isServer(req) {
		return Decision{Why: pool.OtherServer}
	}
	if !a.IsValid() || a.IsUnspecified() {
		return Decision{Why: Incomplete}
	}
	by := p.Proof(c, a)
	if by == pool.NotHolder {
		return Decision{Why: Forged}
	}
	o := p.OfferTo(c.Key)
	if l, ok := p.Leases.ByMAC(req.MAC); (o == nil || o.Addr != a) && (!ok || l.Address != a || !l.Live(now)) {
		return Decision{Why: pool.NotLeased}
	}
	d := Decision{Why: pool.Released, Subnet: p.subnet(c, a), Address: a, End: kind, Probe: by != pool.IsHolder}
	if kind == lease.Declined {
		d.Why = pool.Declined
	}
	switch {
	case d.Probe:
	case kind == lease.Declined:
		p.Quarantine(a, now)
	default:
		p.Withdraw(o, now)
	}
	return d
}

// inform answers a DHCPINFORM, RFC 2131 §4.3.5: options, and no lease.
func (p *Pool) inform(req *Request, c *pool.Client, now time.Time) Decision {
	if req.CIAddr.IsUnspecified() {
		return Decision{Why: Incomplete}
	}
	sub := p.subnet(c, req.CIAddr)
	if sub == nil || !sub.Usable(req.CIAddr) {
		return Decision{Why: WrongNetwork}
	}
	return Decision{Reply: DHCPACK, Why: pool.Informed, Subnet: sub, Hostname: p.ReservedName(c, now)}
}
