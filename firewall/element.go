package firewall

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/vnetd/vnetd/netdrv"
)

// maxFields bounds a key, so that an Element is comparable and small.
const maxFields = 4

// Element is one entry of a set. Two elements that print alike are equal.
type Element struct {
	Key     [maxFields]Value
	Verdict Verdict        // of maps only
	To      netip.AddrPort // of maps to such only
	Comment string         // for people; at most 127 bytes
}

// Value is one field of a key: a link's name, a prefix, a MAC, or a range of numbers. A
// single address is a prefix of full length, a single number a range of one. Which of
// them it is, the Type of the field tells. A ruleset has thousands of values, and the
// daemon compiles it for every change, so a value is small and has no pointers.
type Value struct {
	octets [16]byte // as in a packet; of a range the first number and the last
	bits   uint8    // of a prefix
}

func name(s string) (v Value) {
	copy(v.octets[:], s)
	return v
}

func prefix(p netip.Prefix) Value {
	v := Value{octets: p.Addr().As16(), bits: uint8(p.Bits())}
	if p.Addr().Is4() {
		v.octets = [16]byte{}
		a := p.Addr().As4()
		copy(v.octets[:], a[:])
	}
	return v
}

func address(a netip.Addr) Value { return prefix(netip.PrefixFrom(a, a.BitLen())) }

func numbers(r netdrv.PortRange) (v Value) {
	binary.BigEndian.PutUint16(v.octets[0:], r.Start)
	binary.BigEndian.PutUint16(v.octets[2:], r.End)
	return v
}

func number(n uint16) Value { return numbers(netdrv.PortRange{Start: n, End: n}) }

func ether(m netdrv.MAC) (v Value) {
	copy(v.octets[:], m[:])
	return v
}

// Octets returns the field as it is in a packet, padded with zeros; of a range of numbers
// the first and the last, each in two octets.
func (v Value) Octets() [16]byte { return v.octets }

// Bits returns the length of a prefix.
func (v Value) Bits() int { return int(v.bits) }

// Name returns the name of a link.
func (v Value) Name() string { return string(bytes.TrimRight(v.octets[:], "\x00")) }

// Prefix returns the prefix in a field of type t.
func (v Value) Prefix(t Type) netip.Prefix {
	if t == IPv4Addr {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(v.octets[:4])), int(v.bits))
	}
	return netip.PrefixFrom(netip.AddrFrom16(v.octets), int(v.bits))
}

// Numbers returns the first and the last number of a range.
func (v Value) Numbers() netdrv.PortRange {
	return netdrv.PortRange{Start: binary.BigEndian.Uint16(v.octets[0:]), End: binary.BigEndian.Uint16(v.octets[2:])}
}

// MAC returns an Ethernet address.
func (v Value) MAC() netdrv.MAC { return netdrv.MAC(v.octets[:6]) }

// text returns the value as nft writes one of type t.
func (v Value) text(t Type) string {
	switch t {
	case IfName:
		return `"` + v.Name() + `"`
	case IPv4Addr, IPv6Addr:
		return prefixText(v.Prefix(t))
	case EtherAddr:
		return v.MAC().String()
	case NDTargetAddr:
		return "0x" + strings.TrimLeft(hex.EncodeToString(v.octets[:]), "0")
	}
	r := v.Numbers()
	if r.Start == r.End {
		return numberText(t, r.Start)
	}
	return numberText(t, r.Start) + "-" + numberText(t, r.End)
}

func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// room returns a list with room for an element for each network.
func room(networks []*netdrv.Network) []Element { return make([]Element, 0, len(networks)) }

// add adds an element with that key.
func (s *Set) add(values ...Value) { s.Elements = append(s.Elements, Element{Key: key(values...)}) }

// addVerdict adds an element of a map to verdicts.
func (s *Set) addVerdict(v Verdict, comment string, values ...Value) {
	s.Elements = append(s.Elements, Element{Key: key(values...), Verdict: v, Comment: comment})
}

// numberSet returns a set of numbers.
func numberSet(set string, t Type, list ...uint16) Set {
	s := Set{Name: set, Key: []Type{t}}
	for _, n := range list {
		s.add(number(n))
	}
	return s
}

var (
	accept = Verdict{Kind: Accept}
	drop   = Verdict{Kind: Drop}
	back   = Verdict{Kind: Return}
)

func goTo(chain string) Verdict { return Verdict{Kind: Goto, Chain: chain} }
func jump(chain string) Verdict { return Verdict{Kind: Jump, Chain: chain} }

func in(set string, fields ...Field) InSet    { return InSet{Fields: fields, Set: set} }
func notIn(set string, fields ...Field) InSet { return InSet{Fields: fields, Set: set, Not: true} }

func lookup(verdicts string, fields ...Field) ByMap { return ByMap{Fields: fields, Map: verdicts} }

func rule(comment string, exprs ...Expr) Rule { return Rule{Exprs: exprs, Comment: comment} }

func chain(name string, rules ...Rule) Chain { return Chain{Name: name, Rules: rules} }

// key makes the key of an element.
func key(values ...Value) (k [maxFields]Value) {
	copy(k[:], values)
	return k
}

// compareForwards orders values of type t by their first octet, and links' names as
// compareBackwards does.
func compareForwards(t Type, a, b *Value) int {
	if t == IfName {
		return compareBackwards(a, b)
	}
	return cmp.Or(bytes.Compare(a.octets[:], b.octets[:]), cmp.Compare(a.bits, b.bits))
}

// compareBackwards orders values as little-endian numbers. Of two links' names, the shorter
// is the lesser.
func compareBackwards(a, b *Value) int {
	return cmp.Or(
		cmp.Compare(binary.LittleEndian.Uint64(a.octets[8:]), binary.LittleEndian.Uint64(b.octets[8:])),
		cmp.Compare(binary.LittleEndian.Uint64(a.octets[:8]), binary.LittleEndian.Uint64(b.octets[:8])))
}

// numberWords are nft's names for numbers, by their type. Of types without names,
// and of numbers without one, nft writes the number.
var numberWords = map[Type]map[uint16]string{
	InetProto: {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"},
	ICMPType: {
		0: "echo-reply", 3: "destination-unreachable", 5: "redirect", 8: "echo-request", 11: "time-exceeded", 12: "parameter-problem",
	},
	ICMPv6Type: {
		1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem",
		128: "echo-request", 129: "echo-reply",
		130: "mld-listener-query", 131: "mld-listener-report", 132: "mld-listener-done", 143: "mld2-listener-report",
		133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit", 136: "nd-neighbor-advert", 137: "nd-redirect",
	},
}

func numberText(t Type, n uint16) string {
	if word, ok := numberWords[t][n]; ok {
		return word
	}
	if t == MarkValue {
		return fmt.Sprintf("0x%08x", n)
	}
	return strconv.Itoa(int(n))
}

// durationText is a whole number of seconds as nft writes it.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
