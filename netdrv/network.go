package netdrv

import (
	"math"
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
	Direct  Direct
	Subnets []Subnet
	DNS     DNS
	RA      RA
	NAT     NATOptions
	// Uplinks are the host's links through which a network of mode NAT or Route
	// reaches the outside, and nothing else. None: any.
	Uplinks []string
	// Routes are prefixes behind guests.
	Routes []StaticRoute
	// HostAccess is what guests reach on the host besides DHCP, DNS and ICMP.
	HostAccess HostAccess
	// Filter is what guests may send and be sent.
	Filter Filter
	// Forwards are ports of the host that lead to guests.
	Forwards []Forward
	// Access says who may take ports without being root.
	Access Access
	// Bandwidth is what may pass.
	Bandwidth NetworkBandwidth
	// Autostart: the network is started when the host boots.
	Autostart bool
	// Transient: the definition does not outlive the network's being live.
	Transient bool
}

// Choice is a switch that may be left alone.
type Choice uint8

// The zero Choice leaves the decision to vnetd.
const (
	Default Choice = iota
	Yes
	No
)

// Or returns the choice, and def if there is none.
func (c Choice) Or(def bool) bool {
	if c == Default {
		return def
	}
	return c == Yes
}

// Bridge is the link that a network's guests are attached to. Networks of mode
// Direct have none.
type Bridge struct {
	// Name is the link's name, 1 to 15 bytes. Complete picks one if empty.
	Name string
	// MAC is fixed, so that guests' neighbour caches outlive the bridge.
	// Complete picks one if zero. In mode Bridge it is zero: the bridge is the
	// host's, and has its uplink's.
	MAC MAC
	// MTU in bytes; 0 leaves the kernel's 1500, AutoMTU follows the uplinks.
	MTU int
	// Uplinks are the host's links on which the bridge of a network of mode
	// ExistingBridge is built. None: the bridge is there already.
	Uplinks []string
	// FDBMaxLearned is how many MACs the bridge learns; 0 means DefaultFDBMaxLearned. Not
	// for mode ExistingBridge.
	FDBMaxLearned int
}

// DefaultFDBMaxLearned is enough for the guests of a large network, and little enough to
// list and to hold when one guest invents MACs.
const DefaultFDBMaxLearned = 16384

// AutoMTU is the MTU that follows the uplinks, or the link of the host's
// default route where a network names none.
const AutoMTU = -1

// Direct is how guests get at an uplink in mode Direct.
type Direct struct {
	Uplinks []string
	Mode    DirectMode
	// HostAccess: the host gets a macvlan of its own on the first uplink, called
	// Bridge.Name, with the addresses of the subnets.
	HostAccess bool
}

// Subnet is the host's address on a network with its prefix, and what is
// served there.
type Subnet struct {
	// Address is the gateway with its prefix length: 192.168.122.1/24. An
	// unspecified one, 0.0.0.0/24 or ::/64, asks Pick for a free prefix.
	Address netip.Prefix
	// DHCP is nil where none is served.
	DHCP *DHCP
	// SLAAC: guests make addresses of an IPv6 prefix themselves. See Autonomous.
	SLAAC Choice
}

// IsIPv6 reports whether the subnet is of that family.
func (s *Subnet) IsIPv6() bool { return s.Address.Addr().Is6() }

// Stateful reports whether DHCP gives addresses on the subnet.
func (s *Subnet) Stateful() bool { return s.DHCP != nil && !s.DHCP.Stateless }

// Autonomous reports whether guests make addresses of the prefix themselves
// (the A flag of RFC 4862): by default where DHCP gives none, and only in a /64.
func (s *Subnet) Autonomous() bool {
	return s.IsIPv6() && s.Address.Bits() == 64 && s.SLAAC.Or(!s.Stateful())
}

// DHCP is what the DHCP server hands out on a subnet.
type DHCP struct {
	Ranges []Range
	// LeaseTime of 0 means DefaultLeaseTime.
	LeaseTime    time.Duration
	Reservations []Reservation
	// Stateless gives options and no addresses, IPv6 only (RFC 8415 section 6.1).
	Stateless bool
	// RenewTime and RebindTime are T1 and T2; 0 leaves them to the lease time.
	RenewTime  time.Duration
	RebindTime time.Duration
	// Options are for all guests of the subnet, Tags for some, those of a
	// reservation for its guest. For each option, the reservation's word counts
	// before its tags', a tag's before the next tag's, and those before the
	// subnet's.
	Options Options
	Tags    []Tag
	// Boot is nil where guests are not told what to boot.
	Boot *Boot
	// Exclude are addresses of Ranges that are not for guests. See Pools.
	Exclude []Range
	// Relayed are subnets behind relay agents.
	Relayed []RelayedSubnet
}

// RelayedSubnet is a subnet that guests ask from through a relay agent. The host
// has no address there.
type RelayedSubnet struct {
	Subnet netip.Prefix
	// Router is what IPv4 guests are told; the zero Addr: none.
	Router       netip.Addr
	Ranges       []Range
	Exclude      []Range
	LeaseTime    time.Duration // as in DHCP
	Reservations []Reservation
}

// Infinite is the LeaseTime of leases that never end.
const Infinite = time.Duration(math.MaxInt64)

// DefaultLeaseTime is what dnsmasq and therefore libvirt's users have.
const DefaultLeaseTime = time.Hour

// MinLeaseTime is the shortest lease time that a definition may ask for.
const MinLeaseTime = 2 * time.Minute

// Range is a pool of addresses, both ends included.
type Range struct{ Start, End netip.Addr }

// Contains reports whether a is in the range.
func (r Range) Contains(a netip.Addr) bool { return r.Start.Compare(a) <= 0 && a.Compare(r.End) <= 0 }

// Reservation binds an address to a guest. It is known by one of MAC, ClientID
// and DUID, or by its Hostname if there is none of them.
type Reservation struct {
	MAC MAC
	// ClientID is in octets (RFC 2132 section 9.14), IPv4 only.
	ClientID string
	// DUID is in octets, not in hexadecimal (RFC 8415 section 11).
	DUID     string
	Address  netip.Addr
	Hostname string // may be empty: then the guest's own word counts
	Options  Options
	Tags     []string // names of the subnet's, which the guest has anyway
	BootFile string   // what the guest boots, before all of DHCP.Boot's; may be empty
}

// ByName reports whether the guest is known by what it calls itself.
func (r *Reservation) ByName() bool { return r.MAC.IsZero() && r.ClientID == "" && r.DUID == "" }

// DNS is what the DNS server of a network knows.
type DNS struct {
	// Enabled by default, where the network has a subnet.
	Enabled Choice
	// Domain is the network's own zone. Complete sets it.
	Domain string
	// LocalOnly, the default: what the zone lacks does not exist. If No, it is
	// forwarded.
	LocalOnly  Choice
	Forwarders []Forwarder
	// RebindProtection refuses private addresses from outside, but for domains
	// that a forwarder names.
	RebindProtection bool
	// Records are names of its own, in the order of the definition.
	Records []Record
	// Peers are networks with names that are answered here, too; see MayResolve.
	Peers []string
}

// Record is a record as a zone file has it (RFC 1035 section 5.1): name and value
// are relative to the domain unless they end with a dot.
type Record struct {
	Name, Type, Value string
	// TTL of 0 means the DNS server's own.
	TTL time.Duration
}

// Forwarder sends a domain, or everything if Domain is empty, to one server.
// Several for one domain stand in for each other.
type Forwarder struct {
	Domain  string
	Address netip.AddrPort
	TLS     string // the name in the server's certificate; "" is without TLS
}

// DefaultPort is where a forwarder listens that names no port: 53, or 853 with
// TLS (RFC 7858 section 3.1).
func (f Forwarder) DefaultPort() uint16 {
	if f.TLS != "" {
		return 853
	}
	return 53
}

// RA is what router advertisements say on a network with IPv6 subnets
// (RFC 4861 section 6.2.1).
type RA struct {
	// Enabled by default.
	Enabled Choice
	// Interval is MaxRtrAdvInterval; 0 means DefaultRAInterval.
	Interval time.Duration
	// Lifetime is AdvDefaultLifetime; 0 means three times the interval. Networks
	// that do not forward say 0, whatever stands here.
	Lifetime   time.Duration
	Preference Preference
	// Routes are prefixes that are reached through the host (RFC 4191).
	Routes []netip.Prefix
}

// DefaultRAInterval is RFC 4861's.
const DefaultRAInterval = 10 * time.Minute

// NATOptions is meaningful in mode NAT only.
type NATOptions struct {
	// Ports are the source ports that TCP and UDP may leave with; zero means
	// DefaultNATPorts.
	Ports PortRange
	// Addresses are source addresses to leave with, at most a range of each
	// family. Without, the kernel picks the address of the link.
	Addresses []Range
	// IPv6 translates IPv6, too (NAT66).
	IPv6 bool
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ Start, End uint16 }

// DefaultNATPorts keeps guests off the ports below 1024, which some servers
// (NFS) trust.
var DefaultNATPorts = PortRange{1024, 65535}

// IsZero reports whether the range is not set.
func (p PortRange) IsZero() bool { return p == PortRange{} }

// StaticRoute is a prefix that is reached through a guest.
type StaticRoute struct {
	Destination netip.Prefix
	Via         netip.Addr
	Metric      int // 0: the kernel's default, 0 in IPv4 and 1024 in IPv6
}

// HostAccess is what guests reach on the host besides DHCP, DNS and ICMP.
type HostAccess struct {
	// Limited: the services, on the host's addresses on the network, and nothing
	// else. If not, vnetd has no rule about it.
	Limited  bool
	Services []Service
}

// Service is a range of ports of a protocol.
type Service struct {
	Protocol Protocol
	Ports    PortRange
}

// Protocol is an IP protocol's number (RFC 5237).
type Protocol uint8

// The protocols that services are made of.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// VeryIsolated reports whether the network is a bridge and nothing else.
func (n *Network) VeryIsolated() bool { return n.Mode == Isolated && len(n.Subnets) == 0 }

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
