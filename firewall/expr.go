package firewall

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/vnetd/vnetd/netdrv"
)

// Expr is one step of a rule: a match, a statement or a verdict. String is what
// nft lists; the set of types is closed, and firewall/nft knows them all.
type Expr interface {
	fmt.Stringer
	expr()
}

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
	ARPSHA                      // who an ARP message says that it is from: the hardware address (RFC 826)
	ARPSPA                      // and the protocol address
	NDTarget                    // the target of a neighbour advertisement or solicitation (RFC 4861 sections 4.3, 4.4); of such only
	SPort                       // the source port, of whatever protocol
	TCPSPort                    // the source port, of TCP
	TCPDPort                    // the destination port, of TCP
	SCTPSPort                   // the source port, of SCTP
	SCTPDPort                   // the destination port, of SCTP
	Mark                        // what another rule has put on the packet
	ARPTPA                      // the protocol address that an ARP message asks about
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
	// ByMap takes the verdict that the map has for the fields, and goes on with
	// the next rule if there is none.
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
	// IPv4 matches IPv4 packets.
	IPv4 struct{}
	// EtherType matches what a frame carries; in bridge tables only.
	EtherType uint16
	// EtherPrefix matches frames from a MAC that does not begin with these octets; in bridge
	// tables only.
	EtherPrefix string
	// L4Proto matches the protocol above IP.
	L4Proto uint8
	// TCPSyn matches the first packet of a TCP connection.
	TCPSyn struct{}
	// TCPHandshake matches the first packet of a TCP connection and its answer,
	// which are those that have the option of the segment's size.
	TCPHandshake struct{}
	// ClampMSS lowers the greatest size of a TCP segment to what fits the path of
	// the packet, there and back, and never raises it.
	ClampMSS struct{}
	// CTState matches if the packet's connection is in one of the states.
	CTState uint8
	// Counter counts the packets that came this far.
	Counter struct{}
	// Masquerade gives the packet's connection the source address of the link
	// that it leaves by, and a source port in Ports if that is not zero.
	Masquerade struct{ Ports netdrv.PortRange }
	// SNAT gives the packet's connection a source address of the range, the same
	// for one guest always (RFC 4787 REQ-2), and a source port in Ports if that is
	// not zero.
	SNAT struct {
		Addresses netdrv.Range
		Ports     netdrv.PortRange
	}
	// DNAT gives the packet's connection the destination that the map has for the
	// fields, and goes on with the next rule if there is none.
	DNAT struct {
		Fields []Field
		Map    string
		IPv6   bool
	}
	// ToHost matches packets to an address of the host's.
	ToHost struct{}
	// Redirected matches packets of connections whose destination was translated.
	Redirected struct{}
	// Reject refuses with an answer: a TCP reset, or ICMP's "administratively
	// prohibited".
	Reject struct{ TCPReset bool }
	// AddTo adds the fields to a dynamic set, for Timeout or the set's own, or begins
	// that anew. Where there is no room it does not match. With Over, it adds a meter,
	// and matches what is above that.
	AddTo struct {
		Set     string
		Fields  []Field
		Timeout time.Duration
		Over    Rate
	}
	// Rate matches that many packets a second, and Burst more at first.
	Rate struct{ PerSecond, Burst uint32 }
	// Log notes the packet in the kernel's log, behind these words.
	Log string
	// SetMark puts a mark on the packet, for rules that come later.
	SetMark uint32
	// Fragment matches what is one, but for the first, which alone has ports.
	Fragment struct{ IPv6 bool }
	// FirstFragment matches the first fragment of an IPv6 packet, or the only one.
	FirstFragment struct{}
	// UpperHeader matches if the first four octets behind all IPv6 extension headers are
	// in the packet.
	UpperHeader struct{}
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

// What frames carry.
const (
	EtherIPv4 EtherType = 0x0800
	EtherARP  EtherType = 0x0806
	EtherIPv6 EtherType = 0x86dd
)

// Tagged matches a frame with an outermost tag of that type; in bridge tables only.
type Tagged uint16

// The types of tags (IEEE 802.1Q-2018 table 9-1).
const (
	Tag8021Q  Tagged = 0x8100
	Tag8021AD Tagged = 0x88a8
	TagQinQ   Tagged = 0x9100 // of switches from before 802.1ad
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
	// Drop ends the packet without a word.
	Drop
	// Jump goes to a chain and comes back at its end, or at a Return.
	Jump
	// Goto goes to a chain whose end is this chain's end.
	Goto
	// Return goes back to where the last Jump was.
	Return
)

func (InSet) expr()         {}
func (ByMap) expr()         {}
func (InPrefix) expr()      {}
func (Is) expr()            {}
func (IPv4) expr()          {}
func (EtherType) expr()     {}
func (EtherPrefix) expr()   {}
func (L4Proto) expr()       {}
func (TCPSyn) expr()        {}
func (TCPHandshake) expr()  {}
func (ClampMSS) expr()      {}
func (CTState) expr()       {}
func (Counter) expr()       {}
func (Masquerade) expr()    {}
func (SNAT) expr()          {}
func (DNAT) expr()          {}
func (ToHost) expr()        {}
func (Redirected) expr()    {}
func (Reject) expr()        {}
func (AddTo) expr()         {}
func (Rate) expr()          {}
func (Log) expr()           {}
func (SetMark) expr()       {}
func (Fragment) expr()      {}
func (FirstFragment) expr() {}
func (Tagged) expr()        {}
func (UpperHeader) expr()   {}
func (Verdict) expr()       {}

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

func (IPv4) String() string         { return "meta nfproto ipv4" }
func (TCPSyn) String() string       { return "tcp flags syn / fin,syn,rst,ack" }
func (TCPHandshake) String() string { return "tcp flags syn / syn,rst" }
func (ClampMSS) String() string     { return "tcp option maxseg size set rt mtu" }
func (Counter) String() string      { return "counter" }
func (ToHost) String() string       { return "fib daddr type local" }
func (Redirected) String() string   { return "ct status dnat" }

func (FirstFragment) String() string { return "frag frag-off 0" }
func (UpperHeader) String() string   { return "@th,24,8 >= 0x0" }

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

func (e EtherType) String() string {
	return "meta protocol " + map[EtherType]string{EtherIPv4: "ip", EtherARP: "arp", EtherIPv6: "ip6"}[e]
}

func (e Tagged) String() string {
	return "ether type " + map[Tagged]string{Tag8021Q: "8021q", Tag8021AD: "8021ad", TagQinQ: "0x9100"}[e]
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

func (e Masquerade) String() string {
	if e.Ports.IsZero() {
		return "masquerade"
	}
	return "masquerade to :" + portsText(e.Ports)
}

func (e SNAT) String() string {
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
	if !e.Ports.IsZero() {
		s += ":" + portsText(e.Ports)
	}
	if first != last {
		s += " persistent"
	}
	return s
}

func portsText(p netdrv.PortRange) string { return numbers(p).text(InetService) }

func (e Reject) String() string {
	if e.TCPReset {
		return "reject with tcp reset"
	}
	return "reject with icmpx admin-prohibited"
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

func (e Fragment) String() string {
	if e.IPv6 {
		return "frag frag-off != 0"
	}
	return "ip frag-off & 8191 != 0"
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
