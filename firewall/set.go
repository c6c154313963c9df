package firewall

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vnetd/vnetd/netdrv"
)

// Type is the type of one field of a set's key.
type Type uint8

// The types, with the words that nft has for them.
const (
	IfName       Type = iota + 1 // ifname
	IPv4Addr                     // ipv4_addr
	IPv6Addr                     // ipv6_addr
	InetProto                    // inet_proto
	InetService                  // inet_service
	ICMPv6Type                   // icmpv6_type
	EtherAddr                    // ether_addr
	ICMPType                     // icmp_type
	MarkValue                    // mark
	NDTargetAddr                 // NDTarget, for which nft has no word: the key of such a set is given as an expression
)

// String returns nft's word for the type.
func (t Type) String() string {
	return [...]string{
		"invalid", "ifname", "ipv4_addr", "ipv6_addr", "inet_proto", "inet_service", "icmpv6_type", "ether_addr",
		"icmp_type", "mark", NDTarget.String(),
	}[min(t, NDTargetAddr)]
}

// Typeof reports whether nft lists and reads the set's key as expressions ("typeof")
// and not as types: a type that fits NDTarget has a name in no version of nft.
func (s *Set) Typeof() bool { return slices.Contains(s.Key, NDTargetAddr) }

// Set is a set, or a map from keys to verdicts.
type Set struct {
	Name string
	// Key has one type, or several for a concatenation.
	Key []Type
	// Verdicts makes the set a map: each element has a Verdict.
	Verdicts bool
	// To makes the set a map to addresses of that type, each with a port.
	To Type
	// Interval: addresses in keys stand for whole prefixes, numbers for ranges.
	Interval bool
	// Counter: each element counts the packets that it matched.
	Counter bool
	// Dynamic: packets add the elements, and Elements has none.
	Dynamic Dynamic
	// Elements are in the order of Compare, each key once.
	Elements []Element
}

// Dynamic bounds a set to which packets add elements: how many there are, and how long
// one stays that no packet comes for.
type Dynamic struct {
	Size    int
	Timeout time.Duration
}

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
// single address is a prefix of full length, a single number a range of one.
type Value struct {
	Name    string
	Prefix  netip.Prefix
	Numbers netdrv.PortRange
	MAC     netdrv.MAC
}

func address(a netip.Addr) Value { return Value{Prefix: netip.PrefixFrom(a, a.BitLen())} }

func number(n uint16) Value { return Value{Numbers: netdrv.PortRange{Start: n, End: n}} }

// text returns the value as nft writes one of the type.
func (v Value) text(t Type) string {
	switch t {
	case IfName:
		return `"` + v.Name + `"`
	case IPv4Addr, IPv6Addr:
		return prefixText(v.Prefix)
	case EtherAddr:
		return v.MAC.String()
	case NDTargetAddr:
		return "0x" + strings.TrimLeft(hex.EncodeToString(v.Prefix.Addr().AsSlice()), "0")
	}
	if v.Numbers.Start == v.Numbers.End {
		return numberText(t, v.Numbers.Start)
	}
	return numberText(t, v.Numbers.Start) + "-" + numberText(t, v.Numbers.End)
}

func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Compare orders elements by key as nft lists them. Intervals it lists as they
// were made: here the first field counts most. Else it sorts: of several fields the
// last one counts most, and they are numbers in the byte order of the host, which
// here is taken to be little-endian.
func (s *Set) Compare(a, b *Element) int {
	for i := range s.Key {
		if s.Interval || len(s.Key) == 1 {
			if c := compareValues(a.Key[i], b.Key[i]); c != 0 {
				return c
			}
			continue
		}
		last := len(s.Key) - 1 - i
		if c := compareLittleEndian(a.Key[last], b.Key[last]); c != 0 {
			return c
		}
	}
	return 0
}

func compareValues(a, b Value) int {
	return cmp.Or(compareNames(a.Name, b.Name),
		a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
		cmp.Compare(a.Numbers.Start, b.Numbers.Start), cmp.Compare(a.Numbers.End, b.Numbers.End),
		bytes.Compare(a.MAC[:], b.MAC[:]))
}

func compareLittleEndian(a, b Value) int {
	if c := compareNames(a.Name, b.Name); c != 0 || a.Prefix == b.Prefix && a.MAC == b.MAC {
		return cmp.Or(c, cmp.Compare(bits.ReverseBytes16(a.Numbers.Start), bits.ReverseBytes16(b.Numbers.Start)))
	}
	if a.MAC != b.MAC {
		return compareBackwards(a.MAC[:], b.MAC[:])
	}
	x, y := a.Prefix.Addr().As16(), b.Prefix.Addr().As16()
	return compareBackwards(x[:], y[:])
}

// compareBackwards compares numbers of one length whose last byte counts most.
func compareBackwards(x, y []byte) int {
	for i := len(x) - 1; i >= 0; i-- {
		if c := cmp.Compare(x[i], y[i]); c != 0 {
			return c
		}
	}
	return 0
}

// compareNames orders the names of links as nft does on a little-endian host,
// where they are numbers of 16 bytes: the shorter name first, then the one with
// the lesser last byte.
func compareNames(a, b string) int {
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	for i := len(a) - 1; i >= 0; i-- {
		if c := cmp.Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

// sorted returns s with its elements in order and no key twice.
func (s Set) sorted() Set {
	// Elements are large, and are moved once only.
	order := make([]*Element, len(s.Elements))
	for i := range order {
		order[i] = &s.Elements[i]
	}
	if !slices.IsSortedFunc(order, s.Compare) {
		slices.SortFunc(order, s.Compare)
		elements := make([]Element, len(order))
		for i, e := range order {
			elements[i] = *e
		}
		s.Elements = elements
	}
	s.Elements = slices.CompactFunc(s.Elements, func(a, b Element) bool { return a.Key == b.Key })
	return s
}

// KeyString returns an element's key as nft writes it: fields joined by " . ".
func (s Set) KeyString(e Element) string {
	var b strings.Builder
	for i, t := range s.Key {
		if i > 0 {
			b.WriteString(" . ")
		}
		b.WriteString(e.Key[i].text(t))
	}
	return b.String()
}

// sameDefinition reports whether two sets differ in their elements at most.
func (s Set) sameDefinition(o Set) bool {
	return s.Name == o.Name && slices.Equal(s.Key, o.Key) &&
		s.Verdicts == o.Verdicts && s.To == o.To && s.Interval == o.Interval && s.Counter == o.Counter && s.Dynamic == o.Dynamic
}

func (s Set) write(b *strings.Builder) {
	kind, types := "set", make([]string, len(s.Key))
	for i, t := range s.Key {
		types[i] = t.String()
	}
	typ := "type " + strings.Join(types, " . ")
	if s.Typeof() {
		typ = "typeof " + strings.ReplaceAll(strings.Join(types, " . "), IfName.String(), IIFName.String())
	}
	if s.Verdicts {
		kind, typ = "map", typ+" : verdict"
	}
	if s.To != 0 {
		kind, typ = "map", typ+" : "+s.To.String()+" . inet_service"
	}
	b.WriteString("\t" + kind + " " + s.Name + " {\n\t\t" + typ + "\n")
	if s.Interval {
		b.WriteString("\t\tflags interval\n")
	}
	if d := s.Dynamic; d.Size > 0 {
		fmt.Fprintf(b, "\t\tsize %d\n\t\tflags dynamic,timeout\n\t\ttimeout %s\n", d.Size, durationText(d.Timeout))
	}
	if s.Counter {
		b.WriteString("\t\tcounter\n")
	}
	s.writeElements(b)
	b.WriteString("\t}\n")
}

// perLine is how many elements nft lists in a line.
func (s Set) perLine() int {
	if len(s.Key) > 1 {
		return 1
	}
	switch s.Key[0] {
	case InetProto, InetService, MarkValue, NDTargetAddr:
		return 5
	case IPv4Addr:
		return 2
	}
	return 1
}

func (s Set) writeElements(b *strings.Builder) {
	if len(s.Elements) == 0 {
		return
	}
	b.WriteString("\t\telements = { ")
	for i, e := range s.Elements {
		switch {
		case i == 0:
		case i%s.perLine() > 0:
			b.WriteString(", ")
		default:
			b.WriteString(",\n\t\t\t     ")
		}
		b.WriteString(s.KeyString(e))
		if s.Counter {
			b.WriteString(" counter")
		}
		if e.Comment != "" {
			b.WriteString(` comment "` + e.Comment + `"`)
		}
		if s.Verdicts {
			b.WriteString(" : " + e.Verdict.String())
		}
		if s.To != 0 {
			fmt.Fprintf(b, " : %s . %d", e.To.Addr(), e.To.Port())
		}
	}
	b.WriteString(" }\n")
}
