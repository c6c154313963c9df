package firewall

import (
	"fmt"
	"strings"
)

// Chain is a list of rules. A base chain is attached to a hook of the kernel and
// accepts what its rules do not decide; the others are reached by jump and goto.
type Chain struct {
	Name  string
	Base  Base // NotBase for chains that are jumped to
	Rules []Rule
}

// Base is the hook of a base chain.
type Base uint8

const (
	// NotBase is a chain without a hook.
	NotBase Base = iota
	// ForwardFilter sees forwarded packets, at the priority of filters.
	ForwardFilter
	// InputFilter sees packets to the host itself, at the priority of filters.
	InputFilter
	// PostroutingNAT sees the first packet of a connection before it leaves, at the
	// priority of source NAT.
	PostroutingNAT
	// PreroutingNAT sees the first packet of a connection that comes in, at the priority
	// of destination NAT, and OutputNAT that of a connection of the host's own.
	PreroutingNAT
	OutputNAT
	// HairpinNAT is before PostroutingNAT.
	HairpinNAT
	// PreroutingFilter sees packets after the lookup of their connection and before the
	// translation of their destination.
	PreroutingFilter
	// BridgePrerouting sees frames before the bridge learns their source. This and the
	// following are for bridge tables.
	BridgePrerouting
	// BridgeForward sees frames that are forwarded, once for each outgoing port.
	BridgeForward
	// BridgeInput sees frames from a port to the host.
	BridgeInput
	// BridgeRules is after BridgePrerouting.
	BridgeRules
	// BridgePostrouting sees frames that leave by a port, forwarded or from the host.
	BridgePostrouting
)

// Hook is where in the kernel a base chain is attached.
type Hook struct {
	Type     string // filter or nat
	Hook     string
	Priority int32
	name     string // of the priority, as nft lists it
}

// Hook returns the hook of a base chain; ok is false for NotBase.
func (b Base) Hook() (h Hook, ok bool) {
	h, ok = hooks[b]
	return h, ok
}

// NF_BR_PRI_FILTER_BRIDGED is what nft calls "filter" in bridge tables.
const bridgeFilter = -200

var hooks = map[Base]Hook{
	ForwardFilter:     {"filter", "forward", 0, "filter"},
	InputFilter:       {"filter", "input", 0, "filter"},
	PostroutingNAT:    {"nat", "postrouting", 100, "srcnat"},
	PreroutingNAT:     {"nat", "prerouting", -100, "dstnat"},
	OutputNAT:         {"nat", "output", -100, "-100"},
	HairpinNAT:        {"nat", "postrouting", 99, "srcnat - 1"},
	PreroutingFilter:  {"filter", "prerouting", -150, "mangle"},
	BridgePrerouting:  {"filter", "prerouting", bridgeFilter, "filter"},
	BridgeRules:       {"filter", "prerouting", bridgeFilter + 1, "filter + 1"},
	BridgePostrouting: {"filter", "postrouting", bridgeFilter, "filter"},
	BridgeForward:     {"filter", "forward", bridgeFilter, "filter"},
	BridgeInput:       {"filter", "input", bridgeFilter, "filter"},
}

// Rule is a list of expressions, evaluated until one does not match.
type Rule struct {
	Exprs []Expr
	// Comment names what the rule is for; at most 127 bytes.
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

func (c Chain) write(b *strings.Builder) {
	fmt.Fprintf(b, "\tchain %s {\n", c.Name)
	if h, ok := c.Base.Hook(); ok {
		fmt.Fprintf(b, "\t\ttype %s hook %s priority %s; policy accept;\n", h.Type, h.Hook, h.name)
	}
	for _, r := range c.Rules {
		fmt.Fprintf(b, "\t\t%s\n", r)
	}
	b.WriteString("\t}\n")
}
