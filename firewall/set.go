package firewall

import (
	"fmt"
	"slices"
	"strings"
	"time"
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

// Compare orders elements by key as nft lists them. Intervals it lists as they
// were made: here the first field counts most. Else it sorts: of several fields the
// last one counts most, and they are numbers in the byte order of the host, which
// here is taken to be little-endian.
func (s *Set) Compare(a, b *Element) int {
	for i, t := range s.Key {
		c := 0
		if s.Interval || len(s.Key) == 1 {
			c = compareForwards(t, &a.Key[i], &b.Key[i])
		} else {
			last := len(s.Key) - 1 - i
			c = compareBackwards(&a.Key[last], &b.Key[last])
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// sorted returns s with its elements in order and no key twice.
func (s Set) sorted() Set {
	inOrder := true
	for i := 1; i < len(s.Elements); i++ {
		inOrder = inOrder && s.Compare(&s.Elements[i-1], &s.Elements[i]) < 0
	}
	if inOrder {
		return s
	}
	// Elements are large, and are moved once only.
	order := make([]*Element, len(s.Elements))
	for i := range order {
		order[i] = &s.Elements[i]
	}
	slices.SortFunc(order, s.Compare)
	s.Elements = make([]Element, 0, len(order))
	for _, e := range order {
		if n := len(s.Elements); n == 0 || s.Elements[n-1].Key != e.Key {
			s.Elements = append(s.Elements, *e)
		}
	}
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
