package firewall

import (
	"fmt"
	"slices"
	"strings"
)

// Chain is a list of rules. A base chain hangs on a hook of the kernel and
// accepts what its rules leave undecided; the others are reached by jump and
// goto.
type Chain struct {
	Name  string
	Base  Base // NotBase for chains that are jumped to
	Rules []Rule
}

// Base is the place in the kernel where a base chain sits.
type Base uint8

const (
	// NotBase is a chain without a hook.
	NotBase Base = iota
	// ForwardFilter sees forwarded packets, at the priority of filters.
	ForwardFilter
	// InputFilter sees packets to the host itself, at the priority of filters.
	InputFilter
	// PostroutingNAT sees the first packet of a connection as it goes out, at
	// the priority of source NAT.
	PostroutingNAT
	// PreroutingNAT sees the first packet of a connection as it comes in, at the
	// priority of destination NAT, and OutputNAT what the host itself sends.
	PreroutingNAT
	OutputNAT
	// HairpinNAT is before PostroutingNAT.
	HairpinNAT
	// PreroutingFilter sees packets as they come in, once their connection is looked up
	// and before their destination is translated.
	PreroutingFilter
	// BridgePrerouting sees frames as they come in by a port of a bridge, before the
	// bridge learns anything from them. This and what follows are for bridge tables.
	BridgePrerouting
	// BridgeForward sees frames that go from port to port, once for each port that
	// they go to.
	BridgeForward
	// BridgeInput sees frames from a port to the host.
	BridgeInput
	// BridgeRules is after BridgePrerouting.
	BridgeRules
	// BridgePostrouting sees frames as they go out by a port, from other ports and from
	// the host alike.
	BridgePostrouting
)

// String returns the line that nft lists for the base, or "".
func (b Base) String() string {
	switch b {
	case ForwardFilter:
		return "type filter hook forward priority filter; policy accept;"
	case InputFilter:
		return "type filter hook input priority filter; policy accept;"
	case PostroutingNAT:
		return "type nat hook postrouting priority srcnat; policy accept;"
	case PreroutingNAT:
		return "type nat hook prerouting priority dstnat; policy accept;"
	case OutputNAT:
		return "type nat hook output priority -100; policy accept;"
	case HairpinNAT:
		return "type nat hook postrouting priority srcnat - 1; policy accept;"
	case PreroutingFilter:
		return "type filter hook prerouting priority mangle; policy accept;"
	case BridgePrerouting:
		return "type filter hook prerouting priority filter; policy accept;"
	case BridgeRules:
		return "type filter hook prerouting priority filter + 1; policy accept;"
	case BridgePostrouting:
		return "type filter hook postrouting priority filter; policy accept;"
	case BridgeForward:
		return "type filter hook forward priority filter; policy accept;"
	case BridgeInput:
		return "type filter hook input priority filter; policy accept;"
	}
	return ""
}

// Rule is a list of expressions, evaluated until one does not match.
type Rule struct {
	Exprs []Expr
	// Comment says for whom the rule is; at most 127 bytes.
	Comment string
}

// String returns the rule as nft lists it.
func (r Rule) String() string {
	words := make([]string, 0, len(r.Exprs)+1)
	for _, e := range r.Exprs {
		words = append(words, e.String())
	}
	if r.Comment != "" {
		words = append(words, `comment "`+r.Comment+`"`)
	}
	return strings.Join(words, " ")
}

// equal compares by text, which holds everything that a chain is.
func (c Chain) equal(o Chain) bool {
	return c.Name == o.Name && c.Base == o.Base &&
		slices.EqualFunc(c.Rules, o.Rules, func(a, b Rule) bool { return a.String() == b.String() })
}

func (c Chain) write(b *strings.Builder) {
	fmt.Fprintf(b, "\tchain %s {\n", c.Name)
	if c.Base != NotBase {
		fmt.Fprintf(b, "\t\t%s\n", c.Base)
	}
	for _, r := range c.Rules {
		fmt.Fprintf(b, "\t\t%s\n", r)
	}
	b.WriteString("\t}\n")
}
