package firewall

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/vnetd/vnetd/netdrv"
)

// Expr is one part of a rule: a match, a statement or a verdict. String returns what
// nft lists. firewall/nft encodes the types of this file and no others.
type Expr = fmt.Stringer

// Field is something of a packet that can be looked up in a set.
type Field uint8

// The fields. Those of a header match packets that have it only.
const (
	IIFName    Field = iota + 1 // the link that the packet came in by
	OIFName                     // the link that it goes out by
	IPSAddr                     // the IPv4 source
	IPDAddr                     // the IPv4 destination
	IP6SAddr                    // the IPv6 source
	IP6DAddr                    // the IPv6 destination
	L4Protocol                  // the protocol above IP
	DPort                       // the destination port, of whatever protocol
	UDPDPort                    // the destination port, of UDP
	ICMPKind                    // the type of an ICMP message, in IPv4
	ICMPv6Kind                  // the type of an ICMP message, in IPv6
	UDPSPort                    // the source port, of UDP
	EtherSAddr                  // the Ethernet source; this and what follows in bridge tables only
	EtherDAddr                  // the Ethernet destination
	ARPSHA                      // the sender's hardware address in ARP (RFC 826)
	ARPSPA                      // the sender's protocol address in ARP
	NDTarget                    // the target of a neighbour advertisement or solicitation (RFC 4861 sections 4.3, 4.4); of no other message
	SPort                       // the source port, of whatever protocol
	TCPSPort                    // the source port, of TCP
	TCPDPort                    // the destination port, of TCP
	SCTPSPort                   // the source port, of SCTP
	SCTPDPort                   // the destination port, of SCTP
	Mark                        // the mark that another rule has set
	ARPTPA                      // the target protocol address in ARP
)

// String returns nft's words for the field.
func (f Field) String() string {
	return [...]string{
		"invalid", "iifname", "oifname",
		"ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr",
		"meta l4proto", "th dport", "udp dport", "icmp type", "icmpv6 type",
		"udp sport", "ether saddr", "ether daddr", "arp saddr ether", "arp saddr ip", "@th,64,128",
		"th sport", "tcp sport", "tcp dport", "sctp sport", "sctp dport", "meta mark", "arp daddr ip",
	}[min(f, ARPTPA)]
}

func joinFields(fs []Field) string {
	words := make([]string, len(fs))
	for i, f := range fs {
		words[i] = f.String()
	}
	return strings.Join(words, " . ")
}

type (
	// InSet matches if the fields are an element of the set, or with Not if
	// they are not.
	InSet struct {
		Fields []Field
		Set    string
		Not    bool
	}
	// ByMap applies the verdict that the map has for the fields; without one, the next
	// rule is evaluated.
	ByMap struct {
		Fields []Field
		Map    string
	}
	// InPrefix matches an address in a prefix.
	InPrefix struct {
		Field  Field
		Prefix netip.Prefix
	}
	// Is matches a field that is a certain number.
	Is struct {
		Field  Field
		Number uint16
	}
	// EtherPrefix matches frames from a MAC that does not begin with these octets; in bridge
	// tables only.
	EtherPrefix string
	// L4Proto matches the protocol above IP.
	L4Proto uint8
	// CTState matches if the packet's connection is in one of the states.
	CTState uint8
	// SNAT translates the source of the packet's connection to an address of the range,
	// always the same for one guest (RFC 4787 REQ-2), or without one to the address of
	// the outgoing link (masquerading), and to a port of Ports if that is not zero.
	SNAT struct {
		Addresses netdrv.Range
		Ports     netdrv.PortRange
	}
	// DNAT translates the connection's destination to what the map has for the fields;
	// without that, the next rule is evaluated.
	DNAT struct {
		Fields []Field
		Map    string
		IPv6   bool
	}
	// AddTo adds the fields to a dynamic set, or restarts the timeout of the element:
	// Timeout or the set's own. It does not match if the set is full. With Over it adds a
	// meter, and matches packets above that rate.
	AddTo struct {
		Set     string
		Fields  []Field
		Timeout time.Duration
		Over    Rate
	}
	// Rate matches that many packets a second, after a first burst.
	Rate struct{ PerSecond, Burst uint32 }
	// Log writes the packet to the kernel's log, with this prefix.
	Log string
	// SetMark sets the packet's mark, for rules that come later.
	SetMark uint32
	// Verdict ends the rule.
	Verdict struct {
		Kind  VerdictKind
		Chain string // of Jump and Goto
	}
)

// Protocols for L4Proto.
const (
	IGMP L4Proto = 2
	TCP  L4Proto = 6
	UDP  L4Proto = 17
)

// Simple is an expression without operands, as nft writes it.
type Simple string

// The simple expressions. Those that match Ethernet types and tags are for bridge tables.
const (
	Counter Simple = "counter" // counts the packets that came this far
	IPv4    Simple = "meta nfproto ipv4"

	// TCPSyn matches the first packet of a TCP connection, TCPHandshake that and its
	// answer, which are those with the option of the maximum segment size.
	TCPSyn       Simple = "tcp flags syn / fin,syn,rst,ack"
	TCPHandshake Simple = "tcp flags syn / syn,rst"
	// ClampMSS lowers the maximum segment size to what fits the path of the packet, there
	// and back, and never raises it.
	ClampMSS Simple = "tcp option maxseg size set rt mtu"

	ToLocal Simple = "fib daddr type local" // the destination is an address of the host
	DNATed  Simple = "ct status dnat"       // the connection's destination was translated

	RejectTCPReset   Simple = "reject with tcp reset"
	RejectProhibited Simple = "reject with icmpx admin-prohibited"

	// Fragment4 and Fragment6 match fragments except the first, which alone has ports.
	// FirstFragment matches the first of an IPv6 packet, or the only one.
	Fragment4     Simple = "ip frag-off & 8191 != 0"
	Fragment6     Simple = "frag frag-off != 0"
	FirstFragment Simple = "frag frag-off 0"
	// UpperHeader matches if the first four octets after all IPv6 extension headers are
	// in the packet.
	UpperHeader Simple = "@th,24,8 >= 0x0"

	EtherIPv4 Simple = "meta protocol ip"
	EtherARP  Simple = "meta protocol arp"
	EtherIPv6 Simple = "meta protocol ip6"
	// The types of an outermost VLAN tag (IEEE 802.1Q-2018 table 9-1), and that of
	// switches from before 802.1ad.
	Tag8021Q  Simple = "ether type 8021q"
	Tag8021AD Simple = "ether type 8021ad"
	TagQinQ   Simple = "ether type 0x9100"
)

// States of a connection, to be or-ed; the values are the kernel's.
const (
	Invalid     CTState = 1 << 0
	Established CTState = 1 << 1
	Related     CTState = 1 << 2
	New         CTState = 1 << 3
	Untracked   CTState = 1 << 6
)

// VerdictKind is what a Verdict does.
type VerdictKind uint8

const (
	// Accept lets the packet pass this table.
	Accept VerdictKind = iota + 1
	// Drop discards the packet silently.
	Drop
	// Jump evaluates a chain and comes back at its end, or at a Return.
	Jump
	// Goto continues in a chain and does not come back.
	Goto
	// Return goes back to the rule after the last Jump.
	Return
)

func (e InSet) String() string {
	if e.Not {
		return joinFields(e.Fields) + " != @" + e.Set
	}
	return joinFields(e.Fields) + " @" + e.Set
}

func (e ByMap) String() string { return joinFields(e.Fields) + " vmap @" + e.Map }

func (e InPrefix) String() string {
	if e.Field == NDTarget { // see NDTargetAddr
		return fmt.Sprintf("@th,64,%d 0x%x", e.Prefix.Bits(), e.Prefix.Addr().AsSlice()[:e.Prefix.Bits()/8])
	}
	return e.Field.String() + " " + prefixText(e.Prefix)
}

func (e Simple) String() string { return string(e) }

func (e DNAT) String() string {
	family := "ip"
	if e.IPv6 {
		family = "ip6"
	}
	return "dnat " + family + " to " + joinFields(e.Fields) + " map @" + e.Map
}

func (e Is) String() string {
	types := map[Field]Type{ICMPKind: ICMPType, ICMPv6Kind: ICMPv6Type, L4Protocol: InetProto}
	return e.Field.String() + " " + numberText(types[e.Field], e.Number)
}

func (e EtherPrefix) String() string {
	var m netdrv.MAC
	copy(m[:], e)
	return fmt.Sprintf("ether saddr != %s/%d", m, 8*len(e))
}

func (e L4Proto) String() string { return L4Protocol.String() + " " + numberText(InetProto, uint16(e)) }

func (e CTState) String() string {
	var words []string
	for i, w := range []string{"invalid", "established", "related", "new", "", "", "untracked"} {
		if e&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return "ct state " + strings.Join(words, ",")
}

func (e SNAT) masquerades() bool { return !e.Addresses.Start.IsValid() }

func (e SNAT) String() string {
	ports := ""
	if !e.Ports.IsZero() {
		ports = ":" + numbers(e.Ports).text(InetService)
	}
	if e.masquerades() {
		return strings.TrimSuffix("masquerade to "+ports, " to ")
	}
	family, first, last := "ip", e.Addresses.Start.String(), e.Addresses.End.String()
	if e.Addresses.Start.Is6() {
		family = "ip6"
		if !e.Ports.IsZero() {
			first, last = "["+first+"]", "["+last+"]"
		}
	}
	s := "snat " + family + " to " + first
	if first != last {
		s += "-" + last
	}
	if s += ports; first != last {
		s += " persistent"
	}
	return s
}

func (e AddTo) String() string {
	s := "update @" + e.Set + " { " + joinFields(e.Fields)
	if e.Timeout != 0 {
		s += " timeout " + durationText(e.Timeout)
	}
	if e.Over != (Rate{}) {
		s += " limit rate over " + e.Over.text()
	}
	return s + " }"
}

func (e Rate) text() string { return fmt.Sprintf("%d/second burst %d packets", e.PerSecond, e.Burst) }

func (e Rate) String() string    { return "limit rate " + e.text() }
func (e Log) String() string     { return `log prefix "` + string(e) + `"` }
func (e SetMark) String() string { return "meta mark set " + numberText(MarkValue, uint16(e)) }

func (e Verdict) String() string {
	word := [...]string{"invalid", "accept", "drop", "jump", "goto", "return"}[min(e.Kind, Return)]
	if e.Chain != "" {
		return word + " " + e.Chain
	}
	return word
}
