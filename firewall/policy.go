package firewall

import "github.com/vnetd/vnetd/netdrv"

// Party is one who talks: a guest, by the kind of its network, somebody outside,
// or the host.
type Party uint8

// The parties. A pinned network has uplinks; AtUplink is whoever is behind one of
// those, and Elsewhere is outside behind another link of the host.
const (
	Nobody Party = iota
	NATGuest
	PinnedNATGuest
	RouteGuest
	PinnedRouteGuest
	IsolatedGuest
	VeryIsolatedGuest
	OpenGuest
	AtUplink
	Elsewhere
	HostGateway // the host by its address on the other's network
	HostOther   // the host by another of its addresses
	parties
)

// String says who it is, as a table's head does.
func (p Party) String() string {
	return [...]string{
		"nobody", "nat", "nat, pinned", "route", "route, pinned", "isolated", "very isolated", "open",
		"outside, at the uplink", "outside, elsewhere", "host, gateway", "host, other address", "nobody",
	}[min(p, parties)]
}

// IsHost reports whether the party is the host, by whatever address.
func (p Party) IsHost() bool { return p == HostGateway || p == HostOther }

// PartyOf returns what guests of a network are. In modes bridge and direct there
// is no rule about them, and they are Nobody.
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
	return Nobody
}

// Answer is what becomes of the first packet from one party to another.
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

// policy is the truth about who may begin to talk to whom; answers come back
// always. Rows are those who begin. The networks of two guests are two: within
// one, all may talk. What passes between outside and host, or between two that
// are outside, is no business of ours and here for completeness' sake.
//
// The host limits itself (HostAccess.Limited) on isolated networks, unless told
// otherwise; a network of another kind that does so gets Services and No as they
// do.
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

// fromHost: nothing hinders the host. On a very isolated network it has no
// address to be answered at.
var fromHost = [parties]Answer{
	NATGuest: Yes, PinnedNATGuest: Yes, RouteGuest: Yes, PinnedRouteGuest: Yes, IsolatedGuest: Yes,
	OpenGuest: Yes, AtUplink: Yes, Elsewhere: Yes, HostGateway: Yes, HostOther: Yes,
}

// Policy returns what becomes of the first packet from one party to another on
// another network. An unknown party reaches nobody.
func Policy(from, to Party) Answer {
	if from >= parties || to >= parties {
		return No
	}
	return policy[from][to]
}

// Parties returns all of them, in order.
func Parties() []Party {
	var out []Party
	for p := Nobody + 1; p < parties; p++ {
		out = append(out, p)
	}
	return out
}
