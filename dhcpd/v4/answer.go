package v4

import (
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/vnetd/vnetd/dhcpd/lease"
)

// Answer decides about one message. It reads the leases and remembers what it
// promises; everything else is the caller's to do.
func (p *Pool) Answer(req *Request, now time.Time) Decision {
	p.tidy(now)
	if !req.GIAddr.IsUnspecified() {
		return Decision{Why: Relayed}
	}
	switch req.Type {
	case dhcpv4.MessageTypeDiscover:
		return p.discover(req, now)
	case dhcpv4.MessageTypeRequest:
		return p.request(req, now)
	case dhcpv4.MessageTypeDecline:
		return p.decline(req, now)
	case dhcpv4.MessageTypeRelease:
		return p.release(req, now)
	case dhcpv4.MessageTypeInform:
		return p.inform(req)
	}
	return Decision{Why: Unknown}
}

// discover answers a DHCPDISCOVER, RFC 2131 §4.3.1.
func (p *Pool) discover(req *Request, now time.Time) Decision {
	a := p.choose(req, now)
	if !a.IsValid() {
		return Decision{Why: Exhausted}
	}
	o := p.promise(req.MAC, a, now)
	d := Decision{
		Reply: dhcpv4.MessageTypeOffer, Why: Offered,
		Address: a, Seconds: p.sub.seconds(req.LeaseTime), Hostname: p.sub.byMAC[req.MAC].Hostname,
		Check: !o.checked && p.doubtful(a, req.MAC),
	}
	if req.FQDN {
		had, _ := p.leases.ByMAC(req.MAC)
		d.Name = p.hostname(req, had.Hostname, now)
	}
	return d
}

// doubtful says whether an address should be looked for on the wire: the
// client never had it, and nobody has reserved it for the client.
func (p *Pool) doubtful(a netip.Addr, mac lease.MAC) bool {
	if owner, reserved := p.sub.byAddr[a]; reserved && owner == mac {
		return false
	}
	l, had := p.leases.ByMAC(mac)
	return !had || l.Address != a
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
func (p *Pool) request(req *Request, now time.Time) Decision {
	state, want := req.state()
	if req.ServerID.IsValid() && req.ServerID != p.sub.server {
		p.recall(p.offers.byMAC[req.MAC]) // it chose another server
		return Decision{State: state, Why: OtherServer}
	}
	if !want.IsValid() {
		return Decision{State: state, Why: Incomplete}
	}
	if why := p.refuse(state, want, req.MAC, now); why != 0 {
		return Decision{Reply: dhcpv4.MessageTypeNak, State: state, Why: why}
	}
	return p.bind(state, want, req, now)
}

// refuse says why the client may not have the address, or 0.
func (p *Pool) refuse(state State, want netip.Addr, mac lease.MAC, now time.Time) Reason {
	if a, ok := p.reserved(mac); ok {
		// It wins over the client's lease and over another's.
		if a != want {
			return ReservedElse
		}
		return 0
	}
	if why := p.forbidden(want, mac); why != 0 {
		return why
	}
	if l, ok := p.leases.ByAddr(want); ok && l.Live(now) {
		if l.MAC != mac {
			return Taken
		}
		return 0 // also outside of the ranges: guests do not notice an edit
	}
	if _, in := p.sub.spans.number(want); !in {
		return OutsideRanges
	}
	if state == SELECTING {
		return 0 // who names our offer first gets it, see findPromised
	}
	if o := p.offers.byAddr[want]; o != nil && o.mac != mac {
		return Promised
	}
	if l, ok := p.leases.ByMAC(mac); ok && l.Address != want && l.Live(now) {
		return HasAnother
	}
	return 0
}

// forbidden says why nobody but its owner may have the address, or 0.
func (p *Pool) forbidden(want netip.Addr, mac lease.MAC) Reason {
	owner, reserved := p.sub.byAddr[want]
	switch {
	case !p.sub.prefix.Contains(want):
		return WrongNetwork
	case !p.sub.usable(want):
		return NotForClients
	case reserved && owner != mac:
		return ReservedOther
	case p.declined.has(want):
		return Resting
	}
	return 0
}

// bind gives the client its lease.
func (p *Pool) bind(state State, a netip.Addr, req *Request, now time.Time) Decision {
	had, ok := p.leases.ByMAC(req.MAC)
	d := Decision{
		Reply: dhcpv4.MessageTypeAck, State: state, Why: Bound, Address: a,
		Seconds: p.sub.seconds(req.LeaseTime), Hostname: p.sub.byMAC[req.MAC].Hostname,
		Bind: true,
	}
	d.Lease = lease.Lease{MAC: req.MAC, Address: a, Start: now, ClientID: had.ClientID}
	d.Lease.Hostname = p.hostname(req, had.Hostname, now)
	d.Name = d.Lease.Hostname
	if had.ClientID != string(req.ClientID) {
		d.Lease.ClientID = string(req.ClientID)
	}
	if ok && had.Address == a && had.Live(now) {
		d.Why, d.Lease.Start = Renewed, had.Start
	}
	if d.Seconds != infiniteSeconds {
		d.Lease.Expires = now.Add(time.Duration(d.Seconds) * time.Second)
	}
	p.recall(p.offers.byMAC[req.MAC])
	p.recall(p.offers.byAddr[a])
	p.unsettled = append(p.unsettled, a)
	if ok && had.Address != a {
		p.unsettled = append(p.unsettled, had.Address)
	}
	return d
}

// hostname decides what the client is called. The first holder of a name
// keeps it; a reservation's name is never anybody else's.
func (p *Pool) hostname(req *Request, had string, now time.Time) string {
	if r := p.sub.byMAC[req.MAC]; r.Hostname != "" {
		return r.Hostname
	}
	name := had
	if req.Hostname != nil {
		name = Hostname(req.Hostname)
	}
	if owner, reserved := p.sub.byName[name]; reserved && owner != req.MAC {
		return ""
	}
	if holder, held := p.leases.Holder(name, now); held && holder != req.MAC {
		return ""
	}
	return name
}

// decline answers a DHCPDECLINE, RFC 2131 §4.3.3.
func (p *Pool) decline(req *Request, now time.Time) Decision {
	a := req.RequestedIP
	if why := p.disown(req, a, now); why != 0 {
		return Decision{Why: why}
	}
	p.Rest(a, now)
	return Decision{Why: Declined, Address: a, End: lease.Declined}
}

// release answers a DHCPRELEASE, RFC 2131 §4.3.4.
func (p *Pool) release(req *Request, now time.Time) Decision {
	if why := p.disown(req, req.CIAddr, now); why != 0 {
		return Decision{Why: why}
	}
	p.recall(p.offers.byMAC[req.MAC])
	return Decision{Why: Released, Address: req.CIAddr, End: lease.Released}
}

// disown says why the client cannot give the address back, or 0.
//
// Deviation: RFC 2131 table 5 has a RELEASE and a DECLINE name the server. One
// that names none is taken: systemd-networkd's (as of 252) does not.
func (p *Pool) disown(req *Request, a netip.Addr, now time.Time) Reason {
	if req.ServerID.IsValid() && req.ServerID != p.sub.server {
		return OtherServer
	}
	if !a.IsValid() || a.IsUnspecified() {
		return Incomplete
	}
	if o := p.offers.byMAC[req.MAC]; o != nil && o.addr == a {
		return 0
	}
	if l, ok := p.leases.ByMAC(req.MAC); ok && l.Address == a && l.Live(now) {
		return 0
	}
	return NotHolder
}

// inform answers a DHCPINFORM, RFC 2131 §4.3.5: options, and no lease.
func (p *Pool) inform(req *Request) Decision {
	if req.CIAddr.IsUnspecified() {
		return Decision{Why: Incomplete}
	}
	if !p.sub.usable(req.CIAddr) {
		return Decision{Why: WrongNetwork}
	}
	return Decision{Reply: dhcpv4.MessageTypeAck, Why: Informed, Hostname: p.sub.byMAC[req.MAC].Hostname}
}
