package firewall

import (
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// Compile returns the ruleset of the networks that are up. They must be complete
// and valid, and no two may share a bridge or overlap in a subnet; their order
// does not matter. Without a network that needs rules there is no table: the
// presence of a single ct expression makes the kernel track every connection of
// the host.
func Compile(networks []netdrv.Network) Ruleset {
	ns := classify(networks)
	if len(ns.guarded) == 0 {
		return Ruleset{}
	}
	t := Table{Family: INet, Name: TableName}
	t.Sets, t.Chains = filterSets(ns), filterChains(ns)
	if len(ns.nat) > 0 {
		t.Sets = append(t.Sets, natSets(ns)...)
		t.Chains = append(t.Chains, natChains(ns)...)
	}
	for i := range t.Sets {
		t.Sets[i] = t.Sets[i].sorted()
	}
	return Ruleset{Tables: []Table{t}}
}

// classified holds the networks by what the rules ask of them.
type classified struct {
	all     []netdrv.Network
	guarded []netdrv.Network // all but open ones
	routed  []netdrv.Network // nat and route: packets pass, if the addresses are right
	nat     []netdrv.Network
	route   []netdrv.Network
}

// classify sorts, so that most sets are in order as they are made.
func classify(networks []netdrv.Network) classified {
	c := classified{all: slices.Clone(networks)}
	slices.SortFunc(c.all, func(a, b netdrv.Network) int { return compareNames(a.Bridge.Name, b.Bridge.Name) })
	for _, n := range c.all {
		if n.Mode != netdrv.Open {
			c.guarded = append(c.guarded, n)
		}
		if n.Mode == netdrv.NAT || n.Mode == netdrv.Route {
			c.routed = append(c.routed, n)
		}
		switch n.Mode {
		case netdrv.NAT:
			c.nat = append(c.nat, n)
		case netdrv.Route:
			c.route = append(c.route, n)
		}
	}
	return c
}

func name(s string) Value { return Value{Name: s} }

// goTo and jump are elements' and rules' way to another chain.
func goTo(chain string) Verdict { return Verdict{Kind: Goto, Chain: chain} }
func jump(chain string) Verdict { return Verdict{Kind: Jump, Chain: chain} }

var (
	accept = Verdict{Kind: Accept}
	drop   = Verdict{Kind: Drop}
	back   = Verdict{Kind: Return}
)

func rule(comment string, exprs ...Expr) Rule { return Rule{Exprs: exprs, Comment: comment} }

// room is for an element per network.
func room(networks []netdrv.Network) []Element { return make([]Element, 0, len(networks)) }

// filterSets are what the forward hook asks.
func filterSets(ns classified) []Set {
	inside := Set{Name: "inside", Key: []Type{IfName, IfName}, Counter: true, Elements: room(ns.guarded)}
	leave := Set{Name: "leave", Key: []Type{IfName}, Verdicts: true, Counter: true, Elements: room(ns.guarded)}
	enter := Set{Name: "enter", Key: []Type{IfName}, Verdicts: true, Counter: true, Elements: room(ns.guarded)}
	for _, n := range ns.guarded {
		b := name(n.Bridge.Name)
		out, in := doors(n.Mode)
		inside.Elements = append(inside.Elements, Element{Key: [maxFields]Value{b, b}})
		leave.Elements = append(leave.Elements, Element{Key: [maxFields]Value{b}, Verdict: out, Comment: n.Name})
		enter.Elements = append(enter.Elements, Element{Key: [maxFields]Value{b}, Verdict: in, Comment: n.Name})
	}
	sets := []Set{inside, leave, enter}
	if len(ns.routed) > 0 {
		sets = append(sets, subnets("subnets4", IPv4Addr, ns.routed), subnets("subnets6", IPv6Addr, ns.routed))
	}
	return sets
}

// doors returns what a packet must pass to leave and to enter a network. A mode
// that is not known here is shut.
func doors(m netdrv.Mode) (out, in Verdict) {
	switch m {
	case netdrv.NAT:
		return jump("leave_nat"), goTo("enter_nat")
	case netdrv.Route:
		return jump("leave_route"), goTo("enter_route")
	}
	return goTo("refuse"), goTo("refuse")
}

func subnets(set string, t Type, networks []netdrv.Network) Set {
	s := Set{Name: set, Key: []Type{IfName, t}, Interval: true, Elements: room(networks)}
	for _, n := range networks {
		for _, sub := range n.Subnets {
			if sub.Address.Addr().Is4() == (t == IPv4Addr) {
				key := [maxFields]Value{name(n.Bridge.Name), {Prefix: sub.Address.Masked()}}
				s.Elements = append(s.Elements, Element{Key: key})
			}
		}
	}
	return s
}

func filterChains(ns classified) []Chain {
	chains := []Chain{{Name: "forward", Base: ForwardFilter, Rules: []Rule{
		rule("", InSet{Fields: []Field{IIFName, OIFName}, Set: "inside"}, accept),
		rule("", ByMap{Fields: []Field{IIFName}, Map: "leave"}),
		rule("", ByMap{Fields: []Field{OIFName}, Map: "enter"}),
	}}}
	if len(ns.nat) > 0 {
		chains = append(chains, leaveNAT(), enterNAT())
	}
	if len(ns.routed) > 0 {
		chains = append(chains, leaveRoute())
	}
	if len(ns.route) > 0 {
		chains = append(chains, enterRoute())
	}
	return append(chains, refuse())
}

// leaveNAT: the kernel translates no packet that it takes for invalid, so such a
// packet would carry its private source address into the world.
func leaveNAT() Chain {
	return Chain{Name: "leave_nat", Rules: []Rule{
		rule("nat: would leave untranslated", IPv4{}, Invalid,
			InSet{Fields: []Field{OIFName}, Set: "local", Not: true}, Counter{}, drop),
		rule("", goTo("leave_route")),
	}}
}

// leaveRoute has no shortcut for established connections, so that no guest can
// forge packets of another's. Nor does it ask conntrack anything: a routed
// network may see one direction of a connection only.
func leaveRoute() Chain {
	return Chain{Name: "leave_route", Rules: []Rule{
		rule("", InSet{Fields: []Field{IIFName, IPSAddr}, Set: "subnets4"}, Counter{}, back),
		rule("", InSet{Fields: []Field{IIFName, IP6SAddr}, Set: "subnets6"}, Counter{}, back),
		rule("nat, route: not an address of its network", Counter{}, drop),
	}}
}

// enterNAT drops invalid packets silently: a late segment of a living connection
// may look invalid, and rejecting it would kill the connection.
func enterNAT() Chain {
	return Chain{Name: "enter_nat", Rules: []Rule{
		rule("nat: replies only", Established|Related, Counter{}, accept),
		rule("nat: belongs to no connection", Invalid, Counter{}, drop),
		rule("", goTo("refuse")),
	}}
}

func enterRoute() Chain {
	return Chain{Name: "enter_route", Rules: []Rule{
		rule("", InSet{Fields: []Field{OIFName, IPDAddr}, Set: "subnets4"}, Counter{}, accept),
		rule("", InSet{Fields: []Field{OIFName, IP6DAddr}, Set: "subnets6"}, Counter{}, accept),
		rule("", goTo("refuse")),
	}}
}

// refuse resets new TCP connections only: a reset would end a living connection
// that conntrack has forgotten, where ICMP is but a hint to its ends.
func refuse() Chain {
	return Chain{Name: "refuse", Rules: []Rule{
		rule("not allowed: new TCP connections", TCPSyn{}, Counter{}, Reject{TCPReset: true}),
		rule("not allowed: anything else", Counter{}, Reject{}),
	}}
}
