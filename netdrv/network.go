package netdrv

import (
	"net/netip"
	"time"
)

// Network is what a user declares, and nothing that a kernel fills in.
// Networks are values: two that print alike are alike.
type Network struct {
	// Name is unique on a host: letters, digits, '-', '_' and '.', 1 to 63.
	Name    string
	Mode    Mode
	Bridge  Bridge
	Subnets []Subnet
	DNS     DNS
	NAT     NATOptions
	// Autostart: the network is started when the host boots.
	Autostart bool
	// Transient: the definition does not outlive the network's being live.
	Transient bool
}

// Bridge is the link that a network's guests are attached to.
type Bridge struct {
	// Name is the link's name, 1 to 15 bytes. Complete picks one if empty.
	Name string
	// MAC is fixed, so that guests' neighbour caches outlive the bridge.
	// Complete picks one if zero.
	MAC MAC
	// MTU in bytes; 0 leaves the kernel's 1500.
	MTU int
}

// Subnet is the host's address on a network with its prefix, and what is
// served there.
type Subnet struct {
	// Address is the gateway with its prefix length: 192.168.122.1/24.
	Address netip.Prefix
	// DHCP is nil where none is served.
	DHCP *DHCP
}

// DHCP is what the DHCP server hands out on a subnet.
type DHCP struct {
	Ranges []Range
	// LeaseTime of 0 means DefaultLeaseTime.
	LeaseTime    time.Duration
	Reservations []Reservation
}

// DefaultLeaseTime is what dnsmasq and therefore libvirt's users have.
const DefaultLeaseTime = time.Hour

// MinLeaseTime is the shortest lease time that a definition may ask for.
const MinLeaseTime = 2 * time.Minute

// Range is a pool of addresses, both ends included.
type Range struct{ Start, End netip.Addr }

// Contains reports whether a is in the range.
func (r Range) Contains(a netip.Addr) bool { return r.Start.Compare(a) <= 0 && a.Compare(r.End) <= 0 }

// Reservation binds an address to a guest's MAC.
type Reservation struct {
	MAC      MAC
	Address  netip.Addr
	Hostname string // may be empty: then the guest's own word counts
}

// DNS is what the DNS server of a network knows.
type DNS struct {
	// Domain is the network's own zone, never forwarded. Complete sets it.
	Domain     string
	Forwarders []Forwarder
}

// Forwarder sends a domain, or everything if Domain is empty, to one server.
type Forwarder struct {
	Domain  string
	Address netip.AddrPort
}

// NATOptions is meaningful in mode NAT only.
type NATOptions struct {
	// Ports are the source ports that TCP and UDP may leave with; zero means
	// DefaultNATPorts.
	Ports PortRange
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ Start, End uint16 }

// DefaultNATPorts keeps guests off the ports below 1024, which some servers
// (NFS) trust.
var DefaultNATPorts = PortRange{1024, 65535}

// IsZero reports whether the range is not set.
func (p PortRange) IsZero() bool { return p == PortRange{} }

// Gateways returns the host's addresses on the network, in order.
func (n *Network) Gateways() []netip.Addr {
	var out []netip.Addr
	for _, s := range n.Subnets {
		out = append(out, s.Address.Addr())
	}
	return out
}

// HasIPv6 reports whether one of the subnets is IPv6.
func (n *Network) HasIPv6() bool {
	for _, s := range n.Subnets {
		if s.Address.Addr().Is6() {
			return true
		}
	}
	return false
}

// HasIPv4 reports whether one of the subnets is IPv4.
func (n *Network) HasIPv4() bool {
	for _, s := range n.Subnets {
		if s.Address.Addr().Is4() {
			return true
		}
	}
	return false
}
