package firewall

import (
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// Compile returns the ruleset of the networks that are up. They must be complete
// and valid, and no two may share a bridge; their order does not matter. Without
// a network that needs rules there is no table: the presence of a single ct
// expression makes the kernel track every connection of the host.
func Compile(networks []netdrv.Network) Ruleset {
	ns := classify(networks)
	if len(ns.guarded) == 0 {
		return Ruleset{}
	}
	t := Table{
		Family: INet, Name: TableName,
		Sets:   slices.Concat(forwardSets(ns), hostSets(ns), natSets(ns), publishSets(ns)),
		Chains: slices.Concat(forwardChains(), hostChains(), natChains(ns), publishChains()),
	}
	t = t.inUse()
	for i := range t.Sets {
		t.Sets[i] = t.Sets[i].sorted()
	}
	return Ruleset{Tables: []Table{t}}
}

// classified holds the networks by what the rules ask of them.
type classified struct {
	all     []*netdrv.Network // with a bridge that is ours
	guarded []*netdrv.Network // all but open ones
	routed  []*netdrv.Network // nat and route: packets pass, if the addresses are right
	nat     []*netdrv.Network
	limited []*netdrv.Network // the host keeps them at a distance
}

// classify sorts, so that most sets are in order as they are made. In modes bridge
// and direct the host is no router, and there is nothing to rule.
func classify(networks []netdrv.Network) classified {
	var c classified
	for i := range networks {
		if n := &networks[i]; n.Mode != netdrv.ExistingBridge && n.Mode != netdrv.DirectLink {
			c.all = append(c.all, n)
		}
	}
	slices.SortFunc(c.all, func(a, b *netdrv.Network) int { return compareNames(a.Bridge.Name, b.Bridge.Name) })
	for _, n := range c.all {
		if n.Mode != netdrv.Open {
			c.guarded = append(c.guarded, n)
		}
		if n.Mode == netdrv.NAT || n.Mode == netdrv.Route {
			c.routed = append(c.routed, n)
		}
		if n.Mode == netdrv.NAT {
			c.nat = append(c.nat, n)
		}
		if n.Mode != netdrv.Open && n.HostAccess.Limited && !n.VeryIsolated() {
			c.limited = append(c.limited, n)
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
func room(networks []*netdrv.Network) []Element { return make([]Element, 0, len(networks)) }

// key makes the key of an element.
func key(values ...Value) (k [maxFields]Value) {
	copy(k[:], values)
	return k
}

// inUse returns t with those chains that a packet can come to, and those sets
// that they ask. A base chain whose only question is answered by no element is
// none, so that a hook costs nothing where it decides nothing.
func (t Table) inUse() Table {
	u := use{table: t, chains: map[string]bool{}, sets: map[string]bool{}}
	for _, c := range t.Chains {
		if c.Base != NotBase && u.decides(c) {
			u.chain(c.Name)
		}
	}
	t.Chains = slices.DeleteFunc(slices.Clone(t.Chains), func(c Chain) bool { return !u.chains[c.Name] })
	t.Sets = slices.DeleteFunc(slices.Clone(t.Sets), func(s Set) bool { return !u.sets[s.Name] })
	return t
}

// use notes what packets come to.
type use struct {
	table        Table
	chains, sets map[string]bool
}

// decides reports whether a rule of the base chain asks a set with elements.
func (u use) decides(c Chain) bool {
	for _, r := range c.Rules {
		for _, e := range r.Exprs {
			if u.answers(e) {
				return true
			}
		}
	}
	return false
}

// answers reports whether a packet can get an answer from the expression: whether
// the map that it asks has elements, or one in the chain that it leads to has.
func (u use) answers(e Expr) bool {
	set, chain := "", ""
	switch e := e.(type) {
	case ByMap:
		set = e.Map
	case DNAT:
		set = e.Map
	case Verdict:
		chain = e.Chain
	}
	s, _ := find(u.table.Sets, set, setName)
	c, _ := find(u.table.Chains, chain, chainName)
	return len(s.Elements) > 0 || u.decides(c)
}

func (u use) chain(name string) {
	if u.chains[name] {
		return
	}
	u.chains[name] = true
	c, _ := find(u.table.Chains, name, chainName)
	for _, r := range c.Rules {
		for _, e := range r.Exprs {
			u.expr(e)
		}
	}
}

func (u use) expr(e Expr) {
	switch e := e.(type) {
	case InSet:
		u.sets[e.Set] = true
	case ByMap:
		u.sets[e.Map] = true
		s, _ := find(u.table.Sets, e.Map, setName)
		for _, el := range s.Elements {
			u.expr(el.Verdict)
		}
	case DNAT:
		u.sets[e.Map] = true
	case Verdict:
		if e.Chain != "" {
			u.chain(e.Chain)
		}
	}
}
