package netdrv

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Filter is what guests may send and be sent. The zero Filter of a network lets
// everything pass; the zero Filter of a port is its network's.
type Filter struct {
	Preset Preset
	// Isolated: guests of the network do not reach each other, whatever they say.
	Isolated bool
	// Rules are about connections, and the first that fits decides. Those of a port
	// come before its network's.
	Rules []FilterRule
	// In and Out are what becomes of connections that no rule fits.
	In, Out Action
	// Sets are prefixes by name, of a network.
	Sets []FilterSet
	// Allow are kinds of frames that guests may send in mode ExistingBridge.
	Allow []FrameKind
}

// FrameKind is a kind of frame by which a guest acts as part of the network instead of a
// host on it: behind an uplink, it could close the switch's port, be in any VLAN, or take
// the LAN's hosts to itself.
type FrameKind uint8

// The kinds of frames.
const (
	// BPDU are those of spanning tree, and all others by which bridges and switches talk
	// to each other.
	BPDU FrameKind = iota + 1
	// VLANTag are frames with a tag of 802.1Q or 802.1ad.
	VLANTag
	// RouterAdvertisement are those of IPv6, and redirects.
	RouterAdvertisement
	// DHCPServer are messages of DHCP servers, of either family.
	DHCPServer
)

var frameKindNames = words[FrameKind]{BPDU: "bpdu", VLANTag: "vlan", RouterAdvertisement: "ra", DHCPServer: "dhcp-server"}

// String returns bpdu, vlan, ra or dhcp-server.
func (k FrameKind) String() string { return frameKindNames.of(k) }

// ParseFrameKind is the inverse of String.
func ParseFrameKind(s string) (FrameKind, bool) { return frameKindNames.parse(s) }

// FilterSet is a list of prefixes with a name.
type FilterSet struct {
	Name     string
	Prefixes []netip.Prefix
}

// FilterRule decides about connections, and with them about their answers.
type FilterRule struct {
	Direction Direction
	Action    Action
	// Protocol of 0 is any.
	Protocol Protocol
	// Ports are those of who is called; none: any.
	Ports []PortRange
	// Remote is who is at the other end: a prefix, "@" and a set's name, RemoteHost, a
	// network's name, or a guest's, of another network behind its name and a slash. Empty:
	// anybody.
	Remote string
	// Log notes what fits in the kernel's log, a few times a second.
	Log bool
}

// RemoteHost is the remote that stands for the host's addresses on the network.
const RemoteHost = "host"

// Direction is that of the first packet of a connection, from the guest's point of
// view.
type Direction uint8

// The directions.
const (
	Out Direction = iota + 1
	In
)

var directionNames = words[Direction]{Out: "out", In: "in"}

// String returns out or in.
func (d Direction) String() string { return directionNames.of(d) }

// ParseDirection is the inverse of String.
func ParseDirection(s string) (Direction, bool) { return directionNames.parse(s) }

// Action is what becomes of a connection. The zero Action leaves that to another rule,
// who lets it pass in the end.
type Action uint8

// The actions.
const (
	Accept Action = iota + 1
	// Drop says nothing to anybody.
	Drop
	// Reject tells the guest where it can, and drops else.
	Reject
)

var actionNames = words[Action]{Accept: "accept", Drop: "drop", Reject: "reject"}

// String returns accept, drop or reject.
func (a Action) String() string { return actionNames.of(a) }

// ParseAction is the inverse of String.
func ParseAction(s string) (Action, bool) { return actionNames.parse(s) }

// ICMP and ICMPv6 are protocols that rules know by name, beside those of services.
const (
	ICMP   Protocol = 1
	ICMPv6 Protocol = 58
)

var ruleProtocols = words[Protocol]{TCP: "tcp", UDP: "udp", SCTP: "sctp", ICMP: "icmp", ICMPv6: "icmpv6"}

// ParseRuleProtocol reads tcp, udp, sctp, icmp, icmpv6 or a number; nothing is 0.
func ParseRuleProtocol(s string) (Protocol, error) {
	if s == "" {
		return 0, nil
	}
	if p, ok := ruleProtocols.parse(s); ok {
		return p, nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not tcp, udp, sctp, icmp, icmpv6 or a protocol's number, 1 to 255", s)
	}
	return Protocol(n), nil
}

// RuleProtocol is the inverse of ParseRuleProtocol.
func RuleProtocol(p Protocol) string {
	if p == 0 {
		return ""
	}
	return ruleProtocols.of(p)
}

// HasPorts reports whether rules can name ports of the protocol.
func (p Protocol) HasPorts() bool { return p == TCP || p == UDP || p == SCTP }

// ParsePortRange reads "22" or "8000-8080".
func ParsePortRange(s string) (PortRange, error) { return parsePorts(s) }

// String says "22" or "8000-8080".
func (p PortRange) String() string {
	if p.Start == p.End {
		return strconv.Itoa(int(p.Start))
	}
	return fmt.Sprintf("%d-%d", p.Start, p.End)
}

// ParseRemotePrefix reads an address or a prefix. One with bits behind its length is
// taken for what it is in.
func ParseRemotePrefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil && !p.Addr().Is4In6()
}

// Asks reports whether a filter is about ports at all.
func (f *Filter) Asks() bool {
	return f.Preset.Clean() || f.Isolated || f.Rules != nil || f.In > Accept || f.Out > Accept
}

// Over is a port's filter on top of its network's.
func (f Filter) Over(network Filter) Filter {
	out := network
	if f.Preset != Unfiltered {
		out.Preset = f.Preset
	}
	out.Isolated = f.Isolated || network.Isolated
	out.Rules = slices.Concat(f.Rules, network.Rules)
	out.Allow = slices.Concat(f.Allow, network.Allow)
	if f.In != 0 {
		out.In = f.In
	}
	if f.Out != 0 {
		out.Out = f.Out
	}
	return out
}

func (f Filter) clone() Filter {
	f.Rules, f.Sets, f.Allow = slices.Clone(f.Rules), slices.Clone(f.Sets), slices.Clone(f.Allow)
	return f
}

// Preset is a choice of rules that needs no words.
type Preset uint8

// The presets.
const (
	// Unfiltered: a guest says what it likes.
	Unfiltered Preset = iota
	// CleanTraffic: a guest speaks as itself only, and neither as DHCP server nor
	// as router.
	CleanTraffic
	// InternetOnly is CleanTraffic, and nothing but the internet behind the rules.
	InternetOnly
)

var presetNames = words[Preset]{Unfiltered: "none", CleanTraffic: "clean-traffic", InternetOnly: "internet-only"}

// String returns none, clean-traffic or internet-only.
func (p Preset) String() string { return presetNames.of(p) }

// ParsePreset is the inverse of String; an empty word is none.
func ParsePreset(s string) (Preset, bool) {
	if s == "" {
		return Unfiltered, true
	}
	return presetNames.parse(s)
}

// Clean reports whether a guest may speak as itself only.
func (p Preset) Clean() bool { return p == CleanTraffic || p == InternetOnly }

// Prefixes of a set, by its name.
func (f *Filter) set(name string) ([]netip.Prefix, bool) {
	i := slices.IndexFunc(f.Sets, func(s FilterSet) bool { return s.Name == name })
	if i < 0 {
		return nil, false
	}
	return f.Sets[i].Prefixes, true
}

// setName returns the name of the set that a remote is.
func setName(remote string) (string, bool) { return strings.CutPrefix(remote, "@") }
