package firewall

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Type is the type of one field of a set's key.
type Type uint8

// The types, with the words that nft has for them.
const (
	IfName   Type = iota + 1 // ifname
	IPv4Addr                 // ipv4_addr
	IPv6Addr                 // ipv6_addr
)

// String returns nft's word for the type.
func (t Type) String() string {
	return [...]string{"invalid", "ifname", "ipv4_addr", "ipv6_addr"}[min(t, IPv6Addr)]
}

// Set is a set, or a map from keys to verdicts.
type Set struct {
	Name string
	// Key has one type, or several for a concatenation.
	Key []Type
	// Verdicts makes the set a map: each element has a Verdict.
	Verdicts bool
	// Interval: addresses in keys stand for whole prefixes.
	Interval bool
	// Counter: each element counts the packets that it matched.
	Counter bool
	// Elements are in the order of CompareElements, each key once.
	Elements []Element
}

// maxFields bounds a key, so that an Element is comparable and small.
const maxFields = 3

// Element is one entry of a set. Two elements that print alike are equal.
type Element struct {
	Key     [maxFields]Value
	Verdict Verdict // of maps only
	Comment string  // for people; at most 127 bytes
}

// Value is one field of a key: a link's name or a prefix. A single address is a
// prefix of full length.
type Value struct {
	Name   string
	Prefix netip.Prefix
}

func (v Value) isZero() bool { return v == Value{} }

// String returns the value as nft writes it.
func (v Value) String() string {
	if !v.Prefix.IsValid() {
		return `"` + v.Name + `"`
	}
	if v.Prefix.IsSingleIP() {
		return v.Prefix.Addr().String()
	}
	return v.Prefix.String()
}

// CompareElements orders elements by key as nft lists them: the last field
// counts most.
func CompareElements(a, b Element) int {
	for i := maxFields - 1; i >= 0; i-- {
		if c := compareValues(a.Key[i], b.Key[i]); c != 0 {
			return c
		}
	}
	return 0
}

func compareValues(a, b Value) int {
	return cmp.Or(compareNames(a.Name, b.Name),
		a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
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
	slices.SortFunc(s.Elements, CompareElements)
	s.Elements = slices.CompactFunc(s.Elements, func(a, b Element) bool { return a.Key == b.Key })
	return s
}

// KeyString returns the key as nft writes it: fields joined by " . ".
func (e Element) KeyString() string {
	var b strings.Builder
	for i, v := range e.Key {
		if v.isZero() {
			break
		}
		if i > 0 {
			b.WriteString(" . ")
		}
		b.WriteString(v.String())
	}
	return b.String()
}

// sameDefinition reports whether two sets differ in their elements at most.
func (s Set) sameDefinition(o Set) bool {
	return s.Name == o.Name && slices.Equal(s.Key, o.Key) &&
		s.Verdicts == o.Verdicts && s.Interval == o.Interval && s.Counter == o.Counter
}

func (s Set) write(b *strings.Builder) {
	kind, types := "set", make([]string, len(s.Key))
	for i, t := range s.Key {
		types[i] = t.String()
	}
	typ := strings.Join(types, " . ")
	if s.Verdicts {
		kind, typ = "map", typ+" : verdict"
	}
	b.WriteString("\t" + kind + " " + s.Name + " {\n\t\ttype " + typ + "\n")
	if s.Interval {
		b.WriteString("\t\tflags interval\n")
	}
	if s.Counter {
		b.WriteString("\t\tcounter\n")
	}
	s.writeElements(b)
	b.WriteString("\t}\n")
}

func (s Set) writeElements(b *strings.Builder) {
	if len(s.Elements) == 0 {
		return
	}
	perLine := 1
	if len(s.Key) == 1 && s.Key[0] == IPv4Addr {
		perLine = 2
	}
	b.WriteString("\t\telements = { ")
	for i, e := range s.Elements {
		switch {
		case i > 0 && i%perLine == 0:
			b.WriteString(",\n\t\t\t     ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(e.KeyString())
		if s.Counter {
			b.WriteString(" counter")
		}
		if e.Comment != "" {
			b.WriteString(` comment "` + e.Comment + `"`)
		}
		if s.Verdicts {
			b.WriteString(" : " + e.Verdict.String())
		}
	}
	b.WriteString(" }\n")
}
