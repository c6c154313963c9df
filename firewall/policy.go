package firewall

import "github.com/vnetd/vnetd/netdrv"

// Party is an end of a connection: a guest, by the kind of its network, a host outside, or
// the host itself.
type Party uint8

// The parties. A pinned network has uplinks; AtUplink is a host behind one of those, and
// Elsewhere one behind another link.
const (
	NoParty Party = iota
	NATGuest
	PinnedNATGuest
	RouteGuest
	PinnedRouteGuest
	IsolatedGuest
	VeryIsolatedGuest
	OpenGuest
	AtUplink
	Elsewhere
	HostGateway // the host by its address on the guest's network
	HostOther   // the host by another of its addresses
	parties
)

// String returns the name in the tables of docs/reachability.md.
func (p Party) String() string {
	return [...]string{
		"none", "nat", "nat, pinned", "route", "route, pinned", "isolated", "very isolated", "open",
		"outside, at the uplink", "outside, elsewhere", "host, gateway", "host, other address", "none",
	}[min(p, parties)]
}

// IsHost reports whether the party is the host, by whatever address.
func (p Party) IsHost() bool { return p == HostGateway || p == HostOther }

// PartyOf returns the party of a network's guests: NoParty in modes bridge and direct, which
// have no rules.
func PartyOf(n netdrv.Network) Party {
	pinned := Party(0)
	if len(n.Uplinks) > 0 {
		pinned = 1
	}
	switch {
	case n.Mode == netdrv.NAT:
		return NATGuest + pinned
	case n.Mode == netdrv.Route:
		return RouteGuest + pinned
	case n.VeryIsolated():
		return VeryIsolatedGuest
	case n.Mode == netdrv.Isolated:
		return IsolatedGuest
	case n.Mode == netdrv.Open:
		return OpenGuest
	}
	return NoParty
}

// Answer is what happens to the first packet from one party to another.
type Answer uint8

const (
	// No: not one packet arrives.
	No Answer = iota
	// Yes: it arrives as it was sent.
	Yes
	// Translated: it arrives with a source address of the host's; in IPv6 only
	// where the network says nat.ipv6, and as it was sent otherwise.
	Translated
	// Services: DHCP, DNS, boot files where there are some, and ICMP echo arrive,
	// and what hostServices names.
	Services
)

// String returns the word in the tables of docs/reachability.md.
func (a Answer) String() string {
	return [...]string{"–", "yes", "yes, translated", "services"}[min(a, Services)]
}

// policy is the authoritative table of which party may begin connections to which; replies
// pass always. Rows are those who begin. Two guests are on different networks: within one, all
// may connect. vnetd has no rules between outside and host, or between two hosts outside; their
// entries make the table complete.
//
// Isolated networks have limited access to the host (HostAccess.Limited) by default; other
// networks with limited access get Services and No as they do.
var policy = [parties][parties]Answer{
	NATGuest: {
		RouteGuest: Yes, OpenGuest: Yes, AtUplink: Translated, Elsewhere: Translated,
		HostGateway: Yes, HostOther: Yes,
	},
	PinnedNATGuest: {AtUplink: Translated, HostGateway: Yes, HostOther: Yes},
	RouteGuest: {
		RouteGuest: Yes, OpenGuest: Yes, AtUplink: Yes, Elsewhere: Yes,
		HostGateway: Yes, HostOther: Yes,
	},
	PinnedRouteGuest:  {AtUplink: Yes, HostGateway: Yes, HostOther: Yes},
	IsolatedGuest:     {HostGateway: Services},
	VeryIsolatedGuest: {},
	OpenGuest: {
		RouteGuest: Yes, OpenGuest: Yes, AtUplink: Yes, Elsewhere: Yes,
		HostGateway: Yes, HostOther: Yes,
	},
	AtUplink: {
		RouteGuest: Yes, PinnedRouteGuest: Yes, OpenGuest: Yes, AtUplink: Yes, Elsewhere: Yes,
		HostGateway: Yes, HostOther: Yes,
	},
	Elsewhere: {
		RouteGuest: Yes, OpenGuest: Yes, AtUplink: Yes, Elsewhere: Yes,
		HostGateway: Yes, HostOther: Yes,
	},
	HostGateway: fromHost,
	HostOther:   fromHost,
}

// fromHost: the host reaches everything. On an L2-only network it has no address that guests
// could reply to.
var fromHost = [parties]Answer{
	NATGuest: Yes, PinnedNATGuest: Yes, RouteGuest: Yes, PinnedRouteGuest: Yes, IsolatedGuest: Yes,
	OpenGuest: Yes, AtUplink: Yes, Elsewhere: Yes, HostGateway: Yes, HostOther: Yes,
}

// Policy returns what happens to the first packet from one party to another on another
// network. An unknown party reaches none.
func Policy(from, to Party) Answer {
	if from >= parties || to >= parties {
		return No
	}
	return policy[from][to]
}
