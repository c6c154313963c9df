package pool

import (
	"net/netip"
	"time"

	"github.com/vnetd/vnetd/dhcpd/fair"
	"github.com/vnetd/vnetd/dhcpd/lease"
)

// A Client is the sender of a message, and what it can be answered from.
type Client struct {
	Key      lease.Client
	ID       string    // option 61 of IPv4; "" if no reservation needs it, as the next two
	DUID     string    // in IPv4 that of option 61
	Name     string    // the hostname that it sends, or sent last
	Hostname []byte    // the hostname that it sends; nil: none
	Subnets  []*Subnet // in which it may have an address

	Origin   fair.Origin // where the message came from; its Port is fair.Untracked where ports are not known
	Sender   lease.MAC   // the frame's source
	FDB      fair.FDB    // of the bridge; nil: Origin.Port is certain
	Relayed  bool
	OwnMAC   bool // the frame has the MAC that the client claims, or a relay sent it
	Verified bool // the frame has that MAC, or a relay of a declared subnet vouches for it

	// InUse is an address that is reserved for the client, and leased to another one. It
	// is set by methods of Pool.
	InUse netip.Addr
}

// Identify fills in ID, DUID and Name, by which a reservation can know the client: from
// option 61 (nil in IPv6) and from the hostname that it sends or sent last.
func (p *Pool) Identify(c *Client, id []byte) {
	c.DUID = c.Key.DUID
	if p.svc.macsOnly {
		return
	}
	if !p.svc.IPv6 {
		c.ID, c.DUID = string(id), duidOf(string(id))
	}
	if c.Hostname != nil {
		c.Name = Hostname(c.Hostname)
	} else if l, ok := p.Leases.ByClient(c.Key); ok {
		c.Name = l.Wanted
	}
}

// clientOf returns the client that has a lease.
func clientOf(l *lease.Lease) *Client {
	c := &Client{Key: l.Client(), ID: l.ClientID, DUID: l.DUID, Name: l.Wanted}
	if l.Address.Is4() {
		c.DUID = duidOf(l.ClientID)
	}
	return c
}

// duidOf returns the DUID in a client identifier, which has type 255, an IAID and the
// DUID (RFC 4361 §6.1), or "".
func duidOf(id string) string {
	if len(id) < 8 || id[0] != 255 {
		return ""
	}
	return id[5:]
}

// Subnet returns the client's subnet that an address is in, or nil.
func (c *Client) Subnet(a netip.Addr) *Subnet {
	for _, sub := range c.Subnets {
		if sub.Prefix.Contains(a) {
			return sub
		}
	}
	return nil
}

// Reserved returns a reservation of the client that it can have now: that of the address
// want if there is one, else the first. An address that another client has is not given
// twice. Clones share everything but the MAC: the first of them has what is reserved for
// all. The same MAC with another DUID is a guest that was installed again, if the message
// comes from where that guest is.
func (p *Pool) Reserved(c *Client, want netip.Addr, now time.Time) *Reservation {
	var first *Reservation
	for r := range p.svc.reservations(c) {
		if c.Subnet(r.Address) == nil || p.Quarantined(r.Address) {
			continue
		}
		if o := p.offers.byAddr[r.Address]; o != nil && siblings(o.client, c.Key) {
			continue
		}
		if l, ok := p.Leases.ByAddr(r.Address); ok && l.Client() != c.Key && l.Live(now) {
			switch {
			case siblings(l.Client(), c.Key):
				continue
			case l.MAC != c.Key.MAC:
				if !r.IsFor(clientOf(&l)) {
					c.InUse = r.Address
				}
				continue
			case p.Proof(c, r.Address) == NotHolder:
				continue
			}
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

// siblings reports whether two are identity associations of one IPv6 client.
func siblings(a, b lease.Client) bool { return a != b && a.MAC == b.MAC && a.DUID == b.DUID }

// ReservedName returns the hostname that is reserved for the client, or "". Of clones only
// one has it.
func (p *Pool) ReservedName(c *Client, now time.Time) string {
	for r := range p.svc.reservations(c) {
		if r.Hostname == "" {
			continue
		}
		mac, held := p.Leases.Holder(r.Hostname, now)
		if !held || (r.MAC == c.Key.MAC || mac == c.Key.MAC) && (c.Verified || p.hasName(c, r.Hostname, now)) {
			return r.Hostname
		}
	}
	return ""
}

// Hostname returns the hostname that a client gets, and the one that it would get if no
// other client had it: of its reservation, as it sends it, as before (wanted), or as in
// IPv4. The first holder of a name keeps it while its port is up; the hostname of a
// reservation is for its client only.
func (p *Pool) Hostname(c *Client, wanted string, now time.Time) (has, wants string) {
	if name := p.ReservedName(c, now); name != "" {
		return name, name
	}
	if c.Hostname != nil {
		wanted = Hostname(c.Hostname)
	} else if wanted == "" && c.Verified {
		if l, ok := p.Leases.ByMAC(c.Key.MAC); ok && l.Live(now) {
			wanted = l.Wanted
		}
	}
	if r := p.svc.byHostname[wanted]; r != nil && !r.IsFor(c) {
		return "", ""
	}
	// An unverified MAC shares no name with the guest that has this MAC.
	if mac, held := p.Leases.Holder(wanted, now); held && (mac != c.Key.MAC || !c.Verified && !p.hasName(c, wanted, now)) {
		return "", wanted
	}
	return wanted, wanted
}

// hasName reports whether a client's lease has a hostname.
func (p *Pool) hasName(c *Client, name string, now time.Time) bool {
	l, ok := p.Leases.ByClient(c.Key)
	return ok && l.Hostname == name && l.Live(now)
}

// Hostname returns the label that a client's hostname has in the DNS: the part before the
// first dot, in lower case. It is "" if that is not letters, digits and inner hyphens, at
// most 63 (RFC 1123 §2.1).
func Hostname(raw []byte) string {
	var label [63]byte
	n := 0
	for _, c := range raw {
		if c == '.' || c == 0 { // some clients count the NUL
			break
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if n == len(label) || (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return ""
		}
		label[n] = c
		n++
	}
	if n == 0 || label[0] == '-' || label[n-1] == '-' {
		return ""
	}
	return string(label[:n])
}
