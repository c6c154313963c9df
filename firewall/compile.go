package firewall

import (
	"slices"

	"github.com/vnetd/vnetd/netdrv"
)

// Compile returns the ruleset of the networks that are up. They must be complete
// and valid, and no two may share a bridge; their order does not matter. Without
// a network that needs rules there is no table: the presence of a single ct
// expression makes the kernel track every connection of the host.
//
// The ports are those of guests on the networks' bridges. What is asked of them is
// in a table of its own, which is there if a network asks anything.
func Compile(networks []netdrv.Network, ports ...Port) Ruleset {
	ns := classify(networks)
	inet := Table{
		Family: INet, Name: TableName,
		Sets:   slices.Concat(forwardSets(ns), hostSets(ns), natSets(ns), publishSets(ns), refusedSets(ports)),
		Chains: slices.Concat(forwardChains(), hostChains(), natChains(ns), publishChains(), refusedChains()),
	}
	return Ruleset{}.with(inet).with(bridgeTable(ns, ports))
}

// WithPorts returns r, which Compile made of the same networks, with other ports.
// Those must reject something if the others did. It costs what there is of ports, and
// nothing for networks that ask nothing of theirs.
func (r Ruleset) WithPorts(networks []netdrv.Network, ports ...Port) Ruleset {
	var out Ruleset
	for _, t := range r.Tables {
		if t.Family != Bridge {
			out.Tables = append(out.Tables, t)
		}
	}
	return out.with(bridgeTable(classify(networks), ports))
}

// with adds a table if a packet can come to it.
func (r Ruleset) with(t Table) Ruleset {
	if t = t.inUse(); len(t.Chains) > 0 {
		r.Tables = append(r.Tables, t)
	}
	return r
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
	slices.SortFunc(c.all, func(a, b *netdrv.Network) int {
		x, y := name(a.Bridge.Name), name(b.Bridge.Name)
		return compareBackwards(&x, &y)
	})
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
	for i := range t.Sets {
		t.Sets[i] = t.Sets[i].sorted()
	}
	return t
}

// use notes what packets come to.
type use struct {
	table        Table
	chains, sets map[string]bool
}

// decides reports whether a rule of the chain can: a rule that asks something, and
// finds it.
func (u use) decides(c Chain) bool { return slices.ContainsFunc(c.Rules, u.matters) }

// matters reports whether all sets and maps that a rule asks have elements, and
// there is one, or a chain that it leads to decides.
func (u use) matters(r Rule) bool {
	matters := false
	for _, e := range r.Exprs {
		if set := asked(e); set != "" {
			s, _ := find(u.table.Sets, set, setName)
			if len(s.Elements) == 0 {
				return false
			}
			matters = true
		}
		if v, ok := e.(Verdict); ok {
			c, _ := find(u.table.Chains, v.Chain, chainName)
			matters = matters || u.decides(c)
		}
	}
	return matters
}

// asked is the set or map in which an expression has to find something; "" for
// others.
func asked(e Expr) string {
	switch e := e.(type) {
	case ByMap:
		return e.Map
	case DNAT:
		return e.Map
	case InSet:
		if !e.Not {
			return e.Set
		}
	}
	return ""
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
	case AddTo:
		u.sets[e.Set] = true
	case ByMap:
		u.sets[e.Map] = true
		s, _ := find(u.table.Sets, e.Map, setName)
		for i := range s.Elements {
			if chain := s.Elements[i].Verdict.Chain; chain != "" {
				u.chain(chain)
			}
		}
	case DNAT:
		u.sets[e.Map] = true
	case Verdict:
		if e.Chain != "" {
			u.chain(e.Chain)
		}
	}
}
