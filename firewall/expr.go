package firewall

import (
	"fmt"
	"net/netip"
	"strings"

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

// The fields. Those of an IP header match packets of that family only.
const (
	IIFName  Field = iota + 1 // the link that the packet came in by
	OIFName                   // the link that it goes out by
	IPSAddr                   // the IPv4 source
	IPDAddr                   // the IPv4 destination
	IP6SAddr                  // the IPv6 source
	IP6DAddr                  // the IPv6 destination
)

// String returns nft's words for the field.
func (f Field) String() string {
	return [...]string{
		"invalid", "iifname", "oifname",
		"ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr",
	}[min(f, IP6DAddr)]
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
	// InPrefix matches an IPv4 address in a prefix.
	InPrefix struct {
		Field  Field
		Prefix netip.Prefix
	}
	// IPv4 matches IPv4 packets.
	IPv4 struct{}
	// L4Proto matches the protocol above IP.
	L4Proto uint8
	// TCPSyn matches the first packet of a TCP connection.
	TCPSyn struct{}
	// CTState matches if the packet's connection is in one of the states.
	CTState uint8
	// Counter counts the packets that came this far.
	Counter struct{}
	// Masquerade gives the packet's connection the source address of the link
	// that it leaves by, and a source port in Ports if that is not zero.
	Masquerade struct{ Ports netdrv.PortRange }
	// Reject refuses with an answer: a TCP reset, or ICMP's "administratively
	// prohibited".
	Reject struct{ TCPReset bool }
	// Verdict ends the rule.
	Verdict struct {
		Kind  VerdictKind
		Chain string // of Jump and Goto
	}
)

// Protocols for L4Proto.
const (
	TCP L4Proto = 6
	UDP L4Proto = 17
)

// States of a connection, to be or-ed; the values are the kernel's.
const (
	Invalid     CTState = 1 << 0
	Established CTState = 1 << 1
	Related     CTState = 1 << 2
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

func (InSet) expr()      {}
func (ByMap) expr()      {}
func (InPrefix) expr()   {}
func (IPv4) expr()       {}
func (L4Proto) expr()    {}
func (TCPSyn) expr()     {}
func (CTState) expr()    {}
func (Counter) expr()    {}
func (Masquerade) expr() {}
func (Reject) expr()     {}
func (Verdict) expr()    {}

func (e InSet) String() string {
	if e.Not {
		return joinFields(e.Fields) + " != @" + e.Set
	}
	return joinFields(e.Fields) + " @" + e.Set
}

func (e ByMap) String() string    { return joinFields(e.Fields) + " vmap @" + e.Map }
func (e InPrefix) String() string { return e.Field.String() + " " + Value{Prefix: e.Prefix}.String() }
func (IPv4) String() string       { return "meta nfproto ipv4" }
func (TCPSyn) String() string     { return "tcp flags syn / fin,syn,rst,ack" }
func (Counter) String() string    { return "counter" }

func (e L4Proto) String() string {
	switch e {
	case TCP:
		return "meta l4proto tcp"
	case UDP:
		return "meta l4proto udp"
	}
	return fmt.Sprintf("meta l4proto %d", uint8(e))
}

func (e CTState) String() string {
	var words []string
	for i, w := range []string{"invalid", "established", "related"} {
		if e&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return "ct state " + strings.Join(words, ",")
}

func (e Masquerade) String() string {
	switch {
	case e.Ports.IsZero():
		return "masquerade"
	case e.Ports.Start == e.Ports.End:
		return fmt.Sprintf("masquerade to :%d", e.Ports.Start)
	}
	return fmt.Sprintf("masquerade to :%d-%d", e.Ports.Start, e.Ports.End)
}

func (e Reject) String() string {
	if e.TCPReset {
		return "reject with tcp reset"
	}
	return "reject with icmpx admin-prohibited"
}

func (e Verdict) String() string {
	word := [...]string{"invalid", "accept", "drop", "jump", "goto", "return"}[min(e.Kind, Return)]
	if e.Chain != "" {
		return word + " " + e.Chain
	}
	return word
}
